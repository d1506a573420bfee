//! A physical machine that we know, and the table by which its state changes.
//!
//! ```text
//!  registered ─┐                                             (cancel, error, timeout, from any state in the frame)
//!  ready ──────┤ arm                                         ┌─────────────────────────────────────────────> failed
//!  failed ─────┴──> pxe_ready ──> pxe_booted ──> installing ──> installed ──> first_boot ──> joining ──> ready
//!                     script         answer        webhook │       phone-home    join          verified
//!                                    served                └── phone-home ──────────^
//! ```
//!
//! Network boot is ours only in `pxe_ready` and `pxe_booted`. Serving the answer is the point of no return: from then
//! on the machine boots from its disk until an operator rebuilds it again.

use std::fmt;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::boot::BootProfile;
use super::id::{HostId, Hostname, JobId, ServerTypeName};
use super::identity::DmiUuid;
use super::inventory::Inventory;
use super::mac::Mac;
use super::power::Power;
use super::server_type::DiskSelection;
use super::time::Timestamp;

/// One registered host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its id, for as long as it exists.
    pub id: HostId,
    /// Short name; the node's name in the cluster.
    pub hostname: Hostname,
    /// Hardware addresses; the first is the one it boots from. Never empty.
    pub macs: Vec<Mac>,
    /// System UUID, when known. From then on it must agree before an answer is served.
    pub uuid: Option<DmiUuid>,
    /// Its kind.
    pub server_type: ServerTypeName,
    /// What this host sets over its server type.
    #[serde(default)]
    pub overrides: HostOverrides,
    /// Where it stands.
    pub state: HostState,
    /// Since when.
    pub state_since: Timestamp,
    /// Set while `state` is `failed`.
    pub failure: Option<Failure>,
    /// The job that holds this host's lock. At most one.
    pub active_job: Option<JobId>,
    /// Last address it called back from or was told to use.
    pub address: Option<Ipv4Addr>,
    /// Its membership was verified, and no answer has left for it since: it is (or was, when it is off) a node.
    #[serde(default)]
    pub is_member: bool,
    /// SSH host keys that came with an authenticated callback, as `type base64`.
    #[serde(default)]
    pub ssh_host_keys: Vec<String>,
    /// What it told about itself.
    #[serde(default)]
    pub inventory: Inventory,
    /// How its firmware wants to be spoken to.
    #[serde(default)]
    pub boot: BootProfile,
    /// How it is switched on and off.
    #[serde(default)]
    pub power: Power,
    /// When it was registered.
    pub created: Timestamp,
}

impl Host {
    /// A host as it is registered, at this time: nothing is known of its machine, and nobody armed it.
    #[must_use]
    pub fn new(
        id: HostId,
        hostname: Hostname,
        macs: Vec<Mac>,
        server_type: ServerTypeName,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            hostname,
            macs,
            uuid: None,
            server_type,
            overrides: HostOverrides::default(),
            state: HostState::Registered,
            state_since: at,
            failure: None,
            active_job: None,
            address: None,
            is_member: false,
            ssh_host_keys: Vec::new(),
            inventory: Inventory::default(),
            boot: BootProfile::default(),
            power: Power::default(),
            created: at,
        }
    }

    /// The system UUID that is demanded of its machine, or else the one that its machine told.
    #[must_use]
    pub fn known_uuid(&self) -> Option<DmiUuid> {
        self.uuid.or(self.inventory.uuid)
    }
}

/// Values of one host that go over its server type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostOverrides {
    /// Which disk may be wiped on this host.
    pub boot_disk: Option<DiskSelection>,
    /// Fixed address of the installed node; `None`: the lease of the installation is frozen.
    pub network: Option<StaticNetwork>,
    /// Answer keys, as `section.key` with JSON values.
    pub answer: serde_json::Map<String, serde_json::Value>,
}

/// A fixed IPv4 configuration for the installed node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StaticNetwork {
    /// Address with prefix, `192.0.2.21/24`.
    pub cidr: String,
    /// Default gateway.
    pub gateway: Ipv4Addr,
    /// The one DNS server the installer takes.
    pub dns: Ipv4Addr,
}

/// Why something stopped, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The host's state before, when a host failed.
    pub from: Option<HostState>,
    /// What happened, in plain words.
    pub reason: String,
    /// What to do next.
    pub hint: String,
}

/// Where a host stands; the names are a contract.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Known, never rebuilt by us.
    Registered,
    /// Armed: its next network boot gets the installer.
    PxeReady,
    /// Fetched its installer script.
    PxeBooted,
    /// Took its answer; its disk is being written.
    Installing,
    /// Reported a finished installation.
    Installed,
    /// Called back from the installed system.
    FirstBoot,
    /// Being joined to the cluster.
    Joining,
    /// A working node.
    Ready,
    /// Stopped; see [`Failure`].
    Failed,
}

/// What can happen to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostEvent {
    /// A rebuild armed it.
    Armed,
    /// It fetched its installer script.
    ScriptFetched,
    /// Its answer was handed out.
    AnswerServed,
    /// The installer's webhook arrived.
    InstalledReported,
    /// The first-boot script called back.
    PhonedHome,
    /// The join began.
    JoinStarted,
    /// Membership was verified and the ephemeral key is gone.
    JoinVerified,
    /// An error, a timeout or a cancel.
    Stopped,
}

