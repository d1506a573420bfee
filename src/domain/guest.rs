//! A container that Ironhatch made or adopted, and the table by which its record's state changes.
//!
//! ```text
//!             install                verified                 change asked for
//!  (nothing) ────────> installing ────────────> ready <──────────────────────────> changing
//!                          │                      │           verified               │
//!                          v   retry              v uninstall                        v
//!                        failed ───────> …     removing ──> (record deleted)      failed
//!
//!  A change or a removal that was given up before it touched anything goes back to where it came from.
//!
//!  adopt: (nothing) ──> observed ── confirm ──> ready        observed is read-only: nothing about the guest changes
//! ```
//!
//! Whether a guest runs is the cluster's to say and is not stored here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::app::{AppId, ContentHash, Feature, InputValue, OutputKind};
use super::gpu::{GpuProfile, PciAddress};
use super::host::Failure;
use super::id::{BridgeName, GuestId, HostId, Hostname, JobId, NodeName, StorageId};
use super::time::Timestamp;
use super::vmid::Vmid;

/// One guest. Its secret inputs and outputs are sealed elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Its id, for as long as the record exists.
    pub id: GuestId,
    /// Its number in the cluster.
    pub vmid: Vmid,
    /// The node that holds it.
    pub node: NodeName,
    /// Host name of the container; unique among our guests.
    pub name: Hostname,
    /// What runs in it; `None`: adopted without an app.
    pub app: Option<InstalledApp>,
    /// What it was made of and may use.
    pub spec: GuestSpec,
    /// Where it stands.
    pub state: GuestState,
    /// Since when.
    pub state_since: Timestamp,
    /// Set while `state` is `failed`, and kept while a failed guest is `changing` or `removing`.
    pub failure: Option<Failure>,
    /// The job that holds this guest's lock. At most one.
    pub active_job: Option<JobId>,
    /// Address that was last seen or set.
    pub address: Option<IpAddr>,
    /// Results of its provisioning that are no secrets.
    pub outputs: Vec<OutputValue>,
    /// What an upgrade or another change can return to.
    pub restore_point: Option<RestorePoint>,
    /// Its entry in the reverse proxy's repository.
    pub service: Option<PublishedService>,
    /// It existed before; what was found then. It is only ever changed after the operator confirmed.
    pub adopted: Option<Adoption>,
    /// The host whose rebuild asked for it (stack on ready).
    pub stack_of: Option<HostId>,
    /// When its record was made.
    pub created: Timestamp,
}

/// An app as it was installed: pinned by content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstalledApp {
    /// Which.
    pub id: AppId,
    /// Its version.
    pub version: String,
    /// The source's name.
    pub source: String,
    /// What its folder hashed to; the folder is kept under this name for as long as a guest needs it.
    pub hash: ContentHash,
    /// Inputs that are no secrets.
    pub inputs: BTreeMap<String, InputValue>,
}

/// Resources, placement and devices of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuestSpec {
    /// Storage of its volumes.
    pub storage: StorageId,
    /// Cores.
    pub cores: u32,
    /// MiB.
    pub memory_mb: u32,
    /// MiB.
    pub swap_mb: u32,
    /// Root disk, GiB.
    pub disk_gb: u32,
    /// Unprivileged.
    pub unprivileged: bool,
    /// Features.
    pub features: Vec<Feature>,
    /// Its one network interface.
    pub network: GuestNetwork,
    /// Volumes beside the root disk.
    pub volumes: Vec<Volume>,
    /// Its GPUs.
    pub gpu: Vec<GpuAttachment>,
    /// Started with the node.
    pub onboot: bool,
    /// Started at the end of the installation.
    pub start: bool,
    /// A node exporter is installed and listed for Prometheus.
    pub monitored: bool,
    /// What the operator noted.
    pub description: String,
    /// OS template that it was created from, once known (`local:vztmpl/debian-12-…`).
    pub ostemplate: Option<String>,
}

/// The network interface `eth0` of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestNetwork {
    /// Bridge or VNet.
    pub bridge: BridgeName,
    /// VLAN tag.
    pub vlan: Option<u16>,
    /// How it gets its address.
    pub ipv4: Ipv4Config,
}

