//! Work on a guest, a node or the catalog: its parameters as they are stored with the job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::app::{AppId, ContentHash, InputValue};
use crate::domain::id::{GuestId, HostId, Hostname, JobId, NodeName, StepId, StorageId};
use crate::domain::time::Timestamp;

/// Work on one guest. The guest's record holds what it is and what it shall become; this is what is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestWork {
    /// Which guest.
    pub guest: GuestId,
    /// Its name when the job was made, for lists after the guest is gone.
    pub name: Hostname,
    /// What is done.
    pub task: GuestTask,
    /// The job that asked for this one (a rebuild with a stack).
    #[serde(default)]
    pub parent: Option<JobId>,
    /// A task of the cluster that a step asked for and whose end it did not see yet: taken up again after a restart.
    #[serde(default)]
    pub pending: Option<PendingTask>,
}

/// A task of the cluster that is asked for or was started. Written before the request is sent, and again with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingTask {
    /// By which step.
    pub step: StepId,
    /// The UPID's type: `vzcreate`. Empty: of a version that did not write it; the UPID has it.
    #[serde(default)]
    pub kind: String,
    /// Its UPID; `None`: it is not known whether it was started.
    pub upid: Option<String>,
    /// UPID of the newest task of that kind on that guest before the request: what is newer can be the one.
    #[serde(default)]
    pub before: Option<String>,
    /// When the request was sent, or the task's name was noted.
    pub started: Timestamp,
}

/// What is done to a guest. Tags are stored: renaming one is a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum GuestTask {
    /// Make it and provision its app.
    Install {
        /// Which app.
        app: AppId,
    },
    /// Take it away.
    Uninstall {
        /// Volumes beside the root disk stay on their storage.
        keep_volumes: bool,
        /// The operator asked for the remains of a failed installation to go.
        destroy_failed: bool,
    },
    /// Give it other inputs or resources.
    Reconfigure(Reconfigure),
    /// Bring its app to the catalog's version.
    Upgrade {
        /// That version, pinned by its content.
        to: AppVersion,
    },
    /// Take it back to its restore point.
    Return,
    /// Start, stop, restart.
    Power {
        /// Which.
        action: PowerAction,
    },
    /// Back it up.
    Backup {
        /// Where to.
        storage: StorageId,
        /// It was the schedule, not a person.
        scheduled: bool,
    },
    /// Put a backup in its place, or make it anew on another node.
    Restore {
        /// Volume id of the archive.
        archive: String,
        /// On which node.
        node: NodeName,
        /// Storage for its volumes there.
        storage: StorageId,
    },
    /// Make an existing guest ours.
    Adopt,
    /// Add its definition to the reverse proxy's repository again after a push failed.
    Publish,
}

/// One version of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppVersion {
    /// Which app.
    pub id: AppId,
    /// Its version.
    pub version: String,
    /// The source's name.
    pub source: String,
    /// What its folder hashes to.
    pub hash: ContentHash,
}

/// What is changed; `None` leaves as it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reconfigure {
    /// New values of inputs that may be changed.
    pub inputs: Option<BTreeMap<String, InputValue>>,
    /// Cores.
    pub cores: Option<u32>,
    /// MiB.
    pub memory_mb: Option<u32>,
    /// GiB; a disk only grows.
    pub disk_gb: Option<u32>,
    /// Started with the node.
    pub onboot: Option<bool>,
    /// New text of the description.
    pub description: Option<String>,
    /// Its GPUs; an empty list takes them away.
    pub gpu: Option<Vec<crate::domain::guest::GpuAttachment>>,
}

/// Ways to turn a guest on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Start.
    Start,
    /// Ask it to shut down.
    Shutdown,
    /// Stop at once.
    Stop,
    /// Shut down and start.
    Restart,
}

impl PowerAction {
    /// The word in URLs and buttons.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Shutdown => "shutdown",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

impl GuestTask {
    /// The kind in one word, as in the API.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Install { .. } => "install",
            Self::Uninstall { .. } => "uninstall",
            Self::Reconfigure(_) => "reconfigure",
            Self::Upgrade { .. } => "upgrade",
            Self::Return => "return",
            Self::Power { .. } => "power",
            Self::Backup { .. } => "backup",
            Self::Restore { .. } => "restore",
            Self::Adopt => "adopt",
            Self::Publish => "publish",
        }
    }

    /// What is done to a guest of this name, in a few words.
    #[must_use]
    pub fn title(&self, name: &Hostname) -> String {
        match self {
            Self::Install { app } => format!("Install {app} as {name}"),
            Self::Uninstall { destroy_failed: true, .. } => format!("Destroy {name}"),
            Self::Uninstall { .. } => format!("Uninstall {name}"),
            Self::Reconfigure(_) => format!("Reconfigure {name}"),
            Self::Upgrade { to } => format!("Upgrade {name} to {}", to.version),
            Self::Return => format!("Return {name} to its restore point"),
            Self::Power { action: PowerAction::Start } => format!("Start {name}"),
            Self::Power { action: PowerAction::Shutdown } => format!("Shut down {name}"),
            Self::Power { action: PowerAction::Stop } => format!("Stop {name}"),
            Self::Power { action: PowerAction::Restart } => format!("Restart {name}"),
            Self::Backup { .. } => format!("Back up {name}"),
            Self::Restore { .. } => format!("Restore {name}"),
            Self::Adopt => format!("Adopt {name}"),
            Self::Publish => format!("Publish {name}"),
        }
    }
}

/// Work on a node's enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWork {
    /// Address of the node.
    pub address: std::net::IpAddr,
    /// Its name, once known.
    pub name: Option<NodeName>,
    /// Enrol or revoke.
    pub task: NodeTask,
    /// SSH host keys that it must show, as `type base64`: known before, or confirmed by the operator.
    #[serde(default)]
    pub host_keys: Vec<String>,
    /// The host of ours that it is, when it is one.
    #[serde(default)]
    pub host: Option<HostId>,
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeTask {
    /// Give us the least rights that work.
    Enroll,
    /// Take all of that away.
    Revoke,
}

/// A refresh of one catalog source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogWork {
    /// The source's name.
    pub source: String,
}
