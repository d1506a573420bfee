//! The audit log. An entry is written by the same write that makes the change: one is not there without the other.
//!
//! Whoever serves an operator's request does so inside [`as_author`]; each write made meanwhile by that task then carries
//! the author, and the writer compares the records before and after. Nothing has to be handed through the operations,
//! and none of them can forget it. Work that goes on later (a job's steps) is not the author's write; the job's entry is.

use std::future::Future;

use serde_json::Value;

use super::error::StoreError;
use super::once::Once;
use super::read::{Order, Read, end_of, parse, records};
use super::schema::{Table, numbered, readable, trailing_number};
use super::tx::Tx;
use crate::domain::audit::{AuditEntry, Author, Change, Fate, difference};
use crate::domain::event::Event;
use crate::limits::record::AUDIT_CHANGES;

/// What is known of the request that a task carries out.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    /// On whose behalf.
    pub(super) author: Author,
    /// The work that it queues is begun once.
    pub(super) once: Option<Once>,
}

tokio::task_local! {
    static ERRAND: Errand;
}

/// Runs a request on somebody's behalf: what it writes is in the audit log.
pub async fn as_author<T>(author: Author, request: impl Future<Output = T>) -> T {
    as_author_once(author, None, request).await
}

/// The same; the job that it queues is noted under its idempotency key, by the write that queues it.
pub async fn as_author_once<T>(
    author: Author,
    once: Option<Once>,
    request: impl Future<Output = T>,
) -> T {
    ERRAND.scope(Errand { author, once }, request).await
}

/// On whose behalf the present task works; `None`: on nobody's.
#[must_use]
pub fn present_author() -> Option<Author> {
    present_errand().map(|errand| errand.author)
}

/// For whom the present task works.
pub(super) fn present_errand() -> Option<Errand> {
    ERRAND.try_with(Clone::clone).ok()
}

/// What an entry says about a table's records: the word for one, the field with its name, and the fields that may be
/// shown. A table that is not here holds indexes, logs or what machines tell.
struct Shown {
    word: &'static str,
    name: &'static str,
    fields: &'static [&'static str],
}

fn shown(table: Table) -> Option<Shown> {
    let (word, name, fields): (_, _, &[&str]) = match table {
        Table::Hosts => (
            "host",
            "hostname",
            &["hostname", "macs", "uuid", "server_type", "overrides", "boot", "power", "state"],
        ),
        Table::Jobs => (
            "job",
            "id",
            &[
                "status",
                "cancel_requested",
                "work.kind",
                "work.hostname",
                "work.name",
                "work.image",
                "work.disk",
                "work.at_once",
                "work.stop_after",
                "work.replace_node",
                "work.source",
                "work.task.task",
                "work.task.action",
                "work.task.keep_volumes",
            ],
        ),
        Table::Images => ("image", "id", &["id", "source", "sha256"]),
        Table::Guests => (
            "guest",
            "name",
            &["name", "vmid", "node", "state", "app", "spec", "service", "adopted"],
        ),
        Table::HeldVmids => ("held number", "", &[]),
        Table::Nodes => ("node", "name", &["name", "address", "token_id"]),
        Table::Sightings => ("machine", "mac", &["ignored"]),
        Table::Accounts => ("account", "name", &["disabled", "password_hash", "password_set"]),
        Table::ApiTokens => ("API token", "name", &["scope", "expires", "owner"]),
        Table::Sessions => ("session of", "account", &["address"]),
        Table::Settings => ("setting", "", &[]),
        Table::Secrets => ("sealed secret", "", &[]),
        _ => return None,
    };
    Some(Shown { word, name, fields })
}

impl Tx<'_, '_> {
    /// Notes what this write did for a request.
    pub(super) fn note(&mut self, errand: Errand) -> Result<(), StoreError> {
        if let Some(once) = errand.once {
            self.note_begun(once)?;
        }
        self.note_audit(errand.author)
    }

    /// Appends the entry for what this write changed, if it is anything that operators know.
    fn note_audit(&mut self, author: Author) -> Result<(), StoreError> {
        let mut changes = std::mem::take(&mut self.told);
        for ((table, key), after) in &self.changes {
            let Some(shown) = shown(*table) else { continue };
            let before = self.stored(*table, key)?;
            if before.as_ref() == after.as_ref() {
                continue;
            }
            changes.extend(change(&shown, key, before.as_deref(), after.as_deref()));
        }
        if changes.is_empty() {
            // What leaves no trace in a record, such as a machine that was switched off, is told by its event.
            let told = |event: &Event| Change {
                subject: event.message.clone(),
                fate: Fate::Done,
                fields: Vec::new(),
            };
            changes.extend(self.events.iter().map(told));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let more = changes.len().saturating_sub(AUDIT_CHANGES);
        changes.truncate(AUDIT_CHANGES);
        let seq = self.next_number(Table::Audit, &[])?;
        let Author { who, address, action } = author;
        let entry = AuditEntry { seq, at: self.now(), who, address, action, changes, more };
        self.put_record(Table::Audit, numbered(&[], seq), &entry)
    }

    /// Removes the oldest entries beyond the newest `keep`, at most `limit` of them; returns how many went.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn prune_audit(&mut self, keep: u64, limit: usize) -> Result<usize, StoreError> {
        let newest = self.range(Table::Audit, &[], &end_of(&[]), Order::Descending, 1)?;
        let newest = newest.first().and_then(|(key, _)| trailing_number(key)).unwrap_or(0);
        let until = numbered(&[], newest.saturating_sub(keep).saturating_add(1));
        let old = self.range(Table::Audit, &[], &until, Order::Ascending, limit)?;
        let count = old.len();
        for (key, _) in old {
            self.remove(Table::Audit, key);
        }
        Ok(count)
    }
}

fn change(
    shown: &Shown,
    key: &[u8],
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) -> Option<Change> {
    let read = |bytes: Option<&[u8]>| bytes.and_then(|b| serde_json::from_slice::<Value>(b).ok());
    let (old, new) = (read(before), read(after));
    let fate = match (before, after) {
        (None, Some(_)) => Fate::Added,
        (Some(_), None) => Fate::Removed,
        _ => Fate::Changed,
    };
    let fields = difference(old.as_ref(), new.as_ref(), shown.fields);
    if fate == Fate::Changed && fields.is_empty() && !shown.fields.is_empty() {
        // A field that is not shown, such as when a session was used last.
        return None;
    }
    let record = new.as_ref().or(old.as_ref());
    let name = record.and_then(|r| r.get(shown.name)).and_then(Value::as_str);
    let name = name.map_or_else(|| readable(key), |name| name.chars().take(100).collect());
    Some(Change { subject: format!("{} {name}", shown.word), fate, fields })
}

/// Typed reads of the audit log.
pub trait AuditReads: Read {
    /// At most `limit` entries with a number below `before`, newest first.
    ///
    /// # Errors
    /// When the database or an entry cannot be read.
    fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let Some(before) = before else {
            return records(self, Table::Audit, &[], Order::Descending, limit);
        };
        self.range(Table::Audit, &[], &numbered(&[], before), Order::Descending, limit)?
            .into_iter()
            .map(|(key, value)| parse(Table::Audit, &key, &value))
            .collect()
    }
}

impl<T: Read + ?Sized> AuditReads for T {}
