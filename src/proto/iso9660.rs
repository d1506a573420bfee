//! ISO 9660 with Rock Ridge, as far as an installer image needs it: find files, tell where their bytes are, and plan a
//! view of the image that has one more file in its root ([`view`]).
//!
//! Pure: bytes come through [`Sectors`], which the shells implement over a file. Nothing here writes an image.
//!
//! Why not the `hadris-iso` crate, which reads such images too: the product lives from *exact byte positions* (of a
//! directory record, of a size field, of the free room behind the last record of a sector), which a reader for files
//! does not hand out; and its write path panicked on ordinary images.
//!
//! Every number in an image is hostile. Reads are one sector at a time, records and continuation areas are sliced with
//! `get`, and each loop has a bound from [`limits`].
//!
//! Sources: ECMA-119 (4th edition) for sections named "ECMA-119 n"; SUSP 1.12 and RRIP 1.12 for the system use fields.

mod mode_file;
mod record;
mod tree;
pub mod view;
mod volume;

#[cfg(any(test, feature = "fakes"))]
pub mod sample;
#[cfg(test)]
mod test;

pub use mode_file::{MODE_FILE_NAME, mode_file};
pub use tree::{Entry, Iso, Kind};
pub use view::{IsoView, Segment, ViewError, ViewLayout};
pub use volume::Volume;

use serde::{Deserialize, Serialize};

/// Bytes per sector and per logical block. ECMA-119 allows other block sizes; every image for a PC uses this one.
pub const SECTOR: u64 = 2048;

/// Why a [`Sectors`] could not hand out bytes.
pub type ReadFailure = Box<dyn std::error::Error + Send + Sync>;

/// Something that holds an image and hands out bytes by position.
pub trait Sectors {
    /// Length of the image in bytes.
    fn len(&self) -> u64;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `offset` (bytes).
    ///
    /// # Errors
    /// The bytes cannot be read, or lie beyond the end.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadFailure>;
}

impl<T: Sectors + ?Sized> Sectors for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadFailure> {
        (**self).read(offset, buf)
    }
}

impl Sectors for [u8] {
    fn len(&self) -> u64 {
        u64::try_from(<[u8]>::len(self)).unwrap_or(u64::MAX)
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadFailure> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or("position beyond the end")?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
}

/// A run of bytes of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// First byte, counted from the start of the image.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// No primary volume descriptor.
    #[error("this is not an ISO 9660 image: {why}")]
    NotIso9660 {
        /// What is missing.
        why: &'static str,
    },
    /// The file is shorter than its volume.
    #[error(
        "the image is truncated: it says that it is {expected} bytes long, but the file has only {found}"
    )]
    Truncated {
        /// Bytes that the volume descriptor promises.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The root directory has no SUSP/Rock Ridge fields.
    #[error(
        "the image has no Rock Ridge names; installer images have them, so this is another kind of ISO"
    )]
    WithoutRockRidge,
    /// No such path.
    #[error("the image has no {path}")]
    Missing {
        /// Absolute path inside the image.
        path: String,
    },
    /// The path is there but is not what is needed.
    #[error("{path} inside the image is not {expected}")]
    WrongKind {
        /// Absolute path inside the image.
        path: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A file is bigger than the caller wants to read.
    #[error("{path} inside the image has {len} bytes; at most {limit} are expected")]
    TooBig {
        /// Absolute path inside the image.
        path: String,
        /// Bytes that it has.
        len: u64,
        /// Bytes that are allowed.
        limit: u64,
    },
    /// A structure contradicts itself or a limit.
    #[error("the image is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the structure starts.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The image could not be read.
    #[error("reading the image at byte {offset} failed")]
    Read {
        /// Position of the read.
        offset: u64,
        /// Why.
        #[source]
        source: ReadFailure,
    },
}

pub use crate::limits::iso as limits;

/// Reads one sector-sized block.
fn read_sector<R: Sectors + ?Sized>(reader: &R, offset: u64) -> Result<Box<[u8]>, IsoError> {
    let mut sector = vec![0; 2048].into_boxed_slice();
    let end = offset.saturating_add(SECTOR);
    if end > reader.len() {
        return Err(IsoError::Truncated { expected: end, found: reader.len() });
    }
    reader.read(offset, &mut sector).map_err(|source| IsoError::Read { offset, source })?;
    Ok(sector)
}

fn u16_le(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u32_be(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A 32-bit number in both byte orders (ECMA-119 7.3.3).
fn both_endian(value: u32) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}
