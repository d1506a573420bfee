//! The double against the vendor's schema and against exchanges that were recorded with the real API.

use std::path::PathBuf;

use super::*;

/// A file of the collection beside the repository. `None`, and said so, when there is none.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("{} is not there: nothing is compared", file.display());
    None
}

/// The vendor's schema.
pub(super) fn schema() -> Option<Schema> {
    Schema::open(&shared("reference/pve-api-schema.json")?)
}
