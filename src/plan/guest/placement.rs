//! Which node takes a guest: the one that was asked for, the site's default, or the usable one with most free memory that
//! has everything. Each node that is passed over has its reason.

use crate::domain::app::Manifest;
use crate::domain::boundary::Boundary;
use crate::domain::discovery::{Discovery, NodeFacts, StorageFacts};
use crate::domain::guest::GpuAttachment;
use crate::domain::id::{BridgeName, NodeName, StorageId};

use super::gpu::{self, Wish};
use super::order::Site;
use super::ostemplate::{self, TemplateChoice};

/// What a guest needs of a node.
#[derive(Debug)]
pub struct Needs<'a> {
    /// The app's manifest: OS template, least release, GPU.
    pub manifest: &'a Manifest,
    /// Storage of its volumes.
    pub storage: &'a StorageId,
    /// Bridge.
    pub bridge: &'a BridgeName,
    /// MiB of memory.
    pub memory_mb: u32,
    /// GiB of all volumes together.
    pub disk_gb: u64,
    /// GPUs.
    pub gpu: &'a Wish,
}

/// Where a guest goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The node.
    pub node: NodeName,
    /// Its OS template there.
    pub template: TemplateChoice,
    /// Its GPUs there.
    pub gpu: Vec<GpuAttachment>,
    /// What the operator should know about this node.
    pub warnings: Vec<String>,
    /// The nodes that were not chosen.
    pub passed_over: Vec<PassedOver>,
}

/// A node that was not chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which.
    pub node: NodeName,
    /// The form field that its reason is about.
    pub field: &'static str,
    /// Why, in one sentence.
    pub reason: String,
}

