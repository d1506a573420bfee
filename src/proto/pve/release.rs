//! Releases of Proxmox VE and what a release can.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A release, from the `release` of `/version` or the beginning of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PveVersion {
    /// `9` of 9.2.
    pub major: u32,
    /// `2` of 9.2.
    pub minor: u32,
    /// The full version as it was reported: `9.2.11`.
    pub text: String,
}

/// The oldest release that is supported, as major and minor.
pub const OLDEST: (u32, u32) = (8, 2);

impl PveVersion {
    /// Reads `9.2`, `9.2.11`, `8.4.1-1` or `9.2~beta1`. `None`: it does not begin with two numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let major = whole(parts.next()?)?;
        let minor = parts.next()?;
        let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
        Some(Self { major, minor: whole(minor.get(..digits)?)?, text: text.trim().to_owned() })
    }

    /// Whether it is this release or a later one.
    #[must_use]
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Whether Ironhatch works with it.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        self.is_at_least(OLDEST.0, OLDEST.1)
    }

    /// Unprivileged containers are the API's default, privileged ones need `Sys.Modify` on `/`, device entries take effect
    /// while the container runs (9.0).
    #[must_use]
    pub fn is_unprivileged_by_default(&self) -> bool {
        self.is_at_least(9, 0)
    }

    /// The privilege `VM.GuestAgent.*` replaces `VM.Monitor`, and `VM.Replicate` exists (9.0). A role that names an unknown
    /// privilege is refused as a whole.
    #[must_use]
    pub fn has_agent_privileges(&self) -> bool {
        self.is_at_least(9, 0)
    }

    /// Device entries know `deny-write` (8.3).
    #[must_use]
    pub fn has_deny_write(&self) -> bool {
        self.is_at_least(8, 3)
    }

    /// A token's secret can be made anew without losing its rights (9.2).
    #[must_use]
    pub fn has_token_regeneration(&self) -> bool {
        self.is_at_least(9, 2)
    }
}

fn whole(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for PveVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn releases_are_read_and_compared_as_numbers() {
        for (text, major, minor) in
            [("9.2", 9, 2), ("9.2.11", 9, 2), ("8.4.1-1", 8, 4), ("10.0~beta", 10, 0)]
        {
            let read = PveVersion::parse(text).unwrap();
            assert_eq!((read.major, read.minor), (major, minor), "{text}");
        }
        for bad in ["", "9", "9.", "x.y", "9.x", "-9.2", "99999999999.1"] {
            assert_eq!(PveVersion::parse(bad), None, "{bad}");
        }
        let ten = PveVersion::parse("10.1").unwrap();
        assert!(ten.is_at_least(9, 2) && ten.has_token_regeneration());
    }

    #[test]
    fn each_gate_opens_with_its_release() {
        let gates = |text: &str| {
            let v = PveVersion::parse(text).unwrap();
            [
                v.is_supported(),
                v.has_deny_write(),
                v.is_unprivileged_by_default(),
                v.has_agent_privileges(),
                v.has_token_regeneration(),
            ]
        };
        assert_eq!(gates("8.1"), [false, false, false, false, false]);
        assert_eq!(gates("8.2"), [true, false, false, false, false]);
        assert_eq!(gates("8.3"), [true, true, false, false, false]);
        assert_eq!(gates("9.0"), [true, true, true, true, false]);
        assert_eq!(gates("9.2"), [true; 5]);
    }
}
