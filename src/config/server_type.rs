//! Server types: one TOML file each in `server-types/`, or a map in one YAML file.

use std::collections::BTreeMap;
use std::path::Path;

use super::ServerTypesSource;
use super::document::{Node, Value};
use super::problem::Problem;
use super::read::{Findings, Located, Section, parse as parse_document, show};
use crate::domain::id::{Hostname, ServerTypeName};
use crate::domain::server_type::{DiskSelection, Matching, ServerType};
use crate::plan::answer::{DiskChoice, Layer, check_nic, layer};

/// Validated server types by name.
pub type ServerTypes = BTreeMap<ServerTypeName, ServerType>;

/// Reads all server types from where the configuration says. Good ones are returned even when others are broken.
#[must_use]
pub fn load(source: &ServerTypesSource) -> (ServerTypes, Vec<Problem>) {
    match source {
        ServerTypesSource::Directory(dir) => {
            let mut problems = Vec::new();
            let mut types = ServerTypes::new();
            for (file, text) in super::read::toml_files(dir, &mut problems) {
                match parse(&file, &text) {
                    Ok(server_type) => {
                        types.insert(server_type.name.clone(), server_type);
                    }
                    Err(broken) => problems.extend(broken),
                }
            }
            (types, problems)
        }
        ServerTypesSource::File(file) => match std::fs::read_to_string(file) {
            Ok(text) => parse_map(file, &text),
            Err(error) => {
                let findings = Findings::of(file);
                findings.wrong("", (0, 0), format!("cannot be read: {error}"));
                (ServerTypes::new(), findings.into_parts().0)
            }
        },
    }
}

/// Reads one TOML file; the stem is the type's name.
///
/// # Errors
/// Everything that is wrong with it, with lines.
pub fn parse(file: &Path, text: &str) -> Result<ServerType, Vec<Problem>> {
    let findings = Findings::of(file);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = type_name(&stem, (0, 0), &findings);
    let parsed = parse_document(file, text, &findings).and_then(|node| {
        let root = Section::root(&node, &findings)?;
        server_type(name?, root, &findings)
    });
    match parsed {
        Some(server_type) if findings.is_clean() => Ok(server_type),
        _ => Err(findings.into_parts().0),
    }
}

/// Reads the YAML shape: a map from name to type, at the top or below `server_types`.
#[must_use]
pub fn parse_map(file: &Path, text: &str) -> (ServerTypes, Vec<Problem>) {
    let findings = Findings::of(file);
    let mut types = ServerTypes::new();
    if let Some(node) = parse_document(file, text, &findings)
        && let Some(root) = Section::root(&node, &findings)
    {
        let below = root.section("server_types");
        for entry in below.as_ref().unwrap_or(&root).entries() {
            let place = (entry.line, entry.column);
            let Some(name) = type_name(&entry.key, place, &findings) else { continue };
            let Some(section) = Section::of(entry.key.clone(), &entry.node, &findings) else {
                continue;
            };
            let own = Findings::of(file);
            let section = section.reporting_to(&own);
            let parsed = server_type(name, section, &own);
            if let Some(parsed) = parsed.filter(|_| own.is_clean()) {
                types.insert(parsed.name.clone(), parsed);
            }
            findings.absorb(own);
        }
    }
    (types, findings.into_parts().0)
}

fn type_name(text: &str, place: (usize, usize), findings: &Findings) -> Option<ServerTypeName> {
    text.parse().map_err(|error| findings.wrong("", place, format!("{error}"))).ok()
}

