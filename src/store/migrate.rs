//! Schema versions: a new file gets the current one, an old one is brought forward step by step, a newer one is refused.

use std::path::Path;

use redb::{Database, WriteTransaction};

use super::backups;
use super::error::StoreError;
use super::schema::{SCHEMA_VERSION, Table};
use crate::domain::time::Timestamp;

const VERSION_KEY: &[u8] = b"schema_version";

/// Brings records from one version to the next, inside one transaction.
pub(super) type Migration = fn(&WriteTransaction) -> Result<(), StoreError>;

/// `MIGRATIONS[n]` goes from version `n + 1` to `n + 2`.
///
/// 1 → 2: tables of guests and nodes. `create_tables` made them; no record changes. The version keeps a program that
/// cannot read jobs on guests away.
///
/// 2 → 3: jobs that rebuild many hosts. No record changes; the same reason.
const MIGRATIONS: &[Migration] = &[|_| Ok(()), |_| Ok(())];

/// Brings a database to [`SCHEMA_VERSION`].
pub(super) fn migrate(database: &Database, path: &Path, now: Timestamp) -> Result<(), StoreError> {
    migrate_with(database, path, now, MIGRATIONS, SCHEMA_VERSION)
}

/// As [`migrate`], with the list given. A backup is made before anything is changed.
pub(super) fn migrate_with(
    database: &Database,
    path: &Path,
    now: Timestamp,
    migrations: &[Migration],
    target: u32,
) -> Result<(), StoreError> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    create_tables(&txn)?;
    let Some(found) = read_version(&txn)? else {
        write_version(&txn, target)?;
        txn.commit()?;
        return Ok(());
    };
    if found > target {
        return Err(StoreError::Schema {
            found,
            supported: target,
            hint: "install the newer ironhatch again, or restore a backup that this version made",
        });
    }
    if found == target {
        txn.commit()?;
        return Ok(());
    }
    // New tables are there before the copy is made, because that reads all of them; they are empty, and an older program
    // does not look at them.
    txn.commit()?;
    keep_copy(database, path, now, found)?;
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    for version in found..target {
        let step = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
        let migration = migrations.get(step).ok_or(StoreError::Schema {
            found,
            supported: target,
            hint: "this program has no way from that version; use the release in between",
        })?;
        migration(&txn)?;
        tracing::info!(from = version, to = version + 1, "database schema was migrated");
    }
    write_version(&txn, target)?;
    txn.commit()?;
    Ok(())
}

/// Once per version: a migration that fails is tried again at each start.
fn keep_copy(
    database: &Database,
    path: &Path,
    now: Timestamp,
    version: u32,
) -> Result<(), StoreError> {
    use redb::ReadableDatabase as _;
    if backups::list(path)?.iter().any(|b| b.before_migration == Some(version)) {
        return Ok(());
    }
    let snapshot = super::read::Snapshot { txn: database.begin_read()? };
    backups::make(&snapshot, path, now, Some(version)).map(drop)
}

/// The version a file carries; `None` for a new one.
pub(super) fn read_version(txn: &WriteTransaction) -> Result<Option<u32>, StoreError> {
    let table = txn.open_table(Table::Meta.definition())?;
    let value = redb::ReadableTable::get(&table, VERSION_KEY)?;
    Ok(value.and_then(|guard| guard.value().try_into().ok().map(u32::from_be_bytes)))
}

fn write_version(txn: &WriteTransaction, version: u32) -> Result<(), StoreError> {
    let mut table = txn.open_table(Table::Meta.definition())?;
    table.insert(VERSION_KEY, version.to_be_bytes().as_slice())?;
    Ok(())
}

/// Creates every table, so that read transactions never meet a missing one.
fn create_tables(txn: &WriteTransaction) -> Result<(), StoreError> {
    for table in Table::ALL {
        txn.open_table(table.definition())?;
    }
    Ok(())
}
