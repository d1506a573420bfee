//! What was changed, by whom, from where: the entries of the audit log, and the difference between two records. Secrets
//! are named, never shown.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::time::Timestamp;

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum Who {
    /// A logged-in account.
    Account(String),
    /// An account that a trusted proxy named.
    Proxy(String),
    /// An API token, by its name.
    Token(String),
    /// A user of the machine itself, over the control socket.
    Socket(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "account {name}"),
            Self::Proxy(name) => write!(f, "account {name} (through the proxy)"),
            Self::Token(name) => write!(f, "token {name}"),
            Self::Socket(user) => write!(f, "{user} on the appliance"),
        }
    }
}

/// On whose behalf something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// Who.
    pub who: Who,
    /// From which address; `None` on the control socket.
    pub address: Option<IpAddr>,
    /// By which request: method and path.
    pub action: String,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It did not exist before.
    Added,
    /// It is different now.
    Changed,
    /// It is gone.
    Removed,
    /// No record: something was done, such as a machine switched off.
    Done,
}

impl Fate {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Done => "done",
        }
    }
}

/// One field of a record, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Its path in the record.
    pub field: String,
    /// `None`: it was not there.
    pub before: Option<String>,
    /// `None`: it is gone.
    pub after: Option<String>,
}

/// One record that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditChange")]
pub struct Change {
    /// What it is: `host pve1`.
    pub subject: String,
    /// What became of it.
    pub fate: Fate,
    /// Its fields that differ.
    pub fields: Vec<FieldChange>,
}

/// One entry: what one write of one request changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Position in the log.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Who asked.
    pub who: Who,
    /// From where.
    pub address: Option<IpAddr>,
    /// By which request.
    pub action: String,
    /// What became different.
    pub changes: Vec<Change>,
    /// Changes beyond those that are listed.
    #[serde(default)]
    pub more: usize,
}

/// Stands in the place of a secret.
pub const HIDDEN: &str = "(not shown)";
/// Longest text of one value.
const LONGEST: usize = 200;
/// Most fields of one change.
const MOST_FIELDS: usize = 40;

/// Words in a field's name that make its value a secret. A name too many costs a value in the log; one too few a secret.
const SECRET_WORDS: [&str; 10] = [
    "subscription",
    "password",
    "passwd",
    "secret",
    "token",
    "hash",
    "private",
    "credential",
    "csrf",
    "api_key",
];

/// Fields that hold an instant in milliseconds.
const TIMES: [&str; 2] = ["expires", "password_set"];

/// The fields that differ, of those that begin with one of `shown`; the others are not looked at.
#[must_use]
pub fn difference(
    before: Option<&Value>,
    after: Option<&Value>,
    shown: &[&str],
) -> Vec<FieldChange> {
    let (before, after) = (leaves(before, shown), leaves(after, shown));
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .take(MOST_FIELDS)
        .map(|name| FieldChange {
            field: name.chars().take(LONGEST).collect(),
            before: before.get(name).map(|v| presentable(name, v)),
            after: after.get(name).map(|v| presentable(name, v)),
        })
        .collect()
}

/// Names and values without objects inside; lists count as one value.
fn leaves(record: Option<&Value>, shown: &[&str]) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    if let Some(record) = record {
        collect("", record, shown, &mut found);
    }
    found
}

fn collect(path: &str, value: &Value, shown: &[&str], found: &mut BTreeMap<String, Value>) {
    let below = |name: &str| {
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    };
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map {
                collect(&below(name), value, shown, found);
            }
        }
        other => {
            let is_shown = shown.iter().any(|wanted| {
                path.strip_prefix(wanted)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if is_shown {
                found.insert(path.to_owned(), other.clone());
            }
        }
    }
}

/// Whether the value of a field with this name is a secret, in the audit log as in the debug bundle.
#[must_use]
pub fn names_a_secret(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}

/// Changes each value whose name says that it is a secret, at any depth; what is inside such a value is not looked at.
pub fn each_secret(value: &mut Value, change: &impl Fn(&mut Value)) {
    match value {
        Value::Object(map) => each_secret_of(map, change),
        Value::Array(list) => list.iter_mut().for_each(|value| each_secret(value, change)),
        _ => {}
    }
}

/// The same for the members of an object.
pub fn each_secret_of(map: &mut Map<String, Value>, change: &impl Fn(&mut Value)) {
    for (name, value) in map {
        if names_a_secret(name) {
            change(value);
        } else {
            each_secret(value, change);
        }
    }
}

fn presentable(name: &str, value: &Value) -> String {
    let is_time = TIMES.contains(&name);
    let is_secret = names_a_secret(name) || has_secret_name(value);
    if is_secret && !is_time {
        return HIDDEN.to_owned();
    }
    let text = match value {
        Value::Number(n) if is_time => {
            n.as_i64().map_or_else(|| n.to_string(), |ms| Timestamp(ms).to_string())
        }
        Value::String(text) => without_credentials(text),
        other => without_credentials(&other.to_string()),
    };
    let mut cut: String = text.chars().take(LONGEST).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Whether a list holds an object with a secret's name.
fn has_secret_name(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(has_secret_name),
        Value::Object(map) => {
            map.iter().any(|(name, value)| names_a_secret(name) || has_secret_name(value))
        }
        _ => false,
    }
}

/// An address without user, password and query: each can be a secret.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?…"));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}{query}")
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn change(before: Value, after: Value, shown: &[&str]) -> Vec<(String, String, String)> {
        difference(Some(&before), Some(&after), shown)
            .into_iter()
            .map(|f| (f.field, f.before.unwrap_or_default(), f.after.unwrap_or_default()))
            .collect()
    }

    fn row(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.to_owned(), b.to_owned(), c.to_owned())
    }

    #[test]
    fn only_what_differs_and_may_be_shown_is_listed() {
        let before =
            json!({"hostname": "pve1", "macs": ["a"], "inventory": {"x": 1}, "o": {"d": 1}});
        let after = json!({"hostname": "pve1", "macs": ["a", "b"], "inventory": {"x": 2}, "o": {"d": null}});
        let found = change(before, after, &["hostname", "macs", "o"]);
        assert_eq!(found, [row("macs", "[\"a\"]", "[\"a\",\"b\"]"), row("o.d", "1", "")]);
    }

    #[test]
    fn secrets_are_named_and_not_shown_in_any_depth() {
        const PLANTED: &str = "planted-value";
        let after = json!({"o": {
            "root-password": PLANTED, "global": {"root_password_hashed": PLANTED},
            "API-Key": PLANTED, "list": [{"name": "x", "token": PLANTED}],
            "source": format!("https://user:{PLANTED}@192.0.2.9/a.iso?sig={PLANTED}"),
        }});
        let found = difference(None, Some(&after), &["o"]);
        assert_eq!(found.len(), 5);
        let text = format!("{found:?}");
        assert!(!text.contains(PLANTED), "{text}");
        assert!(text.contains("https://192.0.2.9/a.iso?…"), "{text}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let found = difference(None, Some(&json!({"a": "ä".repeat(500)})), &["a"]);
        let after = found.first().unwrap().after.clone().unwrap();
        assert_eq!(after.chars().count(), LONGEST + 1);
    }
}