fn server_type(
    name: ServerTypeName,
    section: Section<'_>,
    findings: &Findings,
) -> Option<ServerType> {
    let display_name = section.filled("display_name").map(|d| d.value);
    let boot_disk = match section.node("boot_disk") {
        Some(node) => boot_disk(&node, findings),
        None => {
            section.missing(
                "boot_disk",
                "name the disk that may be wiped: { property = \"ID_SERIAL_SHORT\", value = \"…\" }, { devices = [\"nvme0n1\"] } or \"per-host\"",
            );
            None
        }
    };
    let management_nic = section.filled("management_nic");
    if let Some(nic) = &management_nic
        && let Err(rule) = check_nic(&nic.value)
    {
        findings.wrong_at(nic, rule);
    }
    let gpu = section.boolean("gpu").is_some_and(|g| g.value);
    let pools = pools(&section, findings);
    let prefix = section.filled("hostname_prefix");
    if let Some(prefix) = &prefix
        && format!("{}1", prefix.value).parse::<Hostname>().is_err()
    {
        let message = format!(
            "\"{}\" cannot begin a host name: a-z, 0-9 and '-', beginning with a letter or digit",
            show(&prefix.value)
        );
        findings.wrong_at(prefix, message);
    }
    let domain = section.filled("domain");
    if let Some(domain) = &domain
        && !domain.value.split('.').all(is_label)
    {
        let message =
            format!("\"{}\" is not a DNS domain, as in lab.example.net", show(&domain.value));
        findings.wrong_at(domain, message);
    }
    let template = section.filled("answer_template");
    if let Some(template) = &template
        && let Err(error) = template.value.parse::<ServerTypeName>()
    {
        findings.wrong_at(template, format!("is not a template name: {}", error.rule));
    }
    let min_memory_mib = section.integer("min_memory_mib").and_then(|given| {
        let memory = u64::try_from(given.value).ok().filter(|m| (1..=64 * 1024 * 1024).contains(m));
        if memory.is_none() {
            findings.wrong_at(&given, format!("{} is not an amount of memory in MiB", given.value));
        }
        memory
    });
    let boot_on_rebuild = section.boolean("boot_on_rebuild").is_some_and(|b| b.value);
    let matching = matching(&section, findings);
    let labels = labels(&section, findings);
    let answer = answer(&section, findings);
    section.finish();
    Some(ServerType {
        display_name: display_name.unwrap_or_else(|| name.to_string()),
        name,
        boot_disk: boot_disk?,
        management_nic: management_nic.map(|n| n.value),
        gpu,
        pools,
        hostname_prefix: prefix.map_or_else(|| DEFAULT_PREFIX.to_owned(), |p| p.value),
        domain: domain.map_or_else(|| DEFAULT_DOMAIN.to_owned(), |d| d.value),
        answer_template: template.map_or_else(|| DEFAULT_TEMPLATE.to_owned(), |t| t.value),
        answer,
        min_memory_mib,
        matching,
        boot_on_rebuild,
        labels,
    })
}

const DEFAULT_PREFIX: &str = "pve";
/// The installer needs a full name; this one is reserved for private networks (ICANN, 2024).
const DEFAULT_DOMAIN: &str = "internal";
const DEFAULT_TEMPLATE: &str = "ext4-lvm";

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// All spellings of a boot disk: `"per-host"`, `"/dev/sda"`, `"ID_SERIAL_SHORT=…"`, a bare serial number, or a table.
fn boot_disk(at: &Located<&Node>, findings: &Findings) -> Option<DiskSelection> {
    let selection = match &at.value.value {
        Value::String(text) => disk_from_text(text.trim()),
        Value::Table(_) => {
            let table = Section::of(at.key.clone(), at.value, findings)?;
            let property = table.filled("property");
            let value = table.filled("value");
            let devices = table.strings("devices");
            table.finish();
            match (property, value, devices) {
                (Some(property), Some(value), None) => {
                    DiskSelection::Property { property: property.value, value: value.value }
                }
                (None, None, Some(names)) => {
                    DiskSelection::Devices { names: names.into_iter().map(|n| n.value).collect() }
                }
                _ => {
                    let message = "either property and value, or devices, is expected: \
                                   { property = \"ID_SERIAL_SHORT\", value = \"…\" } or { devices = [\"nvme0n1\"] }";
                    findings.wrong_at(at, message);
                    return None;
                }
            }
        }
        other => {
            let message = format!("a string or a table is expected, this is {}", other.kind());
            findings.wrong_at(at, message);
            return None;
        }
    };
    if selection != DiskSelection::PerHost
        && let Err(rule) = DiskChoice::of(&selection)
    {
        findings.wrong_at(at, rule);
        return None;
    }
    Some(bare_names(selection))
}

