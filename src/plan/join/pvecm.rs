//! Parsers of what `pvecm` and `pvesh` print (`pve-api` 15, Proxmox VE 9.2). Total: any text gives a value or `None`.

use std::net::IpAddr;

use serde::Deserialize;

/// The parts of `pvecm status` that decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterState {
    /// Name of the cluster.
    pub name: String,
    /// Whether the partition of the asked node has quorum.
    pub quorate: bool,
    /// Votes that the configuration counts.
    pub expected_votes: u32,
    /// Votes that are present.
    pub total_votes: u32,
}

/// Parses `pvecm status`. `None` when the text does not say whether there is quorum (no cluster, corosync down).
#[must_use]
pub fn status(text: &str) -> Option<ClusterState> {
    let mut state = ClusterState::default();
    let mut quorate = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key {
            "Name" => value.clone_into(&mut state.name),
            "Quorate" => quorate = Some(value == "Yes"),
            "Expected votes" => state.expected_votes = value.parse().ok()?,
            "Total votes" => state.total_votes = value.parse().ok()?,
            _ => {}
        }
    }
    state.quorate = quorate?;
    Some(state)
}

/// One row of `pvecm nodes`: a node that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentNode {
    /// Corosync's id.
    pub id: u32,
    /// Name of the node.
    pub name: String,
    /// Whether it is the node that was asked.
    pub local: bool,
}

/// Parses `pvecm nodes`. The table has one column more when the cluster has a `QDevice`; its own row has no node name
/// and is skipped.
#[must_use]
pub fn nodes(text: &str) -> Vec<PresentNode> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let id = words.next()?.parse().ok().filter(|id| *id > 0)?;
            words.next()?.parse::<u32>().ok()?;
            let mut rest: Vec<&str> = words.collect();
            let local = rest.last() == Some(&"(local)");
            if local {
                rest.pop();
            }
            let name = (*rest.last()?).to_owned();
            Some(PresentNode { id, name, local })
        })
        .collect()
}

/// One node of `GET /cluster/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Its address, when the answer has one.
    pub address: Option<IpAddr>,
    /// Whether it is online. Lags by some seconds in both directions.
    pub online: bool,
}

/// `GET /cluster/status` as `pvesh get /cluster/status --output-format json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// Name of the cluster; `None` on a node without one.
    pub cluster: Option<String>,
    /// Whether there is quorum; false without a cluster.
    pub quorate: bool,
    /// All nodes of the configuration.
    pub nodes: Vec<NodeState>,
}

impl ClusterView {
    /// The node with this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeState> {
        self.nodes.iter().find(|n| n.name == name)
    }
}

#[derive(Deserialize)]
struct Row {
    r#type: String,
    name: Option<String>,
    ip: Option<String>,
    online: Option<Flag>,
    quorate: Option<Flag>,
}

/// The API sends flags as 0/1, as text, or (in some versions) as a boolean.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Self::Bool(b) => *b,
            Self::Number(n) => *n == 1,
            Self::Text(t) => t == "1",
        }
    }
}

/// Parses the JSON list. `None` when it is not one.
#[must_use]
pub fn cluster_status(json: &str) -> Option<ClusterView> {
    let rows: Vec<Row> = serde_json::from_str(json.trim()).ok()?;
    let mut view = ClusterView::default();
    for row in rows {
        match row.r#type.as_str() {
            "cluster" => {
                view.cluster = row.name;
                view.quorate = row.quorate.is_some_and(|q| q.is_set());
            }
            "node" => view.nodes.push(NodeState {
                name: row.name?,
                address: row.ip.and_then(|ip| ip.parse().ok()),
                online: row.online.is_some_and(|o| o.is_set()),
            }),
            _ => {}
        }
    }
    Some(view)
}

/// One node of a corosync configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfiguredNode {
    /// Its name.
    pub name: String,
    /// Its link addresses, `ring0_addr` first. Text: a name is allowed there.
    pub addresses: Vec<String>,
}

/// The parts of `/etc/pve/corosync.conf` that decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorosyncConf {
    /// `totem.cluster_name`.
    pub cluster: String,
    /// The node list.
    pub nodes: Vec<ConfiguredNode>,
}

impl CorosyncConf {
    /// The node with this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&ConfiguredNode> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node that uses this address on any link.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<&ConfiguredNode> {
        self.nodes
            .iter()
            .find(|n| n.addresses.iter().any(|a| a.parse::<IpAddr>().ok() == Some(address)))
    }
}

/// Parses corosync.conf's section syntax (`name {`, `key: value`, `}`; corosync.conf(5)). Unknown sections and keys
/// are skipped, unbalanced braces are tolerated.
#[must_use]
pub fn corosync_conf(text: &str) -> CorosyncConf {
    let mut conf = CorosyncConf::default();
    let mut path: Vec<&str> = Vec::new();
    let mut node = ConfiguredNode::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') {
        } else if let Some(section) = line.strip_suffix('{') {
            if path.len() < 16 {
                path.push(section.trim());
            }
            node = ConfiguredNode::default();
        } else if line == "}" {
            if path == ["nodelist", "node"] && !node.name.is_empty() {
                conf.nodes.push(std::mem::take(&mut node));
            }
            path.pop();
        } else if let Some((key, value)) = line.split_once(':') {
            let value = value.trim();
            match (path.as_slice(), key.trim()) {
                (["totem"], "cluster_name") => value.clone_into(&mut conf.cluster),
                (["nodelist", "node"], "name") => value.clone_into(&mut node.name),
                (["nodelist", "node"], key)
                    if key.starts_with("ring") && key.ends_with("_addr") =>
                {
                    node.addresses.push(value.to_owned());
                }
                _ => {}
            }
        }
    }
    conf
}
