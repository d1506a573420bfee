//! `[provision]` and `[healthcheck]`: how an app gets into its container, and how success is verified.

use std::collections::{BTreeMap, BTreeSet};

use super::text::{self, Place};
use super::{Context, port, url_path};
use crate::config::document::Value;
use crate::config::read::{Located, Section, show};
use crate::domain::app::{HealthCheck, HealthKind, Input, LxcDefaults, Provision, ProvisionKind};
use crate::domain::words::nearest;
use crate::limits::work::LONGEST_SCRIPT_SEC;

/// The scripts' places in a folder; used when the manifest does not name others.
const INSTALL: &str = "provision/install.sh";
const UPGRADE: &str = "provision/upgrade.sh";
const UNINSTALL: &str = "provision/uninstall.sh";
const HEALTH: &str = "provision/healthcheck.sh";

const TIMEOUT_SEC: u32 = 1800;
const HEALTH_TIMEOUT_SEC: u32 = 120;
const HEALTH_INTERVAL_SEC: u32 = 3;

/// Reads `[provision]`; also returns every file of the folder that it names.
pub(super) fn provision(
    root: &Section<'_>,
    inputs: &[Input],
    lxc: Option<&LxcDefaults>,
    cx: &Context<'_>,
) -> (Option<Provision>, BTreeSet<String>) {
    let mut named = BTreeSet::new();
    let Some(section) = root.section("provision") else {
        root.missing("provision", "how it is installed: kind = \"packages\" or \"script\"");
        return (None, named);
    };
    let script = section.filled("script");
    let packages = packages(&section, cx);
    let services = services(&section, cx);
    let kind = kind(&section, script, packages, services, lxc, cx);
    let env = environment(&section, inputs, cx);
    let assets = assets(&section, cx);
    let timeout_sec = section.within("timeout_sec", 1..=LONGEST_SCRIPT_SEC);
    let user = user(&section, cx);
    let redact_keys = redact_keys(&section, inputs, cx);
    let upgrade = named_or_usual(&section, "upgrade", UPGRADE, cx);
    let uninstall = named_or_usual(&section, "uninstall", UNINSTALL, cx);
    let retry_safe = section.boolean("retry_safe").is_some_and(|r| r.value);
    let keep_assets = section.boolean("keep_assets").is_some_and(|k| k.value);
    section.finish();
    let own = match &kind {
        Some(ProvisionKind::Packages { script, .. }) => script.as_ref(),
        Some(ProvisionKind::Script { script }) => Some(script),
        None => None,
    };
    named.extend([own, upgrade.as_ref(), uninstall.as_ref()].into_iter().flatten().cloned());
    named.extend(assets.iter().cloned());
    let provision = kind.map(|kind| Provision {
        kind,
        env,
        assets,
        timeout_sec: timeout_sec.map_or(TIMEOUT_SEC, |t| t.value),
        user,
        redact_keys,
        upgrade,
        uninstall,
        retry_safe,
        keep_assets,
    });
    (provision, named)
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Packages,
    Script,
}

fn kind(
    section: &Section<'_>,
    script: Option<Located<String>>,
    packages: Option<Vec<String>>,
    services: Option<Located<Vec<String>>>,
    lxc: Option<&LxcDefaults>,
    cx: &Context<'_>,
) -> Option<ProvisionKind> {
    let ways = [("packages", Way::Packages), ("script", Way::Script)];
    let given = section.one_of("kind", &ways);
    if given.is_none() && section.entries().iter().any(|e| e.key == "kind") {
        return None;
    }
    let way = given.unwrap_or(if packages.is_some() { Way::Packages } else { Way::Script });
    if let Some(script) = &script {
        text::script(script, cx);
    }
    match way {
        Way::Packages => {
            let packages = packages.unwrap_or_default();
            if packages.is_empty() {
                section.missing("packages", "the Debian packages that are installed");
            }
            if lxc.is_some_and(|l| {
                !l.ostemplate.starts_with("debian") && !l.ostemplate.starts_with("ubuntu")
            }) {
                let message =
                    "packages are installed with apt: lxc.ostemplate must be a Debian or an Ubuntu";
                cx.findings.wrong(&section.path("kind"), section.place(), message);
            }
            Some(ProvisionKind::Packages {
                packages,
                services: services.map(|s| s.value).unwrap_or_default(),
                script: script.map(|s| s.value),
            })
        }
        Way::Script => {
            if packages.is_some() {
                let message = "kind \"script\" installs no packages by itself: the script does, or kind is \"packages\"";
                cx.findings.wrong(&section.path("packages"), section.place(), message);
            }
            if let Some(services) = services {
                let message = "kind \"script\" enables no services by itself: the script does, or kind is \"packages\"";
                cx.findings.wrong_at(&services, message);
            }
            let script = match script {
                Some(script) => script.value,
                None => {
                    if cx.files.is_some_and(|files| !files.contains_key(INSTALL)) {
                        section.missing("script", &format!("there is no {INSTALL} either"));
                        return None;
                    }
                    INSTALL.to_owned()
                }
            };
            Some(ProvisionKind::Script { script })
        }
    }
}

