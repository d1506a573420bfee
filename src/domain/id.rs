//! One newtype per kind of id: parsed at the edge, never a bare string in the core.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a valid {kind}: {rule}")]
pub struct InvalidId {
    /// Which kind of id was expected, in the words of the glossary.
    pub kind: &'static str,
    /// What was given, cut to a printable length.
    pub text: String,
    /// What would be allowed.
    pub rule: &'static str,
}

macro_rules! uuid_id {
    ($name:ident, $kind:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(transparent)]
        #[schemars(with = "String", inline, extend("format" = "uuid"))]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.as_hyphenated())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
                    kind: $kind,
                    text: text.chars().take(60).collect(),
                    rule: "a UUID is expected",
                })
            }
        }
    };
}

uuid_id!(
    HostId,
    "host id",
    "Identifies a registered host for as long as it exists; never re-used."
);
uuid_id!(
    GuestId,
    "guest id",
    "Identifies a guest's record for as long as it exists; its number in the cluster is a [`super::vmid::Vmid`]."
);
uuid_id!(JobId, "job id", "Identifies one job; version 7, so ids sort by creation time.");

macro_rules! slug_id {
    ($name:ident, $kind:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(inline)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let ok = (1..=64).contains(&text.len())
                    && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                    && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
                if ok {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId {
                        kind: $kind,
                        text: text.chars().take(60).collect(),
                        rule: "1 to 64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
                    })
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

slug_id!(ImageId, "image id", "Names an imported image, for example `proxmox-ve-9.2-1`.");
slug_id!(
    ServerTypeName,
    "server type",
    "Names a server type: the stem of its file in `server-types/`."
);
slug_id!(StepId, "step id", "Names a step of a job; its meaning never changes (it is stored).");

macro_rules! pve_id {
    ($name:ident, $kind:literal, $most:literal, $rest:pat, $rule:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(
            Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        #[serde(try_from = "String", into = "String")]
        #[schemars(inline)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let ok = (1..=$most).contains(&text.len())
                    && text.starts_with(|c: char| c.is_ascii_alphabetic())
                    && text.ends_with(|c: char| c.is_ascii_alphanumeric())
                    && text.bytes().all(|b| matches!(b, $rest));
                if ok {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId {
                        kind: $kind,
                        text: text.chars().take(60).collect(),
                        rule: $rule,
                    })
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

pve_id!(
    StorageId,
    "storage",
    100,
    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-',
    "letters, digits, '.', '_', '-', beginning with a letter, ending with a letter or digit",
    "Names a storage of a cluster (format pve-storage-id, PVE 9.2)."
);
pve_id!(
    BridgeName,
    "bridge",
    15,
    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-',
    "a network interface's name: at most 15 letters, digits, '.', '_', '-'",
    "Names a bridge or VNet of a node (format pve-iface, PVE 9.2; 15 is the kernel's limit)."
);
pve_id!(
    ZoneId,
    "SDN zone",
    8,
    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9',
    "at most 8 letters and digits, beginning with a letter",
    "Names a zone of a cluster's software-defined network (format pve-sdn-zone-id, PVE 9.2)."
);
pve_id!(
    PoolId,
    "pool",
    100,
    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-',
    "letters, digits, '.', '_', '-', beginning with a letter, ending with a letter or digit",
    "Names a resource pool of a cluster; nested pools are not used."
);

/// A node's name in its cluster. A host's name becomes it.
pub type NodeName = Hostname;

/// A host's short name: one DNS label that Proxmox VE accepts as a node name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline)]
pub struct Hostname(String);

impl Hostname {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for Hostname {
    type Err = InvalidId;

    /// One label of 1 to 63 lower-case letters, digits and hyphens, alphanumeric at both ends, not only digits (the
    /// installer refuses a numeric first label, installer 8.2 to 9.2).
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let ok = text.len() <= 63
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !text.bytes().all(|b| b.is_ascii_digit());
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                kind: "host name",
                text: text.chars().take(60).collect(),
                rule: "1 to 63 of a-z, 0-9 and '-', a letter or digit at both ends, not only digits",
            })
        }
    }
}
impl TryFrom<String> for Hostname {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<Hostname> for String {
    fn from(name: Hostname) -> Self {
        name.0
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn host_names_follow_the_installers_rules() {
        for good in ["pve1", "a", "rack7-u12", "9to5"] {
            assert!(good.parse::<Hostname>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "PVE", "a_b", "a.b", "123", &"x".repeat(64)] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad}");
        }
    }

    #[test]
    fn slugs_cannot_name_a_path() {
        for bad in ["", "..", "/x", "a/b", ".hidden", "A", &"x".repeat(65)] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad}");
        }
        assert!("proxmox-ve-9.2-1".parse::<ImageId>().is_ok());
    }
}
