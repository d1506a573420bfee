//! The steps up to the running command: look, prepare, add or create.

use tokio::time::{Instant, sleep};

use crate::domain::event::Level;
use crate::plan::join::script;
use crate::plan::join::{
    Attempt, AttemptState, JoinStep, KnownHostsLook, MemberLook, NodeLook, Observation, OwnKeyLook,
    Repair, Verdict, brief, interpret, prepare,
};

use super::access::OnLoss;
use super::{Join, JoinError, JoinLog, Machine, StepOutcome};

/// How often one repair is tried in one step before it is admitted that it does not help.
const REPAIR_ATTEMPTS: usize = 2;

impl Join {
    pub(super) async fn look_node(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        self.settle_node(JoinStep::LookNode, log).await
    }

    /// Looks at the node and repairs until it is blank, running a join, or a member.
    async fn settle_node(
        &mut self,
        step: JoinStep,
        log: &dyn JoinLog,
    ) -> Result<StepOutcome, JoinError> {
        let begun = Instant::now();
        let mut repairs = Vec::new();
        loop {
            let look = self.observe_node().await?;
            match interpret(&Observation::Node(look), &self.context.facts()) {
                Verdict::Repair(repair) => {
                    self.repair(step, repair, &mut repairs, log).await?;
                    if repair == Repair::FinishMember {
                        let detail = "the node is a member; its unfinished join was finished";
                        return Ok(StepOutcome::GoTo {
                            step: JoinStep::Verify,
                            detail: detail.to_owned(),
                        });
                    }
                }
                other => {
                    if let Some(outcome) = self.conclude(other, begun)? {
                        return Ok(outcome);
                    }
                    sleep(self.limits.poll).await;
                }
            }
        }
    }

    async fn observe_node(&mut self) -> Result<NodeLook, JoinError> {
        let name = self.context.name.to_string();
        let output =
            self.run(Machine::Node, script::LOOK_NODE, &[&name], None, OnLoss::Repeat).await?;
        Ok(NodeLook::parse(&output.text()))
    }

    /// Turns a verdict into an end of the step, or `None` when it must look again.
    pub(super) fn conclude(
        &self,
        verdict: Verdict,
        begun: Instant,
    ) -> Result<Option<StepOutcome>, JoinError> {
        match verdict {
            Verdict::Next { detail } => Ok(Some(StepOutcome::Done { detail })),
            Verdict::GoTo { step, detail } => Ok(Some(StepOutcome::GoTo { step, detail })),
            Verdict::Fail { reason, hint } => Err(JoinError::Refused { reason, hint }),
            Verdict::Behind { host, reason, hint } => Err(JoinError::Behind { host, reason, hint }),
            Verdict::Wait { reason, hint } if begun.elapsed() >= self.limits.settle => {
                Err(JoinError::TimedOut { reason, hint, seconds: begun.elapsed().as_secs() })
            }
            Verdict::Wait { .. } | Verdict::Repair(_) => Ok(None),
        }
    }

