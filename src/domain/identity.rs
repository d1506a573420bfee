//! DMI identity of a machine: the UUID in one canonical form, vendor junk ignored.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// SMBIOS system UUID in the text form that `dmidecode`, Linux' sysfs and iPXE's `${uuid}` show.
///
/// Only a *usable* UUID can be built: all-zero, all-F and known vendor defaults identify nothing
/// (`pxe-netboot` 2.6) and are refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline)]
pub struct DmiUuid(Uuid);

/// The text or bytes do not identify a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a usable system UUID (empty, malformed, or a vendor default that many boards share)")]
pub struct UnusableUuid;

/// Defaults seen on many boards of different owners.
const VENDOR_DEFAULTS: [u128; 2] =
    [0x0300_0200_0400_0500_0006_0007_0008_0009, 0x0002_0003_0004_0005_0006_0007_0008_0009];

impl DmiUuid {
    /// From the 16 bytes of DHCP option 97, which carry SMBIOS' mixed byte order: the first three fields are
    /// little-endian (`pxe-netboot` 2.6).
    ///
    /// # Errors
    /// [`UnusableUuid`] when the value identifies nothing.
    pub fn from_option_97(bytes: [u8; 16]) -> Result<Self, UnusableUuid> {
        Self::usable(Uuid::from_bytes_le(bytes))
    }

    /// Whether both name one machine. Some controllers tell the first three fields with their bytes the other way round.
    #[must_use]
    pub fn is_same_machine(self, other: Self) -> bool {
        self == other || self.0.to_bytes_le() == *other.0.as_bytes()
    }

    fn usable(uuid: Uuid) -> Result<Self, UnusableUuid> {
        let junk = uuid.is_nil() || uuid.is_max() || VENDOR_DEFAULTS.contains(&uuid.as_u128());
        if junk { Err(UnusableUuid) } else { Ok(Self(uuid)) }
    }
}

impl fmt::Display for DmiUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_hyphenated())
    }
}
impl fmt::Debug for DmiUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for DmiUuid {
    type Err = UnusableUuid;
    fn from_str(text: &str) -> Result<Self, UnusableUuid> {
        Uuid::try_parse(text.trim()).map_err(|_| UnusableUuid).and_then(Self::usable)
    }
}
impl TryFrom<String> for DmiUuid {
    type Error = UnusableUuid;
    fn try_from(text: String) -> Result<Self, UnusableUuid> {
        text.parse()
    }
}
impl From<DmiUuid> for String {
    fn from(uuid: DmiUuid) -> Self {
        uuid.to_string()
    }
}

/// A serial number or asset text that means something: trimmed, at most 64 printable characters, no vendor placeholder.
#[must_use]
pub fn usable_serial(text: &str) -> Option<String> {
    const PLACEHOLDERS: [&str; 9] = [
        "to be filled by o.e.m.",
        "default string",
        "none",
        "0",
        "system serial number",
        "not specified",
        "n/a",
        "unknown",
        "not applicable",
    ];
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    let known = PLACEHOLDERS.contains(&text.to_ascii_lowercase().as_str());
    (!text.is_empty() && !known).then_some(text)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn option_97_and_dmidecode_name_the_same_machine() {
        let raw: [u8; 16] = [
            0x44, 0x45, 0x4c, 0x4c, 0x42, 0x00, 0x10, 0x30, 0x80, 0x54, 0xb5, 0xc0, 0x4f, 0x4e,
            0x59, 0x32,
        ];
        let wire = DmiUuid::from_option_97(raw);
        assert_eq!(wire, "4c4c4544-0042-3010-8054-b5c04f4e5932".parse());
    }

    #[test]
    fn vendor_junk_identifies_nobody() {
        for junk in [
            "",
            "not-a-uuid",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "03000200-0400-0500-0006-000700080009",
        ] {
            assert!(junk.parse::<DmiUuid>().is_err(), "{junk}");
        }
        assert_eq!(usable_serial(" To Be Filled By O.E.M. "), None);
        assert_eq!(usable_serial(" CZJ0000001\n"), Some("CZJ0000001".to_owned()));
    }
}
