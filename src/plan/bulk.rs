//! The rebuild of many hosts as data: what is confirmed, whose turn it is, and when no other one is begun.
//!
//! ```text
//!  of each host:   waits ──turn, checked again──> rebuilt ──> ready
//!                    │                              └───────> failed, cancelled
//!                    ├── changed or refused at its turn ────> left out
//!                    └── stopped, too many failed ──────────> left out
//! ```
//!
//! Each host is a step of the job, so that the stored steps are the whole state: [`next`] looks at nothing else, and a
//! restarted daemon decides as one that never stopped. [`may_begin`] is asked once more inside the write that begins a
//! rebuild.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::domain::host::{Failure, Host};
use crate::domain::id::{HostId, StepId};
use crate::domain::image::Image;
use crate::domain::job::{
    BulkRebuild, Job, JobStatus, Reviewed, Step, StepClass, StepStatus, Work,
};
use crate::domain::server_type::DiskSelection;

/// Rebuilds of a list at a time, unless told: what a gigabit line carries without waiting.
pub const AT_ONCE: u32 = 4;
/// Failed rebuilds of a list after which no other one is begun, unless told.
pub const STOP_AFTER: u32 = 2;

/// The step of a host.
#[must_use]
pub fn step_of(host: HostId) -> StepId {
    format!("host-{host}").parse().expect("a UUID behind a word is a slug")
}

/// One step for each host.
#[must_use]
pub fn steps(bulk: &BulkRebuild) -> Vec<Step> {
    let step = |reviewed: &Reviewed| {
        // The rebuild is a job of its own, which is found again by its id.
        Step::pending(step_of(reviewed.host), reviewed.hostname.to_string(), StepClass::Wait)
    };
    bulk.hosts.iter().map(step).collect()
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Begin the rebuild of this host, if it still is what was reviewed.
    Begin(HostId),
    /// Leave out all that wait, for this reason.
    LeaveOut(String),
    /// Rebuilds run; wait for the end of one, or for a stop.
    Wait,
    /// Everything is over.
    Over(JobStatus, Option<Failure>),
}

/// How many hosts stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Wait for their turn.
    pub waiting: usize,
    /// Are rebuilt.
    pub running: usize,
    /// Are ready.
    pub ready: usize,
    /// Were begun and did not become ready.
    pub failed: usize,
    /// Were not begun and never will be.
    pub left_out: usize,
}

impl Tally {
    /// Counts a job's hosts.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let mut tally = Self::default();
        for step in &job.steps {
            let place = match step.status {
                StepStatus::Pending => &mut tally.waiting,
                StepStatus::Running => &mut tally.running,
                StepStatus::Succeeded => &mut tally.ready,
                StepStatus::Failed => &mut tally.failed,
                StepStatus::Skipped => &mut tally.left_out,
            };
            *place += 1;
        }
        tally
    }

    /// Those that are over.
    #[must_use]
    pub fn over(self) -> usize {
        self.ready + self.failed + self.left_out
    }
}

/// Why no other rebuild is begun; `None`: those that wait get their turn.
fn stopped(job: &Job, bulk: &BulkRebuild, tally: Tally) -> Option<String> {
    if job.cancel_requested {
        return Some("stopped by the operator before its turn: it was not touched".to_owned());
    }
    let most = usize::try_from(bulk.stop_after.max(1)).unwrap_or(usize::MAX);
    (tally.failed >= most).then(|| {
        format!("{} rebuilds failed, so no other one was begun: it was not touched", tally.failed)
    })
}

fn at_once(bulk: &BulkRebuild) -> usize {
    usize::try_from(bulk.at_once.max(1)).unwrap_or(usize::MAX)
}

/// Decides what is to be done now with a job that is not over.
#[must_use]
pub fn next(job: &Job, bulk: &BulkRebuild) -> Next {
    let tally = Tally::of(job);
    if tally.waiting > 0 {
        if let Some(why) = stopped(job, bulk, tally) {
            return Next::LeaveOut(why);
        }
        let first = bulk.hosts.iter().find(|reviewed| waits(job, reviewed));
        return match first {
            Some(reviewed) if tally.running < at_once(bulk) => Next::Begin(reviewed.host),
            Some(_) => Next::Wait,
            // A step of no host: such a record was not made here.
            None => Next::LeaveOut("it is not on the list that was confirmed".to_owned()),
        };
    }
    if tally.running > 0 {
        return Next::Wait;
    }
    over(job, tally)
}

fn waits(job: &Job, reviewed: &Reviewed) -> bool {
    reviewed.job.is_none()
        && job
            .step(step_of(reviewed.host).as_str())
            .is_some_and(|step| step.status == StepStatus::Pending)
}

