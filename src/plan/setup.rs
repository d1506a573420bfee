//! The guided set-up as decisions: what is proposed from what was found, and which files come of the answers. The terminal
//! (`cli::setup`) asks, and the unattended form reads the same answers from a file.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, Item, Table, TomlError, Value};

/// The commented configuration that a first run starts from.
pub const TEMPLATE: &str = include_str!("../../systemd/ironhatch.toml");
/// Port of dashboard, API and machines that is proposed.
const PORT: u16 = 8080;

/// An interface that could serve machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its first IPv4 address with the length of its network.
    pub address: Ipv4Net,
    /// The default route leads out of it.
    pub is_default: bool,
    /// There is hardware behind it: no bridge of containers, no tunnel.
    pub is_physical: bool,
}

/// How machines are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Beside the DHCP server of the segment.
    Proxy,
    /// As the DHCP server of the segment.
    Full,
    /// Not at all: dashboard only.
    Off,
}

impl Mode {
    /// As the configuration has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Full => "full",
            Self::Off => "off",
        }
    }
}

/// The first server type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstType {
    /// Name of its file.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub display_name: String,
    /// Kernel names of the disks that may be erased; empty: each host names its own.
    #[serde(default)]
    pub disks: Vec<String>,
}

/// What the operator answered; what is `None` was not asked yet, or is left as it is. This is also the answers file. Secrets in
/// it can be `env:NAME` or `file:PATH`, and are never written down again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answers {
    /// Where machines are.
    pub interface: Option<String>,
    /// Proxy, full or off.
    pub mode: Option<Mode>,
    /// Addresses to lend in full mode, `FIRST-LAST`.
    pub pool: Option<String>,
    /// How machines reach this appliance.
    pub public_url: Option<String>,
    /// A second listener with a certificate of its own.
    pub tls: Option<bool>,
    /// Public keys for root of fresh nodes.
    pub ssh_keys: Option<Vec<String>>,
    /// Any member of the cluster to join; empty: the first host founds one.
    pub existing_node: Option<String>,
    /// That member's SSH host key, `type base64`.
    pub member_host_key: Option<String>,
    /// Its fingerprint, when the key itself is not given: the key is asked of the member and must have it.
    pub member_fingerprint: Option<String>,
    /// Name of a cluster that is founded.
    pub cluster_name: Option<String>,
    /// The first server type, when there is none.
    pub server_type: Option<FirstType>,
    /// Path or URL of the first image.
    pub image: Option<String>,
    /// Whether the service is enabled and started.
    pub start: Option<bool>,
    /// Operator password of the dashboard.
    #[serde(skip_serializing)]
    pub operator_password: Option<String>,
    /// Root password of fresh nodes; empty: keys only.
    #[serde(skip_serializing)]
    pub root_password: Option<String>,
}

/// The interface to propose: the one of the answers, else of the default route, else the first with hardware behind it.
#[must_use]
pub fn proposed_nic<'a>(nics: &'a [Nic], answers: &Answers) -> Option<&'a Nic> {
    let named = answers.interface.as_deref().and_then(|name| nics.iter().find(|n| n.name == name));
    named
        .or_else(|| nics.iter().find(|nic| nic.is_default))
        .or_else(|| nics.iter().find(|nic| nic.is_physical))
        .or_else(|| nics.first())
}

/// Beside a DHCP server that answers (or may answer: `None`, nobody could ask); as one where none does.
#[must_use]
pub fn proposed_mode(servers: Option<&[Ipv4Addr]>) -> Mode {
    match servers {
        Some([]) => Mode::Full,
        _ => Mode::Proxy,
    }
}

/// Where machines reach this address.
#[must_use]
pub fn proposed_url(nic: &Nic) -> String {
    format!("http://{}:{PORT}", nic.address.addr())
}

/// The upper half of a segment without the appliance's own address; `None` when it is too small to share.
#[must_use]
pub fn proposed_pool(nic: &Nic) -> Option<String> {
    let hosts = u32::from(nic.address.broadcast()).checked_sub(u32::from(nic.address.network()))?;
    if hosts < 7 {
        return None;
    }
    let own = u32::from(nic.address.addr());
    let (mut first, mut last) =
        (u32::from(nic.address.network()) + hosts / 2 + 1, u32::from(nic.address.broadcast()) - 1);
    // At most 100 addresses: enough for a rack, and the rest stays free for what has a fixed one.
    last = last.min(first + 99);
    if own >= first && own <= last {
        // The larger side of it.
        if own - first > last - own { last = own - 1 } else { first = own + 1 }
    }
    (first <= last).then(|| format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last)))
}

