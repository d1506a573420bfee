//! Service definitions for the reverse proxy: from a template and an order to the text of one file, and the rules about
//! where it may be written and which domains are taken. Pure; `apps::publish` carries it out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;

use super::template;

#[cfg(test)]
mod test;

/// The definition that the reverse proxy's generator reads when the configuration names no other template.
pub const DEFAULT_TEMPLATE: &str = "\
name: {{ name | quote }}
type: proxy
domain: {{ domain | quote }}
headers: {{ headers }}
auth: {{ auth }}
backend: {{ backend | quote }}
";
/// The file's name when the configuration says nothing.
pub const DEFAULT_FILE_NAME: &str = "{{ name }}.yaml";
/// The first line of every file of ours; files without it are never changed.
const MARK: &str = "# Written by Ironhatch for guest ";

/// What a definition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The guest's name.
    pub name: String,
    /// The domain that the proxy answers for.
    pub domain: String,
    /// The guest's address, as it was read from the guest.
    pub address: IpAddr,
    /// The port that the proxy talks to.
    pub port: u16,
    /// Security headers are added.
    pub headers: bool,
    /// The proxy asks for a login.
    pub auth: bool,
    /// Reachable from outside.
    pub public: bool,
    /// Path that the proxy asks for health.
    pub health_path: Option<String>,
}

/// One file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Path in the repository, below the approved folder.
    pub file: String,
    /// Its content.
    pub text: String,
    /// The guest it is about.
    pub name: String,
    /// The domain it takes.
    pub domain: String,
}

/// A definition cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The domain is none.
    #[error("\"{domain}\" is not a domain, as in wiki.example.net")]
    Domain {
        /// As it was given.
        domain: String,
    },
    /// The configured template does not yield a definition.
    #[error("apps.services.template: {reason}")]
    Template {
        /// Why.
        reason: String,
    },
    /// The configured file name or path leads outside the approved folder.
    #[error("apps.services: \"{file}\" is not a file below \"{path}\": {rule}")]
    File {
        /// As it came out.
        file: String,
        /// The approved folder.
        path: String,
        /// What is wrong.
        rule: &'static str,
    },
}

/// What templates can name.
#[derive(Serialize)]
struct Names<'a> {
    name: &'a str,
    domain: &'a str,
    address: String,
    port: u16,
    /// Address and port, an IPv6 address in brackets.
    backend: String,
    headers: bool,
    auth: bool,
    public: bool,
    health_path: &'a str,
}

/// The name of each value, for messages about templates.
pub const NAMES: [&str; 9] =
    ["name", "domain", "address", "port", "backend", "headers", "auth", "public", "health_path"];

/// Whether a template, folder and file name can be used at all; for the reader of the configuration.
///
/// # Errors
/// [`ServiceError`].
pub fn check(template: &str, path: &str, file_name: &str) -> Result<(), ServiceError> {
    let probe = probe();
    definition(template, path, file_name, &probe).map(|_| ())
}

/// A harmless service: every value is of the kind that it always has.
fn probe() -> Service {
    Service {
        name: "probe".to_owned(),
        domain: "probe.example.net".to_owned(),
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        port: 8080,
        headers: true,
        auth: true,
        public: true,
        health_path: Some("/health".to_owned()),
    }
}

/// Makes the definition of a service.
///
/// The result must be YAML, have the domain in it, and have the same shape as for a harmless service: a value that turns
/// into a key, a second document or another type is refused.
///
/// # Errors
/// [`ServiceError`].
pub fn definition(
    template: &str,
    path: &str,
    file_name: &str,
    service: &Service,
) -> Result<Definition, ServiceError> {
    let domain = normal_domain(&service.domain)
        .ok_or_else(|| ServiceError::Domain { domain: show(&service.domain) })?;
    let service = Service { domain: domain.clone(), ..service.clone() };
    let broken = |reason: String| ServiceError::Template { reason };
    let body = fill(template, &service).map_err(broken)?;
    let parsed = parse(&body).map_err(broken)?;
    let health_path = service.health_path.as_ref().map(|_| "/health".to_owned());
    let probe = Service { health_path, ..probe() };
    let expected = fill(template, &probe).and_then(|text| parse(&text)).map_err(broken)?;
    if !same_shape(&parsed, &expected) {
        let reason = "a value changes the definition's structure; write {{ name | quote }} where a text stands";
        return Err(broken(reason.to_owned()));
    }
    if !domains(&body).contains(&domain) {
        let reason =
            "the definition must have the key \"domain\" (or \"domains\") with {{ domain }}";
        return Err(broken(reason.to_owned()));
    }
    let file = file(path, file_name, &service)?;
    let text = format!("{MARK}{}; changes are overwritten.\n{body}", service.name);
    Ok(Definition { file, text, name: service.name, domain })
}

