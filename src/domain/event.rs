//! The append-only story of everything: one sequence that the page, the event stream and the log view all read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::HostState;
use super::id::{GuestId, HostId, ImageId, JobId, StepId};
use super::mac::Mac;
use super::time::Timestamp;

/// One event. `seq` is assigned by the store and never re-used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the log; also the SSE id.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// How much attention it wants.
    pub level: Level,
    /// What it is about.
    pub subject: Subject,
    /// What happened.
    pub kind: EventKind,
    /// One sentence for the operator. Never contains a secret.
    pub message: String,
}

/// Whom an event concerns; several may be set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Subject {
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The job; also published as `operation_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The machine by MAC, for sightings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// The guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestId>,
}

/// How much attention an event or log line wants.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something an operator would like to know tomorrow.
    Info,
    /// Needs a look.
    Warn,
    /// Needs action.
    Error,
}

/// Kinds of events. The tags are a contract with readers of the event stream: renaming one is a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EventKind {
    /// A host was registered.
    HostRegistered,
    /// A host's record was edited.
    HostChanged,
    /// A host was deleted.
    HostDeleted,
    /// A host moved from one state to another.
    StateChanged {
        /// Before.
        from: HostState,
        /// After.
        to: HostState,
    },
    /// A host's machine was switched by its power method.
    PowerSwitched,
    /// A machine asked for something that was refused.
    Refused,
    /// A job was queued.
    JobQueued,
    /// A job's step began, ended or failed.
    StepChanged {
        /// Which step.
        step: StepId,
        /// Its new status.
        status: super::job::StepStatus,
    },
    /// A job came to its end.
    JobFinished {
        /// How it ended.
        status: super::job::JobStatus,
    },
    /// A line of a job's log.
    JobLog,
    /// Progress of long work, in its own unit.
    Progress {
        /// Done so far.
        done: u64,
        /// All there is, when it is known.
        total: Option<u64>,
    },
    /// An unregistered machine was heard (first time, or with new facts).
    Sighting,
    /// An image appeared, changed or went away.
    ImageChanged,
    /// A guest's record was made, changed or deleted.
    GuestChanged,
    /// A node was enrolled, changed or revoked.
    NodeChanged,
    /// The catalog of apps was read again.
    CatalogChanged,
    /// Configuration, server types or the appliance itself.
    System,
}
