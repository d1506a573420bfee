//! How often a password may be guessed. Pure: time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::domain::account::network_of;
use crate::limits::operator::{
    LOCK_AFTER, LOCK_FOR, LOGIN_ADDRESSES, LOGIN_BURST, LOGIN_BURST_OF_ALL, LOGIN_REFILL,
    LOGIN_REFILL_OF_ALL,
};

/// Time since the program started.
pub(super) type Uptime = Duration;

/// A bucket that refills by one token per `refill`.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    counted: Uptime,
}

impl Bucket {
    fn refill(&mut self, burst: u32, refill: Duration, now: Uptime) {
        let passed = now.saturating_sub(self.counted).as_millis() / refill.as_millis().max(1);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(passed).min(burst);
        self.counted = match self.tokens == burst {
            true => now,
            false => self.counted.saturating_add(refill.saturating_mul(passed)),
        };
    }

    fn wait(&self, refill: Duration, now: Uptime) -> Duration {
        self.counted.saturating_add(refill).saturating_sub(now)
    }
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    bucket: Bucket,
    failures: u32,
    locked_until: Option<Uptime>,
    seen: Uptime,
}

/// Attempts at the operator's password.
#[derive(Debug)]
pub(super) struct Attempts {
    peers: HashMap<IpAddr, Peer>,
    total: Bucket,
}

/// Too many attempts; the time to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Duration);

impl Attempts {
    pub(super) fn new() -> Self {
        let total = Bucket { tokens: LOGIN_BURST_OF_ALL, counted: Duration::ZERO };
        Self { peers: HashMap::new(), total }
    }

    /// Takes one attempt from the address's share and from the common one, before the password is looked at. A network that
    /// the account knows takes nothing from the common one: strangers cannot use that up for it.
    ///
    /// # Errors
    /// [`Wait`] when one of them is used up or the address is locked out.
    pub(super) fn take(
        &mut self,
        address: IpAddr,
        is_known: bool,
        now: Uptime,
    ) -> Result<(), Wait> {
        self.make_room(now);
        let peer = self.peers.entry(network_of(address)).or_insert(Peer {
            bucket: Bucket { tokens: LOGIN_BURST, counted: now },
            failures: 0,
            locked_until: None,
            seen: now,
        });
        peer.seen = now;
        if let Some(until) = peer.locked_until {
            if now < until {
                return Err(Wait(until.saturating_sub(now)));
            }
            (peer.locked_until, peer.failures) = (None, 0);
        }
        peer.bucket.refill(LOGIN_BURST, LOGIN_REFILL, now);
        self.total.refill(LOGIN_BURST_OF_ALL, LOGIN_REFILL_OF_ALL, now);
        if peer.bucket.tokens == 0 {
            return Err(Wait(peer.bucket.wait(LOGIN_REFILL, now)));
        }
        if self.total.tokens == 0 && !is_known {
            return Err(Wait(self.total.wait(LOGIN_REFILL_OF_ALL, now)));
        }
        peer.bucket.tokens -= 1;
        if !is_known {
            self.total.tokens -= 1;
        }
        Ok(())
    }

    /// Notes how an attempt ended: a right password clears the address, a wrong one may lock it out.
    pub(super) fn note(&mut self, address: IpAddr, right: bool, now: Uptime) {
        let address = network_of(address);
        if right {
            self.peers.remove(&address);
            self.total.tokens = (self.total.tokens + 1).min(LOGIN_BURST_OF_ALL);
        } else if let Some(peer) = self.peers.get_mut(&address) {
            peer.failures = peer.failures.saturating_add(1);
            if peer.failures >= LOCK_AFTER {
                peer.locked_until = Some(now.saturating_add(LOCK_FOR));
            }
        }
    }

    fn make_room(&mut self, now: Uptime) {
        if self.peers.len() < LOGIN_ADDRESSES {
            return;
        }
        self.peers.retain(|_, peer| now.saturating_sub(peer.seen) < LOCK_FOR);
        if self.peers.len() >= LOGIN_ADDRESSES {
            let oldest = self.peers.iter().min_by_key(|(_, p)| p.seen).map(|(a, _)| *a);
            oldest.map(|address| self.peers.remove(&address));
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn at(secs: u64) -> Uptime {
        Duration::from_secs(secs)
    }
    fn peer(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn an_address_has_five_attempts_and_then_one_a_minute() {
        let mut attempts = Attempts::new();
        for _ in 0..5 {
            assert_eq!(attempts.take(peer(1), false, at(0)), Ok(()));
        }
        assert_eq!(attempts.take(peer(1), false, at(10)), Err(Wait(at(50))));
        assert_eq!(
            attempts.take(peer(2), false, at(10)),
            Ok(()),
            "another address is not affected"
        );
        assert_eq!(attempts.take(peer(1), false, at(60)), Ok(()));
        assert!(attempts.take(peer(1), false, at(61)).is_err());
    }

    #[test]
    fn a_right_password_gives_the_attempts_back() {
        let mut attempts = Attempts::new();
        for _ in 0..100 {
            assert_eq!(attempts.take(peer(1), false, at(0)), Ok(()));
            attempts.note(peer(1), true, at(0));
        }
    }

    #[test]
    fn a_patient_guesser_is_locked_out() {
        let mut attempts = Attempts::new();
        let mut now = 0;
        for _ in 0..20 {
            assert_eq!(attempts.take(peer(1), false, at(now)), Ok(()));
            attempts.note(peer(1), false, at(now));
            now += 60;
        }
        assert!(matches!(attempts.take(peer(1), false, at(now)), Err(Wait(w)) if w > at(800)));
        assert_eq!(attempts.take(peer(1), false, at(now + 900)), Ok(()));
    }

    #[test]
    fn many_addresses_together_are_slowed_down_but_nobody_waits_long() {
        let mut attempts = Attempts::new();
        for n in 0..30 {
            assert_eq!(attempts.take(peer(n), false, at(0)), Ok(()));
        }
        assert_eq!(attempts.take(peer(200), false, at(0)), Err(Wait(at(2))));
        assert_eq!(attempts.take(peer(200), false, at(2)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_whatever_addresses_try() {
        let mut attempts = Attempts::new();
        for n in 0..20_000u32 {
            let _ = attempts.take(IpAddr::from(n.to_be_bytes()), false, at(u64::from(n)));
        }
        assert!(attempts.peers.len() <= LOGIN_ADDRESSES);
    }

    #[test]
    fn a_v6_subscriber_is_one_address() {
        let mut attempts = Attempts::new();
        for n in 0..5u16 {
            let _ = attempts.take(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]), false, at(0));
        }
        assert!(attempts.take("2001:db8:0:1::ffff".parse().unwrap(), false, at(0)).is_err());
    }
}
