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

/// A request that must start its work once. Both hashes are [`Store::digest`]s: what a request holds can be a password.
///
/// [`Store::digest`]: super::Store::digest
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Hash of who asks and the key that was sent.
    pub key: String,
    /// Hash of the request itself.
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
    ///
    /// # Errors
    /// [`StoreError::Begun`] when an earlier write noted one under this key: a client that hung up and asked again may have
    /// left a write in the queue, and nobody but the writer sees both.
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
        if self.begun(&key)?.is_some() {
            return Err(StoreError::Begun);
        }
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

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::super::{JobReads as _, MasterKey, Store, as_author_once};
    use super::*;
    use crate::domain::audit::{Author, Who};
    use crate::domain::job::{CatalogWork, JobStatus, Work};

    #[tokio::test]
    async fn of_two_writes_under_one_key_the_first_queues_its_job() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.redb");
        let clock = Arc::new(|| Timestamp(1_000));
        let store = Store::open(&path, MasterKey::from_bytes(&[7; 32]), clock).unwrap();
        let queue = |id: u128, key: &str, request: &str| {
            let author =
                Author { who: Who::Socket("root".into()), address: None, action: "test".into() };
            let once = Once { key: key.into(), request: request.into() };
            let job = Job {
                id: JobId(Uuid::from_u128(id)),
                work: Work::Catalog(CatalogWork { source: "own".into() }),
                status: JobStatus::Pending,
                created: Timestamp(1_000),
                started: None,
                finished: None,
                steps: vec![],
                failure: None,
                cancel_requested: false,
            };
            as_author_once(author, Some(once), store.write(move |tx| tx.save_job(&job)))
        };
        // Both are in the writer's queue before it looks: the first client hung up.
        let (first, again) = tokio::join!(queue(1, "k", "same"), queue(2, "k", "same"));
        assert!(first.is_ok(), "{first:?}");
        assert!(matches!(again, Err(StoreError::Begun)), "{again:?}");
        assert!(matches!(queue(3, "k", "other").await, Err(StoreError::Begun)));
        assert!(queue(4, "l", "same").await.is_ok());
        let read = store.snapshot().unwrap();
        let begun = read.begun("k").unwrap().unwrap();
        assert_eq!((begun.job, begun.request.as_str()), (JobId(Uuid::from_u128(1)), "same"));
        for (id, is_there) in [(1, true), (2, false), (3, false), (4, true)] {
            assert_eq!(read.job(JobId(Uuid::from_u128(id))).unwrap().is_some(), is_there, "{id}");
        }
    }
}
