//! The cluster as a whole: its release, its nodes, all guests, and which numbers are free.

use serde_json::Value;

use super::call::Ask;
use super::{Cluster, PveError, PveVersion};
use crate::domain::id::{BridgeName, NodeName};
use crate::domain::vmid::{Tag, Vmid};
use crate::proto::pve::value::{flag_of, number_of, text_of};

/// A node as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name as the cluster spells it; Proxmox VE allows upper case, our node names do not.
    pub name: String,
    /// Whether it takes part in the cluster just now.
    pub online: bool,
    /// Cores; 0 when it is offline or the token may not know.
    pub cores: u64,
    /// Bytes of memory; 0 as above.
    pub memory: u64,
    /// Bytes of memory in use; 0 as above.
    pub memory_used: u64,
    /// Seconds since its start; 0 as above.
    pub uptime_secs: u64,
}

/// Container or virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestKind {
    /// A container.
    Container,
    /// A virtual machine.
    Machine,
}

/// One guest that the token may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRow {
    /// Its number.
    pub vmid: Vmid,
    /// What it is.
    pub kind: GuestKind,
    /// Its name; empty while it is being made.
    pub name: String,
    /// The node that holds it, as the cluster spells it.
    pub node: String,
    /// `running`, `stopped`, or `unknown` for up to 10 s after it appeared and while its node is down.
    pub status: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The pool it is in; nested ones contain `/`.
    pub pool: Option<String>,
    /// It is a template.
    pub template: bool,
    /// The lock on it.
    pub lock: Option<String>,
}

impl GuestRow {
    /// Whether it runs, as far as the cluster knows.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }
}

impl Cluster {
    /// The release of the member that answers.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn version(&self) -> Result<PveVersion, PveError> {
        self.ask_one(Ask::get(&["version"]), read_version).await
    }

    /// The release of one node (`GET /nodes/{node}/version`); members of a cluster can differ.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn node_version(&self, node: &NodeName) -> Result<PveVersion, PveError> {
        self.ask_one(Ask::get(&["nodes", node.as_str(), "version"]), read_version).await
    }

    /// All nodes.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn cluster_nodes(&self) -> Result<Vec<NodeStatus>, PveError> {
        self.ask_rows(Ask::get(&["nodes"]), read_node).await
    }

    /// Whether the cluster has a majority of its nodes (`GET /cluster/status`); `None`: the member is in no cluster.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn is_quorate(&self) -> Result<Option<bool>, PveError> {
        let rows = self.ask_rows(Ask::get(&["cluster", "status"]), |row| Some(read_quorum(row)));
        Ok(rows.await?.into_iter().flatten().next())
    }

    /// What a node's clock says, in seconds since 1970 (`GET /nodes/{node}/time`).
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn clock(&self, node: &NodeName) -> Result<u64, PveError> {
        let ask = Ask::get(&["nodes", node.as_str(), "time"]);
        self.ask_one(ask, |data| Some(number_of(data, "time")).filter(|time| *time > 0)).await
    }

    /// All guests of all nodes that the token may see: with rights on a pool only, those of the pool.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn guests(&self) -> Result<Vec<GuestRow>, PveError> {
        self.ask_rows(Ask::get(&["cluster", "resources"]).with("type", "vm"), read_guest).await
    }

    /// Bridges and VNets of a node that the token may use. Names that are no interface names of ours are left out.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn bridges(&self, node: &NodeName) -> Result<Vec<BridgeName>, PveError> {
        let ask = Ask::get(&["nodes", node.as_str(), "network"]).with("type", "any_bridge");
        let mut names = self.ask_rows(ask, |row| text_of(row, "iface").parse().ok()).await?;
        names.sort();
        Ok(names)
    }

    /// Whether a number is free in the whole cluster, guests included that the token may not see. Nothing is reserved.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn is_free(&self, vmid: Vmid) -> Result<bool, PveError> {
        match self.ask(Ask::get(&["cluster", "nextid"]).with("vmid", vmid)).await {
            Ok(_) => Ok(true),
            Err(PveError::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The release is `9.2`, the version `9.2.11`; the version has all of it.
pub(super) fn read_version(data: &Value) -> Option<PveVersion> {
    PveVersion::parse(&text_of(data, "version"))
        .or_else(|| PveVersion::parse(&text_of(data, "release")))
}

pub(super) fn read_node(row: &Value) -> Option<NodeStatus> {
    let name = text_of(row, "node");
    if name.is_empty() {
        return None;
    }
    Some(NodeStatus {
        name,
        online: text_of(row, "status") == "online",
        cores: number_of(row, "maxcpu"),
        memory: number_of(row, "maxmem"),
        memory_used: number_of(row, "mem"),
        uptime_secs: number_of(row, "uptime"),
    })
}

/// A row of `/cluster/status`: only the cluster's own row knows about quorum.
fn read_quorum(row: &Value) -> Option<bool> {
    (text_of(row, "type") == "cluster").then(|| flag_of(row, "quorate"))
}

pub(super) fn read_guest(row: &Value) -> Option<GuestRow> {
    let kind = match text_of(row, "type").as_str() {
        "lxc" => GuestKind::Container,
        "qemu" => GuestKind::Machine,
        _ => return None,
    };
    let some = |text: String| Some(text).filter(|t| !t.is_empty());
    Some(GuestRow {
        vmid: text_of(row, "vmid").parse().ok()?,
        kind,
        name: text_of(row, "name"),
        node: text_of(row, "node"),
        status: text_of(row, "status"),
        tags: Tag::list(&text_of(row, "tags")),
        pool: some(text_of(row, "pool")),
        template: flag_of(row, "template"),
        lock: some(text_of(row, "lock")),
    })
}
