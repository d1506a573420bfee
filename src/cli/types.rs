//! Answers and server types on the command line.

use serde_json::Value;

use super::print::{facts, line, table, text};

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
                line(&format!("       {}", text(&serde_json::json!({ "it": said }), "it")));
            }
            if text(check, "hint") != "-" {
                line(&format!("       do: {}", text(check, "hint")));
            }
        }
    }
}
