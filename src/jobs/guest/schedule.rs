//! What happens to guests without anybody asking: backups on schedule, the end of failed installations, a look at the
//! nodes' GPUs. One task, woken by its own clock.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::request;
use crate::config::apps::BackupSchedule;
use crate::domain::app::ContentHash;
use crate::domain::guest::{Guest, GuestEvent, GuestState};
use crate::domain::id::GuestId;
use crate::domain::job::{GuestTask, Job, JobStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::time::Timestamp;
use crate::jobs::Engine;
use crate::store::{GuestReads as _, JobReads as _};

/// How often the schedule is looked at.
const LOOK: Duration = Duration::from_secs(60);
/// How often nodes are asked for their GPUs.
const GPUS: Duration = Duration::from_secs(3600);
/// How often copies of apps that nothing uses any more are removed, and how long nobody must have wanted them.
const COPIES: Duration = Duration::from_secs(24 * 3600);

/// Runs until the stop.
pub(super) async fn keep_house(engine: Engine, stop: CancellationToken) {
    let mut gpus_seen: Option<Timestamp> = None;
    let mut copies_seen = engine.store().now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = engine.store().now();
        if let Err(error) = look(&engine, now).await {
            tracing::warn!(%error, "the schedule of guests could not be carried out");
        }
        if gpus_seen.is_none_or(|seen| now.since(seen) >= GPUS) {
            gpus_seen = Some(now);
            if let Err(error) = super::gpu::look_at_all(&engine).await {
                tracing::warn!(%error, "the nodes' GPUs could not be looked at");
            }
        }
        if now.since(copies_seen) >= COPIES {
            copies_seen = now;
            if let Err(error) = drop_copies(&engine).await {
                tracing::warn!(%error, "unused copies of apps could not be removed");
            }
        }
    }
}

async fn look(engine: &Engine, now: Timestamp) -> Result<(), Refusal> {
    let apps = &engine.layer()?.apps;
    let rules =
        Rules { backups: apps.backups.clone(), destroy_failed_after: apps.destroy_failed_after };
    let due = engine
        .store()
        .read::<_, Refusal, _>(move |r| {
            let mut due = Vec::new();
            for guest in r.guests()?.into_iter().filter(|g| g.is_ours() && g.active_job.is_none()) {
                let jobs = r.jobs_of_guest(guest.id, request::LOOK_BACK)?;
                due.extend(rules.due(&guest, &jobs, now).map(|task| (guest.id, task)));
            }
            Ok(due)
        })
        .await?;
    for (guest, task) in due {
        // One that cannot begin (busy in this moment) is found again at the next look.
        if let Err(refusal) = queue(engine, guest, task).await {
            tracing::warn!(%guest, %refusal, "scheduled work could not be queued");
        }
    }
    Ok(())
}

/// Copies of apps are kept for guests, for what they can return to, and for what running jobs bring.
async fn drop_copies(engine: &Engine) -> Result<(), Refusal> {
    let used = engine
        .store()
        .read::<_, Refusal, _>(|r| Ok(in_use(&r.guests()?, &r.active_jobs()?)))
        .await?;
    let dropped = engine.layer()?.library.prune(used, COPIES).await;
    dropped.map_err(|e| {
        let hint = "Look at the permissions and the free space of the data directory.";
        Refusal::new(RefusalKind::Internal, with_causes(&e), hint)
    })
}

fn in_use(guests: &[Guest], jobs: &[Job]) -> BTreeSet<ContentHash> {
    let kept = guests.iter().flat_map(|guest| {
        let point = guest.restore_point.as_ref().and_then(|point| point.app.as_ref());
        guest.app.iter().chain(point).map(|app| app.hash.clone())
    });
    let brought = jobs.iter().filter_map(|job| match &job.work {
        Work::Guest(work) => match &work.task {
            GuestTask::Upgrade { to } => Some(to.hash.clone()),
            _ => None,
        },
        _ => None,
    });
    kept.chain(brought).collect()
}

async fn queue(engine: &Engine, guest: GuestId, task: GuestTask) -> Result<(), Refusal> {
    let job = engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            let Some(mut guest) = tx.guest(guest)?.filter(|g| g.active_job.is_none()) else {
                return Ok(None);
            };
            if matches!(task, GuestTask::Uninstall { .. }) {
                // Since the look it may have been tried again.
                let jobs = tx.jobs_of_guest(guest.id, request::LOOK_BACK)?;
                if guest.state != GuestState::Failed
                    || request::failed_install(&jobs).is_none()
                    || guest.step(GuestEvent::RemovalStarted, tx.now()).is_err()
                {
                    return Ok(None);
                }
            }
            request::start(tx, &mut guest, task, None).map(Some)
        })
        .await?;
    if let Some(job) = job {
        engine.drive(job);
    }
    Ok(())
}

/// What the configuration asks to be done by itself.
#[derive(Debug, Clone)]
struct Rules {
    backups: Option<BackupSchedule>,
    destroy_failed_after: Option<Duration>,
}

impl Rules {
    /// What a guest is due for now. `jobs`: its newest ones, newest first.
    fn due(&self, guest: &Guest, jobs: &[Job], now: Timestamp) -> Option<GuestTask> {
        if guest.state == GuestState::Failed
            && let Some(after) = self.destroy_failed_after
            && now.since(guest.state_since) >= after
            && request::failed_install(jobs).is_some()
        {
            return Some(GuestTask::Uninstall { keep_volumes: false, destroy_failed: true });
        }
        let schedule = self.backups.as_ref()?;
        if guest.state == GuestState::Ready && is_backup_due(schedule, guest, jobs, now) {
            return Some(GuestTask::Backup { storage: schedule.storage.clone(), scheduled: true });
        }
        None
    }
}

