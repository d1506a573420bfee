//! Tests of orders: defaults, each field's rules, and every try to get around the boundary.

use super::super::sample::{self, Place};
use super::*;
use crate::domain::app::{Feature, InputKind};
use crate::domain::boundary::GpuPolicy;
use crate::domain::guest::Ipv4Config;

mod built_in;
mod change;
mod property;

fn draw(length: usize) -> Secret<String> {
    Secret::new("x".repeat(length))
}

fn form(fields: &[(&str, &str)]) -> Submitted {
    let mut form = Submitted::default();
    form.set("name", "wiki");
    form.set("input.title", "home");
    for (field, value) in fields {
        form.set(field, value);
    }
    form
}

fn order_at(place: &Place, fields: &[(&str, &str)]) -> Result<Order, Vec<FieldError>> {
    read(&sample::app(), &place.site(), &form(fields), &mut draw)
}

fn order(fields: &[(&str, &str)]) -> Result<Order, Vec<FieldError>> {
    order_at(&sample::place(), fields)
}

/// The only error of a form.
fn refused(fields: &[(&str, &str)]) -> String {
    only(order(fields))
}

fn only(result: Result<Order, Vec<FieldError>>) -> String {
    let errors = result.unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    format!("{}: {}", errors[0].field, errors[0].message)
}

#[test]
fn a_name_is_enough_where_everything_else_has_a_default() {
    let made = order(&[]).unwrap();
    assert_eq!(made.name.as_str(), "wiki");
    // The approved node with most free memory.
    assert_eq!(made.node.as_str(), "pve2");
    let spec = &made.spec;
    assert_eq!((spec.cores, spec.memory_mb, spec.swap_mb, spec.disk_gb), (2, 1024, 512, 8));
    assert_eq!(spec.storage.as_str(), "local-zfs");
    assert!(spec.unprivileged && spec.onboot && spec.start && spec.monitored);
    assert_eq!(spec.network.bridge.as_str(), "vmbr0");
    assert_eq!((spec.network.vlan, &spec.network.ipv4), (Some(20), &Ipv4Config::Dhcp));
    let volumes: Vec<String> =
        spec.volumes.iter().map(|v| format!("mp{} {} {}", v.slot, v.path, v.size_gb)).collect();
    assert_eq!(volumes, ["mp0 /srv/data 10", "mp1 /srv/media 20"]);
    assert!(spec.gpu.is_empty() && made.service.is_none());
    let values: Vec<String> = made.inputs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(values, ["database=sqlite", "mail=false", "title=home", "workers=2"]);
    assert_eq!(made.drawn, ["admin_password"]);
    assert_eq!(made.secrets["admin_password"].expose().len(), 24);
    assert_eq!(
        made.spec.ostemplate.as_deref(),
        Some("local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst")
    );
    let installed = made.installed(&sample::app());
    assert_eq!((installed.version.as_str(), installed.inputs.len()), ("1.2.0", 4));
}

