//! GPUs of the node as the kernel shows them. Devices are named by PCI address; the numbers in `/dev` are looked up anew
//! each time, because they change between boots.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::AgentConfig;
use super::run::run_short;
use crate::domain::gpu::{Gpu, GpuReport, GpuVendor, PciAddress};
use crate::plan::join::brief;

/// `nvidia-smi` waits for a driver that initialises its card; a card that fell off the bus makes it hang.
const SMI: Duration = Duration::from_secs(60);
/// Nodes that belong to no single GPU.
const SHARED: [&str; 5] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset", "kfd"];
/// Names of devices, from the package `pci.ids` that every node has.
const PCI_IDS: &str = "/usr/share/misc/pci.ids";

/// What there is, and whether NVIDIA's driver works.
pub(super) fn report(config: &AgentConfig) -> GpuReport {
    let gpus = gpus(config);
    let shared = SHARED.iter().filter(|name| config.dev_dir.join(name).exists());
    let shared_nodes = shared.map(|name| format!("/dev/{name}")).collect();
    let nvidia_problem = nvidia_problem(&gpus);
    GpuReport { gpus, shared_nodes, nvidia_problem }
}

/// Makes `/dev/nvidia-uvm` on a node where nothing opened the driver since the boot: without it a container that names it
/// does not start.
pub(super) fn load_uvm(config: &AgentConfig) {
    let in_use = gpus(config).iter().any(|gpu| gpu.driver.as_deref() == Some("nvidia"));
    if !in_use || config.dev_dir.join("nvidia-uvm").exists() {
        return;
    }
    // The vendor's helper loads the module and makes the nodes; without it the module alone is better than nothing. What
    // came of it is seen in the report.
    for argv in [["nvidia-modprobe", "-c", "0", "-u"].as_slice(), &["modprobe", "nvidia-uvm"]] {
        if run_short(argv, SMI).is_ok_and(|said| said.status == 0) {
            return;
        }
    }
}

fn nvidia_problem(gpus: &[Gpu]) -> String {
    let nvidia: Vec<&Gpu> = gpus.iter().filter(|gpu| gpu.vendor == GpuVendor::Nvidia).collect();
    if nvidia.is_empty() {
        return String::new();
    }
    if let Some(gpu) = nvidia.iter().find(|gpu| gpu.driver.as_deref() != Some("nvidia")) {
        let bound = gpu.driver.as_deref().map_or_else(
            || "has no kernel driver".to_owned(),
            |driver| format!("is bound to the driver {driver}"),
        );
        if nvidia.iter().all(|gpu| gpu.driver.as_deref() != Some("nvidia")) {
            return format!("the GPU {} {bound}", gpu.address);
        }
    }
    match run_short(&["nvidia-smi"], SMI) {
        Ok(said) if said.status == 0 => String::new(),
        Ok(said) => {
            let text = format!("{} {}", said.stdout.trim(), said.stderr.trim());
            format!("nvidia-smi ended with status {}: {}", said.status, brief(&text))
        }
        Err(_) => "nvidia-smi cannot be run to its end".to_owned(),
    }
}

fn gpus(config: &AgentConfig) -> Vec<Gpu> {
    let nodes = drm_nodes(config);
    let version = fs::read_to_string(config.proc_dir.join("driver/nvidia/version")).ok();
    let version = version.as_deref().and_then(driver_version);
    let Ok(entries) = fs::read_dir(config.sys_dir.join("bus/pci/devices")) else {
        return Vec::new();
    };
    let mut addresses: Vec<PciAddress> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    addresses.sort();
    let one = |address| gpu(config, address, &nodes, version.as_deref());
    addresses.into_iter().filter_map(one).collect()
}

