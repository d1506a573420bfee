//! A guest for tests.

use super::*;
use crate::domain::id::GuestId;

/// The guest with this number: ready, running a static website on node `pve1`.
pub(crate) fn guest(number: u32) -> Guest {
    Guest {
        id: GuestId(uuid::Uuid::from_u128(u128::from(number))),
        vmid: Vmid::try_from(number).unwrap(),
        node: "pve1".parse().unwrap(),
        name: format!("web{number}").parse().unwrap(),
        app: Some(InstalledApp {
            id: "static-website".parse().unwrap(),
            version: "1.0.0".to_owned(),
            source: "built-in".to_owned(),
            hash: ContentHash("0".repeat(64)),
            inputs: BTreeMap::new(),
        }),
        spec: GuestSpec {
            storage: "local-lvm".parse().unwrap(),
            cores: 1,
            memory_mb: 512,
            swap_mb: 512,
            disk_gb: 4,
            unprivileged: true,
            features: vec![Feature::Nesting],
            network: GuestNetwork {
                bridge: "vmbr0".parse().unwrap(),
                vlan: None,
                ipv4: Ipv4Config::Dhcp,
            },
            volumes: Vec::new(),
            gpu: Vec::new(),
            onboot: true,
            start: true,
            monitored: false,
            description: String::new(),
            ostemplate: None,
        },
        state: GuestState::Ready,
        state_since: Timestamp(0),
        failure: None,
        active_job: None,
        address: None,
        outputs: Vec::new(),
        restore_point: None,
        service: None,
        adopted: None,
        stack_of: None,
        created: Timestamp(0),
    }
}
