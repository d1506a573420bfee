//! Sessions of a join: made when needed, kept, made again when they were lost.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::domain::event::Level;
use crate::plan::join::script::{self, Script};
use crate::plan::join::{JoinStep, brief};

use super::{Join, JoinError, JoinLog, Machine};
use crate::node::quote;
use crate::node::ssh::{ConnectError, ErrorClass, ExecError, Limits, Output, Session};

/// Longest pause between two attempts to connect. Newer sshd versions punish a source that fails often.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Which way leads to the fresh node when the ephemeral key may be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The session that is held.
    Held,
    /// From the member, by the keys that nodes of a cluster have for each other.
    ThroughMember,
    /// None.
    Closed,
}

/// What to do when the connection is lost while a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnLoss {
    /// Connect and run it again: running it twice is the same as once.
    Repeat,
    /// Tell the caller, who looks first what it did.
    Tell,
}

impl Join {
    /// Runs a program on a machine and wants exit status 0.
    pub(super) async fn run(
        &mut self,
        machine: Machine,
        program: Script,
        arguments: &[&str],
        stdin: Option<&str>,
        on_loss: OnLoss,
    ) -> Result<Output, JoinError> {
        let mut argv = vec!["sh", "-c", program.text, program.name];
        argv.extend_from_slice(arguments);
        self.exec(machine, program.name, &argv, stdin, on_loss).await
    }

    /// Runs a command on a machine and wants exit status 0.
    pub(super) async fn exec(
        &mut self,
        machine: Machine,
        program: &'static str,
        argv: &[&str],
        stdin: Option<&str>,
        on_loss: OnLoss,
    ) -> Result<Output, JoinError> {
        let deadline = Instant::now() + self.limits.reconnect;
        loop {
            let session = self.session(machine).await?;
            let result = session.exec(argv, stdin.map(str::as_bytes), Limits::default()).await;
            let source = match result {
                Ok(output) if output.status == 0 => return Ok(output),
                Ok(output) => {
                    return Err(JoinError::Program {
                        machine,
                        program,
                        status: output.status,
                        complaint: brief(&output.complaint()),
                    });
                }
                Err(source) => source,
            };
            let lost = matches!(source, ExecError::Dropped(_) | ExecError::NoExitStatus { .. });
            if lost {
                self.forget(machine);
            }
            if !lost || on_loss == OnLoss::Tell || Instant::now() >= deadline {
                return Err(JoinError::Exec { machine, program, source });
            }
            sleep(self.limits.backoff).await;
        }
    }

    fn forget(&mut self, machine: Machine) {
        match machine {
            Machine::Node => self.node = None,
            Machine::Member => self.member = None,
        }
    }

    async fn session(&mut self, machine: Machine) -> Result<&Session, JoinError> {
        let held = match machine {
            Machine::Node => self.node.take(),
            Machine::Member => self.member.take(),
        };
        let session = match held {
            Some(session) if !session.is_closed() => session,
            _ => self.connect(machine).await?,
        };
        let place = match machine {
            Machine::Node => &mut self.node,
            Machine::Member => &mut self.member,
        };
        Ok(place.insert(session))
    }

    async fn connect(&self, machine: Machine) -> Result<Session, JoinError> {
        let (target, key) = match machine {
            Machine::Node => (&self.context.node, &self.context.ephemeral),
            Machine::Member => (
                self.context.member.as_ref().ok_or(JoinError::Context { what: "a member" })?,
                self.context
                    .member_key
                    .as_ref()
                    .ok_or(JoinError::Context { what: "a key that opens the member" })?,
            ),
        };
        let begun = Instant::now();
        let mut pause = self.limits.backoff;
        loop {
            let source = match Session::connect(target, key, self.limits.connect).await {
                Ok(session) => return Ok(session),
                Err(source) => source,
            };
            let patience = match (&source, source.class()) {
                (ConnectError::Refused { .. }, _) if machine == Machine::Node => {
                    self.limits.refused
                }
                (_, ErrorClass::Transient) => self.limits.reconnect,
                _ => Duration::ZERO,
            };
            if begun.elapsed() >= patience {
                return Err(JoinError::Connect { machine, source: source.into() });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Tries a new login on the fresh node with the ephemeral key, once an answer is there.
    pub(super) async fn try_ephemeral(&self) -> Result<Session, ConnectError> {
        let begun = Instant::now();
        let mut pause = self.limits.backoff;
        loop {
            let key = &self.context.ephemeral;
            match Session::connect(&self.context.node, key, self.limits.connect).await {
                Err(error)
                    if error.class() == ErrorClass::Transient
                        && begun.elapsed() < self.limits.reconnect =>
                {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                answer => return answer,
            }
        }
    }

    /// Finds a way to the node for the closing steps: the held session, the ephemeral key, the cluster's key, the member.
    pub(super) async fn way_to_node(
        &mut self,
        step: JoinStep,
        log: &dyn JoinLog,
    ) -> Result<Way, JoinError> {
        if self.node.as_ref().is_some_and(|s| !s.is_closed()) {
            return Ok(Way::Held);
        }
        // In the proof a login with the ephemeral key is a question of its own, not a way.
        if step != JoinStep::Proof {
            match self.try_ephemeral().await {
                Ok(session) => {
                    self.node = Some(session);
                    return Ok(Way::Held);
                }
                Err(ConnectError::Refused { .. }) => {
                    log.line(step, Level::Info, "the node refuses the ephemeral key already");
                }
                Err(source) => {
                    return Err(JoinError::Connect {
                        machine: Machine::Node,
                        source: source.into(),
                    });
                }
            }
        }
        if let Some(key) = &self.context.member_key {
            match Session::connect(&self.context.node, key, self.limits.connect).await {
                Ok(session) => {
                    log.line(step, Level::Info, "logged in to the node with the cluster's key");
                    self.node = Some(session);
                    return Ok(Way::Held);
                }
                Err(ConnectError::Refused { .. }) => {}
                Err(source) => {
                    return Err(JoinError::Connect {
                        machine: Machine::Node,
                        source: source.into(),
                    });
                }
            }
        }
        Ok(if self.context.member.is_some() { Way::ThroughMember } else { Way::Closed })
    }

    /// Runs a program on the node by the given way; `None` when there is none.
    pub(super) async fn run_by(
        &mut self,
        way: Way,
        program: Script,
        arguments: &[&str],
    ) -> Result<Option<Output>, JoinError> {
        match way {
            Way::Closed => Ok(None),
            Way::Held => {
                self.run(Machine::Node, program, arguments, None, OnLoss::Tell).await.map(Some)
            }
            Way::ThroughMember => {
                let mut argv = vec!["sh", "-c", program.text, program.name];
                argv.extend_from_slice(arguments);
                let command = quote::render(&argv).map_err(|source| JoinError::Exec {
                    machine: Machine::Node,
                    program: program.name,
                    source: source.into(),
                })?;
                let address = self.context.address.to_string();
                let pinned: Vec<String> =
                    self.context.node.host_keys.iter().map(|k| format!("{address} {k}")).collect();
                let arguments = [address.as_str(), &pinned.join("\n"), &command];
                self.run(Machine::Member, script::HOP, &arguments, None, OnLoss::Repeat)
                    .await
                    .map(Some)
            }
        }
    }
}
