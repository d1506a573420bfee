//! The detached `pvecm add` or `pvecm create`: its state, its log, and what they prove.
//!
//! `pvecm add` exits 0 on nearly every failure (`pve-api` 13.3, seen on 9.2): only its last line proves success, and
//! the lines that begin with `*` explain a refusal.

use crate::domain::id::Hostname;

use super::{Facts, Kind, Verdict, brief, value, values};

/// Whether the detached command is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttemptState {
    /// It was never started, or its traces are gone (clean-up, reboot).
    #[default]
    None,
    /// Its process lives.
    Running,
    /// It ended and left its exit status.
    Ended,
    /// It left a log, no exit status and no process: killed.
    Killed,
}

/// The detached command as [`script::POLL`](super::script::POLL) sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempt {
    /// Whether it is there.
    pub state: AttemptState,
    /// Its exit status, when it ended. Not used for a decision about `pvecm add`.
    pub status: Option<i32>,
    /// Its output so far, standard output and standard error together, at most the last 60 lines.
    pub log: Vec<String>,
}

impl Attempt {
    /// Reads the `attempt=`, `rc=` and `log=` lines of a script's output.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let state = match value(text, "attempt") {
            Some("running") => AttemptState::Running,
            Some("ended") => AttemptState::Ended,
            Some("killed") => AttemptState::Killed,
            _ => AttemptState::None,
        };
        Self {
            state,
            status: value(text, "rc").and_then(|rc| rc.parse().ok()),
            log: values(text, "log").map(str::to_owned).collect(),
        }
    }

    /// The last line that is not empty.
    #[must_use]
    pub fn last_line(&self) -> Option<&str> {
        self.log.iter().rev().map(|l| l.trim()).find(|l| !l.is_empty())
    }

    /// Whether the log proves success.
    #[must_use]
    pub fn succeeded(&self, node: &Hostname, kind: Kind) -> bool {
        match kind {
            Kind::Joining => {
                let proof = format!("successfully added node '{node}' to cluster.");
                self.last_line() == Some(proof.as_str())
            }
            // `pvecm create` has no closing line of its own; this one is printed when both files are written.
            Kind::Founding => {
                self.state == AttemptState::Ended
                    && self.status == Some(0)
                    && self.last_line() == Some("Restart corosync and cluster filesystem")
            }
        }
    }

    /// Whether it hangs where a wrong address, a firewall or a second join makes it hang (13.7).
    #[must_use]
    pub fn waits_for_quorum(&self) -> bool {
        self.last_line() == Some("waiting for quorum...")
    }

    /// The command's own explanation of a failure in one sentence, and what helps.
    #[must_use]
    pub fn explanation(&self) -> (String, String) {
        let lines: Vec<&str> = self
            .log
            .iter()
            .map(|l| l.trim())
            .filter(|l| !l.is_empty() && !is_progress(l))
            .collect();
        let said = if lines.is_empty() {
            self.last_line()
                .map_or("it printed nothing".to_owned(), |l| format!("its last line was: {l}"))
        } else {
            let first = lines.len().saturating_sub(6);
            lines.get(first..).unwrap_or_default().join("; ")
        };
        let hint =
            HINTS.iter().find(|(sign, _)| said.contains(sign)).map_or(
                "read the log of this step, correct what it names, then retry",
                |(_, hint)| hint,
            );
        (brief(&said), hint.to_owned())
    }
}

/// Signs in the command's output and what helps against each (texts of `pve-api` 13.2 and 13.3).
const HINTS: &[(&str, &str)] = &[
    (
        "already contains virtual guests",
        "a joining node must have no guests: remove them or rebuild the node",
    ),
    (
        "unable to copy ssh ID",
        "the node could not log in to the member: check TCP port 22 between them and the member's sshd",
    ),
    ("no quorum", "bring the missing members of the cluster back, then retry"),
    ("already used on link", "another node of the cluster has this address: change one of them"),
    ("can't add existing node", "confirm the removal of the dead node of that name, then retry"),
    (
        "not found on local node",
        "the node does not have the address that was registered for it: check its network configuration",
    ),
    (
        "already exists",
        "an earlier attempt left its files on the node: retry, which repairs it first",
    ),
    (
        "already in a cluster",
        "an earlier attempt left its files on the node: retry, which repairs it first",
    ),
    (
        "Connection refused",
        "the cluster file system of the node was down: retry, which starts it first",
    ),
    (
        "join API version",
        "node and cluster run versions of Proxmox VE that cannot be joined: use an image of the cluster's version",
    ),
];

fn is_progress(line: &str) -> bool {
    const PROGRESS: [&str; 9] = [
        "copy corosync auth key",
        "stopping pve-cluster service",
        "backup old database",
        "waiting for quorum",
        "(re)generate node files",
        "generate new node certificate",
        "merge authorized SSH keys",
        "generated new node certificate",
        "detected the following error(s):",
    ];
    PROGRESS.iter().any(|p| line.starts_with(p))
}

/// What the state of the command means while its time is not over.
pub(super) fn verdict(attempt: &Attempt, facts: &Facts) -> Verdict {
    if attempt.succeeded(&facts.node, facts.kind()) {
        return Verdict::next(match facts.kind() {
            Kind::Joining => format!("'{}' was added to the cluster", facts.node),
            Kind::Founding => format!("the cluster '{}' was created", facts.cluster),
        });
    }
    let command = if facts.kind() == Kind::Joining { "pvecm add" } else { "pvecm create" };
    match attempt.state {
        AttemptState::Running if attempt.waits_for_quorum() => Verdict::wait(
            "the node waits for the quorum of the cluster and does not get it",
            "UDP ports 5405 to 5412 must be open between all nodes, and the node's address must be the one the others reach",
        ),
        AttemptState::Running => Verdict::wait(
            format!("{command} has not finished on the node"),
            "read the log of this step; the node may be very slow or its network broken",
        ),
        AttemptState::Ended => {
            let (said, hint) = attempt.explanation();
            Verdict::fail(format!("{command} did not succeed: {said}"), hint)
        }
        AttemptState::Killed => Verdict::fail(
            format!("{command} was killed on the node before it finished"),
            "retry: what it left behind is repaired first",
        ),
        AttemptState::None => Verdict::fail(
            format!(
                "{command} left no trace on the node: it was restarted, or the command could not be started"
            ),
            "retry: what it left behind is repaired first",
        ),
    }
}
