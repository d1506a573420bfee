//! The fields of an installation in the order in which they are asked: what, name, place, size, network, exposure, GPU,
//! and the app's own questions. Pure: from the app, what the site approves and what was found in the cluster.

use super::field::{Field, Group, input_groups};
use crate::domain::app::{CatalogApp, GpuNeed, NodeExporter};
use crate::domain::boundary::Boundary;
use crate::domain::discovery::{Discovery, NodeFacts, StorageFacts};
use crate::domain::form::Submitted;
use crate::web::Site;
use crate::web::view::app::{gpu_name, gpu_obstacle};

/// All groups. `before` is what this session typed earlier: it tells which secrets need not be typed again.
pub(super) fn groups(
    app: &CatalogApp,
    site: &Site,
    found: Option<&Discovery>,
    before: &Submitted,
) -> Vec<Group> {
    let mut groups = vec![
        Group::new(
            "Name",
            "",
            vec![
                Field::text("name", "Name", 63)
                    .required()
                    .mono("")
                    .help("Host name of the container: a-z, 0-9 and hyphens."),
                Field::text("description", "Description", 200),
            ],
        ),
        placement(site, found),
        resources(app, &site.boundary),
        network(&site.boundary, found),
        exposure(app, site),
        gpu(app, &site.boundary, found),
    ];
    let typed = |field: &str| before.get(field).is_some();
    groups.extend(input_groups(&app.manifest.inputs, |_| true, typed));
    groups
}

fn gib(mib: u64) -> u64 {
    mib / 1024
}

fn node_text(node: &NodeFacts) -> String {
    if !node.usable {
        return format!("{} ({})", node.name, node.problem);
    }
    let (free, all) = (gib(node.free_memory_mb), gib(node.memory_mb));
    format!("{} ({free} of {all} GiB memory free, Proxmox VE {})", node.name, node.release)
}

/// Nodes that may hold guests, as far as they are known.
fn nodes<'a>(boundary: &'a Boundary, found: &'a Discovery) -> impl Iterator<Item = &'a NodeFacts> {
    let approved = |n: &&NodeFacts| boundary.nodes.is_empty() || boundary.nodes.contains(&n.name);
    found.nodes.iter().filter(approved)
}

fn placement(site: &Site, found: Option<&Discovery>) -> Group {
    let boundary = &site.boundary;
    let mut choices = vec![(String::new(), "the one with most free memory".to_owned())];
    match found {
        Some(found) => {
            choices.extend(nodes(boundary, found).map(|n| (n.name.to_string(), node_text(n))));
        }
        None => choices.extend(boundary.nodes.iter().map(|n| (n.to_string(), n.to_string()))),
    }
    let storage = |id: &crate::domain::id::StorageId| {
        let on = |n: &NodeFacts| {
            let facts: &StorageFacts = n.storage(id)?;
            Some(format!("{}: {} of {} GiB free", n.name, facts.free_gb, facts.total_gb))
        };
        let seen: Vec<String> =
            found.into_iter().flat_map(|found| nodes(boundary, found)).filter_map(on).collect();
        let text =
            if seen.is_empty() { id.to_string() } else { format!("{id} ({})", seen.join("; ")) };
        (id.to_string(), text)
    };
    Group::new(
        "Placement",
        "",
        vec![
            Field::select("node", "Node", choices),
            Field::select("storage", "Storage", boundary.storages.iter().map(storage).collect()),
        ],
    )
}

fn resources(app: &CatalogApp, boundary: &Boundary) -> Group {
    let (lxc, caps) = (&app.manifest.lxc, boundary.caps);
    let mut fields = vec![
        Field::number("cores", "Cores", 1, caps.cores),
        Field::number("memory_mb", "Memory, MiB", lxc.min_memory_mb, caps.memory_mb),
        Field::number("swap_mb", "Swap, MiB", 0, caps.memory_mb),
        Field::number("disk_gb", "Root disk, GiB", lxc.min_disk_gb, caps.disk_gb),
    ];
    fields.extend(app.manifest.mounts.iter().map(|mount| {
        let label = format!("{}, GiB", mount.label);
        let field = Field::number(&format!("volume.{}", mount.key), &label, 1, caps.disk_gb);
        let optional = if mount.optional { " Leave it empty to do without." } else { "" };
        let backup = if mount.backup { "" } else { " Not part of backups." };
        field.help(format!("A volume at {}.{optional}{backup}", mount.path))
    }));
    fields.push(Field::tick("onboot", "Start it when its node starts"));
    fields.push(Field::tick("start", "Let it run after the installation"));
    let note = format!(
        "At most {} cores, {} MiB of memory and {} GiB of disks together.",
        caps.cores, caps.memory_mb, caps.disk_gb
    );
    Group::new("Resources", note, fields)
}

