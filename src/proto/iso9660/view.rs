//! The ISO view: an image as its machine sees it, with one more file in the root, without a second copy of it.
//!
//! ```text
//!   original file   |====#=====#=================#====================|
//!                        |     |                 |
//!   patches              8 to 34 bytes each: sizes, positions, one directory record
//!   tail                                                              |pad|root directory, if moved|mode file|pad|
//! ```
//!
//! [`ViewLayout`] is everything that does not depend on the file's content; it is made once per image. [`IsoView`] adds the
//! content, which takes microseconds, so each install token has its own. A server then asks for the [`Segment`]s of a
//! range and sends original bytes from the file and the others from memory.
//!
//! Only what a machine needs that was booted from the network is kept right: the ISO 9660 tree with Rock Ridge. Boot
//! sectors, GPT and El Torito stay as they are, and so does a Joliet tree, which Linux does not look at when there is Rock
//! Ridge (`fs/isofs/inode.c`, 6.x).

mod plan;

#[cfg(test)]
mod test;

use std::ops::Range;

use super::{IsoError, SECTOR, both_endian};

/// Why an image cannot carry the mode file.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The image itself cannot be read.
    #[error(transparent)]
    Iso(#[from] IsoError),
    /// The image already has something else of that name.
    #[error("the image already has a /{name} that is not one ordinary file")]
    NameTaken {
        /// Name in the root directory.
        name: &'static str,
    },
    /// Block numbers have 32 bits.
    #[error("the image with its additions has more sectors than ISO 9660 can count")]
    TooBig,
}

/// Bytes that stand in for the original's from `at` on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Patch {
    at: u64,
    bytes: Vec<u8>,
}

impl Patch {
    fn end(&self) -> u64 {
        self.at + len(&self.bytes)
    }
}

/// Where the additions go; the same for every view of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewLayout {
    original_len: u64,
    /// Sorted, without overlap, all inside the original. Block numbers are already right; the two sizes that depend on
    /// the file's length are not.
    patches: Vec<Patch>,
    /// What follows the original: padding to a full sector, then the root directory if it had to be moved.
    tail: Vec<u8>,
    /// Where the file's length belongs (both byte orders, 8 bytes), in bytes of the view.
    file_size_at: u64,
    /// Where the volume's length belongs, likewise.
    volume_size_at: u64,
}

impl ViewLayout {
    /// Length of a view whose added file has `file_len` bytes.
    #[must_use]
    pub fn len_with(&self, file_len: u64) -> u64 {
        self.file_at() + file_len.div_ceil(SECTOR) * SECTOR
    }

    /// The view with `file` as the content of the mode file. Takes microseconds and copies only the patches.
    ///
    /// # Errors
    /// [`ViewError::TooBig`] when the block numbers no longer fit.
    pub fn view(&self, file: &[u8]) -> Result<IsoView, ViewError> {
        let total = self.len_with(len(file));
        let sectors = u32::try_from(total / SECTOR).map_err(|_| ViewError::TooBig)?;
        let size = u32::try_from(file.len()).map_err(|_| ViewError::TooBig)?;

        let mut pieces = self.patches.clone();
        let mut tail = self.tail.clone();
        tail.extend_from_slice(file);
        let padding = usize::try_from(total - self.file_at() - len(file)).unwrap_or(0);
        tail.resize(tail.len() + padding, 0);
        pieces.push(Patch { at: self.original_len, bytes: tail });

        overwrite(&mut pieces, self.file_size_at, &both_endian(size))?;
        overwrite(&mut pieces, self.volume_size_at, &both_endian(sectors))?;
        Ok(IsoView { original_len: self.original_len, len: total, pieces })
    }

    fn file_at(&self) -> u64 {
        self.original_len + len(&self.tail)
    }
}

/// One image as one machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsoView {
    original_len: u64,
    len: u64,
    /// Sorted, without overlap; the last one is the tail.
    pieces: Vec<Patch>,
}

/// A run of bytes of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Bytes of the original file.
    Original {
        /// Position in the original.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
    /// These bytes.
    Bytes(&'a [u8]),
}

impl IsoView {
    /// Length in bytes; a multiple of the sector size.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte; never true for a planned view.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The segments of `range` (bytes of the view) in order, none of them empty. What lies beyond the end is left out.
    pub fn segments(&self, range: Range<u64>) -> impl Iterator<Item = Segment<'_>> {
        let end = range.end.min(self.len);
        let mut position = range.start;
        let mut pieces = {
            let first = self.pieces.partition_point(|piece| piece.end() <= position);
            self.pieces.get(first..).unwrap_or_default().iter().peekable()
        };
        std::iter::from_fn(move || {
            if position >= end {
                return None;
            }
            let next = pieces.peek().map_or(end, |piece| piece.at).min(end);
            if position < next {
                let segment = Segment::Original { offset: position, len: next - position };
                position = next;
                return Some(segment);
            }
            let piece = pieces.next()?;
            let from = usize::try_from(position - piece.at).ok()?;
            let to = usize::try_from(end.min(piece.end()) - piece.at).ok()?;
            position = end.min(piece.end());
            piece.bytes.get(from..to).map(Segment::Bytes)
        })
    }
}

/// Writes `bytes` at `at`: into the patch that covers the place, or as a patch of its own. In a sound image no two
/// structures share bytes; one that overlaps half of another is refused.
fn overwrite(patches: &mut Vec<Patch>, at: u64, bytes: &[u8]) -> Result<(), ViewError> {
    let index = patches.partition_point(|patch| patch.end() <= at);
    let Some(patch) = patches.get_mut(index).filter(|patch| patch.at < at + len(bytes)) else {
        patches.insert(index, Patch { at, bytes: bytes.to_vec() });
        return Ok(());
    };
    at.checked_sub(patch.at)
        .and_then(|start| usize::try_from(start).ok())
        .and_then(|start| patch.bytes.get_mut(start..start.checked_add(bytes.len())?))
        .ok_or(IsoError::Damaged { offset: at, what: "two of its structures overlap" })?
        .copy_from_slice(bytes);
    Ok(())
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
