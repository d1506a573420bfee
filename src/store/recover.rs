//! A damaged database: the newest whole backup takes its place, and the damaged file stays beside it.
//!
//! An old state is not the truth any more. So whoever opens the database next finds the note [`RESTORED`] in it, and has
//! to end everything that was under way before anything is answered: nothing may be armed by a state of yesterday.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::backup::{self, Verified, file_error, flush_folder_of, with_suffix};
use super::backups::{self, RegularBackup};
use super::error::StoreError;
use super::schema::Table;
use crate::domain::time::Timestamp;
use crate::limits::record::DAMAGED_KEPT;

/// The setting that a restore leaves until the next start has acted on it; its value is [`Restored`].
pub const RESTORED: &str = "restored";
/// The setting that tells of the last restore; its value is [`LastRestore`].
pub const LAST_RESTORE: &str = "last_restore";

/// A backup was put in the place of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restored {
    /// The backup's path.
    pub backup: String,
    /// When a regular backup was made.
    pub made: Option<Timestamp>,
    /// Why it was done without being asked for.
    pub damage: Option<String>,
    /// Where the file is that was there before.
    pub aside: Option<String>,
}

/// The last restore, as the page Health tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRestore {
    /// When the next start acted on it.
    pub at: Timestamp,
    /// Unfinished jobs that were ended.
    pub ended: usize,
    /// What was restored.
    pub what: Restored,
}

/// Puts a verified backup in the place of the database. The daemon must not run; the file that was there is kept as
/// `.before-restore`.
///
/// # Errors
/// When the backup does not verify, the database is in use, or a file cannot be written; then nothing changed.
pub fn restore(from: &Path, database: &Path) -> Result<Verified, StoreError> {
    let verified = backup::verify(from)?;
    if database.exists() {
        // Opening takes redb's lock: a running daemon is found out here. A damaged file is what a backup is for.
        match super::writer::open_offline(database) {
            Err(StoreError::Damaged { .. }) => {}
            opened => drop(opened?),
        }
    }
    put_in_place(from, database, "before-restore", Restored::default())?;
    Ok(verified)
}

/// Puts the newest whole regular backup in the place of a damaged database, which is kept as `.damaged`.
///
/// # Errors
/// [`StoreError::Damaged`] when there is no whole backup, or when this happened so often that the disk must be looked at;
/// others when a file cannot be written. Then the damaged file is where it was.
pub fn recover(database: &Path, damage: &str) -> Result<(RegularBackup, Restored), StoreError> {
    let refuse = |why: &str| StoreError::Damaged {
        path: database.to_owned(),
        reason: format!("{damage}; {why}"),
    };
    if (1..=DAMAGED_KEPT).all(|n| aside(database, "damaged", n).exists()) {
        return Err(refuse(
            "it was replaced by a backup again and again: look at the disk, then remove the files named .damaged",
        ));
    }
    for backup in backups::list(database)? {
        let note = Restored {
            made: Some(backup.made),
            damage: Some(damage.to_owned()),
            ..Restored::default()
        };
        match put_in_place(&backup.path, database, "damaged", note) {
            Ok(restored) => return Ok((backup, restored)),
            Err(error @ (StoreError::Backup { .. } | StoreError::Damaged { .. })) => {
                tracing::warn!(%error, "a regular backup cannot be used, the next older one is tried");
            }
            Err(error) => return Err(error),
        }
    }
    let folder = backups::folder_of(database);
    Err(refuse(&format!("and there is no whole backup in {}", folder.display())))
}

/// Copies, verifies and marks the backup beside the database, then exchanges the two. There is a database at every moment:
/// who is killed in between finds the old one or the new one.
fn put_in_place(
    from: &Path,
    database: &Path,
    ending: &str,
    mut note: Restored,
) -> Result<Restored, StoreError> {
    let part = with_suffix(database, ".restore");
    let _ = fs::remove_file(&part);
    let placed = (|| {
        fs::copy(from, &part).map_err(file_error("copy the backup to", &part))?;
        backup::verify(&part).map_err(|error| match error {
            StoreError::Backup { reason, .. } => {
                StoreError::Backup { path: from.to_owned(), reason }
            }
            other => other,
        })?;
        note.backup = from.display().to_string();
        note.aside = keep_aside(database, ending)?.map(|path| path.display().to_string());
        mark(&part, &note)?;
        fs::File::open(&part).and_then(|f| f.sync_all()).map_err(file_error("flush", &part))?;
        fs::rename(&part, database).map_err(file_error("move the backup to", database))?;
        flush_folder_of(database)
    })();
    if placed.is_err() {
        let _ = fs::remove_file(&part);
    }
    placed.map(|()| note)
}

fn aside(database: &Path, ending: &str, n: usize) -> PathBuf {
    let number = if n == 1 { String::new() } else { format!("-{n}") };
    with_suffix(database, &format!(".{ending}{number}"))
}

/// Gives the file that is in place a second name. It is the only copy of what happened since the backup was made, so no
/// earlier one is overwritten.
fn keep_aside(database: &Path, ending: &str) -> Result<Option<PathBuf>, StoreError> {
    if !database.exists() {
        return Ok(None);
    }
    let mut n = 1;
    loop {
        let kept = aside(database, ending, n);
        match fs::hard_link(database, &kept) {
            Ok(()) => return Ok(Some(kept)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => n += 1,
            Err(error) => return Err(file_error("keep the old database as", &kept)(error)),
        }
    }
}

/// Notes in the file that it is a backup put back in place: what it shows armed may have been wiped since it was made.
fn mark(part: &Path, note: &Restored) -> Result<(), StoreError> {
    let note = serde_json::to_vec(note).map_err(|e| StoreError::Corrupt {
        table: Table::Settings.name(),
        key: RESTORED.to_owned(),
        reason: e.to_string(),
    })?;
    let copy = super::writer::open_offline(part)?;
    let txn = copy.begin_write()?;
    txn.open_table(Table::Settings.definition())?.insert(RESTORED.as_bytes(), note.as_slice())?;
    // From here on it is a database and no backup: its contents will differ from the digest.
    txn.open_table(Table::Meta.definition())?.remove(backup::DIGEST_KEY)?;
    txn.commit()?;
    Ok(())
}
