//! After the command: the proof that the node is a member, and that the ephemeral key is gone.

use super::pvecm::{self, ClusterState, ClusterView, PresentNode};
use super::{Facts, Kind, Repair, Verdict, brief, values, yes};

/// What both sides say about the membership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyLook {
    /// `pvecm nodes` on the member; empty when founding.
    pub member_nodes: Vec<PresentNode>,
    /// `GET /cluster/status` on the member. `None`: founding, or it could not be read.
    pub member_view: Option<ClusterView>,
    /// `pvecm status` on the node. `None`: it could not be read.
    pub node_state: Option<ClusterState>,
    /// `pvecm nodes` on the node.
    pub node_nodes: Vec<PresentNode>,
    /// Whether the node has a certificate of the cluster.
    pub certificate: bool,
}

impl VerifyLook {
    /// Reads the output of the member's script (empty when founding) and of the node's.
    #[must_use]
    pub fn parse(member: &str, node: &str) -> Self {
        let lines = |text, key| values(text, key).collect::<Vec<_>>().join("\n");
        Self {
            member_nodes: pvecm::nodes(&lines(member, "present")),
            member_view: pvecm::cluster_status(&lines(member, "view")),
            node_state: pvecm::status(&lines(node, "status")),
            node_nodes: pvecm::nodes(&lines(node, "present")),
            certificate: yes(node, "certificate"),
        }
    }
}

/// All of `pve-api` 13.8 that can be seen over SSH. Both sides are asked: the member lists a node that has no certificate
/// yet.
pub(super) fn verify(look: &VerifyLook, facts: &Facts) -> Verdict {
    const HINT: &str = "look at `pvecm status` on the node and on a member; UDP ports 5405 to 5412 must be open between them";
    let name = facts.node.as_str();
    if facts.kind() == Kind::Joining {
        let Some(view) = &look.member_view else {
            return Verdict::wait("the member does not tell the state of its cluster", HINT);
        };
        if !look.member_nodes.iter().any(|n| n.name == name) {
            return Verdict::wait(
                format!("the member does not list '{name}' among its nodes"),
                HINT,
            );
        }
        if !view.quorate {
            return Verdict::wait("the cluster has no quorum", HINT);
        }
        if !view.node(name).is_some_and(|n| n.online) {
            return Verdict::wait(format!("the member does not see '{name}' online"), HINT);
        }
    }
    let Some(state) = &look.node_state else {
        return Verdict::wait(format!("'{name}' does not tell the state of its cluster"), HINT);
    };
    if facts.kind() == Kind::Founding && state.name != facts.cluster {
        return Verdict::fail(
            format!("the node is in the cluster '{}', not '{}'", brief(&state.name), facts.cluster),
            "rebuild the node",
        );
    }
    if !state.quorate {
        return Verdict::wait(format!("'{name}' has no quorum"), HINT);
    }
    if !look.node_nodes.iter().any(|n| n.local && n.name == name) {
        return Verdict::wait(format!("'{name}' does not list itself as a node"), HINT);
    }
    if !look.certificate {
        return Verdict::Repair(Repair::FinishMember);
    }
    let nodes = match &look.member_view {
        Some(view) => view.nodes.len(),
        None => look.node_nodes.len(),
    };
    Verdict::next(format!(
        "'{name}' is a member of '{}' with quorum ({nodes} {})",
        brief(&state.name),
        if nodes == 1 { "node" } else { "nodes" }
    ))
}

/// What [`script::CHECK`](super::script::CHECK) found on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileCheck {
    /// Whether the look came to its end with the cluster file system mounted.
    pub complete: bool,
    /// One line per file that was read: number of lines with the key, path.
    pub counts: Vec<String>,
    /// Files that still hold the key, or that may not be left.
    pub left: Vec<String>,
}

impl FileCheck {
    /// Reads the script's output.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self {
            complete: yes(text, "checked"),
            counts: values(text, "count").map(str::to_owned).collect(),
            left: values(text, "left").map(str::to_owned).collect(),
        }
    }

    fn problem(&self, place: &str) -> Option<Verdict> {
        if !self.left.is_empty() {
            return Some(Verdict::fail(
                format!("the ephemeral key is still on {place}: {}", brief(&self.left.join(", "))),
                "retry; if it stays, remove the key's line from these files by hand",
            ));
        }
        (!self.complete).then(|| {
            Verdict::wait(
                format!("the files of {place} could not all be read"),
                "is /etc/pve mounted there? `systemctl status pve-cluster` tells",
            )
        })
    }
}

/// The state of both machines after the removal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CleanUpLook {
    /// The node's files. `None`: no key of ours opens the node any more, so an earlier run of this step came to its end
    /// (its very last act is to remove the last key).
    pub node: Option<FileCheck>,
    /// The member's files; `None` when founding.
    pub member: Option<FileCheck>,
}

pub(super) fn clean_up(look: &CleanUpLook) -> Verdict {
    let member = look.member.as_ref().and_then(|c| c.problem("the member"));
    let node = look.node.as_ref().and_then(|c| c.problem("the node"));
    member.or(node).unwrap_or_else(|| {
        Verdict::next(match look.node {
            Some(_) => "the ephemeral key was removed from the node and the cluster",
            None => "the ephemeral key had been removed from the node by an earlier attempt",
        })
    })
}

/// What a new login with the ephemeral key met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// sshd answered and refused the key.
    Refused,
    /// sshd let us in.
    Accepted,
    /// sshd could not be asked; why.
    Unknown(String),
}

/// What was found when the key was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofLook {
    /// A new login with the ephemeral key.
    pub login: Login,
    /// The node's files. `None`: nothing opens the node any more (the clean-up read them last).
    pub node: Option<FileCheck>,
    /// The member's files; `None` when founding.
    pub member: Option<FileCheck>,
}

pub(super) fn proof(look: &ProofLook) -> Verdict {
    match &look.login {
        Login::Accepted => {
            return Verdict::fail(
                "the node still accepts the ephemeral key",
                "retry; if it stays, remove the key from the node's authorized_keys files by hand",
            );
        }
        Login::Unknown(why) => {
            return Verdict::wait(
                format!("the node could not be asked whether it refuses the ephemeral key: {why}"),
                "the node must be reachable by SSH for the proof",
            );
        }
        Login::Refused => {}
    }
    let member = look.member.as_ref().and_then(|c| c.problem("the member"));
    let node = look.node.as_ref().and_then(|c| c.problem("the node"));
    member.or(node).unwrap_or_else(|| {
        Verdict::next("the ephemeral key is in no file any more and the node refuses it")
    })
}