/// How a container gets its IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Ipv4Config {
    /// From a DHCP server.
    Dhcp,
    /// A fixed one.
    Static {
        /// The address.
        address: Ipv4Addr,
        /// Prefix length, 1 to 32.
        prefix: u8,
        /// Default gateway, inside the network.
        gateway: Option<Ipv4Addr>,
    },
}

/// A volume beside the root disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Volume {
    /// The manifest's key of it.
    pub key: String,
    /// `mpN`.
    pub slot: u8,
    /// Absolute path in the container.
    pub path: String,
    /// GiB.
    pub size_gb: u32,
    /// Part of backups.
    pub backup: bool,
    /// Volume id on its storage, once made.
    pub volid: Option<String>,
}

/// A GPU of a container, by its address on the node; resolved to device nodes before each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuAttachment {
    /// Which GPU.
    pub address: PciAddress,
    /// Which device nodes of it.
    pub profile: GpuProfile,
    /// Driver version that the guest's user land was installed for (NVIDIA).
    pub driver_version: Option<String>,
}

/// A result that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputValue {
    /// Name.
    pub key: String,
    /// For people.
    pub label: String,
    /// How it is shown.
    pub kind: OutputKind,
    /// The value; `None`: it is a secret, sealed under this key.
    pub value: Option<String>,
}

/// What a change can be taken back to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// Where it is.
    pub kind: RestoreKind,
    /// When it was made.
    pub made: Timestamp,
    /// Before what, in a few words: `upgrade 1.0.0 to 1.1.0`.
    pub before: String,
    /// What ran then.
    pub app: Option<InstalledApp>,
    /// What it was made of then.
    #[serde(default)]
    pub spec: Option<GuestSpec>,
}

/// Kinds of restore points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RestoreKind {
    /// A snapshot of the container.
    Snapshot {
        /// Its name.
        name: String,
    },
    /// A vzdump archive, where a volume's storage has no snapshots.
    Backup {
        /// Its volume id.
        volid: String,
    },
}

/// An entry in the reverse proxy's repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedService {
    /// Domain that it answers to.
    pub domain: String,
    /// Reachable from outside, not only internally.
    pub public: bool,
    /// Path of its file in the repository.
    pub path: String,
    /// Commit that added it; `None`: not pushed yet.
    pub commit: Option<String>,
    /// Branch that it was pushed to.
    pub branch: Option<String>,
}

/// What was found when a guest was adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// Its configuration then, property by property.
    pub config: BTreeMap<String, String>,
    /// The pool it was in.
    pub pool: Option<String>,
    /// The operator confirmed that it may be changed.
    pub confirmed: Option<Timestamp>,
}

/// Where a guest stands; the names are a contract.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// Seen, not ours to change yet.
    Observed,
    /// Being made.
    Installing,
    /// Made and verified.
    Ready,
    /// Being changed: reconfigure, upgrade, resize, restore.
    Changing,
    /// Stopped by an error; see [`Failure`].
    Failed,
    /// Being taken away.
    Removing,
}

/// What can happen to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestEvent {
    /// The installation is tried again.
    RetryStarted,
    /// Everything was done and verified.
    Verified,
    /// A change began.
    ChangeStarted,
    /// Its removal began.
    RemovalStarted,
    /// The operator confirmed the adoption.
    AdoptionConfirmed,
    /// An error, a timeout or a cancel.
    Stopped,
    /// A change or a removal was given up before it touched the guest.
    Untouched,
    /// Its container is gone: its node was rebuilt, or somebody destroyed it.
    Lost,
}

/// A move that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a guest that is {state} cannot take '{event}': {reason}")]
pub struct Denied {
    /// The state it is in.
    pub state: GuestState,
    /// What was tried.
    pub event: GuestEvent,
    /// Which rule forbids it, and what would be allowed.
    pub reason: &'static str,
}

use GuestEvent as E;
use GuestState as S;

/// All moves. Everything that is not here is denied.
pub const MOVES: &[(GuestState, GuestEvent, GuestState)] = &[
    (S::Installing, E::Verified, S::Ready),
    (S::Installing, E::Stopped, S::Failed),
    (S::Failed, E::RetryStarted, S::Installing),
    (S::Failed, E::ChangeStarted, S::Changing),
    (S::Ready, E::ChangeStarted, S::Changing),
    (S::Changing, E::Verified, S::Ready),
    (S::Changing, E::Untouched, S::Ready),
    (S::Changing, E::Stopped, S::Failed),
    (S::Ready, E::Lost, S::Failed),
    (S::Ready, E::RemovalStarted, S::Removing),
    (S::Failed, E::RemovalStarted, S::Removing),
    (S::Removing, E::Untouched, S::Ready),
    (S::Removing, E::Stopped, S::Failed),
    (S::Observed, E::AdoptionConfirmed, S::Ready),
];

