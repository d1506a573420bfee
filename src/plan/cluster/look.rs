//! A look at the cluster's members, out of what they answered: their API, or `pvesh` on one of them. Total: any text gives
//! a value or `None`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::discovery::MemberLook;
use crate::plan::join::pvecm;
use crate::proto::pve::cluster::{read_guest, read_node, read_version};
use crate::proto::pve::{GuestRow, NodeStatus};

/// What a member tells of its cluster, versions left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether there is a majority; `None`: it is a node without a cluster.
    pub quorate: Option<bool>,
    /// All nodes of the configuration.
    pub nodes: Vec<NodeStatus>,
    /// All guests.
    pub guests: Vec<GuestRow>,
}

/// Reads `pvesh get /cluster/status` and `pvesh get /cluster/resources`, both as JSON. Who is a member and online is in the
/// first; what the second does not tell of a node stays unknown. `None`: the first is not a list that has a node.
#[must_use]
pub fn told(status: &str, resources: &str) -> Option<Told> {
    let view = pvecm::cluster_status(status)?;
    let rows: Vec<Value> = serde_json::from_str(resources.trim()).unwrap_or_default();
    let is_node = |row: &&Value| row.get("type").and_then(Value::as_str) == Some("node");
    let mut known: BTreeMap<String, NodeStatus> = rows
        .iter()
        .filter(is_node)
        .filter_map(read_node)
        .map(|node| (node.name.clone(), node))
        .collect();
    let quorate = view.cluster.is_some().then_some(view.quorate);
    let nodes: Vec<NodeStatus> = view
        .nodes
        .into_iter()
        .map(|node| match known.remove(&node.name) {
            Some(status) => NodeStatus { online: node.online, ..status },
            None => NodeStatus {
                name: node.name,
                online: node.online,
                cores: 0,
                memory: 0,
                memory_used: 0,
                uptime_secs: 0,
            },
        })
        .collect();
    let guests = rows.iter().filter_map(read_guest).collect();
    (!nodes.is_empty()).then_some(Told { quorate, nodes, guests })
}

/// Reads `pvesh get /nodes/NODE/version` as JSON.
#[must_use]
pub fn version(json: &str) -> Option<String> {
    let data: Value = serde_json::from_str(json.trim()).ok()?;
    read_version(&data).map(|version| version.text)
}

/// The members as people see them. `versions` by name; who is not in it did not tell.
#[must_use]
pub fn members(
    nodes: Vec<NodeStatus>,
    guests: &[GuestRow],
    versions: &BTreeMap<String, String>,
) -> Vec<MemberLook> {
    const MIB: u64 = 1 << 20;
    let look = |node: NodeStatus| {
        let own = || guests.iter().filter(|guest| guest.node == node.name);
        MemberLook {
            online: node.online,
            version: versions.get(&node.name).cloned().unwrap_or_default(),
            cores: node.cores,
            memory_mb: node.memory / MIB,
            used_memory_mb: node.memory_used / MIB,
            uptime_secs: node.uptime_secs,
            guests: own().count(),
            running: own().filter(|guest| guest.is_running()).count(),
            name: node.name,
        }
    };
    nodes.into_iter().map(look).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    // As `pvesh` of Proxmox VE 9.2 prints them.
    const STATUS: &str = r#"[{"id":"cluster","name":"home","nodes":2,"quorate":1,"type":"cluster","version":4},
        {"id":"node/pve1","ip":"192.0.2.11","level":"","local":1,"name":"pve1","nodeid":1,"online":1,"type":"node"},
        {"id":"node/pve2","ip":"192.0.2.12","level":"","local":0,"name":"pve2","nodeid":2,"online":0,"type":"node"}]"#;
    const RESOURCES: &str = r#"[{"id":"lxc/101","type":"lxc","vmid":101,"node":"pve1","status":"running","name":"web","template":0},
        {"id":"qemu/102","type":"qemu","vmid":"102","node":"pve1","status":"stopped","name":"vm","template":0},
        {"id":"storage/pve1/local","type":"storage","node":"pve1","storage":"local","status":"available"},
        {"id":"node/pve1","type":"node","node":"pve1","status":"unknown","maxcpu":8,"maxmem":34359738368,"mem":"8589934592","uptime":3600},
        {"id":"node/gone","type":"node","node":"gone","status":"unknown"}]"#;

    #[test]
    fn status_says_who_is_there_and_resources_what_they_carry() {
        let told = told(STATUS, RESOURCES).unwrap();
        assert_eq!(told.quorate, Some(true));
        let versions = BTreeMap::from([("pve1".to_owned(), "9.2.11".to_owned())]);
        let found = members(told.nodes, &told.guests, &versions);
        let pve1 = MemberLook {
            name: "pve1".into(),
            online: true,
            version: "9.2.11".into(),
            cores: 8,
            memory_mb: 32_768,
            used_memory_mb: 8_192,
            uptime_secs: 3600,
            guests: 2,
            running: 1,
        };
        let pve2 = MemberLook {
            name: "pve2".into(),
            online: false,
            version: String::new(),
            cores: 0,
            memory_mb: 0,
            used_memory_mb: 0,
            uptime_secs: 0,
            guests: 0,
            running: 0,
        };
        assert_eq!(found, [pve1, pve2], "a row of resources makes no member");
    }

    #[test]
    fn a_node_without_a_cluster_has_no_quorum_to_tell_of() {
        let status =
            r#"[{"id":"node/pve1","type":"node","name":"pve1","ip":"192.0.2.11","online":1}]"#;
        let told = told(status, "no JSON").unwrap();
        assert_eq!(told.quorate, None);
        assert_eq!(told.nodes.len(), 1);
        assert!(told.nodes[0].online && told.guests.is_empty());
    }

    #[test]
    fn what_is_no_list_of_nodes_is_no_look() {
        for text in ["", "null", "{}", "[]", "[1]", "[{\"type\":\"node\"}]", "pvesh: not found"] {
            assert_eq!(told(text, RESOURCES), None, "{text}");
        }
        for text in ["", "9.2.11", "[]", "{\"version\":\"none\"}"] {
            assert_eq!(version(text), None, "{text}");
        }
        assert_eq!(version("{\"release\":\"9.2\",\"version\":\"9.2.11\"}\n").unwrap(), "9.2.11");
    }
}
