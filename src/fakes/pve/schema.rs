//! The cluster's own description of its API, and the check of a request against it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::format::{self, Place};

/// The description, as `pve-api-schema.json` holds it.
#[derive(Debug)]
pub struct Schema {
    json: Value,
}

/// What the description says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it should be.
    Good,
    /// There is no such path or method.
    Unknown,
    /// No token may ever call it.
    RootOnly,
    /// Parameters are wrong.
    Bad(BTreeMap<String, String>),
}

impl Schema {
    /// Reads the file. `None`: it is not there.
    ///
    /// # Panics
    /// When the file is there and is not what it should be.
    #[must_use]
    pub fn open(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let json: Value = serde_json::from_str(&text).expect("the schema is JSON");
        assert!(json.get("paths").is_some() && json.get("formats").is_some(), "{path:?}");
        Some(Self { json })
    }

    /// Finds the path of the description that a request's path is an instance of, and the values of its variables.
    fn find(&self, path: &str) -> Option<(&Value, BTreeMap<String, String>)> {
        let paths = self.json.get("paths")?.as_object()?;
        // A literal segment wins over a variable: the path with the fewest variables.
        let found = paths
            .iter()
            .filter_map(|(pattern, methods)| bind(pattern, path).map(|bound| (methods, bound)));
        found.min_by_key(|(_, bound)| bound.len())
    }

    /// The permission rule of a method.
    #[cfg(test)]
    pub(super) fn permissions(&self, pattern: &str, method: &str) -> Option<Value> {
        self.json.get("paths")?.get(pattern)?.get(method)?.get("permissions").cloned()
    }

    /// Checks a request of a token.
    pub(super) fn check(
        &self,
        method: &str,
        path: &str,
        params: &BTreeMap<String, String>,
        place: Place,
    ) -> Verdict {
        let Some((methods, bound)) = self.find(path) else { return Verdict::Unknown };
        let Some(entry) = methods.get(method) else { return Verdict::Unknown };
        let is_set = |key: &str| entry.get(key).and_then(Value::as_bool);
        if is_set("root_only") == Some(true) || is_set("allowtoken") == Some(false) {
            return Verdict::RootOnly;
        }
        let empty = serde_json::Map::new();
        let known = entry.get("parameters").and_then(Value::as_object).unwrap_or(&empty);
        let formats = self.json.get("formats").unwrap_or(&Value::Null);
        let mut errors = BTreeMap::new();
        for (key, value) in bound.iter().chain(params) {
            let Some(schema) = parameter(known, key) else {
                if is_set("additionalProperties") != Some(true) {
                    errors.insert(key.clone(), NOT_DEFINED.to_owned());
                }
                continue;
            };
            let place = if bound.contains_key(key) { Place::Form } else { place };
            if let Err(why) = check_value(formats, schema, value, place) {
                errors.insert(key.clone(), why);
            }
            let requires = schema.get("requires").and_then(Value::as_str);
            if let Some(other) = requires.filter(|o| !params.contains_key(*o)) {
                let text = format!("missing property - '{key}' requires this property");
                errors.insert(other.to_owned(), text);
            }
        }
        for (key, schema) in known {
            let optional = schema.get("optional").and_then(Value::as_bool) == Some(true);
            if !optional && !params.contains_key(key) && !bound.contains_key(key) {
                errors.insert(key.clone(), MISSING.to_owned());
            }
        }
        if errors.is_empty() { Verdict::Good } else { Verdict::Bad(errors) }
    }
}

const NOT_DEFINED: &str =
    "property is not defined in schema and the schema does not allow additional properties";
const MISSING: &str = "property is missing and it is not optional";

/// Values of the variables when a path is an instance of a pattern. The last variable may hold slashes (volumes).
fn bind(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut bound = BTreeMap::new();
    let mut rest: Vec<&str> = path.split('/').collect();
    let parts: Vec<&str> = pattern.split('/').collect();
    if let (Some(last), true) = (parts.last(), rest.len() > parts.len())
        && *last == "{volume}"
    {
        let tail = rest.split_off(parts.len() - 1).join("/");
        bound.insert("volume".to_owned(), tail);
        rest.push("{volume}");
    }
    if rest.len() != parts.len() {
        return None;
    }
    for (part, text) in parts.iter().zip(rest) {
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(_) if text.is_empty() => return None,
            Some(name) if part != &text => {
                bound.insert(name.to_owned(), text.to_owned());
            }
            Some(_) => {}
            None if *part == text => {}
            None => return None,
        }
    }
    Some(bound)
}

