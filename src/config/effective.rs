//! The effective configuration as TOML, with every default filled in and every secret masked.

mod apps;
mod notify;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Config, PxeMode, ServerTypesSource, UnknownPolicy};
use crate::domain::secret::Secret;

/// Stands in a secret's place.
pub const MASK: &str = "(secret)";

/// What stands in a secret's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Shown {
    /// That there is one.
    #[default]
    Masked,
    /// Its digest: for comparing, never for showing.
    Digest,
}

/// Prints a configuration for people. What it prints parses again, except for the masked secrets.
#[must_use]
pub fn effective(config: &Config) -> String {
    print(config, Shown::Masked)
}

/// The keys that differ between two configurations, with dots: `server.listen`. Secrets are compared and not told.
#[must_use]
pub fn differing(one: &Config, other: &Config) -> Vec<String> {
    let (one, other) = (values(one, Shown::Digest), values(other, Shown::Digest));
    let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    keys.into_iter().filter(|key| one.get(*key) != other.get(*key)).cloned().collect()
}

/// Every key with its value as TOML, secrets masked, in the order of the sections.
#[must_use]
pub fn listed(config: &Config) -> Vec<(String, String)> {
    let text = effective(config);
    // What was printed a moment ago is TOML.
    let table: toml::Table = text.parse().unwrap_or_default();
    let mut found = Vec::new();
    collect("", &toml::Value::Table(table), &mut found);
    found
}

fn values(config: &Config, shown: Shown) -> BTreeMap<String, String> {
    let table: toml::Table = print(config, shown).parse().unwrap_or_default();
    let mut found = Vec::new();
    collect("", &toml::Value::Table(table), &mut found);
    found.into_iter().collect()
}

fn collect(path: &str, value: &toml::Value, found: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, value, found);
            }
        }
        toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{path}[{index}]"), item, found);
            }
        }
        other => found.push((path.to_owned(), other.to_string())),
    }
}

fn mask(shown: Shown, secret: &Secret<String>) -> String {
    match shown {
        Shown::Masked => MASK.to_owned(),
        Shown::Digest => {
            Sha256::digest(secret.expose()).iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

fn print(config: &Config, shown: Shown) -> String {
    let mut page = Page { shown, ..Page::default() };
    page.text("data_dir", &config.data_dir.display().to_string());
    let (ServerTypesSource::Directory(types) | ServerTypesSource::File(types)) =
        &config.server_types;
    page.text("server_types_dir", &types.display().to_string());
    page.text("answer_templates_dir", &config.answer_templates_dir.display().to_string());

    page.section("[server]");
    page.text("listen", &config.server.listen.to_string());
    page.text("public_url", &config.server.public_url);
    page.text("tls", if config.server.tls_listen.is_some() { "auto" } else { "off" });
    if let Some(listen) = config.server.tls_listen {
        page.text("tls_listen", &listen.to_string());
    }
    if let Some(files) = &config.server.tls_files {
        page.text("tls_certificate", &files.certificate.display().to_string());
        page.text("tls_key", &files.key.display().to_string());
    }
    if let Some(trusted) = &config.server.trusted_header {
        page.text("trusted_header", &trusted.name);
        let from: Vec<String> = trusted.from.iter().map(ToString::to_string).collect();
        page.list("trusted_proxies", &from);
        page.value("forwarded_for", trusted.forwarded_for.into());
    }

    page.section("[pxe]");
    page.value("enabled", config.pxe.is_some().into());
    if let Some(pxe) = &config.pxe {
        page.list("interface", &pxe.interfaces);
        page.text("subnet", &pxe.subnet.to_string());
        page.text("mode", if pxe.mode == PxeMode::Proxy { "proxy" } else { "full" });
        page.text(
            "unknown",
            if pxe.unknown == UnknownPolicy::Enroll { "enroll" } else { "ignore" },
        );
        if let Some(dir) = &pxe.boot_files_dir {
            page.text("boot_files_dir", &dir.display().to_string());
        }
        if !pxe.kernel_arguments.is_empty() {
            let words: Vec<String> = pxe.kernel_arguments.iter().map(ToString::to_string).collect();
            page.list("kernel_arguments", &words);
        }
        if let PxeMode::Full(pool) = &pxe.mode {
            page.text("pool", &format!("{}-{}", pool.first, pool.last));
            if let Some(gateway) = pool.gateway {
                page.text("gateway", &gateway.to_string());
            }
            let dns: Vec<String> = pool.dns.iter().map(ToString::to_string).collect();
            page.list("dns", &dns);
            let secs = i64::try_from(pool.lease.as_secs()).unwrap_or(i64::MAX);
            page.value("lease_secs", secs.into());
        }
    }

    page.section("[proxmox]");
    page.text("existing_node", config.proxmox.existing_node.as_deref().unwrap_or(""));
    let fingerprint = config
        .proxmox
        .join_fingerprint
        .map_or_else(String::new, |bytes| bytes.map(|b| format!("{b:02X}")).join(":"));
    page.text("join_fingerprint", &fingerprint);
    page.secret("member_key", config.proxmox.member_key.as_ref());
    page.text("member_host_key", config.proxmox.member_host_key.as_deref().unwrap_or(""));
    page.text("cluster_name", &config.proxmox.cluster_name);

    page.section("[credentials]");
    page.secret("root_password_hash", config.credentials.root_password_hash.as_ref());
    page.list("ssh_keys", &config.credentials.ssh_keys);

    page.section("[infrastructure]");
    match &config.infrastructure {
        None => page.text("base_url", ""),
        Some(registry) => {
            page.text("base_url", &registry.base_url);
            page.section("[infrastructure.server_type_map]");
            for (ours, theirs) in &registry.server_type_map {
                page.text(&toml::Value::from(ours.as_str()).to_string(), theirs);
            }
        }
    }

    notify::targets(&mut page, &config.targets);
    apps::apps(&mut page, config.apps.as_ref());
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
    shown: Shown,
}

impl Page {
    fn section(&mut self, header: &str) {
        let _ = writeln!(self.text, "\n{header}");
    }
    fn value(&mut self, key: &str, value: toml::Value) {
        let _ = writeln!(self.text, "{key} = {value}");
    }
    fn text(&mut self, key: &str, text: &str) {
        self.value(key, text.into());
    }
    fn secret(&mut self, key: &str, secret: Option<&Secret<String>>) {
        let text = secret.map_or_else(String::new, |secret| mask(self.shown, secret));
        self.text(key, &text);
    }
    fn number(&mut self, key: &str, number: u64) {
        self.value(key, i64::try_from(number).unwrap_or(i64::MAX).into());
    }
    fn list(&mut self, key: &str, items: &[String]) {
        self.value(key, toml::Value::Array(items.iter().map(|i| i.as_str().into()).collect()));
    }
}
