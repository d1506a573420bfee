//! A look at the cluster's members for people: who is there, with which version and load, and whether they have a majority.
//! Changes nothing. The last look that succeeded is kept, so that a page has something to show while nobody answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::unavailable;
use crate::domain::discovery::{ClusterLook, ClusterView, MemberLook};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::jobs::Engine;
use crate::pve::{Cluster, NodeStatus, PveError};

/// How old a look may be that is shown again: many screens look, the cluster is asked once.
const FRESH: Duration = Duration::from_secs(10);
/// How long the cluster may take for all answers.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was seen last, and when the cluster last did not answer.
#[derive(Debug, Default)]
pub(super) struct Kept {
    look: Option<Arc<ClusterLook>>,
    error: Option<Refusal>,
}

impl Kept {
    fn view(&self) -> ClusterView {
        ClusterView { look: self.look.clone(), error: self.error.clone() }
    }
}

impl Engine {
    /// What was seen of the cluster last, without asking it.
    pub async fn last_cluster_view(&self) -> ClusterView {
        match self.layer() {
            Ok(layer) => layer.members.lock().await.view(),
            Err(error) => ClusterView { look: None, error: Some(error) },
        }
    }

    /// The cluster as it is now, or some seconds ago. When it does not answer: why, and what was seen last.
    pub async fn cluster_view(&self) -> ClusterView {
        let layer = match self.layer() {
            Ok(layer) => layer,
            Err(error) => return ClusterView { look: None, error: Some(error) },
        };
        // Held while the cluster is asked: who comes meanwhile gets the same answer.
        let mut kept = layer.members.lock().await;
        let now = self.store().now();
        let is_fresh = kept.look.as_ref().is_some_and(|look| now.since(look.seen) < FRESH);
        if is_fresh && kept.error.is_none() {
            return kept.view();
        }
        match tokio::time::timeout(PATIENCE, self.ask_members()).await {
            Ok(Ok(look)) => *kept = Kept { look: Some(Arc::new(look)), error: None },
            Ok(Err(refusal)) => kept.error = Some(refusal),
            Err(_) => {
                let detail = format!("the cluster did not answer within {} s", PATIENCE.as_secs());
                let hint = "see whether its nodes are reachable: ironhatch doctor";
                kept.error = Some(Refusal::new(RefusalKind::Unavailable, detail, hint));
            }
        }
        kept.view()
    }

    async fn ask_members(&self) -> Result<ClusterLook, Refusal> {
        let cluster = self.cluster().await?;
        let statuses = cluster.cluster_nodes().await.map_err(unavailable)?;
        // A token without this right sees everything else.
        let quorate = match cluster.is_quorate().await {
            Err(PveError::Forbidden { .. }) => None,
            told => told.map_err(unavailable)?,
        };
        let guests = cluster.guests().await.map_err(unavailable)?;
        let versions = join_all(statuses.iter().map(|status| version(&cluster, status))).await;
        let members = statuses.into_iter().zip(versions).map(|(status, version)| {
            const MIB: u64 = 1 << 20;
            let own = || guests.iter().filter(|guest| guest.node == status.name);
            MemberLook {
                online: status.online,
                version,
                cores: status.cores,
                memory_mb: status.memory / MIB,
                used_memory_mb: status.memory_used / MIB,
                uptime_secs: status.uptime_secs,
                guests: own().count(),
                running: own().filter(|guest| guest.is_running()).count(),
                name: status.name,
            }
        });
        let members = members.collect();
        Ok(ClusterLook { seen: self.store().now(), quorate, members })
    }
}

/// A node's own version; empty when it does not tell, which the other facts do not depend on.
async fn version(cluster: &Cluster, status: &NodeStatus) -> String {
    let Ok(node) = status.name.parse() else { return String::new() };
    if !status.online {
        return String::new();
    }
    match cluster.node_version(&node).await {
        Ok(version) => version.text,
        Err(error) => {
            tracing::debug!(%node, error = with_causes(&error), "a node did not tell its version");
            String::new()
        }
    }
}
