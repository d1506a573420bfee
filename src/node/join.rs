//! Carries out the join that `plan::join` decides, one step per call.
//!
//! The job engine calls [`Join::run_step`] for the steps of [`JoinContext::kind`] in order, records each outcome, and after
//! a crash calls the unfinished step again (or `join.look-node`, which finds out where an attempt stands). Before it runs
//! [`JoinStep::Add`] it records that the join was started and calls [`Join::mark_started`]: from then on an entry of this
//! name in the cluster is known to be our own. It holds a [`ClusterGuard`](super::ClusterGuard) from `join.look-member`
//! (when founding: `join.look-node`) to `join.verify`.
//!
//! One session to each machine is kept between the steps. The clean-up and the proof need it: the last command that
//! removes the ephemeral key runs in a session which that key opened before.

mod access;
mod closing;
mod steps;

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::event::Level;
use crate::domain::id::Hostname;
use crate::domain::refusal::with_causes;
use crate::plan::join::{Facts, JoinStep, Kind};

use super::key::EphemeralKey;
use super::ssh::{ConnectError, ErrorClass, ExecError, Session, Target};

/// All that a join needs to know.
#[derive(Debug, Clone)]
pub struct JoinContext {
    /// The fresh node, with the host keys that its callbacks carried.
    pub node: Target,
    /// Its name.
    pub name: Hostname,
    /// The address that its name has; corosync and the other nodes use it.
    pub address: IpAddr,
    /// A quorate member of the cluster. `None`: the node founds the cluster.
    pub member: Option<Target>,
    /// The key of this rebuild, which opens the fresh node.
    pub ephemeral: EphemeralKey,
    /// The key that opens the member. It also opens the new node once the cluster's file is there.
    pub member_key: Option<EphemeralKey>,
    /// An authorized_keys line that stays in the cluster, so that later joins (and apps) can log in. `None`: none is left.
    pub lasting_key: Option<String>,
    /// Name of a cluster to be founded: at most 15 characters, host-name rules. Not used when joining.
    pub cluster_name: String,
    /// The operator confirmed that a dead node of the same name is removed.
    pub replace_node: bool,
    /// This very job began `join.add` before.
    pub join_started: bool,
    /// Names of the other hosts.
    pub others: Vec<Hostname>,
}

impl JoinContext {
    /// Whether there is a cluster to join; its steps are [`Kind::steps`].
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.member.is_some() { Kind::Joining } else { Kind::Founding }
    }

    fn facts(&self) -> Facts {
        Facts {
            node: self.name.clone(),
            address: self.address,
            member: self.member.as_ref().map(|m| m.address.ip()),
            cluster: self.cluster_name.clone(),
            replace_node: self.replace_node,
            join_started: self.join_started,
            others: self.others.clone(),
        }
    }
}

/// Where the steps tell what they do. Messages never contain secrets.
pub trait JoinLog: Send + Sync {
    /// A step begins.
    fn started(&self, step: JoinStep);
    /// A line of its story: what the machines printed, warnings, repairs.
    fn line(&self, step: JoinStep, level: Level, message: &str);
    /// It was done and verified; one sentence.
    fn finished(&self, step: JoinStep, detail: &str);
}

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// Done; the next step follows.
    Done {
        /// One sentence for the job's page.
        detail: String,
    },
    /// Done, and the steps before `step` are not needed.
    GoTo {
        /// Where to go on.
        step: JoinStep,
        /// One sentence for the job's page.
        detail: String,
    },
}

impl StepOutcome {
    /// One sentence for the job's page.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::Done { detail } | Self::GoTo { detail, .. } => detail,
        }
    }
}

/// Times of a join. The defaults are for real machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinLimits {
    /// One SSH login.
    pub connect: Duration,
    /// How long a machine may be unreachable before a step gives up.
    pub reconnect: Duration,
    /// First pause between two attempts to connect; it doubles up to 5 s.
    pub backoff: Duration,
    /// How long a fresh node may refuse its key: sshd is up before the cluster file system that holds the key.
    pub refused: Duration,
    /// Pause between two looks.
    pub poll: Duration,
    /// `pvecm add` (13.7: 180 s; 18 to 25 s were measured) and `pvecm create`.
    pub join: Duration,
    /// Until everything that a look wants has come true.
    pub settle: Duration,
}

impl Default for JoinLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            reconnect: Duration::from_secs(180),
            backoff: Duration::from_millis(500),
            refused: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            join: Duration::from_secs(180),
            settle: Duration::from_secs(60),
        }
    }
}

/// One of the two machines of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// The fresh node.
    Node,
    /// The member that is joined.
    Member,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Node => "the fresh node",
            Self::Member => "the cluster's member",
        })
    }
}

