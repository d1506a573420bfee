//! Stops the one loop that a stateless decision cannot see: an iPXE without HTTP is given our boot program, and comes
//! back as the same iPXE.

use std::collections::HashMap;

use super::{Decision, Reason};
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::limits::machine::{LOOP_MACHINES, LOOP_WINDOW, LOOPS};

/// Remembers which machines were given a replacement for their own iPXE lately.
#[derive(Debug, Default)]
pub struct LoopGuard {
    seen: HashMap<Mac, Seen>,
}

#[derive(Debug)]
struct Seen {
    since: Timestamp,
    last_xid: u32,
    times: u32,
}

impl LoopGuard {
    /// Passes a decision on, or turns it to silence when this machine came back too often. Retries of one transaction
    /// count once.
    pub fn pass(&mut self, decision: Decision, mac: Mac, xid: u32, now: Timestamp) -> Decision {
        if !matches!(&decision, Decision::Reply(answer) if answer.may_loop) {
            return decision;
        }
        if self.seen.len() >= LOOP_MACHINES && !self.seen.contains_key(&mac) {
            self.forget_oldest(now);
        }
        let entry = self.seen.entry(mac).or_insert(Seen { since: now, last_xid: xid, times: 1 });
        if now.since(entry.since) > LOOP_WINDOW {
            *entry = Seen { since: now, last_xid: xid, times: 1 };
        }
        if entry.last_xid != xid {
            entry.last_xid = xid;
            entry.times = entry.times.saturating_add(1);
        }
        if entry.times > LOOPS { Decision::Silent(Reason::Loop) } else { decision }
    }

    /// Machines remembered now.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    fn forget_oldest(&mut self, now: Timestamp) {
        self.seen.retain(|_, seen| now.since(seen.since) <= LOOP_WINDOW);
        if self.seen.len() >= LOOP_MACHINES {
            // All are recent: a flood. Starting over costs an honest machine nothing but a longer loop.
            self.seen.clear();
        }
    }
}