#[test]
fn the_form_of_defaults_is_an_order_that_changes_nothing() {
    let place = sample::place();
    let mut filled = defaults(&sample::app(), &place.site());
    filled.set("name", "wiki");
    filled.set("input.title", "home");
    let by_form = read(&sample::app(), &place.site(), &filled, &mut draw).unwrap();
    let left_out = order(&[]).unwrap();
    assert_eq!(by_form.spec, left_out.spec);
    assert_eq!(by_form.inputs, left_out.inputs);
    // A small boundary makes small proposals.
    let mut place = sample::place();
    place.boundary.caps.memory_mb = 512;
    place.boundary.caps.cores = 1;
    let filled = defaults(&sample::app(), &place.site());
    assert_eq!((filled.get("memory_mb"), filled.get("cores")), (Some("512"), Some("1")));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_what_would_be_allowed() {
    let place = sample::place();
    let mut entered = Submitted::default();
    for (field, value) in [
        ("name", "My_Wiki"),
        ("storage", "ceph"),
        ("cores", "many"),
        ("memory_mb", "100"),
        ("disk_gb", "500"),
        ("onboot", "yes"),
        ("bridge", "vmbr9"),
        ("vlan", "99"),
        ("ipv4", "static"),
        ("address", "192.0.2.300/24"),
        ("expose", "world"),
        ("gpu", "all"),
        ("volume.data", ""),
        ("volume.medja", "5"),
        ("input.title", "Home"),
        ("input.workers", "1.5"),
        ("input.mail", "true"),
        ("input.relay_password", "pl4nted"),
        ("input.database", "oracle"),
        ("rm -rf\u{7}", "x"),
    ] {
        entered.set(field, value);
    }
    let errors = read(&sample::app(), &place.site(), &entered, &mut draw).unwrap_err();
    let text: String = errors.iter().map(|e| format!("{}: {}\n", e.field, e.message)).collect();
    assert!(!text.contains("pl4nted"));
    crate::golden::assert_golden("guest/form-errors.txt", &text);
}

#[test]
fn names_are_unique_among_guests_and_nodes() {
    assert!(refused(&[("name", "db")]).starts_with("name: another guest is called db"));
    assert!(refused(&[("name", "pve3")]).starts_with("name: a node is called pve3"));
    assert!(refused(&[("name", "")]).starts_with("name: a host name is needed"));
    for bad in ["a.b", "-a", "a_b", "A", "123", "a b", "a;reboot", "../etc"] {
        assert!(refused(&[("name", bad)]).starts_with("name: '"), "{bad}");
    }
}

#[test]
fn each_cap_holds_and_volumes_count_together() {
    for (field, value, text) in [
        ("cores", "5", "at most 4 cores"),
        ("cores", "0", "at least 1 cores"),
        ("cores", "-1", "not a whole number"),
        ("cores", "4294967296", "not a whole number"),
        ("memory_mb", "4097", "at most 4096 MiB"),
        ("memory_mb", "255", "at least 256 MiB"),
        ("swap_mb", "4097", "at most 4096 MiB"),
        ("disk_gb", "3", "at least 4 GiB"),
        ("disk_gb", "65", "at most 64 GiB"),
        // 34 + 10 + 20 are 64; one more is too much.
        ("disk_gb", "35", "all volumes together have 65 GiB"),
        ("volume.data", "47", "all volumes together have 75 GiB"),
        ("volume.data", "0", "at least 1 GiB"),
    ] {
        let refused = refused(&[(field, value)]);
        assert!(refused.contains(text), "{field}={value}: {refused}");
    }
    assert!(order(&[("disk_gb", "34")]).is_ok());
    // Sizes that overflow when they are added up.
    let huge = "4000000000";
    assert!(order(&[("disk_gb", huge), ("volume.data", huge), ("volume.media", huge)]).is_err());
}

#[test]
fn only_approved_places_are_taken() {
    for (field, value, text) in [
        ("node", "pve3", "pve3 is not one of the approved nodes: pve1, pve2"),
        ("node", "pve9", "pve9 is not one of the approved nodes"),
        ("node", "PVE1", "'PVE1' cannot be used"),
        ("storage", "ceph", "'ceph' is not an approved storage; approved: local-zfs, tank"),
        ("storage", "local", "is not an approved storage"),
        ("storage", "tank:8,mp=/", "is not an approved storage"),
        ("bridge", "vmbr9", "'vmbr9' is not an approved bridge; approved: vmbr0, vmbr1"),
        ("bridge", "vmbr0,tag=99", "is not an approved bridge"),
        ("vlan", "0", "0 (untagged) is not approved; approved: 20, 30"),
        ("vlan", "99", "99 is not approved"),
        ("vlan", "4095", "is no VLAN tag"),
        ("vlan", "20,trunks=1", "is no VLAN tag"),
    ] {
        let refused = refused(&[(field, value)]);
        assert!(refused.contains(text), "{field}={value}: {refused}");
    }
    let mut place = sample::place();
    place.boundary.vlans = vec![];
    assert_eq!(order_at(&place, &[]).unwrap().spec.network.vlan, None);
    assert!(only(order_at(&place, &[("vlan", "20")])).contains("approved: 0 (untagged)"));
    place.boundary.vlans = vec![30, 0];
    assert_eq!(order_at(&place, &[("vlan", "0")]).unwrap().spec.network.vlan, None);
    // What a manifest proposes is no permission.
    let mut app = sample::app();
    app.manifest.lxc.storage = Some("ceph".to_owned());
    app.manifest.lxc.bridge = Some("vmbr9".to_owned());
    let place = sample::place();
    let made = read(&app, &place.site(), &form(&[]), &mut draw).unwrap();
    assert_eq!(
        (made.spec.storage.as_str(), made.spec.network.bridge.as_str()),
        ("local-zfs", "vmbr0")
    );
}

#[test]
fn features_and_privileges_need_the_sites_permission() {
    let mut app = sample::app();
    app.manifest.lxc.features = vec![Feature::Nesting, Feature::Keyctl];
    let mut place = sample::place();
    let at = |app: &CatalogApp, place: &Place| read(app, &place.site(), &form(&[]), &mut draw);
    assert!(only(at(&app, &place)).contains("needs the container feature 'keyctl'"));
    place.boundary.features.push(Feature::Keyctl);
    assert!(at(&app, &place).is_ok());

    let mut app = sample::app();
    app.manifest.lxc.unprivileged = false;
    assert!(only(at(&app, &place)).contains("(apps.allow_privileged)"));
    place.boundary.allow_privileged = true;
    let untrusted = Site { source_privileged: false, ..place.site() };
    let denied = read(&app, &untrusted, &form(&[]), &mut draw);
    assert!(only(denied).contains("its catalog source may not ask for"));
    let made = at(&app, &place).unwrap();
    assert!(!made.spec.unprivileged);
    assert!(made.warnings[0].starts_with("the container is privileged"));
    // No field of the form asks for it.
    let asked = form(&[("unprivileged", "false"), ("features", "keyctl=1")]);
    let errors = read(&sample::app(), &place.site(), &asked, &mut draw).unwrap_err();
    assert_eq!(errors.len(), 2);
}

#[test]
fn a_static_address_is_one_that_a_machine_can_have_and_nobody_has() {
    let at = |address: &str, gateway: &str| {
        order(&[("ipv4", "static"), ("address", address), ("gateway", gateway)])
    };
    for (address, gateway, text) in [
        ("", "", "address: an address with its prefix length is needed"),
        ("192.0.2.30", "", "is not an IPv4 address with its prefix length"),
        ("192.0.2.30/33", "", "is not an IPv4 address with its prefix length"),
        ("192.0.2.30/24,gw=1.2.3.4", "", "is not an IPv4 address"),
        ("2001:db8::1/64", "", "is not an IPv4 address"),
        ("192.0.2.0/24", "", "192.0.2.0 is the network's own address"),
        ("192.0.2.255/24", "", "is the broadcast address of 192.0.2.0/24"),
        ("127.0.0.5/8", "", "cannot be a guest's address"),
        ("224.0.0.5/24", "", "cannot be a guest's address"),
        ("0.0.0.0/0", "", "cannot be a guest's address"),
        ("192.0.2.10/24", "", "192.0.2.10 is reserved (apps.reserved_addresses)"),
        ("192.0.2.21/24", "", "192.0.2.21 is in use by guest db (201)"),
        (
            "192.0.2.30/24",
            "192.0.3.1",
            "gateway: 192.0.3.1 is not a machine's address in 192.0.2.0/24",
        ),
        ("192.0.2.30/24", "192.0.2.255", "is not a machine's address"),
        ("192.0.2.30/24", "192.0.2.30", "cannot be its own gateway"),
        ("192.0.2.30/24", "router", "gateway: 'router' cannot be used"),
    ] {
        let refused = only(at(address, gateway));
        assert!(refused.contains(text), "{address} {gateway}: {refused}");
    }
    let made = at("192.0.2.30/24", "192.0.2.1").unwrap();
    let gateway = Some("192.0.2.1".parse().unwrap());
    let address = "192.0.2.30".parse().unwrap();
    assert_eq!(made.spec.network.ipv4, Ipv4Config::Static { address, prefix: 24, gateway });
    let alone = at("192.0.2.30/31", "192.0.2.31").unwrap();
    assert!(alone.warnings.is_empty());
    assert!(at("192.0.2.30/24", "").unwrap().warnings[0].starts_with("without a gateway"));
    // DHCP brings both.
    assert!(refused(&[("address", "192.0.2.30/24")]).contains("is set by the DHCP server"));
}

#[test]
fn an_exposed_guest_has_a_domain_of_its_own() {
    let made = order(&[("expose", "internal")]).unwrap();
    let service = made.service.unwrap();
    assert_eq!(
        (service.domain.as_str(), service.port, service.public),
        ("wiki.example.net", 80, false)
    );
    assert!(made.warnings.iter().any(|w| w.contains("comes from a DHCP server")));
    for (fields, text) in [
        (vec![("expose", "public")], "may not be exposed to the public"),
        (
            vec![("expose", "internal"), ("domain", "OLD.example.net")],
            "is defined already in services/old.yaml",
        ),
        (vec![("expose", "internal"), ("domain", "wiki")], "at least two labels"),
        (vec![("expose", "internal"), ("domain", "*.example.net")], "labels of a-z"),
        (vec![("expose", "internal"), ("domain", "a.net\nx: y")], "cannot be used"),
        (vec![("expose", "internal"), ("domain", "192.0.2.7")], "an address is no domain"),
    ] {
        let refused = refused(&fields);
        assert!(refused.contains(text), "{fields:?}: {refused}");
    }
    let mut place = sample::place();
    place.defaults.domain = None;
    assert!(only(order_at(&place, &[("expose", "internal")])).contains("needs a domain"));
    let silent = Site { publishes: false, ..place.site() };
    let entered = form(&[("expose", "internal"), ("domain", "w.example.net")]);
    assert!(only(read(&sample::app(), &silent, &entered, &mut draw)).contains("[apps.services]"));
    let mut app = sample::app();
    app.manifest.expose = None;
    assert!(only(read(&app, &place.site(), &entered, &mut draw)).contains("nothing to expose"));
    // Without exposure a domain is noted, not used.
    let made = order(&[("domain", "w.example.net")]).unwrap();
    assert!(made.service.is_none() && made.warnings.iter().any(|w| w.contains("no effect")));
}

#[test]
fn a_node_is_taken_only_with_everything_that_is_needed() {
    type Case<'a> = (&'a str, &'a dyn Fn(&mut crate::domain::discovery::NodeFacts));
    let cases: [Case<'_>; 9] = [
        ("cannot be used now: token revoked", &|n| {
            n.usable = false;
            n.problem = "token revoked".to_owned();
        }),
        ("runs Proxmox VE 8.1, the app needs 8.2", &|n| n.release = "8.1".to_owned()),
        ("has only 512 MiB of memory", &|n| n.memory_mb = 512),
        ("local-zfs is not active on pve1; active there for containers: tank, ceph", &|n| {
            n.storages.retain(|s| s.id.as_str() != "local-zfs");
        }),
        ("its content lacks 'rootdir'", &|n| n.storages[1].content.clear()),
        ("local-zfs has 37 GiB free on pve1, 38 GiB are needed", &|n| n.storages[1].free_gb = 37),
        ("pve1 has no bridge vmbr0; it has vmbr1, vmbr9", &|n| {
            n.bridges.remove(0);
        }),
        ("has no template debian-12 on local", &|n| n.templates.clear()),
        ("does not hold templates on pve1: its content lacks 'vztmpl'", &|n| {
            n.templates.clear();
            n.downloadable = vec!["debian-12-standard_12.7-1_amd64.tar.zst".to_owned()];
            n.storages[0].content.retain(|c| c != "vztmpl");
        }),
    ];
    for (text, break_it) in cases {
        let mut place = sample::place();
        break_it(&mut place.discovery.nodes[0]);
        let asked = only(order_at(&place, &[("node", "pve1")]));
        assert!(asked.contains(text), "{asked}");
        // Nobody asked for it: the other one is taken, and this is why.
        place.discovery.nodes[1].free_memory_mb = 1;
        place.defaults.node = Some("pve1".parse().unwrap());
        let made = order_at(&place, &[]).unwrap();
        assert_eq!(made.node.as_str(), "pve2");
        assert!(made.passed_over[0].reason.contains(text), "{:?}", made.passed_over);
        assert!(made.warnings.iter().any(|w| w.contains("only 1 MiB of memory are free on pve2")));
        // Both are broken: both reasons.
        break_it(&mut place.discovery.nodes[1]);
        let none = only(order_at(&place, &[]));
        assert!(none.starts_with("node: no node can take it. pve1: "), "{none}");
    }
    let mut place = sample::place();
    place.discovery.nodes.clear();
    assert!(only(order_at(&place, &[])).contains("no node is enrolled"));
    assert!(only(order_at(&place, &[("node", "pve1")])).contains("pve1 is not enrolled"));
}

#[test]
fn the_sites_default_node_goes_before_the_emptiest() {
    let mut place = sample::place();
    place.defaults.node = Some("pve1".parse().unwrap());
    let made = order_at(&place, &[]).unwrap();
    assert_eq!(made.node.as_str(), "pve1");
    assert!(made.passed_over[0].reason.contains("another one was preferred"));
    assert_eq!(order_at(&place, &[("node", "pve2")]).unwrap().node.as_str(), "pve2");
}

#[test]
fn a_gpu_needs_wish_node_and_permission() {
    assert!(refused(&[("node", "pve1"), ("gpu", "best")]).contains("does not let wiki have it"));
    let mut place = sample::place();
    place.boundary.gpu = GpuPolicy::Everybody;
    // Only one node has a GPU.
    let made = order_at(&place, &[("gpu", "best")]).unwrap();
    assert_eq!((made.node.as_str(), made.spec.gpu.len()), ("pve1", 1));
    let picked = order_at(&place, &[("gpu_devices", "0000:01:00.0, 0000:01:00.0")]).unwrap();
    assert_eq!(picked.spec.gpu.len(), 1);
    for (fields, text) in [
        (vec![("gpu", "pick")], "name at least one PCI address"),
        (vec![("gpu", "pick"), ("gpu_devices", ",")], "name at least one PCI address"),
        (vec![("gpu", "pick"), ("gpu_devices", "/dev/sda")], "'/dev/sda' is no PCI address"),
        (vec![("gpu", "none"), ("gpu_devices", "0000:01:00.0")], "only with gpu = pick"),
        (vec![("node", "pve2"), ("gpu", "best")], "pve2 has no GPU that this app can use"),
    ] {
        let refused = only(order_at(&place, &fields));
        assert!(refused.contains(text), "{fields:?}: {refused}");
    }
    let mut app = sample::app();
    app.manifest.gpu.as_mut().unwrap().required = true;
    let required = |fields: &[(&str, &str)]| read(&app, &place.site(), &form(fields), &mut draw);
    assert_eq!(required(&[]).unwrap().spec.gpu.len(), 1);
    assert!(
        only(required(&[("node", "pve1"), ("gpu", "none")])).contains("cannot run without a GPU")
    );
}

#[test]
fn inputs_keep_to_their_types_and_hidden_ones_are_neither_required_nor_taken() {
    for (field, value, text) in [
        ("input.title", "", "The title is needed"),
        ("input.title", "Home", "lower-case letters only"),
        ("input.title", "home\nx", "lower-case letters only"),
        ("input.workers", "0", "from 1 to 16"),
        ("input.workers", "17", "from 1 to 16"),
        ("input.workers", "1e1", "is not a number"),
        ("input.workers", "NaN", "is not a number"),
        ("input.mail", "yes", "is neither true nor false"),
        ("input.database", "oracle", "sqlite, postgres"),
        ("input.admin_password", "short", "at least 8 characters"),
    ] {
        let entered = if value.contains('\n') { "home\tx" } else { value };
        let refused = refused(&[(field, entered)]);
        assert!(
            refused.contains(text) || refused.contains("one line"),
            "{field}={value}: {refused}"
        );
        if field.ends_with("password") {
            assert!(!refused.contains(value));
        }
    }
    // Hidden: dropped although they were sent, and not missed.
    let made =
        order(&[("input.relay", "sneaked"), ("input.relay_password", "sneaked-in")]).unwrap();
    assert!(!made.inputs.contains_key("relay") && !made.secrets.contains_key("relay_password"));
    let errors = order(&[("input.mail", "true")]).unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields, ["input.relay", "input.relay_password"]);
    let inputs = sample::app().manifest.inputs;
    assert_eq!(hidden_inputs(&inputs, &made.inputs), ["relay", "relay_password"]);
}

