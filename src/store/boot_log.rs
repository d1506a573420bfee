//! What each machine asked for on the wire and what it got, the newest entries per MAC.

use super::error::StoreError;
use super::read::{Order, Read, end_of, record, records};
use super::schema::{Table, numbered};
use super::tx::Tx;
pub use crate::domain::boot::BootLogEntry;
use crate::domain::boot::{BootLesson, BootObservation};
use crate::domain::mac::Mac;
use crate::limits::record::BOOT_LOG_PER_MACHINE;

/// Typed reads of the boot log.
pub trait BootLogReads: Read {
    /// The newest `limit` entries of a machine, newest first.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn boot_log(&self, mac: Mac, limit: usize) -> Result<Vec<BootLogEntry>, StoreError> {
        records(self, Table::BootLog, &mac.0, Order::Descending, limit)
    }

    /// The newest `limit` entries of a machine with several addresses, oldest first.
    ///
    /// # Errors
    /// As above.
    fn boot_log_of(&self, macs: &[Mac], limit: usize) -> Result<Vec<BootLogEntry>, StoreError> {
        let mut all = Vec::new();
        for mac in macs {
            let mut entries = self.boot_log(*mac, limit)?;
            entries.reverse();
            all.extend(entries);
        }
        // What one address did in the same millisecond stays in its order.
        all.sort_by_key(|entry| entry.observation.at);
        let surplus = all.len().saturating_sub(limit);
        Ok(all.split_off(surplus))
    }

    /// What the failed boots of a machine taught.
    ///
    /// # Errors
    /// As above.
    fn boot_lesson(&self, mac: Mac) -> Result<Option<BootLesson>, StoreError> {
        record(self, Table::BootLessons, &mac.0)
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
            if observation.repeats(&entry.observation) {
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

    /// Writes what a machine's failed boots taught.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_boot_lesson(&mut self, mac: Mac, lesson: &BootLesson) -> Result<(), StoreError> {
        self.touched.insert(mac);
        self.put_record(Table::BootLessons, mac.0.to_vec(), lesson)
    }

    /// Forgets it: the machine is spoken to by its architecture again.
    pub fn delete_boot_lesson(&mut self, mac: Mac) {
        self.touched.insert(mac);
        self.remove(Table::BootLessons, mac.0.to_vec());
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
