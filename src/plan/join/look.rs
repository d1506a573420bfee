//! What the first looks at the fresh node and at the member mean: the crash table, and who may have the name.

use std::net::IpAddr;

use super::attempt::{Attempt, AttemptState};
use super::pvecm::{self, ClusterState, ClusterView, CorosyncConf};
use super::{Facts, JoinStep, Kind, Repair, Verdict, brief, value, values, yes};

/// What [`script::LOOK_NODE`](super::script::LOOK_NODE) found on the fresh node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeLook {
    /// `hostname`.
    pub hostname: String,
    /// Addresses that this name has on the node.
    pub addresses: Vec<IpAddr>,
    /// Whether `/etc/pve` is mounted.
    pub mounted: bool,
    /// Whether `/etc/corosync/authkey` exists.
    pub authkey: bool,
    /// `/etc/pve/corosync.conf`, when it exists.
    pub conf: Option<CorosyncConf>,
    /// Whether `/etc/pve/nodes/F/pve-ssl.pem` exists.
    pub certificate: bool,
    /// Guest configurations in `/etc/pve`, at most a few of them.
    pub guests: Vec<String>,
    /// An earlier or present attempt of ours.
    pub attempt: Attempt,
    /// First word of `pveversion`, for example `pve-manager/9.2.11/14a22df35955d97d`.
    pub version: String,
    /// The node's clock, seconds since 1970.
    pub epoch: Option<i64>,
}

impl NodeLook {
    /// Reads the script's output.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let conf: Vec<&str> = values(text, "corosync").collect();
        Self {
            hostname: value(text, "hostname").unwrap_or_default().to_owned(),
            addresses: values(text, "address").filter_map(|a| a.parse().ok()).collect(),
            mounted: yes(text, "mounted"),
            authkey: yes(text, "authkey"),
            conf: yes(text, "conf").then(|| pvecm::corosync_conf(&conf.join("\n"))),
            certificate: yes(text, "certificate"),
            guests: values(text, "guest").map(str::to_owned).collect(),
            attempt: Attempt::parse(text),
            version: value(text, "version").unwrap_or_default().to_owned(),
            epoch: value(text, "epoch").and_then(|e| e.parse().ok()),
        }
    }
}

/// The crash table of `pve-api` 13.9, after the checks of 13.2 that nobody makes for us.
pub(super) fn node(look: &NodeLook, facts: &Facts) -> Verdict {
    let name = facts.node.as_str();
    if look.hostname != name {
        return Verdict::fail(
            format!("the machine calls itself '{}', not '{name}'", brief(&look.hostname)),
            "a node cannot be renamed after the join; rebuild it, or correct its name in /etc/hostname and /etc/hosts",
        );
    }
    if look.attempt.state == AttemptState::Running {
        let step = if facts.kind() == Kind::Joining { JoinStep::Add } else { JoinStep::Create };
        let detail = "an earlier attempt is still running on the node; following it".to_owned();
        return Verdict::GoTo { step, detail };
    }
    match (&look.conf, look.mounted) {
        (Some(conf), true) => member_already(look, conf, facts),
        _ if look.authkey => {
            // A founder writes its key before its configuration and stops nothing: its own database is still good.
            let founder = facts.kind() == Kind::Founding && look.mounted;
            Verdict::Repair(if founder { Repair::DropKeyFile } else { Repair::StandAlone })
        }
        (_, false) => Verdict::Repair(Repair::StartFileSystem),
        (None, true) => blank(look, facts),
    }
}

fn member_already(look: &NodeLook, conf: &CorosyncConf, facts: &Facts) -> Verdict {
    let name = facts.node.as_str();
    let ours = conf.node(name).is_some()
        && match facts.member {
            Some(member) => conf.node_at(member).is_some(),
            None => conf.nodes.len() == 1 && conf.cluster == facts.cluster,
        };
    if !ours {
        let wanted = match facts.member {
            Some(member) => format!("the one of {member}"),
            None => format!("a new one called '{}'", facts.cluster),
        };
        return Verdict::fail(
            format!(
                "the node is already in the cluster '{}', which is not {wanted}",
                brief(&conf.cluster)
            ),
            "check `proxmox.existing_node` in the configuration, or rebuild the node",
        );
    }
    if look.certificate
        && (facts.kind() == Kind::Founding || look.attempt.succeeded(&facts.node, facts.kind()))
    {
        let detail = format!("the node is in the cluster '{}' already", brief(&conf.cluster));
        Verdict::GoTo { step: JoinStep::Verify, detail }
    } else {
        Verdict::Repair(Repair::FinishMember)
    }
}

