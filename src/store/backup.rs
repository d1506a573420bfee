//! Copies of the database that can be trusted: written from one snapshot, with a digest inside, verified before use.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{ReadOnlyTable, ReadableDatabase as _, ReadableTable as _};
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::read::Snapshot;
use super::schema::{SCHEMA_VERSION, Table};
use super::writer::whole_or_damaged;
use crate::limits::record::CACHE_BYTES;

pub(super) const DIGEST_KEY: &[u8] = b"backup_digest";

/// What a verified backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Records in it.
    pub records: u64,
    /// Its schema version.
    pub schema: u32,
    /// SHA-256 over all records, lower-case hex.
    pub digest: String,
}

pub(super) fn file_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::File { action, path, source }
}

/// Writes a snapshot to a new file beside `to`, verifies it, and renames it into place.
pub(super) fn backup(snapshot: &Snapshot, to: &Path) -> Result<Verified, StoreError> {
    let part = with_suffix(to, ".part");
    let _ = fs::remove_file(&part);
    let written = write_copy(snapshot, &part).and_then(|()| verify(&part));
    match written {
        Ok(verified) => {
            fs::rename(&part, to).map_err(file_error("rename the backup to", to))?;
            flush_folder_of(to)?;
            Ok(verified)
        }
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a new name of a file durable.
pub(super) fn flush_folder_of(file: &Path) -> Result<(), StoreError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(file_error("flush the folder", folder))
}

fn write_copy(snapshot: &Snapshot, to: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Readable by the owner only from its first byte: it holds password hashes and sealed secrets.
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(file_error("create the backup", to))?;
    let copy = super::writer::open_offline(to)?;
    let txn = copy.begin_write()?;
    let mut digest = Sha256::new();
    for table in Table::ALL {
        let source = snapshot.txn.open_table(table.definition())?;
        let mut target = txn.open_table(table.definition())?;
        for entry in source.iter()? {
            let (key, value) = entry?;
            if table == Table::Meta && key.value() == DIGEST_KEY {
                continue;
            }
            add_to_digest(&mut digest, table, key.value(), value.value());
            target.insert(key.value(), value.value())?;
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    txn.open_table(Table::Meta.definition())?.insert(DIGEST_KEY, digest.as_slice())?;
    txn.commit()?;
    drop(copy);
    fs::File::open(to).and_then(|f| f.sync_all()).map_err(file_error("flush the backup", to))
}

fn add_to_digest(digest: &mut Sha256, table: Table, key: &[u8], value: &[u8]) {
    for part in [table.name().as_bytes(), key, value] {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
}

/// Checks that a file is a complete backup that this program can read.
///
/// # Errors
/// [`StoreError::Backup`] with the reason when it is not.
pub fn verify(path: &Path) -> Result<Verified, StoreError> {
    if !path.is_file() {
        let reason = "there is no such file".to_owned();
        return Err(StoreError::Backup { path: path.to_owned(), reason });
    }
    // A page that is not what was written is a panic of redb.
    match whole_or_damaged(path, || verify_records(path)) {
        Err(StoreError::Damaged { path, reason }) => Err(StoreError::Backup { path, reason }),
        verified => verified,
    }
}

fn verify_records(path: &Path) -> Result<Verified, StoreError> {
    let refuse = |reason: String| StoreError::Backup { path: path.to_owned(), reason };
    let database = redb::Builder::new()
        .set_cache_size(CACHE_BYTES)
        .open_read_only(path)
        .map_err(|e| refuse(format!("it is not a complete database file ({e})")))?;
    let txn = database.begin_read()?;
    let mut digest = Sha256::new();
    let mut records = 0u64;
    let mut stored = None;
    let mut schema = None;
    for table in Table::ALL {
        let source: ReadOnlyTable<&[u8], &[u8]> = txn
            .open_table(table.definition())
            .map_err(|e| refuse(format!("table '{}' is missing ({e})", table.name())))?;
        for entry in source.iter().map_err(|e| refuse(e.to_string()))? {
            let (key, value) = entry.map_err(|e| refuse(e.to_string()))?;
            if table == Table::Meta && key.value() == DIGEST_KEY {
                stored = Some(value.value().to_vec());
                continue;
            }
            if table == Table::Meta && key.value() == b"schema_version" {
                schema = value.value().try_into().ok().map(u32::from_be_bytes);
            }
            add_to_digest(&mut digest, table, key.value(), value.value());
            records += 1;
        }
    }
    let digest: [u8; 32] = digest.finalize().into();
    match stored {
        None => Err(refuse("it was not made by 'ironhatch db backup'".to_owned())),
        Some(stored) if stored != digest => {
            Err(refuse("its contents do not match its digest: it is damaged".to_owned()))
        }
        Some(_) => {
            let schema = schema.ok_or_else(|| refuse("it has no schema version".to_owned()))?;
            if schema > SCHEMA_VERSION {
                return Err(refuse(format!(
                    "it was made by a newer version (schema {schema}, this program reads {SCHEMA_VERSION})"
                )));
            }
            let digest = digest.iter().map(|b| format!("{b:02x}")).collect();
            Ok(Verified { records, schema, digest })
        }
    }
}

/// As [`dump`], from the database of a daemon that does not run.
///
/// # Errors
/// When the file cannot be opened (a daemon holds it) or read, or `out` cannot be written.
pub fn dump_file(database: &Path, out: &mut dyn std::io::Write) -> Result<(), StoreError> {
    let database = super::writer::open_offline(database)?;
    dump(&Snapshot { txn: database.begin_read()? }, out)
}

/// Settings that hold hashes of secrets: not sealed, and still nobody's business in a support case.
pub(super) const HASHED: [&[u8]; 3] = [b"operator_password", b"setup_token", b"prometheus_token"];

/// Writes all records as JSON lines (`{"table","key","value"}`); sealed secrets, tokens, sessions and hashes (also those of
/// requests that were begun) are left out.
///
/// # Errors
/// When the database cannot be read or `out` cannot be written.
pub fn dump(snapshot: &Snapshot, out: &mut dyn std::io::Write) -> Result<(), StoreError> {
    for table in Table::ALL {
        if matches!(
            table,
            Table::Secrets | Table::Sessions | Table::Tokens | Table::ApiTokens | Table::Begun
        ) {
            continue;
        }
        let source = snapshot.txn.open_table(table.definition())?;
        for entry in source.iter()? {
            let (key, value) = entry?;
            if table == Table::Settings && HASHED.contains(&key.value()) {
                continue;
            }
            let mut value = serde_json::from_slice::<serde_json::Value>(value.value())
                .unwrap_or_else(|_| super::schema::readable(value.value()).into());
            if table == Table::Accounts
                && let Some(account) = value.as_object_mut()
            {
                account.remove("password_hash");
            }
            let line = serde_json::json!({
                "table": table.name(),
                "key": super::schema::readable(key.value()),
                "value": value,
            });
            match writeln!(out, "{line}") {
                // `| head` has seen enough.
                Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => {
                    written.map_err(file_error("write the dump of", Path::new("database")))?
                }
            }
        }
    }
    Ok(())
}
