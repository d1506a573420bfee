//! Why an import did not succeed, in words for the operator.

use std::io;
use std::path::PathBuf;

use super::{BadSource, MAX_IMAGE_BYTES, NotAnInstaller};
use crate::domain::id::ImageId;

/// Why an import did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source's text is not usable.
    #[error(transparent)]
    Source(#[from] BadSource),
    /// The file on this machine cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The path that was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No connection, no answer, or the connection broke. What has arrived is kept.
    #[error("fetching {url} was interrupted: {why}")]
    Interrupted {
        /// The URL that was asked, after redirects.
        url: String,
        /// What happened.
        why: &'static str,
        /// The error below, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The server answered, but not with the file.
    #[error("{url} answered with status {status}")]
    Status {
        /// The URL that was asked, after redirects.
        url: String,
        /// HTTP status code.
        status: u16,
    },
    /// The server's answer cannot be used.
    #[error("the answer of {url} cannot be used: {why}")]
    Answer {
        /// The URL that was asked.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Not enough room, seen before it was used up.
    #[error(
        "not enough free space in {}: {needed} bytes are needed ({margin} of them stay free), {free} are there", dir.display()
    )]
    NoSpace {
        /// Directory of the images.
        dir: PathBuf,
        /// Bytes that this import still needs, margin included.
        needed: u64,
        /// Part of `needed` that is to stay free.
        margin: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The disk filled up while writing. The part was removed, so that others can go on.
    #[error("the disk that holds {} is full; the partial file was removed", dir.display())]
    DiskFull {
        /// Directory of the images.
        dir: PathBuf,
    },
    /// More than can be served.
    #[error(
        "the image is bigger than {MAX_IMAGE_BYTES} bytes, the most that can be handed to a machine"
    )]
    TooBig,
    /// Another file than the operator wants.
    #[error("the file's SHA-256 is {found}, but {expected} is expected; the file was removed")]
    WrongHash {
        /// As given.
        expected: String,
        /// As computed.
        found: String,
    },
    /// Not an image that this appliance can install from.
    #[error(transparent)]
    NotAnInstaller(#[from] NotAnInstaller),
    /// Two imports of one source.
    #[error("an import from {url} is already running")]
    Busy {
        /// The source.
        url: String,
    },
    /// Another file of the same release is there.
    #[error(
        "{id} is already imported from a different file; delete it first if this one is to replace it"
    )]
    IdTaken {
        /// The id that both would have.
        id: ImageId,
    },
    /// The fetched part is gone.
    #[error("the fetched file is no longer there; fetch it again")]
    PartGone,
    /// Cancelled by the caller. What has arrived is kept.
    #[error("the import was cancelled")]
    Cancelled,
    /// Our own directory cannot be used.
    #[error("cannot write {}", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ImportError {
    /// Whether the same call may succeed later without anybody changing something.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Interrupted { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(*status, 408 | 429),
            _ => false,
        }
    }
}
