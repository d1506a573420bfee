//! The append-only event log and its indexes by host and by job.

use super::error::StoreError;
use super::read::{Order, Read, end_of, record, records};
use super::schema::{Table, host_key, job_key, numbered, trailing_number};
use super::tx::Tx;
use crate::domain::event::{Event, EventKind, Level, Subject};
use crate::domain::id::{HostId, JobId};

/// An event before the store gave it its number and time.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// How much attention it wants.
    pub level: Level,
    /// Whom it concerns.
    pub subject: Subject,
    /// What happened.
    pub kind: EventKind,
    /// One sentence for the operator, without secrets.
    pub message: String,
}

/// Typed reads of events.
pub trait EventReads: Read {
    /// At most `limit` events with a number above `seq`, oldest first.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn events_after(&self, seq: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let from = seq.saturating_add(1).to_be_bytes();
        self.range(Table::Events, &from, &end_of(&[]), Order::Ascending, limit)?
            .into_iter()
            .map(|(key, value)| super::read::parse(Table::Events, &key, &value))
            .collect()
    }

    /// The newest `limit` events, newest first.
    ///
    /// # Errors
    /// As above.
    fn latest_events(&self, limit: usize) -> Result<Vec<Event>, StoreError> {
        records(self, Table::Events, &[], Order::Descending, limit)
    }

    /// The newest `limit` events of one host, newest first.
    ///
    /// # Errors
    /// As above.
    fn events_of_host(&self, host: HostId, limit: usize) -> Result<Vec<Event>, StoreError> {
        by_index(self, Table::EventsByHost, &host_key(host), limit)
    }

    /// The newest `limit` events of one job, newest first.
    ///
    /// # Errors
    /// As above.
    fn events_of_job(&self, job: JobId, limit: usize) -> Result<Vec<Event>, StoreError> {
        by_index(self, Table::EventsByJob, &job_key(job), limit)
    }

    /// The number of the newest event; 0 when there is none.
    ///
    /// # Errors
    /// As above.
    fn last_event(&self) -> Result<u64, StoreError> {
        let newest = self.range(Table::Events, &[], &end_of(&[]), Order::Descending, 1)?;
        Ok(newest.first().and_then(|(key, _)| trailing_number(key)).unwrap_or(0))
    }
}

impl<T: Read + ?Sized> EventReads for T {}

fn by_index(
    from: &(impl Read + ?Sized),
    index: Table,
    prefix: &[u8],
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let keys = from.range(index, prefix, &end_of(prefix), Order::Descending, limit)?;
    let mut events = Vec::with_capacity(keys.len());
    for (key, _) in keys {
        let Some(seq) = trailing_number(&key) else { continue };
        // A pruned event may still be in an index for a moment.
        if let Some(event) = record(from, Table::Events, &seq.to_be_bytes())? {
            events.push(event);
        }
    }
    Ok(events)
}

impl Tx<'_, '_> {
    /// Appends an event to the log. It is published to readers once the write is durable.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn emit(&mut self, new: NewEvent) -> Result<u64, StoreError> {
        let seq = self.next_number(Table::Events, &[])?;
        let NewEvent { level, subject, kind, message } = new;
        let event = Event { seq, at: self.now(), level, subject, kind, message };
        self.put_record(Table::Events, numbered(&[], seq), &event)?;
        if let Some(host) = event.subject.host {
            self.put(Table::EventsByHost, numbered(&host_key(host), seq), Vec::new());
        }
        if let Some(job) = event.subject.job {
            self.put(Table::EventsByJob, numbered(&job_key(job), seq), Vec::new());
        }
        self.events.push(event);
        Ok(seq)
    }

    /// Removes the oldest events beyond the newest `keep`, at most `limit` of them; returns how many went.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn prune_events(&mut self, keep: u64, limit: usize) -> Result<usize, StoreError> {
        let newest = self.last_event()?;
        let until = newest.saturating_sub(keep);
        let old = self.range(Table::Events, &[], &numbered(&[], until), Order::Ascending, limit)?;
        let count = old.len();
        for (key, value) in old {
            let event: Event = super::read::parse(Table::Events, &key, &value)?;
            if let Some(host) = event.subject.host {
                self.remove(Table::EventsByHost, numbered(&host_key(host), event.seq));
            }
            if let Some(job) = event.subject.job {
                self.remove(Table::EventsByJob, numbered(&job_key(job), event.seq));
            }
            self.remove(Table::Events, key);
        }
        Ok(count)
    }
}
