//! The database of the daemon: opened at the start, replaced by its newest whole backup when it is damaged, kept small and
//! backed up while the daemon runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{DATABASE, StartError, master_key, wall_clock};
use crate::domain::time::Timestamp;
use crate::limits::record::{AUDIT_KEPT, BEGUN_KEPT, BEGUN_TIME, EVENTS_KEPT};
use crate::store::{self, Store, StoreError};

/// The first look comes soon: a daemon that is started again and again must have backups too.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Whether a backup is due. A look reads a folder.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// For how long an idempotency key is known, in milliseconds.
const BEGUN_MS: i64 = (BEGUN_TIME.as_secs() * 1000).cast_signed();
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Opens the database. One that is damaged is replaced by the newest whole backup: an appliance that stays down offers
/// nothing to anybody, and the state of the backup is armed for nothing (`Engine::settle_after_restore`).
pub(super) fn open(data_dir: &Path) -> Result<Store, StartError> {
    let database = data_dir.join(DATABASE);
    if let Some(damage) = lost(data_dir, &database)? {
        replace(&database, &damage)?;
    }
    let open = || -> Result<Store, StartError> {
        Ok(Store::open(&database, master_key(data_dir)?, Arc::new(wall_clock))?)
    };
    match open() {
        Err(StartError::Store(StoreError::Damaged { reason, .. })) => {
            replace(&database, &reason)?;
            open()
        }
        opened => opened,
    }
}

fn replace(database: &Path, damage: &str) -> Result<(), StoreError> {
    let (backup, restored) = store::recover(database, damage)?;
    tracing::error!(
        database = %database.display(),
        damage,
        backup = %backup.path.display(),
        made = %backup.made,
        kept = restored.aside.as_deref().unwrap_or_default(),
        "the database was damaged: the newest whole backup is in its place, nothing is armed and unfinished jobs are ended. \
         Compare hosts and guests with what you know happened since, and look at the disk"
    );
    Ok(())
}

/// A missing or empty database is a new one, unless this appliance was at work here before: then everything would be lost
/// without a word. `Some`: it is damaged, and there are backups.
fn lost(data_dir: &Path, database: &Path) -> Result<Option<String>, StartError> {
    let size = std::fs::metadata(database).ok().map(|file| file.len());
    if size.is_some_and(|size| size > 0) {
        return Ok(None);
    }
    let newest = store::regular_backups(database)?.into_iter().next();
    if size.is_some() && newest.is_some() {
        return Ok(Some("it is empty".to_owned()));
    }
    let images = data_dir.join("images");
    let was_used = std::fs::read_dir(&images).is_ok_and(|mut files| files.next().is_some());
    let remains = if newest.is_some() { store::backup_folder(database) } else { images };
    let backup = newest.map_or_else(|| "FILE".to_owned(), |b| b.path.display().to_string());
    if was_used || backup != "FILE" {
        return Err(StartError::Config(format!(
            "the database {} is missing or empty, but this appliance was at work here before: put a backup in its place \
             (`ironhatch db restore {backup}`), or remove {} to begin anew",
            database.display(),
            remains.display()
        )));
    }
    Ok(None)
}

/// Drops the oldest events and audit entries beyond what is kept, a few at a time.
pub(super) async fn housekeeping(store: Store, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PRUNE_EVERY) => {}
            () = stop.cancelled() => return,
        }
        loop {
            let pruned = store
                .write::<_, StoreError, _>(|tx| {
                    let entries = tx.prune_audit(AUDIT_KEPT, 2_000)?;
                    let begun = Timestamp(tx.now().0.saturating_sub(BEGUN_MS));
                    tx.prune_begun(begun, BEGUN_KEPT)?;
                    Ok(entries.max(tx.prune_events(EVENTS_KEPT, 2_000)?))
                })
                .await;
            match pruned {
                Ok(2_000..) if !stop.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, "old events and audit entries could not be removed");
                    break;
                }
            }
        }
    }
}

/// Makes the regular backups. A copy is written on a thread of its own from a snapshot: no write waits for it, and a stop
/// does not either.
pub(super) async fn backups(store: Store, stop: CancellationToken) {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = LOOK_EVERY,
            () = stop.cancelled() => return,
        }
        let maker = store.clone();
        let making = tokio::task::spawn_blocking(move || maker.back_up_when_due());
        let made = tokio::select! {
            made = making => made,
            () = stop.cancelled() => return,
        };
        match made {
            Ok(Ok(Some(made))) => {
                tracing::info!(backup = %made.path.display(), bytes = made.bytes, "the database was backed up");
            }
            Ok(Ok(None)) => {}
            Ok(Err(error @ StoreError::Damaged { .. })) => tracing::error!(
                %error,
                "the regular backup met a damaged page; restart ironhatch: it puts the newest whole backup in its place"
            ),
            Ok(Err(error)) => {
                tracing::error!(error = super::chain(&error), "no regular backup could be made")
            }
            Err(error) => tracing::error!(%error, "no regular backup could be made"),
        }
    }
}
