//! Leases on their way to the disk, and the replies that wait for them.
//!
//! One write is under way at a time; what comes meanwhile goes into the next one together. So the loop answers others while
//! the disk works, and a slow disk gets fewer, larger writes.

use std::pin::Pin;
use std::sync::Arc;

use super::{Channel, LeaseStore, LeaseStoreError, Outgoing};
use crate::limits::dhcp::LEASES_WAITING;
use crate::plan::lease::Lease;

/// Leases of one write, and what is sent when they are durable.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) leases: Vec<Lease>,
    pub(super) replies: Vec<(Channel, Outgoing)>,
}

/// A batch whose write ended.
pub(super) type Ended = (Batch, Result<(), LeaseStoreError>);

/// The write under way, and the next one.
#[derive(Default)]
pub(super) struct Confirmations {
    under_way: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
    next: Batch,
}

impl Confirmations {
    pub(super) fn add(&mut self, leases: Vec<Lease>, replies: Vec<(Channel, Outgoing)>) {
        self.next.leases.extend(leases);
        self.next.replies.extend(replies);
    }

    /// Whether requests had better wait in the socket.
    pub(super) fn is_full(&self) -> bool {
        self.next.leases.len() >= LEASES_WAITING
    }

    /// Begins the next write unless one is under way or nothing waits.
    pub(super) fn begin(&mut self, store: &Arc<dyn LeaseStore>) {
        if self.under_way.is_some() || self.next.leases.is_empty() {
            return;
        }
        let (store, batch) = (Arc::clone(store), std::mem::take(&mut self.next));
        self.under_way = Some(Box::pin(async move {
            let stored = store.persist(&batch.leases).await;
            (batch, stored)
        }));
    }

    /// The end of the write under way; never when there is none. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Ended {
        let Some(write) = &mut self.under_way else { return std::future::pending().await };
        let ended = write.await;
        self.under_way = None;
        ended
    }
}
