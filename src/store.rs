//! The database: typed records in redb, one writer with group commit, an append-only event log.
//!
//! ```text
//!  callers ──write(closure)──> queue ──> writer thread: run closures on an overlay each, one commit for the batch
//!                                                        │ committed
//!                                                        ├──> directory (what a MAC may have; read by DHCP), roster (who joins)
//!                                                        ├──> broadcast of events (pages re-read by sequence number)
//!                                                        └──> replies to the callers
//!  callers ──read(closure)───> a snapshot on the caller's own blocking thread
//! ```
//!
//! A closure sees its own writes, and either all of them become durable together with its events or none does. That
//! is how "a crash loses nothing" holds: the state change, the job's step and the event are written by one closure.
//!
//! Only this module knows redb. Records are JSON inside the tables, so that a support case can read them.

mod account;
mod api_token;
mod audit;
mod backup;
mod backups;
mod boot_log;
mod directory;
mod error;
mod event;
mod guest;
mod host;
mod image;
mod job;
mod lease;
mod memory;
mod migrate;
mod once;
mod outbox;
mod read;
mod recover;
mod roster;
mod schema;
mod seal;
mod secret;
mod session;
mod setting;
mod sighting;
mod tx;
mod writer;

#[cfg(test)]
mod test;

pub use account::{AccountReads, OLD_PASSWORD};
pub use api_token::ApiTokenReads;
pub use audit::{AuditReads, as_author, as_author_once, present_author};
pub use backup::{dump, dump_file, verify};
pub use backups::{
    BackupState, RegularBackup, folder_of as backup_folder, list as regular_backups,
};
pub use boot_log::{BootLogEntry, BootLogReads};
pub use error::StoreError;
pub use event::{EventReads, NewEvent};
pub use guest::{
    GuestReads, GuestWriteError, HeldVmid, KeptVolumes, NodeReads, SHOWN_ONCE, of_guest, of_node,
};
pub use host::{HostReads, HostWriteError};
pub use image::ImageReads;
pub use job::JobReads;
pub use lease::LeaseReads;
pub use once::{Begun, Once, OnceReads};
pub use outbox::{Delivery, EVERYBODY, INFRASTRUCTURE, OutboxReads, Outcome, Report};
pub use read::{Read, Snapshot};
pub use recover::{LAST_RESTORE, LastRestore, RESTORED, Restored, recover, restore};
pub use schema::SCHEMA_VERSION;
pub use seal::{MasterKey, MasterKeyError};
pub use secret::{SecretReads, of_host, of_job};
pub use session::{Session, SessionReads};
pub use setting::SettingReads;
pub use sighting::SightingReads;
pub use tx::Tx;
pub use writer::{Clock, Commits, Store};
