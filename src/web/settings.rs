//! The configuration as page and API show it: what is in effect, what the file says now, and what waits for a restart.
//! Secrets are shown as set.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::api::{Moment, time};
use crate::config::effective::{MASK, listed};
use crate::config::live::{ConfigView, is_live};

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its key below the group, `listen`.
    pub(super) key: String,
    pub(super) value: Shown,
    /// The file has another value, which waits for a restart.
    pub(super) waits: bool,
}

/// How a value is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// As TOML.
    Text(String),
    /// A secret, which is set.
    Secret,
    /// Nothing.
    Unset,
}

/// The values of one section of the file.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// The section, `server`.
    pub(super) name: String,
    pub(super) settings: Vec<Setting>,
}

/// Sections in the order of the documentation; others come after them.
const ORDER: [&str; 6] = ["", "server", "pxe", "proxmox", "credentials", "infrastructure"];

/// Everything that is in effect, by section. Notification targets have their own list.
pub(super) fn groups(view: &ConfigView) -> Vec<Group> {
    let waiting = view.waiting();
    let mut groups: Vec<Group> =
        ORDER.iter().map(|name| Group { name: (*name).to_owned(), settings: Vec::new() }).collect();
    for (path, text) in listed(&view.running) {
        if is_live(&path) {
            continue;
        }
        let (name, key) = path.split_once('.').unwrap_or(("", &path));
        // `apps.gpu.rule[0].node` is of the group `apps`.
        let name = name.split('[').next().unwrap_or_default();
        let waits = waiting.contains(&path);
        let setting = Setting { key: key.to_owned(), value: Shown::of(&text), waits };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.settings.push(setting),
            None => groups.push(Group { name: name.to_owned(), settings: vec![setting] }),
        }
    }
    groups.retain(|group| !group.settings.is_empty());
    groups
}

impl Shown {
    fn of(toml: &str) -> Self {
        match toml {
            "\"\"" | "[]" | "''" => Self::Unset,
            text if text.trim_matches('"') == MASK => Self::Secret,
            text => Self::Text(text.to_owned()),
        }
    }
}

/// The configuration as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Settings")]
pub(super) struct SettingsBody<'a> {
    file: &'a Path,
    /// When the daemon read it first.
    since: Moment,
    /// Why the file as it is now cannot be used.
    errors: Vec<String>,
    last_reload: Option<ReloadBody<'a>>,
    /// Keys whose new values wait for a restart.
    waiting_for_restart: Vec<String>,
    groups: Vec<GroupBody>,
}

/// What a reload changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Reload")]
struct ReloadBody<'a> {
    at: Moment,
    keys: &'a [String],
}

/// The values of one section of the file.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SettingsGroup")]
struct GroupBody {
    name: String,
    settings: Vec<SettingBody>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Setting")]
struct SettingBody {
    key: String,
    /// As TOML; `null`: it is not set, or a secret.
    value: Option<String>,
    /// It is a secret, which is set.
    secret_set: bool,
    waits_for_restart: bool,
}

impl<'a> SettingsBody<'a> {
    pub(super) fn new(view: &'a ConfigView) -> Self {
        Self {
            file: &view.running.path,
            since: time(view.since),
            errors: view.errors.iter().map(ToString::to_string).collect(),
            last_reload: view
                .last
                .as_ref()
                .map(|last| ReloadBody { at: time(last.at), keys: &last.keys }),
            waiting_for_restart: view.waiting(),
            groups: groups(view).into_iter().map(GroupBody::new).collect(),
        }
    }
}

impl GroupBody {
    fn new(group: Group) -> Self {
        let settings = group.settings.into_iter().map(SettingBody::new).collect();
        Self { name: group.name, settings }
    }
}

impl SettingBody {
    fn new(setting: Setting) -> Self {
        let (value, secret_set) = match setting.value {
            Shown::Text(text) => (Some(text), false),
            Shown::Secret => (None, true),
            Shown::Unset => (None, false),
        };
        Self { key: setting.key, value, secret_set, waits_for_restart: setting.waits }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_secret_is_shown_as_set_and_nothing_as_nothing() {
        assert_eq!(Shown::of("\"(secret)\""), Shown::Secret);
        assert_eq!([Shown::of("\"\""), Shown::of("[]")], [Shown::Unset, Shown::Unset]);
        assert_eq!(Shown::of("\"0.0.0.0:8080\""), Shown::Text("\"0.0.0.0:8080\"".into()));
        assert_eq!(Shown::of("false"), Shown::Text("false".into()));
    }
}
