//! Looking at containers: configuration, state, addresses, snapshots.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::call::{Ask, container, number};
use super::{Cluster, ContainerConfig, PveError};
use crate::domain::id::NodeName;
use crate::domain::time::Timestamp;
use crate::domain::vmid::{Tag, Vmid};
use crate::proto::pve::value::{flag_of, number_of, text_of};

/// How a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// It runs.
    pub running: bool,
    /// Its host name.
    pub name: String,
    /// The lock on it.
    pub lock: Option<String>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// It is a template.
    pub template: bool,
    /// High availability decides whether it runs.
    pub ha_managed: bool,
    /// Seconds since its start.
    pub uptime_secs: u64,
    /// Cores that it may use.
    pub cores: u64,
    /// Bytes of memory in use.
    pub memory_used: u64,
    /// Bytes of memory that it may use.
    pub memory: u64,
    /// Bytes of its root disk in use.
    pub disk_used: u64,
    /// Bytes of its root disk.
    pub disk: u64,
    /// Thousandths of its cores in use.
    pub cpu_permille: u32,
    /// Bytes received since its start.
    pub network_in: u64,
    /// Bytes sent since its start.
    pub network_out: u64,
}

/// A network interface inside a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// `lo`, `eth0`, …
    pub name: String,
    /// Its hardware address.
    pub mac: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// What was noted with it.
    pub description: String,
    /// When it was made.
    pub made: Option<Timestamp>,
    /// The snapshot that it follows.
    pub parent: Option<String>,
}

impl Cluster {
    /// A container's configuration with pending changes taken in.
    ///
    /// # Errors
    /// [`PveError`]. For a guest that does not exist, a token with rights on a pool only is told [`PveError::Forbidden`].
    pub async fn config(&self, node: &NodeName, vmid: Vmid) -> Result<ContainerConfig, PveError> {
        let ask = Ask::get(&container(node, &number(vmid), &["config"]));
        self.ask_one(ask, ContainerConfig::read).await
    }

    /// How a container stands.
    ///
    /// # Errors
    /// As for [`Self::config`].
    pub async fn status(&self, node: &NodeName, vmid: Vmid) -> Result<ContainerStatus, PveError> {
        let ask = Ask::get(&container(node, &number(vmid), &["status", "current"]));
        self.ask_one(ask, read_status).await
    }

    /// Network interfaces inside a container; none while it does not run.
    ///
    /// # Errors
    /// As for [`Self::config`].
    pub async fn interfaces(
        &self,
        node: &NodeName,
        vmid: Vmid,
    ) -> Result<Vec<Interface>, PveError> {
        let ask = Ask::get(&container(node, &number(vmid), &["interfaces"]));
        self.ask_one(ask, |data| match data {
            Value::Null => Some(Vec::new()),
            _ => Some(data.as_array()?.iter().filter_map(read_interface).collect()),
        })
        .await
    }

    /// A container's snapshots, the current state left out.
    ///
    /// # Errors
    /// As for [`Self::config`].
    pub async fn snapshots(&self, node: &NodeName, vmid: Vmid) -> Result<Vec<Snapshot>, PveError> {
        let ask = Ask::get(&container(node, &number(vmid), &["snapshot"]));
        self.ask_rows(ask, read_snapshot).await
    }
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

pub(super) fn read_status(data: &Value) -> Option<ContainerStatus> {
    let running = match text_of(data, "status").as_str() {
        "running" => true,
        "stopped" => false,
        _ => return None,
    };
    Some(ContainerStatus {
        running,
        name: text_of(data, "name"),
        lock: some(text_of(data, "lock")),
        tags: Tag::list(&text_of(data, "tags")),
        template: flag_of(data, "template"),
        ha_managed: data.get("ha").is_some_and(|ha| flag_of(ha, "managed")),
        uptime_secs: number_of(data, "uptime"),
        cores: number_of(data, "cpus"),
        memory_used: number_of(data, "mem"),
        memory: number_of(data, "maxmem"),
        disk_used: number_of(data, "disk"),
        disk: number_of(data, "maxdisk"),
        cpu_permille: permille(data.get("cpu")),
        network_in: number_of(data, "netin"),
        network_out: number_of(data, "netout"),
    })
}

/// A share from 0 to 1, as number or text.
fn permille(share: Option<&Value>) -> u32 {
    let share = share.and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok())).unwrap_or(0.0);
    // Thousandths of at most some thousand cores.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let permille = (share.clamp(0.0, 10_000.0) * 1000.0).round() as u32;
    permille
}

/// The list of all addresses exists since 8.4; before, there is one of each family as `A.B.C.D/len`.
fn read_interface(row: &Value) -> Option<Interface> {
    let mut addresses: Vec<IpNet> = Vec::new();
    for one in row.get("ip-addresses").and_then(Value::as_array).into_iter().flatten() {
        let address: Option<IpAddr> = text_of(one, "ip-address").parse().ok();
        let prefix = u8::try_from(number_of(one, "prefix")).ok();
        if let (Some(address), Some(prefix)) = (address, prefix) {
            addresses.extend(IpNet::new(address, prefix));
        }
    }
    for key in ["inet", "inet6"] {
        if let Ok(address) = text_of(row, key).parse::<IpNet>()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    let name = text_of(row, "name");
    let mac = some(text_of(row, "hwaddr")).unwrap_or_else(|| text_of(row, "hardware-address"));
    if name.is_empty() { None } else { Some(Interface { name, mac, addresses }) }
}

pub(super) fn read_snapshot(row: &Value) -> Option<Snapshot> {
    let name = text_of(row, "name");
    // Stands for the state as it is now.
    if name.is_empty() || name == "current" {
        return None;
    }
    let seconds = i64::try_from(number_of(row, "snaptime")).unwrap_or(0);
    Some(Snapshot {
        name,
        description: text_of(row, "description").trim_end_matches('\n').to_owned(),
        made: Some(Timestamp(seconds.saturating_mul(1000))).filter(|t| t.0 != 0),
        parent: some(text_of(row, "parent")),
    })
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_read_in_the_old_and_in_the_new_form() {
        let old = json!({"name": "eth0", "hwaddr": "bc:24:11:00:00:01", "inet": "192.0.2.50/24"});
        let new = json!({
            "name": "eth0", "hardware-address": "bc:24:11:00:00:01", "inet": "192.0.2.50/24",
            "inet6": "fe80::1/64",
            "ip-addresses": [
                {"ip-address": "192.0.2.50", "ip-address-type": "inet", "prefix": "24"},
                {"ip-address": "fe80::1", "ip-address-type": "inet6", "prefix": 64},
            ],
        });
        let v4: IpNet = "192.0.2.50/24".parse().unwrap();
        let v6: IpNet = "fe80::1/64".parse().unwrap();
        let read = read_interface(&old).unwrap();
        assert_eq!((read.addresses, read.mac.as_str()), (vec![v4], "bc:24:11:00:00:01"));
        let read = read_interface(&new).unwrap();
        assert_eq!((read.addresses, read.mac.as_str()), (vec![v4, v6], "bc:24:11:00:00:01"));
    }

    #[test]
    fn the_present_is_no_snapshot() {
        assert_eq!(read_snapshot(&json!({"name": "current", "running": 0})), None);
        let row = json!({"name": "before", "snaptime": 1_795_192_911, "description": "x\n"});
        let read = read_snapshot(&row).unwrap();
        assert_eq!((read.description.as_str(), read.parent), ("x", None));
        assert_eq!(read.made, Some(Timestamp(1_795_192_911_000)));
    }
}
