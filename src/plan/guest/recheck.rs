//! An order looked at once more when its job begins: the configuration or the cluster may have changed since.

use crate::domain::app::Feature;
use crate::domain::boundary::Boundary;
use crate::domain::discovery::Discovery;
use crate::domain::guest::{Guest, GuestSpec, Ipv4Config};
use crate::domain::id::NodeName;

use super::placement;

/// Whether a guest's specification lies inside what the configuration approves now.
///
/// # Errors
/// Every rule that it breaks, one sentence each.
pub fn inside(node: &NodeName, spec: &GuestSpec, boundary: &Boundary) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    let mut rule = |holds: bool, text: String| {
        if !holds {
            broken.push(text);
        }
    };
    let network = &spec.network;
    let caps = boundary.caps;
    let disk_gb = total_gb(spec);
    rule(boundary.allows_node(node), format!("{node} is not one of the approved nodes"));
    rule(
        boundary.storages.contains(&spec.storage),
        format!("{} is not one of the approved storages", spec.storage),
    );
    rule(
        boundary.bridges.contains(&network.bridge),
        format!("{} is not one of the approved bridges", network.bridge),
    );
    rule(boundary.vlan_choices().contains(&network.vlan), "its VLAN is not approved".to_owned());
    rule(spec.cores <= caps.cores, format!("{} cores are above the cap", spec.cores));
    rule(
        spec.memory_mb <= caps.memory_mb,
        format!("{} MiB of memory are above the cap", spec.memory_mb),
    );
    rule(disk_gb <= u64::from(caps.disk_gb), format!("{disk_gb} GiB of volumes are above the cap"));
    rule(
        spec.unprivileged || boundary.allow_privileged,
        "privileged containers are not approved".to_owned(),
    );
    let allowed = |f: &Feature| boundary.features.contains(f);
    rule(spec.features.iter().all(allowed), "one of its features is not approved".to_owned());
    if let Ipv4Config::Static { address, .. } = network.ipv4 {
        rule(!boundary.reserved_addresses.contains(&address), format!("{address} is reserved"));
    }
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

/// Whether its node has now what it needs: storage with room, bridge, and the OS template when it is made from one.
///
/// # Errors
/// What is missing, one sentence each.
pub fn place(
    ostemplate: Option<&str>,
    guest: &Guest,
    boundary: &Boundary,
    seen: &Discovery,
) -> Result<(), Vec<String>> {
    let Some(node) = seen.node(&guest.node) else {
        return Err(vec!["it is not enrolled any more".to_owned()]);
    };
    if !node.usable {
        return Err(vec![node.problem.clone()]);
    }
    let mut missing = Vec::new();
    match node.storage(&guest.spec.storage) {
        None => missing.push(format!("the storage {} is not active there", guest.spec.storage)),
        Some(storage) => {
            missing.extend(placement::takes(storage, total_gb(&guest.spec), &guest.node).err());
        }
    }
    if !node.bridges.contains(&guest.spec.network.bridge) {
        missing.push(format!("it has no bridge {}", guest.spec.network.bridge));
    }
    if let Some(wanted) = ostemplate {
        missing.extend(placement::template(boundary, node, wanted).err());
    }
    if let Ipv4Config::Static { address, .. } = guest.spec.network.ipv4 {
        let others = seen
            .taken_addresses
            .iter()
            .find(|(taken, by)| *taken == address && by.as_str() != guest.name.as_str());
        missing.extend(others.map(|(_, by)| format!("{address} is in use by {by}")));
    }
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

fn total_gb(spec: &GuestSpec) -> u64 {
    let volumes: u64 = spec.volumes.iter().map(|v| u64::from(v.size_gb)).sum();
    u64::from(spec.disk_gb) + volumes
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::boundary::{Caps, GpuPolicy};
    use crate::domain::guest::sample::guest;
    use crate::domain::vmid::Vmid;

    fn boundary() -> Boundary {
        Boundary {
            pool: "ironhatch".parse().unwrap(),
            nodes: vec!["pve1".parse().unwrap()],
            storages: vec!["local-lvm".parse().unwrap()],
            backup_storages: Vec::new(),
            template_storage: "local".parse().unwrap(),
            bridges: vec!["vmbr0".parse().unwrap()],
            zones: Default::default(),
            vlans: Vec::new(),
            caps: Caps { cores: 2, memory_mb: 1024, disk_gb: 8 },
            vmids: Vmid::MIN..=Vmid::MAX,
            reserved_vmids: Vec::new(),
            reserved_addresses: vec!["192.0.2.1".parse().unwrap()],
            features: vec![Feature::Nesting],
            allow_privileged: false,
            gpu: GpuPolicy::Nobody,
        }
    }

    #[test]
    fn what_the_configuration_does_not_approve_any_more_is_told_rule_by_rule() {
        let node = "pve1".parse().unwrap();
        assert_eq!(inside(&node, &guest(101).spec, &boundary()), Ok(()));
        let break_one: [fn(&mut GuestSpec); 8] = [
            |s| s.storage = "other".parse().unwrap(),
            |s| s.network.bridge = "vmbr9".parse().unwrap(),
            |s| s.network.vlan = Some(10),
            |s| s.cores = 3,
            |s| s.memory_mb = 1025,
            |s| s.disk_gb = 9,
            |s| s.unprivileged = false,
            |s| s.features = vec![Feature::Keyctl],
        ];
        for change in break_one {
            let mut spec = guest(101).spec;
            change(&mut spec);
            assert_eq!(inside(&node, &spec, &boundary()).unwrap_err().len(), 1, "{spec:?}");
        }
        let elsewhere = "pve2".parse().unwrap();
        assert!(inside(&elsewhere, &guest(101).spec, &boundary()).is_err());
        let mut spec = guest(101).spec;
        let address = "192.0.2.1".parse().unwrap();
        spec.network.ipv4 = Ipv4Config::Static { address, prefix: 24, gateway: None };
        assert_eq!(inside(&node, &spec, &boundary()).unwrap_err(), ["192.0.2.1 is reserved"]);
    }
}
