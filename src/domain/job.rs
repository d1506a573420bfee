//! Durable work with steps, a log and a result.

mod bulk;
mod guest;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::Failure;
use super::id::{GuestId, HostId, ImageId, JobId, StepId};
use super::time::Timestamp;

pub use bulk::{BulkRebuild, ConfirmedBy, Reviewed};
pub use guest::{
    AppVersion, CatalogWork, GuestTask, GuestWork, NodeTask, NodeWork, PendingTask, PowerAction,
    Reconfigure,
};

/// One job as it is stored. Steps are in order; the log is a table of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id; also the answer to `/ops/{id}`.
    pub id: JobId,
    /// What it does, with its parameters.
    pub work: Work,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was asked for.
    pub created: Timestamp,
    /// When its first step began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Why it failed or was cancelled.
    pub failure: Option<Failure>,
    /// The operator asked to stop it; the runner obeys at the next safe point.
    pub cancel_requested: bool,
}

/// Kinds of work with their parameters. Tags are stored: renaming one is a migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Wipe a host and make it a node.
    Rebuild(Rebuild),
    /// Bring an ISO in.
    ImportImage(ImportImage),
    /// Do something to a guest.
    Guest(GuestWork),
    /// Enrol a node, or take its enrolment back.
    Node(NodeWork),
    /// Read a catalog source again.
    Catalog(CatalogWork),
    /// Rebuild many hosts, some of them at a time.
    BulkRebuild(BulkRebuild),
}

/// Parameters of a rebuild.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// Which host.
    pub host: HostId,
    /// Its name when the job was made, for lists after the host is gone.
    pub hostname: super::id::Hostname,
    /// Which image.
    pub image: ImageId,
    /// Which disk was to be erased when the operator confirmed; another one is never erased by this job.
    #[serde(default)]
    pub disk: Option<super::server_type::DiskSelection>,
    /// The operator confirmed that a dead node of the same name is removed from the cluster first.
    pub replace_node: bool,
    /// SHA-256 (hex) of the install token, once armed. The token itself is sealed elsewhere.
    pub token_hash: Option<String>,
    /// The ephemeral public key in OpenSSH form, once made.
    pub public_key: Option<String>,
    /// When the answer left the building. Once set it is never served again.
    pub answer_served: Option<Timestamp>,
    /// `pvecm add` was started on the node: a leftover entry of that name in the cluster is ours.
    #[serde(default)]
    pub join_started: bool,
    /// The rebuild of many hosts that it is part of.
    #[serde(default)]
    pub part_of: Option<JobId>,
}

/// Parameters of an image import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportImage {
    /// Path on the appliance or http(s) URL.
    pub source: String,
    /// SHA-256 (hex) the file must have, when the operator gave it.
    pub expected_sha256: Option<String>,
    /// The image that came out of it.
    pub image: Option<ImageId>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waiting for its turn.
    Pending,
    /// Being worked on, or waiting for the machine.
    Running,
    /// Everything was done and verified.
    Succeeded,
    /// Stopped by an error or a timeout.
    Failed,
    /// Stopped by the operator.
    Cancelled,
}

impl JobStatus {
    /// Whether the job is over.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Stable id (`preflight`, `join.verify`).
    pub id: StepId,
    /// What it does, for people.
    pub title: String,
    /// What a restart may do with it.
    pub class: StepClass,
    /// Where it stands.
    pub status: StepStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// First begun.
    pub started: Option<Timestamp>,
    /// Ended.
    pub finished: Option<Timestamp>,
    /// One sentence: the result, or why it failed.
    pub detail: String,
}

impl Step {
    /// A step that was not begun.
    #[must_use]
    pub fn pending(id: StepId, title: String, class: StepClass) -> Self {
        Self {
            id,
            title,
            class,
            status: StepStatus::Pending,
            attempts: 0,
            started: None,
            finished: None,
            detail: String::new(),
        }
    }
}

/// What may happen to a step that was begun and not finished when the daemon stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepClass {
    /// Only looks: repeat freely.
    Pure,
    /// Changes something, and doing it twice is the same as once.
    SafeToRepeat,
    /// Looks first what the earlier attempt left behind, then goes on or repairs.
    Inspect,
    /// Waits for the machine; the wait simply goes on.
    Wait,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Begun.
    Running,
    /// Done and verified.
    Succeeded,
    /// Failed; the job failed with it.
    Failed,
    /// Not needed.
    Skipped,
}

/// One line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Position in this job's log, from 1.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// How much attention it wants.
    pub level: super::event::Level,
    /// The step it belongs to.
    pub step: Option<StepId>,
    /// The text. Never contains a secret.
    pub message: String,
}

impl Job {
    /// The host this job works on, if any.
    #[must_use]
    pub fn host(&self) -> Option<HostId> {
        match &self.work {
            Work::Rebuild(rebuild) => Some(rebuild.host),
            _ => None,
        }
    }

    /// The guest this job works on, if any.
    #[must_use]
    pub fn guest(&self) -> Option<GuestId> {
        match &self.work {
            Work::Guest(work) => Some(work.guest),
            _ => None,
        }
    }

    /// The kind in one word, as in the API.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.work {
            Work::Rebuild(_) => "rebuild",
            Work::ImportImage(_) => "import_image",
            Work::Guest(work) => work.task.kind(),
            Work::Node(NodeWork { task: NodeTask::Enroll, .. }) => "enroll_node",
            Work::Node(NodeWork { task: NodeTask::Revoke, .. }) => "revoke_node",
            Work::Catalog(_) => "refresh_catalog",
            Work::BulkRebuild(_) => "bulk_rebuild",
        }
    }

    /// What it does, in a few words.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.work {
            Work::Rebuild(rebuild) => format!("Rebuild {}", rebuild.hostname),
            Work::ImportImage(import) => format!("Import {}", import.source),
            Work::Guest(work) => work.task.title(&work.name),
            Work::Node(work) => {
                let verb = match work.task {
                    NodeTask::Enroll => "Enrol",
                    NodeTask::Revoke => "Revoke",
                };
                match &work.name {
                    Some(name) => format!("{verb} node {name}"),
                    None => format!("{verb} node at {}", work.address),
                }
            }
            Work::Catalog(work) => format!("Refresh catalog {}", work.source),
            Work::BulkRebuild(work) => format!("Rebuild {} hosts", work.hosts.len()),
        }
    }

    /// The step with this id.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|s| s.id.as_str() == id)
    }

    /// The step with this id, to change it.
    pub fn step_mut(&mut self, id: &str) -> Option<&mut Step> {
        self.steps.iter_mut().find(|s| s.id.as_str() == id)
    }
}
