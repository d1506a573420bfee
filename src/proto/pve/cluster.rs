//! The cluster's nodes and guests as rows of JSON, which API and `pvesh` write alike.

use serde_json::Value;

use super::PveVersion;
use super::value::{flag_of, number_of, text_of};
use crate::domain::vmid::{Tag, Vmid};

/// A node as the cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name as the cluster spells it; Proxmox VE allows upper case, our node names do not.
    pub name: String,
    /// Whether it takes part in the cluster just now.
    pub online: bool,
    /// Cores; 0 when it is offline or whoever asks may not know.
    pub cores: u64,
    /// Bytes of memory; 0 as above.
    pub memory: u64,
    /// Bytes of memory in use; 0 as above.
    pub memory_used: u64,
    /// Seconds since its start; 0 as above.
    pub uptime_secs: u64,
}

/// Container or virtual machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestKind {
    /// A container.
    Container,
    /// A virtual machine.
    Machine,
}

/// One guest that whoever asks may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestRow {
    /// Its number.
    pub vmid: Vmid,
    /// What it is.
    pub kind: GuestKind,
    /// Its name; empty while it is being made.
    pub name: String,
    /// The node that holds it, as the cluster spells it.
    pub node: String,
    /// `running`, `stopped`, or `unknown` for up to 10 s after it appeared and while its node is down.
    pub status: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// The pool it is in; nested ones contain `/`.
    pub pool: Option<String>,
    /// It is a template.
    pub template: bool,
    /// The lock on it.
    pub lock: Option<String>,
}

impl GuestRow {
    /// Whether it runs, as far as the cluster knows.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }
}

/// What `/version` and `/nodes/{node}/version` tell: the release is `9.2`, the version `9.2.11`, which has all of it.
#[must_use]
pub fn read_version(data: &Value) -> Option<PveVersion> {
    PveVersion::parse(&text_of(data, "version"))
        .or_else(|| PveVersion::parse(&text_of(data, "release")))
}

/// A node of `/nodes`, or a row of that type of `/cluster/resources`. `None`: it has no name.
#[must_use]
pub fn read_node(row: &Value) -> Option<NodeStatus> {
    let name = text_of(row, "node");
    if name.is_empty() {
        return None;
    }
    Some(NodeStatus {
        name,
        online: text_of(row, "status") == "online",
        cores: number_of(row, "maxcpu"),
        memory: number_of(row, "maxmem"),
        memory_used: number_of(row, "mem"),
        uptime_secs: number_of(row, "uptime"),
    })
}

/// A guest of `/cluster/resources`. `None`: the row is about something else.
#[must_use]
pub fn read_guest(row: &Value) -> Option<GuestRow> {
    let kind = match text_of(row, "type").as_str() {
        "lxc" => GuestKind::Container,
        "qemu" => GuestKind::Machine,
        _ => return None,
    };
    let some = |text: String| Some(text).filter(|t| !t.is_empty());
    Some(GuestRow {
        vmid: text_of(row, "vmid").parse().ok()?,
        kind,
        name: text_of(row, "name"),
        node: text_of(row, "node"),
        status: text_of(row, "status"),
        tags: Tag::list(&text_of(row, "tags")),
        pool: some(text_of(row, "pool")),
        template: flag_of(row, "template"),
        lock: some(text_of(row, "lock")),
    })
}