/// The configuration that comes of the answers: `base` with the answered keys changed and everything else, comments included,
/// as it was. `root_hash`: the hash of the answered root password; empty: keys only; `None`: as it is.
///
/// # Errors
/// When `base` is no TOML.
pub fn configuration(
    base: &str,
    answers: &Answers,
    nic: Option<&Nic>,
    root_hash: Option<&str>,
) -> Result<String, TomlError> {
    let mut file: DocumentMut = base.parse()?;
    if let Some(url) = &answers.public_url {
        set(&mut file, "server", "public_url", url.as_str());
    }
    match answers.tls {
        Some(true) => set(&mut file, "server", "tls", "auto"),
        Some(false) if has(&file, "server", "tls") => set(&mut file, "server", "tls", "off"),
        _ => {}
    }
    match answers.mode {
        Some(Mode::Off) => set(&mut file, "pxe", "enabled", false),
        Some(mode) => {
            set(&mut file, "pxe", "enabled", true);
            set(&mut file, "pxe", "mode", mode.name());
        }
        None => {}
    }
    if let Some(nic) = nic {
        set(&mut file, "pxe", "interface", nic.name.as_str());
        set(&mut file, "pxe", "subnet", nic.address.trunc().to_string());
    }
    match (answers.mode, &answers.pool) {
        (Some(Mode::Full), Some(pool)) => set(&mut file, "pxe", "pool", pool.as_str()),
        // It has no meaning beside another server, and would be refused.
        (Some(Mode::Proxy), _) => {
            remove(&mut file, "pxe", &["pool", "gateway", "dns", "lease_secs"])
        }
        _ => {}
    }
    if let Some(node) = &answers.existing_node {
        set(&mut file, "proxmox", "existing_node", node.as_str());
        if node.is_empty() {
            remove(&mut file, "proxmox", &["member_host_key"]);
        }
    }
    if let Some(key) = answers.member_host_key.as_deref().filter(|key| !key.is_empty()) {
        set(&mut file, "proxmox", "member_host_key", key);
    }
    if let Some(name) = &answers.cluster_name {
        set(&mut file, "proxmox", "cluster_name", name.as_str());
    }
    if let Some(keys) = &answers.ssh_keys {
        let keys: toml_edit::Array = keys.iter().map(String::as_str).collect();
        set(&mut file, "credentials", "ssh_keys", keys);
    }
    if let Some(hash) = root_hash {
        set(&mut file, "credentials", "root_password_hash", hash);
    }
    Ok(file.to_string())
}

/// The file of a first server type.
#[must_use]
pub fn server_type(first: &FirstType) -> String {
    let mut file = DocumentMut::new();
    let name = if first.display_name.is_empty() { &first.name } else { &first.display_name };
    file.insert("display_name", toml_edit::value(name.as_str()));
    let disk = if first.disks.is_empty() {
        toml_edit::value("per-host")
    } else {
        let mut table = toml_edit::InlineTable::new();
        table.insert(
            "devices",
            first.disks.iter().map(String::as_str).collect::<toml_edit::Array>().into(),
        );
        toml_edit::value(table)
    };
    file.insert("boot_disk", disk);
    let head = "# Hosts of one kind. Every key is described in docs/server-types.md.\n";
    format!("{head}{file}")
}

/// Keeps what stands behind the old value: its comment.
fn set(file: &mut DocumentMut, section: &str, key: &str, value: impl Into<Value>) {
    let table = file.entry(section).or_insert_with(|| Item::Table(Table::new()));
    let mut value: Value = value.into();
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    if let Some(table) = table.as_table_like_mut() {
        match table.get_mut(key) {
            Some(item) => *item = Item::Value(value),
            None => {
                table.insert(key, Item::Value(value));
            }
        }
    }
}

fn has(file: &DocumentMut, section: &str, key: &str) -> bool {
    file.get(section).and_then(|table| table.get(key)).is_some()
}

fn remove(file: &mut DocumentMut, section: &str, keys: &[&str]) {
    if let Some(table) = file.get_mut(section).and_then(Item::as_table_like_mut) {
        for key in keys {
            table.remove(key);
        }
    }
}

#[cfg(test)]
mod test;
