//! Hosts as a file: written for spreadsheets (CSV) and for people who keep files (TOML), read back, and compared with what
//! there is.
//!
//! A file names hosts; those that it does not name stay as they are. It holds what an operator says of a host when
//! registering it: nothing that a machine told, no state, no power method, no secret.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::form::FieldError;
use crate::domain::host::{Host, HostOverrides, StaticNetwork};
use crate::domain::id::{HostId, Hostname, ServerTypeName};
use crate::domain::mac::Mac;
use crate::domain::server_type::DiskSelection;
use crate::limits::operator::{MOST_MACS, ROSTER_ROWS};
use crate::plan::answer::{DiskChoice, Layer, layer};
use crate::plan::host_text;

/// The columns of a CSV file.
const COLUMNS: [&str; 8] =
    ["hostname", "macs", "server_type", "disk", "address", "gateway", "dns", "answer"];

/// The forms of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 4180, with a line of column names.
    Csv,
    /// `[[host]]` tables.
    Toml,
}

/// One host of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its name.
    pub hostname: Hostname,
    /// Its addresses, the one it boots from first.
    pub macs: Vec<Mac>,
    /// Its kind.
    pub server_type: ServerTypeName,
    /// The disk that may be erased, when the host names its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_disk: Option<DiskSelection>,
    /// Its fixed network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<StaticNetwork>,
    /// Its own answer keys.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub answer: Map<String, Value>,
    /// Which of these three it takes away.
    #[serde(skip)]
    pub emptied: Emptied,
}

/// What a file takes away from a host: an empty cell says so, a column that is not there does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Emptied {
    /// The host's own disk.
    pub disk: bool,
    /// Its fixed network.
    pub network: bool,
    /// Its own answer keys.
    pub answer: bool,
}

impl Entry {
    /// What a file says of this host.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        Self {
            hostname: host.hostname.clone(),
            macs: host.macs.clone(),
            server_type: host.server_type.clone(),
            boot_disk: host.overrides.boot_disk.clone(),
            network: host.overrides.network.clone(),
            answer: host.overrides.answer.clone(),
            emptied: Emptied::default(),
        }
    }

    /// What goes over the server type: what the file says, and what it does not speak of as it was. A file without a column
    /// of disks must not give a host another disk to erase.
    #[must_use]
    pub fn overrides(&self, before: &HostOverrides) -> HostOverrides {
        let Emptied { disk, network, answer } = self.emptied;
        let old_disk = before.boot_disk.clone().filter(|_| !disk);
        let old_network = before.network.clone().filter(|_| !network);
        let keeps_answer = self.answer.is_empty() && !answer;
        HostOverrides {
            boot_disk: self.boot_disk.clone().or(old_disk),
            network: self.network.clone().or(old_network),
            answer: if keeps_answer { before.answer.clone() } else { self.answer.clone() },
        }
    }

    fn check(&self, row: usize, wrong: &mut Vec<FieldError>) {
        let mut error = |message: String| wrong.push(at(row, &message));
        if self.macs.is_empty() || self.macs.len() > MOST_MACS {
            error(format!("1 to {MOST_MACS} MAC addresses are expected"));
        }
        if let Some(disk) = &self.boot_disk
            && *disk != DiskSelection::PerHost
            && let Err(rule) = DiskChoice::of(disk)
        {
            error(format!("disk: {rule}"));
        }
        if let Some(net) = &self.network
            && let Err(refusal) =
                host_text::network(&net.cidr, &net.gateway.to_string(), &net.dns.to_string())
        {
            error(refusal.to_string());
        }
        if let Err(problems) = layer::flatten(&self.answer, Layer::Host) {
            for problem in problems {
                error(format!("answer: {}: {}", problem.key, problem.rule));
            }
        }
    }
}

/// An error in a row; the first host of a file is row 1.
fn at(row: usize, message: &str) -> FieldError {
    FieldError::new(format!("row {row}"), message)
}

