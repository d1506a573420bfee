//! Operator accounts, by name.

use super::error::StoreError;
use super::read::{Order, Read, record, records};
use super::schema::Table;
use super::setting::SettingReads as _;
use super::tx::Tx;
use crate::domain::account::{Account, AccountName};

/// Setting in which versions with one operator kept the password's hash.
pub const OLD_PASSWORD: &str = "operator_password";

/// Typed reads of accounts.
pub trait AccountReads: Read {
    /// One account.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn account(&self, name: &AccountName) -> Result<Option<Account>, StoreError> {
        record(self, Table::Accounts, name.as_str().as_bytes())
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        records(self, Table::Accounts, &[], Order::Ascending, usize::MAX)
    }
}

impl<T: Read + ?Sized> AccountReads for T {}

impl Tx<'_, '_> {
    /// Writes an account.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_account(&mut self, account: &Account) -> Result<(), StoreError> {
        self.put_record(Table::Accounts, account.name.as_str().as_bytes().to_vec(), account)
    }

    /// Removes an account.
    pub fn delete_account(&mut self, name: &AccountName) {
        self.remove(Table::Accounts, name.as_str().as_bytes().to_vec());
    }

    /// Makes the password of a version with one operator the first account's. Changes nothing a second time, and nothing
    /// when there are accounts already.
    ///
    /// # Errors
    /// When the database fails.
    pub fn adopt_old_password(&mut self) -> Result<(), StoreError> {
        let Some(hash) = self.setting::<String>(OLD_PASSWORD)? else { return Ok(()) };
        if self.accounts()?.is_empty() {
            self.save_account(&Account::new(AccountName::first(), Some(hash), self.now()))?;
        }
        self.delete_setting(OLD_PASSWORD);
        Ok(())
    }
}
