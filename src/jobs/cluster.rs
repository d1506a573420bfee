//! A look at the cluster's members for people: who is there, with which version and load, and whether they have a majority.
//! Changes nothing. The last look that succeeded is kept, so that a page has something to show while nobody answers.
//!
//! Enrolled nodes are asked through their API. Where there are none, `pvesh` is run over SSH on the member that joins go
//! through, with the key that joins use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};

use super::engine::Engine;
use super::guest::unavailable;
use super::{member, member_key};
use crate::domain::discovery::{ClusterLook, ClusterView};
use crate::domain::id::NodeName;
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::time::Timestamp;
use crate::node::ssh::{Limits, Session, Target};
use crate::plan::cluster::look;
use crate::plan::join::brief;
use crate::pve::{Cluster, NodeStatus, PveError};
use crate::store::NodeReads as _;

/// How old a look may be that is shown again: many screens look, the cluster is asked once.
const FRESH: Duration = Duration::from_secs(10);
/// How long the cluster may take for all answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a member may take to let us in over SSH.
const LOGIN: Duration = Duration::from_secs(10);
/// What one `pvesh` may take there; it needs about one second.
const COMMAND: Duration = Duration::from_secs(12);
/// The same in words of timeout(1), which ends it on the member too.
const COMMAND_SECS: &str = "12";
/// What `pvesh` may print: a guest has some 500 bytes, and a cluster at most a few thousand.
const MAX_OUTPUT: usize = 4 << 20;
/// Nodes whose version is asked over SSH at a time: each is a session of the connection, of which sshd allows 10, and the
/// member itself starts a program and logs in to the node.
const VERSIONS_AT_ONCE: usize = 4;
/// What all of them may take together; who did not tell is asked by the next look.
const VERSIONS: Duration = Duration::from_secs(6);
/// How old a version may be that was told over SSH: it changes with an upgrade only, and asking costs two nodes a second.
const VERSION_FRESH: Duration = Duration::from_mins(10);

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// Held while the cluster is asked: who comes meanwhile gets the same answer. Who only wants the last look never waits.
    asking: tokio::sync::Mutex<Versions>,
    last: Mutex<ClusterView>,
}

/// Versions that were told over SSH, by node, and when.
type Versions = BTreeMap<String, (Timestamp, String)>;

impl Looks {
    fn last(&self) -> MutexGuard<'_, ClusterView> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// What was seen of the cluster last, without asking it.
    #[must_use]
    pub fn last_cluster_view(&self) -> ClusterView {
        let last = self.inner.looks.last().clone();
        ClusterView { is_named: self.context().config.proxmox.existing_node.is_some(), ..last }
    }

