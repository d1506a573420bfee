//! What drivers write about a job while they work on it: steps, log lines, progress. Each is one transaction.

use super::engine::Engine;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::Failure;
use crate::domain::id::{JobId, StepId};
use crate::domain::job::{Job, StepStatus};
use crate::domain::refusal::Refusal;
use crate::store::{JobReads as _, NewEvent};

/// The job as it is recorded now.
pub(super) async fn load(engine: &Engine, id: JobId) -> Result<Option<Job>, Refusal> {
    engine.store().read(move |r| Ok(r.job(id)?)).await
}

/// Whether the operator asked the job to stop; so does one that is gone.
pub(super) async fn cancel_requested(engine: &Engine, id: JobId) -> Result<bool, Refusal> {
    Ok(load(engine, id).await?.is_none_or(|job| job.cancel_requested))
}

/// Changes a step of a job that is not over.
pub(super) async fn set_step(
    engine: &Engine,
    id: JobId,
    step: &str,
    status: StepStatus,
    detail: &str,
) -> Result<(), Refusal> {
    let (step, detail) = (step.to_owned(), detail.to_owned());
    engine
        .store()
        .write(move |tx| {
            if let Some(mut job) = tx.job(id)?.filter(|j| !j.status.is_terminal()) {
                tx.set_step(&mut job, &step, status, &detail)?;
            }
            Ok(())
        })
        .await
}

/// Ends a step as failed for good, and with it what can still be done for the job's success. What must not stay is taken back
/// before the job ends; a daemon that dies meanwhile finds the failure here and does not run the step again.
pub(super) async fn fail(
    engine: &Engine,
    id: JobId,
    step: &StepId,
    failure: Failure,
) -> Result<(), Refusal> {
    let step = step.clone();
    engine
        .store()
        .write(move |tx| {
            if let Some(mut job) = tx.job(id)?.filter(|j| !j.status.is_terminal()) {
                let reason = failure.reason.clone();
                job.failure = Some(failure);
                tx.set_step(&mut job, step.as_str(), StepStatus::Failed, &reason)?;
            }
            Ok(())
        })
        .await
}

/// Ends a step as done and those up to `to` as not needed.
pub(super) async fn skip_to(
    engine: &Engine,
    id: JobId,
    from: &StepId,
    to: StepId,
    detail: String,
) -> Result<(), Refusal> {
    let from = from.clone();
    engine
        .store()
        .write(move |tx| {
            let Some(mut job) = tx.job(id)? else { return Ok(()) };
            tx.set_step(&mut job, from.as_str(), StepStatus::Succeeded, &detail)?;
            let between: Vec<StepId> = job
                .steps
                .iter()
                .map(|s| s.id.clone())
                .skip_while(|s| *s != from)
                .skip(1)
                .take_while(|s| *s != to)
                .collect();
            for step in between {
                tx.set_step(&mut job, step.as_str(), StepStatus::Skipped, "not needed")?;
            }
            Ok(())
        })
        .await
}

/// Appends to the job's log.
pub(super) async fn log(
    engine: &Engine,
    id: JobId,
    step: Option<StepId>,
    level: Level,
    message: String,
) -> Result<(), Refusal> {
    log_all(engine, id, step, vec![(level, message)]).await
}

/// Appends several lines to the job's log in one write.
pub(super) async fn log_all(
    engine: &Engine,
    id: JobId,
    step: Option<StepId>,
    lines: Vec<(Level, String)>,
) -> Result<(), Refusal> {
    engine
        .store()
        .write(move |tx| {
            if let Some(job) = tx.job(id)? {
                for (level, message) in &lines {
                    tx.log(&job, step.as_ref(), *level, message)?;
                }
            }
            Ok(())
        })
        .await
}

/// Tells readers how far a job is, in bytes.
pub(super) async fn progress(
    engine: &Engine,
    id: JobId,
    done: u64,
    total: Option<u64>,
) -> Result<(), Refusal> {
    engine
        .store()
        .write(move |tx| {
            let message = match total {
                Some(total) => format!("{} of {} MiB", done >> 20, total >> 20),
                None => format!("{} MiB", done >> 20),
            };
            tx.emit(NewEvent {
                level: Level::Info,
                subject: Subject { job: Some(id), ..Subject::default() },
                kind: EventKind::Progress { done, total },
                message,
            })?;
            Ok(())
        })
        .await
}