fn disk_from_text(text: &str) -> DiskSelection {
    if text == "per-host" {
        return DiskSelection::PerHost;
    }
    if let Some((property, value)) = text.split_once('=') {
        let property = match property.trim() {
            "SERIAL" => "ID_SERIAL_SHORT",
            other => other,
        };
        return DiskSelection::Property {
            property: property.to_owned(),
            value: value.trim().to_owned(),
        };
    }
    // Serial numbers have capitals; a name in lower case or with a path is meant as a device and judged as one.
    let serial = text.len() >= 6
        && text.chars().any(|c| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if serial {
        return DiskSelection::Property {
            property: "ID_SERIAL_SHORT".to_owned(),
            value: text.to_owned(),
        };
    }
    DiskSelection::Devices { names: vec![text.to_owned()] }
}

/// Names are stored without `/dev/`.
fn bare_names(selection: DiskSelection) -> DiskSelection {
    match selection {
        DiskSelection::Devices { names } => DiskSelection::Devices {
            names: names.iter().map(|n| n.strip_prefix("/dev/").unwrap_or(n).to_owned()).collect(),
        },
        other => other,
    }
}

fn pools(section: &Section<'_>, findings: &Findings) -> Vec<String> {
    let mut pools = Vec::new();
    for pool in section.strings("pools").unwrap_or_default() {
        // zpool(8): begins with a letter; these words have a meaning of their own in `zpool create`.
        let reserved = ["mirror", "raidz", "draid", "spare", "log", "rpool"];
        let legal = pool.value.starts_with(|c: char| c.is_ascii_alphabetic())
            && pool.value.len() <= 255
            && pool.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
            && !reserved.iter().any(|word| pool.value == *word);
        if !legal {
            let message = format!(
                "\"{}\" is not the name of a data pool: letters, digits and _-.: beginning with a letter; rpool is the system's own",
                show(&pool.value)
            );
            findings.wrong_at(&pool, message);
        } else if pools.contains(&pool.value) {
            findings.wrong_at(&pool, format!("\"{}\" is listed twice", pool.value));
        } else {
            pools.push(pool.value);
        }
    }
    pools
}

/// `[match]`: at least one property of the hardware, or every machine would be of this type.
fn matching(section: &Section<'_>, findings: &Findings) -> Option<Matching> {
    let table = section.section("match")?;
    let text = |key| {
        let given = table.filled(key)?;
        let legal = given.value.len() <= 100 && !given.value.chars().any(char::is_control);
        if !legal {
            findings.wrong_at(&given, "at most 100 characters on one line are expected");
        } else if given.value.chars().all(|c| c == '*') {
            findings.wrong_at(&given, "matches every machine; leave it out instead");
        }
        Some(given.value)
    };
    let mut ouis = Vec::new();
    for oui in table.strings("oui").unwrap_or_default() {
        match parse_oui(&oui.value) {
            Some(parsed) if ouis.contains(&parsed) => {
                findings.wrong_at(&oui, format!("\"{}\" is listed twice", show(&oui.value)));
            }
            Some(parsed) => ouis.push(parsed),
            None => {
                let message = format!(
                    "\"{}\" is not the first half of a MAC address, as in \"52:54:00\"",
                    show(&oui.value)
                );
                findings.wrong_at(&oui, message);
            }
        }
    }
    let memory = |key| {
        let given = table.integer(key)?;
        let memory = u64::try_from(given.value).ok().filter(|m| (1..=64 * 1024 * 1024).contains(m));
        if memory.is_none() {
            findings.wrong_at(&given, format!("{} is not an amount of memory in MiB", given.value));
        }
        memory.map(|memory| (given, memory))
    };
    let (least, most) = (memory("min_memory_mib"), memory("max_memory_mib"));
    if let (Some((_, least)), Some((at, most))) = (&least, &most)
        && least > most
    {
        findings.wrong_at(at, format!("is less than min_memory_mib = {least}: no machine fits"));
    }
    let register = table.boolean("register").is_some_and(|r| r.value);
    let matching = Matching {
        vendor: text("vendor"),
        product: text("product"),
        ouis,
        min_memory_mib: least.map(|(_, memory)| memory),
        max_memory_mib: most.map(|(_, memory)| memory),
        register,
    };
    if (Matching { register: false, ..matching.clone() }) == Matching::default()
        && findings.is_clean()
    {
        let message =
            "names no property, so every machine would match; name vendor, product, oui or memory";
        findings.wrong(&section.path("match"), table.place(), message);
    }
    table.finish();
    Some(matching)
}

fn parse_oui(text: &str) -> Option<[u8; 3]> {
    let digits: String = text.trim().chars().filter(|c| !matches!(c, ':' | '-')).collect();
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let [_, a, b, c] = u32::from_str_radix(&digits, 16).ok()?.to_be_bytes();
    Some([a, b, c])
}

fn labels(section: &Section<'_>, findings: &Findings) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(table) = section.section("labels") else { return labels };
    for entry in table.entries() {
        let key = table.path(&show(&entry.key));
        let name_ok = !entry.key.is_empty()
            && entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        match &entry.node.value {
            Value::String(text) if name_ok && !text.chars().any(char::is_control) => {
                labels.insert(entry.key.clone(), text.clone());
            }
            Value::String(_) => {
                let message =
                    "a label is a name of letters, digits, '_' and '-' with a text on one line";
                findings.wrong(&key, (entry.line, entry.column), message);
            }
            other => {
                let message = format!("a string is expected, this is {}", other.kind());
                findings.wrong(&key, (entry.line, entry.column), message);
            }
        }
    }
    labels
}

/// `[answer.*]`: checked against the keys that a layer may set, kept as it is written.
fn answer(
    section: &Section<'_>,
    findings: &Findings,
) -> serde_json::Map<String, serde_json::Value> {
    let Some(node) = section.node("answer") else { return serde_json::Map::new() };
    let map = match node.value.value.to_json() {
        Some(serde_json::Value::Object(map)) => map,
        Some(serde_json::Value::Null) => return serde_json::Map::new(),
        _ => {
            findings.wrong_at(&node, "a table of answer keys is expected, as in [answer.global]");
            return serde_json::Map::new();
        }
    };
    if let Err(problems) = layer::flatten(&map, Layer::ServerType) {
        for problem in problems {
            let (line, column) = node.value.locate(&problem.key);
            findings.wrong(&format!("{}.{}", node.key, problem.key), (line, column), problem.rule);
        }
    }
    map
}
