//! Browser sessions, by the hash of their id.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::read::{Order, Read, end_of, record, records};
use super::schema::Table;
use super::tx::Tx;
use crate::domain::time::Timestamp;

/// One logged-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of the session id, hex: the key of the record.
    pub id_hash: String,
    /// Token that forms must send back.
    pub csrf: String,
    /// When the login happened.
    pub created: Timestamp,
    /// When it ends without use.
    pub expires: Timestamp,
}

/// Typed reads of sessions.
pub trait SessionReads: Read {
    /// One session.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn session(&self, id_hash: &str) -> Result<Option<Session>, StoreError> {
        record(self, Table::Sessions, id_hash.as_bytes())
    }
}

impl<T: Read + ?Sized> SessionReads for T {}

impl Tx<'_, '_> {
    /// Writes a session, and removes those that are over.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_session(&mut self, session: &Session) -> Result<(), StoreError> {
        let all: Vec<Session> = records(self, Table::Sessions, &[], Order::Ascending, usize::MAX)?;
        let now = self.now();
        for old in all.into_iter().filter(|s| s.expires < now) {
            self.delete_session(&old.id_hash);
        }
        self.put_record(Table::Sessions, session.id_hash.as_bytes().to_vec(), session)
    }

    /// Ends all sessions.
    ///
    /// # Errors
    /// When the database fails.
    pub fn delete_all_sessions(&mut self) -> Result<(), StoreError> {
        for (key, _) in
            self.range(Table::Sessions, &[], &end_of(&[]), Order::Ascending, usize::MAX)?
        {
            self.remove(Table::Sessions, key);
        }
        Ok(())
    }

    /// Ends a session.
    pub fn delete_session(&mut self, id_hash: &str) {
        self.remove(Table::Sessions, id_hash.as_bytes().to_vec());
    }
}
