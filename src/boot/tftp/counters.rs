//! Numbers about the TFTP service, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::limits::over::{Over, Overruns};
use crate::proto::tftp::transfers::{Dropped, Note, Refusal};

/// Counts since the start; each only grows, but for `active`.
#[derive(Debug, Default)]
pub struct Counters {
    /// Transfers alive right now, on all sockets.
    pub active: AtomicUsize,
    /// Transfers whose first answer was confirmed.
    pub started: AtomicU64,
    /// Transfers whose client has the file.
    pub finished: AtomicU64,
    /// Requests that only wanted the size.
    pub probed: AtomicU64,
    /// Transfers that the client stopped.
    pub aborted: AtomicU64,
    /// Transfers whose client fell silent.
    pub lost: AtomicU64,
    /// Requests for files that do not exist.
    pub not_found: AtomicU64,
    /// Requests that were answered with another error.
    pub refused: AtomicU64,
    /// Datagrams that no client sends.
    pub malformed: AtomicU64,
    /// Datagrams that belong to no transfer.
    pub stray: AtomicU64,
    /// Requests dropped because their address asks too often.
    pub rate_limited: AtomicU64,
    /// Datagrams sent.
    pub datagrams: AtomicU64,
    /// Bytes sent, TFTP headers included.
    pub bytes: AtomicU64,
    /// Datagrams of finished transfers that went out more than once.
    pub repeated: AtomicU64,
    /// Datagrams that the system refused to send.
    pub send_errors: AtomicU64,
    /// Where limits that are met are told.
    over: Option<Overruns>,
}

impl Counters {
    pub(super) fn telling(over: Overruns) -> Self {
        Self { over: Some(over), ..Self::default() }
    }

    pub(super) fn count(&self, note: &Note) {
        let counter = match note {
            Note::Started { .. } => &self.started,
            Note::Finished { repeats, .. } => {
                self.repeated.fetch_add(*repeats, Ordering::Relaxed);
                &self.finished
            }
            Note::Probed { .. } => &self.probed,
            Note::Aborted { .. } => &self.aborted,
            Note::Lost { .. } => &self.lost,
            Note::NotFound { .. } => &self.not_found,
            Note::Refused(_) => &self.refused,
            Note::Dropped(Dropped::Malformed) => &self.malformed,
            Note::Dropped(Dropped::Stray) => &self.stray,
            Note::Dropped(Dropped::RateLimit) => &self.rate_limited,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let met = match note {
            Note::Refused(Refusal::PeerLimit | Refusal::TotalLimit) => Over::TftpTransfers,
            Note::Dropped(Dropped::RateLimit) => Over::TftpRequests,
            _ => return,
        };
        if let Some(over) = &self.over {
            over.met(met);
        }
    }

    pub(super) fn sent(&self, length: usize) {
        self.datagrams.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(length).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn send_failed(&self) {
        self.send_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// One socket's count of living transfers went from `before` to `after`.
    pub(super) fn active_changed(&self, before: usize, after: usize) {
        if after >= before {
            self.active.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.active.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_limit_that_is_met_is_told_with_its_time() {
        let over = Overruns::new(Arc::new(|| 5));
        let counters = Counters::telling(over.clone());
        for refusal in [Refusal::PeerLimit, Refusal::TotalLimit, Refusal::Write] {
            counters.count(&Note::Refused(refusal));
        }
        counters.count(&Note::Dropped(Dropped::RateLimit));
        counters.count(&Note::Dropped(Dropped::Stray));
        let met = |what| (over.of(what).times, over.of(what).last);
        assert_eq!(met(Over::TftpTransfers), (2, Some(5)));
        assert_eq!(met(Over::TftpRequests), (1, Some(5)));
    }
}
