//! What Ironhatch may touch in a cluster: the approved places and sizes, and the three marks of a guest that is ours.
//!
//! A guest is changed only when all three hold: it is in our pool, it carries our tag, and it is in our database. The
//! node checks pool and tag once more.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::app::{AppId, Feature};
use super::gpu::{Gpu, GpuVendor, PciAddress};
use super::id::{BridgeName, NodeName, PoolId, StorageId, ZoneId};
use super::vmid::{Tag, Vmid};

/// What the operator approved.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// The pool of our guests.
    pub pool: PoolId,
    /// Nodes that may hold guests; empty: every enrolled one.
    pub nodes: Vec<NodeName>,
    /// Storages for root disks and volumes. Never empty.
    pub storages: Vec<StorageId>,
    /// Storages for backups; empty: none are made.
    pub backup_storages: Vec<StorageId>,
    /// Storage for OS templates.
    pub template_storage: StorageId,
    /// Bridges. Never empty.
    pub bridges: Vec<BridgeName>,
    /// Zones of the bridges that are VNets; the others are plain bridges.
    pub zones: BTreeMap<BridgeName, ZoneId>,
    /// VLAN tags, the first one is proposed; 0 stands for untagged. Empty: guests are untagged.
    pub vlans: Vec<u16>,
    /// Most resources of one guest.
    pub caps: Caps,
    /// Numbers that are given to guests.
    pub vmids: RangeInclusive<Vmid>,
    /// Numbers inside the range that are never given.
    pub reserved_vmids: Vec<Vmid>,
    /// Addresses that are never given to a guest.
    pub reserved_addresses: Vec<Ipv4Addr>,
    /// Features that apps may have.
    pub features: Vec<Feature>,
    /// Privileged containers may be made.
    pub allow_privileged: bool,
    /// Who may have which GPU.
    pub gpu: GpuPolicy,
}

/// What forms propose; all of it approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Node; `None`: the one with most free memory.
    pub node: Option<NodeName>,
    /// Storage.
    pub storage: StorageId,
    /// Bridge.
    pub bridge: BridgeName,
    /// Domain below which services are proposed, `example.net`.
    pub domain: Option<String>,
    /// Guests are proposed to be monitored.
    pub monitoring: bool,
}

/// Most resources of one guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Cores.
    pub cores: u32,
    /// MiB of memory.
    pub memory_mb: u32,
    /// GiB of all its volumes together.
    pub disk_gb: u32,
}

/// Who may have which GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuPolicy {
    /// Nobody.
    Nobody,
    /// Every app that can use one.
    Everybody,
    /// Only what one of the rules names.
    Only(Vec<GpuRule>),
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRule {
    /// These apps; empty: all.
    pub apps: Vec<AppId>,
    /// On this node; `None`: on each.
    pub node: Option<NodeName>,
    /// These devices; empty: all.
    pub devices: Vec<PciAddress>,
    /// These vendors; empty: all.
    pub vendors: Vec<GpuVendor>,
}

/// What the cluster says about a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The pool it is in.
    pub pool: Option<PoolId>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Our database has a guest with this number on this node, and it is not only observed.
    pub recorded: bool,
}

impl Boundary {
    /// Whether guests may be on this node.
    #[must_use]
    pub fn allows_node(&self, node: &NodeName) -> bool {
        self.nodes.is_empty() || self.nodes.contains(node)
    }

    /// The VLAN tags that may be chosen, the proposed one first; `None`: untagged.
    #[must_use]
    pub fn vlan_choices(&self) -> Vec<Option<u16>> {
        if self.vlans.is_empty() {
            return vec![None];
        }
        self.vlans.iter().map(|tag| (*tag != 0).then_some(*tag)).collect()
    }
}

impl GpuRule {
    /// Whether it lets an app have a device of a node.
    #[must_use]
    pub fn permits(&self, app: &AppId, node: &NodeName, gpu: &Gpu) -> bool {
        (self.apps.is_empty() || self.apps.contains(app))
            && self.node.as_ref().is_none_or(|only| only == node)
            && (self.devices.is_empty() || self.devices.contains(&gpu.address))
            && (self.vendors.is_empty() || self.vendors.contains(&gpu.vendor))
    }
}

impl GpuPolicy {
    /// Whether an app may have a device of a node.
    #[must_use]
    pub fn permits(&self, app: &AppId, node: &NodeName, gpu: &Gpu) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Only(rules) => rules.iter().any(|rule| rule.permits(app, node, gpu)),
        }
    }
}

/// Why a guest may not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outside {
    /// It is in another pool, or in none.
    #[error("guest {vmid} is not in the pool '{pool}'")]
    Pool {
        /// The guest.
        vmid: Vmid,
        /// The pool that it would have to be in.
        pool: PoolId,
    },
    /// It does not carry our tag.
    #[error("guest {vmid} does not carry the tag '{}'", Tag::managed())]
    Tag {
        /// The guest.
        vmid: Vmid,
    },
    /// We do not know it.
    #[error("guest {vmid} is not in Ironhatch's database")]
    Database {
        /// The guest.
        vmid: Vmid,
    },
}

/// Whether a guest may be changed: pool, tag and database, all three.
///
/// # Errors
/// The first mark that is missing.
pub fn may_change(vmid: Vmid, marks: &Marks, pool: &PoolId) -> Result<(), Outside> {
    if !marks.recorded {
        return Err(Outside::Database { vmid });
    }
    if marks.pool.as_ref() != Some(pool) {
        return Err(Outside::Pool { vmid, pool: pool.clone() });
    }
    if !marks.tags.contains(&Tag::managed()) {
        return Err(Outside::Tag { vmid });
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn each_missing_mark_keeps_a_guest_untouched() {
        let vmid = Vmid::MIN;
        let pool: PoolId = "ironhatch".parse().unwrap();
        let ours = Marks { pool: Some(pool.clone()), tags: vec![Tag::managed()], recorded: true };
        assert_eq!(may_change(vmid, &ours, &pool), Ok(()));
        for (marks, why) in [
            (Marks { recorded: false, ..ours.clone() }, Outside::Database { vmid }),
            (Marks { pool: None, ..ours.clone() }, Outside::Pool { vmid, pool: pool.clone() }),
            (
                Marks { pool: Some("other".parse().unwrap()), ..ours.clone() },
                Outside::Pool { vmid, pool: pool.clone() },
            ),
            (Marks { tags: vec![Tag::failed()], ..ours.clone() }, Outside::Tag { vmid }),
        ] {
            assert_eq!(may_change(vmid, &marks, &pool), Err(why));
        }
    }
}
