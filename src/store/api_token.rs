//! API tokens, by the first digits of their hash.

use super::error::StoreError;
use super::read::{Order, Read, record, records};
use super::schema::Table;
use super::tx::Tx;
use crate::domain::account::{AccountName, ApiToken};

/// Typed reads of API tokens.
pub trait ApiTokenReads: Read {
    /// One token, by its id.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn api_token(&self, id: &str) -> Result<Option<ApiToken>, StoreError> {
        record(self, Table::ApiTokens, id.as_bytes())
    }

    /// All tokens, the newest first.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn api_tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        let mut all: Vec<ApiToken> =
            records(self, Table::ApiTokens, &[], Order::Ascending, usize::MAX)?;
        all.sort_by_key(|token| std::cmp::Reverse(token.created));
        Ok(all)
    }
}

impl<T: Read + ?Sized> ApiTokenReads for T {}

impl Tx<'_, '_> {
    /// Writes a token.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_api_token(&mut self, token: &ApiToken) -> Result<(), StoreError> {
        self.put_record(Table::ApiTokens, token.id.as_bytes().to_vec(), token)
    }

    /// Removes a token: it opens nothing from now on.
    pub fn delete_api_token(&mut self, id: &str) {
        self.remove(Table::ApiTokens, id.as_bytes().to_vec());
    }

    /// Removes the tokens of an account.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_api_tokens_of(&mut self, owner: &AccountName) -> Result<(), StoreError> {
        for token in self.api_tokens()? {
            if token.owner.as_ref() == Some(owner) {
                self.delete_api_token(&token.id);
            }
        }
        Ok(())
    }
}