    /// Carries out a repair; a lost connection is not an error, the next look tells.
    pub(super) async fn repair(
        &mut self,
        step: JoinStep,
        repair: Repair,
        done: &mut Vec<Repair>,
        log: &dyn JoinLog,
    ) -> Result<(), JoinError> {
        if done.iter().filter(|r| **r == repair).count() >= REPAIR_ATTEMPTS {
            return Err(JoinError::Refused {
                reason: format!("a repair did not help: {}", repair.describe()),
                hint: "read the log of this step; rebuilding the node is always possible"
                    .to_owned(),
            });
        }
        done.push(repair);
        log.line(step, Level::Warn, repair.describe());
        let name = self.context.name.to_string();
        let result = match repair {
            Repair::StartFileSystem => {
                self.run(Machine::Node, script::START_FILE_SYSTEM, &[], None, OnLoss::Tell).await
            }
            Repair::StandAlone => {
                self.run(Machine::Node, script::STAND_ALONE, &[], None, OnLoss::Tell).await
            }
            Repair::DropKeyFile => {
                self.run(Machine::Node, script::DROP_KEY_FILE, &[], None, OnLoss::Tell).await
            }
            Repair::FinishMember => {
                self.run(Machine::Node, script::FINISH_MEMBER, &[], None, OnLoss::Repeat).await
            }
            Repair::RemoveDeadNode => {
                let argv = ["pvecm", "delnode", &name];
                self.exec(Machine::Member, "pvecm delnode", &argv, None, OnLoss::Tell).await
            }
            Repair::LowerExpectedVotes { votes } => {
                let votes = votes.to_string();
                let argv = ["pvecm", "expected", &votes];
                self.exec(Machine::Member, "pvecm expected", &argv, None, OnLoss::Tell).await
            }
        };
        match result {
            Ok(output) => {
                for line in output.text().lines().chain(output.complaint().lines()) {
                    log.line(step, Level::Info, &brief(line));
                }
                Ok(())
            }
            // The look after it decides whether it helped.
            Err(error @ (JoinError::Exec { .. } | JoinError::Program { .. })) => {
                log.line(step, Level::Warn, &error.reason());
                sleep(self.limits.poll).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn look_member(
        &mut self,
        log: &dyn JoinLog,
    ) -> Result<StepOutcome, JoinError> {
        let step = JoinStep::LookMember;
        let begun = Instant::now();
        let mut repairs = Vec::new();
        loop {
            let look = self.observe_member().await?;
            let facts = self.context.facts();
            let warnings = look.warnings(&facts);
            let verdict = interpret(&Observation::Member(look), &facts);
            if let Verdict::Repair(repair) = verdict {
                self.repair(step, repair, &mut repairs, log).await?;
                continue;
            }
            if let Some(outcome) = self.conclude(verdict, begun)? {
                for warning in warnings {
                    log.line(step, Level::Warn, &warning);
                }
                return Ok(outcome);
            }
            sleep(self.limits.poll).await;
        }
    }

    async fn observe_member(&mut self) -> Result<MemberLook, JoinError> {
        let name = self.context.name.to_string();
        let member =
            self.run(Machine::Member, script::LOOK_MEMBER, &[], None, OnLoss::Repeat).await?;
        let node =
            self.run(Machine::Node, script::LOOK_NODE, &[&name], None, OnLoss::Repeat).await?;
        Ok(MemberLook::parse(&member.text(), &node.text()))
    }

    pub(super) async fn own_key(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let begun = Instant::now();
        let key = self.context.ephemeral.clone();
        loop {
            let line = format!("{}\n", key.public_line());
            let arguments = [key.public_body()];
            let output = self
                .run(Machine::Node, script::OWN_KEY, &arguments, Some(&line), OnLoss::Repeat)
                .await?;
            let login = match self.try_ephemeral().await {
                Ok(session) => {
                    session.close().await;
                    true
                }
                Err(error) => {
                    log.line(JoinStep::OwnKey, Level::Warn, &error.to_string());
                    false
                }
            };
            let look = OwnKeyLook::parse(&output.text(), login);
            let verdict = interpret(&Observation::OwnKey(look), &self.context.facts());
            if let Some(outcome) = self.conclude(verdict, begun)? {
                return Ok(outcome);
            }
            sleep(self.limits.poll).await;
        }
    }

    pub(super) async fn node_key(&mut self, _: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let argv = ["cat", "/root/.ssh/id_rsa.pub"];
        let output = self.exec(Machine::Node, "cat", &argv, None, OnLoss::Repeat).await?;
        let name = self.context.name.clone();
        let line = prepare::node_key_line(output.text().trim(), &name).ok_or_else(|| {
            JoinError::Refused {
                reason: "/root/.ssh/id_rsa.pub of the node is not a public key".to_owned(),
                hint: "remove it and run `pvecm updatecerts` on the node, which makes a new one"
                    .to_owned(),
            }
        })?;
        let lines = line + &self.lasting_line();
        let arguments = [name.as_str()];
        self.run(Machine::Member, script::SHARED_KEYS, &arguments, Some(&lines), OnLoss::Repeat)
            .await?;
        Ok(StepOutcome::Done {
            detail: "the node's own key is in the cluster's file, stale ones of its name are out"
                .to_owned(),
        })
    }

    /// Takes back what [`node_key`](Self::node_key) gave: the lines of this node's name in the cluster's file.
    pub(super) async fn take_node_key_back(&mut self) -> Result<(), JoinError> {
        let name = self.context.name.clone();
        let arguments = [name.as_str()];
        self.run(Machine::Member, script::SHARED_KEYS, &arguments, Some(""), OnLoss::Repeat)
            .await
            .map(drop)
    }

    fn lasting_line(&self) -> String {
        let line = self.context.lasting_key.as_deref().unwrap_or_default();
        line.lines().next().map(|l| format!("{}\n", l.trim())).unwrap_or_default()
    }

    pub(super) async fn known_hosts(
        &mut self,
        log: &dyn JoinLog,
    ) -> Result<StepOutcome, JoinError> {
        let begun = Instant::now();
        let facts = self.context.facts();
        let member = facts.member.ok_or(JoinError::Context { what: "a member" })?;
        let argv = ["cat", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/ssh_host_rsa_key.pub"];
        let keys = match self.exec(Machine::Member, "cat", &argv, None, OnLoss::Repeat).await {
            Ok(output) => output.text().into_owned(),
            // One of the two may be missing; the pinned ones are as good.
            Err(JoinError::Program { complaint, .. }) => {
                log.line(JoinStep::KnownHosts, Level::Warn, &complaint);
                self.context
                    .member
                    .iter()
                    .flat_map(|m| m.host_keys.clone())
                    .fold(String::new(), |text, key| text + &key + "\n")
            }
            Err(error) => return Err(error),
        };
        let lines = prepare::known_hosts_lines(member, &keys);
        loop {
            let arguments = [member.to_string()];
            let arguments = [arguments[0].as_str()];
            let output = self
                .run(Machine::Node, script::KNOWN_HOSTS, &arguments, Some(&lines), OnLoss::Repeat)
                .await?;
            let look = KnownHostsLook::parse(&output.text(), &output.complaint());
            let verdict = interpret(&Observation::KnownHosts(look), &facts);
            if let Some(outcome) = self.conclude(verdict, begun)? {
                return Ok(outcome);
            }
            sleep(self.limits.poll).await;
        }
    }

    pub(super) async fn add(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let member = self.context.facts().member.ok_or(JoinError::Context { what: "a member" })?;
        let (member, own) = (member.to_string(), self.context.address.to_string());
        self.attempt(JoinStep::Add, &["add", &member, &own], log).await
    }

    pub(super) async fn create(&mut self, log: &dyn JoinLog) -> Result<StepOutcome, JoinError> {
        let (cluster, own) = (self.context.cluster_name.clone(), self.context.address.to_string());
        let outcome = self.attempt(JoinStep::Create, &["create", &cluster, &own], log).await?;
        self.leave_lasting_key(log).await?;
        Ok(outcome)
    }

    /// The first node's file becomes the cluster's. Writing it needs the quorum, which takes some seconds.
    async fn leave_lasting_key(&mut self, log: &dyn JoinLog) -> Result<(), JoinError> {
        let line = self.lasting_line();
        if line.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let result =
                self.run(Machine::Node, script::SHARED_KEYS, &[""], Some(&line), OnLoss::Repeat);
            match result.await {
                Ok(_) => {
                    let message = "the lasting key was put into the cluster's file";
                    log.line(JoinStep::Create, Level::Info, message);
                    return Ok(());
                }
                Err(JoinError::Program { .. }) if begun.elapsed() < self.limits.settle => {
                    sleep(self.limits.poll).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts the detached command, unless it runs or is not needed any more, and follows it to its end.
    async fn attempt(
        &mut self,
        step: JoinStep,
        arguments: &[&str],
        log: &dyn JoinLog,
    ) -> Result<StepOutcome, JoinError> {
        match self.settle_node(step, log).await? {
            StepOutcome::GoTo { step: JoinStep::Verify, detail } => {
                return Ok(StepOutcome::Done { detail });
            }
            StepOutcome::GoTo { .. } => {}
            StepOutcome::Done { .. } => self.start(step, arguments, log).await?,
        }
        let begun = Instant::now();
        let mut printed = 0;
        let facts = self.context.facts();
        let mut missing = None;
        while begun.elapsed() < self.limits.join {
            let attempt = self.poll().await?;
            for line in attempt.log.iter().skip(printed) {
                log.line(step, Level::Info, &brief(line));
            }
            printed = printed.max(attempt.log.len());
            match interpret(&Observation::Attempt(attempt), &facts) {
                Verdict::Next { detail } => return Ok(StepOutcome::Done { detail }),
                Verdict::Fail { reason, hint } => {
                    self.spare_the_cluster(step, log).await;
                    return Err(JoinError::Refused { reason, hint });
                }
                Verdict::Wait { reason, hint } => missing = Some((reason, hint)),
                Verdict::GoTo { .. } | Verdict::Repair(_) | Verdict::Behind { .. } => {}
            }
            sleep(self.limits.poll).await;
        }
        self.give_up(step, log, begun, missing).await
    }

    async fn start(
        &mut self,
        step: JoinStep,
        arguments: &[&str],
        log: &dyn JoinLog,
    ) -> Result<(), JoinError> {
        let mut tries = 0;
        loop {
            let started = self.run(Machine::Node, script::START, arguments, None, OnLoss::Tell);
            let Err(error) = started.await else { return Ok(()) };
            tries += 1;
            // The connection may have been lost after the command was started: never start it blindly again.
            if tries >= 3 || !matches!(error, JoinError::Exec { .. }) {
                return Err(error);
            }
            log.line(step, Level::Warn, &error.reason());
            if self.poll().await?.state != AttemptState::None {
                return Ok(());
            }
        }
    }

    async fn poll(&mut self) -> Result<Attempt, JoinError> {
        let output = self.run(Machine::Node, script::POLL, &[], None, OnLoss::Repeat).await?;
        Ok(Attempt::parse(&output.text()))
    }

    /// The command's time is over. The member knows whether it worked all the same (13.7); if not, the node is made
    /// stand-alone again so that nothing hangs and a retry starts clean.
    async fn give_up(
        &mut self,
        step: JoinStep,
        log: &dyn JoinLog,
        begun: Instant,
        missing: Option<(String, String)>,
    ) -> Result<StepOutcome, JoinError> {
        let name = self.context.name.to_string();
        log.line(step, Level::Warn, "the command's time is over; stopping it");
        self.run(Machine::Node, script::STOP, &[], None, OnLoss::Repeat).await?;
        let mut repairs = Vec::new();
        if step == JoinStep::Add {
            let seen = self.observe_member().await?;
            if seen.view.as_ref().and_then(|v| v.node(&name)).is_some_and(|n| n.online) {
                self.repair(step, Repair::FinishMember, &mut repairs, log).await?;
                let detail =
                    format!("the cluster lists '{name}'; its unfinished join was finished");
                return Ok(StepOutcome::Done { detail });
            }
            self.repair(step, Repair::StandAlone, &mut repairs, log).await?;
            self.spare_the_cluster(step, log).await;
        }
        let (reason, hint) = missing.unwrap_or_default();
        Err(JoinError::TimedOut { reason, hint, seconds: begun.elapsed().as_secs() })
    }

    /// After a failed attempt: the vote of a node that never came must not block a small cluster.
    async fn spare_the_cluster(&mut self, step: JoinStep, log: &dyn JoinLog) {
        if step != JoinStep::Add {
            return;
        }
        let Ok(look) = self.observe_member().await else { return };
        let verdict = interpret(&Observation::Member(look), &self.context.facts());
        if let Verdict::Repair(repair @ Repair::LowerExpectedVotes { .. }) = verdict
            && let Err(error) = self.repair(step, repair, &mut Vec::new(), log).await
        {
            log.line(step, Level::Warn, &error.reason());
        }
    }
}