    /// The cluster as it is now, or some seconds ago. When it does not answer: why, and what was seen last.
    pub async fn cluster_view(&self) -> ClusterView {
        let mut versions = self.inner.looks.asking.lock().await;
        let last = self.last_cluster_view();
        let now = self.store().now();
        let is_fresh = last.look.as_ref().is_some_and(|look| now.since(look.seen) < FRESH);
        if is_fresh && last.error.is_none() {
            return last;
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask_cluster(&mut versions)).await;
        let error = match asked {
            Ok(Ok(look)) => {
                *self.inner.looks.last() =
                    ClusterView { look: look.map(Arc::new), ..ClusterView::default() };
                return self.last_cluster_view();
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => {
                let detail = format!("the cluster did not answer within {} s", PATIENCE.as_secs());
                let hint = "see whether its nodes are reachable: ironhatch doctor";
                Refusal::new(RefusalKind::Unavailable, detail, hint)
            }
        };
        self.inner.looks.last().error = Some(error);
        self.last_cluster_view()
    }

    /// `None`: there is nobody to ask.
    async fn ask_cluster(&self, versions: &mut Versions) -> Result<Option<ClusterLook>, Refusal> {
        let enrolled = self.store().read::<_, Refusal, _>(|r| Ok(r.enrolled_nodes()?)).await?;
        if !enrolled.is_empty() && self.layer().is_ok() {
            return self.ask_api().await.map(Some);
        }
        match member::find(self, None).await? {
            Some(member) => self.ask_member(&member, versions).await.map(Some),
            None if enrolled.is_empty() => Ok(None),
            None => Err(Refusal::new(
                RefusalKind::Unprocessable,
                "no member of the cluster can be asked: apps are switched off, and no member is named",
                "name one in existing_node in the section [proxmox] of the configuration, or switch apps on",
            )),
        }
    }

    async fn ask_api(&self) -> Result<ClusterLook, Refusal> {
        let cluster = self.cluster().await?;
        let nodes = cluster.cluster_nodes().await.map_err(unavailable)?;
        // A token without this right sees everything else.
        let quorate = match cluster.is_quorate().await {
            Err(PveError::Forbidden { .. }) => None,
            told => told.map_err(unavailable)?,
        };
        let guests = cluster.guests().await.map_err(unavailable)?;
        let versions = join_all(nodes.iter().map(|node| version(&cluster, node))).await;
        let versions = versions.into_iter().flatten().collect();
        let members = look::members(nodes, &guests, &versions);
        Ok(ClusterLook { seen: self.store().now(), quorate, members })
    }

    async fn ask_member(
        &self,
        member: &Target,
        kept: &mut Versions,
    ) -> Result<ClusterLook, Refusal> {
        let key = member_key::existing(self).await?.ok_or_else(|| {
            let detail = "there is no key yet that opens the cluster's members";
            let hint =
                "let the appliance make one: ironhatch cluster key; and put it on the member";
            Refusal::new(RefusalKind::Unprocessable, detail, hint)
        })?;
        let session = member::log_in(member, &key, LOGIN).await?;
        let failed = |why: String| member::failed(member, &why, "read its journal", true);
        let (status, resources) =
            tokio::join!(pvesh(&session, "/cluster/status"), pvesh(&session, "/cluster/resources"));
        let resources = resources.unwrap_or_else(|why| {
            tracing::debug!(member = %member.address, why, "the cluster's load is not known");
            String::new()
        });
        let told = look::told(&status.map_err(failed)?, &resources)
            .ok_or_else(|| failed("told nothing of its cluster".to_owned()))?;
        let now = self.store().now();
        ask_versions(&session, &told.nodes, kept, now).await;
        session.close().await;
        let versions =
            kept.iter().map(|(name, (_, version))| (name.clone(), version.clone())).collect();
        let members = look::members(told.nodes, &told.guests, &versions);
        Ok(ClusterLook { seen: self.store().now(), quorate: told.quorate, members })
    }
}

/// A node's own version; `None` when it does not tell, which the other facts do not depend on.
async fn version(cluster: &Cluster, node: &NodeStatus) -> Option<(String, String)> {
    let name: NodeName = node.name.parse().ok()?;
    if !node.online {
        return None;
    }
    match cluster.node_version(&name).await {
        Ok(version) => Some((node.name.clone(), version.text)),
        Err(error) => {
            let error = with_causes(&error);
            tracing::debug!(node = %name, error, "a node did not tell its version");
            None
        }
    }
}

/// Asks those online that did not tell lately. What is kept of others goes.
async fn ask_versions(
    session: &Session,
    nodes: &[NodeStatus],
    kept: &mut Versions,
    now: Timestamp,
) {
    kept.retain(|name, (told, _)| {
        now.since(*told) < VERSION_FRESH && nodes.iter().any(|n| n.online && n.name == *name)
    });
    // Owned, and checked: the name becomes a part of a path.
    let unknown: Vec<NodeName> = nodes
        .iter()
        .filter(|node| node.online && !kept.contains_key(&node.name))
        .filter_map(|node| node.name.parse().ok())
        .collect();
    let ask = |name: NodeName| async move {
        let path = format!("/nodes/{name}/version");
        let told = pvesh(session, &path).await.and_then(|json| {
            look::version(&json).ok_or_else(|| format!("told no version: {}", brief(&json)))
        });
        (name, told)
    };
    let mut answers = stream::iter(unknown).map(ask).buffer_unordered(VERSIONS_AT_ONCE);
    let all = async {
        while let Some((name, told)) = answers.next().await {
            match told {
                Ok(version) => {
                    kept.insert(name.to_string(), (now, version));
                }
                Err(why) => tracing::debug!(node = %name, why, "a node did not tell its version"),
            }
        }
    };
    // The rest is asked by the next look.
    let _ = tokio::time::timeout(VERSIONS, all).await;
}

/// Reads a path of the API as root on the member; JSON.
///
/// # Errors
/// What went wrong, to follow the member's name.
async fn pvesh(session: &Session, path: &str) -> Result<String, String> {
    let argv = ["timeout", COMMAND_SECS, "pvesh", "get", path, "--output-format", "json"];
    let limits = Limits { timeout: COMMAND + Duration::from_secs(1), max_output: MAX_OUTPUT };
    let output = session
        .exec(&argv, None, limits)
        .await
        .map_err(|e| format!("did not tell {path}: {}", with_causes(&e)))?;
    match output.status {
        0 => Ok(output.text().into_owned()),
        // What timeout(1) ends with.
        124 => Err(format!("did not tell {path} within {} s", COMMAND.as_secs())),
        _ => Err(format!("did not tell {path}: {}", brief(&output.complaint()))),
    }
}