/// A move that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a host that is {state} cannot take '{event}': {reason}")]
pub struct Denied {
    /// The state it is in.
    pub state: HostState,
    /// What was tried.
    pub event: HostEvent,
    /// Which rule forbids it, and what would be allowed.
    pub reason: &'static str,
}

/// What a permitted event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The host moves to this state.
    To(HostState),
    /// The event was seen before: nothing changes.
    Repeated,
}

use HostEvent as E;
use HostState as S;

/// All moves. Everything that is neither here nor in [`REPEATS`] is denied.
pub const MOVES: &[(HostState, HostEvent, HostState)] = &[
    (S::Registered, E::Armed, S::PxeReady),
    (S::Ready, E::Armed, S::PxeReady),
    (S::Failed, E::Armed, S::PxeReady),
    (S::PxeReady, E::ScriptFetched, S::PxeBooted),
    (S::PxeBooted, E::AnswerServed, S::Installing),
    (S::Installing, E::InstalledReported, S::Installed),
    // The webhook is optional evidence: ISO 8.2 has none, and a lost one must not stop the rebuild.
    (S::Installing, E::PhonedHome, S::FirstBoot),
    (S::Installed, E::PhonedHome, S::FirstBoot),
    (S::FirstBoot, E::JoinStarted, S::Joining),
    (S::Joining, E::JoinVerified, S::Ready),
    (S::PxeReady, E::Stopped, S::Failed),
    (S::PxeBooted, E::Stopped, S::Failed),
    (S::Installing, E::Stopped, S::Failed),
    (S::Installed, E::Stopped, S::Failed),
    (S::FirstBoot, E::Stopped, S::Failed),
    (S::Joining, E::Stopped, S::Failed),
];

/// Messages that may arrive again and then change nothing: firmware, installers and we ourselves retry.
pub const REPEATS: &[(HostState, HostEvent)] = &[
    (S::PxeReady, E::Armed),
    (S::PxeBooted, E::ScriptFetched),
    (S::Installed, E::InstalledReported),
    (S::FirstBoot, E::InstalledReported),
    (S::Joining, E::InstalledReported),
    (S::FirstBoot, E::PhonedHome),
    (S::Joining, E::PhonedHome),
    (S::Joining, E::JoinStarted),
    (S::Ready, E::JoinVerified),
    (S::Failed, E::Stopped),
];

/// Looks a move up.
///
/// # Errors
/// [`Denied`] with the rule when the table has no such move.
pub fn transition(state: HostState, event: HostEvent) -> Result<Transition, Denied> {
    if let Some((_, _, to)) = MOVES.iter().find(|(s, e, _)| (*s, *e) == (state, event)) {
        return Ok(Transition::To(*to));
    }
    if REPEATS.contains(&(state, event)) {
        return Ok(Transition::Repeated);
    }
    let reason = match event {
        E::Armed => "a rebuild is already running; cancel it or wait for its end",
        E::ScriptFetched if !state.is_armed() => {
            "no rebuild is waiting for it; its network boot is local boot"
        }
        E::AnswerServed if state == S::PxeReady => {
            "the answer is only for a machine that fetched its installer script"
        }
        E::AnswerServed if state.is_busy() => {
            "the answer of this rebuild was already served, and is served only once"
        }
        E::AnswerServed => "no rebuild is waiting for it; nothing is released",
        E::InstalledReported | E::PhonedHome => "no installation of ours is running on it",
        E::JoinStarted | E::JoinVerified => "it did not call back from its installed system",
        E::Stopped => "nothing is running that could be stopped",
        E::ScriptFetched => "the installer script is only for armed hosts",
    };
    Err(Denied { state, event, reason })
}

impl HostState {
    /// All states in the order of a rebuild.
    pub const ALL: [Self; 9] = [
        Self::Registered,
        Self::PxeReady,
        Self::PxeBooted,
        Self::Installing,
        Self::Installed,
        Self::FirstBoot,
        Self::Joining,
        Self::Ready,
        Self::Failed,
    ];

    /// Whether the machine's network boot belongs to us.
    #[must_use]
    pub fn is_armed(self) -> bool {
        matches!(self, Self::PxeReady | Self::PxeBooted)
    }

    /// Whether the machine's disk is ours since its answer left: its address and its facts came, or will come, with a token.
    #[must_use]
    pub fn has_installed_system(self) -> bool {
        matches!(
            self,
            Self::Installing | Self::Installed | Self::FirstBoot | Self::Joining | Self::Ready
        )
    }

    /// Whether a rebuild is running.
    #[must_use]
    pub fn is_busy(self) -> bool {
        !matches!(self, Self::Registered | Self::Ready | Self::Failed)
    }

    /// The stored and published name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::PxeReady => "pxe_ready",
            Self::PxeBooted => "pxe_booted",
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::FirstBoot => "first_boot",
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for HostEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Armed => "arm",
            Self::ScriptFetched => "boot script fetched",
            Self::AnswerServed => "answer served",
            Self::InstalledReported => "installation reported",
            Self::PhonedHome => "phone-home",
            Self::JoinStarted => "join started",
            Self::JoinVerified => "join verified",
            Self::Stopped => "stop",
        })
    }
}

#[cfg(test)]
mod test;