/// A step did not succeed. The message says what happened; [`hint`](Self::hint) what to do.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A machine could not be logged in to.
    #[error("no SSH session with {machine}")]
    Connect {
        /// Which.
        machine: Machine,
        /// Why.
        #[source]
        source: Box<ConnectError>,
    },
    /// A program did not run to its end.
    #[error("{program} did not run to its end on {machine}")]
    Exec {
        /// Which.
        machine: Machine,
        /// Name of the program.
        program: &'static str,
        /// Why.
        #[source]
        source: ExecError,
    },
    /// A program failed.
    #[error("{program} failed on {machine} with exit status {status}: {complaint}")]
    Program {
        /// Which.
        machine: Machine,
        /// Name of the program.
        program: &'static str,
        /// Its exit status.
        status: u32,
        /// What it printed on standard error, shortened.
        complaint: String,
    },
    /// A rule says no, or the cluster does.
    #[error("{reason}")]
    Refused {
        /// What happened.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// Something did not come true in time.
    #[error("{reason} (waited {seconds} s)")]
    TimedOut {
        /// What is missing.
        reason: String,
        /// What to do.
        hint: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Another host of ours stands in the way, half joined. Nothing was changed; the caller lets its rebuild go first.
    #[error("{reason}")]
    Behind {
        /// Which.
        host: Hostname,
        /// What is missing.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The context lacks what this step needs.
    #[error("the join needs {what}")]
    Context {
        /// What.
        what: &'static str,
    },
}

impl JoinError {
    /// What to do with it: denied ones need the operator, transient ones may be tried again from `join.look-node`.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Connect { source, .. } => source.class(),
            Self::Exec { source, .. } => source.class(),
            Self::Program { .. } | Self::TimedOut { .. } | Self::Behind { .. } => {
                ErrorClass::Transient
            }
            Self::Refused { .. } => ErrorClass::Denied,
            Self::Context { .. } => ErrorClass::Broken,
        }
    }

    /// What happened with all its causes, in one line.
    #[must_use]
    pub fn reason(&self) -> String {
        with_causes(self)
    }

    /// What the operator can do.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = match self {
            Self::Refused { hint, .. }
            | Self::TimedOut { hint, .. }
            | Self::Behind { hint, .. } => hint,
            Self::Connect { machine, source } => match (source.as_ref(), machine) {
                (ConnectError::HostKey { .. } | ConnectError::NoHostKey { .. }, _) => {
                    "another machine may answer at this address; if the host keys were changed on purpose, update the pinned ones"
                }
                (ConnectError::Refused { .. }, Machine::Member) => {
                    "put Ironhatch's public key into /etc/pve/priv/authorized_keys of the cluster"
                }
                _ => "check that the machine is up and that TCP port 22 of it can be reached",
            },
            Self::Exec { .. } | Self::Program { .. } => {
                "read the log of this step, then retry; what was left behind is repaired first"
            }
            Self::Context { .. } => "report this as a bug",
        };
        text.to_owned()
    }
}

/// One join, with its sessions.
#[derive(Debug)]
pub struct Join {
    context: JoinContext,
    limits: JoinLimits,
    node: Option<Session>,
    member: Option<Session>,
}

impl Join {
    /// A join that has not connected to anything yet.
    #[must_use]
    pub fn new(context: JoinContext, limits: JoinLimits) -> Self {
        Self { context, limits, node: None, member: None }
    }

    /// Notes that the caller has recorded durably that `join.add` begins.
    pub fn mark_started(&mut self) {
        self.context.join_started = true;
    }

    /// Runs one step until it is done and verified. Every step may be called again at any time.
    ///
    /// # Errors
    /// [`JoinError`]: why it was not done, with class, reason and hint.
    pub async fn run_step(
        &mut self,
        step: JoinStep,
        log: &dyn JoinLog,
    ) -> Result<StepOutcome, JoinError> {
        log.started(step);
        let outcome = match step {
            JoinStep::LookNode => self.look_node(log).await,
            JoinStep::LookMember => self.look_member(log).await,
            JoinStep::OwnKey => self.own_key(log).await,
            JoinStep::NodeKey => self.node_key(log).await,
            JoinStep::KnownHosts => self.known_hosts(log).await,
            JoinStep::Add => self.add(log).await,
            JoinStep::Create => self.create(log).await,
            JoinStep::Verify => self.verify(log).await,
            JoinStep::CleanUp => self.clean_up(log).await,
            JoinStep::Proof => self.proof(log).await,
        };
        match &outcome {
            Ok(done) => log.finished(step, done.detail()),
            // The caller looks again and again, and says it once.
            Err(JoinError::Behind { .. }) => {}
            Err(error) => log.line(step, Level::Error, &error.reason()),
        }
        outcome
    }

    /// Takes the node's own key out of the cluster again, for a join that is given up before `join.add`: a machine that is
    /// no member must not be able to log in to the members.
    ///
    /// # Errors
    /// [`JoinError`]: the key is still there.
    pub async fn withdraw_node_key(&mut self) -> Result<(), JoinError> {
        self.take_node_key_back().await
    }

    /// Says goodbye to both machines. Dropping the join ends its sessions too.
    pub async fn close(&mut self) {
        for session in [self.node.take(), self.member.take()].into_iter().flatten() {
            session.close().await;
        }
    }
}
