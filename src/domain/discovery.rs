//! What was found in the cluster: the choices that forms offer and that placement decides over.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::gpu::GpuReport;
use super::id::{BridgeName, NodeName, StorageId};
use super::refusal::Refusal;
use super::time::Timestamp;
use super::vmid::Vmid;

/// One look at the cluster through the API and the enrolled nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Discovery {
    /// When it was taken.
    pub seen: Timestamp,
    /// Enrolled nodes.
    pub nodes: Vec<NodeFacts>,
    /// Numbers in use anywhere in the cluster.
    pub taken_vmids: Vec<Vmid>,
    /// Addresses known to be in use, with by whom.
    pub taken_addresses: Vec<(Ipv4Addr, String)>,
    /// Names of our guests.
    pub taken_names: Vec<String>,
    /// Domains in the reverse proxy's repository, with the file that defines each.
    pub taken_domains: Vec<(String, String)>,
    /// What could not be looked at, one sentence each.
    pub problems: Vec<String>,
}

/// One enrolled node.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Where it is reached.
    pub address: IpAddr,
    /// Online and enrolled without a problem.
    pub usable: bool,
    /// Why it is not.
    pub problem: String,
    /// Release, `9.2`.
    pub release: String,
    /// Cores.
    pub cores: u32,
    /// MiB of memory, all.
    pub memory_mb: u64,
    /// MiB of memory, not in use.
    pub free_memory_mb: u64,
    /// Storages that are active on it.
    pub storages: Vec<StorageFacts>,
    /// Bridges and VNets.
    pub bridges: Vec<BridgeName>,
    /// OS templates on its storages, as volume ids.
    pub templates: Vec<String>,
    /// OS templates that it could download, by file name.
    pub downloadable: Vec<String>,
    /// Its GPUs.
    pub gpu: GpuReport,
}

/// One storage as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StorageFacts {
    /// Its name.
    pub id: StorageId,
    /// `zfspool`, `lvmthin`, `dir`, …
    pub kind: String,
    /// What it may hold: `rootdir`, `vztmpl`, `backup`, …
    pub content: Vec<String>,
    /// Shared by all nodes.
    pub shared: bool,
    /// GiB that are free.
    pub free_gb: u64,
    /// GiB in all.
    pub total_gb: u64,
}

impl StorageFacts {
    /// Whether snapshots of containers on it work (PVE 9.2: directory and thick LVM cannot).
    #[must_use]
    pub fn has_snapshots(&self) -> bool {
        matches!(self.kind.as_str(), "zfspool" | "lvmthin" | "rbd" | "btrfs")
    }
}

impl Discovery {
    /// The node with this name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&NodeFacts> {
        self.nodes.iter().find(|n| n.name == *name)
    }
}

impl NodeFacts {
    /// The storage with this name.
    #[must_use]
    pub fn storage(&self, id: &StorageId) -> Option<&StorageFacts> {
        self.storages.iter().find(|s| s.id == *id)
    }
}

/// The cluster's members as it tells of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterLook {
    /// When it told.
    pub seen: Timestamp,
    /// Whether it has a majority of its nodes; `None`: it is a node without a cluster, or the token may not know.
    pub quorate: Option<bool>,
    /// Its members.
    pub members: Vec<MemberLook>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MemberLook {
    /// Its name as the cluster spells it.
    pub name: String,
    /// Whether it takes part just now.
    pub online: bool,
    /// Its version, `9.2.11`; empty: it did not tell.
    pub version: String,
    /// Cores; 0: not known.
    pub cores: u64,
    /// MiB of memory; 0: not known.
    pub memory_mb: u64,
    /// MiB of memory in use; 0: not known.
    pub used_memory_mb: u64,
    /// Seconds since its start; 0: not known.
    pub uptime_secs: u64,
    /// Guests on it that we may see.
    pub guests: usize,
    /// Those that run.
    pub running: usize,
}

/// What was seen of the cluster last, and why it was not seen since.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// The last look that succeeded.
    pub look: Option<Arc<ClusterLook>>,
    /// Why the last try did not. `None` without a look: there was nobody to ask, or nobody has asked.
    pub error: Option<Refusal>,
    /// Whether the configuration names a member of it.
    pub is_named: bool,
}

/// One line of a review: something that will happen, in that order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReviewLine {
    /// The step, in a few words.
    pub what: String,
    /// With which values. Never a secret.
    pub detail: String,
}

/// Everything that an installation will do, before it does it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(rename = "InstallReview")]
pub struct Review {
    /// In the order in which it happens.
    pub lines: Vec<ReviewLine>,
    /// The reverse proxy's definition as it will be written; the address stands in for the container's.
    pub service: Option<String>,
    /// What the operator should know: a privileged container, no restore point, not exercised in CI.
    pub warnings: Vec<String>,
}
