//! An existing container: seen first, ours only after the operator confirmed.

use std::net::IpAddr;

use super::{Working, create, failed};
use crate::domain::app::Feature;
use crate::domain::guest::{
    Adoption, Guest, GuestNetwork, GuestSpec, GuestState, Ipv4Config, Volume,
};
use crate::domain::id::{GuestId, Hostname, NodeName, PoolId, StorageId};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::vmid::Vmid;
use crate::jobs::Engine;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::marks::{self, Seen};
use crate::proto::pve::{ContainerConfig, PropertyString, size_gb};
use crate::pve::{Cluster, PveError};

/// What the cluster says about a container now.
async fn seen(
    cluster: &Cluster,
    node: &NodeName,
    vmid: Vmid,
    config: &ContainerConfig,
) -> Result<Seen, StepFailure> {
    let guests = cluster.guests().await.map_err(failed)?;
    let row = guests.into_iter().find(|g| g.vmid == vmid);
    let pool = row.and_then(|g| g.pool).and_then(|pool| pool.parse().ok());
    Ok(Seen {
        vmid,
        node: node.clone(),
        pool,
        tags: config.get("tags").unwrap_or_default().to_owned(),
    })
}

/// Puts the container into our pool and gives it our tag.
pub(super) async fn mark(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let boundary = &working.layer.apps.boundary;
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    let config = cluster.config(&node, vmid).await.map_err(failed)?;
    let seen = seen(&cluster, &node, vmid, &config).await?;
    marks::may_adopt(&working.guest, &seen, boundary)
        .map_err(|reason| StepFailure::for_good(reason, "nothing about it was changed"))?;
    if seen.pool.as_ref() != Some(&boundary.pool) {
        cluster.add_to_pool(&boundary.pool, vmid).await.map_err(|error| match error {
            PveError::Forbidden { .. } => {
                StepFailure::for_good(error.to_string(), by_hand(&boundary.pool, vmid))
            }
            other => failed(other),
        })?;
    }
    let app = working.guest.app.as_ref().map(|a| a.id.clone());
    create::set_tags(&cluster, working, &marks::tags(&seen.tags, app.as_ref())).await?;
    let now = working.engine.store().now();
    let message = format!("{} is in the pool and tagged", working.guest.name);
    working
        .record(message, move |guest| {
            if let Some(adopted) = &mut guest.adopted {
                adopted.confirmed = Some(now);
            }
        })
        .await?;
    Ok(StepDone::Done(format!("in the pool '{}', tagged", boundary.pool)))
}

impl Engine {
    /// Records an existing container as it is. Nothing about it changes.
    ///
    /// # Errors
    /// Recorded already, not there, not to be read.
    pub async fn observe_guest(&self, node: NodeName, vmid: Vmid) -> Result<Guest, Refusal> {
        let layer = self.layer()?;
        if !layer.apps.boundary.allows_node(&node) {
            return Err(Refusal::new(
                RefusalKind::Unprocessable,
                format!("{node} is not one of the approved nodes"),
                "name it in apps.nodes",
            )
            .about("node"));
        }
        self.enrolled(&node).await?;
        let cluster = self.cluster().await?;
        let config = cluster.config(&node, vmid).await.map_err(|error| {
            if matches!(error, PveError::Forbidden { .. }) {
                let hint = by_hand(&layer.apps.boundary.pool, vmid);
                Refusal::new(RefusalKind::Unprocessable, error.to_string(), hint).about("vmid")
            } else if error.is_no_guest() {
                let text = format!("there is no container {vmid} on {node}");
                Refusal::new(RefusalKind::NotFound, text, "look at the node's own pages")
                    .about("vmid")
            } else {
                super::unavailable(error)
            }
        })?;
        let guest = recorded(layer, node, vmid, &config, self.store().now())?;
        self.store()
            .write(move |tx| {
                tx.save_guest(
                    &guest,
                    &format!("{} is observed; nothing about it changes", guest.name),
                )?;
                Ok(guest)
            })
            .await
    }
}

