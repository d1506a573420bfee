//! What happened since the start, counted for metrics: moves of hosts, jobs that ended and how long they and the steps of
//! rebuilds took, what was seen of booting machines. Fed by the store's events and by the recorder.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::domain::boot::{BootObservation, BootStage};
use crate::domain::event::{Event, EventKind};
use crate::domain::host::HostState;
use crate::domain::job::{Job, JobStatus, Work};
use crate::domain::time::Timestamp;
use crate::store::{EventReads as _, JobReads as _, Store, StoreError};
use crate::web::metrics::{Family, Kind, Sample, Spread, float};

/// Bounds in seconds: from what is checked at once to an installation that needs the whole evening.
const BOUNDS: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];
/// Events read again at a time after the stream was too fast.
const BATCH: usize = 500;

/// Counts since the start. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    moves: BTreeMap<HostState, u64>,
    jobs: BTreeMap<(&'static str, &'static str), Spread>,
    steps: BTreeMap<String, Spread>,
}

impl Tally {
    /// Counts what the store tells until the stop. `heard` was taken before anything could happen.
    pub(super) async fn follow(
        self,
        store: Store,
        mut heard: tokio::sync::broadcast::Receiver<Arc<Event>>,
        stop: CancellationToken,
    ) {
        let mut newest = None;
        loop {
            let event = tokio::select! {
                event = heard.recv() => event,
                () = stop.cancelled() => return,
            };
            let told = match event {
                // Read from the log already, when the stream had been too fast.
                Ok(event) if newest.is_some_and(|newest| event.seq <= newest) => continue,
                Ok(event) => {
                    newest = Some(event.seq);
                    self.count(&store, &event).await
                }
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(_)) => self.catch_up(&store, &mut newest).await,
            };
            if let Err(error) = told {
                tracing::warn!(error = super::chain(&error), "an event is missing in the metrics");
            }
        }
    }

    /// Counts what was missed, from the log.
    async fn catch_up(&self, store: &Store, newest: &mut Option<u64>) -> Result<(), StoreError> {
        while let Some(after) = *newest {
            let missed = store.read(move |read| read.events_after(after, BATCH)).await?;
            let Some(last) = missed.last() else { break };
            *newest = Some(last.seq);
            for event in &missed {
                self.count(store, event).await?;
            }
        }
        Ok(())
    }

    async fn count(&self, store: &Store, event: &Event) -> Result<(), StoreError> {
        match (&event.kind, event.subject.job) {
            (EventKind::StateChanged { to, .. }, _) => {
                *self.counts().moves.entry(*to).or_default() += 1;
            }
            (EventKind::JobFinished { .. }, Some(id)) => {
                if let Some(job) = store.read(move |read| read.job(id)).await? {
                    self.ended(&job);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts a job that is over.
    pub(super) fn ended(&self, job: &Job) {
        let mut counts = self.counts();
        let began = job.started.unwrap_or(job.created);
        if let (Some(finished), Some(status)) = (job.finished, label(job.status)) {
            add(counts.jobs.entry((job.kind(), status)).or_insert_with(none), began, finished);
        }
        if !matches!(job.work, Work::Rebuild(_)) {
            return;
        }
        for step in &job.steps {
            if let (Some(began), Some(finished)) = (step.started, step.finished) {
                let spread = counts.steps.entry(step.id.to_string()).or_insert_with(none);
                add(spread, began, finished);
            }
        }
    }

    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers as metrics. What every dashboard asks for is there from the start, with zero.
    pub(super) fn families(&self) -> Vec<Family> {
        let counts = self.counts();
        let moves = HostState::ALL
            .iter()
            .map(|s| (s.to_string(), float(counts.moves.get(s).copied().unwrap_or(0))));
        let mut jobs = counts.jobs.clone();
        for status in [JobStatus::Succeeded, JobStatus::Failed, JobStatus::Cancelled] {
            jobs.entry(("rebuild", label(status).unwrap_or_default())).or_insert_with(none);
        }
        let jobs = jobs.into_iter().map(|((kind, status), spread)| {
            (vec![("kind", kind.to_owned()), ("status", status.to_owned())], spread)
        });
        let steps = counts.steps.iter().map(|(id, s)| (vec![("step", id.clone())], s.clone()));
        vec![
            Family::labelled(
                "ironhatch_host_moves",
                "Moves of hosts since the start, by the state that they came to: the funnel of rebuilds",
                Kind::Counter,
                "state",
                moves,
            ),
            Family::spread(
                "ironhatch_job_seconds",
                "Time that jobs took from their first step to their end",
                jobs,
            ),
            Family::spread(
                "ironhatch_rebuild_step_seconds",
                "Time of each step of the rebuilds that ended",
                steps,
            ),
        ]
    }
}

fn none() -> Spread {
    Spread::new(BOUNDS)
}

fn add(spread: &mut Spread, began: Timestamp, finished: Timestamp) {
    spread.add(finished.since(began).as_secs_f64());
}

/// `None` while it is not over.
fn label(status: JobStatus) -> Option<&'static str> {
    match status {
        JobStatus::Pending | JobStatus::Running => None,
        JobStatus::Succeeded => Some("succeeded"),
        JobStatus::Failed => Some("failed"),
        JobStatus::Cancelled => Some("cancelled"),
    }
}

/// What was seen of booting machines, by where on their way and whether they got what they asked for.
#[derive(Debug, Default)]
pub(crate) struct Stages([[AtomicU64; 2]; STAGES.len()]);

const STAGES: [(BootStage, &str); 5] = [
    (BootStage::Dhcp, "dhcp"),
    (BootStage::Pxe, "pxe"),
    (BootStage::Tftp, "tftp"),
    (BootStage::Http, "http"),
    (BootStage::Callback, "callback"),
];

impl Stages {
    /// Counts one observation.
    pub(super) fn count(&self, observation: &BootObservation) {
        let place = STAGES.iter().position(|(stage, _)| *stage == observation.stage);
        let cell = place.and_then(|at| self.0.get(at)?.get(usize::from(observation.answered)));
        if let Some(cell) = cell {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn family(&self) -> Family {
        let cells = STAGES.iter().zip(&self.0).flat_map(|((_, stage), cells)| {
            ["no", "yes"].into_iter().zip(cells).map(move |(answered, cell)| {
                let labels = vec![("stage", (*stage).to_owned()), ("answered", answered.into())];
                let count = float(cell.load(Ordering::Relaxed));
                (labels, Sample::Number(count))
            })
        });
        Family {
            name: "ironhatch_boot_requests",
            help: "Packets and requests of booting machines, by where on their way, and whether they got what they asked for",
            kind: Kind::Counter,
            samples: cells.collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod test {
    use super::*;
    use crate::domain::id::{HostId, JobId};
    use crate::domain::job::{Rebuild, Step, StepClass, StepStatus};

    /// A rebuild with one step of 30 seconds that ended after 100.
    pub(in crate::app) fn rebuild() -> Job {
        let step = Step {
            status: StepStatus::Succeeded,
            started: Some(Timestamp(1_000)),
            finished: Some(Timestamp(31_000)),
            ..Step::pending("preflight".parse().unwrap(), "Check".into(), StepClass::Pure)
        };
        let work = Rebuild {
            host: HostId(uuid::Uuid::from_u128(1)),
            hostname: "pve1".parse().unwrap(),
            image: "image-1".parse().unwrap(),
            disk: None,
            replace_node: false,
            token_hash: None,
            public_key: None,
            answer_served: None,
            join_started: false,
            part_of: None,
        };
        Job {
            id: JobId(uuid::Uuid::from_u128(2)),
            work: Work::Rebuild(work),
            status: JobStatus::Succeeded,
            created: Timestamp(0),
            started: Some(Timestamp(1_000)),
            finished: Some(Timestamp(101_000)),
            steps: vec![step],
            failure: None,
            cancel_requested: false,
        }
    }

    #[test]
    fn a_job_that_ended_counts_with_its_kind_its_end_and_its_steps() {
        let tally = Tally::default();
        tally.ended(&rebuild());
        let counts = tally.counts();
        let spread = &counts.jobs[&("rebuild", "succeeded")];
        assert_eq!((spread.count(), spread.seconds()), (1, 100.0));
        assert_eq!(counts.steps["preflight"].seconds(), 30.0);
    }

    #[test]
    fn a_job_that_goes_on_is_not_counted() {
        let tally = Tally::default();
        tally.ended(&Job { status: JobStatus::Running, ..rebuild() });
        assert!(tally.counts().jobs.is_empty());
    }
}
