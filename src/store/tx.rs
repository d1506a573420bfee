//! One atomic write: an overlay over the writer's open tables, thrown away when the closure fails.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, WriteTransaction};
use serde::Serialize;

use super::directory::Touched;
use super::error::StoreError;
use super::read::{self, Entry, Order, Read};
use super::roster::Moved;
use super::schema::Table;
use super::seal::MasterKey;
use crate::domain::audit::Change;
use crate::domain::event::Event;
use crate::domain::time::Timestamp;

type RedbTable<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

/// The tables of one redb transaction. Each is opened when it is first touched, once per batch: opening all of them takes
/// as long as the disk does.
pub(super) struct OpenTables<'txn> {
    txn: &'txn WriteTransaction,
    tables: [OnceCell<RedbTable<'txn>>; Table::ALL.len()],
}

impl<'txn> OpenTables<'txn> {
    pub(super) fn of(txn: &'txn WriteTransaction) -> Self {
        Self { txn, tables: [const { OnceCell::new() }; Table::ALL.len()] }
    }

    fn at(&self, table: Table) -> Result<&RedbTable<'txn>, StoreError> {
        let cell = self.tables.get(table as usize).ok_or(StoreError::Closed)?;
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.txn.open_table(table.definition())?;
        Ok(cell.get_or_init(|| open))
    }

    fn at_mut(&mut self, table: Table) -> Result<&mut RedbTable<'txn>, StoreError> {
        self.at(table)?;
        self.tables.get_mut(table as usize).and_then(OnceCell::get_mut).ok_or(StoreError::Closed)
    }

    /// Writes an accepted closure's changes into the transaction.
    pub(super) fn apply(&mut self, changes: Changes) -> Result<(), StoreError> {
        for ((table, key), value) in changes {
            let table = self.at_mut(table)?;
            match value {
                Some(value) => table.insert(key.as_slice(), value.as_slice()).map(drop)?,
                None => table.remove(key.as_slice()).map(drop)?,
            }
        }
        Ok(())
    }
}

/// Changed keys with their new value; `None` removes.
pub(super) type Changes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// What is done when a write is kept.
pub(super) type WhenKept = Box<dyn FnOnce() + Send>;

/// A write in progress. Typed reads and writes of the aggregates are methods of this.
pub struct Tx<'a, 'txn> {
    tables: &'a OpenTables<'txn>,
    pub(super) changes: Changes,
    pub(super) events: Vec<Event>,
    /// What is changed outside of the records, for the audit log.
    pub(super) told: Vec<Change>,
    pub(super) kept: Vec<WhenKept>,
    pub(super) touched: Touched,
    pub(super) moved: Moved,
    pub(super) key: &'a MasterKey,
    numbers: HashMap<(Table, Vec<u8>), u64>,
    now: Timestamp,
}

impl std::fmt::Debug for Tx<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

impl<'a, 'txn> Tx<'a, 'txn> {
    pub(super) fn new(tables: &'a OpenTables<'txn>, key: &'a MasterKey, now: Timestamp) -> Self {
        Self {
            tables,
            changes: BTreeMap::new(),
            events: Vec::new(),
            told: Vec::new(),
            kept: Vec::new(),
            touched: Touched::default(),
            moved: Moved::default(),
            key,
            numbers: HashMap::new(),
            now,
        }
    }

    /// The instant of this write, the same for all its records.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Notes a change that this write goes with and that no record shows, such as that of a file: it is in the audit log
    /// when an operator asked for it.
    pub fn tell(&mut self, change: Change) {
        self.told.push(change);
    }

    /// Does something short as soon as this write is durable, whether or not anybody waits for it still. It is dropped
    /// instead when nothing of the write is kept.
    pub fn when_kept(&mut self, does: impl FnOnce() + Send + 'static) {
        self.kept.push(Box::new(does));
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert((table, key), Some(value));
    }

    /// The value at `key` as it was before this write.
    pub(super) fn stored(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tables.at(table)?.get(key)?.map(|guard| guard.value().to_vec()))
    }

    pub(super) fn put_record(
        &mut self,
        table: Table,
        key: Vec<u8>,
        record: &impl Serialize,
    ) -> Result<(), StoreError> {
        let value = serde_json::to_vec(record).map_err(|e| StoreError::Corrupt {
            table: table.name(),
            key: super::schema::readable(&key),
            reason: e.to_string(),
        })?;
        self.put(table, key, value);
        Ok(())
    }

    pub(super) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.changes.insert((table, key), None);
    }

    /// The number behind the largest one in use under `prefix`; 1 when there is none.
    ///
    /// Numbers given out in this write are remembered: searching for them again would make a write of many rows quadratic.
    pub(super) fn next_number(&mut self, table: Table, prefix: &[u8]) -> Result<u64, StoreError> {
        if let Some(last) = self.numbers.get_mut(&(table, prefix.to_vec())) {
            *last += 1;
            return Ok(*last);
        }
        let from = super::schema::numbered(prefix, 0);
        let to = super::schema::numbered(prefix, u64::MAX);
        let last = self.range(table, &from, &to, Order::Descending, 1)?;
        let number =
            last.first().and_then(|(key, _)| super::schema::trailing_number(key)).unwrap_or(0) + 1;
        self.numbers.insert((table, prefix.to_vec()), number);
        Ok(number)
    }
}

impl Read for Tx<'_, '_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(change) = self.changes.get(&(table, key.to_vec())) {
            return Ok(change.clone());
        }
        Ok(self.tables.at(table)?.get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let mine: Vec<_> =
            self.changes.range((table, from.to_vec())..(table, to.to_vec())).collect();
        // Each of my changes can hide at most one stored entry, so this many are enough to fill the limit.
        let stored = read::collect(
            self.tables.at(table)?,
            from,
            to,
            order,
            limit.saturating_add(mine.len()),
        )?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for ((_, key), change) in mine {
            match change {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(match order {
            Order::Ascending => merged.into_iter().take(limit).collect(),
            Order::Descending => merged.into_iter().rev().take(limit).collect(),
        })
    }
}
