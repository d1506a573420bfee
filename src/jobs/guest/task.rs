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
use crate::proto::pve::{TaskEnd, Upid};
use crate::pve::{Cluster, PveError};
use crate::store::JobReads as _;

/// How long a task whose start was not confirmed is looked for before it counts as never started.
const APPEARS_WITHIN: Duration = Duration::from_secs(10);

/// Clocks of nodes and appliance agree within this; corosync and certificates want better. It counts only while the guest
/// had no task of the kind before: otherwise the node's own clock tells the new one from the old ones.
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
            let upid = match self.begun(cluster, kind).await? {
                Some(upid) => upid,
                None => {
                    let asked = self.about_to_ask(cluster, kind).await?;
                    let upid = match start.await {
                        Ok(upid) => upid,
                        Err(error) if error.is_unknown() => {
                            self.look_for(cluster, kind, &asked, error).await?
                        }
                        Err(error) => {
                            // Certainly not carried out: nobody may look for it later.
                            self.note(None).await?;
                            return Err(failed(error));
                        }
                    };
                    self.note(Some(PendingTask { upid: Some(upid.to_string()), ..asked })).await?;
                    upid
                }
            };
            self.watch(cluster, kind, &upid).await
        })
    }

    /// The task that this step started before a restart or a lost connection, and whose end it did not see.
    ///
    /// # Errors
    /// The node that would have it cannot be asked.
    pub(super) async fn begun(
        &self,
        cluster: &Cluster,
        kind: Kind,
    ) -> Result<Option<Upid>, StepFailure> {
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
        let Some(pending) = pending else { return Ok(None) };
        match pending.upid.as_deref().map(str::parse::<Upid>) {
            Some(upid) => Ok(upid.ok().filter(|u| u.kind() == kind.upid)),
            None if pending.kind == kind.upid => self.newer(cluster, kind, &pending).await,
            None => Ok(None),
        }
    }

    /// Records that the task is about to be asked for, with what there was before it.
    async fn about_to_ask(
        &self,
        cluster: &Cluster,
        kind: Kind,
    ) -> Result<PendingTask, StepFailure> {
        let guest = &self.guest;
        let newest = cluster.find_task(&guest.node, guest.vmid, kind.upid, Timestamp(0));
        let asked = PendingTask {
            step: self.step.clone(),
            kind: kind.upid.to_owned(),
            upid: None,
            before: newest.await.map_err(failed)?.map(|upid| upid.to_string()),
            started: self.engine.store().now(),
        };
        self.note(Some(asked.clone())).await?;
        Ok(asked)
    }

    /// The task of this kind that was started since it was asked for. Others' tasks are not ours to wait for.
    async fn newer(
        &self,
        cluster: &Cluster,
        kind: Kind,
        asked: &PendingTask,
    ) -> Result<Option<Upid>, StepFailure> {
        let before = asked.before.as_deref().and_then(|upid| upid.parse::<Upid>().ok());
        let since = match &before {
            Some(before) => before.started(),
            None => Timestamp(asked.started.0 - CLOCK_MARGIN_MS),
        };
        let guest = &self.guest;
        let found = cluster.find_task(&guest.node, guest.vmid, kind.upid, since).await;
        Ok(found.map_err(failed)?.filter(|upid| Some(upid) != before.as_ref()))
    }

    async fn note(&self, pending: Option<PendingTask>) -> Result<(), StepFailure> {
        let id = self.id;
        self.engine
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let Some(mut job) = tx.job(id)? else { return Ok(()) };
                let Work::Guest(work) = &mut job.work else { return Ok(()) };
                work.pending = pending;
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
        asked: &PendingTask,
        error: PveError,
    ) -> Result<Upid, StepFailure> {
        let deadline = tokio::time::Instant::now() + APPEARS_WITHIN;
        loop {
            match self.newer(cluster, kind, asked).await? {
                Some(upid) => return Ok(upid),
                None if tokio::time::Instant::now() < deadline => {}
                None => {
                    let mut failure = failed(error);
                    failure.is_transient = true;
                    return Err(failure);
                }
            }
            tokio::time::sleep(super::POLL).await;
        }
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
