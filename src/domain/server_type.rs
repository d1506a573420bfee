//! What hosts of one kind have in common. The file format is `config::server_type`; this is the validated value.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::{HIDDEN, each_secret_of};
use super::id::ServerTypeName;

/// A validated server type (`server-types/*.toml`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerType {
    /// File stem; the name hosts refer to.
    pub name: ServerTypeName,
    /// For people.
    pub display_name: String,
    /// Which disk or disks the installer may wipe, and only those.
    pub boot_disk: DiskSelection,
    /// How the management NIC is found on the machine; `None`: the one that booted.
    pub management_nic: Option<String>,
    /// Whether hosts of this type carry a GPU for guests.
    pub gpu: bool,
    /// ZFS pools to import by name after an installation.
    pub pools: Vec<String>,
    /// Proposed host names begin with this.
    pub hostname_prefix: String,
    /// DNS domain of the hosts' FQDN.
    pub domain: String,
    /// Stem of the answer template (`answer-templates/*.toml`).
    pub answer_template: String,
    /// Answer keys that this type sets over the template, as `section.key` paths with TOML values in JSON form.
    pub answer: serde_json::Map<String, serde_json::Value>,
    /// Least memory of hosts of this type in MiB, when it was said.
    pub min_memory_mib: Option<u64>,
    /// Which machines are of this type, and whether they are registered by themselves.
    #[serde(default)]
    pub matching: Option<Matching>,
    /// A rebuild boots the machine by itself, where it has a power method.
    #[serde(default)]
    pub boot_on_rebuild: bool,
    /// Free labels, handed to reporters.
    pub labels: BTreeMap<String, String>,
}

impl ServerType {
    /// As it is shown: answer keys that name a secret without their values.
    #[must_use]
    pub fn shown(mut self) -> Self {
        each_secret_of(&mut self.answer, &|value| *value = HIDDEN.into());
        self
    }
}

/// `[match]`: what a machine says of itself when it is of this type. All that is named must fit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Matching {
    /// Manufacturer; `*` stands for any text, capitals do not matter.
    pub vendor: Option<String>,
    /// Product name, in the same way.
    pub product: Option<String>,
    /// First three bytes of the address that it boots from; one of them.
    pub ouis: Vec<[u8; 3]>,
    /// Least memory in MiB.
    pub min_memory_mib: Option<u64>,
    /// Most memory in MiB.
    pub max_memory_mib: Option<u64>,
    /// Machines that fit are registered by themselves. They are never armed by it.
    pub register: bool,
}

/// Exactly one property with exact values: what `plan::answer` turns into `disk-list` or `filter`.
///
/// Rule 2 of the design: a selection that could match more than the named disks is refused, so there is no form for
/// several properties or for globs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum DiskSelection {
    /// One disk by an exact udev property, normally `ID_SERIAL_SHORT` or `ID_WWN`.
    Property {
        /// udev property name.
        property: String,
        /// Its exact value, without glob characters.
        value: String,
    },
    /// Kernel names (`sda`, `nvme0n1`): only for machines whose topology is known to be stable.
    Devices {
        /// Names without `/dev/`.
        names: Vec<String>,
    },
    /// The disk differs per host: each host must name its own (host override), otherwise it cannot be rebuilt.
    PerHost,
}
