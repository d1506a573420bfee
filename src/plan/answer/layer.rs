//! template < server type < host < enforced: which key came from where.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::AnswerProblem;
use super::keys::{self, Kind, PINNING_MAP};

/// Where a value came from; later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// `answer-templates/*.toml`.
    Template,
    /// `server-types/*.toml`.
    ServerType,
    /// The host's own overrides.
    Host,
    /// Ironhatch itself: a rule of its own, or its configuration.
    Enforced,
    /// Made for one rebuild.
    Rebuild,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Template => "answer template",
            Self::ServerType => "server type",
            Self::Host => "host",
            Self::Enforced => "appliance",
            Self::Rebuild => "rebuild",
        })
    }
}

/// A value that a higher layer replaced.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Lower {
    /// Who set it.
    pub layer: Layer,
    /// The value as it was set; secrets are already masked.
    pub value: Value,
}

/// One value and the layer it came from.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Layered {
    /// Dotted path in the newest spelling.
    pub key: String,
    /// The value; secrets are already masked.
    pub value: Value,
    /// Who set it.
    pub layer: Layer,
    /// What lower layers had set, the lowest first.
    pub overridden: Vec<Lower>,
}

/// A parsed answer template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// File stem; the name server types refer to.
    pub name: String,
    /// Its keys in the newest spelling.
    pub(super) keys: BTreeMap<String, Value>,
}

impl Template {
    /// Parses a template: the answer's own TOML format with placeholders in string values, without the keys that
    /// Ironhatch sets itself. Both spellings of keys are taken.
    ///
    /// # Errors
    /// Every key that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<AnswerProblem>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            vec![AnswerProblem::new(
                "",
                Some(Layer::Template),
                format!("not valid TOML: {}", error.message()),
            )]
        })?;
        let json = serde_json::to_value(&table).map_err(|_| {
            vec![AnswerProblem::new("", Some(Layer::Template), "has a value that no answer takes")]
        })?;
        let Value::Object(map) = json else {
            return Err(vec![AnswerProblem::new("", Some(Layer::Template), "is not a table")]);
        };
        let keys = flatten(&map, Layer::Template)?;
        Ok(Self { name: name.to_owned(), keys })
    }
}

/// Flattens one layer to dotted paths in the newest spelling and checks that each key exists, may be set there and has the
/// right type.
///
/// # Errors
/// Every key that is wrong.
pub fn flatten(
    map: &Map<String, Value>,
    layer: Layer,
) -> Result<BTreeMap<String, Value>, Vec<AnswerProblem>> {
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    descend("", map, 0, &mut |path, value| {
        let path = keys::canonical(path);
        if let Err(rule) = check(&path, value) {
            problems.push(AnswerProblem::new(path, Some(layer), rule));
        } else if found.insert(path.clone(), value.clone()).is_some() {
            problems.push(AnswerProblem::new(path, Some(layer), "is set twice in two spellings"));
        }
    });
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// How the toml crate hands a date or time to serde; no answer key takes one, so it is a value of the wrong type.
const TOML_DATE: &str = "$__toml_private_datetime";

/// Deeper than any key of the format; JSON of a host may be nested at will.
const MAX_DEPTH: usize = 5;

fn descend(
    prefix: &str,
    map: &Map<String, Value>,
    depth: usize,
    leaf: &mut dyn FnMut(&str, &Value),
) {
    for (key, value) in map {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner)
                if depth < MAX_DEPTH
                    && keys::enforced(&path).is_none()
                    && !inner.contains_key(TOML_DATE) =>
            {
                descend(&path, inner, depth + 1, leaf);
            }
            _ => leaf(&path, value),
        }
    }
}

fn check(path: &str, value: &Value) -> Result<(), String> {
    if let Some(why) = keys::enforced(path) {
        return Err(format!("is set by Ironhatch for each rebuild; {why}"));
    }
    let kind = if path.starts_with(PINNING_MAP) {
        Kind::Text
    } else if let Some(key) = keys::find(path) {
        key.kind
    } else {
        return Err(unknown(path));
    };
    let (fits, expected) = match kind {
        Kind::Text => (value.is_string(), "a string"),
        Kind::Flag => (value.is_boolean(), "true or false"),
        Kind::Count => (value.is_i64() || value.is_u64(), "an integer"),
        Kind::Size => (value.is_number(), "a number (GiB)"),
    };
    if fits { Ok(()) } else { Err(format!("{expected} is expected")) }
}

fn unknown(path: &str) -> String {
    let known = keys::KEYS.iter().map(|k| k.path);
    match crate::domain::words::nearest(path, known) {
        Some(word) => format!("the installer has no such key; did you mean {word}?"),
        None => "the installer has no such key, and unknown keys abort an installation".to_owned(),
    }
}
