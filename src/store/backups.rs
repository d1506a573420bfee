//! Regular backups: numbered files in a folder beside the database, the oldest go. A damaged database is replaced by the
//! newest of them that is whole ([`super::recover`]).
//!
//! Numbers order them, not times: a clock that was wrong must not make an old state the newest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::backup::{self, file_error, flush_folder_of};
use super::error::StoreError;
use super::read::{Order, Read as _, Snapshot};
use super::schema::Table;
use super::writer::{Store, whole_or_damaged};
use crate::domain::time::Timestamp;
use crate::limits::record::{
    BACKUP_EVERY, BACKUPS_BEFORE_MIGRATION, BACKUPS_BYTES, BACKUPS_KEPT, BACKUPS_LEAST,
};

/// The folder beside the database.
const FOLDER: &str = "backups";
const ENDING: &str = ".redb";

/// One regular backup, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegularBackup {
    /// The file.
    pub path: PathBuf,
    /// Counts up from 1; a higher one was made later.
    pub number: u64,
    /// When, by the wall clock of then.
    pub made: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// The schema version it has, when it was made before a migration.
    pub before_migration: Option<u32>,
}

/// How the regular backups stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupState {
    /// Where they are.
    pub folder: PathBuf,
    /// All of them, newest first.
    pub kept: Vec<RegularBackup>,
    /// Attempts that failed since the start of the program.
    pub failures: u64,
    /// Why the last attempt failed; `None` after one that did not.
    pub failure: Option<String>,
}

/// What became of the attempts.
#[derive(Default)]
pub(super) struct Attempts(Mutex<(u64, Option<String>)>);

impl Attempts {
    fn note(&self, failure: Option<String>) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.0 += u64::from(failure.is_some());
        all.1 = failure;
    }

    fn read(&self) -> (u64, Option<String>) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl Store {
    /// Makes a regular backup when one is due, and removes those that are too many. Writes go on meanwhile: it is made
    /// from a snapshot. For threads that may block.
    ///
    /// # Errors
    /// When it cannot be written or the database cannot be read; no part of a file is left. It is noted for
    /// [`Store::backup_state`].
    pub fn back_up_when_due(&self) -> Result<Option<RegularBackup>, StoreError> {
        let made = self.try_back_up();
        self.attempts().note(made.as_ref().err().map(ToString::to_string));
        made
    }

    fn try_back_up(&self) -> Result<Option<RegularBackup>, StoreError> {
        let database = self.path();
        if !is_due(&list(database)?, self.now()) {
            return Ok(None);
        }
        // A page that is not what was written is a panic of redb.
        whole_or_damaged(database, || {
            let snapshot = self.snapshot()?;
            if !is_worth_keeping(&snapshot)? {
                return Ok(None);
            }
            check_space(database)?;
            let made = make(&snapshot, database, self.now(), None)?;
            remove_surplus(database)?;
            Ok(Some(made))
        })
    }

    /// How the regular backups stand. Reads the folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn backup_state(&self) -> Result<BackupState, StoreError> {
        let (failures, failure) = self.attempts().read();
        let kept = list(self.path())?;
        Ok(BackupState { folder: folder_of(self.path()), kept, failures, failure })
    }
}

/// Where the regular backups of a database are.
#[must_use]
pub fn folder_of(database: &Path) -> PathBuf {
    database.with_file_name(FOLDER)
}

/// The regular backups of a database, newest first. Without the folder there are none.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(database: &Path) -> Result<Vec<RegularBackup>, StoreError> {
    let folder = folder_of(database);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(file_error("read the folder", &folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file_error("read the folder", &folder))?;
        // One that is removed at this moment is none.
        let Ok(metadata) = entry.metadata() else { continue };
        let name = entry.file_name();
        if let Some((number, made, before_migration)) = name.to_str().and_then(parse_name) {
            let bytes = metadata.len();
            found.push(RegularBackup { path: entry.path(), number, made, bytes, before_migration });
        }
    }
    found.sort_by_key(|backup| std::cmp::Reverse(backup.number));
    Ok(found)
}

/// Writes a snapshot into the folder. `before_migration` is the schema version that is about to be left.
pub(super) fn make(
    snapshot: &Snapshot,
    database: &Path,
    now: Timestamp,
    before_migration: Option<u32>,
) -> Result<RegularBackup, StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = folder_of(database);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(file_error("make the folder", &folder))?;
    let number = list(database)?.first().map_or(0, |newest| newest.number) + 1;
    // What an earlier attempt left that was killed: only one program at a time has the database open.
    for entry in fs::read_dir(&folder).map_err(file_error("read the folder", &folder))?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "part") {
            let _ = fs::remove_file(entry.path());
        }
    }
    let path = folder.join(name_of(number, now, before_migration));
    backup::backup(snapshot, &path)?;
    let bytes = fs::metadata(&path).map_err(file_error("read", &path))?.len();
    Ok(RegularBackup { path, number, made: now, bytes, before_migration })
}

fn remove_surplus(database: &Path) -> Result<(), StoreError> {
    for backup in surplus(&list(database)?) {
        fs::remove_file(&backup.path).map_err(file_error("remove the old backup", &backup.path))?;
    }
    flush_folder_of(&folder_of(database).join(FOLDER))
}