fn blank(look: &NodeLook, facts: &Facts) -> Verdict {
    let name = facts.node.as_str();
    // The first node of a cluster may keep its guests (13.1).
    if !look.guests.is_empty() && facts.kind() == Kind::Joining {
        return Verdict::fail(
            format!(
                "the node has guests ({}); only a node without guests can join",
                brief(&look.guests.join(", "))
            ),
            "move or remove its guests, or rebuild it",
        );
    }
    if !look.addresses.contains(&facts.address) {
        let found: Vec<String> = look.addresses.iter().map(ToString::to_string).collect();
        return Verdict::fail(
            format!(
                "on the node its name '{name}' means {}, not {}",
                if found.is_empty() { "nothing".to_owned() } else { found.join(" and ") },
                facts.address
            ),
            format!(
                "its /etc/hosts must have a line '{} {name}.DOMAIN {name}', and the address must be the one it is reached by",
                facts.address
            ),
        );
    }
    if facts.address.is_loopback() {
        return Verdict::fail(
            format!("the node's address {} is a loopback address", facts.address),
            "a node needs an address that the other nodes can reach; correct its /etc/hosts",
        );
    }
    Verdict::next(match facts.kind() {
        Kind::Joining => "the node is fresh and can join",
        Kind::Founding => "the node is fresh and can found the cluster",
    })
}

/// What [`script::LOOK_MEMBER`](super::script::LOOK_MEMBER) found on the member, and the fresh node's version and clock
/// read right after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberLook {
    /// `pvecm status`. `None`: it could not be read.
    pub state: Option<ClusterState>,
    /// `/etc/pve/corosync.conf`.
    pub conf: CorosyncConf,
    /// `GET /cluster/status`. `None`: it could not be read.
    pub view: Option<ClusterView>,
    /// Nodes with a certificate in `/etc/pve/nodes`: those that finished a join once.
    pub finished: Vec<String>,
    /// Whether a `pvecm addnode` runs on the member at this moment.
    pub adding: bool,
    /// First word of `pveversion` on the member.
    pub version: String,
    /// The member's clock, seconds since 1970.
    pub epoch: Option<i64>,
    /// The same two of the fresh node, read at the same time.
    pub node: (String, Option<i64>),
}

impl MemberLook {
    /// Reads the output of the member's script and, for version and clock, of the node's.
    #[must_use]
    pub fn parse(member: &str, node: &str) -> Self {
        let conf: Vec<&str> = values(member, "corosync").collect();
        let status: Vec<&str> = values(member, "status").collect();
        let view: Vec<&str> = values(member, "view").collect();
        let node = NodeLook::parse(node);
        Self {
            state: pvecm::status(&status.join("\n")),
            conf: pvecm::corosync_conf(&conf.join("\n")),
            view: pvecm::cluster_status(&view.join("\n")),
            finished: values(member, "finished").map(str::to_owned).collect(),
            adding: yes(member, "adding"),
            version: value(member, "version").unwrap_or_default().to_owned(),
            epoch: value(member, "epoch").and_then(|e| e.parse().ok()),
            node: (node.version, node.epoch),
        }
    }

