//! Paths, directories and files of an image.

use std::collections::HashSet;

use super::record::{Record, RockRidge};
use super::{Extent, IsoError, SECTOR, Sectors, Volume, limits, read_sector};

/// An opened image: volume descriptor read and Rock Ridge found.
#[derive(Debug)]
pub struct Iso<R> {
    reader: R,
    volume: Volume,
    /// Bytes to skip at the start of each system use area (SUSP 5.3).
    skip: u8,
    /// Length of the root's `PX` field.
    px_len: u8,
    /// The root's recording date.
    date: [u8; 7],
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; never followed.
    Symlink,
    /// A device or another special file.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its Rock Ridge name; the lower-case ISO 9660 name where there is none.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where its bytes are; runs that follow one another are joined. All of them lie inside the image.
    pub extents: Vec<Extent>,
    /// Byte position of its first directory record.
    pub(super) record_at: u64,
    /// Number of directory records that it takes.
    pub(super) records: usize,
}

impl Entry {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|e| e.len).sum()
    }

    /// Whether it has no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R: Sectors> Iso<R> {
    /// Reads the volume descriptor and checks for Rock Ridge.
    ///
    /// # Errors
    /// Not ISO 9660, shorter than its volume, without Rock Ridge, or unreadable.
    pub fn open(reader: R) -> Result<Self, IsoError> {
        let volume = Volume::read(&reader)?;
        let at = u64::from(volume.root_sector) * SECTOR;
        let sector = read_sector(&reader, at)?;
        let first = Record::parse(&sector, 0, at)?
            .filter(|first| first.identifier == [0])
            .ok_or(IsoError::Damaged { offset: at, what: "the root directory is empty" })?;
        // SUSP 5.3: SP, length 7, version 1, check bytes, then the number of bytes to skip.
        let Some([b'S', b'P', 7, 1, 0xBE, 0xEF, skip]) = first.system_use().first_chunk() else {
            return Err(IsoError::WithoutRockRidge);
        };
        let px_len = RockRidge::read(&reader, &first, 0)?.px_len;
        let Some(px_len) = px_len.filter(|len| matches!(len, 36 | 44)) else {
            return Err(IsoError::WithoutRockRidge);
        };
        let (skip, date) = (*skip, first.date());
        Ok(Self { volume, skip, px_len, date, reader })
    }

    /// The volume descriptor.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    pub(super) fn skip(&self) -> u8 {
        self.skip
    }

    pub(super) fn px_len(&self) -> u8 {
        self.px_len
    }

    pub(super) fn date(&self) -> [u8; 7] {
        self.date
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> Entry {
        Entry {
            name: String::new(),
            kind: Kind::Directory,
            extents: vec![Extent {
                offset: u64::from(self.volume.root_sector) * SECTOR,
                len: u64::from(self.volume.root_len),
            }],
            record_at: self.volume.descriptor_at + super::volume::ROOT_RECORD,
            records: 1,
        }
    }

    /// Finds an entry by its absolute path, for example `/boot/linux26`.
    ///
    /// # Errors
    /// [`IsoError::Missing`], or what [`Iso::list`] may say about a directory on the way.
    pub fn find(&self, path: &str) -> Result<Entry, IsoError> {
        let mut entry = self.root();
        for (depth, name) in path.split('/').filter(|part| !part.is_empty()).enumerate() {
            let missing = || IsoError::Missing { path: path.to_owned() };
            if entry.kind != Kind::Directory || depth >= limits::DEPTH {
                return Err(missing());
            }
            entry = self.list(&entry)?.into_iter().find(|e| e.name == name).ok_or_else(missing)?;
        }
        Ok(entry)
    }

    /// Finds a regular file that lies in one piece, and tells where.
    ///
    /// # Errors
    /// As [`Iso::find`]; [`IsoError::WrongKind`] for a directory or link.
    pub fn find_file(&self, path: &str) -> Result<Extent, IsoError> {
        let entry = self.find(path)?;
        match (entry.kind, entry.extents.as_slice()) {
            (Kind::File, [extent]) => Ok(*extent),
            (Kind::File, _) => {
                Err(IsoError::WrongKind { path: path.to_owned(), expected: "in one piece" })
            }
            _ => Err(IsoError::WrongKind { path: path.to_owned(), expected: "a regular file" }),
        }
    }

    /// Reads a small file whole.
    ///
    /// # Errors
    /// As [`Iso::find_file`]; [`IsoError::TooBig`] beyond `limit` bytes.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Vec<u8>, IsoError> {
        let extent = self.find_file(path)?;
        let too_big = || IsoError::TooBig { path: path.to_owned(), len: extent.len, limit };
        if extent.len > limit {
            return Err(too_big());
        }
        let mut bytes = vec![0; usize::try_from(extent.len).map_err(|_| too_big())?];
        self.reader
            .read(extent.offset, &mut bytes)
            .map_err(|source| IsoError::Read { offset: extent.offset, source })?;
        Ok(bytes)
    }

    /// The entries of a directory, without `.` and `..`.
    ///
    /// # Errors
    /// A record that contradicts itself, a directory beyond [`limits`], or a failed read.
    pub fn list(&self, directory: &Entry) -> Result<Vec<Entry>, IsoError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut continued = false;
        self.records(directory, |record| {
            if record.is_self_or_parent() {
                return Ok(());
            }
            let extent = self.checked_extent(record)?;
            if continued {
                continued = record.continues();
                return match entries.last_mut() {
                    Some(last) => append(last, extent, record.at),
                    None => Ok(()),
                };
            }
            continued = record.continues();
            let fields = RockRidge::read(&self.reader, record, usize::from(self.skip))?;
            if !fields.relocated {
                let entry = self.entry(record, &fields, extent)?;
                entries.push(entry);
            }
            Ok(())
        })?;
        Ok(entries)
    }

    /// Every entry below the root with its absolute path, directories before their content.
    ///
    /// # Errors
    /// As [`Iso::list`]; a directory that contains itself; more than [`limits`] allow.
    pub fn walk(&self) -> Result<Vec<(String, Entry)>, IsoError> {
        let root = self.root();
        let mut seen = HashSet::from([u64::from(self.volume.root_sector) * SECTOR]);
        let mut found = Vec::new();
        let mut open = vec![(String::new(), root, 0)];
        while let Some((path, directory, depth)) = open.pop() {
            for entry in self.list(&directory)? {
                let damaged = |what| IsoError::Damaged { offset: entry.record_at, what };
                if found.len() >= limits::ENTRIES {
                    return Err(damaged("it has too many entries"));
                }
                let path = format!("{path}/{}", entry.name);
                if entry.kind == Kind::Directory {
                    let start = entry.extents.first().map_or(0, |e| e.offset);
                    if !seen.insert(start) {
                        return Err(damaged("a directory contains itself"));
                    }
                    if depth + 1 >= limits::DEPTH {
                        return Err(damaged("its directories are nested too deep"));
                    }
                    open.push((path.clone(), entry.clone(), depth + 1));
                }
                found.push((path, entry));
            }
        }
        Ok(found)
    }

    /// Calls `each` with every record of a directory, `.` and `..` included.
    pub(super) fn records(
        &self,
        directory: &Entry,
        mut each: impl FnMut(&Record<'_>) -> Result<(), IsoError>,
    ) -> Result<(), IsoError> {
        let len = directory.len();
        let start = directory.extents.first().map_or(0, |e| e.offset);
        if len > limits::DIRECTORY_BYTES {
            return Err(IsoError::Damaged { offset: start, what: "a directory is too big" });
        }
        for index in 0..len.div_ceil(SECTOR) {
            let at = start + index * SECTOR;
            let sector = read_sector(&self.reader, at)?;
            let mut position = 0;
            while let Some(record) = Record::parse(&sector, position, at)? {
                each(&record)?;
                position += record.size();
            }
        }
        Ok(())
    }

    fn checked_extent(&self, record: &Record<'_>) -> Result<Extent, IsoError> {
        let len = u64::from(record.len);
        // An empty file's position means nothing and may point anywhere.
        let offset = if len == 0 { 0 } else { u64::from(record.sector) * SECTOR };
        let end = offset + len;
        if end > self.reader.len() {
            return Err(IsoError::Truncated { expected: end, found: self.reader.len() });
        }
        Ok(Extent { offset, len })
    }

    fn entry(
        &self,
        record: &Record<'_>,
        fields: &RockRidge,
        extent: Extent,
    ) -> Result<Entry, IsoError> {
        let mut entry = Entry {
            name: if fields.name.is_empty() {
                plain_name(record.identifier)
            } else {
                String::from_utf8_lossy(&fields.name).into_owned()
            },
            kind: kind(record, fields),
            extents: vec![extent],
            record_at: record.at,
            records: 1,
        };
        if let Some(sector) = fields.child_link {
            // The moved directory's length is in its own first record.
            let at = u64::from(sector) * SECTOR;
            let bytes = read_sector(&self.reader, at)?;
            let own = Record::parse(&bytes, 0, at)?
                .ok_or(IsoError::Damaged { offset: at, what: "a moved directory is empty" })?;
            entry.kind = Kind::Directory;
            entry.extents = vec![self.checked_extent(&own)?];
        }
        Ok(entry)
    }
}