fn over(job: &Job, tally: Tally) -> Next {
    let all = job.steps.len();
    if tally.ready == all {
        return Next::Over(JobStatus::Succeeded, None);
    }
    let mut parts = vec![format!("{} of {all} hosts are ready", tally.ready)];
    if tally.failed > 0 {
        parts.push(format!("{} did not become ready", tally.failed));
    }
    if tally.left_out > 0 {
        parts.push(format!("{} were left out and not touched", tally.left_out));
    }
    let status = if job.cancel_requested { JobStatus::Cancelled } else { JobStatus::Failed };
    let hint =
        "the list tells why of each host; choose those that are still wanted and review them again";
    let failure = Failure { from: None, reason: parts.join(", "), hint: hint.to_owned() };
    Next::Over(status, Some(failure))
}

/// Whether the rebuild of a host may be begun for this job: asked inside the write that queues it.
///
/// # Errors
/// In one sentence: why it may not.
pub fn may_begin(job: &Job, host: HostId) -> Result<&Reviewed, String> {
    let Work::BulkRebuild(bulk) = &job.work else {
        return Err("the job rebuilds no list of hosts".to_owned());
    };
    if job.status.is_terminal() {
        return Err("the rebuild of many hosts is over".to_owned());
    }
    let reviewed =
        bulk.reviewed(host).ok_or_else(|| "it is not on the list that was confirmed".to_owned())?;
    if !waits(job, reviewed) {
        return Err("it had its turn already".to_owned());
    }
    let tally = Tally::of(job);
    if let Some(why) = stopped(job, bulk, tally) {
        return Err(why);
    }
    if tally.running >= at_once(bulk) {
        return Err(format!("{} rebuilds run already", tally.running));
    }
    Ok(reviewed)
}

/// What is different from what was reviewed; `None`: nothing.
#[must_use]
pub fn changed(reviewed: &Reviewed, host: &Host, disk: &DiskSelection) -> Option<String> {
    let own = host.overrides.boot_disk.as_ref();
    let differs = [
        ("its name", reviewed.hostname != host.hostname),
        ("its MAC addresses", reviewed.macs != host.macs),
        ("its system UUID", reviewed.uuid != host.uuid),
        ("its server type", reviewed.server_type != host.server_type),
        (
            "the disk to be erased",
            reviewed.disk != *disk || own.is_some_and(|own| reviewed.disk != *own),
        ),
        ("its membership of the cluster", reviewed.is_member != host.is_member),
        ("its state", (reviewed.state, reviewed.since) != (host.state, host.state_since)),
    ];
    let names: Vec<&str> = differs.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    (!names.is_empty())
        .then(|| format!("{} changed after the review: it was not touched", names.join(", ")))
}

/// What a host is when it is reviewed.
#[must_use]
pub fn reviewed(host: &Host, disk: DiskSelection) -> Reviewed {
    Reviewed {
        host: host.id,
        hostname: host.hostname.clone(),
        macs: host.macs.clone(),
        uuid: host.uuid,
        server_type: host.server_type.clone(),
        disk,
        is_member: host.is_member,
        state: host.state,
        since: host.state_since,
        job: None,
    }
}

/// What the operator types: how many machines are erased, and how many of them are nodes.
#[must_use]
pub fn phrase(hosts: &[Reviewed]) -> String {
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let machines = count(hosts.len(), "machine");
    match hosts.iter().filter(|host| host.is_member).count() {
        0 => format!("erase {machines}"),
        members => format!("erase {machines}, {} of the cluster", count(members, "node")),
    }
}

/// Whether what was typed is the phrase; blanks and capitals do not matter.
#[must_use]
pub fn is_confirmed(hosts: &[Reviewed], typed: &str) -> bool {
    let words = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    !hosts.is_empty() && words(typed) == phrase(hosts)
}

/// What names a review: another one as soon as a host of the list, its disk, its state, the image or the removal of dead
/// nodes is another. Only the list that has this name is ever erased.
///
/// # Panics
/// Never: the records are plain values.
#[must_use]
pub fn seal(hosts: &[Reviewed], image: &Image, replace_node: bool) -> String {
    #[derive(Serialize)]
    struct Sealed<'a> {
        hosts: &'a [Reviewed],
        image: &'a str,
        sha256: &'a str,
        replace_node: bool,
    }
    let sealed = Sealed { hosts, image: image.id.as_str(), sha256: &image.sha256, replace_node };
    let bytes = serde_json::to_vec(&sealed).expect("plain values become JSON");
    Sha256::digest(&bytes).iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// What the end of a host's rebuild is for the list. A host that became a node is ready, also when an app that comes with
/// it failed: that is no reason to rebuild nothing more.
#[must_use]
pub fn ended(rebuild: &Job) -> (StepStatus, String) {
    let why = rebuild.failure.as_ref().map_or("", |failure| failure.reason.as_str());
    let is_node = rebuild
        .step(crate::plan::rebuild::step::REPORT)
        .is_some_and(|step| step.status == StepStatus::Succeeded);
    match rebuild.status {
        JobStatus::Succeeded => (StepStatus::Succeeded, "ready".to_owned()),
        _ if is_node => (StepStatus::Succeeded, why.to_owned()),
        _ if why.is_empty() => (StepStatus::Failed, "its rebuild ended".to_owned()),
        _ => (StepStatus::Failed, why.to_owned()),
    }
}

#[cfg(test)]
mod test;
