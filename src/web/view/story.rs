//! A job's whole story in time order: what the job did, what the machine asked for, what changed. Pure.

use super::{stage_label, time_of_day};
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::job::LogLine;
use crate::domain::time::Timestamp;
use crate::store::BootLogEntry;

/// One line of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) time: String,
    /// Who tells it: `job`, `DHCP`, `TFTP`, `state`, ...
    pub(crate) source: &'static str,
    /// `info`, `warn`, `error`.
    pub(crate) tone: &'static str,
    pub(crate) text: String,
    /// Number in the job's log, for lines of it.
    pub(crate) seq: Option<u64>,
}

/// A level's family.
pub(crate) fn tone(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// A line of the job's log.
pub(crate) fn from_log(line: &LogLine) -> Line {
    Line {
        at: line.at,
        time: time_of_day(line.at),
        source: "job",
        tone: tone(line.level),
        text: line.message.clone(),
        seq: Some(line.seq),
    }
}

/// Where an event comes from, when it tells something that the job's log does not.
pub(crate) fn event_source(kind: &EventKind) -> Option<&'static str> {
    match kind {
        EventKind::JobLog | EventKind::StepChanged { .. } | EventKind::Progress { .. } => None,
        EventKind::StateChanged { .. } => Some("state"),
        EventKind::Refused => Some("refused"),
        EventKind::JobQueued | EventKind::JobFinished { .. } => Some("job"),
        EventKind::HostRegistered
        | EventKind::HostChanged
        | EventKind::HostDeleted
        | EventKind::PowerSwitched => Some("host"),
        EventKind::Sighting => Some("sighting"),
        EventKind::ImageChanged => Some("image"),
        EventKind::GuestChanged => Some("guest"),
        EventKind::NodeChanged => Some("node"),
        EventKind::CatalogChanged => Some("catalog"),
        EventKind::System => Some("system"),
    }
}

fn from_event(event: &Event) -> Option<Line> {
    Some(Line {
        at: event.at,
        time: time_of_day(event.at),
        source: event_source(&event.kind)?,
        tone: tone(event.level),
        text: event.message.clone(),
        seq: None,
    })
}

/// An entry of a machine's boot log.
pub(crate) fn from_boot_log(entry: &BootLogEntry) -> Line {
    let seen = &entry.observation;
    let times = if entry.count > 1 { format!(" (×{})", entry.count) } else { String::new() };
    Line {
        at: seen.at,
        time: time_of_day(seen.at),
        source: stage_label(seen.stage),
        tone: if seen.answered { "info" } else { "quiet" },
        text: format!("{}{times}", seen.message),
        seq: None,
    }
}

/// What a story is told from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) log: Vec<LogLine>,
    pub(crate) events: Vec<Event>,
    pub(crate) boot: Vec<BootLogEntry>,
}

/// All lines between `from` and `to` in time order, the newest `most` of them.
pub(crate) fn story(
    sources: &Sources,
    from: Timestamp,
    to: Option<Timestamp>,
    most: usize,
) -> Vec<Line> {
    let inside = |line: &Line| line.at >= from && to.is_none_or(|to| line.at <= to);
    let boot = sources.boot.iter().map(from_boot_log).filter(inside);
    let mut events: Vec<&Event> = sources.events.iter().collect();
    events.sort_by_key(|e| e.seq);
    events.dedup_by_key(|e| e.seq);
    // The write that queues a job tells it to its log as well.
    let is_new = |event: &&Event| {
        event.kind != EventKind::JobQueued
            || !sources.log.iter().any(|l| l.at == event.at && l.message == event.message)
    };
    let events = events.into_iter().filter(is_new).filter_map(from_event).filter(inside);
    // What the machine asked comes before what we made of it, when both have the same instant.
    let mut lines: Vec<Line> = boot.chain(events).chain(sources.log.iter().map(from_log)).collect();
    lines.sort_by_key(|line| line.at);
    let surplus = lines.len().saturating_sub(most);
    lines.split_off(surplus)
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::boot::{BootObservation, BootStage};
    use crate::domain::event::Subject;

    fn event(seq: u64, at: i64, kind: EventKind) -> Event {
        let (level, subject) = (Level::Info, Subject::default());
        Event { seq, at: Timestamp(at), level, subject, kind, message: format!("event {seq}") }
    }

    #[test]
    fn all_sources_are_told_in_order_and_once() {
        let boot = |at: i64, count| BootLogEntry {
            last: Timestamp(at),
            observation: BootObservation {
                at: Timestamp(at),
                mac: None,
                address: None,
                stage: BootStage::Dhcp,
                answered: true,
                message: "offered".into(),
                fact: None,
                client: None,
            },
            count,
        };
        let log = LogLine {
            seq: 1,
            at: Timestamp(20),
            level: Level::Info,
            step: None,
            message: "armed".into(),
        };
        let sources = Sources {
            log: vec![log],
            events: vec![
                event(3, 30, EventKind::Refused),
                event(2, 20, EventKind::JobLog),
                Event { message: "armed".into(), ..event(4, 20, EventKind::JobQueued) },
                event(5, 21, EventKind::JobQueued),
                event(3, 30, EventKind::Refused),
            ],
            boot: vec![boot(25, 3), boot(5, 1), boot(99, 1)],
        };
        let told: Vec<String> = story(&sources, Timestamp(10), Some(Timestamp(50)), 100)
            .into_iter()
            .map(|l| format!("{} {}", l.source, l.text))
            .collect();
        assert_eq!(told, ["job armed", "job event 5", "DHCP offered (×3)", "refused event 3"]);
        assert_eq!(story(&sources, Timestamp(0), None, 2).len(), 2);
    }
}
