//! Drives one rebuild: asks `plan::rebuild` what is next, runs it, records it.

use futures_util::future::BoxFuture;
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::engine::Engine;
use super::guest::stack;
use super::runner::{self, Policy, StepDone, StepFailure, Steps};
use super::{check, end, enroll, join, power};
use crate::domain::host::{Failure, Host, HostEvent};
use crate::domain::id::{JobId, StepId};
use crate::domain::job::{Job, JobStatus, Step, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::InstallToken;
use crate::domain::time::Timestamp;
use crate::node::key::EphemeralKey;
use crate::plan::rebuild::{self as plan, Extras, Next, step};
use crate::report::queue;
use crate::store::{HostReads as _, JobReads as _, SecretReads as _, of_job};

/// Sealed secret of a job: the install token.
pub(super) const TOKEN_SECRET: &str = "install-token";
/// Sealed secret of a job: the ephemeral private key.
pub(super) const KEY_SECRET: &str = "ssh-key";
/// Sealed secret of a job: the crypt(3) hash of the root password of this installation.
pub(super) const PASSWORD_SECRET: &str = "root-password-hash";

/// The steps of a rebuild as things are now; the join's part is settled when the join begins.
pub(super) async fn steps(engine: &Engine, host: &Host) -> Result<Vec<Step>, Refusal> {
    let kind = join::kind(engine, None).await?;
    Ok(plan::steps(join::steps(kind), extras(engine, host)))
}

/// What the configuration adds to a rebuild of this host.
pub(super) fn extras(engine: &Engine, host: &Host) -> Extras {
    Extras {
        power: power::is_asked_for(engine, host),
        enroll: engine.context().apps.is_some(),
        stack: !stack::entries(engine, host).is_empty(),
    }
}

/// Runs until the job is over or the daemon stops.
///
/// # Errors
/// When the database fails; the records are as the last write left them.
pub(super) async fn drive(engine: &Engine, id: JobId, waker: &Notify) -> Result<(), Refusal> {
    let mut join = join::Running::default();
    let mut clock: Option<SteadyClock> = None;
    loop {
        if engine.inner.stop.is_cancelled() {
            return Ok(());
        }
        let Some((job, host)) = load(engine, id).await? else { return Ok(()) };
        if job.status.is_terminal() {
            return Ok(());
        }
        let ended = match &job.failure {
            Some(failure) => Some((JobStatus::Failed, failure.clone())),
            None => job.cancel_requested.then(|| (JobStatus::Cancelled, cancelled())),
        };
        if let Some((status, failure)) = ended {
            forget(engine, &mut join, &job, &host).await;
            if engine.inner.stop.is_cancelled() {
                return Ok(());
            }
            return end::finish(engine, id, status, Some(failure)).await;
        }
        let clock = match clock {
            Some(running) if running.state_since == host.state_since => running,
            _ => *clock.insert(SteadyClock::start(&host, engine.store().now())),
        };
        match plan::next(&job, &host, clock.now()) {
            Next::Run(step) => {
                let mut running = Running { engine, join: &mut join, job: &job, host: &host };
                runner::run_recorded(engine, id, &mut running, &step, waker).await?;
            }
            Next::Wait { until, .. } => {
                let pause = until.since(clock.now());
                tokio::select! {
                    () = waker.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                    () = engine.inner.stop.cancelled() => {}
                }
            }
            Next::TimedOut { .. } => {
                if time_out(engine, id, clock.now()).await? {
                    forget(engine, &mut join, &job, &host).await;
                    return Ok(());
                }
            }
            Next::Finished => return end::finish(engine, id, JobStatus::Succeeded, None).await,
            Next::Lost(reason) => {
                let failure =
                    Failure { from: None, reason, hint: "rebuild the host again".to_owned() };
                return end::finish(engine, id, JobStatus::Failed, Some(failure)).await;
            }
        }
    }
}

fn cancelled() -> Failure {
    Failure {
        from: None,
        reason: "cancelled by the operator".to_owned(),
        hint: "rebuild the host again when you are ready".to_owned(),
    }
}

/// The time by which a wait for the machine is measured: the wall clock when the driver met this state, and from then on
/// what passed. A wall clock that jumps (NTP after a start without one, a wrong operator) must not end a rebuild whose
/// machine is on its way.
#[derive(Debug, Clone, Copy)]
struct SteadyClock {
    state_since: Timestamp,
    wall: Timestamp,
    begun: Instant,
}

impl SteadyClock {
    fn start(host: &Host, wall: Timestamp) -> Self {
        Self { state_since: host.state_since, wall, begun: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.wall.after(self.begun.elapsed())
    }
}

async fn load(engine: &Engine, id: JobId) -> Result<Option<(Job, Host)>, Refusal> {
    engine
        .store()
        .read(move |r| {
            let Some(job) = r.job(id)? else { return Ok(None) };
            let Some(host) = job.host() else { return Ok(None) };
            Ok(r.host(host)?.map(|host| (job, host)))
        })
        .await
}

/// Takes the key off the node before the job ends. The stop cuts it short: the job is not over then, and the next start
/// comes here again.
async fn forget(engine: &Engine, join: &mut join::Running, job: &Job, host: &Host) {
    tokio::select! {
        () = join.forget_key_on_node(engine, job, host) => {}
        () = engine.inner.stop.cancelled() => {}
    }
}

/// Fails a job whose machine took too long. Whether it did is decided again inside the write: the message that everybody
/// waited for may have come in this moment. True when the job is over.
async fn time_out(engine: &Engine, id: JobId, now: Timestamp) -> Result<bool, Refusal> {
    let config = engine.context().config.clone();
    engine
        .store()
        .write(move |tx| {
            let Some(mut job) = tx.job(id)?.filter(|j| !j.status.is_terminal()) else {
                return Ok(true);
            };
            let Some(host) = job.host().map(|h| tx.host(h)).transpose()?.flatten() else {
                return Ok(true);
            };
            let Next::TimedOut { reason, hint, .. } = plan::next(&job, &host, now) else {
                return Ok(false);
            };
            let failure = Failure { from: None, reason, hint: hint.to_owned() };
            end::end_job(tx, &config, &mut job, JobStatus::Failed, Some(failure))?;
            Ok(true)
        })
        .await
}

/// A rebuild's steps as they are carried out.
struct Running<'a> {
    engine: &'a Engine,
    join: &'a mut join::Running,
    job: &'a Job,
    host: &'a Host,
}

impl Steps for Running<'_> {
    fn policy(&self, step: &StepId) -> Policy {
        // A command that changes the cluster is seen to its end; everything else a cancel may cut short. A join that meets
        // an unreachable machine also waits inside each try.
        Policy { may_cut: !join::changes_cluster(step), ..Policy::PATIENT }
    }

    fn run<'a>(&'a mut self, step: &'a StepId) -> BoxFuture<'a, Result<StepDone, StepFailure>> {
        Box::pin(run(self.engine, self.join, self.job, self.host, step))
    }
}

