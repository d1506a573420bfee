//! Answers and server types on the command line.

use std::io::Write as _;
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use super::ServerTypeCommand;
use super::call::{Call, segment};
use super::client::ClientError;
use super::print::{facts, line, list, table, text};

impl ServerTypeCommand {
    pub(super) fn call(&self) -> Result<Call, ClientError> {
        let path = |name: &str| format!("/api/server-types/{}", segment(name));
        Ok(match self {
            Self::List => Call::get("/api/server-types"),
            Self::Show { name } => Call::get(path(name)),
            Self::Try { name, file, host } => {
                let body = json!({ "text": read(file)?, "host": host });
                Call::post(format!("{}/preview", path(name)), body)
            }
            Self::Put { name, file, replaces } => {
                let body = Some(json!({ "text": read(file)?, "replaces": replaces }));
                Call { method: Method::PUT, path: path(name), body }
            }
            Self::Delete { name } => Call::delete(path(name)),
        })
    }

    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::List => {
                list(
                    value,
                    "server_types",
                    &[
                        ("TYPE", "name"),
                        ("NAME", "display_name"),
                        ("PREFIX", "hostname_prefix"),
                        ("DISK", "boot_disk"),
                    ],
                    "no server type; `ironhatch server-type put NAME FILE` makes one",
                );
                for wrong in value["errors"].as_array().into_iter().flatten() {
                    line(&format!("not usable: {}", wrong.as_str().unwrap_or_default()));
                }
            }
            Self::Show { .. } => {
                // As it is: a file, not a message.
                let _ = write!(std::io::stdout(), "{}", value["text"].as_str().unwrap_or_default());
            }
            Self::Try { .. } => trial(value),
            Self::Put { name, .. } => {
                line(&format!(
                    "{name} is in place, {}; nothing is armed by it",
                    text(value, "path")
                ));
            }
            Self::Delete { name } => line(&format!("{name} is deleted")),
        }
    }
}

fn read(file: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(file)
        .map_err(|e| ClientError::Usage(format!("{} cannot be read: {e}", file.display())))
}

/// Prints what a text would do.
fn trial(value: &Value) {
    for (word, key) in [("wrong", "errors"), ("note", "warnings")] {
        for found in value[key].as_array().into_iter().flatten() {
            let place = match found["line"].as_u64() {
                Some(n) if n > 0 => format!("line {n}: "),
                _ => String::new(),
            };
            line(&format!("{word}: {place}{}: {}", text(found, "key"), text(found, "message")));
        }
    }
    for host in value["other_disk"].as_array().into_iter().flatten() {
        let host = host.as_str().unwrap_or_default();
        line(&format!(
            "{host} waits to be installed: another disk would be named, so it would get no answer"
        ));
    }
    for refused in value["refused"].as_array().into_iter().flatten() {
        line(&format!(
            "{}: no answer any more: {}",
            text(refused, "hostname"),
            text(refused, "reason")
        ));
    }
    if value["after"].is_null() {
        return;
    }
    let host = value["host"].as_str().unwrap_or("a made-up machine");
    line(&format!("answer for {host}, release {}:", text(value, "release")));
    let lines = value["difference"].as_array().cloned().unwrap_or_default();
    if lines.is_empty() {
        line("  it stays the same");
    }
    for changed in &lines {
        let sign = changed["sign"].as_str().unwrap_or_default();
        line(&format!("  {sign} {}", changed["text"].as_str().unwrap_or_default()));
    }
    if let Some(after) = value.get("after") {
        rules(after);
    }
}

/// Prints what a host would be sent.
pub(super) fn answer(value: &Value, only_text: bool) {
    if let (true, Some(whole)) = (only_text, value["text"].as_str()) {
        line(whole.trim_end());
        return;
    }
    facts(value, &["hostname", "image", "release", "dialect", "server_type", "template"]);
    facts(value, &["disk.disks", "disk.why"]);
    rules(value);
    if only_text {
        return;
    }
    if let Some(rows) = value["values"].as_array().filter(|rows| !rows.is_empty()) {
        let columns = [("KEY", "key"), ("VALUE", "value"), ("LAYER", "layer")];
        line(&format!("\n{}", table(rows, &columns).trim_end()));
        for row in rows {
            for lower in row["overridden"].as_array().into_iter().flatten() {
                let (key, layer, value) =
                    (text(row, "key"), text(lower, "layer"), text(lower, "value"));
                line(&format!("{key} replaces {value} of the {layer}"));
            }
        }
    }
}

/// Prints each rule, and what to do about a broken one.
fn rules(value: &Value) {
    for check in value["checks"].as_array().into_iter().flatten() {
        let mark = match check["outcome"].as_str() {
            Some("passed") => "kept  ",
            Some("failed") => "BROKEN",
            _ => "open  ",
        };
        line(&format!("{mark} {}", text(check, "rule")));
        if check["outcome"] != "passed" {
            for said in check["said"].as_array().into_iter().flatten() {
                line(&format!("       {}", text(&json!({ "it": said }), "it")));
            }
            if text(check, "hint") != "-" {
                line(&format!("       do: {}", text(check, "hint")));
            }
        }
    }
}