fn packages(section: &Section<'_>, cx: &Context<'_>) -> Option<Vec<String>> {
    let mut packages: Vec<String> = Vec::new();
    for package in section.strings("packages")? {
        // Debian policy 5.6.7; nothing that apt would read as an option, a version or an architecture.
        let name = &package.value;
        let fits = (2..=100).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b)
            })
            // apt reads a trailing '+' or '-' as "install" and "remove".
            && (!name.ends_with('-') && (!name.ends_with('+') || name.ends_with("++")));
        if !fits {
            let message = format!("\"{}\" is not the name of a Debian package", show(name));
            cx.findings.wrong_at(&package, message);
        } else if packages.contains(name) {
            cx.findings.wrong_at(&package, format!("\"{name}\" is listed twice"));
        } else {
            packages.push(package.value);
        }
    }
    Some(packages)
}

fn services(section: &Section<'_>, cx: &Context<'_>) -> Option<Located<Vec<String>>> {
    let given = section.strings("services")?;
    let node = section.node("services")?;
    let mut services: Vec<String> = Vec::new();
    for unit in given {
        let name = &unit.value;
        // systemd.unit(5), without escapes and without what systemctl would read as a pattern or an option.
        let fits = (1..=200).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.@".contains(&b));
        if !fits {
            let message = format!("\"{}\" is not the name of a systemd unit", show(name));
            cx.findings.wrong_at(&unit, message);
        } else if services.contains(name) {
            cx.findings.wrong_at(&unit, format!("\"{name}\" is listed twice"));
        } else {
            services.push(unit.value);
        }
    }
    Some(Located { value: services, key: node.key, line: node.line, column: node.column })
}

/// Variables that we set ourselves, or that would change how bash itself runs.
const RESERVED: [&str; 10] = [
    "APP_ID",
    "APP_VERSION",
    "GUEST_NAME",
    "GUEST_IP",
    "PATH",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
];

fn environment(
    section: &Section<'_>,
    inputs: &[Input],
    cx: &Context<'_>,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Some(table) = section.section("env") else { return env };
    for entry in table.entries() {
        let path = table.path(&show(&entry.key));
        let wrong = |message: String| cx.findings.wrong(&path, (entry.line, entry.column), message);
        let name = &entry.key;
        let fits = (1..=64).contains(&name.len())
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            wrong("a variable's name has at most 64 letters, digits and '_'".to_owned());
        } else if RESERVED.contains(&name.as_str())
            || name.starts_with("INPUT_")
            || name.starts_with("LD_")
        {
            wrong(format!("\"{name}\" is set by Ironhatch or means something to the shell itself"));
        }
        let value = match &entry.node.value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            other => {
                wrong(format!("a string is expected, this is {}", other.kind()));
                continue;
            }
        };
        if value.contains('\0') {
            wrong("a variable cannot hold a NUL character".to_owned());
        }
        if let Err(reasons) = text::template(&value, Place::Environment, inputs) {
            for reason in reasons {
                let place = (entry.node.line, entry.node.column);
                cx.findings.wrong(&path, place, reason);
            }
        }
        env.insert(name.clone(), value);
    }
    env
}

/// Files that are pushed beside the scripts; a folder stands for all files below it.
fn assets(section: &Section<'_>, cx: &Context<'_>) -> Vec<String> {
    let mut assets: Vec<String> = Vec::new();
    for given in section.strings("assets").unwrap_or_default() {
        let folder = format!("{}/", given.value.trim_end_matches('/'));
        let below: Vec<String> = match cx.files {
            Some(files) if text::check_path(folder.trim_end_matches('/')).is_ok() => {
                files.keys().filter(|name| name.starts_with(&folder)).cloned().collect()
            }
            _ => Vec::new(),
        };
        let found = if below.is_empty() {
            if !text::file(&given, cx) {
                continue;
            }
            vec![given.value.clone()]
        } else {
            below
        };
        for name in found {
            if assets.contains(&name) {
                cx.findings.wrong_at(&given, format!("\"{name}\" is listed twice"));
            } else {
                assets.push(name);
            }
        }
    }
    assets
}

/// A user in the container; `root` when left out.
pub(super) fn user(section: &Section<'_>, cx: &Context<'_>) -> String {
    let Some(given) = section.filled("user") else { return "root".to_owned() };
    let fits = given.value.len() <= 32
        && given.value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && given
            .value
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !fits {
        let message = format!("\"{}\" is not a user name", show(&given.value));
        cx.findings.wrong_at(&given, message);
    }
    given.value
}

fn redact_keys(section: &Section<'_>, inputs: &[Input], cx: &Context<'_>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for key in section.strings("redact_keys").unwrap_or_default() {
        if inputs.iter().any(|i| i.key == key.value) {
            if !keys.contains(&key.value) {
                keys.push(key.value);
            }
            continue;
        }
        let hint = match nearest(&key.value, inputs.iter().map(|i| i.key.as_str())) {
            Some(word) => format!("; did you mean \"{word}\"?"),
            None => String::new(),
        };
        let message = format!("there is no input \"{}\"{hint}", show(&key.value));
        cx.findings.wrong_at(&key, message);
    }
    keys
}

