//! What the vendor's installer posts to us: the answer request and the post-installation report.
//!
//! Both are read by name and tolerantly (`reference/proxmox-auto-install.md` 2.4 and 4.2, installers 8.2 to 9.2.7): unknown keys
//! are skipped, absent ones are absent, and only what identifies the machine is required. All text is untrusted: cut
//! and cleaned here. Pure.

use serde_json::{Map, Value};

use crate::domain::identity::{DmiUuid, usable_serial};
use crate::domain::inventory::{Disk, Firmware, Inventory, Nic};
use crate::domain::mac::Mac;
use crate::domain::secret::Secret;
pub use crate::limits::machine::MAX_REPORT_BYTES;
pub use crate::limits::machine::MAX_REQUEST_BYTES;
use crate::limits::machine::{MAX_ITEMS, MAX_LINKS};

/// Why a body was not understood, in one line for a console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Larger than it may be.
    #[error("the body has {size} bytes, at most {most} are read")]
    TooLarge {
        /// What came.
        size: usize,
        /// What is allowed.
        most: usize,
    },
    /// Not JSON.
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson {
        /// Where the parser gave up.
        line: usize,
        /// Where the parser gave up.
        column: usize,
    },
    /// A key that is needed is absent or of another type.
    #[error("the body's {key} must be {expected}")]
    Key {
        /// Path of the key.
        key: &'static str,
        /// What is expected there.
        expected: &'static str,
    },
}

/// The request for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRequest {
    /// `pve`, `pbs`, `pmg`, `pdm`: the caller refuses what it does not serve.
    pub product: String,
    /// `iso.release`; chooses the dialect.
    pub release: String,
    /// `iso.isorelease`, when it was told.
    pub iso_release: Option<String>,
    /// Version of the request's schema; absent in 8.2.
    pub schema: Option<String>,
    /// System UUID when it is usable.
    pub uuid: Option<DmiUuid>,
    /// What the DMI tables say.
    pub inventory: Inventory,
    /// Ethernet addresses of all links, without doubles, in the order in which they were sent.
    pub macs: Vec<Mac>,
}

impl AnswerRequest {
    /// Reads the body of an answer request.
    ///
    /// # Errors
    /// [`Malformed`] with one line for the console.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let root = object(body, MAX_REQUEST_BYTES)?;
        let product = table(&root, "product").and_then(|p| text(p, "product", 16));
        let Some(product) = product else {
            return Err(Malformed::Key {
                key: "product.product",
                expected: "a string such as \"pve\"",
            });
        };
        let iso = table(&root, "iso");
        let Some(release) = iso.and_then(|i| text(i, "release", 40)) else {
            return Err(Malformed::Key {
                key: "iso.release",
                expected: "a string such as \"9.2\"",
            });
        };
        let Some(links) = root.get("network_interfaces").and_then(Value::as_array) else {
            return Err(Malformed::Key {
                key: "network_interfaces",
                expected: "a list of links with their MAC addresses",
            });
        };
        let mut macs: Vec<Mac> = Vec::new();
        for link in links.iter().take(MAX_LINKS) {
            // Links that are not Ethernet (tunnels, InfiniBand) have other addresses and are not ours to judge.
            let mac = link.get("mac").and_then(Value::as_str).and_then(|m| m.parse().ok());
            if let Some(mac) = mac.filter(|m| !macs.contains(m)) {
                macs.push(mac);
            }
        }
        let inventory = table(&root, "dmi").map(dmi).unwrap_or_default();
        Ok(Self {
            product: product.to_ascii_lowercase(),
            release,
            iso_release: iso.and_then(|i| text(i, "isorelease", 40)),
            schema: table(&root, "$schema").and_then(|s| text(s, "version", 16)),
            uuid: inventory.uuid,
            inventory,
            macs,
        })
    }
}

/// The report after a successful installation. Everything may be absent: it is evidence, not a contract.
#[derive(Debug, Clone)]
pub struct InstallReport {
    /// Version of the report's schema.
    pub schema: Option<String>,
    /// Full name of the installed node.
    pub fqdn: Option<String>,
    /// The node's final `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// Version of pve-manager on the node.
    pub product_version: Option<String>,
    /// File system with its RAID level, `zfs (RAID1)`.
    pub filesystem: Option<String>,
    /// Whether Secure Boot was on.
    pub secure_boot: bool,
    /// The node's final SSH host keys, as `type base64` without comments; sorted.
    pub ssh_host_keys: Vec<String>,
    /// MAC and address with prefix of the management interface. The address the node will have.
    pub management: Option<(Mac, String)>,
    /// `token` of the body, when the answer gave one (9.2).
    pub token: Option<Secret<String>>,
    /// Hardware facts.
    pub inventory: Inventory,
}