fn gpu(
    config: &AgentConfig,
    address: PciAddress,
    nodes: &BTreeMap<String, PciAddress>,
    version: Option<&str>,
) -> Option<Gpu> {
    let device = config.sys_dir.join("bus/pci/devices").join(address.as_str());
    // Base class 3 is a display controller, whatever its subclass (VGA, 3D, other).
    let class = hex(&device.join("class"))?;
    let vendor = GpuVendor::from_pci_id(u16::try_from(hex(&device.join("vendor"))?).ok()?)?;
    let id = u16::try_from(hex(&device.join("device"))?).ok()?;
    if class >> 16 != 3 {
        return None;
    }
    let driver = fs::canonicalize(device.join("driver")).ok();
    let driver = driver.and_then(|d| Some(d.file_name()?.to_str()?.to_owned()));
    let node = |prefix: &str| {
        nodes
            .iter()
            .find(|(name, owner)| **owner == address && name.starts_with(prefix))
            .map(|(name, _)| format!("/dev/dri/{name}"))
    };
    let about = config.proc_dir.join("driver/nvidia/gpus").join(address.as_str());
    let about = fs::read_to_string(about.join("information")).unwrap_or_default();
    let is_nvidia = driver.as_deref() == Some("nvidia");
    Some(Gpu {
        name: field(&about, "Model").map_or_else(|| known_name(vendor, id), str::to_owned),
        nvidia_minor: field(&about, "Device Minor").and_then(|n| n.parse().ok()),
        driver_version: version.filter(|_| is_nvidia).map(str::to_owned),
        render_node: node("renderD"),
        card_node: node("card"),
        device: id,
        address,
        vendor,
        driver,
    })
}

/// Which GPU a node of `/dev/dri` belongs to.
fn drm_nodes(config: &AgentConfig) -> BTreeMap<String, PciAddress> {
    let drm = config.sys_dir.join("class/drm");
    let Ok(entries) = fs::read_dir(&drm) else { return BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().to_str()?.to_owned();
            // Not `card0-HDMI-A-1`: that is a connector.
            let number = name.strip_prefix("renderD").or_else(|| name.strip_prefix("card"))?;
            number.parse::<u16>().ok()?;
            let device = fs::canonicalize(drm.join(&name).join("device")).ok()?;
            let address = device.file_name()?.to_str()?.parse().ok()?;
            Some((name, address))
        })
        .collect()
}

fn hex(path: &Path) -> Option<u32> {
    let text = fs::read_to_string(path).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// A line `Key: value` of the driver's own file.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key && !value.trim().is_empty()).then(|| value.trim())
    })
}

/// The version in `/proc/driver/nvidia/version`: the first word of its first line that is only numbers and dots.
fn driver_version(text: &str) -> Option<String> {
    let first = text.lines().find(|line| line.contains("NVRM version"))?;
    let is_version = |word: &&str| {
        word.contains('.')
            && word.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    };
    first.split_whitespace().find(is_version).map(str::to_owned)
}

fn known_name(vendor: GpuVendor, device: u16) -> String {
    let ids = fs::read(PCI_IDS).unwrap_or_default();
    let name = pci_name(&String::from_utf8_lossy(&ids), vendor, device);
    name.unwrap_or_else(|| format!("{} GPU [{device:04x}]", vendor.label()))
}

