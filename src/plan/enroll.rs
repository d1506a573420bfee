//! How a node is enrolled and how that is taken back: the rights as data, the commands that bring them about, and what
//! the node's own files say is there already.
//!
//! Everything is told apart by three names: the user [`USER`], one token per node (the user database is the cluster's, and
//! re-enrolling one node must not take the others' tokens away), and one line per node in the cluster's shared
//! `authorized_keys`, found by its comment ([`marker`]). Commands are argument lists; a command is only made when something
//! is missing or different, so that running it all again changes nothing.
//!
//! ```text
//! enrol:   look → rights → agent → key → identity → token → verify
//! revoke:  look → key → token, and with the last node's token: access lists, user, roles, empty pool → agent
//! ```

pub mod agent;
pub mod paste;
pub mod rights;
pub mod script;
pub mod user_cfg;

use crate::domain::id::{NodeName, StepId};
use crate::domain::job::StepClass;

pub use agent::{AgentOptions, PROGRAM, key_line, marker};
pub use rights::{Release, Rights, grant, revoke_last, token_add, token_of, token_remove};
pub use user_cfg::UserCfg;

/// The user that Ironhatch's tokens belong to.
pub const USER: &str = "ironhatch@pve";

/// One step of an enrolment. The ids are stored in jobs: their meaning never changes. All may be repeated, alone and all
/// together; after a crash the whole sequence is run again from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EnrollStep {
    /// What the node is, and what is there of an earlier enrolment.
    Look,
    /// Pool, roles, user and access lists.
    Rights,
    /// The program that answers the root channel.
    Agent,
    /// The line that lets the channel's key start that program.
    Key,
    /// SSH host keys, and the certificate of the API.
    Identity,
    /// A new secret for the node's token.
    Token,
    /// A first call over the new channel.
    Verify,
}

impl EnrollStep {
    /// All steps, in order.
    pub const ALL: [Self; 7] = [
        Self::Look,
        Self::Rights,
        Self::Agent,
        Self::Key,
        Self::Identity,
        Self::Token,
        Self::Verify,
    ];

    /// The stable id as text, for example `enroll.rights`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Look => "enroll.look",
            Self::Rights => "enroll.rights",
            Self::Agent => "enroll.agent",
            Self::Key => "enroll.key",
            Self::Identity => "enroll.identity",
            Self::Token => "enroll.token",
            Self::Verify => "enroll.verify",
        }
    }

    /// The stable id as it is stored in a job.
    #[must_use]
    pub fn id(self) -> StepId {
        self.as_str().parse().expect("the ids above are valid slugs; a test walks through all")
    }

    /// The step with this id, if it is one of an enrolment.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == id)
    }

    /// What it does, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Look => "Look at the node",
            Self::Rights => "Grant the rights that guests need",
            Self::Agent => "Install the node's agent",
            Self::Key => "Let the appliance's key start the agent",
            Self::Identity => "Read the node's keys and certificate",
            Self::Token => "Make an API token",
            Self::Verify => "Call the agent",
        }
    }

    /// What a restart may do with it when it was begun and not finished.
    #[must_use]
    pub fn class(self) -> StepClass {
        match self {
            Self::Look | Self::Identity | Self::Verify => StepClass::Pure,
            Self::Rights | Self::Agent | Self::Key | Self::Token => StepClass::SafeToRepeat,
        }
    }
}

/// What the look at a node found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFound {
    /// The node's name, as the cluster file system says it.
    pub name: NodeName,
    /// First line of `pveversion`.
    pub version: String,
    /// The release in it.
    pub release: Release,
    /// The cluster's user database.
    pub users: UserCfg,
    /// SHA-256 of the agent that is installed, lower-case hex.
    pub agent: Option<String>,
}

/// Why a node cannot be enrolled as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotEnrollable {
    /// What was found.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// Reads what [`script::LOOK`] printed.
///
/// # Errors
/// [`NotEnrollable`]: it is no Proxmox VE node of a known release, or its cluster file system cannot be written.
pub fn read_look(text: &str) -> Result<NodeFound, NotEnrollable> {
    use super::join::{value, values, yes};
    let not = |reason: &str, hint: &str| NotEnrollable { reason: reason.into(), hint: hint.into() };
    let Some(version) = value(text, "version") else {
        return Err(not(
            "it is not a Proxmox VE node: it has no pveversion",
            "enroll a Proxmox VE node",
        ));
    };
    if !yes(text, "root") {
        return Err(not("the login is not root's", "log in as root"));
    }
    if !yes(text, "mounted") {
        return Err(not(
            "the cluster file system (/etc/pve) of the node is not there",
            "start it on the node: systemctl start pve-cluster",
        ));
    }
    if !yes(text, "writable") {
        return Err(not(
            "the cluster file system (/etc/pve) of the node cannot be written: the cluster has no quorum",
            "bring more nodes of the cluster up, then retry",
        ));
    }
    if !yes(text, "linked") {
        return Err(not(
            "/root/.ssh/authorized_keys of the node is not the link into /etc/pve that Proxmox VE makes",
            "move its keys to /root/.ssh/authorized_keys2 and run: pvecm updatecerts",
        ));
    }
    let release =
        Release::parse(version).filter(|release| *release >= Release::FIRST).ok_or_else(|| {
            not(&format!("the release '{version}' is not supported"), "use Proxmox VE 8.2 or later")
        })?;
    let name = value(text, "local").and_then(|name| name.parse().ok()).ok_or_else(|| {
        not("the node's name cannot be read", "look at the link /etc/pve/local on the node")
    })?;
    let lines: Vec<&str> = values(text, "users").collect();
    Ok(NodeFound {
        name,
        version: version.to_owned(),
        release,
        users: UserCfg::parse(&lines.join("\n")),
        agent: value(text, "agent").map(str::to_owned),
    })
}

/// Host keys and certificate of a node, as [`script::IDENTITY`] printed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As `type base64`.
    pub host_keys: Vec<String>,
    /// SHA-256 over the DER of the API's certificate, lower-case hex.
    pub api_fingerprint: String,
}

/// Reads what [`script::IDENTITY`] printed; `None` when something is missing.
#[must_use]
pub fn read_identity(text: &str) -> Option<Identity> {
    use super::join::{value, values};
    let host_keys: Vec<String> = values(text, "host_key")
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (kind, body) = (words.next()?, words.next()?);
            kind.starts_with("ssh-").then(|| format!("{kind} {body}"))
        })
        .collect();
    let printed = value(text, "certificate")?;
    let api_fingerprint: String = printed
        .rsplit('=')
        .next()?
        .chars()
        .filter(|c| *c != ':')
        .collect::<String>()
        .to_ascii_lowercase();
    let is_sha256 =
        api_fingerprint.len() == 64 && api_fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
    (is_sha256 && !host_keys.is_empty()).then_some(Identity { host_keys, api_fingerprint })
}

/// The secret in what `pveum user token add … --output-format json` printed.
#[must_use]
pub fn read_token(text: &str) -> Option<String> {
    // Warnings may stand before it.
    let json = text.lines().find(|line| line.trim_start().starts_with('{'))?;
    let answer: serde_json::Value = serde_json::from_str(json).ok()?;
    answer.get("value")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod test;
