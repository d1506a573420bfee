//! What was seen of a boot as values, for decisions. The words for people stand beside them in the observation.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{BootProgram, OfferForm};

/// One thing that happened on the way to an installed system. Stored: names are never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum BootFact {
    /// Firmware was offered a boot program.
    Offered {
        /// Which.
        program: BootProgram,
        /// In which shape.
        way: OfferWay,
    },
    /// On port 4011 the boot program was named.
    Named {
        /// Which.
        program: BootProgram,
    },
    /// An iPXE was offered the boot script: whoever started it, it speaks.
    OfferedScript,
    /// The machine took an address of this DHCP server.
    TookAddress {
        /// The server; ourselves in full mode.
        server: Ipv4Addr,
    },
    /// The machine asked to boot and got nothing.
    Silent {
        /// Why.
        cause: Silence,
    },
    /// TFTP: the size was asked for, as most firmware does before the real request.
    Sized {
        /// The file.
        file: String,
    },
    /// TFTP: data flows.
    Sending {
        /// The file.
        file: String,
    },
    /// TFTP: the machine has the file.
    Sent {
        /// The file.
        file: String,
    },
    /// TFTP: the machine ended the transfer with an error.
    Aborted {
        /// The file.
        file: String,
    },
    /// TFTP: the machine fell silent.
    Stalled {
        /// The file.
        file: String,
        /// Whether it had confirmed anything.
        heard: bool,
    },
    /// TFTP: the machine asked for a file that we do not have.
    NoSuchFile {
        /// The name, cleaned.
        name: String,
    },
    /// TFTP: refused by a limit.
    Limited,
    /// HTTP boot: the firmware fetched a boot program.
    Fetched {
        /// Which.
        program: BootProgram,
    },
    /// iPXE fetched its script.
    Script {
        /// What the script does.
        given: ScriptGiven,
    },
    /// A download of the installer began.
    Loading {
        /// Of which part.
        file: InstallerFile,
    },
    /// A download of the installer ended.
    Loaded {
        /// Of which part.
        file: InstallerFile,
        /// Whether everything was sent.
        whole: bool,
    },
    /// The installer got its answer.
    Answered,
    /// The installer fetched the first-boot script.
    FirstBootScript,
    /// The installer reported its end.
    Reported,
    /// The installed system called back.
    CalledBack,
    /// Something that needs the install token was refused.
    Refused {
        /// What.
        what: Withheld,
    },
}

/// The shape of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferWay {
    /// As [`OfferForm::Discover`].
    Discover,
    /// As [`OfferForm::Direct`].
    Direct,
    /// The program's URL, to firmware that boots by HTTP.
    Http,
    /// To an iPXE without HTTP, which is to be replaced.
    Replacement,
}

impl OfferWay {
    /// The form, for offers that have two.
    #[must_use]
    pub fn form(self) -> Option<OfferForm> {
        match self {
            Self::Discover => Some(OfferForm::Discover),
            Self::Direct => Some(OfferForm::Direct),
            Self::Http | Self::Replacement => None,
        }
    }
}

impl From<OfferForm> for OfferWay {
    fn from(form: OfferForm) -> Self {
        match form {
            OfferForm::Discover => Self::Discover,
            OfferForm::Direct => Self::Direct,
        }
    }
}

/// Why a machine that asked to boot got nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Silence {
    /// Registered, and no rebuild waits.
    Idle,
    /// The operator dismissed it.
    Dismissed,
    /// Nobody registered it, and such machines are ignored.
    Ignored,
    /// No boot program for its architecture.
    Unserved,
    /// It wants boot files signed by the boot integrity services.
    SignedBoot,
    /// An iPXE without HTTP that came back too often.
    Loop,
    /// Full mode: no address is left for it.
    NoAddress,
}

/// What a boot script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScriptGiven {
    /// Starts the installer.
    Install,
    /// Boots the machine's own disk.
    OwnDisk,
    /// Shows the notice for an unregistered machine.
    Notice,
    /// Shows why the machine gets nothing.
    Refusal,
}

/// A part of the installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstallerFile {
    /// `linux26`.
    Kernel,
    /// `initrd.img`.
    Initrd,
    /// `proxmox.iso`.
    Iso,
}

impl InstallerFile {
    /// All of them in the order in which they are loaded.
    pub const ALL: [Self; 3] = [Self::Kernel, Self::Initrd, Self::Iso];

    /// Its name in URLs.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Kernel => "linux26",
            Self::Initrd => "initrd.img",
            Self::Iso => "proxmox.iso",
        }
    }

    /// The part with this file name.
    #[must_use]
    pub fn named(file_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.file_name() == file_name)
    }
}

/// What was refused to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// Kernel, initrd or ISO.
    Installer,
    /// The answer.
    Answer,
    /// The first-boot script.
    FirstBootScript,
    /// The installer's report was not taken.
    Report,
    /// The call of the installed system was not taken.
    CallBack,
}
