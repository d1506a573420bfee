//! Directory records and the Rock Ridge fields behind them.

use super::{IsoError, SECTOR, Sectors, limits, read_sector, u32_le};

/// One directory record (ECMA-119 9.1), borrowed from its sector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    /// Byte position of the record in the image.
    pub(super) at: u64,
    /// First sector of the data; behind an extended attribute record, if there is one.
    pub(super) sector: u32,
    /// Length of the data in bytes.
    pub(super) len: u32,
    /// ECMA-119 9.1.6.
    flags: u8,
    /// ECMA-119 9.1.11: `\0` is the directory itself, `\1` its parent.
    pub(super) identifier: &'a [u8],
}

/// Records begin with a length byte; the shortest has 33 bytes and an identifier of one byte.
const FIXED: usize = 33;

impl<'a> Record<'a> {
    /// Reads the record at `position` of a sector that lies at `sector_at` in the image. `None` when the rest of the
    /// sector is unused (ECMA-119 6.8.1.1).
    pub(super) fn parse(
        sector: &'a [u8],
        position: usize,
        sector_at: u64,
    ) -> Result<Option<Self>, IsoError> {
        let at = sector_at + u64::try_from(position).unwrap_or(u64::MAX);
        let damaged = |what| IsoError::Damaged { offset: at, what };
        let len = match sector.get(position) {
            None | Some(0) => return Ok(None),
            Some(len) => usize::from(*len),
        };
        let bytes = position
            .checked_add(len)
            .and_then(|end| sector.get(position..end))
            .ok_or_else(|| damaged("a directory record crosses its sector"))?;
        let short = || damaged("a directory record is too short");
        let byte = |at: usize| bytes.get(at).copied().ok_or_else(short);
        let identifier = bytes
            .get(FIXED..FIXED + usize::from(byte(32)?))
            .filter(|id| !id.is_empty())
            .ok_or_else(short)?;
        if byte(26)? != 0 || byte(27)? != 0 {
            return Err(damaged("interleaved files are not supported"));
        }
        let first = u32_le(bytes, 2).ok_or_else(short)?;
        let sector_number = first
            .checked_add(u32::from(byte(1)?))
            .ok_or_else(|| damaged("a file begins beyond the end of the image"))?;
        Ok(Some(Self {
            bytes,
            at,
            sector: sector_number,
            len: u32_le(bytes, 10).ok_or_else(short)?,
            flags: byte(25)?,
            identifier,
        }))
    }

    pub(super) fn is_directory(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// Whether another record with more of the same file follows.
    pub(super) fn continues(&self) -> bool {
        self.flags & 0x80 != 0
    }

    pub(super) fn is_self_or_parent(&self) -> bool {
        matches!(self.identifier, [0 | 1])
    }

    /// Length of the record itself.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Recording date (ECMA-119 9.1.5), as it stands.
    pub(super) fn date(&self) -> [u8; 7] {
        self.bytes.get(18..25).and_then(|d| d.try_into().ok()).unwrap_or_default()
    }

    /// The system use area; a pad byte keeps it at an even position.
    pub(super) fn system_use(&self) -> &'a [u8] {
        let end = FIXED + self.identifier.len();
        self.bytes.get(end + end % 2..).unwrap_or_default()
    }
}

/// What the system use fields of one record say.
#[derive(Debug, Default)]
pub(super) struct RockRidge {
    /// `NM`: the name; empty when there is none.
    pub(super) name: Vec<u8>,
    /// `PX`: POSIX mode.
    pub(super) mode: Option<u32>,
    /// Length of the `PX` field: 36, or 44 with a serial number (RRIP 4.1.1).
    pub(super) px_len: Option<u8>,
    /// `CL`: the first sector of a directory that was moved here because it was too deep.
    pub(super) child_link: Option<u32>,
    /// `RE`: this record is the moved directory in its hiding place.
    pub(super) relocated: bool,
    /// `SL` is there.
    pub(super) symlink: bool,
}

impl RockRidge {
    /// Reads the fields of `record`, behind the first `skip` bytes of its system use area, following `CE` fields.
    pub(super) fn read<R: Sectors + ?Sized>(
        reader: &R,
        record: &Record<'_>,
        skip: usize,
    ) -> Result<Self, IsoError> {
        let mut found = Self::default();
        let mut next = found.fields(record.system_use().get(skip..).unwrap_or_default());
        let mut jumps = 0;
        while let Some(area) = next {
            jumps += 1;
            let damaged = |what| IsoError::Damaged { offset: record.at, what };
            if jumps > limits::CONTINUATIONS {
                return Err(damaged("its Rock Ridge continuations never end"));
            }
            let sector = read_sector(reader, u64::from(area.sector) * SECTOR)?;
            let bytes = area
                .offset
                .checked_add(area.len)
                .and_then(|end| sector.get(area.offset..end))
                .ok_or_else(|| damaged("a Rock Ridge continuation crosses its sector"))?;
            next = found.fields(bytes);
        }
        Ok(found)
    }

    /// Takes in the fields of one area; returns where the next one is.
    fn fields(&mut self, mut area: &[u8]) -> Option<Continuation> {
        let mut next = None;
        // SUSP 1.12, 4: two bytes of signature, length, version; the length counts all of it.
        while let Some([a, b, len, _version]) = area.first_chunk::<4>() {
            let Some(field) = area.get(..usize::from(*len)).filter(|f| f.len() >= 4) else { break };
            match &[*a, *b] {
                // Flags: 2 and 4 stand for `.` and `..` (RRIP 4.1.4).
                b"NM" if field.get(4).is_some_and(|flags| flags & 6 == 0) => {
                    let room = limits::NAME_BYTES.saturating_sub(self.name.len());
                    self.name.extend(field.iter().skip(5).take(room));
                }
                b"PX" => {
                    self.mode = u32_le(field, 4);
                    self.px_len = Some(*len);
                }
                b"CL" => self.child_link = u32_le(field, 4),
                b"RE" => self.relocated = true,
                b"SL" => self.symlink = true,
                b"CE" => next = Continuation::parse(field),
                b"ST" => break,
                _ => {}
            }
            area = area.get(field.len()..).unwrap_or_default();
        }
        next
    }
}

struct Continuation {
    sector: u32,
    offset: usize,
    len: usize,
}

impl Continuation {
    fn parse(field: &[u8]) -> Option<Self> {
        Some(Self {
            sector: u32_le(field, 4)?,
            offset: usize::try_from(u32_le(field, 12)?).ok()?,
            len: usize::try_from(u32_le(field, 20)?).ok()?,
        })
    }
}