async fn run(
    engine: &Engine,
    join: &mut join::Running,
    job: &Job,
    host: &Host,
    step: &StepId,
) -> Result<StepDone, StepFailure> {
    match step.as_str() {
        step::PREFLIGHT => check::preflight(engine, job, host).await.map(StepDone::Done),
        step::ARM => arm(engine, job.id).await,
        step::POWER => power::boot(engine, job, host).await,
        step::ENROLL => enroll::of_rebuild(engine, job, host).await,
        step::KEYS => destroy_key(engine, job.id).await,
        step::REPORT => mark_ready(engine, job.id).await,
        step::STACK => stack::install(engine, job.id, host).await,
        _ => join.run_step(engine, job, host, step).await,
    }
}

/// Makes the rebuild's secrets and arms the host, in one write. Repeating it keeps what is there.
async fn arm(engine: &Engine, id: JobId) -> Result<StepDone, StepFailure> {
    let fresh_token = {
        let mut bytes = [0u8; 16];
        rand::rng().fill_bytes(&mut bytes);
        InstallToken::from_random(bytes)
    };
    let broken = |reason: String| StepFailure {
        reason,
        hint: "this is a bug; report it".to_owned(),
        is_transient: false,
    };
    let comment = format!("ironhatch rebuild {id}");
    let key =
        EphemeralKey::generate(&mut rand::rng(), &comment).map_err(|e| broken(e.to_string()))?;
    let private = key.private_pem().map_err(|e| broken(e.to_string()))?;
    let password_hash = check::root_password_hash(engine)?;
    let config = engine.context().config.clone();
    engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            let Some(mut job) = tx.job(id)? else { return Ok(()) };
            let Some(mut host) = job.host().map(|h| tx.host(h)).transpose()?.flatten() else {
                return Ok(());
            };
            // A cancel that came in between wins: nothing is armed.
            if job.cancel_requested || job.status.is_terminal() {
                return Ok(());
            }
            let Work::Rebuild(work) = &mut job.work else { return Ok(()) };
            // A commit that was reported as failed and is there all the same: its token is the one to keep.
            if work.token_hash.is_some() && host.state.is_busy() {
                let detail = "the host was armed already";
                return Ok(tx.set_step(&mut job, step::ARM, StepStatus::Succeeded, detail)?);
            }
            work.token_hash = Some(end::hash_text(fresh_token.hash()));
            work.public_key = Some(key.public_line().to_owned());
            tx.save_token(fresh_token.hash(), id);
            tx.put_secret(&of_job(id, TOKEN_SECRET), &fresh_token.reveal());
            tx.put_secret(&of_job(id, KEY_SECRET), private.expose());
            tx.put_secret(&of_job(id, PASSWORD_SECRET), password_hash.expose());
            let message = format!("{} is armed: its next network boot installs it", host.hostname);
            tx.move_host(&mut host, HostEvent::Armed, &message)?.map_err(|denied| {
                Refusal::new(RefusalKind::Conflict, denied.to_string(), "").because_of(Some(id))
            })?;
            let detail = "token and key are made and sealed; switch the machine on";
            tx.set_step(&mut job, step::ARM, StepStatus::Succeeded, detail)?;
            for (waiting, status) in plan::steps_after(HostEvent::Armed) {
                tx.set_step(&mut job, waiting, *status, "")?;
            }
            // Without a step that boots it: somebody has to.
            queue::host_waiting(tx, &config, &host, &job)
        })
        .await?;
    Ok(StepDone::Recorded)
}

