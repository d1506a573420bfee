//! The archives of a guest, listed through its own node, or, when that does not answer, through any other enrolled node
//! that shares their storage.

use std::collections::BTreeMap;

use super::answer::{Archive, Archives};
use super::unavailable;
use crate::domain::guest::Guest;
use crate::domain::id::{NodeName, StorageId};
use crate::domain::refusal::Refusal;
use crate::jobs::Engine;
use crate::pve::{Cluster, Content, PveError, StorageStatus};
use crate::store::NodeReads as _;

/// Archives of a guest on all approved storages, newest first.
///
/// # Errors
/// No storage could be looked at.
pub(super) async fn list(engine: &Engine, guest: &Guest) -> Result<Archives, Refusal> {
    let cluster = engine.cluster().await?;
    let mut ways = Ways::find(engine, &cluster, guest).await?;
    let mut all = Archives::default();
    let mut failed = None;
    let mut looked = false;
    for storage in &engine.layer()?.apps.boundary.backup_storages {
        match ways.list(&cluster, guest, storage).await {
            Ok(found) => {
                looked = true;
                all.found.extend(found);
            }
            Err(error) => {
                let error = unavailable(error);
                all.problems.push(format!("{storage}: {error}"));
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if !looked => Err(error),
        _ => {
            all.found.sort_by_key(|archive| std::cmp::Reverse(archive.made));
            Ok(all)
        }
    }
}

/// The nodes through which storages can be seen.
struct Ways {
    own: Option<NodeName>,
    others: Vec<NodeName>,
    /// What the others have, each asked once.
    storages: BTreeMap<NodeName, Vec<StorageStatus>>,
}

impl Ways {
    async fn find(engine: &Engine, cluster: &Cluster, guest: &Guest) -> Result<Self, Refusal> {
        let enrolled = engine.store().read::<_, Refusal, _>(|r| Ok(r.enrolled_nodes()?)).await?;
        let nodes = cluster.cluster_nodes().await.map_err(unavailable)?;
        let is_online = |name: &NodeName| nodes.iter().any(|n| n.online && n.name == name.as_str());
        let others = enrolled.into_iter().map(|node| node.name);
        Ok(Self {
            own: Some(guest.node.clone()).filter(is_online),
            others: others.filter(|name| *name != guest.node && is_online(name)).collect(),
            storages: BTreeMap::new(),
        })
    }

    /// The archives on one storage. What other nodes keep on a storage of that name is the same only where it is shared.
    async fn list(
        &mut self,
        cluster: &Cluster,
        guest: &Guest,
        storage: &StorageId,
    ) -> Result<Vec<Archive>, PveError> {
        let mut failed = None;
        if let Some(own) = &self.own {
            match content(cluster, own, storage, guest).await {
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(error),
            }
        }
        for other in self.others.clone() {
            let found = match self.shares(cluster, &other, storage).await {
                Ok(true) => content(cluster, &other, storage, guest).await,
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(failed.unwrap_or(error)),
            }
        }
        Err(failed.unwrap_or_else(|| PveError::Unreachable {
            detail: format!("{} is down, and no other node shares the storage", guest.node),
        }))
    }

    async fn shares(
        &mut self,
        cluster: &Cluster,
        node: &NodeName,
        storage: &StorageId,
    ) -> Result<bool, PveError> {
        if !self.storages.contains_key(node) {
            self.storages.insert(node.clone(), cluster.storages(node).await?);
        }
        let here = self.storages.get(node).into_iter().flatten().find(|s| s.id == *storage);
        Ok(here.is_some_and(|s| s.shared && s.active))
    }
}

async fn content(
    cluster: &Cluster,
    node: &NodeName,
    storage: &StorageId,
    guest: &Guest,
) -> Result<Vec<Archive>, PveError> {
    let found = cluster.content(node, storage, Content::Backup, Some(guest.vmid)).await?;
    let archive = |volume: crate::pve::Volume| Archive {
        volid: volume.volid,
        storage: storage.clone(),
        node: node.clone(),
        size: volume.size,
        made: volume.made.unwrap_or_default(),
    };
    Ok(found.into_iter().map(archive).collect())
}
