//! Apps and GPUs in the words of pages. Pure.

use crate::domain::app::{
    CatalogApp, Expose, GpuNeed, HealthKind, Manifest, NodeExporter, ProvisionKind,
};
use crate::domain::boundary::GpuPolicy;
use crate::domain::gpu::{Gpu, GpuReport};
use crate::domain::id::NodeName;
use crate::domain::node::EnrolledNode;
use crate::plan::guest::gpu::{GpuRefusal, Wish, choose};

/// The letter that stands for an app.
fn initial(name: &str) -> String {
    let first = name.chars().find(|c| c.is_alphanumeric());
    first.map_or_else(|| "?".to_owned(), |c| c.to_uppercase().collect())
}

/// One of six colours, always the same for an app.
fn hue(id: &str) -> u8 {
    id.bytes().fold(0u8, |sum, b| sum.wrapping_mul(31).wrapping_add(b)) % 6
}

/// The beginning of a commit or hash.
pub(crate) fn short_hash(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// An address, when a page may link to it.
pub(crate) fn web_link(address: &str) -> Option<String> {
    let lower = address.to_ascii_lowercase();
    let is_web = lower.starts_with("https://") || lower.starts_with("http://");
    (is_web && !address.contains(char::is_whitespace)).then(|| address.to_owned())
}

/// What an app can do with a GPU, and which nodes have one that it knows.
pub(crate) struct GpuBanner {
    pub(crate) text: String,
    pub(crate) notes: String,
    /// Devices that fit, `pve1: NVIDIA RTX 2070`.
    pub(crate) fitting: Vec<String>,
    pub(crate) required: bool,
}

fn vendors(need: &GpuNeed) -> String {
    need.supported.iter().map(|v| v.label()).collect::<Vec<_>>().join(", ")
}

/// A device for people: `NVIDIA GeForce RTX 2070 at 0000:01:00.0`.
pub(crate) fn gpu_name(gpu: &Gpu) -> String {
    let known = gpu.name.trim();
    let name = match (known.is_empty(), known.starts_with(gpu.vendor.label())) {
        (true, _) => format!("{} {:04x}", gpu.vendor.label(), gpu.device),
        (false, true) => known.to_owned(),
        (false, false) => format!("{} {known}", gpu.vendor.label()),
    };
    format!("{name} at {}", gpu.address)
}

/// The GPU banner of an app; `None` when it makes no use of one.
pub(crate) fn gpu_banner(manifest: &Manifest, nodes: &[EnrolledNode]) -> Option<GpuBanner> {
    let need = manifest.gpu.as_ref()?;
    let verb = if need.required { "Needs" } else { "Can use" };
    let fits = |gpu: &&Gpu| need.supported.contains(&gpu.vendor);
    let fitting = nodes.iter().flat_map(|node| {
        let gpus = node.gpu.gpus.iter().filter(fits);
        gpus.map(|gpu| format!("{}: {}", node.name, gpu_name(gpu)))
    });
    Some(GpuBanner {
        text: format!("{verb} a GPU of {}", vendors(need)),
        notes: need.notes.clone(),
        fitting: fitting.collect(),
        required: need.required,
    })
}

/// Why a device of a node cannot be given to an app; `None`: it can.
pub(crate) fn gpu_obstacle(
    app: &Manifest,
    policy: &GpuPolicy,
    node: &NodeName,
    report: &GpuReport,
    gpu: &Gpu,
) -> Option<String> {
    let wish = Wish::Pick(vec![gpu.address.clone()]);
    let chosen = choose(app.gpu.as_ref(), policy, &app.id, node, report, &wish);
    match chosen.err()? {
        GpuRefusal::Unusable { reason, .. } => Some(reason),
        other => Some(other.to_string()),
    }
}

fn size(mib: u32) -> String {
    super::size(u64::from(mib) << 20)
}

fn exposure(expose: Option<&Expose>) -> String {
    match expose {
        None => "none".to_owned(),
        Some(e) if e.public => format!("port {}, internal or public", e.port),
        Some(e) => format!("port {}, internal only", e.port),
    }
}

/// What stands for an app beside its name.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// Address of its icon.
    pub(crate) icon: Option<String>,
    pub(crate) initial: String,
    pub(crate) hue: u8,
}

