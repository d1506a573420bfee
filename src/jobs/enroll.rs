//! Enrolment of nodes as jobs: least rights, token, root channel; and taking all of that away.
//!
//! The steps are `plan::enroll`'s. Nothing is remembered between two runs: after a restart all steps are run again, which
//! changes only what is not as it should be.

mod paste;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::end;
pub(super) use paste::Waiting;

use super::engine::Engine;
use super::guest::{CHANNEL_SECRET, TOKEN_SECRET};
use super::member_key;
use super::reach::SSH_PORT;
use super::record::{cancel_requested, load, log_all, set_step};
use super::request::queue;
use super::runner::{StepDone, StepFailure};
use crate::domain::event::Level;
use crate::domain::host::{Failure, Host};
use crate::domain::id::{HostId, JobId, NodeName, StepId};
use crate::domain::job::{Job, JobStatus, NodeTask, NodeWork, Step, StepClass, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::secret::Secret;
use crate::node::channel::CallLimits;
use crate::node::ssh::Target;
use crate::node::{
    EnrollContext, EnrollError, EnrollLimits, Enrolled, Enrolment, EphemeralKey, Login, host_key,
};
use crate::plan::enroll::{AgentOptions, EnrollStep, Rights};
use crate::proto::verb::{Request, Verb};
use crate::store::{
    GuestReads as _, HostReads as _, JobReads as _, NodeReads as _, SecretReads as _, of_job,
    of_node,
};

/// What a machine on the LAN gets to show its host key.
const LOOK: Duration = Duration::from_secs(10);
/// Sealed secret of a job: root's password.
const PASSWORD_SECRET: &str = "root-password";

const ASK_AGENT: &str = "revoke.agent";
const FORGET: &str = "revoke.forget";

fn enroll_steps() -> Vec<Step> {
    let pending = |s: EnrollStep| Step::pending(s.id(), s.title().to_owned(), s.class());
    EnrollStep::ALL.into_iter().map(pending).collect()
}

fn revoke_steps() -> Vec<Step> {
    [
        (ASK_AGENT, "Let the agent take key, token and rights away", StepClass::SafeToRepeat),
        (FORGET, "Forget the node and its secrets", StepClass::SafeToRepeat),
    ]
    .into_iter()
    .map(|(id, title, class)| {
        let id = id.parse().expect("the ids above are slugs");
        Step::pending(id, title.to_owned(), class)
    })
    .collect()
}

/// How root of a node is logged in to when its enrolment was asked for.
#[derive(Debug)]
pub struct EnrollRequest {
    /// Address of the node.
    pub address: IpAddr,
    /// Root's password; `None`: the appliance's own key opens the node.
    pub password: Option<Secret<String>>,
    /// The SSH host key that the operator compared, as `SHA256:…`; `None`: it is told by the refusal.
    pub fingerprint: Option<String>,
}

impl Engine {
    /// Queues the enrolment of a node. Its host key must be known or confirmed: a password is sent to nobody else.
    ///
    /// # Errors
    /// Apps are switched off, the node does not answer, its host key is not confirmed, an enrolment of it is running.
    pub async fn enroll_node(&self, request: EnrollRequest) -> Result<JobId, Refusal> {
        self.layer()?;
        let address = request.address;
        let (host, known) = self.known_keys(address).await?;
        let host_keys = match known {
            Some(keys) => keys,
            None => vec![confirmed_key(address, request.fingerprint.as_deref()).await?],
        };
        let password = request.password;
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                refuse_running(&tx.active_jobs()?, address)?;
                let task = NodeTask::Enroll;
                let work = NodeWork { address, name: None, task, host_keys, host };
                let job = queue(tx, Work::Node(work), enroll_steps())?;
                if let Some(password) = password {
                    tx.put_secret(&of_job(job.id, PASSWORD_SECRET), password.expose());
                }
                Ok(job.id)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }

    /// Host keys that came with an authenticated callback or from the configuration, and the host of ours it is.
    async fn known_keys(
        &self,
        address: IpAddr,
    ) -> Result<(Option<HostId>, Option<Vec<String>>), Refusal> {
        let hosts = self.store().read::<_, Refusal, _>(|r| Ok(r.hosts()?)).await?;
        let host =
            hosts.into_iter().find(|h| h.is_member && h.address.map(IpAddr::V4) == Some(address));
        if let Some(host) = host.filter(|h| !h.ssh_host_keys.is_empty()) {
            return Ok((Some(host.id), Some(host.ssh_host_keys)));
        }
        let proxmox = &self.context().config.proxmox;
        let is_member = proxmox.existing_node.as_deref() == Some(address.to_string().as_str());
        Ok((None, proxmox.member_host_key.clone().filter(|_| is_member).map(|key| vec![key])))
    }

    /// Queues the end of a node's enrolment.
    ///
    /// # Errors
    /// Not enrolled, or guests of ours are on it.
    pub async fn revoke_node(&self, name: NodeName) -> Result<JobId, Refusal> {
        let node = self.enrolled(&name).await?;
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let here: Vec<String> = tx
                    .guests()?
                    .into_iter()
                    .filter(|g| g.node == node.name && g.is_ours())
                    .map(|g| g.name.to_string())
                    .collect();
                if !here.is_empty() {
                    return Err(Refusal::new(
                        RefusalKind::Conflict,
                        format!("guests of ours are on {}: {}", node.name, here.join(", ")),
                        "uninstall them or move them to another node first",
                    ));
                }
                refuse_running(&tx.active_jobs()?, node.address)?;
                let work = NodeWork {
                    address: node.address,
                    name: Some(node.name),
                    task: NodeTask::Revoke,
                    host_keys: node.ssh_host_keys,
                    host: node.host,
                };
                Ok(queue(tx, Work::Node(work), revoke_steps())?.id)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }

    pub(super) async fn retry_node_work(&self, work: NodeWork) -> Result<JobId, Refusal> {
        match (work.task, work.name) {
            (NodeTask::Revoke, Some(name)) => self.revoke_node(name).await,
            _ => Err(Refusal::new(
                RefusalKind::Conflict,
                "what opened the node is not kept, so an enrolment cannot be tried again by itself",
                "enrol the node again on the page Nodes",
            )),
        }
    }
}

/// The key that a machine shows, when it is the one that the operator confirmed.
async fn confirmed_key(address: IpAddr, confirmed: Option<&str>) -> Result<String, Refusal> {
    let seen = host_key::look(SocketAddr::new(address, SSH_PORT), LOOK).await.map_err(|error| {
        let hint = "see that the node is up and that TCP port 22 answers";
        Refusal::new(RefusalKind::Unavailable, with_causes(&error), hint).about("address")
    })?;
    match confirmed.map(str::trim) {
        Some(given) if given == seen.fingerprint => Ok(seen.key),
        Some(given) if !given.is_empty() => Err(Refusal::new(
            RefusalKind::Unprocessable,
            format!("{address} shows the SSH host key {}, confirmed was {given}", seen.fingerprint),
            "another machine may answer at this address: compare at the node's own console",
        )
        .about("fingerprint")),
        _ => Err(Refusal::new(
            RefusalKind::Unprocessable,
            format!("{address} shows the SSH host key {}", seen.fingerprint),
            "compare it with the node's console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then confirm it: the \
             password is sent to this machine only",
        )
        .about("fingerprint")),
    }
}

fn refuse_running(active: &[Job], address: IpAddr) -> Result<(), Refusal> {
    let same = |job: &&Job| matches!(&job.work, Work::Node(work) if work.address == address);
    match active.iter().find(same) {
        None => Ok(()),
        Some(job) => Err(Refusal::new(
            RefusalKind::Conflict,
            "a job is at work on this node's enrolment",
            "wait for its end or cancel it",
        )
        .because_of(Some(job.id))),
    }
}

/// Runs until the job is over or the daemon stops.
///
/// # Errors
/// When the database fails.
pub(super) async fn drive(engine: &Engine, id: JobId, waker: &Notify) -> Result<(), Refusal> {
    let Some(job) = load(engine, id).await?.filter(|j| !j.status.is_terminal()) else {
        return Ok(());
    };
    let Work::Node(work) = &job.work else { return Ok(()) };
    let working = async {
        match work.task {
            NodeTask::Enroll => enroll(engine, id, work).await,
            NodeTask::Revoke => revoke(engine, id, work).await,
        }
    };
    tokio::pin!(working);
    let ended = loop {
        tokio::select! {
            ended = &mut working => break ended,
            () = waker.notified() => {
                if cancel_requested(engine, id).await? {
                    let failure = Failure {
                        from: None,
                        reason: "cancelled by the operator".to_owned(),
                        hint: "what was set up so far stays on the node; enrolling again goes on from there, revoking \
                               takes it away".to_owned(),
                    };
                    return end::finish(engine, id, JobStatus::Cancelled, Some(failure)).await;
                }
            }
            () = engine.inner.stop.cancelled() => return Ok(()),
        }
    };
    match ended {
        Ok(()) => end::finish(engine, id, JobStatus::Succeeded, None).await,
        Err(failed) => {
            let failure = Failure { from: None, reason: failed.reason, hint: failed.hint };
            end::finish(engine, id, JobStatus::Failed, Some(failure)).await
        }
    }
}

async fn enroll(engine: &Engine, id: JobId, work: &NodeWork) -> Result<(), StepFailure> {
    let login = login(engine, id).await?;
    let mut enrolment = begin(engine, work.address, work.host_keys.clone(), login).await?;
    for step in EnrollStep::ALL {
        set_step(engine, id, step.as_str(), StepStatus::Running, "").await?;
        match logged(engine, id, step.id(), enrolment.running(), step).await? {
            Ok(told) => set_step(engine, id, step.as_str(), StepStatus::Succeeded, &told).await?,
            Err(error) => {
                let reason = error.reason();
                set_step(engine, id, step.as_str(), StepStatus::Failed, &reason).await?;
                return Err(failed(&error));
            }
        }
    }
    enrolment.keep(engine, work.host).await
}

/// How root is logged in to: with what was sealed for this job, else with the appliance's own key.
async fn login(engine: &Engine, id: JobId) -> Result<Login, StepFailure> {
    let key = engine.store().master_key();
    let names = [PASSWORD_SECRET, paste::LOGIN_KEY_SECRET].map(|what| of_job(id, what));
    let [password, pasted] = engine
        .store()
        .read::<_, Refusal, _>(move |r| {
            let [password, pasted] = &names;
            Ok([r.secret(&key, password)?, r.secret(&key, pasted)?])
        })
        .await?;
    if let Some(password) = password {
        return Ok(Login::Password(Secret::new(password.to_string())));
    }
    match pasted {
        Some(pem) => EphemeralKey::from_pem(&Secret::new(pem.to_string()))
            .map(Login::Key)
            .map_err(|e| StepFailure::for_good(e.to_string(), "make another command")),
        None => Ok(Login::Key(member_key::open(engine).await?)),
    }
}

/// An enrolment with the key that it makes.
struct Begun {
    enrolment: Enrolment,
    channel_key: Secret<String>,
}

impl Begun {
    fn running(&mut self) -> &mut Enrolment {
        &mut self.enrolment
    }

    /// Stores what came of it, secrets sealed.
    async fn keep(self, engine: &Engine, host: Option<HostId>) -> Result<(), StepFailure> {
        let now = engine.store().now();
        let enrolled = self.enrolment.finish(now).await.map_err(|e| failed(&e))?;
        let Enrolled { mut node, token } = enrolled;
        node.host = host;
        let key = self.channel_key;
        engine
            .store()
            .write::<_, Refusal, _>(move |tx| {
                tx.put_secret(&of_node(&node.name, TOKEN_SECRET), token.expose());
                tx.put_secret(&of_node(&node.name, CHANNEL_SECRET), key.expose());
                Ok(tx.save_node(&node, &format!("{} is enrolled", node.name))?)
            })
            .await?;
        Ok(())
    }
}

async fn begin(
    engine: &Engine,
    address: IpAddr,
    host_keys: Vec<String>,
    login: Login,
) -> Result<Begun, StepFailure> {
    let apps = &engine.layer()?.apps;
    let channel_key = EphemeralKey::generate(&mut rand::rng(), "ironhatch root channel")
        .map_err(|e| StepFailure::for_good(e.to_string(), "this is a bug; report it"))?;
    let private = channel_key
        .private_pem()
        .map_err(|e| StepFailure::for_good(e.to_string(), "this is a bug; report it"))?;
    let context = EnrollContext {
        target: Target {
            address: SocketAddr::new(address, SSH_PORT),
            user: "root".to_owned(),
            host_keys,
        },
        login,
        rights: Rights::of(&apps.boundary),
        agent: AgentOptions {
            pool: apps.boundary.pool.clone(),
            bind_sources: apps.bind_sources.iter().map(|p| p.display().to_string()).collect(),
            zpools: Vec::new(),
        },
        program: apps.node_binary.clone(),
        channel_key,
    };
    let enrolment = Enrolment::new(context, EnrollLimits::default());
    Ok(Begun { enrolment, channel_key: private })
}

fn failed(error: &EnrollError) -> StepFailure {
    StepFailure::of(error.class(), error.reason(), error.hint())
}

/// Runs a step with its lines in the job's log.
async fn logged(
    engine: &Engine,
    id: JobId,
    at: StepId,
    enrolment: &mut Enrolment,
    step: EnrollStep,
) -> Result<Result<String, EnrollError>, Refusal> {
    // Unbounded, because the sender cannot wait; a step tells a handful of lines.
    let (sender, mut lines) = mpsc::unbounded_channel();
    let mut sink = move |level: Level, text: &str| {
        let _ = sender.send((level, text.to_owned()));
    };
    let ended = {
        let running = enrolment.run_step(step, &mut sink);
        tokio::pin!(running);
        loop {
            tokio::select! {
                ended = &mut running => break ended,
                Some(line) = lines.recv() => {
                    log_all(engine, id, Some(at.clone()), vec![line]).await?;
                }
            }
        }
    };
    drop(sink);
    let mut rest = Vec::new();
    while let Some(line) = lines.recv().await {
        rest.push(line);
    }
    if !rest.is_empty() {
        log_all(engine, id, Some(at), rest).await?;
    }
    Ok(ended)
}

/// Enrols the host of a rebuild with the cluster's own key; its host keys came with its callbacks.
///
/// # Errors
/// Why it could not.
pub(super) async fn of_rebuild(
    engine: &Engine,
    job: &Job,
    host: &Host,
) -> Result<StepDone, StepFailure> {
    let Some(address) = host.address else {
        return Err(StepFailure::for_good(format!("{} told no address", host.hostname), ""));
    };
    let login = Login::Key(member_key::open(engine).await?);
    let keys = host.ssh_host_keys.clone();
    let mut begun = begin(engine, IpAddr::V4(address), keys, login).await?;
    let at: StepId = crate::plan::rebuild::step::ENROLL.parse().map_err(|_| {
        StepFailure::for_good("the step's id is no slug", "this is a bug; report it")
    })?;
    let mut last = String::new();
    for step in EnrollStep::ALL {
        last = logged(engine, job.id, at.clone(), begun.running(), step)
            .await?
            .map_err(|e| failed(&e))?;
    }
    begun.keep(engine, Some(host.id)).await?;
    Ok(StepDone::Done(last))
}

async fn revoke(engine: &Engine, id: JobId, work: &NodeWork) -> Result<(), StepFailure> {
    let Some(name) = work.name.clone() else {
        return Err(StepFailure::for_good("the job names no node", ""));
    };
    set_step(engine, id, ASK_AGENT, StepStatus::Running, "").await?;
    let asked = async {
        let channel = engine.channel(&name).await?;
        let request = Request::new(Verb::Revoke);
        let limits = CallLimits::for_verb(&request.verb);
        let answered = channel.call(&request, &[], limits, &mut |_, _| {}).await;
        answered.map_err(super::guest::refused)
    };
    if let Err(failure) = asked.await {
        set_step(engine, id, ASK_AGENT, StepStatus::Failed, &failure.reason).await?;
        return Err(failure);
    }
    let told = "key, token, rights and program are gone from the node";
    set_step(engine, id, ASK_AGENT, StepStatus::Succeeded, told).await?;
    set_step(engine, id, FORGET, StepStatus::Running, "").await?;
    engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            if let Some(node) = tx.enrolled_node(&name)? {
                tx.delete_node(&node, &format!("{name} is not enrolled any more"))?;
            }
            let Some(mut job) = tx.job(id)? else { return Ok(()) };
            Ok(tx.set_step(&mut job, FORGET, StepStatus::Succeeded, "its secrets are deleted")?)
        })
        .await?;
    Ok(())
}
