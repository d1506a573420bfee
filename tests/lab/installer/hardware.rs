//! What the machine is made of, read from sysfs, with the udev properties that answers filter by.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::Failure;

pub(crate) type Properties = BTreeMap<String, String>;

pub(crate) struct Machine {
    /// Groups `system`, `baseboard`, `chassis`; keys are the sysfs names after the first underscore.
    pub dmi: Value,
    pub nics: Vec<Nic>,
    pub disks: Vec<Disk>,
    pub lease: Option<Lease>,
}

pub(crate) struct Nic {
    pub name: String,
    /// Lower case, as the kernel writes it.
    pub mac: String,
    pub properties: Properties,
}

#[derive(Clone)]
pub(crate) struct Disk {
    pub path: PathBuf,
    pub bytes: u64,
    pub properties: Properties,
}

impl Disk {
    pub(crate) fn serial(&self) -> String {
        self.properties
            .get("ID_SERIAL")
            .map_or_else(|| "no serial".to_owned(), |serial| format!("serial {serial}"))
    }
}

/// What the one DHCP round of the live system got.
pub(crate) struct Lease {
    pub nic: String,
    pub cidr: String,
    pub gateway: Option<String>,
    pub dns: Option<String>,
    pub hostname: Option<String>,
    pub domain: Option<String>,
}

impl Machine {
    pub(crate) fn probe() -> Result<Self, Failure> {
        Ok(Self { dmi: dmi(), nics: nics()?, disks: disks()?, lease: lease() })
    }
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn dmi() -> Value {
    let group = |names: &[&str]| {
        let mut group = Map::new();
        for name in names {
            if let (Some(value), Some((_, key))) =
                (text(format!("/sys/devices/virtual/dmi/id/{name}")), name.split_once('_'))
            {
                group.insert(key.to_owned(), value.into());
            }
        }
        group
    };
    json!({
        "system": group(&["product_name", "product_serial", "product_sku", "product_uuid"]),
        "baseboard": group(&["board_name", "board_serial", "board_asset_tag"]),
        "chassis": group(&["chassis_serial", "chassis_sku", "chassis_asset_tag"]),
    })
}

fn names_in(directory: &str) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .map_err(|error| format!("{directory}: {error}"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn nics() -> Result<Vec<Nic>, Failure> {
    let mut nics = Vec::new();
    for name in names_in("/sys/class/net")?.into_iter().filter(|name| name != "lo") {
        let mac = text(format!("/sys/class/net/{name}/address")).unwrap_or_default();
        let mut properties = padding();
        properties.insert("INTERFACE".to_owned(), name.clone());
        properties.insert("ID_NET_NAME_MAC".to_owned(), format!("enx{}", mac.replace(':', "")));
        properties
            .insert("ID_NET_DRIVER".to_owned(), driver(&format!("/sys/class/net/{name}/device")));
        if let Some(path) = pci_path(&format!("/sys/class/net/{name}/device")) {
            properties.insert("ID_PATH".to_owned(), path);
        }
        nics.push(Nic { name, mac, properties });
    }
    if nics.is_empty() {
        return Err("could not find any supported network interface".to_owned());
    }
    Ok(nics)
}

/// Whole disks that the vendor's partitioner knows; virtual ones and CD-ROMs are left out.
fn disks() -> Result<Vec<Disk>, Failure> {
    let mut disks = Vec::new();
    for name in names_in("/sys/block")? {
        if !["sd", "hd", "vd", "xvd", "nvme"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let sectors: u64 =
            text(format!("/sys/block/{name}/size")).and_then(|size| size.parse().ok()).unwrap_or(0);
        let mut properties = padding();
        properties.insert("DEVNAME".to_owned(), format!("/dev/{name}"));
        properties.insert("DEVTYPE".to_owned(), "disk".to_owned());
        // A virtio disk has its serial here, other kinds below their device.
        let serial = text(format!("/sys/block/{name}/serial"))
            .or_else(|| text(format!("/sys/block/{name}/device/serial")));
        if let Some(serial) = serial.filter(|serial| !serial.is_empty()) {
            properties.insert("ID_SERIAL".to_owned(), serial.clone());
            properties.insert("ID_SERIAL_SHORT".to_owned(), serial);
        }
        if let Some(path) = pci_path(&format!("/sys/block/{name}/device")) {
            properties.insert("ID_PATH".to_owned(), path);
        }
        disks.push(Disk {
            path: PathBuf::from(format!("/dev/{name}")),
            bytes: sectors * 512,
            properties,
        });
    }
    Ok(disks)
}

fn driver(device: &str) -> String {
    fs::canonicalize(format!("{device}/driver"))
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_default()
}

/// `pci-0000:00:02.0`: the nearest PCI function above a device.
fn pci_path(device: &str) -> Option<String> {
    let path = fs::canonicalize(device).ok()?;
    let is_function = |name: &str| name.len() == 12 && name.as_bytes().get(4) == Some(&b':');
    let function = path.components().rev().find_map(|part| {
        let name = part.as_os_str().to_string_lossy().into_owned();
        is_function(&name).then_some(name)
    })?;
    Some(format!("pci-{function}"))
}

/// Real reports carry all udev properties of all devices; these stand for the many that nobody looks at.
fn padding() -> Properties {
    (0..400).map(|number| (format!("LAB_PROPERTY_{number:03}"), "x".repeat(500))).collect()
}

/// `KEY=value` lines that the DHCP client's hook left; none when there was no lease.
fn lease() -> Option<Lease> {
    let text = fs::read_to_string("/run/lease").ok()?;
    let values: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let owned = |key: &str| values.get(key).map(|value| (*value).to_owned());
    Some(Lease {
        nic: owned("interface")?,
        cidr: format!("{}/{}", owned("ip")?, owned("mask")?),
        gateway: owned("router").and_then(|routers| routers.split(' ').next().map(str::to_owned)),
        dns: owned("dns").and_then(|servers| servers.split(' ').next().map(str::to_owned)),
        hostname: owned("hostname"),
        domain: owned("domain"),
    })
}