    /// What the operator should know and what stops nothing: different versions, clocks apart, dead members.
    #[must_use]
    pub fn warnings(&self, facts: &Facts) -> Vec<String> {
        let mut warnings = Vec::new();
        let (node_version, node_epoch) = &self.node;
        let release = |v: &str| v.split('/').nth(1).unwrap_or(v).to_owned();
        let (theirs, ours) = (release(&self.version), release(node_version));
        if theirs != ours && !theirs.is_empty() && !ours.is_empty() {
            warnings.push(format!(
                "the node runs Proxmox VE {}, the member {}: nodes of one cluster should run the same version",
                brief(&ours),
                brief(&theirs)
            ));
        }
        if let (Some(member), Some(node)) = (self.epoch, *node_epoch) {
            let apart = node.saturating_sub(member).unsigned_abs();
            // The two clocks are read within a few seconds of each other; tickets break at minutes.
            if apart > 30 {
                warnings.push(format!(
                    "the clocks of the node and the member are {apart} s apart: set up NTP, tickets and certificates depend on it"
                ));
            }
        }
        let dead: Vec<&str> = self
            .view
            .iter()
            .flat_map(|v| &v.nodes)
            .filter(|n| !n.online && n.name != facts.node.as_str())
            .map(|n| n.name.as_str())
            .collect();
        if !dead.is_empty() {
            warnings.push(format!("nodes of the cluster are offline: {}", brief(&dead.join(", "))));
        }
        warnings
    }
}

/// Whether the cluster can take the node now (`pve-api` 13.2, 13.7, 13.9 step 2, 14).
pub(super) fn member(look: &MemberLook, facts: &Facts) -> Verdict {
    let name = facts.node.as_str();
    let (Some(state), Some(view)) = (&look.state, &look.view) else {
        return Verdict::wait(
            "the member does not tell the state of its cluster",
            "check `pvecm status` on the member: is it part of a cluster, is corosync running?",
        );
    };
    if !state.quorate {
        if let Some(votes) = votes_without_us(look, state, view, facts) {
            return Verdict::Repair(Repair::LowerExpectedVotes { votes });
        }
        if let Some(verdict) = missing_of_ours(look, view, facts) {
            return verdict;
        }
        return Verdict::wait(
            "the cluster has no quorum, so it cannot take a new member",
            "bring its missing nodes back; `pvecm status` on the member shows the votes",
        );
    }
    if let Some(verdict) = join_in_flight(look, view, facts) {
        return verdict;
    }
    if let Some(other) = look.conf.node_at(facts.address).filter(|n| n.name != name) {
        return Verdict::fail(
            format!(
                "the address {} belongs to the node '{}' of the cluster",
                facts.address,
                brief(&other.name)
            ),
            "give the host another address, or remove that node from the cluster first",
        );
    }
    let online = view.node(name).is_some_and(|n| n.online);
    match (look.conf.node(name).is_some(), online) {
        (false, _) => Verdict::next("the cluster is quorate and the name is free"),
        // The flag lags some seconds behind; of our own attempt it may be the last sign of life.
        (true, true) if facts.join_started => Verdict::wait(
            format!("the cluster still sees '{name}' online from the interrupted attempt"),
            "look at `pvecm nodes` on the member, and whether a second machine has this name",
        ),
        (true, true) => Verdict::fail(
            format!("a live member of the cluster is called '{name}'"),
            "give the host another name, or take that node out of the cluster first",
        ),
        (true, false) if facts.join_started => Verdict::next(
            "the cluster knows the node from our interrupted attempt; it is overwritten",
        ),
        (true, false) if facts.replace_node => Verdict::Repair(Repair::RemoveDeadNode),
        (true, false) => Verdict::fail(
            format!("a dead node called '{name}' is still in the cluster"),
            "rebuild the host again and confirm that this node is removed from the cluster first",
        ),
    }
}

/// Whether the cluster could take the node once it is installed, seen before the machine is touched. `facts.address` is the
/// one of its last life: a dead entry at another address may be another machine.
#[must_use]
pub fn ahead(look: &MemberLook, facts: &Facts) -> Verdict {
    let name = facts.node.as_str();
    let Some(state) = &look.state else {
        return Verdict::fail(
            "is in no cluster",
            "name a member of the cluster in proxmox.existing_node, or leave it empty to found a new one",
        );
    };
    let view = look.view.clone().unwrap_or_default();
    if !state.quorate {
        // The join takes the missing vote out of the count, once the machine is installed anew.
        if votes_without_us(look, state, &view, facts).is_some() {
            return Verdict::next(format!(
                "cluster '{}' lacks nothing but the vote of {name}, which is replaced",
                state.name
            ));
        }
        if let Some(Verdict::Behind { host, hint, .. }) = missing_of_ours(look, &view, facts) {
            let reason = format!("has no quorum: {host} is missing from it");
            return Verdict::Behind { host, reason, hint };
        }
        return Verdict::wait("has no quorum", "bring the cluster's other nodes back first");
    }
    if look.conf.node(name).is_some() && !facts.replace_node && !facts.join_started {
        return Verdict::fail(
            format!("knows a node '{name}' already"),
            "if that node is this machine or is dead for good, rebuild again and confirm that it is replaced",
        );
    }
    Verdict::next(format!("cluster '{}' is quorate and takes {name}", state.name))
}

