//! Copies of the database that can be trusted: written from one snapshot, with a digest inside, verified before use.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{ReadOnlyTable, ReadableDatabase as _, ReadableTable as _};
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use super::read::Snapshot;
use super::schema::{SCHEMA_VERSION, Table};

const DIGEST_KEY: &[u8] = b"backup_digest";

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

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
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
            Ok(verified)
        }
        Err(error) => {
            let _ = fs::remove_file(&part);
            Err(error)
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
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
    let refuse = |reason: String| StoreError::Backup { path: path.to_owned(), reason };
    if !path.is_file() {
        return Err(refuse("there is no such file".to_owned()));
    }
    let database = redb::Builder::new()
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

/// Puts a verified backup in the place of the database. The daemon must not run; the file that was there is kept as
/// `.before-restore`.
///
/// # Errors
/// When the backup does not verify, the database is in use, or a file cannot be written; then nothing changed.
pub fn restore(from: &Path, database: &Path) -> Result<Verified, StoreError> {
    let verified = verify(from)?;
    if database.exists() {
        // Opening takes redb's lock: a running daemon is found out here. A damaged file is what a backup is for.
        match super::writer::open_offline(database) {
            Err(StoreError::Damaged { .. }) => {}
            opened => drop(opened?),
        }
    }
    let part = with_suffix(database, ".restore");
    fs::copy(from, &part).map_err(file_error("copy the backup to", &part))?;
    fs::File::open(&part).and_then(|f| f.sync_all()).map_err(file_error("flush", &part))?;
    verify(&part)?;
    mark_restored(&part)?;
    if database.exists() {
        let kept = with_suffix(database, ".before-restore");
        fs::rename(database, &kept).map_err(file_error("keep the old database as", &kept))?;
    }
    fs::rename(&part, database).map_err(file_error("move the backup to", database))?;
    Ok(verified)
}

/// Notes in the file that it is a backup put back in place: what it shows armed may have been wiped since it was made.
fn mark_restored(part: &Path) -> Result<(), StoreError> {
    let copy = super::writer::open_offline(part)?;
    let txn = copy.begin_write()?;
    txn.open_table(Table::Settings.definition())?
        .insert(RESTORED.as_bytes(), b"true".as_slice())?;
    txn.commit()?;
    Ok(())
}

/// The setting that a restore leaves until the next start has acted on it; its value is `true`.
pub const RESTORED: &str = "restored";

/// As [`dump`], from the database of a daemon that does not run.
///
/// # Errors
/// When the file cannot be opened (a daemon holds it) or read, or `out` cannot be written.
pub fn dump_file(database: &Path, out: &mut dyn std::io::Write) -> Result<(), StoreError> {
    let database = super::writer::open_offline(database)?;
    dump(&Snapshot { txn: database.begin_read()? }, out)
}

/// Settings that hold hashes of secrets: not sealed, and still nobody's business in a support case.
const HASHED: [&[u8]; 2] = [b"operator_password", b"setup_token"];

/// Writes all records as JSON lines (`{"table","key","value"}`); sealed secrets, tokens, sessions and hashes are left out.
///
/// # Errors
/// When the database cannot be read or `out` cannot be written.
pub fn dump(snapshot: &Snapshot, out: &mut dyn std::io::Write) -> Result<(), StoreError> {
    for table in Table::ALL {
        if matches!(table, Table::Secrets | Table::Sessions | Table::Tokens) {
            continue;
        }
        let source = snapshot.txn.open_table(table.definition())?;
        for entry in source.iter()? {
            let (key, value) = entry?;
            if table == Table::Settings && HASHED.contains(&key.value()) {
                continue;
            }
            let value = serde_json::from_slice::<serde_json::Value>(value.value())
                .unwrap_or_else(|_| super::schema::readable(value.value()).into());
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
