//! Work on guests: one driver for every kind of task, one file per kind for its steps.
//!
//! ```text
//!  request ── one write: guest record + lock + job ──> driver ── place free? ──> step, step, … ──> end
//!                                                         │                         │            │
//!                                     restart: the same list of steps,              │            └ one write: guest
//!                                     the open one begins with a look               │              moved, lock released
//!                                                                                   └ before each change: pool, tag
//!                                                                                     and database are looked at
//! ```
//!
//! A step that starts a task of the cluster records the task's UPID before it waits, so that a restart waits for the same
//! task. A step that could have been half done looks first.

mod access;
mod adopt;
mod answer;
mod archive;
mod backup;
mod change;
mod create;
mod discovery;
pub(super) mod gpu;
mod health;
mod install;
mod journal;
mod place;
mod power;
mod provision;
mod publish;
mod remains;
mod remove;
mod request;
mod reveal;
mod schedule;
pub(super) mod stack;
mod task;
mod vitals;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::end;
use super::engine::Engine;
use super::record;
use super::runner::{self, Policy, StepDone, StepFailure, Steps};
use crate::apps::folder::AppFolder;
use crate::domain::event::Level;
use crate::domain::guest::{Guest, GuestEvent, GuestState};
use crate::domain::host::Failure;
use crate::domain::id::{JobId, StepId};
use crate::domain::job::{GuestTask, GuestWork, Job, JobStatus, Step, StepClass, StepStatus, Work};
use crate::domain::refusal::Refusal;
use crate::node::channel::Channel;
use crate::plan::guest::steps::{self as plan, AfterRestart, step};
use crate::proto::pve::ContainerConfig;
use crate::store::{GuestReads as _, JobReads as _, Tx};

pub use access::Layer;
pub(super) use access::{CHANNEL_SECRET, TOKEN_SECRET, failed, unavailable};
pub use answer::{Archive, Archives, Guests, Site, Vitals};
pub(super) use create::refused;

/// One job on one guest while its driver lives.
pub(super) struct Working<'a> {
    engine: &'a Engine,
    layer: &'a Layer,
    id: JobId,
    task: GuestTask,
    /// The guest as it was when the step began; what a step changes is changed here too.
    guest: Guest,
    /// The step that is being run.
    step: StepId,
    /// An open connection to the guest's node.
    channel: Option<Channel>,
    /// The app that the job is about, or why its files are not to be had.
    app: Result<Arc<AppFolder>, String>,
}

/// Runs until the job is over or the daemon stops.
///
/// # Errors
/// When the database fails; the records are as the last write left them.
pub(super) async fn drive(engine: &Engine, id: JobId, waker: &Notify) -> Result<(), Refusal> {
    let layer = match engine.layer() {
        Ok(layer) => layer,
        Err(off) => return give_up(engine, id, off).await,
    };
    let _place = loop {
        tokio::select! {
            place = layer.places.acquire() => break Some(place),
            () = waker.notified() => {
                // A cancelled job only lets its guest go: that needs no place.
                if record::cancel_requested(engine, id).await? {
                    break None;
                }
            }
            () = engine.inner.stop.cancelled() => return Ok(()),
        }
    };
    let mut app = match load(engine, id).await? {
        Some((_, work, guest)) => provision::load(layer, &guest, &work.task).await,
        None => return Ok(()),
    };
    let mut channel = None;
    let mut just_taken_up = true;
    loop {
        if engine.inner.stop.is_cancelled() {
            return Ok(());
        }
        let Some((job, work, guest)) = load(engine, id).await? else { return Ok(()) };
        if job.status.is_terminal() {
            return Ok(());
        }
        let Some(open) = open_step(&job) else {
            return end::finish(engine, id, JobStatus::Succeeded, None).await;
        };
        let was_begun = open.status == StepStatus::Running;
        let step = open.id.clone();
        let task = work.task;
        let mut working =
            Working { engine, layer, id, task, guest, step: step.clone(), channel, app };
        if let Some(failure) = job.failure {
            return stop(&mut working, JobStatus::Failed, failure).await;
        }
        if job.cancel_requested {
            let failure = Failure {
                from: None,
                reason: "cancelled by the operator".to_owned(),
                hint: format!("{}; nothing more was done", working.row_leaves()),
            };
            return stop(&mut working, JobStatus::Cancelled, failure).await;
        }
        if just_taken_up
            && was_begun
            && let Some(failure) = working.after_restart()
        {
            record::fail(engine, id, &step, failure).await?;
        } else {
            runner::run_recorded(engine, id, &mut working, &step, waker).await?;
        }
        just_taken_up = false;
        (channel, app) = (working.channel, working.app);
    }
}

fn open_step(job: &Job) -> Option<&Step> {
    job.steps.iter().find(|s| !matches!(s.status, StepStatus::Succeeded | StepStatus::Skipped))
}