/// The votes that are present, when nothing but this node is missing: its vote is expected and not there, which takes the
/// quorum of a small cluster at once (13.7).
///
/// The missing member must be known to be gone, or two halves of a cluster would both act: either it is our own half-joined
/// node, or its removal was confirmed and its address is the one at which the freshly installed machine answers.
fn votes_without_us(
    look: &MemberLook,
    state: &ClusterState,
    view: &ClusterView,
    facts: &Facts,
) -> Option<u32> {
    let name = facts.node.as_str();
    let ours = look.conf.node(name).is_some_and(|_| {
        let same_address = look.conf.node_at(facts.address).is_some_and(|n| n.name == name);
        facts.join_started || (facts.replace_node && same_address)
    });
    let others_present = look
        .conf
        .nodes
        .iter()
        .all(|n| (n.name == name) != view.node(&n.name).is_some_and(|v| v.online));
    let one_missing =
        state.total_votes > 0 && state.total_votes.checked_add(1) == Some(state.expected_votes);
    (ours && others_present && one_missing).then_some(state.total_votes)
}

/// Without quorum: a host of ours whose vote is missing. Its own rebuild is allowed to do without it.
fn missing_of_ours(look: &MemberLook, view: &ClusterView, facts: &Facts) -> Option<Verdict> {
    let is_missing = |name: &str| {
        look.conf.node(name).is_some() && !view.node(name).is_some_and(|node| node.online)
    };
    let host = facts.others.iter().find(|other| is_missing(other.as_str()))?;
    Some(Verdict::Behind {
        host: host.clone(),
        reason: format!("the cluster has no quorum: '{host}' is missing from it"),
        hint: format!("bring {host} back, or rebuild it: that goes first"),
    })
}

/// Joins are serialised: two at once leave one hanging for ever (13.7). A node that is configured, offline and never
/// got a certificate is either being added at this moment or was left half joined. When it is a host of ours it was left: who
/// looks here has the right to join, so that no job joins another one. Its own rebuild goes first, unless we were left in the
/// same way: of two that wait for each other neither would ever be put right.
fn join_in_flight(look: &MemberLook, view: &ClusterView, facts: &Facts) -> Option<Verdict> {
    let name = facts.node.as_str();
    let unfinished = || {
        let is_online = |name: &str| view.node(name).is_some_and(|node| node.online);
        let names = look.conf.nodes.iter().map(|node| node.name.as_str());
        names.filter(move |name| !look.finished.iter().any(|n| n == name) && !is_online(name))
    };
    let of_ours = |name: &str| facts.others.iter().find(|host| host.as_str() == name);
    if let Some(host) = unfinished().find_map(of_ours)
        && !unfinished().any(|other| other == name)
    {
        return Some(Verdict::Behind {
            host: host.clone(),
            reason: format!("'{host}' was left half joined by its last rebuild"),
            hint: format!(
                "rebuild {host}: that goes first and puts it right; or remove it with `pvecm delnode {host}` on a member"
            ),
        });
    }
    let who = match unfinished().find(|other| *other != name && of_ours(other).is_none()) {
        Some(stranger) => format!("'{}'", brief(stranger)),
        None if look.adding => "another node".to_owned(),
        None => return None,
    };
    Some(Verdict::wait(
        format!("{who} is being joined to the cluster at this moment, or was left half joined"),
        "wait for that join; if it is dead, remove it with `pvecm delnode` on a member",
    ))
}
