//! What the installer inside an ISO understands, by the ISO's release.
//!
//! Facts: `reference/proxmox-auto-install.md` 0.1, 3.1 and 3.7 (installer sources 8.2.0 to 9.2.7). Unknown keys abort an
//! installation, so a key is only written for a release that is known to take it.

use std::fmt;
use std::str::FromStr;

/// The releases whose answer format differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// First automated installer: no hash, webhook or first-boot.
    V8_2,
    /// Webhook, first-boot, hashed password.
    V8_3,
    /// Hyphenated keys, `reboot-mode`.
    V8_4,
    /// More checks, same format.
    V9_0,
    /// Interface name pinning.
    V9_1,
    /// JSON, `network.source` mandatory, tokens, subscription keys. Also used for everything newer.
    V9_2,
}

/// Things that not every dialect has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// `root-password-hashed`.
    HashedPassword,
    /// `[post-installation-webhook]`.
    Webhook,
    /// `[first-boot]`.
    FirstBoot,
    /// `disk-setup.btrfs.compress`.
    BtrfsCompress,
    /// Keys with hyphens.
    HyphenatedKeys,
    /// `reboot-mode`.
    RebootMode,
    /// `[network.interface-name-pinning]`.
    NamePinning,
    /// Answers in JSON.
    Json,
    /// `subscription-key`.
    SubscriptionKey,
}

/// The ISO's release has no automated installation, or is not a release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "release '{0}' has no automated installation that is known here; Proxmox VE 8.2 or newer is needed"
)]
pub struct UnsupportedRelease(pub String);

impl Dialect {
    /// All dialects, oldest first.
    pub const ALL: [Self; 6] =
        [Self::V8_2, Self::V8_3, Self::V8_4, Self::V9_0, Self::V9_1, Self::V9_2];

    /// The dialect of an ISO by its `RELEASE` (`iso.release` of the installer's request). Newer releases than the newest
    /// known one are spoken to in the newest dialect.
    ///
    /// # Errors
    /// [`UnsupportedRelease`] for releases before 8.2 and for text that does not begin with `N.N`.
    pub fn for_release(release: &str) -> Result<Self, UnsupportedRelease> {
        let unsupported = || UnsupportedRelease(release.chars().take(40).collect());
        let mut parts = release.split(['.', '-']);
        let mut number = || parts.next().and_then(|p| p.parse::<u32>().ok());
        let (Some(major), Some(minor)) = (number(), number()) else { return Err(unsupported()) };
        Self::ALL
            .into_iter()
            .rev()
            .find(|dialect| dialect.version() <= (major, minor))
            .ok_or_else(unsupported)
    }

    /// Major and minor number of the first release that speaks it.
    #[must_use]
    pub fn version(self) -> (u32, u32) {
        match self {
            Self::V8_2 => (8, 2),
            Self::V8_3 => (8, 3),
            Self::V8_4 => (8, 4),
            Self::V9_0 => (9, 0),
            Self::V9_1 => (9, 1),
            Self::V9_2 => (9, 2),
        }
    }

    /// Whether this dialect has a feature.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        self >= feature.since()
    }
}

impl Feature {
    /// The first dialect that has it.
    #[must_use]
    pub fn since(self) -> Dialect {
        match self {
            Self::HashedPassword | Self::Webhook | Self::FirstBoot | Self::BtrfsCompress => {
                Dialect::V8_3
            }
            Self::HyphenatedKeys | Self::RebootMode => Dialect::V8_4,
            Self::NamePinning => Dialect::V9_1,
            Self::Json | Self::SubscriptionKey => Dialect::V9_2,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version();
        write!(f, "{major}.{minor}")
    }
}

impl FromStr for Dialect {
    type Err = UnsupportedRelease;
    fn from_str(text: &str) -> Result<Self, UnsupportedRelease> {
        Self::for_release(text)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_release_speaks_the_newest_dialect_that_it_can() {
        for (release, want) in [
            ("8.2", Dialect::V8_2),
            ("8.2-2", Dialect::V8_2),
            ("8.3", Dialect::V8_3),
            ("8.4", Dialect::V8_4),
            ("8.9", Dialect::V8_4),
            ("9.0", Dialect::V9_0),
            ("9.1.5", Dialect::V9_1),
            ("9.2", Dialect::V9_2),
            ("9.10", Dialect::V9_2),
            ("10.0", Dialect::V9_2),
        ] {
            assert_eq!(Dialect::for_release(release), Ok(want), "{release}");
        }
        for bad in ["", "8", "8.1", "7.4", "x.y", "9.x", "-1.2", "99999999999.1"] {
            assert!(Dialect::for_release(bad).is_err(), "{bad}");
        }
    }
}
