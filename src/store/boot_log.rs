//! What each machine asked for on the wire and what it got, the newest entries per MAC.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::read::{Order, Read, end_of, records};
use super::schema::{Table, numbered};
use super::tx::Tx;
use crate::domain::boot::BootObservation;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::limits::record::BOOT_LOG_PER_MACHINE;

/// One entry; repeats of the same thing in a row are counted, not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootLogEntry {
    /// What was seen, the first time.
    pub observation: BootObservation,
    /// How often in a row.
    pub count: u64,
    /// When it was seen the last time.
    pub last: Timestamp,
}

/// Typed reads of the boot log.
pub trait BootLogReads: Read {
    /// The newest `limit` entries of a machine, newest first.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn boot_log(&self, mac: Mac, limit: usize) -> Result<Vec<BootLogEntry>, StoreError> {
        records(self, Table::BootLog, &mac.0, Order::Descending, limit)
    }
}

impl<T: Read + ?Sized> BootLogReads for T {}

impl Tx<'_, '_> {
    /// Appends to a machine's boot log and drops what is beyond its share. What repeats the newest entry is counted there.
    ///
    /// # Errors
    /// When the database fails.
    pub fn append_boot_log(
        &mut self,
        mac: Mac,
        observation: BootObservation,
        times: u64,
    ) -> Result<(), StoreError> {
        let newest =
            self.range(Table::BootLog, &mac.0, &end_of(&mac.0), Order::Descending, 1)?.pop();
        let mut seq = 1;
        if let Some((key, value)) = newest {
            let mut entry: BootLogEntry = super::read::parse(Table::BootLog, &key, &value)?;
            let known = &entry.observation;
            if known.stage == observation.stage && known.message == observation.message {
                entry.count = entry.count.saturating_add(times);
                entry.last = observation.at;
                return self.put_record(Table::BootLog, key, &entry);
            }
            seq = super::schema::trailing_number(&key).unwrap_or(0) + 1;
        }
        let entry = BootLogEntry { last: observation.at, observation, count: times };
        self.put_record(Table::BootLog, numbered(&mac.0, seq), &entry)?;
        if let Some(old) = seq.checked_sub(BOOT_LOG_PER_MACHINE) {
            self.remove(Table::BootLog, numbered(&mac.0, old));
        }
        Ok(())
    }

    /// Removes a machine's boot log.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn delete_boot_log(&mut self, mac: Mac) -> Result<(), StoreError> {
        let all =
            self.range(Table::BootLog, &mac.0, &end_of(&mac.0), Order::Ascending, usize::MAX)?;
        for (key, _) in all {
            self.remove(Table::BootLog, key);
        }
        Ok(())
    }
}
