//! What a machine said about itself. All of it is a claim: untrusted text, cut and cleaned at the edge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity::DmiUuid;
use super::mac::Mac;

/// Hardware facts gathered from iPXE, the installer's request and the webhook; absent until somebody told us.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inventory {
    /// System manufacturer (SMBIOS type 1).
    pub vendor: Option<String>,
    /// Product name (SMBIOS type 1).
    pub product: Option<String>,
    /// System serial number (SMBIOS type 1).
    pub serial: Option<String>,
    /// Asset tag.
    pub asset: Option<String>,
    /// System UUID when it is usable.
    pub uuid: Option<DmiUuid>,
    /// Memory that iPXE saw, in MiB.
    pub memory_mib: Option<u64>,
    /// How the firmware booted us.
    pub firmware: Option<Firmware>,
    /// Processor model.
    pub cpu: Option<String>,
    /// NIC chip as iPXE names it.
    pub nic_chip: Option<String>,
    /// Disks that the installer reported after an installation.
    pub disks: Vec<Disk>,
    /// Network interfaces that the installer reported.
    pub nics: Vec<Nic>,
}

/// The machine's firmware interface, as seen while it booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// Legacy BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// One disk of the installer's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Kernel name at installation (`/dev/sda`); not stable across boots.
    pub device: String,
    /// udev `ID_SERIAL_SHORT`, the property that server types should name.
    pub serial: Option<String>,
    /// udev `ID_MODEL`.
    pub model: Option<String>,
    /// udev `ID_WWN`.
    pub wwn: Option<String>,
    /// Whether the system was installed on it.
    pub is_boot_disk: bool,
}

/// One network interface of the installer's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nic {
    /// Interface name on the installed system, when it was told.
    pub name: Option<String>,
    /// Hardware address.
    pub mac: Mac,
    /// Address with prefix when it is the management interface.
    pub address: Option<String>,
}

impl Inventory {
    /// Takes over what `newer` knows and keeps the rest.
    pub fn absorb(&mut self, newer: Self) {
        fn take<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        take(&mut self.vendor, newer.vendor);
        take(&mut self.product, newer.product);
        take(&mut self.serial, newer.serial);
        take(&mut self.asset, newer.asset);
        take(&mut self.uuid, newer.uuid);
        take(&mut self.memory_mib, newer.memory_mib);
        take(&mut self.firmware, newer.firmware);
        take(&mut self.cpu, newer.cpu);
        take(&mut self.nic_chip, newer.nic_chip);
        if !newer.disks.is_empty() {
            self.disks = newer.disks;
        }
        if !newer.nics.is_empty() {
            self.nics = newer.nics;
        }
    }
}
