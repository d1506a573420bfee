//! Which accounts are shut to networks that they never logged in from, because passwords are guessed there. Pure: time is
//! an argument.
//!
//! A stranger can so shut out other strangers, for a quarter of an hour at a time, and never the operator: who logged in
//! before does so again from where he did. The control socket needs no password in any case.

use std::collections::HashMap;
use std::time::Duration;

use super::limit::{Uptime, Wait};
use crate::limits::operator::{LOCK_ACCOUNT_AFTER, LOCK_FOR, LOGIN_ADDRESSES};

#[derive(Debug, Clone, Copy)]
struct Lock {
    failures: u32,
    until: Option<Uptime>,
    seen: Uptime,
}

/// Wrong passwords by account, from networks that it does not know. Names that no account has are counted alike: a
/// lock does not tell which names there are.
#[derive(Debug, Default)]
pub(super) struct Locks(HashMap<String, Lock>);

impl Locks {
    /// # Errors
    /// [`Wait`] while the account is locked.
    pub(super) fn check(&mut self, account: &str, now: Uptime) -> Result<(), Wait> {
        let Some(lock) = self.0.get(account).and_then(|lock| lock.until) else { return Ok(()) };
        if now < lock {
            return Err(Wait(lock.saturating_sub(now)));
        }
        self.0.remove(account);
        Ok(())
    }

    /// Notes a wrong password; whether the account is locked by it.
    pub(super) fn wrong(&mut self, account: &str, now: Uptime) -> bool {
        self.make_room(account, now);
        let fresh = Lock { failures: 0, until: None, seen: now };
        let lock = self.0.entry(account.to_owned()).or_insert(fresh);
        // Old failures are forgotten, as those of an address are: ten typing errors of a year lock nobody out.
        if now.saturating_sub(lock.seen) > LOCK_FOR {
            lock.failures = 0;
        }
        lock.seen = now;
        lock.failures = lock.failures.saturating_add(1);
        if lock.failures < LOCK_ACCOUNT_AFTER {
            return false;
        }
        lock.until = Some(now.saturating_add(LOCK_FOR));
        true
    }

    /// Forgets what was noted of an account.
    pub(super) fn clear(&mut self, account: &str) {
        self.0.remove(account);
    }

    /// For how long an account is still locked.
    pub(super) fn rest(&self, account: &str, now: Uptime) -> Option<Duration> {
        let until = self.0.get(account)?.until?;
        (now < until).then(|| until.saturating_sub(now))
    }

    fn make_room(&mut self, account: &str, now: Uptime) {
        if self.0.len() < LOGIN_ADDRESSES || self.0.contains_key(account) {
            return;
        }
        self.0.retain(|_, lock| now.saturating_sub(lock.seen) < LOCK_FOR);
        if self.0.len() >= LOGIN_ADDRESSES {
            let oldest = self.0.iter().min_by_key(|(_, lock)| lock.seen).map(|(a, _)| a.clone());
            oldest.map(|account| self.0.remove(&account));
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn at(secs: u64) -> Uptime {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_account_is_locked_after_ten_wrong_passwords_and_opens_by_itself() {
        let mut locks = Locks::default();
        for n in 1..10 {
            assert!(!locks.wrong("ann", at(n)), "{n}");
            assert_eq!(locks.check("ann", at(n)), Ok(()));
        }
        assert!(locks.wrong("ann", at(10)));
        assert_eq!(locks.check("ann", at(11)), Err(Wait(at(899))));
        assert_eq!(locks.rest("ann", at(11)), Some(at(899)));
        assert_eq!(locks.check("bob", at(11)), Ok(()), "another account is not affected");
        assert_eq!(locks.check("ann", at(910)), Ok(()));
        assert!(!locks.wrong("ann", at(911)), "counted from the beginning");
    }

    #[test]
    fn it_opens_at_once_when_somebody_says_so() {
        let mut locks = Locks::default();
        for _ in 0..10 {
            locks.wrong("ann", at(0));
        }
        locks.clear("ann");
        assert_eq!((locks.check("ann", at(0)), locks.rest("ann", at(0))), (Ok(()), None));
    }

    #[test]
    fn typing_errors_of_weeks_lock_nobody() {
        let mut locks = Locks::default();
        for n in 0..50 {
            assert!(!locks.wrong("ann", at(n * 1000)));
        }
    }

    #[test]
    fn memory_is_bounded_whatever_names_are_tried() {
        let mut locks = Locks::default();
        for n in 0..10_000u64 {
            locks.wrong(&n.to_string(), at(n / 100));
        }
        assert!(locks.0.len() <= LOGIN_ADDRESSES);
    }
}
