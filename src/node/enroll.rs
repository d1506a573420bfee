//! Carries out the enrolment that `plan::enroll` decides, one step per call, over one SSH session with root's rights; and
//! its revocation over such a session. (A node whose channel still works is revoked over the channel: `Verb::Revoke`.)
//!
//! The job engine makes the channel's key first and seals it, then calls [`Enrolment::run_step`] for
//! [`EnrollStep::ALL`] in order, and seals what [`Enrolment::finish`] returns. Nothing is remembered between two runs:
//! after a crash all steps are run again, which changes only what is not as it should be and renews the token's secret.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::channel::{CallLimits, Channel, ChannelError};
use super::key::EphemeralKey;
use super::ssh::{ConnectError, ErrorClass, ExecError, Limits, Output, Session, Target};
use crate::domain::event::Level;
use crate::domain::gpu::GpuReport;
use crate::domain::id::{NodeName, PoolId};
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::with_causes;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::plan::enroll::rights::{Command, was_done_already};
use crate::plan::enroll::script;
use crate::plan::enroll::{
    self, AgentOptions, EnrollStep, Identity, NodeFound, PROGRAM, Rights, UserCfg,
};
use crate::plan::join::brief;
use crate::plan::join::script::Script;
use crate::proto::verb::{Answer, Request, Verb};

/// How root is logged in to for the enrolment itself. Nothing of it is kept.
#[derive(Debug, Clone)]
pub enum Login {
    /// With a key that opens the node already: the cluster's, a rebuild's, or the one that a pasted command let in.
    Key(EphemeralKey),
    /// With root's password.
    Password(Secret<String>),
}

/// All that an enrolment needs to know.
#[derive(Debug, Clone)]
pub struct EnrollContext {
    /// The node, its host keys confirmed by somebody, user `root`.
    pub target: Target,
    /// How to log in to it.
    pub login: Login,
    /// What our user may do in the cluster.
    pub rights: Rights,
    /// What the agent may touch on the node.
    pub agent: AgentOptions,
    /// The program that becomes the agent; `None`: this very program.
    pub program: Option<PathBuf>,
    /// The key that will open the channel. Made and sealed before the first step.
    pub channel_key: EphemeralKey,
}

/// Times of an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrollLimits {
    /// One SSH login.
    pub connect: Duration,
    /// One command. `pveum` takes a second, ten when the cluster hesitates.
    pub command: Duration,
    /// Sending the program: 25 MB over a slow line.
    pub upload: Duration,
}

impl Default for EnrollLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            command: Duration::from_secs(60),
            upload: Duration::from_secs(300),
        }
    }
}

/// What an enrolment left, for the caller to store: the secret sealed.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The node. `host` is the caller's to fill in.
    pub node: EnrolledNode,
    /// The token's secret.
    pub token: Secret<String>,
}

/// A step did not succeed. The message says what happened; [`hint`](Self::hint) what to do.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The node could not be logged in to.
    #[error("no SSH session with the node")]
    Connect(#[source] Box<ConnectError>),
    /// A program did not run to its end.
    #[error("{program} did not run to its end on the node")]
    Exec {
        /// Name of the program.
        program: String,
        /// Why.
        #[source]
        source: ExecError,
    },
    /// A program failed.
    #[error("{program} failed on the node with exit status {status}: {complaint}")]
    Program {
        /// Name of the program.
        program: String,
        /// Its exit status.
        status: u32,
        /// What it printed on standard error, shortened.
        complaint: String,
    },
    /// A rule says no.
    #[error("{reason}")]
    Refused {
        /// What happened.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The new channel does not work.
    #[error("the agent on the node does not answer over the new channel")]
    Channel(#[source] Box<ChannelError>),
    /// The program that becomes the agent cannot be read.
    #[error("the program {path} cannot be read")]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A step was called before the ones that it needs.
    #[error("the step needs {what}")]
    Order {
        /// What.
        what: &'static str,
    },
}

impl EnrollError {
    /// What to do with it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Connect(source) => source.class(),
            Self::Exec { source, .. } => source.class(),
            Self::Channel(source) => source.class(),
            Self::Program { .. } => ErrorClass::Transient,
            Self::Refused { .. } => ErrorClass::Denied,
            Self::NoProgram { .. } | Self::Order { .. } => ErrorClass::Broken,
        }
    }

    /// What happened with all its causes, in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        with_causes(self)
    }

    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Refused { hint, .. } => hint,
            Self::Connect(source) => match source.as_ref() {
                ConnectError::Refused { .. } => {
                    "check the password of root, or let the key in; nothing was changed"
                }
                ConnectError::HostKey { .. } | ConnectError::NoHostKey { .. } => {
                    "another machine may answer at this address; compare its host key at its console"
                }
                _ => "check that the node is up and that its TCP port 22 can be reached",
            },
            Self::Channel(source) => source.hint(),
            Self::Exec { .. } | Self::Program { .. } => {
                "read the log of this step, then enroll the node again: what is there is kept"
            }
            Self::NoProgram { .. } | Self::Order { .. } => "report this as a bug",
        }
    }
}