#[test]
fn secrets_are_long_enough_to_be_found_in_logs_and_drawn_within_their_limits() {
    let mut app = sample::app();
    let admin = app.manifest.inputs.iter_mut().find(|i| i.key == "admin_password").unwrap();
    admin.kind = InputKind::Secret { min_length: 0, max_length: 16, generate: true };
    let place = sample::place();
    let made = |fields: &[(&str, &str)]| read(&app, &place.site(), &form(fields), &mut draw);
    assert!(only(made(&[("input.admin_password", "abc")])).contains("cannot be kept out of logs"));
    assert_eq!(made(&[]).unwrap().secrets["admin_password"].expose().len(), 16);
    let entered = made(&[("input.admin_password", " spaces count ")]).unwrap();
    assert_eq!(entered.secrets["admin_password"].expose(), " spaces count ");
    assert!(entered.drawn.is_empty());
    assert!(!format!("{entered:?}").contains("spaces count"));
}

#[test]
fn optional_volumes_can_be_left_out_and_needed_ones_cannot() {
    let made = order(&[("volume.media", "")]).unwrap();
    assert_eq!(made.spec.volumes.len(), 1);
    assert!(refused(&[("volume.data", "")]).contains("this volume is needed"));
}

#[test]
fn monitoring_follows_the_manifest_and_the_distribution() {
    let with = |exporter, template: &str, fields: &[(&str, &str)]| {
        let mut app = sample::app();
        app.manifest.node_exporter = exporter;
        app.manifest.lxc.ostemplate = template.to_owned();
        let mut place = sample::place();
        for node in &mut place.discovery.nodes {
            node.templates
                .push("local:vztmpl/alpine-3.20-default_20240908_amd64.tar.xz".to_owned());
        }
        read(&app, &place.site(), &form(fields), &mut draw).map(|o| o.spec.monitored)
    };
    let off = [("monitoring", "false")];
    let on = [("monitoring", "true")];
    assert_eq!(with(NodeExporter::Ask, "debian-12", &off), Ok(false));
    assert_eq!(with(NodeExporter::No, "debian-12", &[]), Ok(false));
    assert!(with(NodeExporter::No, "debian-12", &on).is_err());
    assert!(with(NodeExporter::Yes, "debian-12", &off).is_err());
    assert_eq!(with(NodeExporter::Ask, "alpine-3.20", &[]), Ok(false));
    assert!(with(NodeExporter::Ask, "alpine-3.20", &on).is_err());
}

#[test]
fn forms_offer_what_is_approved_of_what_was_found() {
    let place = sample::place();
    let offered = placement::approved(&place.boundary, &place.discovery);
    let names: Vec<&str> = offered.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["pve1", "pve2"]);
    let storages: Vec<&str> = offered.nodes[0].storages.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(storages, ["local", "local-zfs", "tank"]);
    assert_eq!(offered.nodes[0].bridges.len(), 2);
}
