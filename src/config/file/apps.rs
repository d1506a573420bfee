//! `[apps]`: what may be made in the cluster, and where apps and service definitions are kept.

mod gpu;
mod services;
mod source;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::super::apps::{Apps, BackupSchedule, Defaults, StackEntry};
use super::super::document::Value;
use super::super::read::{Located, Section, show};
use super::Context;
use crate::domain::app::{AppId, Feature};
use crate::domain::boundary::{Boundary, Caps};
use crate::domain::id::{BridgeName, InvalidId, PoolId, ServerTypeName, StorageId, ZoneId};
use crate::domain::vmid::Vmid;
use crate::plan::guest::order::domain_name;

pub(super) fn apps(section: Section<'_>, cx: &Context<'_>) -> Option<Apps> {
    let enabled = section.boolean("enabled");
    let on = enabled.as_ref().is_some_and(|e| e.value);
    let boundary = boundary(&section, on, cx);
    let defaults = defaults(&section, boundary.as_ref(), cx);
    let sources = source::sources(&section, cx);
    let built_in = section.boolean("built_in").is_none_or(|b| b.value);
    let jobs_at_once = section.within("jobs_at_once", 1..=32).map_or(DEFAULT_JOBS, |n| n.value);
    let services = section.section("services").map(|s| services::services(s, cx));
    let backups = section
        .section("backups")
        .filter(|s| !s.is_empty())
        .map(|s| backups(s, boundary.as_ref(), cx));
    let destroy = section.within("destroy_failed_after_days", 0..=3650);
    let bind_sources = bind_sources(&section, cx);
    let node_binary = section.filled("node_binary").map(|path| cx.base.join(path.value));
    let stacks = section.tables("stack").into_iter().filter_map(|s| stack(s, cx)).collect();
    if enabled.is_none() && !section.is_empty() {
        let message = "is not set, so apps are off; enabled = true switches them on";
        cx.findings.warn(&section.path("enabled"), section.place(), message);
    }
    if on && !built_in && sources.is_empty() {
        let message = "no catalog is left: built_in = false and no [[apps.catalog]]";
        cx.findings.warn(&section.path("built_in"), section.place(), message);
    }
    section.finish();
    if !on {
        return None;
    }
    Some(Apps {
        boundary: boundary?,
        defaults: defaults?,
        sources,
        built_in,
        jobs_at_once: usize::try_from(jobs_at_once).unwrap_or(1),
        services: services.flatten(),
        backups: backups.flatten(),
        destroy_failed_after: destroy
            .filter(|d| d.value > 0)
            .map(|d| Duration::from_secs(u64::from(d.value) * 24 * 3600)),
        bind_sources,
        node_binary,
        stacks,
    })
}

/// Two containers in the making keep a small node busy, and a third one would only be slower.
const DEFAULT_JOBS: u32 = 2;
const DEFAULT_POOL: &str = "ironhatch";
const DEFAULT_TEMPLATE_STORAGE: &str = "local";
const DEFAULT_VMIDS: &str = "200-899";
/// Guests of a home lab; a bigger one says so.
const DEFAULT_CAPS: Caps = Caps { cores: 8, memory_mb: 16384, disk_gb: 256 };
/// What unprivileged containers of current distributions and Docker want.
const DEFAULT_FEATURES: [Feature; 2] = [Feature::Nesting, Feature::Keyctl];

