//! Machines that were heard but are not registered.

use super::error::StoreError;
use super::read::{Order, Read, record, records};
use super::schema::Table;
use super::tx::Tx;
use crate::domain::mac::Mac;
use crate::domain::sighting::Sighting;
use crate::limits::record::SIGHTINGS;

/// Typed reads of sightings.
pub trait SightingReads: Read {
    /// One sighting.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn sighting(&self, mac: Mac) -> Result<Option<Sighting>, StoreError> {
        record(self, Table::Sightings, &mac.0)
    }

    /// All sightings, last heard first.
    ///
    /// # Errors
    /// As above.
    fn sightings(&self) -> Result<Vec<Sighting>, StoreError> {
        let mut all: Vec<Sighting> =
            records(self, Table::Sightings, &[], Order::Ascending, usize::MAX)?;
        all.sort_by_key(|s| std::cmp::Reverse(s.last_seen));
        Ok(all)
    }
}

impl<T: Read + ?Sized> SightingReads for T {}

impl Tx<'_, '_> {
    /// Writes a sighting; makes room when there are too many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_sighting(&mut self, sighting: &Sighting) -> Result<(), StoreError> {
        let key = sighting.mac.0.to_vec();
        if self.get(Table::Sightings, &key)?.is_none() {
            let all = self.sightings()?;
            if all.len() >= SIGHTINGS
                && let Some(oldest) = all.iter().rev().find(|s| !s.ignored)
            {
                self.delete_sighting(oldest.mac);
                self.delete_boot_lesson(oldest.mac);
            }
        }
        self.touched.insert(sighting.mac);
        self.put_record(Table::Sightings, key, sighting)
    }

    /// Removes a sighting: registered, or dismissed for good.
    pub fn delete_sighting(&mut self, mac: Mac) {
        self.touched.insert(mac);
        self.remove(Table::Sightings, mac.0.to_vec());
    }
}