/// Destroys what was sealed for this rebuild, and checks that it is gone.
async fn destroy_key(engine: &Engine, id: JobId) -> Result<StepDone, StepFailure> {
    let left = engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            if let Some(job) = tx.job(id)?
                && let Work::Rebuild(work) = &job.work
                && let Some(hash) = work.token_hash.as_deref().and_then(end::parse_hash)
            {
                tx.delete_token(hash);
            }
            tx.delete_job_secrets(id)?;
            Ok(tx.secret_names(&of_job(id, ""))?.len())
        })
        .await?;
    if left != 0 {
        return Err(StepFailure {
            reason: format!("{left} sealed secrets of this rebuild are still in the database"),
            hint: "this is a bug; report it".to_owned(),
            is_transient: false,
        });
    }
    Ok(StepDone::Done("token and private key are destroyed; the database holds neither".to_owned()))
}

/// Marks the host ready and queues the reports, in one write.
async fn mark_ready(engine: &Engine, id: JobId) -> Result<StepDone, StepFailure> {
    let config = engine.context().config.clone();
    engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            let Some(mut job) = tx.job(id)? else { return Ok(()) };
            let Some(mut host) = job.host().map(|h| tx.host(h)).transpose()?.flatten() else {
                return Ok(());
            };
            let message = format!("{} is ready", host.hostname);
            host.is_member = true;
            tx.move_host(&mut host, HostEvent::JoinVerified, &message)?.map_err(|denied| {
                Refusal::new(RefusalKind::Conflict, denied.to_string(), "").because_of(Some(id))
            })?;
            let told = queue::host_ready(tx, &config, &host, id)?;
            let detail = format!("the host is ready; being told: {told}");
            tx.set_step(&mut job, step::REPORT, StepStatus::Succeeded, &detail)?;
            if job.step(step::STACK).is_some() {
                // The host is ready; the job goes on with what comes on it.
                return Ok(());
            }
            end::end_job(tx, &config, &mut job, JobStatus::Succeeded, None)
        })
        .await?;
    Ok(StepDone::Recorded)
}