fn fill(template: &str, service: &Service) -> Result<String, String> {
    let mut environment = template::environment();
    environment.add_filter("quote", |text: String| Value::String(text).to_string());
    let names = Names {
        name: &service.name,
        domain: &service.domain,
        address: service.address.to_string(),
        port: service.port,
        backend: std::net::SocketAddr::new(service.address, service.port).to_string(),
        headers: service.headers,
        auth: service.auth,
        public: service.public,
        health_path: service.health_path.as_deref().unwrap_or(""),
    };
    let mut text = template::render_in(&environment, template, &names)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn parse(text: &str) -> Result<Value, String> {
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or("it cannot be read");
        format!("it does not yield YAML: {}", first.trim())
    })?;
    if value.is_object() || value.is_array() {
        Ok(value)
    } else {
        Err("it does not yield a YAML mapping or list".to_owned())
    }
}

/// Whether two values have the same keys and the same kinds of values.
fn same_shape(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, value)| b.get(key).is_some_and(|v| same_shape(value, v)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a, b))
        }
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

/// The path of the definition's file: below the approved folder, whatever the name is.
fn file(path: &str, file_name: &str, service: &Service) -> Result<String, ServiceError> {
    let wrong = |file: &str, rule| ServiceError::File { file: show(file), path: show(path), rule };
    let name = fill(file_name, service)
        .map_err(|reason| ServiceError::Template { reason: format!("file_name: {reason}") })?;
    let name = name.trim_end_matches('\n');
    if name.contains('/') {
        return Err(wrong(name, "the file's name must not contain '/'"));
    }
    if !name.ends_with(".yaml") && !name.ends_with(".yml") {
        return Err(wrong(name, "the file's name must end in .yaml or .yml"));
    }
    let folder = path.trim_matches('/');
    let file = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    check_file(&file).map_err(|rule| wrong(&file, rule))?;
    Ok(file)
}

/// Whether a path is plain: relative, without special parts, of characters that no tool reads differently.
///
/// # Errors
/// The rule that it breaks.
pub fn check_file(file: &str) -> Result<(), &'static str> {
    if file.len() > 200 {
        return Err("at most 200 characters are allowed");
    }
    if file.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-'])) {
        return Err("no part may be empty or begin with '.' or '-'");
    }
    if !file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) {
        return Err("only letters, digits and . _ - / are allowed");
    }
    Ok(())
}

/// Whether a file's text is a definition of ours for this guest.
#[must_use]
pub fn is_ours(text: &str, name: &str) -> bool {
    text.lines()
        .next()
        .and_then(|line| line.strip_prefix(MARK))
        .and_then(|rest| rest.split_once(';'))
        .is_some_and(|(guest, _)| guest == name)
}

/// All domains that an existing definition takes. Of a text that is not YAML, everything that looks like a domain: a
/// domain is rather refused than taken twice.
#[must_use]
pub fn domains(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    match serde_saphyr::from_multiple::<Value>(text) {
        Ok(documents) => documents.iter().for_each(|value| collect(value, &mut found)),
        Err(_) => {
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-*".contains(c)));
            found.extend(words.filter(|w| w.contains('.')).filter_map(normal_domain));
        }
    }
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if matches!(key.as_str(), "domain" | "domains" | "host" | "hosts" | "hostname") {
                    texts(value, found);
                }
                collect(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

fn texts(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        // Several on one line, or with a scheme and a port, as Caddy takes them.
        Value::String(text) => {
            let words = text.split([',', ' ']).map(|word| {
                let word = word.split_once("://").map_or(word, |(_, rest)| rest);
                word.split(['/', ':']).next().unwrap_or_default()
            });
            found.extend(words.filter_map(normal_domain));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// A DNS name of at least two labels in its one spelling: lower case, no dot at the end.
#[must_use]
pub fn normal_domain(text: &str) -> Option<String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let mut labels = name.split('.');
    let first = labels.next()?;
    let rest: Vec<&str> = labels.collect();
    let last_is_word = rest.last().is_some_and(|l| !l.bytes().all(|b| b.is_ascii_digit()));
    let fits = name.len() <= 253 && label(first) && last_is_word && rest.iter().all(|l| label(l));
    fits.then_some(name)
}

fn show(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
