//! What can go wrong between a record and the disk.

/// The database could not be read or written. Nothing of the failed write is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be opened.
    #[error("cannot open the database {path}")]
    Open {
        /// The database file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file is not a whole database any more. It is left as it is.
    #[error(
        "the database {path} is damaged and was left as it is: {reason}. Put a backup in its place: `ironhatch db restore FILE`"
    )]
    Damaged {
        /// The database file.
        path: std::path::PathBuf,
        /// What redb says.
        reason: String,
    },
    /// redb refused or failed an operation: disk full, I/O error, corruption.
    #[error("the database refused the operation: {0}")]
    Database(String),
    /// A page is not what redb wrote.
    #[error("the database is damaged: {0}")]
    Page(String),
    /// A record is not what this version writes.
    #[error("the record {key} in table '{table}' cannot be read: {reason}")]
    Corrupt {
        /// Which table.
        table: &'static str,
        /// Its key in readable form.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by another version.
    #[error(
        "the database has schema version {found}, this program reads up to {supported}: {hint}"
    )]
    Schema {
        /// Version in the file.
        found: u32,
        /// Newest version this program knows.
        supported: u32,
        /// What to do.
        hint: &'static str,
    },
    /// A secret cannot be opened with this master key.
    #[error(
        "the secret '{name}' cannot be opened: the master key is not the one it was sealed with"
    )]
    Unseal {
        /// Which secret.
        name: String,
    },
    /// A backup file does not verify.
    #[error("{path} is not a usable backup: {reason}")]
    Backup {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file beside the database could not be handled.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The write queued work under an idempotency key under which work was begun before.
    #[error("work was begun under this idempotency key before")]
    Begun,
    /// The writer has stopped: the daemon is shutting down, or a closure panicked.
    #[error("the database writer is not running")]
    Closed,
}

macro_rules! from_redb {
    ($($kind:ty),+) => {
        $(impl From<$kind> for StoreError {
            fn from(source: $kind) -> Self {
                match redb::Error::from(source) {
                    redb::Error::Corrupted(reason) => Self::Page(reason),
                    other => Self::Database(other.to_string()),
                }
            }
        })+
    };
}

from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError
);

impl From<StoreError> for crate::domain::refusal::Refusal {
    fn from(error: StoreError) -> Self {
        if let StoreError::Begun = error {
            return Self::new(
                crate::domain::refusal::RefusalKind::Conflict,
                error.to_string(),
                "ask again: the answer will be that of the first request",
            );
        }
        Self::new(
            crate::domain::refusal::RefusalKind::Internal,
            error.to_string(),
            "nothing was changed; see the log of the daemon, free disk space if it is full, and try again",
        )
    }
}
