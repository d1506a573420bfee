//! Planning a view: where the directory record goes, and what has to change with it.

use super::{Patch, ViewError, ViewLayout, overwrite};
use crate::proto::iso9660::record::Record;
use crate::proto::iso9660::volume::{ROOT_RECORD, SPACE_SIZE};
use crate::proto::iso9660::{
    Entry, Extent, Iso, IsoError, Kind, MODE_FILE_NAME, SECTOR, Sectors, both_endian, read_sector,
};

impl ViewLayout {
    /// Plans the views of `iso`: reads its root directory and, when that has no room, the first record pairs of the
    /// directories in it.
    ///
    /// # Errors
    /// The image is damaged, already has a directory or link of the file's name, or is too big for 32-bit block numbers.
    pub fn plan<R: Sectors>(iso: &Iso<R>) -> Result<Self, ViewError> {
        let original_len = iso.reader().len();
        let aligned = original_len.next_multiple_of(SECTOR);
        let padding = usize::try_from(aligned - original_len).map_err(|_| ViewError::TooBig)?;
        let mut plan = Plan { iso, patches: Vec::new(), tail: vec![0; padding], aligned };
        let file_size_at = plan.place()?;
        let layout = Self {
            original_len,
            patches: plan.patches,
            tail: plan.tail,
            file_size_at,
            volume_size_at: iso.volume().descriptor_at + SPACE_SIZE,
        };
        // Whatever is wrong with the two places that each view fills in is wrong now, not when a machine asks.
        layout.view(&[])?;
        Ok(layout)
    }
}

/// Offsets inside a directory record (ECMA-119 9.1).
const EXTENT: u64 = 2;
const LENGTH: u64 = 10;

struct Plan<'a, R> {
    iso: &'a Iso<R>,
    patches: Vec<Patch>,
    tail: Vec<u8>,
    /// The original's length, rounded up to sectors.
    aligned: u64,
}

