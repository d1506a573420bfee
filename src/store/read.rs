//! Raw reads, from a snapshot or from inside a write; the typed reads of each aggregate build on this.

use redb::{ReadTransaction, ReadableTable};
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::schema::{self, Table};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Which end of a range is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// Something records can be read from.
pub trait Read {
    /// The value at `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` entries with `from <= key < to`.
    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}

/// The first key behind all keys that begin with `prefix`.
pub fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 255 {
            end.push(last + 1);
            return end;
        }
    }
    vec![255; 40]
}

/// Reads and parses one record.
pub fn record<T: DeserializeOwned>(
    from: &(impl Read + ?Sized),
    table: Table,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    from.get(table, key)?.map(|value| parse(table, key, &value)).transpose()
}

/// Reads and parses records whose keys begin with `prefix`.
pub fn records<T: DeserializeOwned>(
    from: &(impl Read + ?Sized),
    table: Table,
    prefix: &[u8],
    order: Order,
    limit: usize,
) -> Result<Vec<T>, StoreError> {
    from.range(table, prefix, &end_of(prefix), order, limit)?
        .into_iter()
        .map(|(key, value)| parse(table, &key, &value))
        .collect()
}

/// Parses one record's JSON.
pub fn parse<T: DeserializeOwned>(table: Table, key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|e| StoreError::Corrupt {
        table: table.name(),
        key: schema::readable(key),
        reason: e.to_string(),
    })
}

/// The whole database as it was at one moment.
pub struct Snapshot {
    pub(super) txn: ReadTransaction,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Read for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.txn.open_table(table.definition())?;
        Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let table = self.txn.open_table(table.definition())?;
        collect(&table, from, to, order, limit)
    }
}

/// Collects a range of a redb table.
pub(super) fn collect(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: &[u8],
    order: Order,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    if from >= to {
        return Ok(Vec::new());
    }
    let mut range = table.range::<&[u8]>(from..to)?;
    let mut entries = Vec::new();
    while entries.len() < limit {
        let next = match order {
            Order::Ascending => range.next(),
            Order::Descending => range.next_back(),
        };
        let Some(entry) = next else { break };
        let (key, value) = entry?;
        entries.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(entries)
}