impl Mark {
    pub(crate) fn new(app: &CatalogApp) -> Self {
        let id = &app.manifest.id;
        // The content's hash makes another icon another address.
        let address = || format!("/apps/{id}/icon.png?v={}", short_hash(&app.provenance.hash.0));
        Self {
            icon: app.provenance.icon.then(address),
            initial: initial(&app.manifest.name),
            hue: hue(id.as_str()),
        }
    }
}

/// What an app is made of, by name; only what there is.
pub(crate) fn facts(app: &CatalogApp) -> Vec<(&'static str, String)> {
    let manifest = &app.manifest;
    let lxc = &manifest.lxc;
    let features: Vec<&str> = lxc.features.iter().map(|f| f.as_str()).collect();
    let (provision, services) = match &manifest.provision.kind {
        ProvisionKind::Packages { packages, services, .. } => {
            (format!("packages {}", packages.join(" ")), services.join(" "))
        }
        ProvisionKind::Script { script } => (format!("script {script}"), String::new()),
    };
    let health = manifest.healthcheck.as_ref().map(|check| match &check.kind {
        HealthKind::Http { port, path, .. } => format!("HTTP port {port}, {path}"),
        HealthKind::Tcp { port } => format!("TCP port {port}"),
        HealthKind::Command { script } => format!("script {script}"),
    });
    let volume = |m: &crate::domain::app::Mount| {
        let optional = if m.optional { ", optional" } else { "" };
        format!("{} ({} GiB{optional})", m.path, m.size_gb)
    };
    let provenance = &app.provenance;
    let commit = provenance.commit.as_deref().map(|c| format!(" at {}", short_hash(c)));
    let exporter = match manifest.node_exporter {
        NodeExporter::No => "not monitored",
        NodeExporter::Ask => "node exporter when wanted",
        NodeExporter::Yes => "node exporter",
    };
    [
        (
            "Container",
            format!(
                "{}, {}",
                lxc.ostemplate,
                if lxc.unprivileged { "unprivileged" } else { "privileged" }
            ),
        ),
        ("Cores", lxc.cores.to_string()),
        ("Memory", format!("{} ({} at least)", size(lxc.memory_mb), size(lxc.min_memory_mb))),
        ("Root disk", format!("{} GiB ({} at least)", lxc.disk_gb, lxc.min_disk_gb)),
        ("Features", features.join(", ")),
        ("Volumes", manifest.mounts.iter().map(volume).collect::<Vec<_>>().join(", ")),
        ("Provisioning", provision),
        ("Services", services),
        ("Health check", health.unwrap_or_else(|| "that the container runs".to_owned())),
        ("Exposure", exposure(manifest.expose.as_ref())),
        ("Monitoring", exporter.to_owned()),
        (
            "Proxmox VE",
            manifest.min_pve.as_ref().map(|v| format!("{v} or newer")).unwrap_or_default(),
        ),
        ("License", manifest.license.clone().unwrap_or_default()),
        ("Maintainers", manifest.maintainers.join(", ")),
        ("Source", format!("{}{}", provenance.source, commit.unwrap_or_default())),
        ("Content", short_hash(&provenance.hash.0)),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_web_addresses_become_links() {
        assert!(web_link("https://example.org/x").is_some());
        for bad in ["javascript:alert(1)", "http://a b", "ftp://x", ""] {
            assert_eq!(web_link(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_app_has_a_letter() {
        assert_eq!((initial("n8n").as_str(), initial("*").as_str()), ("N", "?"));
        assert!(hue("redis") < 6);
    }
}