fn whole(message: impl Into<String>) -> Vec<FieldError> {
    vec![FieldError::new("file", message)]
}

/// Writes hosts as a file.
///
/// # Errors
/// A host's answer keys have a value that the form cannot hold.
pub fn write(hosts: &[Host], format: Format) -> Result<String, String> {
    let entries: Vec<Entry> = hosts.iter().map(Entry::of).collect();
    match format {
        Format::Toml => {
            #[derive(Serialize)]
            struct File {
                host: Vec<Entry>,
            }
            toml::to_string_pretty(&File { host: entries }).map_err(|e| e.to_string())
        }
        Format::Csv => write_csv(&entries).map_err(|e| e.to_string()),
    }
}

fn write_csv(entries: &[Entry]) -> Result<String, csv::Error> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for entry in entries {
        let macs: Vec<String> = entry.macs.iter().map(ToString::to_string).collect();
        let network = |part: &dyn Fn(&StaticNetwork) -> String| {
            entry.network.as_ref().map(part).unwrap_or_default()
        };
        let answer = if entry.answer.is_empty() {
            String::new()
        } else {
            Value::Object(entry.answer.clone()).to_string()
        };
        let cells = [
            entry.hostname.to_string(),
            macs.join(" "),
            entry.server_type.to_string(),
            entry.boot_disk.as_ref().map(disk_text).unwrap_or_default(),
            network(&|n| n.cidr.clone()),
            network(&|n| n.gateway.to_string()),
            network(&|n| n.dns.to_string()),
            answer,
        ];
        writer.write_record(cells.map(|cell| harmless(&cell)))?;
    }
    let bytes = writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Spreadsheets run cells that begin like this as formulas; with an apostrophe they show them as text. A cell that begins
/// with apostrophes before such a sign gets one more, so that reading takes exactly one away.
fn harmless(cell: &str) -> String {
    if is_formula(cell.trim_start_matches('\'')) { format!("'{cell}") } else { cell.to_owned() }
}

fn is_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%'])
}

fn plain(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| is_formula(rest.trim_start_matches('\''))).unwrap_or(cell)
}

fn disk_text(disk: &DiskSelection) -> String {
    match disk {
        DiskSelection::Property { property, value } => format!("{property}={value}"),
        DiskSelection::Devices { names } => {
            names.iter().map(|name| format!("/dev/{name}")).collect::<Vec<_>>().join(" ")
        }
        DiskSelection::PerHost => "per-host".to_owned(),
    }
}

fn disk(text: &str) -> Result<Option<DiskSelection>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text == "per-host" {
        return Ok(Some(DiskSelection::PerHost));
    }
    if text.starts_with("/dev/") {
        let names =
            text.split_whitespace().map(|n| n.trim_start_matches("/dev/").to_owned()).collect();
        return Ok(Some(DiskSelection::Devices { names }));
    }
    let (property, value) = text.split_once('=').ok_or_else(|| {
        "disk: ID_SERIAL_SHORT=VALUE, /dev/NAME or nothing is expected".to_owned()
    })?;
    Ok(Some(DiskSelection::Property { property: property.to_owned(), value: value.to_owned() }))
}

/// Reads a file: its hosts with their rows, or everything that is wrong with it.
///
/// # Errors
/// By row, all at once.
pub fn read(text: &str, format: Format) -> Result<Vec<(usize, Entry)>, Vec<FieldError>> {
    let mut wrong = Vec::new();
    let entries = match format {
        Format::Csv => read_csv(text, &mut wrong),
        Format::Toml => read_toml(text, &mut wrong),
    };
    if entries.len() > ROSTER_ROWS {
        return Err(whole(format!(
            "{} hosts are more than the {ROSTER_ROWS} of one file",
            entries.len()
        )));
    }
    for (row, entry) in &entries {
        entry.check(*row, &mut wrong);
    }
    if wrong.is_empty() && entries.is_empty() {
        return Err(whole("it names no host"));
    }
    if wrong.is_empty() { Ok(entries) } else { Err(wrong) }
}

