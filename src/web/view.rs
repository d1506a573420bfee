//! Values in the words and shapes that pages show: times, durations, states. Pure.

use std::time::Duration;

use crate::domain::boot::BootStage;
use crate::domain::host::HostState;
use crate::domain::job::{Job, JobStatus, StepStatus, Work};
use crate::domain::server_type::DiskSelection;
use crate::domain::time::Timestamp;

pub(super) mod app;
pub(super) mod boot;
pub(super) mod chart;
pub(super) mod guest;
pub(super) mod story;
pub(super) mod timeline;

/// A state in words.
pub(super) fn state_label(state: HostState) -> &'static str {
    match state {
        HostState::Registered => "Registered",
        HostState::PxeReady => "PXE ready",
        HostState::PxeBooted => "PXE booted",
        HostState::Installing => "Installing",
        HostState::Installed => "Installed",
        HostState::FirstBoot => "First boot",
        HostState::Joining => "Joining",
        HostState::Ready => "Ready",
        HostState::Failed => "Failed",
    }
}

/// What a state means, for somebody who sees it for the first time.
pub(super) fn state_meaning(state: HostState) -> &'static str {
    match state {
        HostState::Registered => "Known; nothing was changed on it",
        HostState::PxeReady => "Armed: waits for the machine to boot from the network",
        HostState::PxeBooted => "Fetched its boot script; loads the installer",
        HostState::Installing => "Took its answer; its disk is being written",
        HostState::Installed => "The installer reported the end; the machine restarts",
        HostState::FirstBoot => "Called back from its own disk",
        HostState::Joining => "Is being joined to the cluster",
        HostState::Ready => "A working node",
        HostState::Failed => "Stopped; the reason is on this page",
    }
}

/// The state's family, which chooses its colour.
pub(super) fn state_tone(state: HostState) -> &'static str {
    match state {
        HostState::Registered => "idle",
        HostState::Ready => "good",
        HostState::Failed => "bad",
        _ => "busy",
    }
}

/// A job's status in words.
pub(super) fn job_label(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Pending => "Waiting",
        JobStatus::Running => "Running",
        JobStatus::Succeeded => "Succeeded",
        JobStatus::Failed => "Failed",
        JobStatus::Cancelled => "Cancelled",
    }
}

/// The status's family.
pub(super) fn job_tone(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Pending | JobStatus::Cancelled => "idle",
        JobStatus::Running => "busy",
        JobStatus::Succeeded => "good",
        JobStatus::Failed => "bad",
    }
}

/// A step's status in words and its family.
pub(super) fn step_label(status: StepStatus) -> (&'static str, &'static str) {
    match status {
        StepStatus::Pending => ("to do", "todo"),
        StepStatus::Running => ("running", "busy"),
        StepStatus::Succeeded => ("done", "good"),
        StepStatus::Failed => ("failed", "bad"),
        StepStatus::Skipped => ("not needed", "idle"),
    }
}

/// A job in one line: what it does to what.
pub(super) fn job_title(job: &Job) -> String {
    match &job.work {
        Work::Rebuild(rebuild) => format!("Rebuild of {}", rebuild.hostname),
        Work::ImportImage(import) => {
            let name = import.source.rsplit('/').next().filter(|n| !n.is_empty());
            format!("Import of {}", name.unwrap_or(&import.source))
        }
        Work::Guest(_) | Work::Node(_) | Work::Catalog(_) | Work::BulkRebuild(_) => job.title(),
    }
}

/// Where on the way something was seen.
pub(super) fn stage_label(stage: BootStage) -> &'static str {
    match stage {
        BootStage::Dhcp => "DHCP",
        BootStage::Pxe => "PXE",
        BootStage::Tftp => "TFTP",
        BootStage::Http => "HTTP",
        BootStage::Callback => "Callback",
    }
}

/// What a rebuild erases, in words; `None` when no disk is named, and then a rebuild is refused.
pub(super) fn erased(selection: Option<&DiskSelection>) -> Option<String> {
    match selection? {
        DiskSelection::Property { property, value } => {
            Some(format!("everything on the disk whose {property} is “{value}”"))
        }
        DiskSelection::Devices { names } => Some(format!("everything on {}", names.join(", "))),
        DiskSelection::PerHost => None,
    }
}

/// A length of time for people: two units at most. The script shows running times in the same form.
pub(super) fn duration(d: Duration) -> String {
    let secs = d.as_secs();
    let (days, hours, minutes, seconds) =
        (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if secs == 0 && d.as_millis() > 0 => format!("{} ms", d.as_millis()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds:02} s"),
        (0, _, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// An instant in UTC, to the second: `2026-11-20 18:53:00`.
pub(super) fn instant(at: Timestamp) -> String {
    at.to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// The time of day of an instant: `18:53:00`.
pub(super) fn time_of_day(at: Timestamp) -> String {
    let text = instant(at);
    text.split_once(' ').map_or_else(|| text.clone(), |(_, time)| time.to_owned())
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(*unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// An instant with how long ago it was; the script keeps the second part up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct When {
    /// Milliseconds, for the script.
    pub(super) ms: i64,
    /// Machine-readable.
    pub(super) iso: String,
    /// The instant for people.
    pub(super) full: String,
    /// Time of day.
    pub(super) time: String,
    /// How long ago.
    pub(super) passed: String,
}

impl When {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self {
            ms: at.0,
            iso: at.to_string(),
            full: format!("{} UTC", instant(at)),
            time: time_of_day(at),
            passed: duration(Duration::from_secs(now.since(at).as_secs())),
        }
    }
}

/// How long something took, or takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// In words; empty when it did not begin.
    pub(super) text: String,
    /// When it still runs: its beginning in milliseconds, for the script.
    pub(super) running_since: Option<i64>,
}

impl Span {
    pub(super) fn new(
        started: Option<Timestamp>,
        finished: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        match (started, finished) {
            (None, _) => Self::default(),
            (Some(from), Some(to)) => Self { text: duration(to.since(from)), running_since: None },
            (Some(from), None) => {
                let passed = Duration::from_secs(now.since(from).as_secs());
                Self { text: duration(passed), running_since: Some(from.0) }
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (ms, text) in [
            (0, "0 s"),
            (400, "400 ms"),
            (42_900, "42 s"),
            (187_000, "3 min 07 s"),
            (7_500_000, "2 h 05 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        assert_eq!(size(900), "900 bytes");
        assert_eq!(size(1_726_808_064), "1.6 GiB");
        assert_eq!(size(u64::MAX), "17179869183.9 GiB");
    }

    #[test]
    fn a_host_without_a_named_disk_erases_nothing() {
        assert_eq!(erased(None), None);
        assert_eq!(erased(Some(&DiskSelection::PerHost)), None);
        let one =
            DiskSelection::Property { property: "ID_SERIAL_SHORT".into(), value: "S1".into() };
        let words = erased(Some(&one)).unwrap();
        assert_eq!(words, "everything on the disk whose ID_SERIAL_SHORT is “S1”");
    }
}