/// Which of them are too many. Those made before a migration are counted apart: they are the way back to the old program.
fn surplus(newest_first: &[RegularBackup]) -> Vec<&RegularBackup> {
    let (mut regular, mut before_migration, mut bytes) = (0, 0, 0u64);
    newest_first
        .iter()
        .filter(|backup| {
            if backup.before_migration.is_some() {
                before_migration += 1;
                return before_migration > BACKUPS_BEFORE_MIGRATION;
            }
            regular += 1;
            bytes = bytes.saturating_add(backup.bytes);
            regular > BACKUPS_KEPT || (regular > BACKUPS_LEAST && bytes > BACKUPS_BYTES)
        })
        .collect()
}

/// Whether it is time for another one. A newest one from the future means that the clock was wrong then, or is now.
fn is_due(newest_first: &[RegularBackup], now: Timestamp) -> bool {
    newest_first.first().is_none_or(|newest| {
        now.since(newest.made) >= BACKUP_EVERY || newest.made.since(now) >= BACKUP_EVERY
    })
}

/// A database without hosts and guests is new: its backup would only stand in the way of a question.
fn is_worth_keeping(snapshot: &Snapshot) -> Result<bool, StoreError> {
    for table in [Table::Hosts, Table::Guests] {
        if !snapshot.range(table, &[], &[255; 40], Order::Ascending, 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The disk must not become full by a backup: as much as the database takes stays free for it.
fn check_space(database: &Path) -> Result<(), StoreError> {
    let size = fs::metadata(database).map_err(file_error("read", database))?.len();
    let stat = nix::sys::statvfs::statvfs(database)
        .map_err(|e| file_error("ask for the free space of", database)(e.into()))?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    if free < size.saturating_mul(2) {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        return Err(file_error("make a regular backup beside", database)(full));
    }
    Ok(())
}

/// `000042-20261126T174224Z.redb`, or `000042-20261126T174224Z-schema-1.redb` before a migration.
fn name_of(number: u64, made: Timestamp, before_migration: Option<u32>) -> String {
    let made: String = made.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let schema = before_migration.map_or_else(String::new, |version| format!("-schema-{version}"));
    format!("{number:06}-{made}{schema}{ENDING}")
}

fn parse_name(name: &str) -> Option<(u64, Timestamp, Option<u32>)> {
    let (number, rest) = name.strip_suffix(ENDING)?.split_once('-')?;
    let (made, schema) = match rest.split_once("-schema-") {
        Some((made, schema)) => (made, Some(schema.parse().ok()?)),
        None => (rest, None),
    };
    let made: jiff::Timestamp = made.parse().ok()?;
    Some((number.parse().ok()?, Timestamp(made.as_millisecond()), schema))
}

#[cfg(test)]
mod test {
    use super::*;

    fn backup(number: u64, bytes: u64, before_migration: Option<u32>) -> RegularBackup {
        let made = Timestamp(i64::try_from(number).unwrap() * 1000);
        RegularBackup {
            path: PathBuf::from(number.to_string()),
            number,
            made,
            bytes,
            before_migration,
        }
    }

    #[test]
    fn a_name_tells_number_time_and_schema() {
        let at = Timestamp(1_795_715_000_000);
        for schema in [None, Some(1)] {
            let name = name_of(42, at, schema);
            assert!(name.starts_with("000042-2026"), "{name}");
            assert_eq!(parse_name(&name), Some((42, at, schema)), "{name}");
        }
        for odd in ["x.redb", "1-2.redb", "000042-20261126T174224Z.redb.part", "000042.redb"] {
            assert_eq!(parse_name(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_oldest_are_too_many_by_number_or_by_size_and_the_newest_stay() {
        let numbers =
            |all: &[RegularBackup]| -> Vec<u64> { surplus(all).iter().map(|b| b.number).collect() };
        let small: Vec<_> = (1..=30).rev().map(|n| backup(n, 1 << 20, None)).collect();
        assert_eq!(numbers(&small), [2, 1]);
        let big: Vec<_> = (1..=6).rev().map(|n| backup(n, BACKUPS_BYTES / 2, None)).collect();
        assert_eq!(numbers(&big), [3, 2, 1]);
        let mut mixed = small;
        mixed.truncate(5);
        mixed.extend((1..=4).rev().map(|n| backup(n, 1 << 30, Some(1))));
        assert_eq!(numbers(&mixed), [2, 1], "made before migrations");
    }

    #[test]
    fn a_clock_that_jumps_makes_one_backup_and_no_gap() {
        let made = Timestamp(1_795_715_000_000);
        let list = [RegularBackup { made, ..backup(1, 1, None) }];
        let hours = |n: i64| Timestamp(made.0 + n * 3_600_000);
        assert!(is_due(&[], made));
        for (hour, due) in [(0, false), (5, false), (6, true), (-5, false), (-6, true), (-24, true)]
        {
            assert_eq!(is_due(&list, hours(hour)), due, "{hour} h later");
        }
    }
}
