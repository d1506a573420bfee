//! An image that is open for serving.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::inspect::{FileSectors, inspect_sectors};
use super::{Inspected, NotAnInstaller, hex};
use crate::domain::image::Image;
use crate::domain::time::Timestamp;
use crate::proto::iso9660::{Extent, IsoView, ViewError};

/// Why an image cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened.
    #[error("cannot open the image file {}", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not the one that was imported.
    #[error(
        "the image file {} has {found} bytes, but {expected} were imported; import it again", path.display()
    )]
    Changed {
        /// Where it is.
        path: PathBuf,
        /// Bytes at import.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// The content is no longer readable as an installer.
    #[error(transparent)]
    NotAnInstaller(#[from] NotAnInstaller),
    /// The program is shutting down.
    #[error("the program is stopping")]
    Stopped,
}

/// An open image: the file, and everything about its layout that requests need. Cheap to clone the parts of.
#[derive(Debug)]
pub struct OpenImage {
    /// For positioned reads.
    pub file: Arc<File>,
    /// Kernel and initrd extents, layout of the view, release.
    pub content: Inspected,
    /// SHA-256 of the whole file, lower-case hex; entity tags are made from it.
    pub sha256: String,
    /// For `Last-Modified`.
    pub imported_at: Timestamp,
}

impl OpenImage {
    pub(super) fn open(path: &Path, image: &Image) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File { path: path.to_owned(), source };
        let file = Arc::new(File::open(path).map_err(failed)?);
        let found = file.metadata().map_err(failed)?.len();
        if found != image.size {
            let path = path.to_owned();
            return Err(OpenError::Changed { path, expected: image.size, found });
        }
        let sectors = FileSectors::new(file.clone()).map_err(failed)?;
        Ok(Self {
            content: inspect_sectors(sectors)?,
            file,
            sha256: image.sha256.clone(),
            imported_at: image.imported_at,
        })
    }

    /// Text for the entity tag of `extent`.
    #[must_use]
    pub fn extent_tag(&self, extent: Extent) -> String {
        format!("{}-{:x}-{:x}", short(&self.sha256), extent.offset, extent.len)
    }

    /// Text for the entity tag of the view with `mode_file`. Tells nothing about the token in it.
    #[must_use]
    pub fn view_tag(&self, mode_file: &[u8]) -> String {
        format!("{}-{}", short(&self.sha256), short(&hex(&Sha256::digest(mode_file))))
    }

    /// This image with `mode_file` in its root. Microseconds; touches no disk.
    ///
    /// # Errors
    /// [`ViewError::TooBig`], for a mode file of gigabytes.
    pub fn view(&self, mode_file: &[u8]) -> Result<IsoView, ViewError> {
        self.content.layout.view(mode_file)
    }
}

/// Half of a digest's digits: 128 bits tell files apart.
fn short(digest: &str) -> &str {
    digest.get(..32).unwrap_or(digest)
}