/// Chooses a node. `wanted` is a node that was asked for; then no other is taken.
///
/// # Errors
/// Why none can take it: each field that is wrong when there was one node to look at, else one reason for each node.
pub fn choose(
    site: &Site<'_>,
    needs: &Needs<'_>,
    wanted: Option<&NodeName>,
) -> Result<Placement, Vec<PassedOver>> {
    let approved: Vec<&NodeFacts> =
        site.discovery.nodes.iter().filter(|n| site.boundary.allows_node(&n.name)).collect();
    if let Some(wanted) = wanted {
        let over = |reason| vec![PassedOver { node: wanted.clone(), field: "node", reason }];
        let names: Vec<&str> = approved.iter().map(|n| n.name.as_str()).collect();
        if !site.boundary.allows_node(wanted) {
            let known = listed(&names);
            return Err(over(format!("{wanted} is not one of the approved nodes: {known}")));
        }
        let Some(node) = approved.iter().find(|n| n.name == *wanted) else {
            return Err(over(format!("{wanted} is not enrolled; enrolled: {}", listed(&names))));
        };
        return fit(site, node, needs).map_err(|reasons| passed(node, reasons));
    }
    let mut order = approved;
    // The default first, then the one with most free memory; of two alike the first by name.
    order.sort_by(|a, b| {
        let is_default = |n: &NodeFacts| site.defaults.node.as_ref() == Some(&n.name);
        (is_default(b), b.free_memory_mb)
            .cmp(&(is_default(a), a.free_memory_mb))
            .then_with(|| a.name.cmp(&b.name))
    });
    let mut over: Vec<PassedOver> = Vec::new();
    let mut chosen: Option<Placement> = None;
    let only = order.len() == 1;
    for node in order {
        match fit(site, node, needs) {
            Ok(_) if chosen.is_some() => over.push(PassedOver {
                node: node.name.clone(),
                field: "node",
                reason: format!("another one was preferred; {} MiB are free", node.free_memory_mb),
            }),
            Ok(placement) => chosen = Some(placement),
            Err(reasons) if only => return Err(passed(node, reasons)),
            Err(reasons) => {
                let all: Vec<String> = reasons.into_iter().map(|(_, reason)| reason).collect();
                let reason = all.join("; ");
                over.push(PassedOver { node: node.name.clone(), field: "node", reason });
            }
        }
    }
    match chosen {
        Some(placement) => Ok(Placement { passed_over: over, ..placement }),
        None => Err(over),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

type Reasons = Vec<(&'static str, String)>;

fn passed(node: &NodeFacts, reasons: Reasons) -> Vec<PassedOver> {
    let over = |(field, reason)| PassedOver { node: node.name.clone(), field, reason };
    reasons.into_iter().map(over).collect()
}

/// Whether a node has everything; all that is missing at once.
fn fit(site: &Site<'_>, node: &NodeFacts, needs: &Needs<'_>) -> Result<Placement, Reasons> {
    let name = &node.name;
    let mut reasons = Reasons::new();
    let mut warnings = Vec::new();
    if !node.usable {
        let problem = if node.problem.is_empty() { "it does not answer" } else { &node.problem };
        return Err(vec![("node", format!("{name} cannot be used now: {problem}"))]);
    }
    if let Some(least) = needs.manifest.min_pve.as_deref()
        && release(&node.release) < release(least)
    {
        let runs = &node.release;
        reasons.push(("node", format!("{name} runs Proxmox VE {runs}, the app needs {least}")));
    }
    if u64::from(needs.memory_mb) > node.memory_mb {
        let has = node.memory_mb;
        reasons.push(("memory_mb", format!("{name} has only {has} MiB of memory")));
    } else if u64::from(needs.memory_mb) > node.free_memory_mb {
        let free = node.free_memory_mb;
        warnings.push(format!("only {free} MiB of memory are free on {name} now"));
    }
    match node.storage(needs.storage) {
        None => {
            let active = storages(node, "rootdir");
            let wanted = needs.storage;
            reasons.push((
                "storage",
                format!("{wanted} is not active on {name}; active there for containers: {active}"),
            ));
        }
        Some(storage) => {
            if let Err(reason) = takes(storage, needs.disk_gb, name) {
                reasons.push(("storage", reason));
            }
        }
    }
    if !node.bridges.contains(needs.bridge) {
        let known: Vec<&str> = node.bridges.iter().map(BridgeName::as_str).collect();
        let wanted = needs.bridge;
        reasons
            .push(("bridge", format!("{name} has no bridge {wanted}; it has {}", listed(&known))));
    }
    let template = template(site.boundary, node, &needs.manifest.lxc.ostemplate);
    let gpu = gpu::choose(
        needs.manifest.gpu.as_ref(),
        &site.boundary.gpu,
        &needs.manifest.id,
        name,
        &node.gpu,
        needs.gpu,
    );
    if let Err(reason) = &template {
        reasons.push(("node", reason.clone()));
    }
    if let Err(refusal) = &gpu {
        let field = if matches!(needs.gpu, Wish::Pick(_)) { "gpu_devices" } else { "gpu" };
        reasons.push((field, refusal.to_string()));
    }
    match (template, gpu) {
        (Ok(template), Ok(gpu)) if reasons.is_empty() => {
            let passed_over = Vec::new();
            Ok(Placement { node: name.clone(), template, gpu, warnings, passed_over })
        }
        _ => Err(reasons),
    }
}

/// Whether a storage holds containers and has the room.
///
/// # Errors
/// Why not, in one sentence.
pub fn takes(storage: &StorageFacts, disk_gb: u64, node: &NodeName) -> Result<(), String> {
    let id = &storage.id;
    if !storage.content.iter().any(|c| c == "rootdir") {
        return Err(format!(
            "{id} does not hold containers on {node}: its content lacks 'rootdir'"
        ));
    }
    if storage.free_gb < disk_gb {
        let free = storage.free_gb;
        return Err(format!("{id} has {free} GiB free on {node}, {disk_gb} GiB are needed"));
    }
    Ok(())
}

/// The OS template on a node's template storage.
///
/// # Errors
/// Why there is none, in one sentence.
pub fn template(
    boundary: &Boundary,
    node: &NodeFacts,
    wanted: &str,
) -> Result<TemplateChoice, String> {
    let name = &node.name;
    let id = &boundary.template_storage;
    let Some(storage) = node.storage(id) else {
        return Err(format!("the template storage {id} is not active on {name}"));
    };
    let Some(choice) = ostemplate::choose(wanted, id, &node.templates, &node.downloadable) else {
        return Err(format!(
            "{name} has no template {wanted} on {id}, and its index of appliances has none to download; \
             'pveam update' on the node renews the index"
        ));
    };
    if let TemplateChoice::Download { file, .. } = &choice {
        if !storage.content.iter().any(|c| c == "vztmpl") {
            return Err(format!(
                "{file} would have to be downloaded, and {id} does not hold templates on {name}: its content lacks \
                 'vztmpl'"
            ));
        }
        if storage.free_gb < TEMPLATE_GB {
            return Err(format!("{id} has no room on {name} to download {file}"));
        }
    }
    Ok(choice)
}

/// The vendor's system templates are smaller than this.
const TEMPLATE_GB: u64 = 1;

fn storages(node: &NodeFacts, content: &str) -> String {
    let fitting = node.storages.iter().filter(|s| s.content.iter().any(|c| c == content));
    listed(&fitting.map(|s| s.id.as_str()).collect::<Vec<_>>())
}

/// A release as numbers: `9.2`, `8.4.1` and `9.2-1` compare as people expect.
fn release(text: &str) -> Vec<u32> {
    text.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

/// What forms may offer: only what is approved of what was found.
#[must_use]
pub fn approved(boundary: &Boundary, discovery: &Discovery) -> Discovery {
    let mut seen = discovery.clone();
    seen.nodes.retain(|n| boundary.allows_node(&n.name));
    for node in &mut seen.nodes {
        node.storages.retain(|s| {
            boundary.storages.contains(&s.id)
                || boundary.backup_storages.contains(&s.id)
                || boundary.template_storage == s.id
        });
        node.bridges.retain(|b| boundary.bridges.contains(b));
    }
    seen
}
