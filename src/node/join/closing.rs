//! The steps after the command: verify, remove the ephemeral key, prove that it is gone.

use tokio::time::{Instant, sleep};

use crate::domain::event::Level;
use crate::plan::join::closing::{FileCheck, Login};
use crate::plan::join::script;
use crate::plan::join::{
    CleanUpLook, JoinStep, Kind, Observation, ProofLook, Repair, Verdict, VerifyLook, interpret,
};

use super::access::{OnLoss, Way};
use super::{Join, JoinError, JoinLog, Machine, StepOutcome};
use crate::node::ssh::ConnectError;

impl Join {
    pub(super) async fn verify(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let step = JoinStep::Verify;
        let begun = Instant::now();
        let facts = self.context.facts();
        let mut repairs: Vec<Repair> = Vec::new();
        loop {
            let member = match facts.kind() {
                Kind::Joining => {
                    let output = self
                        .run(Machine::Member, script::LOOK_MEMBER, &[], None, OnLoss::Repeat)
                        .await?;
                    output.text().into_owned()
                }
                Kind::Founding => String::new(),
            };
            let name = self.context.name.to_string();
            let node = self
                .run(Machine::Node, script::LOOK_MEMBERSHIP, &[&name], None, OnLoss::Repeat)
                .await?;
            let look = VerifyLook::parse(&member, &node.text());
            let verdict = interpret(&Observation::Verify(look), &facts);
            if let Verdict::Repair(repair) = verdict {
                self.repair(step, repair, &mut repairs, log).await?;
            } else if let Some(outcome) = self.conclude(verdict, begun)? {
                return Ok(outcome);
            }
            sleep(self.limits.poll).await;
        }
    }

    /// The member first: what is in the cluster's file is in the node's too. On the node the last file to change is the one
    /// that opens it for us, and the check runs in the session that is open already.
    pub(super) async fn clean_up(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let step = JoinStep::CleanUp;
        let begun = Instant::now();
        let key = self.context.ephemeral.public_body().to_owned();
        loop {
            let member = self.clean_member(&key).await?;
            let way = self.way_to_node(step, log).await?;
            let node = match self.run_by(way, script::CLEAN_UP, &[&key, "node"]).await {
                Ok(_) => self.check_node(way, &key).await,
                Err(error) => Err(error),
            };
            let node = match node {
                Ok(check) => check,
                // Lost in the middle: the next round finds another way in, or none.
                Err(error @ JoinError::Exec { .. }) if begun.elapsed() < self.limits.reconnect => {
                    log.line(step, Level::Warn, &error.reason());
                    sleep(self.limits.backoff).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let look = CleanUpLook { node, member };
            tell(step, look.node.as_ref(), "node", log);
            tell(step, look.member.as_ref(), "member", log);
            let verdict = interpret(&Observation::CleanUp(look), &self.context.facts());
            if let Some(outcome) = self.conclude(verdict, begun)? {
                return Ok(outcome);
            }
            sleep(self.limits.poll).await;
        }
    }

    async fn clean_member(&mut self, key: &str) -> Result<Option<FileCheck>, JoinError> {
        if self.context.member.is_none() {
            return Ok(None);
        }
        self.run(Machine::Member, script::CLEAN_UP, &[key, "member"], None, OnLoss::Repeat).await?;
        self.check_member(key).await
    }

    async fn check_member(&mut self, key: &str) -> Result<Option<FileCheck>, JoinError> {
        if self.context.member.is_none() {
            return Ok(None);
        }
        let arguments = [key, "member"];
        let output =
            self.run(Machine::Member, script::CHECK, &arguments, None, OnLoss::Repeat).await?;
        Ok(Some(FileCheck::parse(&output.text())))
    }

    async fn check_node(&mut self, way: Way, key: &str) -> Result<Option<FileCheck>, JoinError> {
        let output = self.run_by(way, script::CHECK, &[key, "node"]).await?;
        Ok(output.map(|o| FileCheck::parse(&o.text())))
    }

    /// A new login is refused, and no file holds the key: counted on the member and, by any way that is still open, on the
    /// node. Without any (a founder that keeps no lasting key, after a crash) the refused login stands, since the clean-up
    /// counted the node's files before it was done.
    pub(super) async fn proof(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let step = JoinStep::Proof;
        let begun = Instant::now();
        let key = self.context.ephemeral.public_body().to_owned();
        loop {
            let login = match self.try_ephemeral().await {
                Ok(session) => {
                    session.close().await;
                    Login::Accepted
                }
                Err(ConnectError::Refused { address, .. }) => {
                    let message = format!("{address} refused a new login with the ephemeral key");
                    log.line(step, Level::Info, &message);
                    Login::Refused
                }
                Err(error @ (ConnectError::HostKey { .. } | ConnectError::NoHostKey { .. })) => {
                    return Err(JoinError::Connect {
                        machine: Machine::Node,
                        source: error.into(),
                    });
                }
                Err(error) => Login::Unknown(error.to_string()),
            };
            let member = self.check_member(&key).await?;
            let way = self.way_to_node(step, log).await?;
            let node = self.check_node(way, &key).await?;
            if way == Way::Closed {
                let message = "no key of ours opens the node any more; its files were counted by the clean-up";
                log.line(step, Level::Info, message);
            }
            tell(step, node.as_ref(), "node", log);
            tell(step, member.as_ref(), "member", log);
            let look = ProofLook { login, node, member };
            let verdict = interpret(&Observation::Proof(look), &self.context.facts());
            if let Some(outcome) = self.conclude(verdict, begun)? {
                self.close().await;
                return Ok(outcome);
            }
            sleep(self.limits.poll).await;
        }
    }
}

/// The transcript of a count: it belongs to the job's log.
fn tell(step: JoinStep, check: Option<&FileCheck>, place: &str, log: &dyn JoinLog) {
    for count in check.iter().flat_map(|c| &c.counts) {
        log.line(
            step,
            Level::Info,
            &format!("lines with the ephemeral key on the {place}: {count}"),
        );
    }
    for file in check.iter().flat_map(|c| &c.left) {
        log.line(step, Level::Warn, &format!("left on the {place}: {file}"));
    }
}
