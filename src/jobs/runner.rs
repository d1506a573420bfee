//! Runs one step of a job with its record before and after, and again when it failed for a reason that may pass.
//!
//! ```text
//!  pending ── "running" written ──> step ──┬─ done ───────> "succeeded" written
//!                 ^                        ├─ may pass ───> log line, pause (doubling) ──┐
//!                 └────────────────────────┼─────────────────────────────────────────────┘
//!                                          ├─ for good ───> "failed" written with the reason: the driver ends the job, now or
//!                                          │                after a restart
//!                                          └─ stop or cancel: left as it is; its class says how it goes on
//! ```

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::engine::Engine;
use super::record::{cancel_requested, fail, log, set_step, skip_to};
use crate::domain::event::Level;
use crate::domain::fault::ErrorClass;
use crate::domain::host::Failure;
use crate::domain::id::{JobId, StepId};
use crate::domain::job::StepStatus;
use crate::domain::refusal::{Refusal, RefusalKind};

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) struct StepFailure {
    pub(super) reason: String,
    pub(super) hint: String,
    /// Worth trying again by itself.
    pub(super) is_transient: bool,
}

impl StepFailure {
    /// A failure that trying again does not mend.
    pub(super) fn for_good(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into(), is_transient: false }
    }

    /// A failure that is tried again when its class says that it may pass.
    pub(super) fn of(
        class: ErrorClass,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let is_transient = class == ErrorClass::Transient;
        Self { reason: reason.into(), hint: hint.into(), is_transient }
    }

    /// A failure that may pass.
    pub(super) fn passing(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: hint.into(), is_transient: true }
    }
}

impl From<Refusal> for StepFailure {
    fn from(refusal: Refusal) -> Self {
        let is_transient = matches!(refusal.kind, RefusalKind::Unavailable | RefusalKind::Internal);
        Self { reason: refusal.detail, hint: refusal.hint, is_transient }
    }
}

impl From<StepFailure> for Refusal {
    fn from(failure: StepFailure) -> Self {
        let kind = if failure.is_transient {
            RefusalKind::Unavailable
        } else {
            RefusalKind::Unprocessable
        };
        Self::new(kind, failure.reason, failure.hint)
    }
}

/// How a step ended well.
#[derive(Debug)]
pub(super) enum StepDone {
    /// Done; one sentence.
    Done(String),
    /// Done, and its success was written by the step itself together with what it changed.
    Recorded,
    /// There was nothing to do; why.
    Skipped(String),
    /// Done, and the steps before this one are not needed.
    GoTo(StepId, String),
}

/// How a step is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// Most tries of a step that fails for reasons that pass.
    pub(super) tries: u32,
    /// Between the first two tries; doubles then, up to a minute.
    pub(super) first_pause: Duration,
    /// A cancel may cut it short; otherwise it is seen to its end.
    pub(super) may_cut: bool,
}

impl Policy {
    /// Six tries, two and a half minutes of pauses together.
    pub(super) const PATIENT: Self =
        Self { tries: 6, first_pause: Duration::from_secs(5), may_cut: true };
    /// One try.
    pub(super) const ONCE: Self =
        Self { tries: 1, first_pause: Duration::from_secs(5), may_cut: true };
}

const LONGEST_PAUSE: Duration = Duration::from_secs(80);

/// Something that has steps.
pub(super) trait Steps: Send {
    /// How this step is run.
    fn policy(&self, step: &StepId) -> Policy;
    /// Carries a step out, from its beginning or from what an earlier attempt left.
    fn run<'a>(&'a mut self, step: &'a StepId) -> BoxFuture<'a, Result<StepDone, StepFailure>>;
}

/// Runs one step. One that failed for good leaves the job's failure.
///
/// At the stop a step is left where it is, as by a crash: its class says what the next start does with it.
///
/// # Errors
/// When the database fails.
pub(super) async fn run_recorded(
    engine: &Engine,
    id: JobId,
    steps: &mut dyn Steps,
    step: &StepId,
    waker: &Notify,
) -> Result<(), Refusal> {
    let policy = steps.policy(step);
    let mut pause = policy.first_pause;
    for attempt in 1..=policy.tries {
        set_step(engine, id, step.as_str(), StepStatus::Running, "").await?;
        let outcome = {
            let running = steps.run(step);
            tokio::pin!(running);
            loop {
                tokio::select! {
                    outcome = &mut running => break outcome,
                    () = waker.notified(), if policy.may_cut => {
                        if cancel_requested(engine, id).await? {
                            return Ok(());
                        }
                    }
                    () = engine.inner.stop.cancelled() => return Ok(()),
                }
            }
        };
        let failed = match outcome {
            Ok(StepDone::Recorded) => return Ok(()),
            Ok(StepDone::Done(detail)) => {
                set_step(engine, id, step.as_str(), StepStatus::Succeeded, &detail).await?;
                return Ok(());
            }
            Ok(StepDone::Skipped(why)) => {
                set_step(engine, id, step.as_str(), StepStatus::Skipped, &why).await?;
                return Ok(());
            }
            Ok(StepDone::GoTo(target, detail)) => {
                skip_to(engine, id, step, target, detail).await?;
                return Ok(());
            }
            Err(failed) => failed,
        };
        if engine.inner.stop.is_cancelled() || cancel_requested(engine, id).await? {
            return Ok(());
        }
        if !failed.is_transient || attempt == policy.tries {
            let failure = Failure { from: None, reason: failed.reason, hint: failed.hint };
            return fail(engine, id, step, failure).await;
        }
        let text = format!("{}; trying again in {} s", failed.reason, pause.as_secs());
        log(engine, id, Some(step.clone()), Level::Warn, text).await?;
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                () = waker.notified() => {
                    if cancel_requested(engine, id).await? {
                        return Ok(());
                    }
                }
                () = engine.inner.stop.cancelled() => return Ok(()),
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}
