//! Whatever a form says, an order lies inside the boundary, and no message repeats a secret.

use proptest::prelude::*;

use super::*;
use crate::domain::boundary::GpuRule;

/// Values that forms, scripts and attackers send, good and bad ones.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            " ",
            "0",
            "1",
            "4",
            "5",
            "20",
            "30",
            "64",
            "65",
            "99",
            "512",
            "4096",
            "4097",
            "-1",
            "99999999999999999999",
            "true",
            "false",
            "none",
            "best",
            "pick",
            "dhcp",
            "static",
            "internal",
            "public",
            "pve1",
            "pve2",
            "pve3",
            "local-zfs",
            "tank",
            "ceph",
            "local",
            "vmbr0",
            "vmbr1",
            "vmbr9",
            "192.0.2.10/24",
            "192.0.2.21/24",
            "192.0.2.40/24",
            "192.0.2.0/24",
            "192.0.2.1",
            "old.example.net",
            "new.example.net",
            "0000:01:00.0",
            "0000:01:00.0,0000:02:00.0",
            "db",
            "wiki2",
            "home",
            "sqlite",
            "mail.example.net",
            "pl4nted-secret",
            "a,b=c;d",
            "$(reboot)",
            "../../etc",
            "\u{0}",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,12}",
    ]
}

fn field() -> impl Strategy<Value = String> {
    let app = sample::app().manifest;
    let inputs = app.inputs.iter().map(|i| format!("input.{}", i.key));
    let volumes = app.mounts.iter().map(|m| format!("volume.{}", m.key));
    let known: Vec<String> =
        FIELDS.iter().map(|f| (*f).to_owned()).chain(inputs).chain(volumes).collect();
    prop_oneof![30 => prop::sample::select(known), 1 => "[a-z_.]{1,12}"]
}

fn lies_inside(order: &Order, place: &Place) -> Result<(), TestCaseError> {
    let boundary = &place.boundary;
    let spec = &order.spec;
    let caps = boundary.caps;
    let disks: u64 =
        u64::from(spec.disk_gb) + spec.volumes.iter().map(|v| u64::from(v.size_gb)).sum::<u64>();
    prop_assert!(boundary.allows_node(&order.node));
    prop_assert!(boundary.storages.contains(&spec.storage));
    prop_assert!(boundary.bridges.contains(&spec.network.bridge));
    prop_assert!(boundary.vlan_choices().contains(&spec.network.vlan));
    prop_assert!((1..=caps.cores).contains(&spec.cores));
    prop_assert!((256..=caps.memory_mb).contains(&spec.memory_mb));
    prop_assert!(spec.swap_mb <= caps.memory_mb);
    prop_assert!(disks <= u64::from(caps.disk_gb));
    prop_assert!(spec.unprivileged);
    prop_assert!(spec.features.iter().all(|f| boundary.features.contains(f)));
    prop_assert!(!place.discovery.taken_names.contains(&order.name.to_string()));
    let node = place.discovery.node(&order.node).unwrap();
    prop_assert!(node.usable && node.bridges.contains(&spec.network.bridge));
    let storage = node.storage(&spec.storage).unwrap();
    prop_assert!(storage.free_gb >= disks);
    prop_assert!(storage.content.contains(&"rootdir".to_owned()));
    for gpu in &spec.gpu {
        let found = node.gpu.gpus.iter().find(|g| g.address == gpu.address).unwrap();
        prop_assert!(boundary.gpu.permits(&order.app, &order.node, found));
    }
    if let Ipv4Config::Static { address, .. } = spec.network.ipv4 {
        prop_assert!(!boundary.reserved_addresses.contains(&address));
        prop_assert!(place.discovery.taken_addresses.iter().all(|(a, _)| *a != address));
    }
    if let Some(service) = &order.service {
        prop_assert!(!service.public, "the manifest does not allow it");
        prop_assert!(place.discovery.taken_domains.iter().all(|(d, _)| *d != service.domain));
    }
    let hidden = hidden_inputs(&sample::app().manifest.inputs, &order.inputs);
    for key in hidden {
        prop_assert!(!order.inputs.contains_key(&key) && !order.secrets.contains_key(&key));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_order_escapes_the_boundary_whatever_the_form(
        entered in prop::collection::btree_map(field(), value(), 0..8),
        gpu in 0..3,
    ) {
        let mut place = sample::place();
        place.boundary.gpu = match gpu {
            0 => GpuPolicy::Nobody,
            1 => GpuPolicy::Everybody,
            _ => GpuPolicy::Only(vec![GpuRule {
                apps: vec!["wiki".parse().unwrap()],
                node: Some("pve1".parse().unwrap()),
                devices: vec![],
                vendors: vec![],
            }]),
        };
        let mut form = form(&[]);
        for (field, value) in &entered {
            form.set(field, value);
        }
        match read(&sample::app(), &place.site(), &form, &mut draw) {
            Ok(order) => lies_inside(&order, &place)?,
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(!error.message.is_empty());
                    let nul = error.message.contains('\u{0}');
                    prop_assert!(!nul);
                }
            }
        }
    }

    #[test]
    fn no_message_repeats_a_secret(
        secret in "pl4nted[ -~]{0,80}",
        others in prop::collection::btree_map(field(), value(), 0..4),
    ) {
        let mut form = form(&[("input.mail", "true"), ("input.relay", "r")]);
        for (field, value) in &others {
            form.set(field, value);
        }
        form.set("input.relay_password", &secret);
        form.set("input.admin_password", &secret);
        let others_have_it = others.values().any(|v| v.contains("pl4nted"));
        match read(&sample::app(), &sample::place().site(), &form, &mut draw) {
            Ok(order) => {
                let text = format!("{order:?}");
                prop_assert!(!text.contains("pl4nted") || others_have_it);
            }
            Err(errors) => {
                for error in errors {
                    prop_assert!(!error.message.contains("pl4nted") || others_have_it);
                }
            }
        }
    }
}