/// Looks a move up.
///
/// # Errors
/// [`Denied`] with the rule when the table has no such move.
pub fn transition(state: GuestState, event: GuestEvent) -> Result<GuestState, Denied> {
    if let Some((_, _, to)) = MOVES.iter().find(|(s, e, _)| (*s, *e) == (state, event)) {
        return Ok(*to);
    }
    let reason = match (state, event) {
        (S::Observed, _) => "it is only observed: confirm its adoption first",
        (S::Installing, _) => "it is being installed; wait for the job or cancel it",
        (S::Changing, _) => "it is being changed; wait for the job or cancel it",
        (S::Removing, _) => "it is being removed",
        (_, E::RetryStarted) => "only a failed installation can be tried again",
        (_, E::AdoptionConfirmed) => "it is ours already",
        _ => "nothing is running that could end like this",
    };
    Err(Denied { state, event, reason })
}

impl GuestState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Observed,
        Self::Installing,
        Self::Ready,
        Self::Changing,
        Self::Failed,
        Self::Removing,
    ];

    /// Whether a job is at work on it.
    #[must_use]
    pub fn is_busy(self) -> bool {
        matches!(self, Self::Installing | Self::Changing | Self::Removing)
    }

    /// The name that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Installing => "installing",
            Self::Ready => "ready",
            Self::Changing => "changing",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }
}

impl GuestEvent {
    /// All events.
    pub const ALL: [Self; 8] = [
        Self::RetryStarted,
        Self::Verified,
        Self::ChangeStarted,
        Self::RemovalStarted,
        Self::AdoptionConfirmed,
        Self::Stopped,
        Self::Untouched,
        Self::Lost,
    ];
}

impl fmt::Display for GuestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Display for GuestEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RetryStarted => "retry_started",
            Self::Verified => "verified",
            Self::ChangeStarted => "change_started",
            Self::RemovalStarted => "removal_started",
            Self::AdoptionConfirmed => "adoption_confirmed",
            Self::Stopped => "stopped",
            Self::Untouched => "untouched",
            Self::Lost => "lost",
        })
    }
}

impl Guest {
    /// Whether anything about the guest may be changed: an observed one may not.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.state != GuestState::Observed
    }

    /// Moves it by the table.
    ///
    /// # Errors
    /// [`Denied`] with the rule; nothing is changed then.
    pub fn step(&mut self, event: GuestEvent, now: Timestamp) -> Result<(), Denied> {
        let to = transition(self.state, event)?;
        self.state = to;
        self.state_since = now;
        // While work on a failed guest runs, its failure is what it goes back to when nothing was touched.
        if !matches!(to, GuestState::Failed | GuestState::Changing | GuestState::Removing) {
            self.failure = None;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod sample;

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_observed_guest_only_becomes_ours_by_confirmation() {
        for event in GuestEvent::ALL {
            let moved = transition(GuestState::Observed, event);
            assert_eq!(moved.is_ok(), event == GuestEvent::AdoptionConfirmed, "{event}");
        }
    }

    #[test]
    fn every_busy_state_can_stop() {
        for state in GuestState::ALL.into_iter().filter(|s| s.is_busy()) {
            assert_eq!(transition(state, GuestEvent::Stopped), Ok(GuestState::Failed));
        }
    }

    proptest! {
        #[test]
        fn no_walk_leads_back_to_observed_or_installs_what_is_ready(
            walk in proptest::collection::vec(0..GuestEvent::ALL.len(), 0..40)
        ) {
            let mut state = GuestState::Installing;
            for at in walk {
                let before = state;
                if let Ok(next) = transition(state, GuestEvent::ALL[at]) {
                    state = next;
                }
                prop_assert_ne!(state, GuestState::Observed);
                prop_assert!(!(before == GuestState::Ready && state == GuestState::Installing));
            }
        }
    }
}