impl InstallReport {
    /// Reads the body of the webhook. Absent booleans are false, and the string `unknown` stands for what the installer
    /// could not gather (9.2.5).
    ///
    /// # Errors
    /// [`Malformed`] when it is too large or not a JSON object; nothing else is required.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let root = object(body, MAX_REPORT_BYTES)?;
        let known = |map: &Map<String, Value>, key: &str, most: usize| {
            text(map, key, most).filter(|t| t != "unknown")
        };
        let boot = table(&root, "boot-info");
        let flag = |map: Option<&Map<String, Value>>, key: &str| {
            map.and_then(|m| m.get(key)).and_then(Value::as_bool).unwrap_or(false)
        };
        let nics = list(&root, "network-interfaces");
        let management = nics.iter().find_map(|nic| {
            let nic = nic.as_object()?;
            let mac = text(nic, "mac", 40)?.parse().ok()?;
            let address = text(nic, "address", 64)?;
            address.parse::<ipnet::IpNet>().ok()?;
            flag(Some(nic), "is-management").then_some((mac, address))
        });
        let machine_id = known(&root, "machine-id", 64)
            .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        Ok(Self {
            schema: table(&root, "$schema").and_then(|s| text(s, "version", 16)),
            fqdn: known(&root, "fqdn", 253),
            machine_id,
            product_version: table(&root, "product").and_then(|p| known(p, "version", 64)),
            filesystem: known(&root, "filesystem", 64),
            secure_boot: flag(boot, "secureboot"),
            ssh_host_keys: host_keys(&root),
            management,
            token: text(&root, "token", 512).map(Secret::new),
            inventory: report_inventory(&root, boot, nics),
        })
    }
}

fn report_inventory(
    root: &Map<String, Value>,
    boot: Option<&Map<String, Value>>,
    nics: &[Value],
) -> Inventory {
    let mut inventory = table(root, "dmi").map(dmi).unwrap_or_default();
    inventory.cpu =
        table(root, "cpu-info").and_then(|c| text(c, "model", 120)).filter(|t| t != "unknown");
    inventory.firmware =
        boot.and_then(|b| text(b, "mode", 16)).and_then(|mode| match mode.as_str() {
            "efi" => Some(Firmware::Uefi),
            "bios" => Some(Firmware::Bios),
            _ => None,
        });
    inventory.disks = list(root, "disks").iter().take(MAX_ITEMS).filter_map(disk).collect();
    inventory.nics = nics.iter().take(MAX_ITEMS).filter_map(nic).collect();
    inventory
}

fn disk(value: &Value) -> Option<Disk> {
    let disk = value.as_object()?;
    let udev = table(disk, "udev-properties")?;
    Some(Disk {
        device: text(udev, "DEVNAME", 64)?,
        serial: text(udev, "ID_SERIAL_SHORT", 120),
        model: text(udev, "ID_MODEL", 120),
        wwn: text(udev, "ID_WWN", 120),
        is_boot_disk: disk.get("is-bootdisk").and_then(Value::as_bool).unwrap_or(false),
    })
}

fn nic(value: &Value) -> Option<Nic> {
    let nic = value.as_object()?;
    Some(Nic {
        name: text(nic, "name", 32),
        mac: text(nic, "mac", 40)?.parse().ok()?,
        address: text(nic, "address", 64).filter(|a| a.parse::<ipnet::IpNet>().is_ok()),
    })
}

/// `type base64`, only well-formed ones: they are pinned later.
fn host_keys(root: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<String> = table(root, "ssh-public-host-keys")
        .into_iter()
        .flat_map(Map::values)
        .filter_map(Value::as_str)
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (kind, body) = (words.next()?, words.next()?);
            let kind_ok = (kind.starts_with("ssh-") || kind.starts_with("ecdsa-sha2-"))
                && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
            let body_ok = (40..=8192).contains(&body.len())
                && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
            (kind_ok && kind.len() <= 64 && body_ok).then(|| format!("{kind} {body}"))
        })
        .take(8)
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The DMI tables, in both bodies with the same keys but for their spelling.
fn dmi(dmi: &Map<String, Value>) -> Inventory {
    let system = table(dmi, "system");
    let chassis = table(dmi, "chassis");
    let baseboard = table(dmi, "baseboard");
    let field = |map: Option<&Map<String, Value>>, key: &str| {
        map.and_then(|m| m.get(key)).and_then(Value::as_str).and_then(usable_serial)
    };
    let asset = |map| field(map, "asset_tag").or_else(|| field(map, "asset-tag"));
    Inventory {
        product: field(system, "name"),
        serial: field(system, "serial"),
        asset: asset(chassis).or_else(|| asset(baseboard)),
        uuid: system
            .and_then(|s| s.get("uuid"))
            .and_then(Value::as_str)
            .and_then(|u| u.parse().ok()),
        ..Inventory::default()
    }
}

fn object(body: &[u8], most: usize) -> Result<Map<String, Value>, Malformed> {
    if body.len() > most {
        return Err(Malformed::TooLarge { size: body.len(), most });
    }
    // serde_json stops at 128 levels of nesting by itself.
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Malformed::Key { key: "outermost value", expected: "an object" }),
        Err(error) => Err(Malformed::NotJson { line: error.line(), column: error.column() }),
    }
}

fn table<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    map.get(key).and_then(Value::as_object)
}

fn list<'a>(map: &'a Map<String, Value>, key: &str) -> &'a [Value] {
    map.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Trimmed printable text of bounded length; empty counts as absent.
fn text(map: &Map<String, Value>, key: &str, most: usize) -> Option<String> {
    let text = map.get(key)?.as_str()?.trim();
    let clean: String = text.chars().filter(|c| !c.is_control()).take(most).collect();
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod test;
