//! Browser sessions, by the hash of their id.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::read::{Order, Read, end_of, record, records};
use super::schema::Table;
use super::tx::Tx;
use crate::domain::account::AccountName;
use crate::domain::time::Timestamp;
use crate::limits::operator::SESSIONS_OF_ONE;

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
    /// Whose it is; of a version with one operator it was the first account's.
    #[serde(default = "AccountName::first")]
    pub account: AccountName,
    /// From which address somebody logged in.
    #[serde(default)]
    pub address: Option<std::net::IpAddr>,
    /// What the browser calls itself.
    #[serde(default)]
    pub agent: String,
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

    /// All sessions, those that ended without use included until the next one begins.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        records(self, Table::Sessions, &[], Order::Ascending, usize::MAX)
    }
}

impl<T: Read + ?Sized> SessionReads for T {}

impl Tx<'_, '_> {
    /// Writes a session, and removes those that are over, and the oldest of this account when it has too many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_session(&mut self, session: &Session) -> Result<(), StoreError> {
        let now = self.now();
        let (over, mut others): (Vec<_>, Vec<_>) =
            self.sessions()?.into_iter().partition(|s| s.expires < now);
        others.retain(|s| s.account == session.account && s.id_hash != session.id_hash);
        others.sort_by_key(|s| std::cmp::Reverse(s.created));
        for old in over.iter().chain(others.iter().skip(SESSIONS_OF_ONE.saturating_sub(1))) {
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

    /// Ends the sessions of an account, but for the one that is kept; returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub fn end_sessions_of(
        &mut self,
        account: &AccountName,
        kept: Option<&str>,
    ) -> Result<usize, StoreError> {
        let mut ended = 0;
        for session in self.sessions()? {
            if session.account == *account && kept != Some(session.id_hash.as_str()) {
                self.delete_session(&session.id_hash);
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Ends a session.
    pub fn delete_session(&mut self, id_hash: &str) {
        self.remove(Table::Sessions, id_hash.as_bytes().to_vec());
    }
}