/// Where the steps tell what they do. Messages never contain secrets.
pub type EnrollLog<'a> = &'a mut (dyn FnMut(Level, &str) + Send);

/// One enrolment, with its session.
#[derive(Debug)]
pub struct Enrolment {
    context: EnrollContext,
    shell: Shell,
    found: Option<NodeFound>,
    identity: Option<Identity>,
    token: Option<Secret<String>>,
    gpu: Option<GpuReport>,
}

impl Enrolment {
    /// An enrolment that has not connected to anything yet.
    #[must_use]
    pub fn new(context: EnrollContext, limits: EnrollLimits) -> Self {
        let shell = Shell {
            target: context.target.clone(),
            login: context.login.clone(),
            limits,
            session: None,
        };
        Self { context, shell, found: None, identity: None, token: None, gpu: None }
    }

    /// Runs one step until it is done. Returns one sentence for the job's page.
    ///
    /// # Errors
    /// [`EnrollError`]: why it was not done, with class, reason and hint.
    pub async fn run_step(
        &mut self,
        step: EnrollStep,
        log: EnrollLog<'_>,
    ) -> Result<String, EnrollError> {
        match step {
            EnrollStep::Look => self.look().await,
            EnrollStep::Rights => self.rights(log).await,
            EnrollStep::Agent => self.agent().await,
            EnrollStep::Key => self.key().await,
            EnrollStep::Identity => self.read_identity().await,
            EnrollStep::Token => self.make_token(log).await,
            EnrollStep::Verify => self.verify().await,
        }
    }

    /// What all steps together left. `now` becomes the time of the enrolment.
    ///
    /// # Errors
    /// [`EnrollError::Order`]: not all steps were run.
    pub async fn finish(mut self, now: Timestamp) -> Result<Enrolled, EnrollError> {
        self.shell.close().await;
        let needed = |what| EnrollError::Order { what };
        let found = self.found.ok_or(needed("the look at the node"))?;
        let identity = self.identity.ok_or(needed("the node's identity"))?;
        let token = self.token.ok_or(needed("the token"))?;
        let gpu = self.gpu.ok_or(needed("the call over the channel"))?;
        let node = EnrolledNode {
            address: canonical(self.context.target.address.ip()),
            api_fingerprint: identity.api_fingerprint,
            ssh_host_keys: identity.host_keys,
            release: found.release.to_string(),
            token_id: format!("{}!{}", enroll::USER, enroll::token_of(&found.name)),
            name: found.name,
            host: None,
            enrolled: now,
            gpu,
            gpu_seen: Some(now),
            problem: String::new(),
        };
        Ok(Enrolled { node, token })
    }

    fn found(&self) -> Result<&NodeFound, EnrollError> {
        self.found.as_ref().ok_or(EnrollError::Order { what: "the look at the node" })
    }

    async fn look(&mut self) -> Result<String, EnrollError> {
        let found = self.shell.look().await?;
        let told = format!("{} runs Proxmox VE {}", found.name, found.release);
        self.found = Some(found);
        Ok(told)
    }

    async fn rights(&mut self, log: EnrollLog<'_>) -> Result<String, EnrollError> {
        let commands = enroll::grant(&self.context.rights, &self.found()?.users);
        for command in &commands {
            self.shell.pveum(command, log).await?;
        }
        // Looked at again: what was granted must be what is there, whoever else writes these lists.
        let found = self.shell.look().await?;
        let missing = enroll::grant(&self.context.rights, &found.users).len();
        self.found = Some(found);
        if missing > 0 {
            return Err(EnrollError::Refused {
                reason: format!("{missing} of the rights are not there after they were granted"),
                hint: "another program may change the cluster's access lists; retry".to_owned(),
            });
        }
        Ok(match commands.len() {
            0 => "all rights were there".to_owned(),
            n => format!("{n} changes in pool, roles, user and access lists"),
        })
    }

