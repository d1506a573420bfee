//! How a fresh node becomes a member of a cluster: the steps as data, and what each step's observation means.
//!
//! The sequence is the one of `pve-api` 13.9, which was run against Proxmox VE 9.2. It needs no root password of the
//! cluster: the fresh node F logs in to a member M by its own SSH key. F is reached by the ephemeral key of the
//! rebuild, M by a key that opens it already.
//!
//! ```text
//! joining:   look-node → look-member → own-key → node-key → known-hosts → add → verify → clean-up → proof
//! founding:  look-node → own-key → create → verify → clean-up → proof
//!                │ ▲
//!                └─┘ repairs of an interrupted attempt (crash table), then it looks again
//! ```
//!
//! Nothing is done here. `node::join` runs a step's [`script`], parses what it printed into an [`Observation`] and asks
//! [`interpret`]. Steps up to `join.known-hosts` change nothing in the cluster (except the removal of a dead namesake,
//! which the operator confirmed); every step can be repeated.

pub mod attempt;
pub mod closing;
pub mod look;
pub mod prepare;
pub mod pvecm;
pub mod script;

use std::net::IpAddr;

use crate::domain::id::{Hostname, StepId};
use crate::domain::job::StepClass;

pub use attempt::{Attempt, AttemptState};
pub use closing::{CleanUpLook, ProofLook, VerifyLook};
pub use look::{MemberLook, NodeLook, ahead};
pub use prepare::{KnownHostsLook, OwnKeyLook};

/// One step of a join. The ids are stored in jobs: their meaning never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JoinStep {
    /// What the fresh node is: blank, half joined, or a member already. Repairs what an interrupted attempt left.
    LookNode,
    /// Whether the cluster can take a member of that name now.
    LookMember,
    /// The ephemeral key into a file that survives the join.
    OwnKey,
    /// The fresh node's own key into the cluster's shared file.
    NodeKey,
    /// The member's host keys to the fresh node, and a trial login.
    KnownHosts,
    /// `pvecm add`, detached from our connection.
    Add,
    /// `pvecm create`, for the first node.
    Create,
    /// Quorum, node list and certificate, seen from both sides.
    Verify,
    /// The ephemeral key and the traces of the join are removed.
    CleanUp,
    /// The ephemeral key is in no file any more and opens nothing.
    Proof,
}

const JOINING: &[JoinStep] = &[
    JoinStep::LookNode,
    JoinStep::LookMember,
    JoinStep::OwnKey,
    JoinStep::NodeKey,
    JoinStep::KnownHosts,
    JoinStep::Add,
    JoinStep::Verify,
    JoinStep::CleanUp,
    JoinStep::Proof,
];

const FOUNDING: &[JoinStep] = &[
    JoinStep::LookNode,
    JoinStep::OwnKey,
    JoinStep::Create,
    JoinStep::Verify,
    JoinStep::CleanUp,
    JoinStep::Proof,
];

/// Whether there is a cluster to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A member is known; the node joins it.
    Joining,
    /// There is no cluster yet; the node founds it.
    Founding,
}

impl Kind {
    /// The steps, in order.
    #[must_use]
    pub fn steps(self) -> &'static [JoinStep] {
        match self {
            Self::Joining => JOINING,
            Self::Founding => FOUNDING,
        }
    }
}

impl JoinStep {
    /// All steps of both sequences.
    pub const ALL: [Self; 10] = [
        Self::LookNode,
        Self::LookMember,
        Self::OwnKey,
        Self::NodeKey,
        Self::KnownHosts,
        Self::Add,
        Self::Create,
        Self::Verify,
        Self::CleanUp,
        Self::Proof,
    ];

    /// The stable id as text, for example `join.verify`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LookNode => "join.look-node",
            Self::LookMember => "join.look-member",
            Self::OwnKey => "join.own-key",
            Self::NodeKey => "join.node-key",
            Self::KnownHosts => "join.known-hosts",
            Self::Add => "join.add",
            Self::Create => "join.create",
            Self::Verify => "join.verify",
            Self::CleanUp => "join.clean-up",
            Self::Proof => "join.proof",
        }
    }

    /// The stable id as it is stored in a job.
    #[must_use]
    pub fn id(self) -> StepId {
        self.as_str().parse().expect("the ids above are valid slugs; a test walks through all")
    }

    /// The step with this id, if it is one of a join.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == id)
    }

    /// What it does, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::LookNode => "Look at the fresh node",
            Self::LookMember => "Look at the cluster",
            Self::OwnKey => "Keep our own login through the join",
            Self::NodeKey => "Let the node log in to the cluster",
            Self::KnownHosts => "Tell the node the member's host keys",
            Self::Add => "Join the cluster",
            Self::Create => "Found the cluster",
            Self::Verify => "Verify quorum and node list",
            Self::CleanUp => "Remove the ephemeral key",
            Self::Proof => "Prove that the ephemeral key is gone",
        }
    }

    /// What a restart may do with it when it was begun and not finished.
    #[must_use]
    pub fn class(self) -> StepClass {
        match self {
            Self::LookNode | Self::LookMember | Self::Add | Self::Create => StepClass::Inspect,
            Self::OwnKey | Self::NodeKey | Self::KnownHosts | Self::CleanUp => {
                StepClass::SafeToRepeat
            }
            Self::Verify | Self::Proof => StepClass::Pure,
        }
    }
}