/// A script that the manifest names, else the usual one when it exists.
fn named_or_usual(
    section: &Section<'_>,
    key: &'static str,
    usual: &str,
    cx: &Context<'_>,
) -> Option<String> {
    match section.filled(key) {
        Some(given) => {
            text::script(&given, cx);
            Some(given.value)
        }
        None => cx.files.filter(|f| f.contains_key(usual)).map(|_| usual.to_owned()),
    }
}

#[derive(Clone, Copy)]
enum Look {
    Http,
    Tcp,
    Command,
}

pub(super) fn healthcheck(root: &Section<'_>, cx: &Context<'_>) -> Option<HealthCheck> {
    let Some(section) = root.section("healthcheck") else {
        let usual = cx.files.is_some_and(|files| files.contains_key(HEALTH));
        return usual.then(|| HealthCheck {
            kind: HealthKind::Command { script: HEALTH.to_owned() },
            timeout_sec: HEALTH_TIMEOUT_SEC,
            interval_sec: HEALTH_INTERVAL_SEC,
        });
    };
    let looks = [("http", Look::Http), ("tcp", Look::Tcp), ("command", Look::Command)];
    let look = section.one_of("kind", &looks);
    if look.is_none() && section.filled("kind").is_none() {
        section.missing("kind", "one of: http, tcp, command");
    }
    let place = |key: &'static str| section.node(key);
    let given = [place("port"), place("path"), place("status"), place("script")];
    let timeout = section.within("timeout_sec", 1..=LONGEST_SCRIPT_SEC);
    let interval = section.within("interval_sec", 1..=600);
    let timeout_sec = timeout.as_ref().map_or(HEALTH_TIMEOUT_SEC, |t| t.value);
    let interval_sec = interval.as_ref().map_or(HEALTH_INTERVAL_SEC, |i| i.value);
    if let Some(interval) = interval.as_ref().filter(|i| i.value > timeout_sec) {
        let message = format!("{} is more than timeout_sec ({timeout_sec})", interval.value);
        cx.findings.wrong_at(interval, message);
    }
    let (allowed, word): (&[&str], _) = match look {
        Some(Look::Http) => (&["port", "path", "status"], "http"),
        Some(Look::Tcp) => (&["port"], "tcp"),
        Some(Look::Command) => (&["script"], "command"),
        None => (&["port", "path", "status", "script"], ""),
    };
    for node in given.iter().flatten() {
        let name = node.key.rsplit('.').next().unwrap_or_default();
        if !allowed.contains(&name) {
            cx.findings.wrong_at(node, format!("does not apply to kind {word}"));
        }
    }
    let kind = match look {
        Some(Look::Http) => {
            let path = url_path(&section, "path", cx).unwrap_or_else(|| "/".to_owned());
            let status = status(&section, cx);
            port(&section, "port").map(|port| HealthKind::Http { port, path, status })
        }
        Some(Look::Tcp) => port(&section, "port").map(|port| HealthKind::Tcp { port }),
        Some(Look::Command) => {
            let script = named_or_usual(&section, "script", HEALTH, cx)
                .or_else(|| cx.files.is_none().then(|| HEALTH.to_owned()));
            if script.is_none() {
                section.missing("script", &format!("there is no {HEALTH} either"));
            }
            script.map(|script| HealthKind::Command { script })
        }
        None => None,
    };
    section.finish();
    Some(HealthCheck { kind: kind?, timeout_sec, interval_sec })
}

/// One status code, or a list.
fn status(section: &Section<'_>, cx: &Context<'_>) -> Vec<u16> {
    let Some(node) = section.node("status") else { return Vec::new() };
    let items = match &node.value.value {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        _ => std::slice::from_ref(node.value),
    };
    let mut codes = Vec::new();
    for item in items {
        let code = match item.value {
            Value::Integer(number) => {
                u16::try_from(number).ok().filter(|c| (100..=599).contains(c))
            }
            _ => None,
        };
        match code {
            Some(code) => codes.push(code),
            None => {
                let message = "a status code from 100 to 599 is expected";
                cx.findings.wrong(&node.key, (item.line, item.column), message);
            }
        }
    }
    codes
}

/// Warns about scripts and templates that nothing names: they would not be pushed.
pub(super) fn unused(
    named: &BTreeSet<String>,
    healthcheck: Option<&HealthCheck>,
    cx: &Context<'_>,
) {
    let Some(files) = cx.files else { return };
    let health = match healthcheck.map(|h| &h.kind) {
        Some(HealthKind::Command { script }) => Some(script),
        _ => None,
    };
    for name in files.keys() {
        let meant = name.starts_with("provision/") || name.starts_with("templates/");
        if meant && !named.contains(name) && Some(name) != health {
            let message = format!("\"{name}\" is named nowhere: it is not put into the container");
            cx.findings.warn("provision", (0, 0), message);
        }
    }
}
