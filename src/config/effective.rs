//! The effective configuration as TOML, with every default filled in and every secret masked.

mod apps;

use std::fmt::Write as _;

use super::{Config, PxeMode, ServerTypesSource, UnknownPolicy};

const MASK: &str = "(secret)";

/// Prints a configuration for people. What it prints parses again, except for the masked secrets.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut page = Page::default();
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
    page.text("member_key", if config.proxmox.member_key.is_some() { MASK } else { "" });
    page.text("member_host_key", config.proxmox.member_host_key.as_deref().unwrap_or(""));
    page.text("cluster_name", &config.proxmox.cluster_name);

    page.section("[credentials]");
    let hash = config.credentials.root_password_hash.is_some();
    page.text("root_password_hash", if hash { MASK } else { "" });
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

    for hook in &config.webhooks {
        page.section("[[webhook]]");
        page.text("url", &hook.url);
        page.text("secret", if hook.secret.is_some() { MASK } else { "" });
        page.list("events", &hook.events);
    }
    apps::apps(&mut page, config.apps.as_ref());
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn section(&mut self, header: &str) {
        let _ = writeln!(self.0, "\n{header}");
    }
    fn value(&mut self, key: &str, value: toml::Value) {
        let _ = writeln!(self.0, "{key} = {value}");
    }
    fn text(&mut self, key: &str, text: &str) {
        self.value(key, text.into());
    }
    fn number(&mut self, key: &str, number: u64) {
        self.value(key, i64::try_from(number).unwrap_or(i64::MAX).into());
    }
    fn list(&mut self, key: &str, items: &[String]) {
        self.value(key, toml::Value::Array(items.iter().map(|i| i.as_str().into()).collect()));
    }
}
