//! The number of a guest, and the tags that Proxmox VE accepts.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;

/// A guest's number: 100 to 999999999, unique in a cluster over containers and virtual machines (pve-vmid, PVE 9.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(inline)]
pub struct Vmid(u32);

impl Vmid {
    /// The smallest that Proxmox VE accepts.
    pub const MIN: Self = Self(100);
    /// The largest.
    pub const MAX: Self = Self(999_999_999);

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl fmt::Debug for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl From<Vmid> for u32 {
    fn from(vmid: Vmid) -> Self {
        vmid.0
    }
}
impl TryFrom<u32> for Vmid {
    type Error = InvalidId;
    fn try_from(number: u32) -> Result<Self, InvalidId> {
        if (Self::MIN.0..=Self::MAX.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(invalid(&number.to_string()))
        }
    }
}
impl FromStr for Vmid {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // "+101" and "0101" parse as numbers, and are not how Proxmox VE writes one.
        let canonical =
            text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.len() <= 9;
        match text.parse::<u32>() {
            Ok(number) if canonical => Self::try_from(number),
            _ => Err(invalid(text)),
        }
    }
}

fn invalid(text: &str) -> InvalidId {
    InvalidId {
        kind: "guest number",
        text: text.chars().take(60).collect(),
        rule: "100 to 999999999",
    }
}

/// A tag: lower-case letters, digits and `_`, then also `-`, `+` and `.`. Proxmox VE lower-cases and sorts tags, so only
/// lower-case ones come back as they were sent (PVE 8.2 to 9.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What marks a guest as ours.
    #[must_use]
    pub fn managed() -> Self {
        Self("ironhatch".to_owned())
    }

    /// What marks a guest whose installation failed.
    #[must_use]
    pub fn failed() -> Self {
        Self("ironhatch-failed".to_owned())
    }

    /// What says which app a guest runs.
    #[must_use]
    pub fn app(app: &super::app::AppId) -> Self {
        Self(format!("ironhatch-app-{app}"))
    }

    /// Reads the `tags` property of a guest: separated by `;`, `,` or blanks. What is no tag of ours is kept out.
    #[must_use]
    pub fn list(text: &str) -> Vec<Self> {
        text.split([';', ',', ' ']).filter_map(|t| t.to_ascii_lowercase().parse().ok()).collect()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for Tag {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let ok = text.len() <= 80
            && text.starts_with(first)
            && text.chars().all(|c| first(c) || matches!(c, '-' | '+' | '.'));
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                kind: "tag",
                text: text.chars().take(60).collect(),
                rule: "a-z, 0-9 and '_', then also '-', '+' and '.'",
            })
        }
    }
}
impl TryFrom<String> for Tag {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn guest_numbers_are_what_proxmox_ve_accepts() {
        for good in ["100", "101", "999999999"] {
            assert_eq!(good.parse::<Vmid>().unwrap().to_string(), good);
        }
        for bad in ["", "99", "0101", "+101", "1e3", "1000000000", "101 ", "-101"] {
            assert!(bad.parse::<Vmid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_follow_the_rule_and_lists_survive_any_separator() {
        assert!("appstore:managed=1".parse::<Tag>().is_err());
        assert!("-x".parse::<Tag>().is_err());
        assert!("Big".parse::<Tag>().is_err());
        assert_eq!(
            Tag::list("a;Ironhatch,b.c d:e"),
            ["a", "ironhatch", "b.c"].map(|t| t.parse().unwrap())
        );
    }
}