fn boundary(section: &Section<'_>, on: bool, cx: &Context<'_>) -> Option<Boundary> {
    let pool = one::<PoolId>(section, "pool", DEFAULT_POOL, cx);
    let nodes = list(section, "nodes", cx);
    let storages: Option<Vec<StorageId>> = list(section, "storages", cx);
    let backup_storages = list(section, "backup_storages", cx);
    let template_storage = one(section, "template_storage", DEFAULT_TEMPLATE_STORAGE, cx);
    let bridges = list(section, "bridges", cx);
    let zones = zones(section, bridges.as_deref(), cx);
    let vlans = vlans(section, cx);
    let caps = section.section("caps").map_or(DEFAULT_CAPS, caps);
    let vmids = vmids(section, cx);
    let reserved_vmids = reserved_vmids(section, cx);
    let reserved_addresses = reserved_addresses(section, cx);
    let features = features(section, cx);
    let privileged = section.boolean("allow_privileged");
    let gpu = section.section("gpu").map(|s| gpu::policy(s, cx));
    if let Some(at) = privileged.as_ref().filter(|p| p.value) {
        let message = "root in a privileged container is root on its node but for the kernel's other barriers";
        cx.findings.warn_at(at, message);
    }
    if on {
        needed(section, "storages", storages.as_deref(), "[\"local-zfs\"]", cx);
        needed(section, "bridges", bridges.as_deref(), "[\"vmbr0\"]", cx);
    }
    Some(Boundary {
        pool: pool?,
        nodes: nodes?,
        storages: storages.filter(|s| !s.is_empty())?,
        backup_storages: backup_storages?,
        template_storage: template_storage?,
        bridges: bridges.filter(|b| !b.is_empty())?,
        zones: zones?,
        vlans: vlans?,
        caps,
        vmids: vmids?,
        reserved_vmids: reserved_vmids?,
        reserved_addresses: reserved_addresses?,
        features: features?,
        allow_privileged: privileged.is_some_and(|p| p.value),
        gpu: gpu.unwrap_or(Some(crate::domain::boundary::GpuPolicy::Nobody))?,
    })
}

/// `vnets`: which of the bridges are VNets, each as `ZONE/VNET`.
fn zones(
    section: &Section<'_>,
    bridges: Option<&[BridgeName]>,
    cx: &Context<'_>,
) -> Option<BTreeMap<BridgeName, ZoneId>> {
    let mut zones = Some(BTreeMap::new());
    for given in section.strings("vnets").unwrap_or_default() {
        let shown = show(&given.value);
        let pair = given.value.split_once('/').and_then(|(zone, vnet)| {
            Some((vnet.parse::<BridgeName>().ok()?, zone.parse::<ZoneId>().ok()?))
        });
        let Some((vnet, zone)) = pair else {
            let message = format!("\"{shown}\" is not ZONE/VNET, as in \"lab/vnet0\"");
            cx.findings.wrong_at(&given, message);
            zones = None;
            continue;
        };
        // A list of bridges that could not be read was reported already.
        if bridges.is_some_and(|all| !all.contains(&vnet)) {
            let message = format!("{vnet} is not in apps.bridges: list it there as well");
            cx.findings.wrong_at(&given, message);
            zones = None;
        } else if let Some(zones) = &mut zones {
            zones.insert(vnet, zone);
        }
    }
    zones
}

/// Reports a list that must not be empty; one that could not be read was reported already.
fn needed<T>(
    section: &Section<'_>,
    key: &'static str,
    list: Option<&[T]>,
    example: &str,
    cx: &Context<'_>,
) {
    if list.is_some_and(<[T]>::is_empty) {
        let place = section.node(key).map_or(section.place(), |n| (n.line, n.column));
        let message =
            format!("is needed while apps.enabled = true: what is approved, as in {example}");
        cx.findings.wrong(&section.path(key), place, message);
    }
}

/// One id, or its default.
fn one<T: FromStr<Err = InvalidId>>(
    section: &Section<'_>,
    key: &'static str,
    default: &str,
    cx: &Context<'_>,
) -> Option<T> {
    match section.filled(key) {
        None => default.parse().ok(),
        Some(given) => parsed(&given, cx),
    }
}

/// An id as it was written.
fn parsed<T: FromStr<Err = InvalidId>>(given: &Located<String>, cx: &Context<'_>) -> Option<T> {
    match given.value.trim().parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let message =
                format!("\"{}\" is no {}: {}", show(&given.value), error.kind, error.rule);
            cx.findings.wrong_at(given, message);
            None
        }
    }
}