fn kind(record: &Record<'_>, fields: &RockRidge) -> Kind {
    if record.is_directory() {
        return Kind::Directory;
    }
    match fields.mode.map(|mode| mode & 0o170_000) {
        Some(0o120_000) => Kind::Symlink,
        _ if fields.symlink => Kind::Symlink,
        // A directory by its mode only is a moved one (`CL`); anything else that claims it is not listable.
        None | Some(0o100_000) => Kind::File,
        Some(_) => Kind::Other,
    }
}

fn append(entry: &mut Entry, extent: Extent, at: u64) -> Result<(), IsoError> {
    entry.records += 1;
    if let Some(last) = entry.extents.last_mut()
        && last.offset + last.len == extent.offset
    {
        last.len += extent.len;
        return Ok(());
    }
    if entry.extents.len() >= limits::EXTENTS {
        return Err(IsoError::Damaged { offset: at, what: "a file has too many pieces" });
    }
    entry.extents.push(extent);
    Ok(())
}

/// `README.TXT;1` is `readme.txt`, as the Linux driver shows it.
fn plain_name(identifier: &[u8]) -> String {
    let text = String::from_utf8_lossy(identifier);
    let text = text.split_once(';').map_or(text.as_ref(), |(name, _)| name);
    text.trim_end_matches('.').to_ascii_lowercase()
}
