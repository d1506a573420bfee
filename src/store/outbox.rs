//! Reports to other services that wait for delivery. Written with the change they tell of, so none is lost.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::read::{Order, Read, record, records};
use super::schema::{Table, numbered};
use super::tx::Tx;
use crate::domain::id::JobId;
use crate::domain::time::Timestamp;

/// One report on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Position in the queue; used again once the queue was empty.
    pub seq: u64,
    /// Which reporter of the configuration: `infrastructure`, or the name of a notification target. [`EVERYBODY`]: each
    /// target that wants it.
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

/// The reporter that is the registry.
pub const INFRASTRUCTURE: &str = "infrastructure";
/// The reporter of a notice that was not given to the targets yet. What they want is read when it is, not in the write
/// that it tells of.
pub const EVERYBODY: &str = "*";

/// How a reporter's last delivery went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When it ended.
    pub at: Timestamp,
    /// What was told.
    pub event: String,
    /// How it went.
    pub outcome: Outcome,
}

/// How a delivery went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// It did not, and is tried again.
    Retried {
        /// Why; never contains a secret.
        reason: String,
    },
    /// It did not, for the last time.
    GivenUp {
        /// Why; never contains a secret.
        reason: String,
    },
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

    /// How a reporter's last delivery went.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn last_delivery(&self, reporter: &str) -> Result<Option<Delivery>, StoreError> {
        record(self, Table::Deliveries, reporter.as_bytes())
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

    /// Gives a notice of [`EVERYBODY`] to these reporters.
    ///
    /// # Errors
    /// When the database fails.
    pub fn hand_out(&mut self, notice: &Report, to: &[String]) -> Result<(), StoreError> {
        for reporter in to {
            let seq = self.next_number(Table::Outbox, &[])?;
            let report = Report { seq, reporter: reporter.clone(), ..notice.clone() };
            self.save_report(&report)?;
        }
        self.delete_report(notice);
        Ok(())
    }

    /// Writes down how a reporter's last delivery went.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_delivery(&mut self, reporter: &str, delivery: &Delivery) -> Result<(), StoreError> {
        self.put_record(Table::Deliveries, reporter.as_bytes().to_vec(), delivery)
    }
}