/// A list of ids; `None` when one of them is wrong.
fn list<T: FromStr<Err = InvalidId> + PartialEq>(
    section: &Section<'_>,
    key: &'static str,
    cx: &Context<'_>,
) -> Option<Vec<T>> {
    let mut ids: Vec<T> = Vec::new();
    let mut good = true;
    for given in section.strings(key).unwrap_or_default() {
        match parsed(&given, cx) {
            None => good = false,
            Some(id) if ids.contains(&id) => {
                cx.findings.warn_at(&given, format!("\"{}\" is listed twice", show(&given.value)));
            }
            Some(id) => ids.push(id),
        }
    }
    good.then_some(ids)
}

/// Entries of a list that holds numbers and texts: each as text with its place.
fn entries(section: &Section<'_>, key: &'static str, cx: &Context<'_>) -> Vec<Located<String>> {
    let Some(node) = section.node(key) else { return Vec::new() };
    let single = std::slice::from_ref(node.value);
    let items = match &node.value.value {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        _ => single,
    };
    let text = |value: &Value| match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let mut found = Vec::new();
    for item in items {
        match text(&item.value) {
            Some(value) => found.push(Located {
                value,
                key: node.key.clone(),
                line: item.line,
                column: item.column,
            }),
            None => {
                let message = format!("numbers are expected, this is {}", item.value.kind());
                cx.findings.wrong(&node.key, (item.line, item.column), message);
            }
        }
    }
    found
}

fn vlans(section: &Section<'_>, cx: &Context<'_>) -> Option<Vec<u16>> {
    let given = entries(section, "vlans", cx);
    let mut tags = Vec::new();
    let mut good = true;
    for at in &given {
        match at.value.parse::<u16>().ok().filter(|tag| *tag <= 4094) {
            Some(tag) if tags.contains(&tag) => {
                cx.findings.warn_at(at, format!("{tag} is listed twice"));
            }
            Some(tag) => tags.push(tag),
            None => {
                good = false;
                let message =
                    format!("\"{}\" is no VLAN tag: 1 to 4094, or 0 for untagged", show(&at.value));
                cx.findings.wrong_at(at, message);
            }
        }
    }
    good.then_some(tags)
}

fn caps(section: Section<'_>) -> Caps {
    let caps = Caps {
        cores: section.within("cores", 1..=8192).map_or(DEFAULT_CAPS.cores, |n| n.value),
        memory_mb: section
            .within("memory_mb", 64..=16_777_216)
            .map_or(DEFAULT_CAPS.memory_mb, |n| n.value),
        disk_gb: section.within("disk_gb", 1..=1_048_576).map_or(DEFAULT_CAPS.disk_gb, |n| n.value),
    };
    section.finish();
    caps
}

/// `200-899`, or one number.
fn range(text: &str) -> Option<(Vmid, Vmid)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse::<Vmid>().ok()?, last.trim().parse::<Vmid>().ok()?);
    (first <= last).then_some((first, last))
}

fn vmids(section: &Section<'_>, cx: &Context<'_>) -> Option<RangeInclusive<Vmid>> {
    let given = section.filled("vmids");
    let text = given.as_ref().map_or(DEFAULT_VMIDS, |g| g.value.as_str());
    let found = range(text).map(|(first, last)| first..=last);
    if let (None, Some(given)) = (&found, &given) {
        let message = format!(
            "\"{}\" is no range of guest numbers, as in {DEFAULT_VMIDS}; 100 to 999999999",
            show(&given.value)
        );
        cx.findings.wrong_at(given, message);
    }
    found
}

