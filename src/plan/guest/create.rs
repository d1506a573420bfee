//! What is sent to create a container. A token may not set everything at once, so it happens in this order:
//!
//! ```text
//!  POST …/lxc          everything below, in our pool, never with tags: rights that come through a pool do not count for them
//!  PUT …/config tags   marks::tags, once the task has put the container into the pool
//!  root channel        features besides nesting, device entries; the container is stopped
//! ```

use std::collections::BTreeMap;

use crate::domain::app::Feature;
use crate::domain::guest::{GuestNetwork, GuestSpec, Ipv4Config, Volume};
use crate::domain::id::{GuestId, Hostname, NodeName, PoolId, StorageId};
use crate::domain::vmid::Vmid;

/// Parameters of a new container, in the words of Proxmox VE's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateParameters {
    /// Node that makes it.
    pub node: NodeName,
    /// Its number.
    pub vmid: Vmid,
    /// Volume of its OS template.
    pub ostemplate: String,
    /// Host name.
    pub hostname: Hostname,
    /// Cores.
    pub cores: u32,
    /// MiB.
    pub memory_mb: u32,
    /// MiB.
    pub swap_mb: u32,
    /// `STORAGE:GIB`.
    pub rootfs: String,
    /// `mpN`, `STORAGE:GIB,mp=/path,backup=1`, by N.
    pub mounts: BTreeMap<u8, String>,
    /// `name=eth0,bridge=…,ip=…`.
    pub net0: String,
    /// `nesting=1`, or nothing: everything else goes over the root channel.
    pub features: Option<String>,
    /// Always sent: its default differs between releases.
    pub unprivileged: bool,
    /// Our pool, always sent: rights are checked on it.
    pub pool: PoolId,
    /// Started with the node.
    pub onboot: bool,
    /// Text of its notes.
    pub description: String,
}

/// Builds the parameters of a new container.
#[must_use]
pub fn parameters(
    node: &NodeName,
    vmid: Vmid,
    name: &Hostname,
    spec: &GuestSpec,
    ostemplate: &str,
    pool: &PoolId,
    description: String,
) -> CreateParameters {
    let nesting = spec.unprivileged && spec.features.contains(&Feature::Nesting);
    CreateParameters {
        node: node.clone(),
        vmid,
        ostemplate: ostemplate.to_owned(),
        hostname: name.clone(),
        cores: spec.cores,
        memory_mb: spec.memory_mb,
        swap_mb: spec.swap_mb,
        rootfs: format!("{}:{}", spec.storage, spec.disk_gb),
        mounts: spec.volumes.iter().map(|v| (v.slot, mount(&spec.storage, v))).collect(),
        net0: net0(&spec.network),
        features: nesting.then(|| "nesting=1".to_owned()),
        unprivileged: spec.unprivileged,
        pool: pool.clone(),
        onboot: spec.onboot,
        description,
    }
}

impl CreateParameters {
    /// All parameters as they go over the wire, besides the node, which is part of the path. It is never started by its
    /// creation: that is a task of its own whose end the creation does not tell (PVE 9.2).
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let flag = |yes: bool| if yes { "1" } else { "0" }.to_owned();
        let mut pairs = vec![
            ("vmid".to_owned(), self.vmid.to_string()),
            ("ostemplate".to_owned(), self.ostemplate.clone()),
            ("hostname".to_owned(), self.hostname.to_string()),
            ("cores".to_owned(), self.cores.to_string()),
            ("memory".to_owned(), self.memory_mb.to_string()),
            ("swap".to_owned(), self.swap_mb.to_string()),
            ("rootfs".to_owned(), self.rootfs.clone()),
            ("net0".to_owned(), self.net0.clone()),
            ("unprivileged".to_owned(), flag(self.unprivileged)),
            ("pool".to_owned(), self.pool.to_string()),
            ("onboot".to_owned(), flag(self.onboot)),
            ("start".to_owned(), flag(false)),
            ("description".to_owned(), self.description.clone()),
        ];
        pairs.extend(self.mounts.iter().map(|(slot, text)| (format!("mp{slot}"), text.clone())));
        pairs.extend(self.features.iter().map(|text| ("features".to_owned(), text.clone())));
        pairs
    }
}

/// Features that the root channel has to set afterwards, all of them at once; `None`: creation set everything.
#[must_use]
pub fn root_features(spec: &GuestSpec) -> Option<Vec<Feature>> {
    let by_creation = |f: &Feature| spec.unprivileged && *f == Feature::Nesting;
    let all_set = spec.features.iter().all(by_creation);
    (!all_set).then(|| spec.features.clone())
}

/// The property string of the only network interface. Values are typed and cannot hold a comma.
#[must_use]
pub fn net0(network: &GuestNetwork) -> String {
    let mut text = format!("name=eth0,bridge={}", network.bridge);
    if let Some(tag) = network.vlan {
        text.push_str(&format!(",tag={tag}"));
    }
    match &network.ipv4 {
        Ipv4Config::Dhcp => text.push_str(",ip=dhcp"),
        Ipv4Config::Static { address, prefix, gateway } => {
            text.push_str(&format!(",ip={address}/{prefix}"));
            if let Some(gateway) = gateway {
                text.push_str(&format!(",gw={gateway}"));
            }
        }
    }
    text
}

