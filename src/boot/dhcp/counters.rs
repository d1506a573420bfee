//! Counts of what became of packets, for metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::over::{Over, Overruns};
use crate::plan::offer::{Decision, Reason};
use crate::proto::dhcp::MessageType;

macro_rules! counted {
    ($($name:ident $label:literal $doc:literal;)*) => {
        /// What is counted. Labels are a contract with dashboards: never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Counted {
            $(#[doc = $doc] $name,)*
        }

        impl Counted {
            /// Everything that is counted.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Name for metrics.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

counted! {
    Received "received" "Datagrams taken from a socket.";
    Junk "junk" "Datagrams that are no DHCP request of an Ethernet client, or too long, or our own.";
    Relayed "relayed" "Requests that came through a relay.";
    OtherInterface "other_interface" "Requests from an interface that is not served.";
    NoLocalAddress "no_local_address" "Requests on an interface that has no IPv4 address.";
    Offer "offer" "OFFERs decided on.";
    Ack "ack" "ACKs decided on.";
    Nak "nak" "NAKs decided on.";
    Silent "silent" "Requests met with silence; by reason in [`DhcpCounters::silences`].";
    LeaseNotStored "lease_not_stored" "Batches whose leases could not be made durable.";
    ReceiveError "receive_error" "Failures to receive.";
    SendError "send_error" "Replies that could not be sent.";
}

/// Counters that the service writes and metrics read. Clones share the same numbers.
#[derive(Debug, Clone, Default)]
pub struct DhcpCounters {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: [AtomicU64; Counted::ALL.len()],
    // Written by one task, read when metrics are scraped: never contended for long.
    silences: Mutex<BTreeMap<&'static str, u64>>,
    over: Option<Overruns>,
}

impl DhcpCounters {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All zero; limits that are met are told here too.
    #[must_use]
    pub fn telling(over: Overruns) -> Self {
        Self { shared: Arc::new(Shared { over: Some(over), ..Shared::default() }) }
    }

    /// How often this happened since the start.
    #[must_use]
    pub fn get(&self, what: Counted) -> u64 {
        self.cell(what).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Silences by the reason's label (`plan::offer::Reason::label`).
    #[must_use]
    pub fn silences(&self) -> BTreeMap<&'static str, u64> {
        self.shared.silences.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, what: Counted) {
        if let Some(cell) = self.cell(what) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts what was decided about a packet.
    pub(crate) fn count_decision(&self, decision: &Decision) {
        match decision {
            Decision::Silent(reason) => {
                self.count(Counted::Silent);
                let met = match reason {
                    Reason::PoolExhausted => Some(Over::Leases),
                    Reason::Loop => Some(Over::BootLoops),
                    _ => None,
                };
                if let (Some(over), Some(met)) = (&self.shared.over, met) {
                    over.met(met);
                }
                let mut silences =
                    self.shared.silences.lock().unwrap_or_else(PoisonError::into_inner);
                *silences.entry(reason.label()).or_default() += 1;
            }
            Decision::Reply(answer) => self.count(match answer.reply.message {
                MessageType::Offer => Counted::Offer,
                MessageType::Nak => Counted::Nak,
                _ => Counted::Ack,
            }),
        }
    }

    fn cell(&self, what: Counted) -> Option<&AtomicU64> {
        self.shared.counts.get(Counted::ALL.iter().position(|&c| c == what)?)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_limit_that_is_met_is_told_with_its_time() {
        let over = Overruns::new(Arc::new(|| 5));
        let counters = DhcpCounters::telling(over.clone());
        for reason in [Reason::PoolExhausted, Reason::PoolExhausted, Reason::Loop, Reason::Bootp] {
            counters.count_decision(&Decision::Silent(reason));
        }
        let met = |what| (over.of(what).times, over.of(what).last);
        assert_eq!(met(Over::Leases), (2, Some(5)));
        assert_eq!(met(Over::BootLoops), (1, Some(5)));
        assert_eq!(counters.get(Counted::Silent), 4);
    }
}
