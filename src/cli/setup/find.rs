//! What this machine and its segment show: interfaces, DHCP servers, keys, disks, what is configured already.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use nix::net::if_::InterfaceFlags;
use serde_json::Value;

use super::super::Reach;
use super::super::client::Client;
use crate::config::{Config, ProcessSecrets};
use crate::doctor;
use crate::node::host_key::{self, SeenHostKey};
use crate::plan::answer::access::check_public_key;
use crate::plan::doctor::facts::Heard;
use crate::plan::setup::Nic;

/// How long a cluster's member may take to show its key.
const MEMBER_LIMIT: Duration = Duration::from_secs(10);

/// Everything that can be found without asking the network.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) nics: Vec<Nic>,
    /// Public keys of whoever sits here.
    pub(super) ssh_keys: Vec<String>,
    /// Disks of this machine by kernel name, with their size in GB.
    pub(super) disks: Vec<(String, u64)>,
    /// Vendor and product of this machine.
    pub(super) product: String,
    /// Vendor and product of the machine that was heard last on the network, when an appliance runs.
    pub(super) sighted: Option<String>,
    /// A valid configuration of the operator's is there: what is not answered stays.
    pub(super) is_configured: bool,
    pub(super) config: Option<Config>,
    pub(super) server_types: PathBuf,
    pub(super) has_types: bool,
}

pub(super) fn all(path: &Path) -> Found {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let config = Config::parse(path, &text, &ProcessSecrets).ok().map(|(config, _)| config);
    // The packaged file is valid, too, and nobody's answer.
    let is_configured = config.is_some() && text != crate::plan::setup::TEMPLATE;
    let folder = path.parent().unwrap_or(Path::new("/")).join("server-types");
    let server_types = config.as_ref().map_or(folder, |c| c.server_types.path().to_owned());
    let has_types = std::fs::read_dir(&server_types).is_ok_and(|entries| {
        entries.flatten().any(|e| e.path().extension().is_some_and(|e| e == "toml"))
    });
    Found {
        nics: nics(),
        ssh_keys: ssh_keys(),
        disks: disks(),
        product: product(),
        sighted: None,
        is_configured,
        config: config.filter(|_| is_configured),
        server_types,
        has_types,
    }
}

fn nics() -> Vec<Nic> {
    let default = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    // Destination 0 in the second column.
    let default = default.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        (words.next()? == "00000000").then(|| name.to_owned())
    });
    let mut found: Vec<Nic> = Vec::new();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let up = entry.flags.contains(InterfaceFlags::IFF_UP);
        if !up || entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let ip = |a: Option<nix::sys::socket::SockaddrStorage>| a?.as_sockaddr_in().map(|a| a.ip());
        let (Some(address), Some(mask)) = (ip(entry.address), ip(entry.netmask)) else { continue };
        let Ok(address) = Ipv4Net::with_netmask(address, mask) else { continue };
        let name = entry.interface_name;
        if found.iter().any(|nic| nic.name == name) {
            continue;
        }
        found.push(Nic {
            is_default: default.as_ref() == Some(&name),
            is_physical: Path::new("/sys/class/net").join(&name).join("device").exists(),
            name,
            address,
        });
    }
    found
}

/// Keys in one's own home, and in that of whoever called sudo.
fn ssh_keys() -> Vec<String> {
    let caller = std::env::var("SUDO_USER").ok().map(|user| Path::new("/home").join(user));
    let mut keys: Vec<String> = Vec::new();
    for home in [caller, std::env::var_os("HOME").map(PathBuf::from)].into_iter().flatten() {
        let folder = home.join(".ssh");
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path());
        let public = files.filter(|p| p.extension().is_some_and(|e| e == "pub"));
        for file in public.chain([folder.join("authorized_keys")]) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            for line in text.lines().map(str::trim) {
                if check_public_key(line).is_ok() && !keys.iter().any(|known| known == line) {
                    keys.push(line.to_owned());
                }
            }
        }
    }
    keys
}

fn disks() -> Vec<(String, u64)> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut disks: Vec<(String, u64)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_disk = ["sd", "nvme", "vd", "xvd", "mmcblk"].iter().any(|p| name.starts_with(p));
            let sectors = std::fs::read_to_string(entry.path().join("size")).ok()?;
            // The kernel counts in 512 bytes whatever the disk does.
            let gigabytes = sectors.trim().parse::<u64>().ok()? / 2 / 1024 / 1024;
            (is_disk && gigabytes > 0).then_some((name, gigabytes))
        })
        .collect();
    disks.sort();
    disks
}

fn product() -> String {
    let read = |file: &str| {
        let text = std::fs::read_to_string(Path::new("/sys/class/dmi/id").join(file));
        text.unwrap_or_default().trim().to_owned()
    };
    format!("{} {}", read("sys_vendor"), read("product_name")).trim().to_owned()
}

/// What the running appliance heard last, if there is one.
pub(super) async fn sighted(config: &Config) -> Option<String> {
    let client = Client::connect(&Reach::default(), &config.data_dir).await.ok()?;
    let list = client.get("/api/sightings").await.ok()?;
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    };
    list.get("sightings")?.as_array()?.iter().find_map(|sighting| {
        let told = sighting.get("inventory")?;
        let name = format!("{} {}", text(told, "vendor"), text(told, "product"));
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    })
}

/// DHCP servers that lend addresses on the segment; the reason when nobody could be asked.
pub(super) async fn servers(nic: &Nic) -> Result<Vec<Ipv4Addr>, String> {
    match doctor::who_answers(&nic.name, nic.address).await {
        Heard::Answers { offers, .. } => {
            let lending = offers.iter().filter(|heard| heard.offer.lends() && !heard.ours);
            Ok(lending.map(|heard| heard.offer.server()).collect())
        }
        Heard::NotAsked(why) => Err(why),
        Heard::Nothing => Err("the interface has no carrier".to_owned()),
    }
}

/// What host key a cluster's member shows; also the test whether it can be reached.
pub(super) async fn host_key(node: &str) -> Result<SeenHostKey, String> {
    let ip = node.parse().map_err(|_| format!("'{node}' is not an IP address"))?;
    host_key::look(SocketAddr::new(ip, 22), MEMBER_LIMIT).await.map_err(|e| e.to_string())
}
