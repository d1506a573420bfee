//! Small named values that belong to the installation: the operator's password hash, the cluster as last seen.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::read::{Read, record};
use super::schema::Table;
use super::tx::Tx;

/// Typed reads of settings.
pub trait SettingReads: Read {
    /// One setting.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn setting<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        record(self, Table::Settings, name.as_bytes())
    }
}

impl<T: Read + ?Sized> SettingReads for T {}

impl Tx<'_, '_> {
    /// Writes a setting.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_setting(&mut self, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
        self.put_record(Table::Settings, name.as_bytes().to_vec(), value)
    }

    /// Removes a setting.
    pub fn delete_setting(&mut self, name: &str) {
        self.remove(Table::Settings, name.as_bytes().to_vec());
    }
}
