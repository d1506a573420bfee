//! The primary volume descriptor.

use super::{IsoError, SECTOR, Sectors, limits, read_sector, u16_le, u32_be, u32_le};

/// What the primary volume descriptor says (ECMA-119 8.4). Positions are bytes of the image, block numbers are sectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Volume identifier without its padding, for example `PVE`.
    pub id: String,
    /// Length of the volume in sectors.
    pub sectors: u32,
    /// Where the descriptor itself is.
    pub(super) descriptor_at: u64,
    /// The root directory's extent, first sector and length in bytes.
    pub(super) root_sector: u32,
    /// See `root_sector`.
    pub(super) root_len: u32,
    /// First sectors of the path tables in little-endian order (the second one is optional).
    pub(super) path_tables_le: [u32; 2],
    /// The same in big-endian order.
    pub(super) path_tables_be: [u32; 2],
}

/// Offsets inside the descriptor (ECMA-119 table 4).
pub(super) const SPACE_SIZE: u64 = 80;
pub(super) const ROOT_RECORD: u64 = 156;

const FIRST_DESCRIPTOR: u64 = 16 * SECTOR;

impl Volume {
    /// Finds and reads the primary descriptor.
    pub(super) fn read<R: Sectors + ?Sized>(reader: &R) -> Result<Self, IsoError> {
        if reader.len() < FIRST_DESCRIPTOR + SECTOR {
            return Err(IsoError::NotIso9660 {
                why: "it is too short to have a volume descriptor",
            });
        }
        for index in 0..limits::DESCRIPTORS {
            let at = FIRST_DESCRIPTOR + u64::from(index) * SECTOR;
            let sector = read_sector(reader, at)?;
            if sector.get(1..6) != Some(b"CD001") {
                break;
            }
            match sector.first() {
                Some(1) => return Self::parse(&sector, at, reader.len()),
                Some(255) | None => break,
                Some(_) => {}
            }
        }
        Err(IsoError::NotIso9660 { why: "there is no primary volume descriptor at sector 16" })
    }

    fn parse(sector: &[u8], at: u64, file_len: u64) -> Result<Self, IsoError> {
        let short = || IsoError::Damaged { offset: at, what: "the volume descriptor is cut off" };
        let number = |at| u32_le(sector, at).ok_or_else(short);
        let number_be = |at| u32_be(sector, at).ok_or_else(short);
        if u16_le(sector, 128) != Some(2048) {
            return Err(IsoError::Damaged { offset: at, what: "its blocks are not of 2048 bytes" });
        }
        let sectors = number(80)?;
        let expected = u64::from(sectors) * SECTOR;
        if expected > file_len {
            return Err(IsoError::Truncated { expected, found: file_len });
        }
        let id = sector.get(40..72).ok_or_else(short)?;
        Ok(Self {
            id: String::from_utf8_lossy(id).trim_end_matches([' ', '\0']).to_owned(),
            sectors,
            descriptor_at: at,
            root_sector: number(158)?,
            root_len: number(166)?,
            path_tables_le: [number(140)?, number(144)?],
            path_tables_be: [number_be(148)?, number_be(152)?],
        })
    }
}