/// The property string of a volume beside the root disk. Its path was checked by the manifest's reader.
fn mount(storage: &StorageId, volume: &Volume) -> String {
    let backup = u8::from(volume.backup);
    format!("{storage}:{},mp={},backup={backup}", volume.size_gb, volume.path)
}

/// The notes of a guest in the cluster's own pages. Below the operator's text stand our marks for people; what counts are
/// pool, tag and database.
#[must_use]
pub fn description(text: &str, app: Option<(&str, &str)>, guest: GuestId) -> String {
    let what = match app {
        Some((name, version)) => format!("{name} {version}, installed by Ironhatch"),
        None => "Adopted by Ironhatch".to_owned(),
    };
    let own = format!("{what} (guest {guest})");
    if text.is_empty() { own } else { format!("{text}\n\n{own}") }
}

#[cfg(test)]
mod test {
    use super::*;

    pub(crate) fn spec() -> GuestSpec {
        GuestSpec {
            storage: "local-zfs".parse().unwrap(),
            cores: 2,
            memory_mb: 1024,
            swap_mb: 0,
            disk_gb: 8,
            unprivileged: true,
            features: vec![Feature::Nesting],
            network: GuestNetwork {
                bridge: "vmbr0".parse().unwrap(),
                vlan: None,
                ipv4: Ipv4Config::Dhcp,
            },
            volumes: vec![Volume {
                key: "data".to_owned(),
                slot: 0,
                path: "/srv/data".to_owned(),
                size_gb: 20,
                backup: true,
                volid: None,
            }],
            gpu: Vec::new(),
            onboot: true,
            start: true,
            monitored: false,
            description: String::new(),
            ostemplate: None,
        }
    }

    fn made(spec: &GuestSpec) -> CreateParameters {
        let template = "local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst";
        parameters(
            &"pve1".parse().unwrap(),
            Vmid::try_from(200).unwrap(),
            &"wiki".parse().unwrap(),
            spec,
            template,
            &"ironhatch".parse().unwrap(),
            "a wiki".to_owned(),
        )
    }

    #[test]
    fn a_container_is_made_in_the_pool_stopped_and_without_tags() {
        let pairs = made(&spec()).pairs();
        let text: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text,
            [
                "vmid=200",
                "ostemplate=local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
                "hostname=wiki",
                "cores=2",
                "memory=1024",
                "swap=0",
                "rootfs=local-zfs:8",
                "net0=name=eth0,bridge=vmbr0,ip=dhcp",
                "unprivileged=1",
                "pool=ironhatch",
                "onboot=1",
                "start=0",
                "description=a wiki",
                "mp0=local-zfs:20,mp=/srv/data,backup=1",
                "features=nesting=1",
            ]
        );
    }

    #[test]
    fn what_a_token_may_not_set_is_left_to_the_root_channel() {
        let with = |unprivileged, features: &[Feature]| {
            let spec = GuestSpec { unprivileged, features: features.to_vec(), ..spec() };
            (made(&spec).features, root_features(&spec))
        };
        use Feature::{Keyctl, Nesting};
        assert_eq!(with(true, &[]), (None, None));
        assert_eq!(with(true, &[Nesting]), (Some("nesting=1".to_owned()), None));
        let both = vec![Nesting, Keyctl];
        assert_eq!(with(true, &both), (Some("nesting=1".to_owned()), Some(both.clone())));
        // No feature of a privileged container can be set by a token.
        assert_eq!(with(false, &[Nesting]), (None, Some(vec![Nesting])));
        assert_eq!(with(false, &[]), (None, None));
    }

    #[test]
    fn the_network_is_one_property_string() {
        let address = "192.0.2.20".parse().unwrap();
        let gateway = Some("192.0.2.1".parse().unwrap());
        let ipv4 = Ipv4Config::Static { address, prefix: 24, gateway };
        let network = GuestNetwork { vlan: Some(20), ipv4, ..spec().network };
        assert_eq!(net0(&network), "name=eth0,bridge=vmbr0,tag=20,ip=192.0.2.20/24,gw=192.0.2.1");
        let ipv4 = Ipv4Config::Static { address, prefix: 24, gateway: None };
        let network = GuestNetwork { ipv4, ..spec().network };
        assert_eq!(net0(&network), "name=eth0,bridge=vmbr0,ip=192.0.2.20/24");
    }

    #[test]
    fn the_notes_keep_the_operators_text() {
        let guest: GuestId = "01890000-0000-7000-8000-000000000000".parse().unwrap();
        assert_eq!(
            description("for the team", Some(("Wiki", "1.2.0")), guest),
            "for the team\n\nWiki 1.2.0, installed by Ironhatch (guest 01890000-0000-7000-8000-000000000000)"
        );
    }
}
