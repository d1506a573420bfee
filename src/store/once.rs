//! Requests that were sent with an idempotency key, and the job that came of each. Written by the same write that queues
//! the job: a client that lost the answer, or met a restart, asks again and gets the same job.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::read::{Order, Read, record, records};
use super::schema::Table;
use super::tx::Tx;
use crate::domain::id::JobId;
use crate::domain::job::Job;
use crate::domain::time::Timestamp;

/// A request that must start its work once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// SHA-256 (hex) of who asks and the key that was sent.
    pub key: String,
    /// SHA-256 (hex) of the request itself.
    pub request: String,
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// As [`Once::key`]: the key of the record.
    pub key: String,
    /// As [`Once::request`]: another request with the same key is refused.
    pub request: String,
    /// The job.
    pub job: JobId,
    /// When.
    pub at: Timestamp,
}

/// Typed reads of what was begun.
pub trait OnceReads: Read {
    /// What came of the request with this key.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn begun(&self, key: &str) -> Result<Option<Begun>, StoreError> {
        record(self, Table::Begun, key.as_bytes())
    }
}

impl<T: Read + ?Sized> OnceReads for T {}

impl Tx<'_, '_> {
    /// Notes the job that this write queues for a request, if it does.
    pub(super) fn note_begun(&mut self, once: Once) -> Result<(), StoreError> {
        let mut queued = None;
        for ((table, key), value) in &self.changes {
            if let (Table::Jobs, Some(value)) = (table, value)
                && self.stored(Table::Jobs, key)?.is_none()
            {
                queued = Some(super::read::parse::<Job>(Table::Jobs, key, value)?.id);
                break;
            }
        }
        let Some(job) = queued else { return Ok(()) };
        let Once { key, request } = once;
        let begun = Begun { key, request, job, at: self.now() };
        self.put_record(Table::Begun, begun.key.as_bytes().to_vec(), &begun)
    }

    /// Forgets what was begun before an instant, and the oldest beyond `keep`; returns how many were forgotten.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn prune_begun(&mut self, before: Timestamp, keep: usize) -> Result<usize, StoreError> {
        let mut all: Vec<Begun> = records(self, Table::Begun, &[], Order::Ascending, usize::MAX)?;
        all.sort_by_key(|begun| std::cmp::Reverse(begun.at));
        let old = all.iter().enumerate().filter(|(n, begun)| *n >= keep || begun.at < before);
        let old: Vec<String> = old.map(|(_, begun)| begun.key.clone()).collect();
        for key in &old {
            self.remove(Table::Begun, key.as_bytes().to_vec());
        }
        Ok(old.len())
    }
}
