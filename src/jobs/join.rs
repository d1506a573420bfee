//! The join as part of a rebuild: who is the member, which key opens it, and one join at a time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc};

use super::engine::Engine;
use super::rebuild::KEY_SECRET;
use super::record::{cancel_requested, log};
use super::runner::{StepDone, StepFailure};
use super::{member, member_key};
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::host::{Host, HostEvent, HostState};
use crate::domain::id::{HostId, Hostname, JobId, StepId};
use crate::domain::job::{Job, StepClass, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::secret::Secret;
use crate::node::join::{Join, JoinContext, JoinError, JoinLimits, JoinLog, StepOutcome};
use crate::node::key::EphemeralKey;
use crate::node::ssh::Limits;
use crate::node::{Behind, ClusterGuard};
use crate::plan::join::{Facts, JoinStep, Kind, MemberLook, Verdict, ahead, script};
use crate::plan::rebuild as plan;
use crate::store::{HostReads as _, JobReads as _, SecretReads as _, of_job};

/// The join of one job while its driver lives: sessions and the cluster's lock.
#[derive(Debug, Default)]
pub(super) struct Running {
    join: Option<Join>,
    lock: Option<ClusterGuard>,
    /// Another host stands in the way and goes first.
    behind: Option<Behind>,
}

/// The steps of a kind of join, as a job stores them.
pub(super) fn steps(kind: Kind) -> Vec<(StepId, String, StepClass)> {
    kind.steps().iter().map(|s| (s.id(), s.title().to_owned(), s.class())).collect()
}

/// Whether there is a cluster to join, seen from now. `host` is not counted as a member of it.
pub(super) async fn kind(engine: &Engine, host: Option<HostId>) -> Result<Kind, Refusal> {
    Ok(if member::find(engine, host).await?.is_some() { Kind::Joining } else { Kind::Founding })
}

/// Looks at the cluster before anything is touched: the member answers, has quorum, and the name is free or its removal
/// is confirmed. Returns one sentence.
///
/// # Errors
/// What stands in the way.
pub(super) async fn look_ahead(
    engine: &Engine,
    job: &Job,
    host: &Host,
    timeout: Duration,
) -> Result<String, StepFailure> {
    let Some(member) = member::find(engine, Some(host.id)).await? else {
        let name = &engine.context().config.proxmox.cluster_name;
        return Ok(format!("there is no cluster yet: {} will found '{name}'", host.hostname));
    };
    let Work::Rebuild(work) = &job.work else { return Ok(String::new()) };
    let key = member_key::open(engine).await?;
    let facts = Facts {
        node: host.hostname.clone(),
        address: host.address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4),
        member: Some(member.address.ip()),
        cluster: String::new(),
        replace_node: work.replace_node,
        join_started: work.join_started,
        others: others(engine, host.id).await?,
    };
    let failed = |reason: String, hint: &str, is_transient| {
        member::failed(&member, &reason, hint, is_transient)
    };
    let session = member::log_in(&member, &key, timeout).await?;
    let limits = Limits { timeout, ..Limits::default() };
    let program = script::LOOK_MEMBER;
    let seen = session
        .exec(&["sh", "-c", program.text, program.name], None, limits)
        .await
        .map_err(|e| {
            failed(format!("did not tell its state: {}", with_causes(&e)), "read its journal", true)
        })?;
    session.close().await;
    match ahead(&MemberLook::parse(&seen.text(), ""), &facts) {
        Verdict::Next { detail } => Ok(detail),
        Verdict::Wait { reason, hint } | Verdict::Behind { reason, hint, .. } => {
            Err(failed(reason, &hint, true))
        }
        Verdict::Fail { reason, hint } => Err(failed(reason, &hint, false)),
        // Nothing is repaired before the machine is there.
        Verdict::GoTo { .. } | Verdict::Repair(_) => Ok(String::new()),
    }
}

