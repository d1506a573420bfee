//! Formats of parameters, checked as the cluster checks them: lists, property strings, named checks.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use regex::Regex;
use serde_json::Value;

use super::schema::check_value;
use crate::proto::pve::value::flag_text;

/// Where a value stands: booleans have more spellings inside property strings than in forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A parameter of a form or query.
    Form,
    /// A parameter of a JSON body.
    Json,
    /// A value inside a property string.
    Property,
}

/// Checks a text against a format of the schema.
pub(super) fn check(formats: &Value, format: &str, text: &str) -> Result<(), String> {
    if let Some(format) = format.strip_suffix("-opt") {
        return if text.is_empty() { Ok(()) } else { check(formats, format, text) };
    }
    if formats.get(format).is_none()
        && let Some(format) = format.strip_suffix("-list")
    {
        let mut parts = text.split([',', ';', ' ', '\0']).filter(|p| !p.is_empty());
        return parts.try_for_each(|part| check(formats, format, part));
    }
    let Some(entry) = formats.get(format) else {
        return Err(format!("the double does not know the format '{format}'"));
    };
    if entry.get("kind").and_then(Value::as_str) == Some("properties") {
        return check_properties(formats, entry, text);
    }
    let good = match entry.get("pattern").and_then(Value::as_str) {
        Some(pattern) => matches(pattern, text),
        None => named(format, text)?,
    };
    match (good, format) {
        (true, _) => Ok(()),
        (false, "pve-vmid") => Err("value does not look like a valid VM ID".to_owned()),
        (false, "pve-tag") => Err("invalid characters in tag".to_owned()),
        (false, "pve-configid") => Err(format!("invalid configuration ID '{text}'")),
        (false, _) => Err(format!("value does not look like a valid {format}")),
    }
}

/// Checks that the schema leaves to code.
fn named(format: &str, text: &str) -> Result<bool, String> {
    let cidr4 = |text: &str| {
        let (address, length) = text.split_once('/').unwrap_or(("", ""));
        address.parse::<Ipv4Addr>().is_ok() && length.parse().is_ok_and(|n: u8| n <= 32)
    };
    let cidr6 = |text: &str| {
        let (address, length) = text.split_once('/').unwrap_or(("", ""));
        address.parse::<Ipv6Addr>().is_ok() && length.parse().is_ok_and(|n: u8| n <= 128)
    };
    Ok(match format {
        "pve-ipv4-config" => matches!(text, "dhcp" | "manual") || cidr4(text),
        "pve-ipv6-config" => matches!(text, "auto" | "dhcp" | "manual") || cidr6(text),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "pve-lxc-mp-string" => !text.split('/').any(|part| matches!(part, "." | "..")),
        "pve-lxc-dev-string" => text.starts_with("/dev/") && !text.split('/').any(|p| p == ".."),
        "pve-storage-content" => matches!(
            text,
            "images" | "rootdir" | "vztmpl" | "iso" | "backup" | "snippets" | "import" | "none"
        ),
        "pve-startup-order" => text.split(',').all(|part| {
            let digits = part.rsplit('=').next().unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        }),
        "disk-size" => matches(r"\d+(\.\d+)?[KMGT]?", text),
        "lxc-ip-with-ll-iface" => {
            text.parse::<Ipv4Addr>().is_ok()
                || text.split('%').next().is_some_and(|t| t.parse::<Ipv6Addr>().is_ok())
        }
        "pve-ct-timezone" => matches(r"[A-Za-z0-9_+/-]+", text),
        _ => return Err(format!("the double does not know the format '{format}'")),
    })
}

fn check_properties(formats: &Value, entry: &Value, text: &str) -> Result<(), String> {
    let Some(properties) = entry.get("properties").and_then(Value::as_object) else {
        return Err("the double found no properties in the format".to_owned());
    };
    let default_key = entry.get("default_key").and_then(Value::as_str);
    let mut given = BTreeSet::new();
    let mut problems = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let pair = part.split_once('=').filter(|(key, _)| properties.contains_key(*key));
        let (key, value) = match (pair, default_key) {
            (Some(pair), _) => pair,
            (None, Some(key)) if !given.contains(key) => (key, part),
            (None, _) => {
                let key = part.split('=').next().unwrap_or_default();
                problems.push(format!(
                    "{key}: property is not defined in schema and the schema does not allow additional properties"
                ));
                continue;
            }
        };
        if !given.insert(key) {
            problems.push(format!("duplicate key in comma-separated list property: {key}"));
        } else if let Some(schema) = properties.get(key) {
            let checked = check_value(formats, schema, value, Place::Property);
            problems.extend(checked.err().map(|why| format!("{key}: {why}")));
        }
    }
    for (key, schema) in properties {
        let optional = schema.get("optional").and_then(Value::as_bool) == Some(true);
        if !optional && !given.contains(key.as_str()) {
            problems.push(format!("{key}: property is missing and it is not optional"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("format error\n{}\n", problems.join("\n")))
    }
}

/// Whether a boolean is spelled as the place allows.
pub(super) fn is_flag(text: &str, place: Place) -> bool {
    match place {
        Place::Form => matches!(text, "0" | "1"),
        Place::Json | Place::Property => flag_text(text).is_some(),
    }
}

/// Whether the whole text matches a Perl pattern of the schema. The only octal escape in them is `\0`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern = format!("^(?:{})$", pattern.replace("\\0", "\\x00"));
    let pattern = Regex::new(&pattern).expect("patterns of the schema have no look-around here");
    pattern.is_match(text)
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn formats() -> Value {
        json!({
            "pve-tag": {"kind": "check", "pattern": "[a-z]+"},
            "pve-ipv4-config": {"kind": "check"},
            "net": {"kind": "properties", "properties": {
                "name": {"type": "string"},
                "ip": {"type": "string", "format": "pve-ipv4-config", "optional": true},
                "firewall": {"type": "boolean", "optional": true},
            }},
            "vol": {"kind": "properties", "default_key": "volume", "properties": {
                "volume": {"type": "string"},
                "size": {"type": "integer", "optional": true},
            }},
        })
    }

    #[test]
    fn lists_and_optional_texts_follow_their_format() {
        assert_eq!(check(&formats(), "pve-tag-list", "a;b,c d"), Ok(()));
        assert!(check(&formats(), "pve-tag-list", "a;B").is_err());
        assert_eq!(check(&formats(), "pve-tag-opt", ""), Ok(()));
        assert!(check(&formats(), "unheard-of", "x").is_err());
    }

    #[test]
    fn property_strings_are_checked_key_by_key() {
        let net = |text: &str| check(&formats(), "net", text);
        assert_eq!(net("ip=dhcp,name=eth0,firewall=on"), Ok(()));
        assert!(net("ip=192.0.2.1,name=eth0").unwrap_err().contains("ip: invalid format"));
        assert!(net("ip=dhcp").unwrap_err().contains("name: property is missing"));
        assert!(net("name=a,name=b").unwrap_err().contains("duplicate key"));
        assert!(net("name=a,mode=x").unwrap_err().contains("not defined"));
        assert_eq!(check(&formats(), "vol", "local:8,size=1"), Ok(()));
    }
}