    async fn agent(&mut self) -> Result<String, EnrollError> {
        let program = read_program(self.context.program.clone()).await?;
        let digest = hex(&Sha256::digest(program.as_slice()));
        if self.found()?.agent.as_deref() == Some(digest.as_str()) {
            return Ok("the agent is installed already".to_owned());
        }
        let limits = Limits { timeout: self.shell.limits.upload, ..Limits::default() };
        let arguments = [PROGRAM, digest.as_str()];
        let said = self.shell.script(script::INSTALL, &arguments, &program, limits).await?;
        let version = crate::plan::join::value(&said.text(), "installed").map(str::to_owned);
        Ok(format!("installed {} at {PROGRAM}", version.unwrap_or_default()))
    }

    async fn key(&mut self) -> Result<String, EnrollError> {
        let found = self.found()?;
        let options = &self.context.agent;
        let public = self.context.channel_key.public_line();
        let line =
            enroll::key_line(&found.name, public, options).map_err(|odd| EnrollError::Refused {
                reason: odd.to_string(),
                hint: "choose another folder or pool in the configuration".to_owned(),
            })?;
        let marker = enroll::marker(&found.name);
        let limits = self.shell.short();
        self.shell.script(script::KEY, &[marker.as_str()], line.as_bytes(), limits).await?;
        let fingerprint = self.context.channel_key.fingerprint();
        Ok(format!("the key {fingerprint} starts the agent, and nothing else"))
    }

    async fn read_identity(&mut self) -> Result<String, EnrollError> {
        let limits = self.shell.short();
        let said = self.shell.script(script::IDENTITY, &[], &[], limits).await?;
        let identity = enroll::read_identity(&said.text()).ok_or_else(|| EnrollError::Refused {
            reason: "the node has no SSH host key or no API certificate".to_owned(),
            hint: "run on the node: pvecm updatecerts --force; systemctl restart pveproxy"
                .to_owned(),
        })?;
        let told = format!(
            "{} host keys, certificate {}",
            identity.host_keys.len(),
            identity.api_fingerprint
        );
        self.identity = Some(identity);
        Ok(told)
    }

    async fn make_token(&mut self, log: EnrollLog<'_>) -> Result<String, EnrollError> {
        let found = self.found()?;
        let (remove, add) =
            (enroll::token_remove(&found.name, &found.users), enroll::token_add(&found.name));
        let name = format!("{}!{}", enroll::USER, enroll::token_of(&found.name));
        if let Some(remove) = remove {
            self.shell.pveum(&remove, log).await?;
        }
        let said = self.shell.run(&add, &[], self.shell.short()).await?;
        let secret = Secret::new(said.text().into_owned());
        let secret = enroll::read_token(secret.expose()).ok_or_else(|| EnrollError::Program {
            program: "pveum user token add".to_owned(),
            status: said.status,
            // Its output holds the secret, if anything; it is not repeated.
            complaint: "it printed no secret".to_owned(),
        })?;
        self.token = Some(Secret::new(secret));
        // So that a repetition of this step removes what it made.
        if let Some(found) = &mut self.found {
            found.users.tokens.insert(enroll::token_of(&found.name));
        }
        Ok(format!("the token {name} has a new secret"))
    }

    async fn verify(&mut self) -> Result<String, EnrollError> {
        let name = self.found()?.name.clone();
        let target = &self.context.target;
        let limit = self.shell.limits.connect;
        let channel = Channel::connect(target, &self.context.channel_key, limit)
            .await
            .map_err(|e| EnrollError::Connect(e.into()))?;
        let Answer::Hello { agent, node, pool, .. } =
            channel.hello().await.map_err(|e| EnrollError::Channel(e.into()))?
        else {
            return Err(EnrollError::Order { what: "an answer to 'hello'" });
        };
        if node != name.as_str() || pool != self.context.agent.pool.as_str() {
            return Err(EnrollError::Refused {
                reason: format!("the agent answers for the node {node} and the pool {pool}"),
                hint: "enroll the node again".to_owned(),
            });
        }
        let request = Request::new(Verb::Gpus);
        let limits = CallLimits::for_verb(&request.verb);
        let outcome = channel.call(&request, &[], limits, &mut |_, _| {}).await;
        let gpu = match outcome.map_err(|e| EnrollError::Channel(e.into()))?.answer {
            Some(Answer::Gpu { report }) => report,
            _ => GpuReport::default(),
        };
        channel.close().await;
        // The key of a pasted command has done its work; without one there is nothing to do.
        let limits = self.shell.short();
        self.shell.script(script::FORGET, &[enroll::paste::COMMENT], &[], limits).await?;
        let told = format!("agent {agent} answers on {node}, {} GPUs", gpu.gpus.len());
        self.gpu = Some(gpu);
        Ok(told)
    }
}

