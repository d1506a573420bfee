//! Which GPUs a container gets, and the device entries that this means at this moment.
//!
//! A GPU is recorded by its PCI address. Its device nodes are looked up again before each start ([`devices`]), because
//! `renderD128` and `nvidia0` may be another card after the next boot. Device entries carry the *guest's* group number:
//! the host's own is irrelevant.

pub mod inside;

use crate::domain::app::{AppId, GpuNeed};
use crate::domain::boundary::GpuPolicy;
use crate::domain::gpu::{Gpu, GpuProfile, GpuReport, GpuVendor, PciAddress};
use crate::domain::guest::GpuAttachment;
use crate::domain::id::NodeName;
use crate::proto::verb::{DeviceEntry, FileMode};

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// No GPU.
    None,
    /// The best one that the app can use.
    Best,
    /// Exactly these.
    Pick(Vec<PciAddress>),
}

/// Why a container cannot have a GPU. The text is for forms, logs and jobs alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuRefusal {
    /// The manifest does not mention GPUs.
    #[error("this app makes no use of a GPU; choose none")]
    NotSupported,
    /// The manifest requires one.
    #[error("this app cannot run without a GPU; choose the best one or pick one")]
    Required,
    /// There is no such device.
    #[error("{node} has no GPU at {address}; {known}")]
    Unknown {
        /// The node.
        node: NodeName,
        /// What was picked.
        address: PciAddress,
        /// What there is.
        known: String,
    },
    /// There is nothing to choose from.
    #[error("{node} has no GPU that this app can use: {reasons}")]
    Nothing {
        /// The node.
        node: NodeName,
        /// Each GPU with its reason.
        reasons: String,
    },
    /// One GPU cannot be used.
    #[error("the {} at {address} of {node} cannot be used: {reason}", vendor.label())]
    Unusable {
        /// The node.
        node: NodeName,
        /// Which.
        address: PciAddress,
        /// Who made it.
        vendor: GpuVendor,
        /// Why, and what to do.
        reason: String,
    },
    /// It was there when the guest was made.
    #[error(
        "the GPU at {address} is not in the node any more; reconfigure the guest with another GPU or none"
    )]
    Gone {
        /// Which.
        address: PciAddress,
    },
    /// The guest's user land is for another driver.
    #[error(
        "the node's NVIDIA driver is {now}, the software in the guest is for {then}; upgrade or reconfigure the guest \
         so that it gets the libraries of {now}"
    )]
    DriverChanged {
        /// The version that the guest was provisioned for.
        then: String,
        /// The node's version.
        now: String,
    },
    /// The guest lacks the group that may open render nodes.
    #[error(
        "the guest has no group 'render', so nothing in it could open the GPU; its OS template must bring that group"
    )]
    NoRenderGroup,
}

/// Chooses GPUs of one node, within the manifest and the boundary.
///
/// # Errors
/// Why the wish cannot be fulfilled on this node.
pub fn choose(
    need: Option<&GpuNeed>,
    policy: &GpuPolicy,
    app: &AppId,
    node: &NodeName,
    report: &GpuReport,
    wish: &Wish,
) -> Result<Vec<GpuAttachment>, GpuRefusal> {
    let Some(need) = need else {
        return match wish {
            Wish::None => Ok(Vec::new()),
            Wish::Best | Wish::Pick(_) => Err(GpuRefusal::NotSupported),
        };
    };
    let usable = |gpu: &Gpu| {
        let profile = profile(need, gpu)?;
        if !policy.permits(app, node, gpu) {
            return Err(format!("the boundary ([apps.gpu]) does not let {app} have it"));
        }
        preflight(report, gpu, profile)?;
        Ok(profile)
    };
    match wish {
        Wish::None if need.required => Err(GpuRefusal::Required),
        Wish::None => Ok(Vec::new()),
        Wish::Pick(picked) => picked
            .iter()
            .map(|address| {
                let gpu = find(report, address).ok_or_else(|| GpuRefusal::Unknown {
                    node: node.clone(),
                    address: address.clone(),
                    known: known(report),
                })?;
                let profile = usable(gpu).map_err(|reason| unusable(node, gpu, reason))?;
                Ok(attachment(gpu, profile))
            })
            .collect(),
        Wish::Best => {
            let mut good: Vec<(usize, usize, &Gpu, GpuProfile)> = Vec::new();
            let mut reasons = Vec::new();
            for gpu in &report.gpus {
                match usable(gpu) {
                    Ok(profile) => {
                        let rank = need.profiles.iter().position(|p| *p == profile);
                        let vendor = need.supported.iter().position(|v| *v == gpu.vendor);
                        let last = usize::MAX;
                        good.push((rank.unwrap_or(last), vendor.unwrap_or(last), gpu, profile));
                    }
                    Err(reason) => {
                        reasons.push(format!(
                            "{} at {}: {reason}",
                            gpu.vendor.label(),
                            gpu.address
                        ));
                    }
                }
            }
            good.sort_by(|a, b| (a.0, a.1, &a.2.address).cmp(&(b.0, b.1, &b.2.address)));
            match good.first() {
                Some((_, _, gpu, profile)) => Ok(vec![attachment(gpu, *profile)]),
                None if reasons.is_empty() => Err(GpuRefusal::Nothing {
                    node: node.clone(),
                    reasons: "there is none in it".to_owned(),
                }),
                None => {
                    Err(GpuRefusal::Nothing { node: node.clone(), reasons: reasons.join("; ") })
                }
            }
        }
    }
}