async fn load(engine: &Engine, id: JobId) -> Result<Option<(Job, GuestWork, Guest)>, Refusal> {
    engine
        .store()
        .read(move |r| {
            let Some(job) = r.job(id)? else { return Ok(None) };
            let Work::Guest(work) = job.work.clone() else { return Ok(None) };
            Ok(r.guest(work.guest)?.map(|guest| (job, work, guest)))
        })
        .await
}

/// Ends a job whose app layer was switched off meanwhile.
async fn give_up(engine: &Engine, id: JobId, off: Refusal) -> Result<(), Refusal> {
    let failure = Failure { from: None, reason: off.detail, hint: off.hint };
    end::finish(engine, id, JobStatus::Failed, Some(failure)).await
}

/// Ends a job that did not succeed: what must not stay is taken back as far as the guest can be reached.
async fn stop(
    working: &mut Working<'_>,
    status: JobStatus,
    failure: Failure,
) -> Result<(), Refusal> {
    let engine = working.engine;
    let id = working.id;
    tokio::select! {
        () = install::leave_stopped(working) => {}
        () = engine.inner.stop.cancelled() => return Ok(()),
    }
    end::finish(engine, id, status, Some(failure)).await
}

/// What the end of a job does to its guest, in the same write: the record moves by its table and the lock is released.
///
/// # Errors
/// When the database fails.
pub(super) fn release(tx: &mut Tx<'_, '_>, job: &Job, work: &GuestWork) -> Result<(), Refusal> {
    let Some(mut guest) = tx.guest(work.guest)? else { return Ok(()) };
    if guest.active_job != Some(job.id) {
        return Ok(());
    }
    guest.active_job = None;
    let title = work.task.title(&guest.name);
    match (job.status, &job.failure) {
        (JobStatus::Succeeded, _) if matches!(work.task, GuestTask::Uninstall { .. }) => {
            remove::forget(tx, &guest, &work.task)?;
        }
        (JobStatus::Succeeded, _) => {
            let event = match work.task {
                GuestTask::Adopt => Some(GuestEvent::AdoptionConfirmed),
                _ if guest.state.is_busy() => Some(GuestEvent::Verified),
                _ => None,
            };
            if let Some(event) = event {
                // A removal that succeeded has deleted the record; every other busy state has this move.
                let _ = guest.step(event, tx.now());
            }
            tx.save_guest(&guest, &format!("{title}: done"))?;
        }
        // It was made and verified; what is missing is its definition, and that can be published again.
        (_, Some(_)) if guest.state == GuestState::Installing && only_unpublished(job) => {
            let _ = guest.step(GuestEvent::Verified, tx.now());
            tx.save_guest(&guest, &format!("{title}: it works, but is not published"))?;
        }
        (_, Some(failure)) if guest.state.is_busy() => {
            let earlier = guest.failure.clone();
            let may_go_back = matches!(guest.state, GuestState::Changing | GuestState::Removing);
            if may_go_back && is_untouched(job) {
                if let Some(earlier) = earlier {
                    return Ok(tx.fail_guest(&mut guest, earlier)?);
                }
                let _ = guest.step(GuestEvent::Untouched, tx.now());
                tx.save_guest(&guest, &format!("{title}: given up, nothing was changed"))?;
            } else {
                tx.fail_guest(&mut guest, failure.clone())?;
            }
        }
        _ => tx.save_guest(&guest, &format!("{title}: ended"))?,
    }
    Ok(())
}

/// Whether everything but the last step of an installation succeeded.
fn only_unpublished(job: &Job) -> bool {
    open_step(job).is_some_and(|s| s.id.as_str() == step::PUBLISH_SERVICE)
}

/// Whether no step that changes anything was begun, or had anything to do.
fn is_untouched(job: &Job) -> bool {
    job.steps
        .iter()
        .all(|s| s.class == StepClass::Pure || s.attempts == 0 || s.status == StepStatus::Skipped)
}

impl Steps for Working<'_> {
    fn policy(&self, step: &StepId) -> Policy {
        let scripts = [step::PROVISION, step::UPGRADE, step::UNINSTALL_SCRIPT];
        // A script that failed is not run again by itself unless the app says that it may be.
        // What these began goes on in the cluster when nobody waits for it, and the guest is locked there as long.
        let whole = [
            step::CREATE_CONTAINER,
            step::DESTROY_CONTAINER,
            step::RESTORE_CONTAINER,
            step::RESTORE_POINT,
            step::ROLL_BACK,
            step::RESIZE,
        ];
        if scripts.contains(&step.as_str()) && !self.retry_safe() {
            Policy::ONCE
        } else {
            Policy { may_cut: !whole.contains(&step.as_str()), ..Policy::PATIENT }
        }
    }

    fn run<'a>(&'a mut self, step: &'a StepId) -> BoxFuture<'a, Result<StepDone, StepFailure>> {
        Box::pin(self.run_step(step))
    }
}