fn network(boundary: &Boundary, found: Option<&Discovery>) -> Group {
    let bridge = |bridge: &crate::domain::id::BridgeName| {
        let on = |n: &&NodeFacts| n.bridges.contains(bridge);
        let seen: Vec<String> = found
            .into_iter()
            .flat_map(|found| nodes(boundary, found))
            .filter(on)
            .map(|n| n.name.to_string())
            .collect();
        let text = if seen.is_empty() {
            bridge.to_string()
        } else {
            format!("{bridge} ({})", seen.join(", "))
        };
        (bridge.to_string(), text)
    };
    let modes = [("dhcp", "from a DHCP server"), ("static", "a fixed one")];
    let fixed = |field: Field| field.when("ipv4", &["static"], "Counts with a fixed address");
    let mut fields = vec![
        Field::select("bridge", "Bridge", boundary.bridges.iter().map(bridge).collect()),
        Field::select("ipv4", "Address", modes.map(|(v, t)| (v.to_owned(), t.to_owned())).into()),
        fixed(Field::text("address", "Fixed address with prefix", 18).mono("192.0.2.60/24")),
        fixed(Field::text("gateway", "Gateway", 15).mono("192.0.2.1")),
    ];
    let choices = boundary.vlan_choices();
    if choices != [None] {
        let choice = |tag: Option<u16>| match tag {
            Some(tag) => (tag.to_string(), tag.to_string()),
            None => ("0".to_owned(), "untagged".to_owned()),
        };
        let choices = choices.into_iter().map(choice).collect();
        fields.insert(1, Field::select("vlan", "VLAN", choices));
    }
    Group::new("Network", "", fields)
}

fn exposure(app: &CatalogApp, site: &Site) -> Group {
    let mut fields = Vec::new();
    let mut note = String::new();
    match (&app.manifest.expose, site.publishes) {
        (None, _) => note.push_str("This app is not reached through the reverse proxy."),
        (Some(_), false) => {
            note.push_str("No repository of a reverse proxy is configured, so nothing is exposed.");
        }
        (Some(expose), true) => {
            let mut modes = vec![("none", "not at all"), ("internal", "internally")];
            if expose.public {
                modes.push(("public", "to the public"));
            }
            let modes = modes.into_iter().map(|(v, t)| (v.to_owned(), t.to_owned())).collect();
            fields.push(Field::select("expose", "Through the reverse proxy", modes));
            fields.push(
                Field::text("domain", "Domain", 253)
                    .mono("app.example.net")
                    .help("One that no other service has.")
                    .when("expose", &["internal", "public"], "Counts when it is exposed"),
            );
        }
    }
    match app.manifest.node_exporter {
        NodeExporter::Ask => fields
            .push(Field::tick("monitoring", "Install a node exporter and list it for Prometheus")),
        NodeExporter::Yes => note.push_str(" A node exporter is always installed."),
        NodeExporter::No => {}
    }
    Group::new("Exposure and monitoring", note.trim(), fields)
}

