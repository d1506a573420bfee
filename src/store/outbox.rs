//! Reports to other services that wait for delivery. Written with the change they tell of, so none is lost.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::read::{Order, Read, records};
use super::schema::{Table, numbered};
use super::tx::Tx;
use crate::domain::id::JobId;
use crate::domain::time::Timestamp;

/// One report on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Position in the queue; used again once the queue was empty.
    pub seq: u64,
    /// Which reporter of the configuration: `infrastructure`, or the name of a webhook.
    pub reporter: String,
    /// What it tells, `host.ready` for example.
    pub event: String,
    /// JSON body.
    pub body: serde_json::Value,
    /// The job whose log tells how the delivery went.
    pub job: Option<JobId>,
    /// When it was written.
    pub created: Timestamp,
    /// Deliveries tried.
    pub attempts: u32,
    /// Not before this.
    pub next_try: Timestamp,
}

/// Typed reads of the outbox.
pub trait OutboxReads: Read {
    /// At most `limit` reports, oldest first.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn outbox(&self, limit: usize) -> Result<Vec<Report>, StoreError> {
        records(self, Table::Outbox, &[], Order::Ascending, limit)
    }
}

impl<T: Read + ?Sized> OutboxReads for T {}

impl Tx<'_, '_> {
    /// Queues a report.
    ///
    /// # Errors
    /// When the database fails.
    pub fn queue_report(
        &mut self,
        reporter: &str,
        event: &str,
        job: Option<JobId>,
        body: serde_json::Value,
    ) -> Result<(), StoreError> {
        let seq = self.next_number(Table::Outbox, &[])?;
        let now = self.now();
        let report = Report {
            seq,
            reporter: reporter.to_owned(),
            event: event.to_owned(),
            body,
            job,
            created: now,
            attempts: 0,
            next_try: now,
        };
        self.save_report(&report)
    }

    /// Writes a report back after a failed delivery.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_report(&mut self, report: &Report) -> Result<(), StoreError> {
        self.put_record(Table::Outbox, numbered(&[], report.seq), report)
    }

    /// Removes a report: delivered, or given up.
    pub fn delete_report(&mut self, report: &Report) {
        self.remove(Table::Outbox, numbered(&[], report.seq));
    }
}