/// The description of a parameter; `net3` is an instance of `net[n]`.
fn parameter<'a>(known: &'a serde_json::Map<String, Value>, key: &str) -> Option<&'a Value> {
    if let Some(schema) = known.get(key) {
        return if key.ends_with("[n]") { None } else { Some(schema) };
    }
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: u64 = key.get(stem.len()..)?.parse().ok()?;
    let schema = known.get(&format!("{stem}[n]"))?;
    let most = schema.get("max_index").and_then(Value::as_u64)?;
    (number <= most).then_some(schema)
}

/// Checks one value; the error is worded as the cluster words it.
pub(super) fn check_value(
    formats: &Value,
    schema: &Value,
    text: &str,
    place: Place,
) -> Result<(), String> {
    let word = |key: &str| schema.get(key).and_then(Value::as_str);
    let kind = word("type").unwrap_or("string");
    let typed = match kind {
        "integer" => format::matches(r"[+-]?\d+", text),
        "number" => text.parse::<f64>().is_ok(),
        "boolean" => format::is_flag(text, place),
        _ => true,
    };
    if !typed {
        // A number's format speaks first: it hides the other checks.
        if let Some(format) = word("format") {
            format::check(formats, format, text)
                .map_err(|why| format!("invalid format - {why}\n"))?;
        }
        return Err(format!("type check ('{kind}') failed - got '{text}'"));
    }
    if let Some(format) = word("format") {
        format::check(formats, format, text).map_err(|why| format!("invalid format - {why}\n"))?;
    }
    if let Some(pattern) = word("pattern")
        && !format::matches(pattern, text)
    {
        return Err("value does not match the regex pattern".to_owned());
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.iter().any(|a| a.as_str() == Some(text))
    {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        let allowed = allowed.join(", ");
        return Err(format!("value '{text}' does not have a value in the enumeration '{allowed}'"));
    }
    let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
    if let Ok(number) = text.parse::<f64>()
        && matches!(kind, "integer" | "number")
    {
        if let Some(least) = limit("minimum").filter(|least| number < *least) {
            return Err(format!("value must have a minimum value of {least}"));
        }
        if let Some(most) = limit("maximum").filter(|most| number > *most) {
            return Err(format!("value must have a maximum value of {most}"));
        }
    }
    let length = schema.get("maxLength").and_then(Value::as_u64);
    if length.is_some_and(|most| text.chars().count() as u64 > most) {
        return Err("value may only be so many characters long".to_owned());
    }
    let length = schema.get("minLength").and_then(Value::as_u64);
    if length.is_some_and(|least| (text.chars().count() as u64) < least) {
        return Err("value must be at least so many characters long".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema {
            json: json!({
                "formats": {"pve-vmid": {"kind": "check", "pattern": "[1-9][0-9]{2,8}"}},
                "paths": {
                    "/nodes/{node}/lxc/{vmid}": {"DELETE": {"parameters": {
                        "node": {"type": "string"},
                        "vmid": {"type": "integer", "format": "pve-vmid"},
                        "purge": {"type": "boolean", "optional": true},
                        "mp[n]": {"type": "string", "optional": true, "max_index": 2},
                    }}},
                    "/nodes/{node}/lxc/x": {"GET": {"parameters": {"n": {"type": "number", "minimum": 2}}}},
                    "/storage/{volume}": {"GET": {"parameters": {"volume": {"type": "string"}}}},
                    "/cluster/config": {"POST": {"root_only": true}},
                },
            }),
        }
    }

    fn check(method: &str, path: &str, params: &[(&str, &str)]) -> Verdict {
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        schema().check(method, path, &params, Place::Form)
    }

    #[test]
    fn requests_are_checked_against_the_description() {
        assert_eq!(
            check("DELETE", "/nodes/n/lxc/101", &[("purge", "1"), ("mp2", "x")]),
            Verdict::Good
        );
        assert_eq!(check("GET", "/nodes/n/lxc/101", &[]), Verdict::Unknown);
        assert_eq!(check("POST", "/cluster/config", &[]), Verdict::RootOnly);
        assert_eq!(check("GET", "/storage/local:vztmpl/a.tar", &[]), Verdict::Good);
        for bad in [("purge", "true"), ("mp3", "x"), ("mp[n]", "x"), ("frob", "1")] {
            let Verdict::Bad(errors) = check("DELETE", "/nodes/n/lxc/101", &[bad]) else {
                panic!("{bad:?} was accepted");
            };
            assert!(errors.contains_key(bad.0));
        }
        assert!(matches!(check("DELETE", "/nodes/n/lxc/99", &[]), Verdict::Bad(_)));
        assert!(matches!(check("GET", "/nodes/n/lxc/x", &[("n", "1")]), Verdict::Bad(_)));
        assert!(matches!(check("GET", "/nodes/n/lxc/x", &[]), Verdict::Bad(_)));
    }
}