/// The last try counts, not the last success: a storage that is full is not filled with tries.
fn is_backup_due(schedule: &BackupSchedule, guest: &Guest, jobs: &[Job], now: Timestamp) -> bool {
    let last = jobs.iter().find(|job| {
        job.status != JobStatus::Cancelled
            && matches!(&job.work, Work::Guest(work)
                if matches!(work.task, GuestTask::Backup { scheduled: true, .. }))
    });
    now.since(last.map_or(guest.created, |job| job.created)) >= schedule.every
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::guest::sample::guest;
    use crate::domain::guest::{RestoreKind, RestorePoint};
    use crate::domain::id::JobId;
    use crate::domain::job::{AppVersion, GuestWork, PowerAction};

    const DAY: i64 = 24 * 3600 * 1000;

    fn rules() -> Rules {
        Rules {
            backups: Some(BackupSchedule {
                storage: "backup".parse().unwrap(),
                every: Duration::from_secs(24 * 3600),
                keep: 3,
            }),
            destroy_failed_after: Some(Duration::from_secs(7 * 24 * 3600)),
        }
    }

    fn job(at: i64, task: GuestTask, status: JobStatus) -> Job {
        let guest = guest(101);
        Job {
            id: JobId(uuid::Uuid::nil()),
            work: Work::Guest(GuestWork {
                guest: guest.id,
                name: guest.name,
                task,
                parent: None,
                pending: None,
            }),
            status,
            created: Timestamp(at),
            started: None,
            finished: None,
            steps: Vec::new(),
            failure: None,
            cancel_requested: false,
        }
    }

    fn backup(at: i64, scheduled: bool, status: JobStatus) -> Job {
        job(at, GuestTask::Backup { storage: "backup".parse().unwrap(), scheduled }, status)
    }

    #[test]
    fn a_backup_is_due_a_day_after_the_last_scheduled_try() {
        let due = |jobs: &[Job], now| rules().due(&guest(101), jobs, Timestamp(now));
        assert_eq!(due(&[], DAY - 1), None);
        assert!(matches!(due(&[], DAY), Some(GuestTask::Backup { scheduled: true, .. })));
        // One that failed is not tried again and again; one by hand does not count.
        assert_eq!(due(&[backup(DAY, true, JobStatus::Failed)], 2 * DAY - 1), None);
        assert!(due(&[backup(DAY, false, JobStatus::Succeeded)], DAY).is_some());
        assert!(due(&[backup(DAY, true, JobStatus::Cancelled)], DAY).is_some());
    }

    #[test]
    fn only_the_remains_of_a_failed_installation_are_destroyed_by_themselves() {
        let mut failed = guest(101);
        failed.state = GuestState::Failed;
        let install = job(0, GuestTask::Install { app: "a".parse().unwrap() }, JobStatus::Failed);
        let upgrade = job(0, GuestTask::Return, JobStatus::Failed);
        let due = |jobs: &[Job], now| rules().due(&failed, jobs, Timestamp(now));
        assert_eq!(due(std::slice::from_ref(&install), 7 * DAY - 1), None);
        assert!(matches!(due(&[install], 7 * DAY), Some(GuestTask::Uninstall { .. })));
        assert_eq!(due(&[upgrade], 70 * DAY), None);
        let never = Rules { destroy_failed_after: None, ..rules() };
        let install = job(0, GuestTask::Install { app: "a".parse().unwrap() }, JobStatus::Failed);
        assert_eq!(never.due(&failed, &[install], Timestamp(700 * DAY)), None);
    }

    #[test]
    fn only_an_installation_that_was_the_last_work_counts_as_failed() {
        let install = |status| job(0, GuestTask::Install { app: "wiki".parse().unwrap() }, status);
        let power = job(1, GuestTask::Power { action: PowerAction::Start }, JobStatus::Succeeded);
        let upgrade = job(1, GuestTask::Return, JobStatus::Failed);
        let found = |jobs: &[Job]| request::failed_install(jobs).is_some();
        assert!(found(&[install(JobStatus::Failed)]));
        assert!(found(&[power.clone(), install(JobStatus::Cancelled)]), "it was looked at");
        // What ran once may hold data.
        assert!(!found(&[install(JobStatus::Succeeded)]));
        assert!(!found(&[upgrade.clone(), install(JobStatus::Succeeded)]));
        assert!(!found(&[upgrade, install(JobStatus::Failed)]));
        assert!(!found(&[install(JobStatus::Succeeded), install(JobStatus::Failed)]));
        assert!(!found(&[power]));
    }

    #[test]
    fn what_guests_run_may_return_to_or_are_brought_to_is_in_use() {
        let mut guest = guest(101);
        let app = |hash: &str| {
            let mut app = guest.app.clone().expect("it has an app");
            app.hash = ContentHash(hash.repeat(64));
            app
        };
        let (now, before) = (app("a"), app("b"));
        let to = AppVersion {
            id: now.id.clone(),
            version: "2".into(),
            source: now.source.clone(),
            hash: ContentHash("c".repeat(64)),
        };
        guest.restore_point = Some(RestorePoint {
            kind: RestoreKind::Snapshot { name: "before".into() },
            made: Timestamp(0),
            before: String::new(),
            app: Some(before),
            spec: None,
        });
        guest.app = Some(now);
        let jobs = [job(0, GuestTask::Upgrade { to }, JobStatus::Running)];
        let used = in_use(&[guest], &jobs);
        assert_eq!(used, ["a", "b", "c"].map(|hash| ContentHash(hash.repeat(64))).into());
    }
}
