//! Machines that the daemon plays itself: made-up MACs whose packets are answered as any stranger's and leave no trace.
//!
//! `doctor` begins a role, and everything that the boot services observe of its MAC comes back here instead of going to
//! the recorder: no sighting, no boot log. A role's MAC is random and locally administered, so it is no machine's own, and
//! roles are remembered beyond their end, because a packet may still be under way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::boot::BootObservation;
use crate::domain::mac::Mac;
use crate::limits::record::{REHEARSALS, REHEARSED_OBSERVATIONS};

/// How a role's MAC begins: locally administered, then `IH`.
const PREFIX: [u8; 3] = [0x02, 0x49, 0x48];

/// The roles that were begun. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Rehearsals {
    roles: Arc<Mutex<VecDeque<Role>>>,
}

#[derive(Debug)]
struct Role {
    mac: Mac,
    observed: Vec<BootObservation>,
}

impl Rehearsals {
    /// Begins a role under this MAC. The oldest role is forgotten when there are many.
    pub fn begin(&self, mac: Mac) {
        let mut roles = self.roles();
        if roles.len() >= REHEARSALS {
            roles.pop_front();
        }
        roles.push_back(Role { mac, observed: Vec::new() });
    }

    /// A MAC for a role; `random` makes it unlike all others.
    #[must_use]
    pub fn mac(random: [u8; 3]) -> Mac {
        let [a, b, c] = PREFIX;
        let [d, e, f] = random;
        Mac([a, b, c, d, e, f])
    }

    /// Whether this MAC was made up by some Ironhatch: this daemon, the command line without one, another appliance on the
    /// segment.
    #[must_use]
    pub fn is_made_up(mac: Mac) -> bool {
        mac.0.starts_with(&PREFIX)
    }

    /// Whether this MAC is one of our roles.
    #[must_use]
    pub fn plays(&self, mac: Mac) -> bool {
        // Real machines' packets do not wait for the lock.
        Self::is_made_up(mac) && self.roles().iter().any(|role| role.mac == mac)
    }

    /// Takes an observation of one of our roles; `false`: it is a real machine's.
    #[must_use]
    pub fn take(&self, observation: &BootObservation) -> bool {
        let Some(mac) = observation.mac.filter(|mac| Self::is_made_up(*mac)) else {
            return false;
        };
        let mut roles = self.roles();
        let Some(role) = roles.iter_mut().find(|role| role.mac == mac) else { return false };
        if role.observed.len() < REHEARSED_OBSERVATIONS {
            role.observed.push(observation.clone());
        }
        true
    }

    /// What was observed of a role so far.
    #[must_use]
    pub fn observed(&self, mac: Mac) -> Vec<BootObservation> {
        let roles = self.roles();
        roles.iter().find(|role| role.mac == mac).map(|r| r.observed.clone()).unwrap_or_default()
    }

    fn roles(&self) -> std::sync::MutexGuard<'_, VecDeque<Role>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::boot::BootStage;
    use crate::domain::time::Timestamp;

    fn seen(mac: Mac) -> BootObservation {
        BootObservation {
            at: Timestamp(1),
            mac: Some(mac),
            address: None,
            stage: BootStage::Dhcp,
            answered: true,
            message: "offered".to_owned(),
            fact: None,
            client: None,
        }
    }

    #[test]
    fn only_roles_that_were_begun_are_taken_and_they_are_bounded() {
        let rehearsals = Rehearsals::default();
        let role = Rehearsals::mac([1, 2, 3]);
        assert_eq!(role.0[0] & 3, 2, "locally administered, unicast");
        assert!(!rehearsals.take(&seen(role)), "anybody may have this address");
        rehearsals.begin(role);
        assert!(rehearsals.plays(role));
        for _ in 0..2 * REHEARSED_OBSERVATIONS {
            assert!(rehearsals.take(&seen(role)));
        }
        assert_eq!(rehearsals.observed(role).len(), REHEARSED_OBSERVATIONS);
        assert!(!rehearsals.take(&seen(Mac([0x52, 0x54, 0, 1, 2, 3]))));
        assert!(!rehearsals.take(&BootObservation { mac: None, ..seen(role) }));
        for n in 0..REHEARSALS {
            rehearsals.begin(Rehearsals::mac([9, 9, u8::try_from(n).unwrap()]));
        }
        assert!(!rehearsals.plays(role), "the oldest goes");
    }
}