fn reserved_vmids(section: &Section<'_>, cx: &Context<'_>) -> Option<Vec<Vmid>> {
    let mut numbers: Vec<Vmid> = Vec::new();
    let mut good = true;
    for at in entries(section, "reserved_vmids", cx) {
        let found = range(&at.value).map(|(first, last)| first.get()..=last.get());
        match found.filter(|r| r.end() - r.start() < MOST_RESERVED) {
            Some(range) => numbers.extend(range.filter_map(|n| Vmid::try_from(n).ok())),
            None => {
                good = false;
                let message = format!(
                    "\"{}\" is neither a guest number nor a range, as in \"210-219\", of at most {MOST_RESERVED}",
                    show(&at.value)
                );
                cx.findings.wrong_at(&at, message);
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    good.then_some(numbers)
}

/// Entries of one reserved range: each is kept in memory.
const MOST_RESERVED: u32 = 4096;

fn reserved_addresses(section: &Section<'_>, cx: &Context<'_>) -> Option<Vec<Ipv4Addr>> {
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    let mut good = true;
    for at in section.strings("reserved_addresses").unwrap_or_default() {
        let (first, last) = at.value.split_once('-').unwrap_or((&at.value, &at.value));
        let ends = || {
            let first = u32::from(first.trim().parse::<Ipv4Addr>().ok()?);
            let last = u32::from(last.trim().parse::<Ipv4Addr>().ok()?);
            (first <= last && last - first < MOST_RESERVED).then_some(first..=last)
        };
        match ends() {
            Some(range) => addresses.extend(range.map(Ipv4Addr::from)),
            None => {
                good = false;
                let message = format!(
                    "\"{}\" is neither an IPv4 address nor a range, as in 192.0.2.1-192.0.2.99, of at most \
                     {MOST_RESERVED}",
                    show(&at.value)
                );
                cx.findings.wrong_at(&at, message);
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    good.then_some(addresses)
}

fn features(section: &Section<'_>, cx: &Context<'_>) -> Option<Vec<Feature>> {
    let Some(given) = section.strings("features") else { return Some(DEFAULT_FEATURES.to_vec()) };
    let all = [Feature::Nesting, Feature::Keyctl, Feature::Fuse];
    let mut features = Vec::new();
    let mut good = true;
    for at in &given {
        match all.iter().find(|f| f.as_str() == at.value) {
            Some(feature) if features.contains(feature) => {
                cx.findings.warn_at(at, format!("\"{}\" is listed twice", at.value));
            }
            Some(feature) => features.push(*feature),
            None => {
                good = false;
                let known: Vec<&str> = all.iter().map(|f| f.as_str()).collect();
                let message =
                    format!("\"{}\" is not known; allowed: {}", show(&at.value), known.join(", "));
                cx.findings.wrong_at(at, message);
            }
        }
    }
    good.then_some(features)
}

/// `[apps.defaults]`; what is not given is the first approved one.
fn defaults(
    section: &Section<'_>,
    boundary: Option<&Boundary>,
    cx: &Context<'_>,
) -> Option<Defaults> {
    let below = section.section("defaults");
    let defaults = match &below {
        None => boundary.map(|b| Defaults {
            node: None,
            storage: b.storages[0].clone(),
            bridge: b.bridges[0].clone(),
            domain: None,
            monitoring: false,
        }),
        Some(below) => {
            let node = below.filled("node").map(|at| (parsed(&at, cx), at));
            let storage = below.filled("storage").map(|at| (parsed(&at, cx), at));
            let bridge = below.filled("bridge").map(|at| (parsed(&at, cx), at));
            let domain = below.filled("domain").map(|at| (domain_name(&at.value), at));
            let monitoring = below.boolean("monitoring").is_some_and(|m| m.value);
            if let Some((Err(reason), at)) = &domain {
                cx.findings.wrong_at(at, format!("\"{}\" is no domain: {reason}", show(&at.value)));
            }
            boundary.map(|b| {
                if let Some((Some(node), at)) = &node
                    && !b.allows_node(node)
                {
                    cx.findings.wrong_at(at, format!("{node} is not one of apps.nodes"));
                }
                Defaults {
                    node: node.and_then(|(node, _)| node),
                    storage: approved(storage, &b.storages, "apps.storages", cx),
                    bridge: approved(bridge, &b.bridges, "apps.bridges", cx),
                    domain: domain.and_then(|(domain, _)| domain.ok()),
                    monitoring,
                }
            })
        }
    };
    if let Some(below) = below {
        below.finish();
    }
    defaults
}

/// A default that must be one of the approved; the first of these otherwise.
fn approved<T: Clone + PartialEq + std::fmt::Display>(
    given: Option<(Option<T>, Located<String>)>,
    list: &[T],
    name: &str,
    cx: &Context<'_>,
) -> T {
    match given {
        Some((Some(value), _)) if list.contains(&value) => value,
        Some((Some(value), at)) => {
            cx.findings.wrong_at(&at, format!("{value} is not one of {name}"));
            value
        }
        _ => list[0].clone(),
    }
}

fn backups(
    section: Section<'_>,
    boundary: Option<&Boundary>,
    cx: &Context<'_>,
) -> Option<BackupSchedule> {
    let given = section.filled("storage");
    if given.is_none() {
        section.missing("storage", "one of apps.backup_storages");
    }
    let storage = given.as_ref().and_then(|at| parsed::<StorageId>(at, cx));
    if let (Some(storage), Some(at), Some(boundary)) = (&storage, &given, boundary)
        && !boundary.backup_storages.contains(storage)
    {
        cx.findings.wrong_at(at, format!("{storage} is not one of apps.backup_storages"));
    }
    let hours = section.within("every_hours", 1..=8760).map_or(24, |h| h.value);
    let keep = section.within("keep", 1..=1000).map_or(7, |k| k.value);
    section.finish();
    let every = Duration::from_secs(u64::from(hours) * 3600);
    Some(BackupSchedule { storage: storage?, every, keep })
}

fn bind_sources(section: &Section<'_>, cx: &Context<'_>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for at in section.strings("bind_sources").unwrap_or_default() {
        let path = Path::new(&at.value);
        let plain = path.is_absolute()
            && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        let first = path.components().nth(1).map(|c| c.as_os_str().to_string_lossy().into_owned());
        let shown = show(&at.value);
        if !plain {
            let message = format!("\"{shown}\" is no absolute path without '..'");
            cx.findings.wrong_at(&at, message);
        } else if first.is_none_or(|first| SYSTEM.contains(&first.as_str())) {
            let message =
                format!("\"{shown}\" is part of the node's system; name a folder of data");
            cx.findings.wrong_at(&at, message);
        } else {
            folders.push(path.to_owned());
        }
    }
    folders
}

/// Folders of a node that no guest may see.
const SYSTEM: [&str; 14] = [
    "bin", "boot", "dev", "etc", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "tmp",
    "usr", "var",
];

fn stack(section: Section<'_>, cx: &Context<'_>) -> Option<StackEntry> {
    let server_type = section.filled("server_type");
    let app = section.filled("app");
    if server_type.is_none() {
        section.missing("server_type", "the name of a server type");
    }
    if app.is_none() {
        section.missing("app", "the id of an app");
    }
    let server_type = server_type.and_then(|at| parsed::<ServerTypeName>(&at, cx));
    let app = app.and_then(|at| parsed::<AppId>(&at, cx));
    let mut fields = BTreeMap::new();
    if let Some(table) = section.section("fields") {
        for entry in table.entries() {
            let value = match &entry.node.value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                other => {
                    let message = format!(
                        "a text, a number or true/false is expected, this is {}",
                        other.kind()
                    );
                    let key = table.path(&show(&entry.key));
                    cx.findings.wrong(&key, (entry.line, entry.column), message);
                    continue;
                }
            };
            fields.insert(entry.key.clone(), value);
        }
    }
    section.finish();
    Some(StackEntry { server_type: server_type?, app: app?, fields })
}
