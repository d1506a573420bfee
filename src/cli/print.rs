//! What commands print: tables for people, JSON for programs. A closed pipe is not an error.

use std::io::Write as _;

use serde_json::Value;

use super::client::ClientError;
use super::{
    ClusterCommand, Command, DbCommand, HostCommand, ImageCommand, JobCommand, NotifyCommand,
    PowerCommand, SightingCommand, notify,
};

pub(super) fn line(text: &str) {
    // `ironhatch job list | head` closes the pipe early.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints an error with what to do about it.
pub(super) fn error(error: &ClientError, json: bool) {
    let mut out = std::io::stderr();
    if let (ClientError::Refused { problem, .. }, true) = (error, json) {
        let _ = writeln!(out, "{problem}");
        return;
    }
    let _ = writeln!(out, "ironhatch: {error}");
    let hint = match error {
        ClientError::Refused { hint, .. } => hint.as_str(),
        ClientError::Unreachable { .. } => {
            "is it running, and may this user read its data directory? (systemctl status ironhatch)"
        }
        ClientError::Usage(_) => "see --help",
        ClientError::Broken(_) => "see the appliance's log",
    };
    if !hint.is_empty() {
        let _ = writeln!(out, "  {hint}");
    }
    if let ClientError::Refused { problem, .. } = error {
        for (field, message) in
            problem.get("errors").and_then(Value::as_object).into_iter().flatten()
        {
            let message: String =
                message.as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
            let _ = writeln!(out, "  {field}: {message}");
        }
    }
    if let ClientError::Refused { problem, .. } = error
        && let Some(job) = problem.get("job").and_then(Value::as_str)
    {
        let _ = writeln!(out, "  ironhatch job follow {job}");
    }
}

/// A value at a path like `failure.reason`, as text; control characters of hostile names do not reach the terminal.
pub(super) fn text(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |v, name| v.get(name));
    let text = match found {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => all
            .iter()
            .map(|v| v.as_str().map_or(v.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        Some(other) => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A table with aligned columns.
pub(super) fn table(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let mut cells: Vec<Vec<String>> =
        vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect()];
    cells.extend(rows.iter().map(|row| columns.iter().map(|(_, path)| text(row, path)).collect()));
    let width = |n: usize| {
        cells.iter().filter_map(|row| row.get(n)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for row in &cells {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// What the rebuild of many hosts would erase, and how it is confirmed.
fn reviewed(value: &Value) {
    let erased = [
        ("ERASED", "hostname"),
        ("STATE", "state"),
        ("TYPE", "server_type"),
        ("DISK", "disk.value"),
        ("DEVICES", "disk.names"),
        ("NODE", "is_member"),
    ];
    list(value, "hosts", &erased, "none of these hosts can be rebuilt");
    let left = value.get("left_out").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    if left {
        line("");
        list(value, "left_out", &[("LEFT OUT", "hostname"), ("WHY", "reason")], "");
    }
    line("");
    line(&format!("image {}; nothing was changed: this was a look", text(value, "image")));
    if value.get("hosts").and_then(Value::as_array).is_some_and(|all| !all.is_empty()) {
        let (seal, phrase) = (text(value, "reviewed"), text(value, "confirm"));
        line(&format!("to erase exactly these, add: --reviewed {seal} --confirm '{phrase}'"));
    }
}

pub(super) fn list(value: &Value, key: &str, columns: &[(&str, &str)], nothing: &str) {
    match value.get(key).and_then(Value::as_array) {
        Some(rows) if !rows.is_empty() => line(table(rows, columns).trim_end()),
        _ => line(nothing),
    }
}

pub(super) fn facts(value: &Value, paths: &[&str]) {
    for path in paths {
        let shown = text(value, path);
        if shown != "-" {
            line(&format!("{:14} {shown}", path.replace('_', " ")));
        }
    }
}

/// Prints the answer to a command.
pub(super) fn answer(command: &Command, value: &Value, json: bool) {
    if json {
        line(&if value.is_null() { "{}".to_owned() } else { value.to_string() });
        return;
    }
    match command {
        Command::Host(HostCommand::List { .. }) => list(
            value,
            "hosts",
            &[
                ("NAME", "hostname"),
                ("STATE", "state"),
                ("SINCE", "state_since"),
                ("TYPE", "server_type"),
                ("ADDRESS", "address"),
                ("MAC", "macs"),
                ("REASON", "failure.reason"),
            ],
            "no host is registered; see `ironhatch sighting list` and `ironhatch host add --help`",
        ),
        Command::Notify(NotifyCommand::List) => list(
            value,
            "targets",
            &[
                ("NAME", "name"),
                ("KIND", "kind"),
                ("PLACE", "place"),
                ("WAITING", "waiting"),
                ("LAST", "last.at"),
                ("EVENT", "last.event"),
                ("REASON", "last.reason"),
            ],
            "nobody is told; add [[notify]] to the configuration",
        ),
        Command::Notify(NotifyCommand::Test { .. }) => line(&notify::told(value)),
        Command::Host(HostCommand::Delete { host }) => line(&format!("{host} is forgotten")),
        Command::Host(HostCommand::RebuildMany(_)) if value.get("reviewed").is_some() => {
            reviewed(value);
        }
        Command::Host(HostCommand::Rebuild { .. } | HostCommand::RebuildMany(_))
        | Command::Job(JobCommand::Retry { .. }) => {
            started(value);
        }
        Command::Host(HostCommand::Boot { .. })
        | Command::Sighting(SightingCommand::Boot { .. }) => boot(value),
        Command::Host(HostCommand::Answer { text, .. }) => super::types::answer(value, *text),
        Command::Host(HostCommand::Export { .. }) => {
            // As it is: a file, not a message.
            let _ = write!(std::io::stdout(), "{}", value["text"].as_str().unwrap_or_default());
        }
        Command::Host(HostCommand::Import { dry_run, .. }) => {
            list(
                value,
                "hosts",
                &[
                    ("ROW", "row"),
                    ("HOST", "hostname"),
                    ("BECOMES", "becomes"),
                    ("CHANGES", "values"),
                ],
                "no host",
            );
            line(if *dry_run {
                "nothing was changed: this was a look"
            } else {
                "done; nothing is armed by it"
            });
        }
        Command::Host(HostCommand::Power(PowerCommand::Set(_))) => {
            facts(value, &["hostname", "power.method.by", "power.boot_on_rebuild"]);
        }
        Command::Host(HostCommand::Power(PowerCommand::Show { .. })) => facts(
            value,
            &[
                "power.method.by",
                "power.method.address",
                "power.method.user",
                "power.method.fingerprint",
                "power.method.mac",
                "power.method.directed",
                "power.boot_on_rebuild",
                "has_password",
            ],
        ),
        Command::Host(HostCommand::Power(_)) => facts(value, &["state", "said", "untrusted"]),
        Command::Host(_) => facts(
            value,
            &[
                "hostname",
                "state",
                "state_since",
                "server_type",
                "address",
                "macs",
                "uuid",
                "job",
                "failure.reason",
                "failure.hint",
                "overrides.boot_disk",
                "overrides.network",
                "id",
            ],
        ),
        Command::Job(JobCommand::List { .. }) => list(
            value,
            "jobs",
            &[("JOB", "id"), ("STATUS", "status"), ("CREATED", "created"), ("WHAT", "title")],
            "no job yet",
        ),
        Command::Job(JobCommand::Cancel { .. }) => line("the job was asked to stop"),
        Command::Job(_) => {
            facts(
                value,
                &["title", "status", "created", "finished", "failure.reason", "failure.hint"],
            );
            list(
                value,
                "steps",
                &[
                    ("STEP", "title"),
                    ("STATUS", "status"),
                    ("TRIES", "attempts"),
                    ("DETAIL", "detail"),
                ],
                "no steps",
            );
        }
        Command::Image(ImageCommand::List) => list(
            value,
            "images",
            &[
                ("IMAGE", "id"),
                ("PRODUCT", "product"),
                ("RELEASE", "release"),
                ("BYTES", "size"),
                ("IMPORTED", "imported_at"),
            ],
            "no image yet; see `ironhatch image import --help`",
        ),
        Command::Image(ImageCommand::Import { .. }) => started(value),
        Command::Image(ImageCommand::Delete { id }) => line(&format!("{id} is deleted")),
        Command::Sighting(SightingCommand::List) => list(
            value,
            "sightings",
            &[
                ("MAC", "mac"),
                ("VENDOR", "inventory.vendor"),
                ("PRODUCT", "inventory.product"),
                ("SERIAL", "inventory.serial"),
                ("LAST SEEN", "last_seen"),
                ("IGNORED", "ignored"),
            ],
            "no unregistered machine was heard",
        ),
        Command::Sighting(SightingCommand::Ignore { mac, undo }) => {
            line(&format!("{mac} is {}", if *undo { "shown again" } else { "ignored" }));
        }
        Command::ServerType(command) => command.print(value),
        Command::Cluster(ClusterCommand::Show) => {
            list(
                value,
                "nodes",
                &[
                    ("NODE", "name"),
                    ("ONLINE", "member.online"),
                    ("VERSION", "member.version"),
                    ("GUESTS", "member.guests"),
                    ("HOST", "host_state"),
                    ("DISAGREES", "disagrees"),
                ],
                "no cluster is known yet",
            );
            facts(value, &["quorate", "seen", "error.detail", "error.hint"]);
        }
        Command::Cluster(ClusterCommand::Key) => line(&text(value, "public_key")),
        Command::Db(DbCommand::Backup { .. }) => {
            line(&format!("{} records in {}", text(value, "records"), text(value, "path")));
        }
        Command::App(command) => command.print(value),
        Command::Guest(command) => command.print(value),
        Command::Node(command) => command.print(value),
        Command::Account(command) => command.print(value),
        Command::Session(command) => command.print(value),
        Command::Token(command) => command.print(value),
        Command::Audit(_) => super::Audit::print(value),
        Command::System(_) => {
            let columns = [
                ("NODE", "name"),
                ("USABLE", "usable"),
                ("RELEASE", "release"),
                ("CORES", "cores"),
                ("FREE MIB", "free_memory_mb"),
                ("MIB", "memory_mb"),
                ("BRIDGES", "bridges"),
                ("PROBLEM", "problem"),
            ];
            list(value, "nodes", &columns, "no node is enrolled");
            for problem in value.get("problems").and_then(Value::as_array).into_iter().flatten() {
                line(&format!("note: {}", problem.as_str().unwrap_or_default()));
            }
        }
        Command::Serve
        | Command::Check { .. }
        | Command::Doctor(_)
        | Command::DebugBundle(_)
        | Command::Setup(_)
        | Command::Db(_) => {}
    }
}

/// A machine's boots.
fn boot(value: &Value) {
    if value.get("verdict").is_none_or(Value::is_null) {
        line("nothing is known of its boots");
    } else {
        line(&text(value, "verdict.what"));
        if text(value, "verdict.tone") == "bad" {
            for (name, path) in [("why", "why"), ("do", "fix"), ("itself", "next")] {
                let told = text(value, &format!("verdict.{path}"));
                if told != "-" {
                    line(&format!("{name:8} {told}"));
                }
            }
        }
    }
    for learned in value.get("learned").and_then(Value::as_array).into_iter().flatten() {
        line(&format!("learned  {}", text(&serde_json::json!({ "it": learned }), "it")));
    }
    let columns = [
        ("TIME", "at"),
        ("PROTOCOL", "protocol"),
        ("RESULT", "result"),
        ("TIMES", "times"),
        ("WHAT", "message"),
    ];
    if let Some(rows) = value.get("timeline").and_then(Value::as_array).filter(|r| !r.is_empty()) {
        line(&format!("\n{}", table(rows, &columns).trim_end()));
    }
    let columns =
        [("EARLIER BOOT", "began"), ("VERDICT", "verdict.name"), ("WHAT", "verdict.what")];
    if let Some(rows) = value.get("earlier").and_then(Value::as_array).filter(|r| !r.is_empty()) {
        line(&format!("\n{}", table(rows, &columns).trim_end()));
    }
}

pub(super) fn started(value: &Value) {
    let job = text(value, "job");
    line(&format!("job {job}\nfollow it with: ironhatch job follow {job}"));
}

/// Prints one line of a followed job's log.
pub(super) fn log_line(entry: &Value, json: bool) {
    if json {
        line(&entry.to_string());
        return;
    }
    let mark = match entry.get("level").and_then(Value::as_str) {
        Some("warn") => "! ",
        Some("error") => "!! ",
        _ => "",
    };
    line(&format!("{} {mark}{}", text(entry, "at"), text(entry, "message")));
}

/// Prints how far a followed job has come; beside the output, so that a log in a file stays a log.
pub(super) fn progress(told: &str, json: bool) {
    if !json {
        let told: String = told.chars().filter(|c| !c.is_control()).collect();
        let _ = writeln!(std::io::stderr(), "  {told}");
    }
}

/// Prints how a followed job ended.
pub(super) fn job_end(job: &Value, json: bool) {
    if json {
        line(&job.to_string());
        return;
    }
    line(&format!("{}: {}", text(job, "title"), text(job, "status")));
    if job.get("failure").is_some_and(|f| !f.is_null()) {
        line(&format!("  {}\n  {}", text(job, "failure.reason"), text(job, "failure.hint")));
    }
}