impl Working<'_> {
    async fn run_step(&mut self, step: &StepId) -> Result<StepDone, StepFailure> {
        self.step = step.clone();
        self.guest = self.reloaded().await?;
        match step.as_str() {
            step::VALIDATE_REQUEST => install::validate_request(self).await,
            step::VALIDATE_MANIFEST => install::validate_manifest(self).await,
            step::VALIDATE_PLACEMENT => install::validate_placement(self).await,
            step::VALIDATE_GPU => gpu::validate(self).await,
            step::ALLOCATE_CTID => create::allocate(self).await,
            step::CREATE_CONTAINER => create::create(self).await,
            step::CONFIGURE_CONTAINER => create::configure(self).await,
            step::RESIZE => change::resize(self).await,
            step::ATTACH_GPU => gpu::attach(self).await,
            step::VERIFY_GPU => gpu::verify(self).await,
            step::START_CONTAINER => power::start(self).await,
            step::WAIT_FOR_NETWORK => install::wait_for_network(self).await,
            step::PUSH_ASSETS => provision::push(self).await,
            step::PROVISION | step::UPGRADE => provision::run(self).await,
            step::HEALTHCHECK => install::healthcheck(self).await,
            step::COLLECT_OUTPUTS => install::collect_outputs(self).await,
            step::PUBLISH_SERVICE => publish::publish(self).await,
            step::WITHDRAW_SERVICE => publish::withdraw(self).await,
            step::UNINSTALL_SCRIPT => remove::run_script(self).await,
            step::STOP_CONTAINER => power::stop(self).await,
            step::KEEP_VOLUMES => remove::keep_volumes(self).await,
            step::DESTROY_CONTAINER => remove::destroy(self).await,
            step::RESTORE_POINT => backup::restore_point(self).await,
            step::ROLL_BACK => backup::take_back(self).await,
            step::POWER => power::act(self).await,
            step::BACKUP => backup::back_up(self).await,
            step::PRUNE_BACKUPS => backup::prune(self).await,
            step::RESTORE_CONTAINER => backup::restore(self).await,
            step::MARK_CONTAINER => adopt::mark(self).await,
            other => Err(StepFailure::for_good(
                format!("the step '{other}' is not known"),
                "the job was made by another version; cancel it and ask again",
            )),
        }
    }

    async fn reloaded(&self) -> Result<Guest, StepFailure> {
        let id = self.guest.id;
        self.engine
            .store()
            .read::<_, Refusal, _>(move |r| Ok(r.guest(id)?))
            .await?
            .ok_or_else(|| StepFailure::for_good("the guest's record is gone", ""))
    }

    /// Changes the guest's record, here and in the database.
    async fn record(
        &mut self,
        message: String,
        change: impl FnOnce(&mut Guest) + Send + 'static,
    ) -> Result<(), StepFailure> {
        let id = self.guest.id;
        let saved = self
            .engine
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let Some(mut guest) = tx.guest(id)? else { return Ok(None) };
                change(&mut guest);
                tx.save_guest(&guest, &message)?;
                Ok(Some(guest))
            })
            .await?;
        if let Some(guest) = saved {
            self.guest = guest;
        }
        Ok(())
    }

    async fn log(&self, level: Level, message: impl Into<String>) -> Result<(), StepFailure> {
        Ok(record::log(self.engine, self.id, Some(self.step.clone()), level, message.into())
            .await?)
    }

    /// The root channel of the guest's node; opened when there is none or it was lost.
    async fn channel(&mut self) -> Result<&mut Channel, StepFailure> {
        if self.channel.as_ref().is_none_or(Channel::is_closed) {
            self.channel = Some(self.engine.channel(&self.guest.node).await?);
        }
        self.channel.as_mut().ok_or_else(|| StepFailure::passing("no root channel", ""))
    }

    /// Whether the guest may be changed, seen now; its configuration.
    async fn ours(&self) -> Result<ContainerConfig, StepFailure> {
        self.engine.ours(&self.guest).await
    }

    /// The row of the step that is being run, in the table of this task's steps.
    fn row(&self) -> Option<&'static plan::StepRow> {
        plan::rows(&self.task).iter().find(|row| row.id == self.step.as_str())
    }

    fn row_leaves(&self) -> &'static str {
        self.row().map_or("what was made is kept", |row| row.leaves)
    }

    /// How long the step may take.
    fn limit(&self) -> Duration {
        let app = provision::folder(self).ok();
        let manifest = app.as_ref().map(|a| &a.manifest);
        self.row().map_or(LEAST_LIMIT, |row| plan::limit(row, manifest))
    }

    /// Why a step that was begun before a restart is not gone on with.
    fn after_restart(&self) -> Option<Failure> {
        let app = provision::folder(self).ok();
        match plan::after_restart(self.row()?, app.as_ref().map(|a| &a.manifest)) {
            AfterRestart::Repeat | AfterRestart::Look => None,
            AfterRestart::Fail(reason) => Some(Failure {
                from: None,
                reason: reason.to_owned(),
                hint: "look at the guest, then try again or destroy it".to_owned(),
            }),
        }
    }

    fn retry_safe(&self) -> bool {
        provision::folder(self).is_ok_and(|app| app.manifest.provision.retry_safe)
    }
}

/// For a step that is in no table.
const LEAST_LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at something that takes seconds.
const POLL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod test;
