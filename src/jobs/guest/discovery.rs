//! One look at the cluster: what forms offer and what placement decides over.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{failed, unavailable};
use crate::domain::discovery::{Discovery, NodeFacts};
use crate::domain::guest::{Guest, Ipv4Config};
use crate::domain::id::NodeName;
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::Refusal;
use crate::jobs::Engine;
use crate::jobs::runner::StepFailure;
use crate::pve::{Cluster, Content, NodeStatus, PveError};
use crate::store::{GuestReads as _, HostReads as _, NodeReads as _};

/// How old a look may be that forms are filled from. Each install looks anew.
const FRESH: Duration = Duration::from_secs(15);

/// A look at the cluster that is not older than some seconds.
///
/// # Errors
/// No node is enrolled, or the cluster does not answer at all.
pub(super) async fn recent(engine: &Engine) -> Result<Arc<Discovery>, Refusal> {
    let mut kept = engine.layer()?.discovery.lock().await;
    let now = engine.store().now();
    if let Some(seen) = kept.as_ref().filter(|d| now.since(d.seen) < FRESH) {
        return Ok(Arc::clone(seen));
    }
    let seen = Arc::new(look(engine).await?);
    *kept = Some(Arc::clone(&seen));
    Ok(seen)
}

/// A look at the cluster as it is now.
///
/// # Errors
/// As above.
pub(super) async fn fresh(engine: &Engine) -> Result<Arc<Discovery>, StepFailure> {
    let seen = Arc::new(look(engine).await?);
    *engine.layer()?.discovery.lock().await = Some(Arc::clone(&seen));
    Ok(seen)
}

async fn look(engine: &Engine) -> Result<Discovery, Refusal> {
    let cluster = engine.cluster().await?;
    let layer = engine.layer()?;
    let (nodes, guests, hosts) = engine
        .store()
        .read::<_, Refusal, _>(|r| Ok((r.enrolled_nodes()?, r.guests()?, r.hosts()?)))
        .await?;
    let mut problems = Vec::new();
    let statuses = cluster.cluster_nodes().await.map_err(unavailable)?;
    let rows = cluster.guests().await.map_err(unavailable)?;
    let template_storage = &layer.apps.boundary.template_storage;
    let mut facts = Vec::new();
    for node in &nodes {
        let status = statuses.iter().find(|s| s.name == node.name.as_str());
        facts.push(node_facts(&cluster, node, status, template_storage).await);
    }
    let mut taken_vmids: BTreeSet<_> = rows.iter().map(|r| r.vmid).collect();
    taken_vmids.extend(guests.iter().map(|g| g.vmid));
    let mut taken_addresses: Vec<(Ipv4Addr, String)> =
        guests.iter().filter_map(|g| Some((address_of(g)?, g.name.to_string()))).collect();
    let host_addresses = hosts.iter().filter_map(|h| Some((h.address?, h.hostname.to_string())));
    taken_addresses.extend(host_addresses);
    taken_addresses.extend(nodes.iter().filter_map(|n| match n.address {
        IpAddr::V4(address) => Some((address, n.name.to_string())),
        IpAddr::V6(_) => None,
    }));
    let taken_domains = match super::publish::domains(engine).await {
        Ok(domains) => domains,
        Err(refusal) => {
            problems.push(format!("the services' repository cannot be read: {refusal}"));
            Vec::new()
        }
    };
    Ok(Discovery {
        seen: engine.store().now(),
        nodes: facts,
        taken_vmids: taken_vmids.into_iter().collect(),
        taken_addresses,
        taken_names: guests.iter().map(|g| g.name.to_string()).collect(),
        taken_domains,
        problems,
    })
}

fn address_of(guest: &Guest) -> Option<Ipv4Addr> {
    match (&guest.spec.network.ipv4, guest.address) {
        (Ipv4Config::Static { address, .. }, _) => Some(*address),
        (Ipv4Config::Dhcp, Some(IpAddr::V4(address))) => Some(address),
        _ => None,
    }
}

/// What one node tells; what it does not tell makes it unusable, with the reason.
async fn node_facts(
    cluster: &Cluster,
    node: &EnrolledNode,
    status: Option<&NodeStatus>,
    template_storage: &crate::domain::id::StorageId,
) -> NodeFacts {
    const MIB: u64 = 1 << 20;
    let online = status.is_some_and(|s| s.online);
    let mut facts = NodeFacts {
        name: node.name.clone(),
        address: node.address,
        usable: false,
        problem: node.problem.clone(),
        release: node.release.clone(),
        cores: status.map_or(0, |s| u32::try_from(s.cores).unwrap_or(u32::MAX)),
        memory_mb: status.map_or(0, |s| s.memory / MIB),
        free_memory_mb: status.map_or(0, |s| s.memory.saturating_sub(s.memory_used) / MIB),
        storages: Vec::new(),
        bridges: Vec::new(),
        templates: Vec::new(),
        downloadable: Vec::new(),
        gpu: node.gpu.clone(),
    };
    if !online {
        facts.problem = "the cluster says that it is not online".to_owned();
        return facts;
    }
    match ask(cluster, &node.name, template_storage, &mut facts).await {
        // What was wrong before is over: it answers.
        Ok(()) => {
            facts.problem = String::new();
            facts.usable = true;
        }
        Err(error) => facts.problem = failed(error).reason,
    }
    facts
}

async fn ask(
    cluster: &Cluster,
    node: &NodeName,
    template_storage: &crate::domain::id::StorageId,
    facts: &mut NodeFacts,
) -> Result<(), PveError> {
    facts.storages = cluster.storages(node).await?.iter().map(|s| s.facts()).collect();
    facts.bridges = cluster.bridges(node).await?;
    let templates = cluster.content(node, template_storage, Content::Template, None).await?;
    facts.templates = templates.into_iter().map(|v| v.volid).collect();
    facts.downloadable = cluster
        .appliance_index(node)
        .await?
        .into_iter()
        .filter(|a| a.section == "system")
        .map(|a| a.template)
        .collect();
    Ok(())
}
