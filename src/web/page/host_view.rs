//! What a host's page shows, gathered from one snapshot.

use std::net::Ipv4Addr;

use crate::domain::event::Event;
use crate::domain::host::Host;
use crate::domain::inventory::{Firmware, Inventory};
use crate::domain::job::{Job, JobStatus, Work};
use crate::domain::time::Timestamp;
use crate::store::{
    BootLogEntry, BootLogReads as _, EventReads as _, JobReads as _, Snapshot, StoreError,
};
use crate::web::view::story::{Line, event_source, from_boot_log, tone};
use crate::web::view::timeline::{Stop, timeline};
use crate::web::view::{Span, When, job_label, job_title, job_tone};

/// Boot log entries on a host's page.
const BOOT_LINES: usize = 60;
/// Events on a host's page.
const EVENT_LINES: usize = 40;
/// Jobs on a host's page.
const JOB_LINES: usize = 15;
/// Events read for a run: enough for all state changes of one with a chatty log.
pub(super) const RUN_EVENTS: usize = 4000;

/// One job in a list.
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) label: &'static str,
    pub(super) tone: &'static str,
    pub(super) created: When,
    pub(super) took: Span,
    pub(super) note: String,
}

impl JobRow {
    pub(super) fn new(job: &Job, now: Timestamp) -> Self {
        let running =
            job.steps.iter().find(|s| s.status == crate::domain::job::StepStatus::Running);
        let note = match (&job.failure, running) {
            (Some(failure), _) => failure.reason.clone(),
            (None, Some(step)) => step.title.clone(),
            (None, None) => String::new(),
        };
        Self {
            id: job.id.to_string(),
            title: job_title(job),
            label: job_label(job.status),
            tone: job_tone(job.status),
            created: When::new(job.created, now),
            took: Span::new(job.started, job.finished, now),
            note,
        }
    }
}

/// One disk or interface of the inventory.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) mark: &'static str,
}

/// Everything below the header of a host's page.
pub(super) struct HostView {
    pub(super) stops: Vec<Stop>,
    pub(super) run: Option<String>,
    pub(super) has_last: bool,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) disks: Vec<Part>,
    pub(super) nics: Vec<Part>,
    pub(super) boot: Vec<Line>,
    pub(super) jobs: Vec<JobRow>,
    pub(super) events: Vec<Line>,
    /// The newest job, when it is a rebuild that may be tried again.
    pub(super) retry: Option<String>,
}

/// What a machine told about itself, by name; only what is known.
pub(super) fn facts(
    inventory: &Inventory,
    architecture: Option<&str>,
    address: Option<Ipv4Addr>,
) -> Vec<(&'static str, String)> {
    let firmware = inventory.firmware.map(|f| match f {
        Firmware::Bios => "BIOS".to_owned(),
        Firmware::Uefi => "UEFI".to_owned(),
    });
    let memory = inventory.memory_mib.map(|m| crate::web::view::size(m.saturating_mul(1 << 20)));
    [
        ("Vendor", inventory.vendor.clone()),
        ("Product", inventory.product.clone()),
        ("Serial number", inventory.serial.clone()),
        ("Asset tag", inventory.asset.clone()),
        ("System UUID", inventory.uuid.map(|u| u.to_string())),
        ("Processor", inventory.cpu.clone()),
        ("Memory", memory),
        ("Firmware", architecture.map(str::to_owned).or(firmware)),
        ("Network chip", inventory.nic_chip.clone()),
        ("Address", address.map(|a| a.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.filter(|v| !v.is_empty()).map(|v| (name, v)))
    .collect()
}

fn disks(inventory: &Inventory) -> Vec<Part> {
    let part = |disk: &crate::domain::inventory::Disk| {
        let known = [
            disk.model.clone(),
            disk.serial.as_ref().map(|s| format!("serial {s}")),
            disk.wwn.as_ref().map(|w| format!("WWN {w}")),
        ];
        Part {
            name: disk.device.clone(),
            text: known.into_iter().flatten().collect::<Vec<_>>().join(" · "),
            mark: if disk.is_boot_disk { "system" } else { "" },
        }
    };
    inventory.disks.iter().map(part).collect()
}

fn nics(inventory: &Inventory) -> Vec<Part> {
    let part = |nic: &crate::domain::inventory::Nic| Part {
        name: nic.name.clone().unwrap_or_else(|| "interface".to_owned()),
        text: nic.mac.to_string()
            + &nic.address.as_ref().map_or(String::new(), |a| format!(" · {a}")),
        mark: if nic.address.is_some() { "management" } else { "" },
    };
    inventory.nics.iter().map(part).collect()
}

/// A host's boot log over all its addresses, newest first.
pub(super) fn boot_log(
    read: &Snapshot,
    host: &Host,
    limit: usize,
) -> Result<Vec<BootLogEntry>, StoreError> {
    let mut all = read.boot_log_of(&host.macs, limit)?;
    all.reverse();
    Ok(all)
}

fn event_line(event: &Event) -> Option<Line> {
    Some(Line {
        at: event.at,
        time: crate::web::view::instant(event.at),
        source: event_source(&event.kind)?,
        tone: tone(event.level),
        text: event.message.clone(),
        seq: None,
    })
}

impl HostView {
    pub(super) fn read(read: &Snapshot, host: &Host, now: Timestamp) -> Result<Self, StoreError> {
        let jobs = read.jobs_of_host(host.id, JOB_LINES)?;
        let run = jobs.iter().find(|j| matches!(j.work, Work::Rebuild(_)));
        let run_events = match run {
            Some(job) => read.events_of_job(job.id, RUN_EVENTS)?,
            None => Vec::new(),
        };
        let last = match run {
            Some(job) => read.last_succeeded(host.id, job.id)?,
            None => None,
        };
        let last_events = match &last {
            Some(job) => read.events_of_job(job.id, RUN_EVENTS)?,
            None => Vec::new(),
        };
        let boot = boot_log(read, host, BOOT_LINES)?;
        let boot = boot.iter().map(|entry| Line {
            time: crate::web::view::instant(entry.observation.at),
            ..from_boot_log(entry)
        });
        // Log lines and progress are not listed here, so more are read than are shown.
        let events = read.events_of_host(host.id, EVENT_LINES * 10)?;
        let may_retry = |job: &&Job| matches!(job.status, JobStatus::Failed | JobStatus::Cancelled);
        Ok(Self {
            stops: timeline(host.state, &run_events, &last_events, now),
            run: run.map(|j| j.id.to_string()),
            has_last: last.is_some(),
            facts: facts(&host.inventory, None, None),
            disks: disks(&host.inventory),
            nics: nics(&host.inventory),
            boot: boot.collect(),
            jobs: jobs.iter().map(|j| JobRow::new(j, now)).collect(),
            events: events.iter().filter_map(event_line).take(EVENT_LINES).collect(),
            retry: run.filter(may_retry).map(|j| j.id.to_string()),
        })
    }
}
