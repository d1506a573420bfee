//! The cluster as a whole: its release, its nodes, all guests, and which numbers are free.

use serde_json::Value;

use super::call::Ask;
use super::{Cluster, PveError, PveVersion};
use crate::domain::id::{BridgeName, NodeName};
use crate::domain::vmid::Vmid;
use crate::proto::pve::cluster::{GuestRow, NodeStatus, read_guest, read_node, read_version};
use crate::proto::pve::value::{flag_of, number_of, text_of};

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

/// A row of `/cluster/status`: only the cluster's own row knows about quorum.
fn read_quorum(row: &Value) -> Option<bool> {
    (text_of(row, "type") == "cluster").then(|| flag_of(row, "quorate"))
}