fn read_toml(text: &str, wrong: &mut Vec<FieldError>) -> Vec<(usize, Entry)> {
    let mut document: toml::Table = match text.parse() {
        Ok(document) => document,
        Err(error) => {
            let line: toml::de::Error = error;
            wrong.extend(whole(line.message().to_owned()));
            return Vec::new();
        }
    };
    let hosts = document.remove("host");
    if let Some(other) = document.keys().next() {
        wrong.extend(whole(format!(
            "unknown key '{}'; [[host]] is expected",
            other.chars().take(40).collect::<String>()
        )));
    }
    let Some(toml::Value::Array(hosts)) = hosts else {
        wrong.extend(whole("[[host]] is expected"));
        return Vec::new();
    };
    let mut entries = Vec::new();
    for (n, host) in hosts.into_iter().enumerate() {
        match host.try_into::<Entry>() {
            Ok(entry) => entries.push((n + 1, entry)),
            Err(error) => wrong.push(at(n + 1, error.message())),
        }
    }
    entries
}

fn read_csv(text: &str, wrong: &mut Vec<FieldError>) -> Vec<(usize, Entry)> {
    // Spreadsheets begin UTF-8 files with this mark, and in some countries use semicolons.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().next().unwrap_or_default();
    let delimiter = if first.contains(';') && !first.contains(',') { b';' } else { b',' };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::Headers)
        .flexible(true)
        .from_reader(text.as_bytes());
    let columns: Vec<String> = match reader.headers() {
        Ok(names) => names.iter().map(str::to_lowercase).collect(),
        Err(error) => {
            wrong.extend(whole(error.to_string()));
            return Vec::new();
        }
    };
    for (n, column) in columns.iter().enumerate() {
        if !COLUMNS.contains(&column.as_str()) {
            let column: String = column.chars().filter(|c| !c.is_control()).take(40).collect();
            wrong
                .extend(whole(format!("unknown column '{column}'; known: {}", COLUMNS.join(", "))));
        } else if columns.iter().take(n).any(|before| before == column) {
            wrong.extend(whole(format!("the column '{column}' is there twice")));
        }
    }
    for needed in ["hostname", "macs", "server_type"] {
        if !columns.iter().any(|c| c == needed) {
            wrong.extend(whole(format!("the column '{needed}' is missing")));
        }
    }
    if !wrong.is_empty() {
        return Vec::new();
    }
    let mut entries = Vec::new();
    for (n, record) in reader.records().enumerate() {
        let row = n + 1;
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                wrong.push(at(row, &error.to_string()));
                continue;
            }
        };
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if record.len() > columns.len() {
            wrong.push(at(row, "it has more cells than there are columns"));
            continue;
        }
        let cells: HashMap<&str, &str> =
            columns.iter().map(String::as_str).zip(record.iter().map(plain)).collect();
        match entry(&cells) {
            Ok(entry) => entries.push((row, entry)),
            Err(messages) => wrong.extend(messages.iter().map(|message| at(row, message))),
        }
    }
    entries
}

fn entry(cells: &HashMap<&str, &str>) -> Result<Entry, Vec<String>> {
    let cell = |name: &str| cells.get(name).copied().unwrap_or_default();
    let mut wrong = Vec::new();
    let hostname = keep(host_text::hostname(cell("hostname")), &mut wrong);
    let macs = cell("macs").split(|c: char| c.is_whitespace() || c == ',' || c == ';');
    let macs = keep(host_text::macs(macs), &mut wrong);
    let server_type = keep(host_text::server_type(cell("server_type")), &mut wrong);
    let boot_disk = keep(disk(cell("disk").trim()), &mut wrong);
    let network =
        keep(host_text::network(cell("address"), cell("gateway"), cell("dns")), &mut wrong);
    let answer = match cell("answer").trim() {
        "" => Ok(Map::new()),
        text => serde_json::from_str(text).map_err(|_| "answer: a JSON object is expected"),
    };
    let answer = keep(answer, &mut wrong);
    let is_emptied = |name: &str| cells.get(name).is_some_and(|cell| cell.trim().is_empty());
    let emptied = Emptied {
        disk: is_emptied("disk"),
        network: is_emptied("address"),
        answer: is_emptied("answer"),
    };
    match (hostname, macs, server_type, boot_disk, network, answer) {
        (
            Some(hostname),
            Some(macs),
            Some(server_type),
            Some(boot_disk),
            Some(network),
            Some(answer),
        ) => Ok(Entry { hostname, macs, server_type, boot_disk, network, answer, emptied }),
        _ => Err(wrong),
    }
}

