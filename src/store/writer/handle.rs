//! The writer's handle on the database: redb does not use one again after an I/O error.

use std::sync::{Arc, PoisonError};

use redb::{Database, ReadableDatabase as _};

use super::{Shared, Snapshot, StoreError, open_database};

/// The open database; after a failed commit this is where it is opened again.
pub(super) fn writable(shared: &Shared) -> Result<Arc<Database>, StoreError> {
    let open = shared.database.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(database) = open {
        return Ok(database);
    }
    let database = Arc::new(open_database(&shared.path)?);
    // A commit that was reported as failed may be there all the same: what DHCP offers must be what is recorded.
    shared.memory.load(&Snapshot { txn: database.begin_read()? })?;
    *shared.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&database));
    Ok(database)
}

/// Lets go of a handle that redb will not use again after an I/O error, and tries to open a new one. While that fails
/// (the disk is still full) each later write tries again.
pub(super) fn reopen(shared: &Shared) {
    shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
    if let Err(error) = writable(shared) {
        tracing::error!(%error, "the database cannot be reopened yet");
    }
}