/// What the decisions know besides the observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Name of the fresh node.
    pub node: Hostname,
    /// The address that the node's name has and that corosync will use.
    pub address: IpAddr,
    /// The member's address; `None` when this node founds the cluster.
    pub member: Option<IpAddr>,
    /// Name of the cluster to be founded. Not compared when joining.
    pub cluster: String,
    /// The operator confirmed that a dead node of the same name is removed.
    pub replace_node: bool,
    /// `join.add` was begun by this very job: an entry of that name in the cluster is our own.
    pub join_started: bool,
    /// Names of the other hosts. What one of them left half joined is taken away by its own rebuild only.
    pub others: Vec<Hostname>,
}

impl Facts {
    /// Whether there is a cluster to join.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.member.is_some() { Kind::Joining } else { Kind::Founding }
    }
}

/// What a step saw. One variant per step that has something to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Of `join.look-node`.
    Node(NodeLook),
    /// Of `join.look-member`.
    Member(MemberLook),
    /// Of `join.own-key`.
    OwnKey(OwnKeyLook),
    /// Of `join.known-hosts`.
    KnownHosts(KnownHostsLook),
    /// Of `join.add` and `join.create`, again and again while the command runs.
    Attempt(Attempt),
    /// Of `join.verify`.
    Verify(VerifyLook),
    /// Of `join.clean-up`.
    CleanUp(CleanUpLook),
    /// Of `join.proof`.
    Proof(ProofLook),
}

/// What to do after an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The step is done; the next one follows.
    Next {
        /// One sentence for the job's page.
        detail: String,
    },
    /// The step is done and the ones up to `step` are not needed.
    GoTo {
        /// Where to go on.
        step: JoinStep,
        /// One sentence for the job's page.
        detail: String,
    },
    /// Carry out the repair, then observe again.
    Repair(Repair),
    /// Not yet: observe again until the step's time is over, then fail with this.
    Wait {
        /// What is missing.
        reason: String,
        /// What the operator can do.
        hint: String,
    },
    /// Another host of ours stands in the way, half joined: its own rebuild has to go first.
    Behind {
        /// Which.
        host: Hostname,
        /// What is missing.
        reason: String,
        /// What the operator can do.
        hint: String,
    },
    /// The step failed.
    Fail {
        /// What happened, in plain words.
        reason: String,
        /// What to do next.
        hint: String,
    },
}

impl Verdict {
    pub(crate) fn next(detail: impl Into<String>) -> Self {
        Self::Next { detail: detail.into() }
    }

    pub(crate) fn wait(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Wait { reason: reason.into(), hint: hint.into() }
    }

    pub(crate) fn fail(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Fail { reason: reason.into(), hint: hint.into() }
    }
}

/// A repair of `pve-api` 13.9's crash table or of section 14.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repair {
    /// The cluster file system of F is down and nothing of a join is there: start it.
    StartFileSystem,
    /// F has the cluster's key but is not in the cluster: back to a stand-alone node.
    StandAlone,
    /// A founder that was killed before it wrote its configuration: drop its key file.
    DropKeyFile,
    /// F is a member without certificate or without the last steps of `pvecm add`: finish them.
    FinishMember,
    /// A dead member has F's name and the operator confirmed its removal: `pvecm delnode` on M.
    RemoveDeadNode,
    /// Only this node's earlier membership is missing and its vote takes the quorum: `pvecm expected VOTES` on M.
    LowerExpectedVotes {
        /// The votes that are present.
        votes: u32,
    },
}

impl Repair {
    /// What is being done, for the job's log.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::StartFileSystem => "the cluster file system of the node is down; starting it",
            Self::StandAlone => "an interrupted join was found; making the node stand-alone again",
            Self::DropKeyFile => {
                "an interrupted cluster creation was found; removing its unused key file"
            }
            Self::FinishMember => {
                "the node is a member but was not finished; making its certificate and restarting its daemons"
            }
            Self::LowerExpectedVotes { .. } => {
                "only the vote of this node is missing and that takes the cluster's quorum; lowering the expected votes"
            }
            Self::RemoveDeadNode => {
                "a dead node of the same name is in the cluster and its removal was confirmed; removing it"
            }
        }
    }
}

/// Decides what an observation means.
#[must_use]
pub fn interpret(observation: &Observation, facts: &Facts) -> Verdict {
    match observation {
        Observation::Node(look) => look::node(look, facts),
        Observation::Member(look) => look::member(look, facts),
        Observation::OwnKey(look) => prepare::own_key(look),
        Observation::KnownHosts(look) => prepare::known_hosts(look, facts),
        Observation::Attempt(attempt) => attempt::verdict(attempt, facts),
        Observation::Verify(look) => closing::verify(look, facts),
        Observation::CleanUp(look) => closing::clean_up(look),
        Observation::Proof(look) => closing::proof(look),
    }
}

/// The value of every `key=value` line of a script's output with this key.
pub(crate) fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).map(str::trim_end)
    })
}

/// The first value of a key, if the script printed it and it is not empty.
pub(crate) fn value<'a>(text: &'a str, key: &'a str) -> Option<&'a str> {
    values(text, key).next().filter(|v| !v.is_empty())
}

/// Whether the script printed `key=yes`.
pub(crate) fn yes(text: &str, key: &str) -> bool {
    value(text, key) == Some("yes")
}

/// Text from a machine for a sentence: one line, printable, not long.
pub(crate) fn brief(text: &str) -> String {
    let clean: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() > 300 {
        clean.chars().take(299).chain(['…']).collect()
    } else {
        clean
    }
}

#[cfg(test)]
mod test;