/// The record of a container that we did not make.
fn recorded(
    layer: &super::Layer,
    node: NodeName,
    vmid: Vmid,
    config: &ContainerConfig,
    now: crate::domain::time::Timestamp,
) -> Result<Guest, Refusal> {
    let unreadable = |what: &str| {
        Refusal::new(
            RefusalKind::Unprocessable,
            format!("the container's {what} cannot be taken over"),
            "correct it on the node first",
        )
        .about("vmid")
    };
    let number = |key: &str, otherwise: u32| {
        config.get(key).and_then(|v| v.parse().ok()).unwrap_or(otherwise)
    };
    let name: Hostname = config
        .get("hostname")
        .map(str::to_ascii_lowercase)
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| unreadable("host name"))?;
    let rootfs = config.rootfs().ok_or_else(|| unreadable("root disk"))?;
    let storage = storage(&rootfs).ok_or_else(|| unreadable("root disk's storage"))?;
    let net = config.net(0);
    let bridge = net.as_ref().and_then(|n| n.get("bridge")?.parse().ok());
    let vlan = net.as_ref().and_then(|n| n.get("tag")?.parse().ok());
    let ipv4 = net.as_ref().map_or(Ipv4Config::Dhcp, |n| address(n.get("ip"), n.get("gw")));
    let fixed = match ipv4 {
        Ipv4Config::Static { address, .. } => Some(IpAddr::V4(address)),
        Ipv4Config::Dhcp => None,
    };
    let volumes = config.mounts().into_iter().filter_map(|(slot, mount)| {
        Some(Volume {
            key: format!("mp{slot}"),
            slot,
            path: mount.get("mp")?.to_owned(),
            size_gb: gib(&mount)?,
            backup: mount.flag("backup"),
            volid: mount.bare().map(str::to_owned),
        })
    });
    Ok(Guest {
        id: GuestId(uuid::Uuid::now_v7()),
        vmid,
        node,
        name,
        app: None,
        spec: GuestSpec {
            storage,
            cores: number("cores", 1),
            memory_mb: number("memory", 512),
            swap_mb: number("swap", 512),
            disk_gb: gib(&rootfs).unwrap_or(0),
            unprivileged: config.unprivileged(),
            features: features(&config.features()),
            network: GuestNetwork {
                bridge: bridge.unwrap_or_else(|| layer.apps.defaults.bridge.clone()),
                vlan,
                ipv4,
            },
            volumes: volumes.collect(),
            gpu: Vec::new(),
            onboot: config.get("onboot") == Some("1"),
            start: true,
            monitored: false,
            description: config.description().trim().to_owned(),
            ostemplate: None,
        },
        state: GuestState::Observed,
        state_since: now,
        failure: None,
        active_job: None,
        address: fixed,
        outputs: Vec::new(),
        restore_point: None,
        service: None,
        adopted: Some(Adoption { config: config.raw.clone(), pool: None, confirmed: None }),
        stack_of: None,
        created: now,
    })
}

fn storage(volume: &PropertyString) -> Option<StorageId> {
    volume.bare()?.split_once(':')?.0.parse().ok()
}

fn gib(volume: &PropertyString) -> Option<u32> {
    u32::try_from(size_gb(volume.get("size")?)?).ok()
}

fn features(set: &PropertyString) -> Vec<Feature> {
    let all = [Feature::Nesting, Feature::Keyctl, Feature::Fuse];
    all.into_iter().filter(|f| set.flag(f.as_str())).collect()
}

/// Our token's rights end at our pool, so that nothing of ours can take in a guest by itself: root on the node can.
fn by_hand(pool: &PoolId, vmid: Vmid) -> String {
    format!(
        "Ironhatch may see and change guests of its pool only; as root on the node run: pveum pool modify {pool} --vms \
         {vmid}"
    )
}

fn address(ip: Option<&str>, gateway: Option<&str>) -> Ipv4Config {
    let fixed = ip.and_then(|ip| {
        let (address, prefix) = ip.split_once('/')?;
        Some((address.parse().ok()?, prefix.parse().ok()?))
    });
    match fixed {
        Some((address, prefix)) => {
            Ipv4Config::Static { address, prefix, gateway: gateway.and_then(|g| g.parse().ok()) }
        }
        None => Ipv4Config::Dhcp,
    }
}
