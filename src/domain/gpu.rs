//! GPUs of a node and what a container gets of them. A device is named by its PCI address: the numbers in `/dev` change
//! between boots.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;

/// A PCI address `0000:01:00.0` (domain, bus, device, function), lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline)]
pub struct PciAddress(String);

impl PciAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for PciAddress {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = |t: &str, n: usize| {
            t.len() == n && t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts = || {
            let (domain, rest) = text.split_once(':')?;
            let (bus, rest) = rest.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            Some(hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1))
        };
        if parts() == Some(true) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                kind: "PCI address",
                text: text.chars().take(60).collect(),
                rule: "as in 0000:01:00.0, lower-case hex",
            })
        }
    }
}
impl TryFrom<String> for PciAddress {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}
impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.0
    }
}

/// Who made a GPU, by PCI vendor id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum GpuVendor {
    /// 0x8086.
    Intel,
    /// 0x1002.
    Amd,
    /// 0x10de.
    Nvidia,
}

impl GpuVendor {
    /// From the PCI vendor id.
    #[must_use]
    pub fn from_pci_id(id: u16) -> Option<Self> {
        match id {
            0x8086 => Some(Self::Intel),
            0x1002 => Some(Self::Amd),
            0x10de => Some(Self::Nvidia),
            _ => None,
        }
    }
    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
            Self::Nvidia => "NVIDIA",
        }
    }
}

/// Which device nodes a container gets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum GpuProfile {
    /// The render node (and `/dev/kfd` on AMD), with the guest's own group `render`.
    DriRender,
    /// `nvidiaN`, `nvidiactl`, `nvidia-uvm` and `nvidia-uvm-tools` as present.
    NvidiaBasic,
}

/// One GPU as a node reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    /// Where it is plugged in.
    pub address: PciAddress,
    /// Who made it.
    pub vendor: GpuVendor,
    /// PCI device id.
    pub device: u16,
    /// For people, as far as it is known.
    pub name: String,
    /// Kernel driver that is bound to it: `i915`, `xe`, `amdgpu`, `nvidia`, `nouveau`, `vfio-pci`.
    pub driver: Option<String>,
    /// Its current render node, `/dev/dri/renderD128`.
    pub render_node: Option<String>,
    /// Its current card node.
    pub card_node: Option<String>,
    /// NVIDIA's minor number (`/dev/nvidiaN`).
    pub nvidia_minor: Option<u32>,
    /// Version of the NVIDIA kernel module.
    pub driver_version: Option<String>,
}

/// Device nodes that exist on a node besides those of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuReport {
    /// All GPUs.
    pub gpus: Vec<Gpu>,
    /// Which of the shared nodes (`/dev/nvidiactl`, `/dev/nvidia-uvm`, `/dev/nvidia-uvm-tools`, `/dev/kfd`) exist.
    pub shared_nodes: Vec<String>,
    /// What `nvidia-smi` said when it failed; empty when it worked or there is no NVIDIA GPU.
    pub nvidia_problem: String,
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn pci_addresses_are_canonical() {
        assert!("0000:01:00.0".parse::<PciAddress>().is_ok());
        for bad in [
            "01:00.0",
            "0000:01:00",
            "0000:01:00.0 ",
            "0000:0G:00.0",
            "0000:01:00.00",
            "0000:AB:00.0",
        ] {
            assert!(bad.parse::<PciAddress>().is_err(), "{bad}");
        }
    }
}