/// The profile by which an app can use a device.
fn profile(need: &GpuNeed, gpu: &Gpu) -> Result<GpuProfile, String> {
    if !need.supported.contains(&gpu.vendor) {
        let works: Vec<&str> = need.supported.iter().map(|v| v.label()).collect();
        return Err(format!("the app works with {} only", works.join(", ")));
    }
    let fits = match gpu.vendor {
        GpuVendor::Nvidia => GpuProfile::NvidiaBasic,
        GpuVendor::Intel | GpuVendor::Amd => GpuProfile::DriRender,
    };
    if need.profiles.contains(&fits) {
        Ok(fits)
    } else {
        Err(format!("the app does not use the device profile '{}'", name(fits)))
    }
}

/// Whether a device's driver and nodes are what a profile needs.
fn preflight(report: &GpuReport, gpu: &Gpu, profile: GpuProfile) -> Result<(), String> {
    match gpu.driver.as_deref() {
        None => {
            return Err(
                "no driver is bound to it on the node; install or load its driver".to_owned()
            );
        }
        Some("vfio-pci") => {
            return Err("it is set aside for virtual machines (driver vfio-pci)".to_owned());
        }
        Some(driver) => {
            let wanted = match profile {
                GpuProfile::DriRender => gpu.vendor != GpuVendor::Nvidia,
                GpuProfile::NvidiaBasic => driver == "nvidia",
            };
            if !wanted {
                return Err(format!(
                    "the driver '{driver}' is bound to it; containers need NVIDIA's own driver on the node"
                ));
            }
        }
    }
    match profile {
        GpuProfile::DriRender if gpu.render_node.is_none() => {
            Err("its driver made no render node below /dev/dri".to_owned())
        }
        GpuProfile::DriRender => Ok(()),
        GpuProfile::NvidiaBasic => {
            if !report.nvidia_problem.is_empty() {
                return Err(format!("nvidia-smi failed on the node: {}", report.nvidia_problem));
            }
            if gpu.driver_version.is_none() {
                return Err("the version of the node's NVIDIA driver is not known".to_owned());
            }
            let missing = NVIDIA_NEEDED.iter().find(|n| !has(report, n));
            match (gpu.nvidia_minor, missing) {
                (None, _) => Err("its device node /dev/nvidiaN is not known".to_owned()),
                (_, Some(node)) => Err(format!(
                    "{node} does not exist on the node; load nvidia_uvm and run nvidia-modprobe -u -c=0 at boot"
                )),
                _ => Ok(()),
            }
        }
    }
}

/// Without these CUDA and NVENC do not work.
const NVIDIA_NEEDED: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia-uvm"];
/// Given when it exists.
const NVIDIA_OPTIONAL: &str = "/dev/nvidia-uvm-tools";
/// AMD's compute node.
const KFD: &str = "/dev/kfd";

fn has(report: &GpuReport, node: &str) -> bool {
    report.shared_nodes.iter().any(|n| n == node)
}

fn find<'a>(report: &'a GpuReport, address: &PciAddress) -> Option<&'a Gpu> {
    report.gpus.iter().find(|gpu| gpu.address == *address)
}

fn attachment(gpu: &Gpu, profile: GpuProfile) -> GpuAttachment {
    let driver_version = match profile {
        GpuProfile::NvidiaBasic => gpu.driver_version.clone(),
        GpuProfile::DriRender => None,
    };
    GpuAttachment { address: gpu.address.clone(), profile, driver_version }
}

fn unusable(node: &NodeName, gpu: &Gpu, reason: String) -> GpuRefusal {
    GpuRefusal::Unusable {
        node: node.clone(),
        address: gpu.address.clone(),
        vendor: gpu.vendor,
        reason,
    }
}

