//! The root channel's wire form: one request line in JSON, then the payload's bytes; answers are JSON lines.
//!
//! ```text
//!  stdin   {"version":1,"verb":"push","vmid":101,"path":"/opt/x","mode":"0600","uid":0,"gid":0,"size":12}\n + 12 bytes
//!  stdout  {"frame":"output","stream":"stdout","text":"…"}\n …  {"frame":"done","status":0}\n
//! ```
//!
//! The set of verbs is closed, every argument is a typed value, nothing is text that becomes a command. Both ends use
//! these types; the node checks everything again and refuses with one `refused` frame.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::app::Feature;
use crate::domain::gpu::GpuReport;
use crate::domain::id::InvalidId;
use crate::domain::vmid::Vmid;
pub use crate::limits::channel::MOST_DATA;
pub use crate::limits::channel::MOST_FRAME;
pub use crate::limits::channel::MOST_OUTPUT;
pub use crate::limits::channel::MOST_PAYLOAD;
pub use crate::limits::channel::MOST_REQUEST;
pub use crate::limits::channel::MOST_TEXT;
pub use crate::limits::channel::MOST_TIMEOUT_SEC;

mod check;
mod codec;

pub use check::{PATH, check, is_gpu_device};
pub use codec::{Malformed, Rule, cut_text, decode_request, encode_request};

/// Version of this protocol; an agent answers only its own.
pub const VERSION: u32 = 1;
/// Folder in a guest that holds what is staged for provisioning.
pub const STAGED: &str = "/opt/appstore";

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What is wanted.
    #[serde(flatten)]
    pub verb: Verb,
}

impl Request {
    /// A request of this version.
    #[must_use]
    pub fn new(verb: Verb) -> Self {
        Self { version: VERSION, verb }
    }
}

/// Everything that can be asked of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// Who are you: versions and name, as a [`Answer::Hello`]. Changes nothing.
    Hello,
    /// Run a program in a running guest of ours. Output is streamed.
    Exec {
        /// The guest.
        vmid: Vmid,
        /// Absolute path of the program in the guest, then its arguments.
        argv: Vec<String>,
        /// Environment besides a fixed `PATH`, `HOME`, `LANG` and `DEBIAN_FRONTEND`.
        env: BTreeMap<String, String>,
        /// User in the guest; `root` when left out.
        user: Option<String>,
        /// Seconds after which it is killed.
        timeout_sec: u32,
    },
    /// Write a file in a running guest of ours; its bytes follow the request line.
    Push {
        /// The guest.
        vmid: Vmid,
        /// Absolute path, without `..`; missing folders are made.
        path: String,
        /// Its mode.
        mode: FileMode,
        /// Owner in the guest.
        uid: u32,
        /// Group in the guest.
        gid: u32,
        /// Bytes that follow, at most [`MOST_PAYLOAD`].
        size: u64,
    },
    /// Read a file of a running guest of ours. It comes as `data` frames.
    Pull {
        /// The guest.
        vmid: Vmid,
        /// Absolute path, without `..`.
        path: String,
        /// Longest that is wanted, at most [`MOST_PAYLOAD`].
        most: u64,
    },
    /// Remove files or folders below `/opt/appstore` in a running guest of ours.
    RemoveStaged {
        /// The guest.
        vmid: Vmid,
    },
    /// Set a stopped guest's features to exactly these.
    SetFeatures {
        /// The guest.
        vmid: Vmid,
        /// All features it shall have.
        features: Vec<Feature>,
    },
    /// Set a guest's device entries to exactly these.
    SetDevices {
        /// The guest.
        vmid: Vmid,
        /// All device entries it shall have, `dev0` first.
        devices: Vec<DeviceEntry>,
    },
    /// Set or replace a bind mount of a guest of ours. The source must be below a folder that the node's command line
    /// allows.
    BindMount {
        /// The guest.
        vmid: Vmid,
        /// `mpN`.
        slot: u8,
        /// Absolute path on the node, without links.
        source: String,
        /// Absolute path in the guest.
        path: String,
        /// Read-only in the guest.
        read_only: bool,
    },
    /// Remove a bind mount.
    Unbind {
        /// The guest.
        vmid: Vmid,
        /// `mpN`.
        slot: u8,
    },
    /// Take a volume mount point out of a stopped guest's configuration. The volume itself stays on its storage: `pct set
    /// --delete` would only make it unused, and the guest's end would take it along (PVE 9.2).
    ReleaseVolume {
        /// The guest.
        vmid: Vmid,
        /// `mpN`.
        slot: u8,
    },
    /// Make a stopped guest of ours a template.
    Template {
        /// The guest.
        vmid: Vmid,
    },
    /// Remove a lock that a dead task left on a guest of ours.
    Unlock {
        /// The guest.
        vmid: Vmid,
    },
    /// Report the node's GPUs, as [`Answer::Gpu`]. Changes nothing.
    Gpus,
    /// Whether the driver of the GPUs works (`nvidia-smi`), as [`Answer::Gpu`]. May load `nvidia-uvm`.
    DriverCheck,
    /// List ZFS pools that could be imported, as [`Answer::Pools`]. Changes nothing.
    ImportablePools,
    /// Import one pool by its numeric id, without mounting anything.
    ImportPool {
        /// Its name; must be allowed by the node's command line.
        name: String,
        /// Its numeric id (GUID), decimal.
        id: u64,
        /// It was last used by another system, and the record says that this host owned it.
        foreign: bool,
    },
    /// Take everything off this node that its enrolment made: the token, with the last one the user, its rights and the
    /// empty pool, the agent's program, and last the line that lets this very key in.
    Revoke,
}