fn keep<T, E: ToString>(parsed: Result<T, E>, wrong: &mut Vec<String>) -> Option<T> {
    parsed.map_err(|error| wrong.push(error.to_string())).ok()
}

/// What a row of a file does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "RosterChange")]
pub struct Change {
    /// Its row.
    pub row: usize,
    /// The host's name.
    pub hostname: Hostname,
    /// What becomes of it.
    pub becomes: Becomes,
    /// Which of its values change, in words.
    pub values: Vec<&'static str>,
}

/// What becomes of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Becomes {
    /// It is registered.
    New,
    /// It is changed.
    Changed,
    /// It is like that already.
    Same,
}

/// Compares a file with what there is.
///
/// # Errors
/// By row: unknown server types, names and addresses that are there twice, hosts that are being rebuilt.
pub fn compare(
    entries: &[(usize, Entry)],
    hosts: &[Host],
    is_known: &dyn Fn(&ServerTypeName) -> bool,
) -> Result<Vec<Change>, Vec<FieldError>> {
    let by_name: HashMap<&Hostname, &Host> = hosts.iter().map(|h| (&h.hostname, h)).collect();
    let owner: HashMap<Mac, (HostId, &Hostname)> =
        hosts.iter().flat_map(|h| h.macs.iter().map(move |m| (*m, (h.id, &h.hostname)))).collect();
    let (mut names, mut macs) = (HashMap::new(), HashMap::new());
    let (mut changes, mut wrong) = (Vec::new(), Vec::new());
    for (row, entry) in entries {
        let mut error = |message: String| wrong.push(at(*row, &message));
        if let Some(first) = names.insert(&entry.hostname, row) {
            error(format!("{} is in row {first} already", entry.hostname));
        }
        let known = by_name.get(&entry.hostname);
        for mac in &entry.macs {
            if let Some(first) = macs.insert(*mac, row) {
                error(format!("the address {mac} is in row {first} already"));
            }
            if let Some((id, name)) = owner.get(mac)
                && known.is_none_or(|h| h.id != *id)
            {
                error(format!("the address {mac} belongs to {name}"));
            }
        }
        if !is_known(&entry.server_type) {
            error(format!("there is no server type '{}'", entry.server_type));
        }
        let values = known.map(|host| differences(host, entry)).unwrap_or_default();
        if let Some(host) =
            known.filter(|h| !values.is_empty() && (h.active_job.is_some() || h.state.is_busy()))
        {
            error(format!(
                "{} cannot be changed: a rebuild is running ({})",
                host.hostname, host.state
            ));
        }
        let becomes = match known {
            None => Becomes::New,
            Some(_) if values.is_empty() => Becomes::Same,
            Some(_) => Becomes::Changed,
        };
        changes.push(Change { row: *row, hostname: entry.hostname.clone(), becomes, values });
    }
    if wrong.is_empty() { Ok(changes) } else { Err(wrong) }
}

fn differences(old: &Host, new: &Entry) -> Vec<&'static str> {
    let (before, after) = (&old.overrides, new.overrides(&old.overrides));
    [
        ("MAC addresses", old.macs != new.macs),
        ("server type", old.server_type != new.server_type),
        ("disk to be erased", before.boot_disk != after.boot_disk),
        ("network", before.network != after.network),
        ("answer keys", before.answer != after.answer),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod test;