fn gpu(app: &CatalogApp, boundary: &Boundary, found: Option<&Discovery>) -> Group {
    let Some(need) = &app.manifest.gpu else {
        return Group::new("GPU", "This app makes no use of a GPU.", Vec::new());
    };
    let device = |node: &NodeFacts| {
        let name = node.name.clone();
        let offer = |gpu: &crate::domain::gpu::Gpu| {
            let refused = gpu_obstacle(&app.manifest, &boundary.gpu, &node.name, &node.gpu, gpu);
            let text = format!("{name}: {}", gpu_name(gpu));
            (gpu.address.to_string(), text, refused.unwrap_or_default())
        };
        let offers: Vec<_> = node.gpu.gpus.iter().map(offer).collect();
        offers
    };
    let devices: Vec<(String, String, String)> =
        found.into_iter().flat_map(|found| nodes(boundary, found)).flat_map(device).collect();
    let fitting = devices.iter().filter(|(.., refused)| refused.is_empty()).count();
    let fields = gpu_fields(need, devices, "All of one node.");
    let note = match (need.required, fitting) {
        (true, 0) => "This app needs a GPU, and no node has one that fits: it cannot be installed.",
        (false, 0) => "No node has a GPU that fits; the app works without one.",
        (true, _) => "This app needs a GPU.",
        (false, _) => "This app can use a GPU.",
    };
    Group::new("GPU", format!("{note} {}", need.notes).trim(), fields)
}

/// None, the best, or some of these devices: address, text, and why one cannot be had.
pub(super) fn gpu_fields(
    need: &GpuNeed,
    devices: Vec<(String, String, String)>,
    help: &str,
) -> Vec<Field> {
    let mut modes =
        vec![("best", "the best that fits"), ("pick", "the ones that are picked below")];
    if !need.required {
        modes.insert(0, ("none", "none"));
    }
    let modes = modes.into_iter().map(|(v, t)| (v.to_owned(), t.to_owned())).collect();
    let mut fields = vec![Field::select("gpu", "GPU", modes)];
    if !devices.is_empty() {
        fields.push(Field::boxes("gpu_devices", "Devices", devices).help(help).when(
            "gpu",
            &["pick"],
            "Counts when devices are picked",
        ));
    }
    fields
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::boundary::GpuPolicy;
    use crate::web::page::field::Look;
    use crate::web::test::catalog::{catalog, discovery, site};

    fn all(app: &str) -> Vec<Group> {
        let catalog = catalog();
        let app = catalog.get(&app.parse().unwrap()).unwrap();
        groups(app, &site(), Some(&discovery()), &Submitted::default())
    }

    fn field(groups: &[Group], name: &str) -> Option<Field> {
        groups.iter().flat_map(|g| &g.fields).find(|f| f.name == name).cloned()
    }

    #[test]
    fn groups_stand_in_the_order_of_the_wizard() {
        let groups = all("static-website");
        let legends: Vec<&str> = groups.iter().map(|g| g.legend.as_str()).collect();
        assert_eq!(
            legends,
            [
                "Name",
                "Placement",
                "Resources",
                "Network",
                "Exposure and monitoring",
                "GPU",
                "Settings",
                "Access"
            ]
        );
    }

    #[test]
    fn only_approved_places_are_offered_within_the_caps() {
        let groups = all("static-website");
        let node = field(&groups, "node").unwrap();
        let nodes: Vec<&str> = node.options.iter().map(|o| o.value.as_str()).collect();
        assert_eq!(nodes, ["", "pve1", "pve2"]);
        let memory = field(&groups, "memory_mb").unwrap();
        assert_eq!((memory.min.as_str(), memory.max.as_str()), ("256", "16384"));
        let domain = field(&groups, "domain").unwrap();
        assert_eq!(domain.when.unwrap().field, "expose");
    }

    #[test]
    fn every_gpu_is_shown_and_those_that_do_not_fit_say_why() {
        let groups = all("jellyfin");
        let devices = field(&groups, "gpu_devices").unwrap();
        assert_eq!(devices.look, Look::Boxes);
        let refused: Vec<bool> = devices.options.iter().map(|o| !o.refused.is_empty()).collect();
        assert_eq!(refused, [false, true], "{:?}", devices.options);
        assert!(field(&all("redis"), "gpu").is_none());
        let catalog = catalog();
        let app = catalog.get(&"jellyfin".parse().unwrap()).unwrap();
        let mut site = site();
        site.boundary.gpu = GpuPolicy::Nobody;
        let groups = super::groups(app, &site, Some(&discovery()), &Submitted::default());
        assert!(
            field(&groups, "gpu_devices").unwrap().options.iter().all(|o| !o.refused.is_empty())
        );
    }
}
