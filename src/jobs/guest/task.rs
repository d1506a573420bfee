//! One task of the cluster: started once, waited for across restarts, its log in the job's log.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Working, failed};
use crate::domain::event::Level;
use crate::domain::id::StepId;
use crate::domain::job::{PendingTask, Work};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::jobs::record;
use crate::jobs::runner::StepFailure;
use crate::proto::pve::{TaskEnd, TaskState, Upid};
use crate::pve::{Cluster, PveError};
use crate::store::JobReads as _;

/// How long a task whose start was not confirmed is looked for before it counts as never started.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);

/// Clocks of nodes and appliance agree within this; corosync and certificates want better.
const CLOCK_MARGIN_MS: i64 = 60_000;

/// What kind of task a step starts, to find one whose start was not confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// The UPID's type: `vzcreate`.
    pub(super) upid: &'static str,
    /// In words: `creating the container`.
    pub(super) what: &'static str,
}

impl Working<'_> {
    /// Starts a task unless this step started it before, and waits for its end.
    ///
    /// # Errors
    /// It could not be started, failed, or did not end in time.
    pub(super) fn task<'a, F>(
        &'a self,
        cluster: &'a Cluster,
        kind: Kind,
        start: F,
    ) -> BoxFuture<'a, Result<(), StepFailure>>
    where
        F: Future<Output = Result<Upid, PveError>> + Send + 'a,
    {
        // On the heap: every step of every job on a guest has some of these inside.
        let start = Box::pin(start);
        Box::pin(async move {
            let upid = match self.pending(kind).await? {
                Some(upid) => upid,
                None => {
                    let upid = match self.interrupted(cluster, kind).await? {
                        Some(upid) => upid,
                        None => match start.await {
                            Ok(upid) => upid,
                            Err(error) if error.is_unknown() => {
                                self.look_for(cluster, kind, error).await?
                            }
                            Err(error) => return Err(failed(error)),
                        },
                    };
                    self.note(Some(&upid)).await?;
                    upid
                }
            };
            self.watch(cluster, kind, &upid).await
        })
    }

    /// The task that this step started before a restart or a lost connection.
    pub(super) async fn pending(&self, kind: Kind) -> Result<Option<Upid>, StepFailure> {
        let (id, step) = (self.id, self.step.clone());
        let pending = self
            .engine
            .store()
            .read::<_, Refusal, _>(move |r| {
                Ok(r.job(id)?.and_then(|job| match job.work {
                    Work::Guest(work) => work.pending.filter(|p| p.step == step),
                    _ => None,
                }))
            })
            .await?;
        let upid = pending.and_then(|p| p.upid.parse::<Upid>().ok());
        Ok(upid.filter(|u| u.kind() == kind.upid))
    }

    /// Whether this step has started the task and not yet seen its end: nobody may look at the guest meanwhile.
    pub(super) async fn is_begun(
        &self,
        cluster: &Cluster,
        kind: Kind,
    ) -> Result<bool, StepFailure> {
        Ok(self.pending(kind).await?.is_some() || self.interrupted(cluster, kind).await?.is_some())
    }

    /// A running task that an earlier attempt of this step started, when the daemon was killed before it could note that.
    async fn interrupted(
        &self,
        cluster: &Cluster,
        kind: Kind,
    ) -> Result<Option<Upid>, StepFailure> {
        let Some(begun) = self.begun_before().await? else { return Ok(None) };
        let guest = &self.guest;
        // A token sees only its own tasks, so what is found is ours.
        let found = cluster.find_task(&guest.node, guest.vmid, kind.upid, begun).await;
        let Some(upid) = found.map_err(failed)? else { return Ok(None) };
        let state = cluster.task(&upid).await.map_err(failed)?;
        Ok((state == TaskState::Running).then_some(upid))
    }

    async fn note(&self, upid: Option<&Upid>) -> Result<(), StepFailure> {
        let (id, step) = (self.id, self.step.clone());
        let upid = upid.map(ToString::to_string);
        self.engine
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let Some(mut job) = tx.job(id)? else { return Ok(()) };
                let Work::Guest(work) = &mut job.work else { return Ok(()) };
                let started = tx.now();
                work.pending = upid.map(|upid| PendingTask { step, upid, started });
                Ok(tx.save_job(&job)?)
            })
            .await?;
        Ok(())
    }

    /// Looks for a task whose start was not confirmed: the request may have been carried out.
    async fn look_for(
        &self,
        cluster: &Cluster,
        kind: Kind,
        error: PveError,
    ) -> Result<Upid, StepFailure> {
        let guest = &self.guest;
        let begun = self.step_started().await?.0;
        let deadline = tokio::time::Instant::now() + APPEARS_WITHIN;
        loop {
            let found = cluster.find_task(&guest.node, guest.vmid, kind.upid, begun).await;
            match found {
                Ok(Some(upid)) => return Ok(upid),
                Ok(None) if tokio::time::Instant::now() < deadline => {}
                Ok(None) => {
                    let mut failure = failed(error);
                    failure.is_transient = true;
                    return Err(failure);
                }
                Err(error) => return Err(failed(error)),
            }
            tokio::time::sleep(super::POLL).await;
        }
    }

    /// When this step was first begun, with a margin for a node whose clock is behind ours, and how often it was.
    async fn step_started(&self) -> Result<(Timestamp, u32), StepFailure> {
        let job = record::load(self.engine, self.id).await?;
        let step = job.as_ref().and_then(|j| j.step(self.step.as_str()));
        let begun = step.and_then(|s| s.started).map_or(0, |at| at.0 - CLOCK_MARGIN_MS);
        Ok((Timestamp(begun), step.map_or(0, |s| s.attempts)))
    }

    /// When this step was first begun, if this is not its first attempt.
    async fn begun_before(&self) -> Result<Option<Timestamp>, StepFailure> {
        let (begun, attempts) = self.step_started().await?;
        Ok((attempts > 1).then_some(begun))
    }

    /// Waits for a task, with its log in the job's log.
    pub(super) async fn watch(
        &self,
        cluster: &Cluster,
        kind: Kind,
        upid: &Upid,
    ) -> Result<(), StepFailure> {
        // Unbounded, because the sender cannot wait; the client's limit on log lines bounds it.
        let (sender, mut lines) = mpsc::unbounded_channel::<String>();
        let mut sink = move |line: &str| {
            let _ = sender.send(line.to_owned());
        };
        let ended = {
            let waiting = cluster.wait(upid, self.limit(), &mut sink);
            tokio::pin!(waiting);
            loop {
                tokio::select! {
                    ended = &mut waiting => break ended,
                    Some(first) = lines.recv() => self.tell(first, &mut lines).await?,
                }
            }
        };
        drop(sink);
        while let Some(first) = lines.recv().await {
            self.tell(first, &mut lines).await?;
        }
        match ended {
            Ok(end) => {
                self.note(None).await?;
                self.judge(kind, end).await
            }
            Err(PveError::NotFound { .. }) => {
                // The step looks at what there is when it is run again.
                self.note(None).await?;
                Err(StepFailure::passing(
                    format!("the node does not know the task of {} any more", kind.what),
                    "the node may have been restarted; look at the guest in its own pages",
                ))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes the lines that are there in one go.
    async fn tell(
        &self,
        first: String,
        more: &mut mpsc::UnboundedReceiver<String>,
    ) -> Result<(), StepFailure> {
        let mut lines = vec![(Level::Info, first)];
        while let Ok(line) = more.try_recv() {
            lines.push((Level::Info, line));
        }
        let step: Option<StepId> = Some(self.step.clone());
        Ok(record::log_all(self.engine, self.id, step, lines).await?)
    }

    async fn judge(&self, kind: Kind, end: TaskEnd) -> Result<(), StepFailure> {
        if !end.ok {
            return Err(StepFailure::for_good(
                format!("{} failed: {}", kind.what, end.text),
                "the task's log is above; correct the cause on the node, then try again",
            ));
        }
        if end.warnings > 0 {
            let text = format!("{} ended with {} warnings", kind.what, end.warnings);
            self.log(Level::Warn, text).await?;
        }
        Ok(())
    }
}
