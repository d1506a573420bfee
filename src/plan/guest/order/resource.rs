//! Resources of a guest within the caps: cores, memory, disks; storage, features, GPU wish, monitoring.

use crate::domain::app::{Manifest, NodeExporter};
use crate::domain::gpu::PciAddress;
use crate::domain::guest::Volume;
use crate::domain::id::StorageId;

use super::super::gpu::Wish;
use super::super::provision::takes_exporter;
use super::field::{Fields, show};
use super::{Site, exporter_is};

/// Sizes and their place.
pub(super) struct Size {
    pub(super) storage: Option<StorageId>,
    pub(super) cores: u32,
    pub(super) memory_mb: u32,
    pub(super) swap_mb: u32,
    pub(super) disk_gb: u32,
    pub(super) volumes: Vec<Volume>,
}

impl Size {
    /// GiB of all volumes.
    pub(super) fn total_gb(&self) -> u64 {
        u64::from(self.disk_gb) + self.volumes.iter().map(|v| u64::from(v.size_gb)).sum::<u64>()
    }
}

/// Rules about the app as a whole: what it is may not be allowed here at all.
pub(super) fn app(
    fields: &mut Fields<'_>,
    manifest: &Manifest,
    site: &Site<'_>,
    warnings: &mut Vec<String>,
) {
    if !manifest.lxc.unprivileged {
        if !site.boundary.allow_privileged {
            fields.wrong(
                "app",
                "this app needs a privileged container, which this site does not allow (apps.allow_privileged)",
            );
        } else if !site.source_privileged {
            fields.wrong(
                "app",
                "this app needs a privileged container, which its catalog source may not ask for (allow_privileged \
                 of the source)",
            );
        } else {
            warnings.push(
                "the container is privileged: root in it is root on the node, only kept apart by the kernel's other \
                 barriers. Install only what you trust like the node itself"
                    .to_owned(),
            );
        }
    }
    for feature in &manifest.lxc.features {
        if !site.boundary.features.contains(feature) {
            let allowed: Vec<&str> = site.boundary.features.iter().map(|f| f.as_str()).collect();
            let allowed = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            fields.wrong(
                "app",
                format!(
                    "this app needs the container feature '{}', which this site does not allow; allowed \
                     (apps.features): {allowed}",
                    feature.as_str()
                ),
            );
        }
    }
}

pub(super) fn default_storage(manifest: &Manifest, site: &Site<'_>) -> StorageId {
    let proposed = manifest.lxc.storage.as_deref().and_then(|s| s.parse::<StorageId>().ok());
    proposed
        .filter(|s| site.boundary.storages.contains(s))
        .unwrap_or_else(|| site.defaults.storage.clone())
}

pub(super) fn size(fields: &mut Fields<'_>, manifest: &Manifest, site: &Site<'_>) -> Size {
    let lxc = &manifest.lxc;
    let caps = site.boundary.caps;
    let storages = &site.boundary.storages;
    let storage = fields.approved("storage", "storage", storages, &default_storage(manifest, site));
    let cores = fields.number("cores", lxc.cores, " cores", (1, NEEDED), (caps.cores, ALLOWED));
    let memory_mb = fields.number(
        "memory_mb",
        lxc.memory_mb,
        " MiB",
        (lxc.min_memory_mb.max(LEAST_MEMORY_MB), NEEDED),
        (caps.memory_mb, ALLOWED),
    );
    let swap_mb =
        fields.number("swap_mb", lxc.swap_mb, " MiB", (0, NEEDED), (caps.memory_mb, ALLOWED));
    let least_disk = (lxc.min_disk_gb.max(1), NEEDED);
    let disk_gb =
        fields.number("disk_gb", lxc.disk_gb, " GiB", least_disk, (caps.disk_gb, ALLOWED));
    let volumes = volumes(fields, manifest, caps.disk_gb);
    let size = Size { storage, cores, memory_mb, swap_mb, disk_gb, volumes };
    let total = size.total_gb();
    if total > u64::from(caps.disk_gb) && fields.is_clean("disk_gb") {
        let most = caps.disk_gb;
        fields.wrong(
            "disk_gb",
            format!(
                "all volumes together have {total} GiB: {ALLOWED} at most {most} GiB for one guest"
            ),
        );
    }
    size
}