impl<R: Sectors> Plan<'_, R> {
    /// Decides among the three cases; returns where the file's length belongs.
    fn place(&mut self) -> Result<u64, ViewError> {
        let root = self.iso.root();
        if let Some(entry) = self.iso.list(&root)?.into_iter().find(|e| e.name == MODE_FILE_NAME) {
            return self.replace(&entry);
        }
        let mut directory = self.read_root(&root)?;
        let record = self.new_record(&directory)?;
        // ECMA-119 6.8.1.1: a record does not cross its sector, and unused room is at the sector's end.
        let sectors = directory.chunks_exact(2048).enumerate().collect::<Vec<_>>();
        let room = sectors.into_iter().rev().find_map(|(index, sector)| {
            let used = used_bytes(sector);
            (used + record.len() <= sector.len()).then_some(index * 2048 + used)
        });
        // A directory whose length is not in whole sectors would have to grow even when there is room.
        if let Some(position) = room
            && root.len().is_multiple_of(SECTOR)
        {
            let start = root.extents.first().map_or(0, |e| e.offset);
            let at = start + to_u64(position);
            let mut record = record;
            put(&mut record, to_usize(EXTENT), &both_endian(sector_number(self.aligned)?))?;
            overwrite(&mut self.patches, at, &record)?;
            return Ok(at + LENGTH);
        }
        let position = room.unwrap_or(directory.len());
        if room.is_none() {
            directory.resize(directory.len() + 2048, 0);
        }
        put(&mut directory, position, &record)?;
        self.move_root(&root, directory, position)
    }

    /// The image has a mode file (it was prepared for another server): only its position and length change.
    fn replace(&mut self, entry: &Entry) -> Result<u64, ViewError> {
        if entry.kind != Kind::File || entry.records != 1 {
            return Err(ViewError::NameTaken { name: MODE_FILE_NAME });
        }
        // The byte before the position is the length of an extended attribute record, which the new content has not.
        let mut bytes = vec![0];
        bytes.extend(both_endian(sector_number(self.aligned)?));
        overwrite(&mut self.patches, entry.record_at + EXTENT - 1, &bytes)?;
        Ok(entry.record_at + LENGTH)
    }

    /// Puts the grown `directory` behind the original, the file behind it, and tells everybody who knows the old place.
    fn move_root(
        &mut self,
        root: &Entry,
        mut directory: Vec<u8>,
        record: usize,
    ) -> Result<u64, ViewError> {
        let start = self.aligned;
        let file = sector_number(start + to_u64(directory.len()))?;
        let mut place = both_endian(sector_number(start)?).to_vec();
        let len = u32::try_from(directory.len()).map_err(|_| ViewError::TooBig)?;
        place.extend(both_endian(len));

        put(&mut directory, record + to_usize(EXTENT), &both_endian(file))?;
        // Its first two records are '.' and '..', which is itself again.
        let own = directory.first().copied().map_or(0, usize::from);
        match Record::parse(&directory, own, 0)? {
            Some(parent) if parent.identifier == [1] => {}
            _ => return Err(IsoError::Damaged { offset: 0, what: "the root has no '..'" }.into()),
        }
        put(&mut directory, to_usize(EXTENT), &place)?;
        put(&mut directory, own + to_usize(EXTENT), &place)?;

        let descriptor = self.iso.volume().descriptor_at;
        overwrite(&mut self.patches, descriptor + ROOT_RECORD + EXTENT, &place)?;
        self.point_children_to(root, &place)?;
        self.patch_path_tables(sector_number(start)?)?;

        self.tail.extend_from_slice(&directory);
        Ok(start + to_u64(record) + LENGTH)
    }

    /// The second record of each directory in the root is `..`.
    fn point_children_to(&mut self, root: &Entry, place: &[u8]) -> Result<(), ViewError> {
        let mut children = Vec::new();
        self.iso.records(root, |record| {
            if record.is_directory() && !record.is_self_or_parent() {
                children.push(u64::from(record.sector) * SECTOR);
            }
            Ok(())
        })?;
        for at in children {
            let damaged = IsoError::Damaged { offset: at, what: "a directory has no '..' record" };
            let sector = read_sector(self.iso.reader(), at)?;
            let first = Record::parse(&sector, 0, at)?.map_or(0, |record| record.size());
            match Record::parse(&sector, first, at)? {
                Some(parent) if parent.identifier == [1] => {
                    overwrite(&mut self.patches, parent.at + EXTENT, place)?;
                }
                _ => return Err(damaged.into()),
            }
        }
        Ok(())
    }

    /// The first entry of each path table is the root (ECMA-119 10.1): length of the identifier, length of the extended
    /// attributes, position.
    fn patch_path_tables(&mut self, root: u32) -> Result<(), ViewError> {
        let volume = self.iso.volume();
        let tables = volume
            .path_tables_le
            .map(|sector| (sector, root.to_le_bytes()))
            .into_iter()
            .chain(volume.path_tables_be.map(|sector| (sector, root.to_be_bytes())));
        for (sector, bytes) in tables.filter(|(sector, _)| *sector != 0) {
            let at = u64::from(sector) * SECTOR;
            if at + SECTOR > self.iso.reader().len() {
                let found = self.iso.reader().len();
                return Err(IsoError::Truncated { expected: at + SECTOR, found }.into());
            }
            overwrite(&mut self.patches, at + 2, &bytes)?;
        }
        Ok(())
    }

    /// The root directory's bytes, filled up to whole sectors.
    fn read_root(&self, root: &Entry) -> Result<Vec<u8>, IsoError> {
        // `list` has already checked each of these sectors, and the directory's size.
        let Extent { offset, len } =
            root.extents.first().copied().unwrap_or(Extent { offset: 0, len: 0 });
        let mut bytes = Vec::new();
        for index in 0..len.div_ceil(SECTOR) {
            bytes.extend_from_slice(&read_sector(self.iso.reader(), offset + index * SECTOR)?);
        }
        Ok(bytes)
    }

    /// A directory record for the mode file, still without position and length.
    fn new_record(&self, directory: &[u8]) -> Result<Vec<u8>, ViewError> {
        // An ISO 9660 name that nobody uses; who sees it at all reads the Rock Ridge name instead.
        let identifier = (0..100)
            .map(|n| format!("AUTOIN{n:02}.TOM;1"))
            .find(|name| !directory.windows(name.len()).any(|w| w == name.as_bytes()))
            .ok_or(ViewError::NameTaken { name: MODE_FILE_NAME })?;

        let mut record = vec![0; 18];
        record.extend(self.iso.date());
        // Flags (a plain file), unit size and gap (not interleaved), volume sequence number 1 in both byte orders.
        record.extend([0, 0, 0, 1, 0, 0, 1]);
        record.extend(u8::try_from(identifier.len()));
        record.extend(identifier.as_bytes());
        record.resize(record.len().next_multiple_of(2), 0);
        record.resize(record.len() + usize::from(self.iso.skip()), 0);

        // RRIP 4.1.1: mode, links, user, group, and in the long form a serial number, which stays 0.
        let px_len = self.iso.px_len();
        let end = record.len() + usize::from(px_len);
        record.extend([b'P', b'X', px_len, 1]);
        for value in [0o100_444, 1, 0, 0] {
            record.extend(both_endian(value));
        }
        record.resize(end, 0);
        // RRIP 4.1.4: length, version 1, no flags, name.
        let name = MODE_FILE_NAME.as_bytes();
        record.extend([b'N', b'M']);
        record.extend(u8::try_from(5 + name.len()));
        record.extend([1, 0]);
        record.extend(name);
        record.resize(record.len().next_multiple_of(2), 0);
        let len = u8::try_from(record.len()).map_err(|_| IsoError::Damaged {
            offset: self.iso.volume().descriptor_at,
            what: "its system use areas leave no room for a name",
        })?;
        put(&mut record, 0, &[len])?;
        Ok(record)
    }
}

/// Bytes of a directory sector that records take.
fn used_bytes(sector: &[u8]) -> usize {
    let mut used = 0;
    while let Some(len) = sector.get(used).filter(|len| **len != 0) {
        used += usize::from(*len);
    }
    used
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) -> Result<(), ViewError> {
    at.checked_add(new.len())
        .and_then(|end| bytes.get_mut(at..end))
        .ok_or(IsoError::Damaged { offset: 0, what: "the root directory's records do not add up" })?
        .copy_from_slice(new);
    Ok(())
}

fn sector_number(offset: u64) -> Result<u32, ViewError> {
    u32::try_from(offset / SECTOR).map_err(|_| ViewError::TooBig)
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