/// Takes everything that an enrolment made off a node, over a login with root's rights; may be repeated. With the last
/// node's token the user, its roles and the pool go too, the pool only when it is empty.
///
/// # Errors
/// [`EnrollError`]: something is still there.
pub async fn revoke(
    target: Target,
    login: Login,
    node: &NodeName,
    pool: &PoolId,
    limits: EnrollLimits,
    log: EnrollLog<'_>,
) -> Result<(), EnrollError> {
    let mut shell = Shell { target, login, limits, session: None };
    let found = shell.look().await?;
    let short = shell.short();
    shell.script(script::KEY, &[enroll::marker(node).as_str()], &[], short).await?;
    log(Level::Info, "the channel's key is removed");
    for command in revocation(node, pool, &found.users) {
        shell.pveum(&command, log).await?;
    }
    // The program is this node's; the key's line and the token may be asked away through another member.
    if found.name == *node {
        shell.script(script::REMOVE, &[PROGRAM], &[], short).await?;
        log(Level::Info, "the agent's program is removed");
    }
    shell.close().await;
    Ok(())
}

fn revocation(node: &NodeName, pool: &PoolId, users: &UserCfg) -> Vec<Command> {
    let mut commands: Vec<Command> = enroll::token_remove(node, users).into_iter().collect();
    commands.extend(enroll::revoke_last(node, pool, users));
    commands
}

/// Commands with root's rights on one machine, in one session that is made when it is needed.
#[derive(Debug)]
struct Shell {
    target: Target,
    login: Login,
    limits: EnrollLimits,
    session: Option<Session>,
}

impl Shell {
    fn short(&self) -> Limits {
        // The user database of a large cluster is some hundred KiB.
        Limits { timeout: self.limits.command, max_output: 2 * 1024 * 1024 }
    }

    async fn look(&mut self) -> Result<NodeFound, EnrollError> {
        let limits = self.short();
        let said = self.script(script::LOOK, &[PROGRAM], &[], limits).await?;
        enroll::read_look(&said.text())
            .map_err(|not| EnrollError::Refused { reason: not.reason, hint: not.hint })
    }

    async fn script(
        &mut self,
        program: Script,
        arguments: &[&str],
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, EnrollError> {
        let mut argv = vec!["sh".to_owned(), "-c".to_owned(), program.text.to_owned()];
        argv.push(program.name.to_owned());
        argv.extend(arguments.iter().map(|a| (*a).to_owned()));
        self.exec(program.name, &argv, stdin, limits).await.and_then(succeeded(program.name))
    }

    async fn run(
        &mut self,
        command: &[String],
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, EnrollError> {
        let name = command.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" ");
        self.exec(&name, command, stdin, limits).await.and_then(succeeded(&name))
    }

    /// A change of the user database. That it is there already is success.
    async fn pveum(&mut self, command: &[String], log: EnrollLog<'_>) -> Result<(), EnrollError> {
        log(Level::Info, &command.join(" "));
        let limits = self.short();
        let name = command.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" ");
        let output = self.exec(&name, command, &[], limits).await?;
        if output.status != 0 && was_done_already(command, &output.complaint()) {
            log(Level::Info, &brief(&output.complaint()));
            return Ok(());
        }
        succeeded(&name)(output).map(|_| ())
    }

    async fn exec(
        &mut self,
        name: &str,
        argv: &[String],
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, EnrollError> {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let session = match self.session.take() {
            Some(session) if !session.is_closed() => session,
            _ => self.connect().await?,
        };
        let session = self.session.insert(session);
        session
            .exec(&argv, Some(stdin), limits)
            .await
            .map_err(|source| EnrollError::Exec { program: name.to_owned(), source })
    }

    async fn connect(&self) -> Result<Session, EnrollError> {
        let limit = self.limits.connect;
        match &self.login {
            Login::Key(key) => Session::connect(&self.target, key, limit).await,
            Login::Password(password) => {
                Session::connect_with_password(&self.target, password, limit).await
            }
        }
        .map_err(|e| EnrollError::Connect(e.into()))
    }

    async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}

fn succeeded(program: &str) -> impl FnOnce(Output) -> Result<Output, EnrollError> {
    move |output| {
        if output.status == 0 {
            return Ok(output);
        }
        Err(EnrollError::Program {
            program: program.to_owned(),
            status: output.status,
            complaint: brief(&output.complaint()),
        })
    }
}

/// The bytes of the program that becomes the agent.
async fn read_program(path: Option<PathBuf>) -> Result<Arc<Vec<u8>>, EnrollError> {
    // Not `current_exe`: after an update the file of that name is another one, or gone.
    let path = path.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    tokio::fs::read(&path)
        .await
        .map(Arc::new)
        .map_err(|source| EnrollError::NoProgram { path, source })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
