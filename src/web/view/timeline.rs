//! The nine states of a host with the time spent in each, this run beside the last one that succeeded. Pure.

use std::time::Duration;

use super::{Span, duration, state_label, state_meaning};
use crate::domain::event::{Event, EventKind};
use crate::domain::host::HostState;
use crate::domain::time::Timestamp;

/// One state of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) meaning: &'static str,
    /// `done`, `now`, `todo`, `skipped`: chooses look and the word for screen readers.
    pub(crate) place: &'static str,
    /// When this run entered it.
    pub(crate) entered: String,
    /// Time in it, this run.
    pub(crate) span: Span,
    /// Time in it, last successful run.
    pub(crate) last: String,
    /// Lengths of both bars, 0 to 100 of the longest.
    pub(crate) bar: u64,
    pub(crate) last_bar: u64,
}

/// When each state was entered and left, from a job's events in any order.
fn visits(events: &[Event]) -> Vec<(HostState, Timestamp, Option<Timestamp>)> {
    let mut moves: Vec<_> = events
        .iter()
        .filter_map(|e| match e.kind {
            EventKind::StateChanged { to, .. } => Some((e.seq, to, e.at)),
            _ => None,
        })
        .collect();
    moves.sort_by_key(|(seq, ..)| *seq);
    let left = moves.iter().skip(1).map(|(_, _, at)| Some(*at)).chain([None]);
    moves.iter().zip(left).map(|((_, to, at), left)| (*to, *at, left)).collect()
}

/// States that are stayed in: reaching them ends a run, so time in them says nothing about it.
fn is_rest(state: HostState) -> bool {
    matches!(state, HostState::Registered | HostState::Ready | HostState::Failed)
}

/// The timeline of a host that is in `state`, from the events of its newest rebuild and of the last successful one.
pub(crate) fn timeline(
    state: HostState,
    run: &[Event],
    last: &[Event],
    now: Timestamp,
) -> Vec<Stop> {
    let (run, last) = (visits(run), visits(last));
    let reached = run.iter().map(|(s, ..)| *s).max().unwrap_or(state);
    let spent = |visits: &[(HostState, Timestamp, Option<Timestamp>)], of| {
        let (_, from, to) = visits.iter().rev().find(|(s, ..)| *s == of)?;
        Some((*from, *to))
    };
    let took = |visits: &[_], of, now: Option<Timestamp>| {
        let (from, to) = spent(visits, of)?;
        (!is_rest(of)).then(|| to.or(now).map(|to| to.since(from))).flatten()
    };
    let longest = HostState::ALL
        .iter()
        .flat_map(|s| [took(&run, *s, Some(now)), took(&last, *s, None)])
        .flatten()
        .max()
        .unwrap_or(Duration::ZERO);
    let bar = |d: Option<Duration>| {
        let part = d.unwrap_or_default().as_millis() * 100 / longest.as_millis().max(1);
        u64::try_from(part).unwrap_or(100).min(100)
    };
    HostState::ALL
        .iter()
        .map(|&of| {
            let visit = spent(&run, of);
            let place = match (of == state, visit) {
                (true, _) => "now",
                (false, Some(_)) => "done",
                // It had this state before the run that is shown.
                (false, None) if of == HostState::Registered => "done",
                (false, None) if of < reached && of != HostState::Failed => "skipped",
                (false, None) => "todo",
            };
            let span = match visit {
                Some((from, to)) if !is_rest(of) => Span::new(Some(from), to, now),
                _ => Span::default(),
            };
            Stop {
                name: of.as_str(),
                label: state_label(of),
                meaning: state_meaning(of),
                place,
                entered: visit.map(|(at, _)| super::time_of_day(at)).unwrap_or_default(),
                span,
                last: took(&last, of, None).map(duration).unwrap_or_default(),
                bar: bar(took(&run, of, Some(now))),
                last_bar: bar(took(&last, of, None)),
            }
        })
        .collect()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::event::{Level, Subject};
    use HostState as S;

    fn moved(seq: u64, at: i64, from: S, to: S) -> Event {
        Event {
            seq,
            at: Timestamp(at * 1000),
            level: Level::Info,
            subject: Subject::default(),
            kind: EventKind::StateChanged { from, to },
            message: String::new(),
        }
    }

    fn stop(stops: &[Stop], state: S) -> &Stop {
        stops.iter().find(|s| s.name == state.as_str()).unwrap()
    }

    #[test]
    fn this_run_is_shown_beside_the_last_one() {
        let run = [
            moved(12, 130, S::PxeBooted, S::Installing),
            moved(11, 120, S::PxeReady, S::PxeBooted),
            moved(10, 100, S::Ready, S::PxeReady),
        ];
        let last = [
            moved(1, 0, S::Registered, S::PxeReady),
            moved(2, 40, S::PxeReady, S::PxeBooted),
            moved(3, 45, S::PxeBooted, S::Installing),
            moved(4, 245, S::Installing, S::Installed),
        ];
        let stops = timeline(S::Installing, &run, &last, Timestamp(190_000));
        assert_eq!(stops.len(), 9);
        let pxe = stop(&stops, S::PxeReady);
        assert_eq!(
            (pxe.place, pxe.span.text.as_str(), pxe.last.as_str()),
            ("done", "20 s", "40 s")
        );
        let now = stop(&stops, S::Installing);
        assert_eq!((now.place, now.span.running_since), ("now", Some(130_000)));
        assert_eq!((now.bar, now.last_bar), (30, 100));
        assert_eq!(stop(&stops, S::Joining).place, "todo");
        assert_eq!(stop(&stops, S::Failed).place, "todo");
    }

    #[test]
    fn a_lost_webhook_is_a_skipped_state() {
        let run =
            [moved(1, 0, S::PxeBooted, S::Installing), moved(2, 9, S::Installing, S::FirstBoot)];
        let stops = timeline(S::FirstBoot, &run, &[], Timestamp(10_000));
        assert_eq!(stop(&stops, S::Installed).place, "skipped");
    }

    #[test]
    fn a_failure_is_the_present_stop() {
        let run = [moved(1, 0, S::Registered, S::PxeReady), moved(2, 9, S::PxeReady, S::Failed)];
        let stops = timeline(S::Failed, &run, &[], Timestamp(10_000));
        assert_eq!(stop(&stops, S::Failed).place, "now");
        assert_eq!(stop(&stops, S::PxeReady).span.text, "9 s");
    }
}
