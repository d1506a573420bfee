//! Who may use the appliance: operator accounts, and what a token may do.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;
use super::time::Timestamp;

/// Names an account. Letters are small, so that no two names look alike to a person who types them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline)]
pub struct AccountName(String);

impl AccountName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account that the first visit makes, and that a log-in without a name means.
    #[must_use]
    pub fn first() -> Self {
        Self("operator".to_owned())
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for AccountName {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let text = text.trim().to_ascii_lowercase();
        let ok = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'@' | b'+'));
        if ok {
            return Ok(Self(text));
        }
        Err(InvalidId {
            kind: "account name",
            text: text.chars().take(60).collect(),
            rule: "1 to 64 of a-z, 0-9, '.', '_', '-', '@', '+', beginning with a letter or digit",
        })
    }
}
impl TryFrom<String> for AccountName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

/// One person who may use the appliance. All accounts may do everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, for as long as it exists.
    pub name: AccountName,
    /// argon2id hash; `None`: it logs in through a trusted proxy only.
    pub password_hash: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When the password was set last.
    pub password_set: Option<Timestamp>,
    /// Nobody can use it until it is enabled again.
    #[serde(default)]
    pub disabled: bool,
    /// Networks from which it logged in, the newest first: a lock-out by strangers' guesses does not count for them.
    #[serde(default)]
    pub known: Vec<IpAddr>,
    /// When somebody logged in last.
    #[serde(default)]
    pub last_login: Option<Timestamp>,
}

impl Account {
    /// An account that can be used.
    #[must_use]
    pub fn new(name: AccountName, password_hash: Option<String>, now: Timestamp) -> Self {
        let password_set = password_hash.as_ref().map(|_| now);
        Self {
            name,
            password_hash,
            created: now,
            password_set,
            disabled: false,
            known: Vec::new(),
            last_login: None,
        }
    }
}

/// What a token may do. Each opens what the ones before it open.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The numbers of this program and the list of addresses for Prometheus.
    Metrics,
    /// Everything that changes nothing, but for who has access.
    Read,
    /// Hosts, jobs, images, guests, nodes.
    Operate,
    /// Who has access, too.
    Admin,
}

impl Scope {
    /// All, from the smallest.
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Read, Self::Operate, Self::Admin];

    /// As it is written in requests and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| InvalidId {
            kind: "scope",
            text: text.chars().take(60).collect(),
            rule: "metrics, read, operate or admin",
        })
    }
}

/// A token for programs. The token itself is shown once and kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// The first digits of its hash: names it without opening anything.
    pub id: String,
    /// SHA-256 of the token, hex.
    pub hash: String,
    /// What it is for, in the operator's words.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// Whose it is: it stops when this account is disabled. `None`: made on the appliance itself.
    pub owner: Option<AccountName>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; `None`: when it is revoked.
    pub expires: Option<Timestamp>,
    /// About when it was used last.
    pub last_used: Option<Timestamp>,
}

/// Digits of a hash that are an [`ApiToken`]'s id.
pub const TOKEN_ID_DIGITS: usize = 12;

/// Whoever has this address: an IPv6 subscriber owns a whole /64.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_are_small_and_harmless() {
        assert_eq!(
            "Ann.Lee@example.org".parse::<AccountName>().unwrap().as_str(),
            "ann.lee@example.org"
        );
        for bad in ["", "-x", "a b", "a/b", "<b>", "ä", &"x".repeat(65), "a\nb"] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad}");
        }
    }
}
