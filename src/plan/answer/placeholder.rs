//! Placeholders in string values: `{{ hostname }}`, `{{ labels.rack }}`.
//!
//! Only names and the filters `lower` and `upper`: an answer is data, not a program. Values are rendered after parsing, so a
//! value can never become a key or another line.

use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use crate::domain::host::Host;
use crate::domain::server_type::ServerType;
use crate::limits::work::{PLACEHOLDER_FUEL, PLACEHOLDER_VALUE};

/// What placeholders can name. Absent values are undefined, and naming them is an error.
#[derive(Debug, Serialize)]
pub(super) struct Context<'a> {
    hostname: &'a str,
    domain: &'a str,
    fqdn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<&'a str>,
    server_type: &'a str,
    labels: &'a std::collections::BTreeMap<String, String>,
}

/// The names that a template may use, for messages.
const NAMES: &str = "hostname, domain, fqdn, mac, uuid, serial, server_type, labels.NAME (uuid and serial only when they are known)";

impl<'a> Context<'a> {
    pub(super) fn of(host: &'a Host, server_type: &'a ServerType, fqdn: &str) -> Self {
        Self {
            hostname: host.hostname.as_str(),
            domain: &server_type.domain,
            fqdn: fqdn.to_owned(),
            mac: host.macs.first().map(ToString::to_string),
            uuid: host.uuid.map(|u| u.to_string()),
            serial: host.inventory.serial.as_deref(),
            server_type: server_type.name.as_str(),
            labels: &server_type.labels,
        }
    }
}

/// Renders one value.
///
/// # Errors
/// The rule that the placeholder or its result breaks.
pub(super) fn render(text: &str, context: &Context<'_>) -> Result<String, String> {
    let rendered = if text.contains("{{") || text.contains("{%") || text.contains("{#") {
        check_syntax(text)?;
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(PLACEHOLDER_FUEL));
        environment.add_filter("lower", |text: String| text.to_lowercase());
        environment.add_filter("upper", |text: String| text.to_uppercase());
        environment.render_str(text, minijinja::value::Serde(context)).map_err(
            |error| match error.kind() {
                minijinja::ErrorKind::UndefinedError => {
                    format!("a placeholder names something that is not known; known: {NAMES}")
                }
                kind => format!("the placeholder cannot be filled: {kind}"),
            },
        )?
    } else {
        text.to_owned()
    };
    if rendered.chars().any(char::is_control) {
        return Err("control characters are not allowed".to_owned());
    }
    if rendered.len() > PLACEHOLDER_VALUE {
        return Err(format!("longer than {PLACEHOLDER_VALUE} bytes"));
    }
    Ok(rendered)
}

/// Lets only `{{ name }}`, `{{ a.b }}` and `{{ name | lower }}` through: no statements, calls or arithmetic.
fn check_syntax(text: &str) -> Result<(), String> {
    if text.len() > PLACEHOLDER_VALUE {
        return Err(format!("longer than {PLACEHOLDER_VALUE} bytes"));
    }
    if text.contains("{%") || text.contains("{#") {
        return Err(
            "only {{ name }} placeholders are allowed, no statements or comments".to_owned()
        );
    }
    for part in text.split("{{").skip(1) {
        let Some((inner, _)) = part.split_once("}}") else {
            return Err("a placeholder is not closed with }}".to_owned());
        };
        let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '|' | ' ');
        if !inner.chars().all(simple) {
            return Err(format!(
                "a placeholder is a name, with '| lower' or '| upper' if wanted; known: {NAMES}"
            ));
        }
    }
    Ok(())
}
