//! What the cluster tells of its members beside what is recorded here, and where the two disagree. It judges a look
//! ([`look`] reads one); it takes none.

pub mod look;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::discovery::{ClusterLook, MemberLook};
use crate::domain::host::{Host, HostState};
use crate::domain::id::HostId;
use crate::domain::image::Image;
use crate::domain::node::EnrolledNode;
use crate::proto::pve::PveVersion;

/// One node: a member of the cluster, or what should be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// What the cluster tells of it; `None`: it does not know it, or nobody has looked.
    pub member: Option<MemberLook>,
    /// The host of ours that has its name.
    pub host: Option<HostId>,
    /// Where that stands.
    pub host_state: Option<HostState>,
    /// Guests may be made on it.
    pub enrolled: bool,
    /// What does not fit together, one sentence each.
    pub disagrees: Vec<String>,
}

/// All nodes by name: members, enrolled nodes, and hosts that were made nodes.
#[must_use]
pub fn rows(
    look: Option<&ClusterLook>,
    hosts: &[Host],
    enrolled: &[EnrolledNode],
    images: &[Image],
) -> Vec<NodeRow> {
    // Host names are lower case; the cluster may spell a node in another way.
    let members: BTreeMap<String, &MemberLook> = look
        .into_iter()
        .flat_map(|look| &look.members)
        .map(|member| (member.name.to_lowercase(), member))
        .collect();
    let by_name: BTreeMap<&str, &Host> = hosts.iter().map(|h| (h.hostname.as_str(), h)).collect();
    let nodes: BTreeMap<&str, &EnrolledNode> =
        enrolled.iter().map(|node| (node.name.as_str(), node)).collect();
    let mut names: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    names.extend(nodes.keys());
    names.extend(hosts.iter().filter(|h| is_node(h)).map(|h| h.hostname.as_str()));
    let newest_image = images
        .iter()
        .filter_map(|image| Some((image.release.version()?, image.id.to_string())))
        .max();
    let newest_member = members.values().filter_map(|m| release(m)).max();
    names
        .into_iter()
        .map(|name| {
            let member = members.get(name).copied();
            let (host, node) = (by_name.get(name).copied(), nodes.get(name).copied());
            let mut disagrees = Vec::new();
            match member {
                Some(member) => {
                    of_member(member, host, newest_member, newest_image.as_ref(), &mut disagrees);
                }
                None if look.is_some() => of_stranger(host, node, &mut disagrees),
                None => {}
            }
            if let Some(node) = node.filter(|node| !node.problem.is_empty()) {
                disagrees.push(format!("guests cannot be worked on: {}", node.problem));
            }
            NodeRow {
                name: member.map_or_else(|| name.to_owned(), |member| member.name.clone()),
                member: member.cloned(),
                host: host.map(|host| host.id),
                host_state: host.map(|host| host.state),
                enrolled: node.is_some(),
                disagrees,
            }
        })
        .collect()
}

/// Whether a host is recorded as a node that works.
fn is_node(host: &Host) -> bool {
    host.is_member && host.state == HostState::Ready
}

fn release(member: &MemberLook) -> Option<(u32, u32)> {
    PveVersion::parse(&member.version).map(|version| (version.major, version.minor))
}

fn of_member(
    member: &MemberLook,
    host: Option<&Host>,
    newest_member: Option<(u32, u32)>,
    newest_image: Option<&((u32, u32), String)>,
    disagrees: &mut Vec<String>,
) {
    if !member.online {
        disagrees.push("the cluster says that it is offline".to_owned());
    }
    match host {
        Some(host) if host.state.is_busy() && member.online => disagrees.push(format!(
            "its host is being rebuilt ({}), and the node is still online in the cluster",
            host.state.as_str().replace('_', " ")
        )),
        Some(host) if !host.is_member && !host.state.is_busy() => disagrees.push(
            "a host of this name is registered that was not made this node here: its rebuild is refused while the node is online"
                .to_owned(),
        ),
        _ => {}
    }
    let Some(own) = release(member) else { return };
    if newest_member.is_some_and(|newest| own < newest) {
        disagrees.push(format!("it runs {}, and another member is newer", member.version));
    }
    if let Some((newest, image)) = newest_image
        && own < *newest
    {
        disagrees.push(format!("it runs {}, and the image {image} is newer", member.version));
    }
}

fn of_stranger(host: Option<&Host>, node: Option<&EnrolledNode>, disagrees: &mut Vec<String>) {
    if host.is_some_and(is_node) {
        let text = "its host is ready, and the cluster does not know the node";
        disagrees.push(text.to_owned());
    } else if node.is_some() {
        disagrees.push("it is enrolled, and the cluster does not know it".to_owned());
    }
}

#[cfg(test)]
mod test;
