//! What a machine on the wire may have from us, and what was seen of it there.
//!
//! The store keeps a [`Standing`] per MAC ready in memory, so that the DHCP path decides without touching a disk.

mod fact;
mod lesson;

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{HostId, Hostname};
use super::identity::DmiUuid;
use super::mac::Mac;
use super::time::Timestamp;
pub use fact::{BootFact, InstallerFile, OfferWay, ScriptGiven, Silence, Withheld};
pub use lesson::{BootLesson, Finding};

/// What one MAC address may have from us right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody registered it. Offered the enrolment notice when `pxe.unknown = "enroll"`, silence otherwise.
    Unknown,
    /// Nobody registered it either, but its failed boots taught how its firmware wants to be spoken to.
    Sighted {
        /// What was learned.
        profile: BootProfile,
    },
    /// The operator dismissed this sighting: silence.
    Ignored,
    /// Registered, but no rebuild is waiting for it: silence, so that it boots from its disk.
    Idle {
        /// The host's name, for the log.
        host: Hostname,
    },
    /// Armed for exactly one installation.
    Armed {
        /// Whose rebuild it is.
        id: HostId,
        /// The host's name, for the log.
        host: Hostname,
        /// How this machine's firmware wants to be spoken to: the host's own settings, then what was learned.
        profile: BootProfile,
    },
}

/// How a machine's firmware wants to be spoken to; `None` means "choose by architecture".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BootProfile {
    /// Shape of the DHCP offer.
    pub form: Option<OfferForm>,
    /// Which iPXE binary is handed out.
    pub program: Option<BootProgram>,
}

impl BootProfile {
    /// This profile with what it leaves open taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { form: self.form.or(other.form), program: self.program.or(other.program) }
    }
}

/// The two shapes of a proxy offer; no single one boots every machine (`pxe-netboot` 4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OfferForm {
    /// No option 43; the client asks UDP 4011 for the file (UEFI's default).
    Discover,
    /// Option 43 sub-option 6 bit 3: boot the file named in the offer, no 4011 round (BIOS' default).
    Direct,
}

/// The network boot programs that we hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootProgram {
    /// `undionly.kpxe`: BIOS, keeps the ROM's UNDI driver.
    UndionlyKpxe,
    /// `snponly.efi`: UEFI, drives only the NIC it was loaded from, through the firmware.
    SnponlyEfi,
    /// `ipxe.efi`: UEFI, native drivers.
    IpxeEfi,
}

impl OfferForm {
    /// The other one, which is tried when this one fails.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Discover => Self::Direct,
            Self::Direct => Self::Discover,
        }
    }
}

impl BootProgram {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::UndionlyKpxe, Self::SnponlyEfi, Self::IpxeEfi];

    /// The program with this file name.
    #[must_use]
    pub fn named(file_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.file_name() == file_name)
    }

    /// The other program that the same firmware can run, which is tried when this one fails; BIOS has no other.
    #[must_use]
    pub fn other(self) -> Option<Self> {
        match self {
            Self::UndionlyKpxe => None,
            Self::SnponlyEfi => Some(Self::IpxeEfi),
            Self::IpxeEfi => Some(Self::SnponlyEfi),
        }
    }

    /// File name on TFTP and HTTP.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::UndionlyKpxe => "undionly.kpxe",
            Self::SnponlyEfi => "snponly.efi",
            Self::IpxeEfi => "ipxe.efi",
        }
    }
}

/// Where on the way to the installer something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootStage {
    /// DHCP on UDP 67.
    Dhcp,
    /// Boot server question on UDP 4011.
    Pxe,
    /// TFTP transfer.
    Tftp,
    /// Boot script, kernel, initrd or ISO over HTTP.
    Http,
    /// Answer, webhook, first-boot script, phone-home.
    Callback,
}

/// One packet or request that mattered, with our decision in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootObservation {
    /// When it was seen.
    pub at: Timestamp,
    /// The machine, when its MAC is known; TFTP and HTTP know an address first.
    pub mac: Option<Mac>,
    /// The machine's address, when it has one.
    pub address: Option<Ipv4Addr>,
    /// Which protocol.
    pub stage: BootStage,
    /// Whether we gave the machine what it asked for.
    pub answered: bool,
    /// What happened and why, for the operator: "offered snponly.efi (UEFI x64)", "silent: not a network boot request".
    pub message: String,
    /// The same as a value, where a diagnosis needs it. Records of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<BootFact>,
    /// What a DHCP packet told about an unknown machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientFacts>,
}

impl BootObservation {
    /// Whether it tells nothing that `other` does not tell.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        self.stage == other.stage && self.message == other.message && self.fact == other.fact
    }
}

/// One entry of a machine's boot log; repeats of the same thing in a row are counted, not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootLogEntry {
    /// What was seen, the first time.
    pub observation: BootObservation,
    /// How often in a row.
    pub count: u64,
    /// When it was seen the last time.
    pub last: Timestamp,
}

/// Facts of a DHCP request that are worth keeping for a sighting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClientFacts {
    /// System UUID of option 97 when usable.
    pub uuid: Option<DmiUuid>,
    /// Firmware interface by option 93.
    pub firmware: Option<super::inventory::Firmware>,
    /// The architecture in words: "UEFI x64", "BIOS".
    pub architecture: Option<String>,
}

/// Tells the boot services what a machine may have. Must answer from memory: DHCP clients wait 100 ms.
pub trait BootDirectory: Send + Sync + 'static {
    /// The standing of one MAC address.
    fn standing(&self, mac: Mac) -> Standing;
}

/// Receives what the boot services saw. Must not block: a flood of packets may call it 50,000 times per second.
pub trait BootSink: Send + Sync + 'static {
    /// Notes one observation; implementations drop and count when they cannot keep up.
    fn observe(&self, observation: BootObservation);
}