pub(super) const NEEDED: &str = "the app needs";
pub(super) const ALLOWED: &str = "this site allows";
/// Proxmox VE takes 16; nothing current starts with less than this.
pub(super) const LEAST_MEMORY_MB: u32 = 32;

/// Volumes beside the root disk, in the order of the manifest: `mp0`, `mp1`, …
fn volumes(fields: &mut Fields<'_>, manifest: &Manifest, most_gb: u32) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for mount in &manifest.mounts {
        let field = format!("volume.{}", mount.key);
        if fields.raw(&field).is_some() && fields.text(&field).is_none() {
            if !mount.optional {
                fields.wrong(field, "this volume is needed; enter its size in GiB");
            }
            continue;
        }
        let size_gb = fields.number(&field, mount.size_gb, " GiB", (1, NEEDED), (most_gb, ALLOWED));
        let Ok(slot) = u8::try_from(volumes.len()) else {
            fields.wrong(field, "a container has at most 256 volumes");
            continue;
        };
        volumes.push(Volume {
            key: mount.key.clone(),
            slot,
            path: mount.path.clone(),
            size_gb,
            backup: mount.backup,
            volid: None,
        });
    }
    volumes
}

pub(super) fn default_monitoring(manifest: &Manifest, site: &Site<'_>) -> bool {
    match manifest.node_exporter {
        NodeExporter::No => false,
        NodeExporter::Ask => site.defaults.monitoring && takes_exporter(manifest),
        NodeExporter::Yes => true,
    }
}

pub(super) fn monitored(fields: &mut Fields<'_>, manifest: &Manifest, site: &Site<'_>) -> bool {
    let wanted = fields.boolean("monitoring", default_monitoring(manifest, site));
    if wanted && manifest.node_exporter == NodeExporter::Ask && !takes_exporter(manifest) {
        let template = &manifest.lxc.ostemplate;
        let rule = "the node exporter is installed in Debian and Ubuntu only";
        fields.wrong("monitoring", format!("{rule}, this app's template is {template}"));
        return false;
    }
    match exporter_is(manifest.node_exporter, wanted) {
        Ok(monitored) => monitored,
        Err(reason) => {
            fields.wrong("monitoring", reason);
            false
        }
    }
}

pub(super) fn default_gpu(manifest: &Manifest) -> &'static str {
    if manifest.gpu.as_ref().is_some_and(|need| need.required) { "best" } else { "none" }
}

/// What is wished of GPUs; whether a node can fulfil it is placement's to say.
pub(in crate::plan::guest) fn wish(fields: &mut Fields<'_>, manifest: &Manifest) -> Option<Wish> {
    let listed = fields.text("gpu_devices");
    let default = if listed.is_some() { "pick" } else { default_gpu(manifest) };
    wish_or(fields, default)
}

/// The same with another default.
pub(in crate::plan::guest) fn wish_or(fields: &mut Fields<'_>, default: &str) -> Option<Wish> {
    let words = [("none", Wanted::None), ("best", Wanted::Best), ("pick", Wanted::Pick)];
    let wanted = fields.word("gpu", &words, default)?;
    let listed = fields.text("gpu_devices");
    match (wanted, listed) {
        (Wanted::None, None) => Some(Wish::None),
        (Wanted::Best, None) => Some(Wish::Best),
        (Wanted::None | Wanted::Best, Some(_)) => {
            fields.wrong("gpu_devices", "devices are picked only with gpu = pick");
            None
        }
        (Wanted::Pick, None) => {
            fields.wrong("gpu_devices", "name at least one PCI address, as in 0000:01:00.0");
            None
        }
        (Wanted::Pick, Some(listed)) => {
            let mut picked: Vec<PciAddress> = Vec::new();
            for text in listed.split(',').map(str::trim).filter(|t| !t.is_empty()) {
                match text.parse::<PciAddress>() {
                    Ok(address) if picked.contains(&address) => {}
                    Ok(address) => picked.push(address),
                    Err(error) => {
                        let shown = show(text);
                        let rule = error.rule;
                        fields.wrong("gpu_devices", format!("'{shown}' is no PCI address: {rule}"));
                        return None;
                    }
                }
            }
            if picked.is_empty() {
                fields.wrong("gpu_devices", "name at least one PCI address, as in 0000:01:00.0");
                return None;
            }
            Some(Wish::Pick(picked))
        }
    }
}

#[derive(Clone, Copy)]
enum Wanted {
    None,
    Best,
    Pick,
}