/// Names of the other hosts.
async fn others(engine: &Engine, me: HostId) -> Result<Vec<Hostname>, Refusal> {
    engine
        .store()
        .read(move |r| {
            let own = r.host(me)?.map(|host| host.hostname);
            Ok(r.hostnames()?.into_iter().filter(|name| Some(name) != own.as_ref()).collect())
        })
        .await
}

impl Running {
    /// Runs one step of the join. The first one waits for the cluster's lock and moves the host to `joining`.
    ///
    /// A host of ours that was left half joined, or that is missing where every vote counts, can be put right by its own
    /// rebuild only, and that needs the lock: it is let go between two looks, so that the rebuild goes first when there is one.
    pub(super) async fn run_step(
        &mut self,
        engine: &Engine,
        job: &Job,
        host: &Host,
        step: &StepId,
    ) -> Result<StepDone, StepFailure> {
        let begun = Instant::now();
        loop {
            match self.try_step(engine, job, host, step).await? {
                Ok(done) => return Ok(done),
                Err(JoinError::Behind { host: first, reason, .. })
                    if begun.elapsed() < JoinLimits::default().settle =>
                {
                    if self.behind.is_none() {
                        let text = format!("waiting: {reason}; a rebuild of {first} goes first");
                        log(engine, job.id, Some(step.clone()), Level::Warn, text).await?;
                        self.behind = Some(engine.inner.cluster_locks.stand_behind(host.id));
                    }
                    self.lock = None;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => {
                    // While it waits for the next try somebody else may go.
                    if matches!(error, JoinError::Behind { .. }) {
                        self.lock = None;
                    }
                    return Err(StepFailure::of(error.class(), error.reason(), error.hint()));
                }
            }
        }
    }

    async fn try_step(
        &mut self,
        engine: &Engine,
        job: &Job,
        host: &Host,
        step: &StepId,
    ) -> Result<Result<StepDone, JoinError>, StepFailure> {
        if self.lock.is_none() {
            self.take_turn(engine, job, host.id).await?;
            let Some(settled) = settle_steps(engine, job.id, host.id).await? else {
                return Ok(Ok(StepDone::Recorded));
            };
            if settled {
                // The list of steps changed under this one: look again.
                return Ok(Ok(StepDone::Recorded));
            }
        }
        let Some(step) = JoinStep::from_id(step.as_str()) else {
            return Err(StepFailure {
                reason: format!("the step '{step}' is not known"),
                hint: "the job was made by another version; cancel it and rebuild again".to_owned(),
                is_transient: false,
            });
        };
        if self.join.is_none() {
            self.join = Some(Join::new(context(engine, job, host).await?, JoinLimits::default()));
        }
        let Some(join) = &mut self.join else { return Ok(Ok(StepDone::Recorded)) };
        if matches!(step, JoinStep::Add | JoinStep::Create) {
            note_started(engine, job.id).await?;
            join.mark_started();
        }
        let outcome = logged(engine, job.id, join, step).await?;
        match outcome {
            Ok(StepOutcome::Done { detail }) => {
                if step == JoinStep::LookMember {
                    self.behind = None;
                }
                if step == JoinStep::Proof {
                    self.end().await;
                }
                Ok(Ok(StepDone::Done(detail)))
            }
            Ok(StepOutcome::GoTo { step, detail }) => Ok(Ok(StepDone::GoTo(step.id(), detail))),
            Err(error) => {
                // The next try begins with fresh sessions.
                if let Some(mut join) = self.join.take() {
                    join.close().await;
                }
                Ok(Err(error))
            }
        }
    }

    async fn end(&mut self) {
        if let Some(mut join) = self.join.take() {
            join.close().await;
        }
        self.lock = None;
        self.behind = None;
    }

    /// Waits until this join may run, in the order of asking; joins that were under way before a restart go first.
    async fn take_turn(
        &mut self,
        engine: &Engine,
        job: &Job,
        me: HostId,
    ) -> Result<(), StepFailure> {
        let locks = &engine.inner.cluster_locks;
        if let Some(guard) = locks.try_acquire(CLUSTER) {
            if !others_first(engine, me) {
                self.lock = Some(guard);
                return Ok(());
            }
            drop(guard);
        }
        // Who lets others go first has said so.
        if self.behind.is_none() {
            let text = "waiting: another host is being joined, one at a time".to_owned();
            log(engine, job.id, None, Level::Info, text).await?;
        }
        let turn = async {
            let _head = head_of_newcomers(engine, me).await;
            let mut events = engine.store().subscribe();
            loop {
                let guard = locks.acquire(CLUSTER).await;
                if !others_first(engine, me) {
                    return guard;
                }
                drop(guard);
                // The one before is ready in a moment; one from before a restart takes its turn soon.
                let _ = tokio::time::timeout(OTHERS_FIRST, a_state_changes(&mut events)).await;
            }
        };
        tokio::select! {
            guard = turn => self.lock = Some(guard),
            () = engine.inner.stop.cancelled() => return Err(stopping()),
        }
        // A step that changes the cluster is not cut short while it waits.
        if cancel_requested(engine, job.id).await? { Err(stopping()) } else { Ok(()) }
    }

    /// After a failure or cancel with the key already on a node: takes the public key off it while the private one still
    /// exists. What cannot be reached is said in the log.
    pub(super) async fn forget_key_on_node(&mut self, engine: &Engine, job: &Job, host: &Host) {
        // Before there is an answer there is no key on the node, after the proof there is none any more.
        let is_gone =
            job.step(JoinStep::Proof.as_str()).is_some_and(|s| s.status == StepStatus::Succeeded);
        if is_gone || !host.state.is_busy() || host.state.is_armed() {
            return;
        }
        let removed = if matches!(host.state, HostState::FirstBoot | HostState::Joining) {
            self.try_forget(engine, job, host).await
        } else {
            Err(not_forgotten("its system did not call back yet".to_owned()))
        };
        self.end().await;
        let (level, text) = match removed {
            Ok(detail) => (Level::Info, detail),
            Err(failure) => (
                Level::Warn,
                format!(
                    "the ephemeral public key may still be on {} or in its cluster: {}; its private half is destroyed \
                     now, so that it opens nothing",
                    host.hostname, failure.reason
                ),
            ),
        };
        if let Err(error) = log(engine, job.id, None, level, text).await {
            tracing::error!(job = %job.id, %error, "job log could not be written");
        }
    }

    async fn try_forget(
        &mut self,
        engine: &Engine,
        job: &Job,
        host: &Host,
    ) -> Result<String, StepFailure> {
        // Sessions of the join, if any, are let go: its patience is for a join, not for an operator who waits.
        if let Some(mut join) = self.join.take() {
            join.close().await;
        }
        let limits = JoinLimits {
            reconnect: Duration::from_secs(10),
            refused: Duration::from_secs(5),
            settle: Duration::from_secs(10),
            ..JoinLimits::default()
        };
        let context = context(engine, job, host).await?;
        let alone = JoinContext { member: None, ..context.clone() };
        let has_member = context.member.is_some();
        // Once the join has begun the node may be a member, and a member needs its key.
        let lent = |step: JoinStep| {
            job.step(step.as_str()).is_some_and(|s| s.status != StepStatus::Pending)
        };
        if has_member && lent(JoinStep::NodeKey) && !context.join_started {
            let mut join = Join::new(context.clone(), limits);
            let withdrawn = tokio::time::timeout(FORGET_LIMIT, join.withdraw_node_key()).await;
            join.close().await;
            let text = match withdrawn {
                Ok(Ok(())) => "the node's own key was taken out of the cluster again".to_owned(),
                Ok(Err(error)) => {
                    format!("the node's own key is still in the cluster: {}", error.reason())
                }
                Err(_) => "the node's own key is still in the cluster: the member did not answer"
                    .to_owned(),
            };
            log(engine, job.id, None, Level::Warn, text).await?;
        }
        let error = match clean_up(engine, job.id, Join::new(context, limits)).await {
            Err(error) if has_member => error,
            outcome => return outcome,
        };
        // A member that is down must not keep the key on the node.
        clean_up(engine, job.id, Join::new(alone, limits)).await?;
        let reason = format!("the node is clean, the cluster is not: {}", error.reason);
        Err(StepFailure { reason, ..error })
    }
}

async fn clean_up(engine: &Engine, id: JobId, mut join: Join) -> Result<String, StepFailure> {
    let outcome =
        tokio::time::timeout(FORGET_LIMIT, logged(engine, id, &mut join, JoinStep::CleanUp)).await;
    join.close().await;
    match outcome {
        Err(_) => Err(not_forgotten(format!("it took longer than {} s", FORGET_LIMIT.as_secs()))),
        Ok(done) => {
            done?.map(|done| done.detail().to_owned()).map_err(|e| not_forgotten(e.reason()))
        }
    }
}

fn not_forgotten(reason: String) -> StepFailure {
    StepFailure { reason, hint: String::new(), is_transient: false }
}

/// What one attempt to take the key off a node may take: an operator who cancelled is waiting for the host.
const FORGET_LIMIT: Duration = Duration::from_secs(60);

/// Whether a step runs the command that makes the node a member.
pub(super) fn changes_cluster(step: &StepId) -> bool {
    matches!(JoinStep::from_id(step.as_str()), Some(JoinStep::Add | JoinStep::Create))
}

/// Between two looks at a cluster in which another host stands in the way.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The lock's name: one appliance serves one cluster.
const CLUSTER: &str = "cluster";
/// The queue of those that have not begun.
const NEWCOMERS: &str = "newcomers";
/// How often the first newcomer looks, without a sign, whether other joins still go first.
const OTHERS_FIRST: Duration = Duration::from_millis(500);

async fn a_state_changes(events: &mut broadcast::Receiver<Arc<Event>>) {
    loop {
        match events.recv().await {
            Ok(event) if !matches!(event.kind, EventKind::StateChanged { .. }) => {}
            // Something was missed, or the store is closing: look.
            _ => return,
        }
    }
}

fn stopping() -> StepFailure {
    StepFailure { reason: "stopping".to_owned(), hint: String::new(), is_transient: true }
}

/// Waits until no newcomer came before this one. They stand in a queue of their own, so that of a thousand only its head
/// looks at the hosts. `None`: this join is under way already.
async fn head_of_newcomers(engine: &Engine, me: HostId) -> Option<ClusterGuard> {
    if engine.store().joining().contains(&me) {
        return None;
    }
    Some(engine.inner.cluster_locks.acquire(NEWCOMERS).await)
}

/// Whether a join that began before this one goes first. One that stands behind does not: this may be whom it waits for.
fn others_first(engine: &Engine, me: HostId) -> bool {
    let joining = engine.store().joining();
    let locks = &engine.inner.cluster_locks;
    !joining.contains(&me) && joining.iter().any(|id| !locks.is_behind(*id))
}

/// Fits the list of steps to the cluster as it is when the join begins, and moves the host to `joining`. `None` when the
/// job is gone; true when the list was changed.
async fn settle_steps(engine: &Engine, id: JobId, host: HostId) -> Result<Option<bool>, Refusal> {
    let kind = kind(engine, Some(host)).await?;
    let record = engine.store().read::<_, Refusal, _>(move |r| Ok(r.host(host)?)).await?;
    let extras = record.map(|host| super::rebuild::extras(engine, &host)).unwrap_or_default();
    engine
        .store()
        .write(move |tx| {
            let Some(mut job) = tx.job(id)? else { return Ok(None) };
            let Some(mut host) = tx.host(host)? else { return Ok(None) };
            let begun = host.state == HostState::Joining;
            let message = match kind {
                Kind::Joining => format!("{} is being joined to the cluster", host.hostname),
                Kind::Founding => format!("{} founds the cluster", host.hostname),
            };
            tx.move_host(&mut host, HostEvent::JoinStarted, &message)?.map_err(|denied| {
                Refusal::new(RefusalKind::Conflict, denied.to_string(), "").because_of(Some(id))
            })?;
            // The machine was booted long ago: what its power settings say now is of no account.
            let power = job.step(plan::step::POWER).is_some();
            let planned = plan::steps(steps(kind), plan::Extras { power, ..extras });
            let same = planned.len() == job.steps.len()
                && planned.iter().zip(&job.steps).all(|(a, b)| a.id == b.id);
            if begun || same {
                return Ok(Some(false));
            }
            let done = job.steps;
            job.steps = planned
                .into_iter()
                .map(|new| done.iter().find(|old| old.id == new.id).cloned().unwrap_or(new))
                .collect();
            for step in &mut job.steps {
                if step.status == StepStatus::Running {
                    step.status = StepStatus::Pending;
                }
            }
            tx.save_job(&job)?;
            tx.log(&job, None, Level::Info, &message)?;
            Ok(Some(true))
        })
        .await
}

async fn note_started(engine: &Engine, id: JobId) -> Result<(), Refusal> {
    engine
        .store()
        .write(move |tx| {
            if let Some(mut job) = tx.job(id)?
                && let Work::Rebuild(work) = &mut job.work
            {
                work.join_started = true;
                tx.save_job(&job)?;
            }
            Ok(())
        })
        .await
}

async fn context(engine: &Engine, job: &Job, host: &Host) -> Result<JoinContext, StepFailure> {
    let broken = |reason: String| StepFailure {
        reason,
        hint: "rebuild the host again".to_owned(),
        is_transient: false,
    };
    let Work::Rebuild(work) = &job.work else { return Err(broken("not a rebuild".to_owned())) };
    let Some(address) = host.address else {
        return Err(broken(format!("{} told no address", host.hostname)));
    };
    let key = engine.store().master_key();
    let name = of_job(job.id, KEY_SECRET);
    let pem = engine
        .store()
        .read::<_, Refusal, _>(move |r| Ok(r.secret(&key, &name)?))
        .await?
        .ok_or_else(|| broken("the ephemeral key is gone from the database".to_owned()))?;
    let ephemeral =
        EphemeralKey::from_pem(&Secret::new(pem.to_string())).map_err(|e| broken(e.to_string()))?;
    let lasting = member_key::open(engine).await?;
    let member = member::find(engine, Some(host.id)).await?;
    let others = others(engine, host.id).await?;
    let proxmox = &engine.context().config.proxmox;
    Ok(JoinContext {
        node: member::target(IpAddr::V4(address), host.ssh_host_keys.clone()),
        name: host.hostname.clone(),
        address: IpAddr::V4(address),
        // A founded cluster must stay reachable for the next join; in one that existed the operator put the key there.
        lasting_key: member.is_none().then(|| lasting.public_line().to_owned()),
        member,
        ephemeral,
        member_key: Some(lasting),
        cluster_name: proxmox.cluster_name.clone(),
        replace_node: work.replace_node,
        join_started: work.join_started,
        others,
    })
}

/// Collects the lines of a step; they are written while the step goes on.
struct Lines(mpsc::UnboundedSender<(Level, String)>);

impl JoinLog for Lines {
    fn started(&self, _step: JoinStep) {}

    fn line(&self, _step: JoinStep, level: Level, message: &str) {
        // The receiver lives as long as the step.
        let _ = self.0.send((level, message.to_owned()));
    }

    fn finished(&self, _step: JoinStep, _detail: &str) {}
}

async fn logged(
    engine: &Engine,
    id: JobId,
    join: &mut Join,
    step: JoinStep,
) -> Result<Result<StepOutcome, JoinError>, Refusal> {
    // Unbounded, because the sender cannot wait; the step's own limits on output bound it.
    let (sender, mut lines) = mpsc::unbounded_channel();
    let sink = Lines(sender);
    let outcome = {
        let running = join.run_step(step, &sink);
        tokio::pin!(running);
        loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                Some((level, text)) = lines.recv() => {
                    log(engine, id, Some(step.id()), level, text).await?;
                }
            }
        }
    };
    drop(sink);
    while let Some((level, text)) = lines.recv().await {
        log(engine, id, Some(step.id()), level, text).await?;
    }
    Ok(outcome)
}