/// Looks a device up in `pci.ids`: a vendor's line, then its devices, each behind one tab.
fn pci_name(ids: &str, vendor: GpuVendor, device: u16) -> Option<String> {
    let number = match vendor {
        GpuVendor::Intel => "8086",
        GpuVendor::Amd => "1002",
        GpuVendor::Nvidia => "10de",
    };
    let wanted = format!("{device:04x}");
    ids.lines()
        .skip_while(|line| !line.starts_with(number))
        .skip(1)
        .take_while(|line| line.starts_with(['\t', '#']) || line.is_empty())
        .find_map(|line| line.strip_prefix('\t')?.strip_prefix(wanted.as_str())?.strip_prefix("  "))
        .map(|name| format!("{} {}", vendor.label(), name.trim()))
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A node with Intel graphics, an NVIDIA card and a network card.
    fn tree(dir: &Path, nvidia_driver: &str) -> AgentConfig {
        let pci = dir.join("sys/bus/pci/devices");
        let device = |address: &str, class: &str, vendor: &str, id: &str, driver: &str| {
            let at = pci.join(address);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("class"), format!("{class}\n")).unwrap();
            fs::write(at.join("vendor"), format!("{vendor}\n")).unwrap();
            fs::write(at.join("device"), format!("{id}\n")).unwrap();
            if !driver.is_empty() {
                let drivers = dir.join("sys/bus/pci/drivers").join(driver);
                fs::create_dir_all(&drivers).unwrap();
                symlink(&drivers, at.join("driver")).unwrap();
            }
        };
        device("0000:00:02.0", "0x030000", "0x8086", "0x9bc5", "i915");
        device("0000:01:00.0", "0x030000", "0x10de", "0x1f08", nvidia_driver);
        device("0000:01:00.1", "0x040300", "0x10de", "0x10f9", "snd_hda_intel");
        device("0000:02:00.0", "0x020000", "0x8086", "0x15f3", "igc");
        for (name, address) in [
            ("card1", "0000:00:02.0"),
            ("renderD129", "0000:00:02.0"),
            ("card1-HDMI-A-1", "0000:00:02.0"),
            ("card0", "0000:01:00.0"),
            ("renderD128", "0000:01:00.0"),
        ] {
            let at = dir.join("sys/class/drm").join(name);
            fs::create_dir_all(&at).unwrap();
            symlink(pci.join(address), at.join("device")).unwrap();
        }
        let proc = dir.join("proc/driver/nvidia/gpus/0000:01:00.0");
        fs::create_dir_all(&proc).unwrap();
        fs::write(
            proc.join("information"),
            "Model: \t\t NVIDIA GeForce RTX 2070\nDevice Minor: \t 0\n",
        )
        .unwrap();
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 09:35:42 UTC 2024\n\
                       GCC version:  gcc version 12.2.0\n";
        fs::write(dir.join("proc/driver/nvidia/version"), version).unwrap();
        let dev = dir.join("dev");
        fs::create_dir_all(&dev).unwrap();
        fs::write(dev.join("nvidiactl"), "").unwrap();
        super::super::test::config(dir)
    }

    #[test]
    fn numbers_in_dev_are_found_by_pci_address() {
        let dir = tempfile::tempdir().unwrap();
        let report = report(&tree(dir.path(), "nvidia"));
        assert_eq!(report.shared_nodes, ["/dev/nvidiactl"]);
        let [intel, nvidia] = report.gpus.as_slice() else { panic!("{report:?}") };
        assert_eq!(intel.address.as_str(), "0000:00:02.0");
        assert_eq!(intel.driver.as_deref(), Some("i915"));
        assert_eq!(intel.render_node.as_deref(), Some("/dev/dri/renderD129"));
        assert_eq!(intel.card_node.as_deref(), Some("/dev/dri/card1"));
        assert_eq!(intel.driver_version, None);
        assert_eq!(nvidia.name, "NVIDIA GeForce RTX 2070");
        assert_eq!(nvidia.nvidia_minor, Some(0));
        assert_eq!(nvidia.driver_version.as_deref(), Some("550.90.07"));
        assert_eq!(nvidia.render_node.as_deref(), Some("/dev/dri/renderD128"));
        // No nvidia-smi here: that is a problem, and says so.
        assert!(report.nvidia_problem.contains("nvidia-smi"), "{}", report.nvidia_problem);
    }

    #[test]
    fn a_card_that_another_driver_holds_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let report = report(&tree(dir.path(), "vfio-pci"));
        assert_eq!(report.nvidia_problem, "the GPU 0000:01:00.0 is bound to the driver vfio-pci");
        assert_eq!(report.gpus.last().unwrap().driver_version, None);
    }

    #[test]
    fn versions_and_names_are_read_in_all_their_forms() {
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n";
        assert_eq!(driver_version(open).as_deref(), Some("570.86.15"));
        assert_eq!(driver_version("NVRM version: x86_64 ...\n"), None);
        let ids = "# list\n1002  AMD\n\t1f08  Other\n10de  NVIDIA Corporation\n\t1f07  TU106 [GeForce RTX 2070 Rev. A]\n\
                   \t\t1458 37ad  Gaming\n\t1f08  TU106 [GeForce RTX 2060 Rev. A]\n10df  Emulex\n\t1f09  Wrong\n";
        assert_eq!(
            pci_name(ids, GpuVendor::Nvidia, 0x1f08).as_deref(),
            Some("NVIDIA TU106 [GeForce RTX 2060 Rev. A]")
        );
        assert_eq!(pci_name(ids, GpuVendor::Nvidia, 0x1f09), None);
    }
}