impl Verb {
    /// The guest it concerns.
    #[must_use]
    pub fn vmid(&self) -> Option<Vmid> {
        match self {
            Self::Exec { vmid, .. }
            | Self::Push { vmid, .. }
            | Self::Pull { vmid, .. }
            | Self::RemoveStaged { vmid }
            | Self::SetFeatures { vmid, .. }
            | Self::SetDevices { vmid, .. }
            | Self::BindMount { vmid, .. }
            | Self::Unbind { vmid, .. }
            | Self::ReleaseVolume { vmid, .. }
            | Self::Template { vmid }
            | Self::Unlock { vmid } => Some(*vmid),
            Self::Hello
            | Self::Gpus
            | Self::DriverCheck
            | Self::ImportablePools
            | Self::ImportPool { .. }
            | Self::Revoke => None,
        }
    }

    /// All names, in the order of the variants.
    pub const NAMES: [&'static str; 17] = [
        "hello",
        "exec",
        "push",
        "pull",
        "remove-staged",
        "set-features",
        "set-devices",
        "bind-mount",
        "unbind",
        "release-volume",
        "template",
        "unlock",
        "gpus",
        "driver-check",
        "importable-pools",
        "import-pool",
        "revoke",
    ];

    /// Whether its name says everything.
    #[must_use]
    pub fn takes_no_argument(&self) -> bool {
        matches!(
            self,
            Self::Hello | Self::Gpus | Self::DriverCheck | Self::ImportablePools | Self::Revoke
        )
    }

    /// Its name on the wire and in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Exec { .. } => "exec",
            Self::Push { .. } => "push",
            Self::Pull { .. } => "pull",
            Self::RemoveStaged { .. } => "remove-staged",
            Self::SetFeatures { .. } => "set-features",
            Self::SetDevices { .. } => "set-devices",
            Self::BindMount { .. } => "bind-mount",
            Self::Unbind { .. } => "unbind",
            Self::ReleaseVolume { .. } => "release-volume",
            Self::Template { .. } => "template",
            Self::Unlock { .. } => "unlock",
            Self::Gpus => "gpus",
            Self::DriverCheck => "driver-check",
            Self::ImportablePools => "importable-pools",
            Self::ImportPool { .. } => "import-pool",
            Self::Revoke => "revoke",
        }
    }
}

/// A file's permission bits, four octal digits on the wire: `0600`. No set-uid, set-gid or sticky bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileMode(u16);

impl FileMode {
    /// `0600`.
    pub const PRIVATE: Self = Self(0o600);
    /// `0660`.
    pub const GROUP: Self = Self(0o660);
    /// `0666`.
    pub const EVERYBODY: Self = Self(0o666);
    /// `0644`.
    pub const PUBLIC: Self = Self(0o644);
    /// `0755`.
    pub const PROGRAM: Self = Self(0o755);

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl TryFrom<String> for FileMode {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        let wrong = || InvalidId {
            kind: "file mode",
            text: text.chars().take(20).collect(),
            rule: "four octal digits from 0000 to 0777",
        };
        if text.len() != 4 || !text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        u16::from_str_radix(&text, 8).map(Self).map_err(|_| wrong())
    }
}
impl From<FileMode> for String {
    fn from(mode: FileMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

/// One `dev[n]` entry: a device node of the host as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Path on the node, below `/dev/dri`, `/dev/nvidia…` or `/dev/kfd`.
    pub path: String,
    /// Owner in the guest.
    pub uid: u32,
    /// Group in the guest: its own `render` or `video`, never the host's number.
    pub gid: u32,
    /// Its mode in the guest.
    pub mode: FileMode,
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
pub enum Frame {
    /// A piece of what the program in the guest printed; what was not UTF-8 is replaced.
    Output {
        /// Which stream.
        stream: Stream,
        /// The text, cut at line ends where possible.
        text: String,
    },
    /// A piece of a pulled file.
    Data {
        /// Base64.
        base64: String,
    },
    /// Facts that were asked for.
    Answer(Answer),
    /// The end. Without it the connection was lost and nothing is known.
    Done {
        /// Exit status of the program; 0 for verbs that run none.
        status: i32,
    },
    /// The node did nothing.
    Refused {
        /// Which [`Rule`].
        rule: String,
        /// What was wrong, in one sentence.
        detail: String,
    },
    /// The node tried, and it failed.
    Failed {
        /// What failed, in one sentence, with the last lines of what the program said.
        detail: String,
    },
}

/// Streams of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Facts of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Verb::Hello`].
    Hello {
        /// Version of the agent's program.
        agent: String,
        /// First line of `pveversion`.
        pve: String,
        /// The node's name.
        node: String,
        /// The pool it works in.
        pool: String,
    },
    /// To [`Verb::Gpus`] and [`Verb::DriverCheck`].
    Gpu {
        /// What there is.
        report: GpuReport,
    },
    /// To [`Verb::ImportablePools`].
    Pools {
        /// What `zpool import` lists.
        pools: Vec<ImportablePool>,
    },
}

/// A ZFS pool that could be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportablePool {
    /// Name.
    pub name: String,
    /// Numeric id (GUID).
    pub id: u64,
    /// `ONLINE`, `DEGRADED`, `UNAVAIL`, …
    pub state: String,
    /// It was last used by another system.
    pub foreign: bool,
}

#[cfg(test)]
mod test;