fn known(report: &GpuReport) -> String {
    if report.gpus.is_empty() {
        return "it has none".to_owned();
    }
    let all: Vec<String> =
        report.gpus.iter().map(|g| format!("{} ({})", g.address, g.vendor.label())).collect();
    format!("it has {}", all.join(", "))
}

/// A profile's name in manifests.
#[must_use]
pub fn name(profile: GpuProfile) -> &'static str {
    match profile {
        GpuProfile::DriRender => "dri-render",
        GpuProfile::NvidiaBasic => "nvidia-basic",
    }
}

/// Group numbers inside a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gids {
    /// Of group `render`.
    pub render: Option<u32>,
}

impl Gids {
    /// From the guest's `/etc/group`. The number differs between distributions and releases, and is never guessed.
    #[must_use]
    pub fn from_group_file(text: &str) -> Self {
        let render = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some("render")).then(|| fields.nth(1)?.trim().parse().ok()).flatten()
        });
        Self { render }
    }

    /// From the entries that a guest has already: what was found out when they were made.
    #[must_use]
    pub fn from_entries(entries: &[DeviceEntry]) -> Self {
        let render = entries.iter().find(|e| e.path.starts_with("/dev/dri/renderD"));
        Self { render: render.map(|e| e.gid) }
    }
}

/// Whether the guest's group numbers are needed to write its entries; when they are, and it was never started, it is
/// started once to read its `/etc/group`.
#[must_use]
pub fn needs_gids(attachments: &[GpuAttachment]) -> bool {
    attachments.iter().any(|a| a.profile == GpuProfile::DriRender)
}

/// The device entries that attachments mean on a node now. Call it before each start.
///
/// # Errors
/// A GPU is gone, its driver is not usable, or it changed its version.
pub fn devices(
    node: &NodeName,
    report: &GpuReport,
    attachments: &[GpuAttachment],
    gids: Gids,
) -> Result<Vec<DeviceEntry>, GpuRefusal> {
    let mut entries: Vec<DeviceEntry> = Vec::new();
    let mut add = |path: &str, gid: u32, mode: FileMode| {
        if !entries.iter().any(|e| e.path == path) {
            entries.push(DeviceEntry { path: path.to_owned(), uid: 0, gid, mode });
        }
    };
    for attachment in attachments {
        let address = &attachment.address;
        let gpu =
            find(report, address).ok_or_else(|| GpuRefusal::Gone { address: address.clone() })?;
        preflight(report, gpu, attachment.profile).map_err(|reason| unusable(node, gpu, reason))?;
        match attachment.profile {
            GpuProfile::DriRender => {
                let gid = gids.render.ok_or(GpuRefusal::NoRenderGroup)?;
                if let Some(node) = &gpu.render_node {
                    add(node, gid, FileMode::GROUP);
                }
                if gpu.vendor == GpuVendor::Amd && has(report, KFD) {
                    add(KFD, gid, FileMode::GROUP);
                }
            }
            GpuProfile::NvidiaBasic => {
                if let (Some(then), Some(now)) = (&attachment.driver_version, &gpu.driver_version)
                    && then != now
                {
                    return Err(GpuRefusal::DriverChanged { then: then.clone(), now: now.clone() });
                }
                // NVIDIA's nodes are 0666 on a host; `dev[n]` would make them 0660 and shut out services.
                if let Some(minor) = gpu.nvidia_minor {
                    add(&format!("/dev/nvidia{minor}"), 0, FileMode::EVERYBODY);
                }
                for node in NVIDIA_NEEDED {
                    add(node, 0, FileMode::EVERYBODY);
                }
                if has(report, NVIDIA_OPTIONAL) {
                    add(NVIDIA_OPTIONAL, 0, FileMode::EVERYBODY);
                }
            }
        }
    }
    Ok(entries)
}

/// The same attachments for the driver that the node has now: what a provisioning that just ran was for.
#[must_use]
pub fn renewed(report: &GpuReport, attachments: &[GpuAttachment]) -> Vec<GpuAttachment> {
    let renew = |old: &GpuAttachment| match find(report, &old.address) {
        Some(gpu) => attachment(gpu, old.profile),
        None => old.clone(),
    };
    attachments.iter().map(renew).collect()
}

/// What differs between the entries that a guest has and those that it should have, one sentence each; empty: nothing.
#[must_use]
pub fn changes(current: &[DeviceEntry], wanted: &[DeviceEntry]) -> Vec<String> {
    let gone = current.iter().filter(|old| !wanted.contains(old));
    let new = wanted.iter().filter(|new| !current.contains(new));
    gone.map(|old| format!("{} is taken away", old.path))
        .chain(new.map(|new| format!("{} is added (group {})", new.path, new.gid)))
        .collect()
}

#[cfg(test)]
mod test;
