//! `[apps]` as it is in effect.

use std::time::Duration;

use super::super::apps::{Apps, CommitMode, GitRemote, SourceLocation};
use super::Page;
use crate::domain::boundary::{Boundary, GpuPolicy, GpuRule};

pub(super) fn apps(page: &mut Page, apps: Option<&Apps>) {
    page.section("[apps]");
    page.value("enabled", apps.is_some().into());
    let Some(apps) = apps else { return };
    boundary(page, &apps.boundary);
    page.value("built_in", apps.built_in.into());
    page.number("jobs_at_once", u64::try_from(apps.jobs_at_once).unwrap_or(u64::MAX));
    let days = apps.destroy_failed_after.map_or(0, |after| hours(after) / 24);
    page.number("destroy_failed_after_days", days);
    let folders: Vec<String> = apps.bind_sources.iter().map(|f| f.display().to_string()).collect();
    page.list("bind_sources", &folders);
    let binary = apps.node_binary.as_ref().map_or_else(String::new, |b| b.display().to_string());
    page.text("node_binary", &binary);

    page.section("[apps.caps]");
    let caps = apps.boundary.caps;
    page.number("cores", caps.cores.into());
    page.number("memory_mb", caps.memory_mb.into());
    page.number("disk_gb", caps.disk_gb.into());

    page.section("[apps.defaults]");
    let defaults = &apps.defaults;
    page.text("node", defaults.node.as_ref().map_or("", |n| n.as_str()));
    page.text("storage", defaults.storage.as_str());
    page.text("bridge", defaults.bridge.as_str());
    page.text("domain", defaults.domain.as_deref().unwrap_or(""));
    page.value("monitoring", defaults.monitoring.into());

    gpu(page, &apps.boundary.gpu);
    for source in &apps.sources {
        page.section("[[apps.catalog]]");
        page.text("name", &source.name);
        match &source.location {
            SourceLocation::Folder(folder) => page.text("folder", &folder.display().to_string()),
            SourceLocation::Git { repository, reference, refresh } => {
                remote(page, repository);
                page.text("reference", reference);
                page.number("refresh_hours", refresh.map_or(0, hours));
            }
        }
        page.value("allow_privileged", source.allow_privileged.into());
    }
    if let Some(services) = &apps.services {
        page.section("[apps.services]");
        remote(page, &services.repository);
        page.text("branch", &services.branch);
        let direct = services.mode == CommitMode::Direct;
        page.text("mode", if direct { "direct" } else { "branch" });
        page.text("path", &services.path);
        page.text("file_name", &services.file_name);
        page.text("template", &services.template);
        page.text("author", &services.author);
        page.value("headers", services.headers.into());
        page.value("auth", services.auth.into());
    }
    if let Some(backups) = &apps.backups {
        page.section("[apps.backups]");
        page.text("storage", backups.storage.as_str());
        page.number("every_hours", hours(backups.every));
        page.number("keep", backups.keep.into());
    }
    for entry in &apps.stacks {
        page.section("[[apps.stack]]");
        page.text("server_type", entry.server_type.as_str());
        page.text("app", entry.app.as_str());
        page.section("[apps.stack.fields]");
        for (field, value) in &entry.fields {
            page.text(&toml::Value::from(field.as_str()).to_string(), value);
        }
    }
}

fn boundary(page: &mut Page, boundary: &Boundary) {
    page.text("pool", boundary.pool.as_str());
    page.list("nodes", &texts(&boundary.nodes));
    page.list("storages", &texts(&boundary.storages));
    page.list("backup_storages", &texts(&boundary.backup_storages));
    page.text("template_storage", boundary.template_storage.as_str());
    page.list("bridges", &texts(&boundary.bridges));
    let vnets: Vec<String> =
        boundary.zones.iter().map(|(vnet, zone)| format!("{zone}/{vnet}")).collect();
    page.list("vnets", &vnets);
    let tags = boundary.vlans.iter().map(|tag| i64::from(*tag).into()).collect();
    page.value("vlans", toml::Value::Array(tags));
    page.text("vmids", &format!("{}-{}", boundary.vmids.start(), boundary.vmids.end()));
    let reserved: Vec<u32> = boundary.reserved_vmids.iter().map(|v| v.get()).collect();
    page.list("reserved_vmids", &ranges(&reserved, |n| n.to_string()));
    let reserved: Vec<u32> = boundary.reserved_addresses.iter().map(|a| u32::from(*a)).collect();
    let address = |n: u32| std::net::Ipv4Addr::from(n).to_string();
    page.list("reserved_addresses", &ranges(&reserved, address));
    let features: Vec<String> = boundary.features.iter().map(|f| f.as_str().to_owned()).collect();
    page.list("features", &features);
    page.value("allow_privileged", boundary.allow_privileged.into());
}

fn gpu(page: &mut Page, policy: &GpuPolicy) {
    page.section("[apps.gpu]");
    let (word, rules): (&str, &[GpuRule]) = match policy {
        GpuPolicy::Nobody => ("nobody", &[]),
        GpuPolicy::Everybody => ("everybody", &[]),
        GpuPolicy::Only(rules) => ("only", rules),
    };
    page.text("policy", word);
    for rule in rules {
        page.section("[[apps.gpu.rule]]");
        page.list("apps", &texts(&rule.apps));
        page.text("node", rule.node.as_ref().map_or("", |n| n.as_str()));
        page.list("devices", &texts(&rule.devices));
        let vendors: Vec<String> =
            rule.vendors.iter().map(|v| v.label().to_ascii_lowercase()).collect();
        page.list("vendors", &vendors);
    }
}

fn remote(page: &mut Page, remote: &GitRemote) {
    page.text("repository", &remote.url);
    page.text("user", remote.user.as_deref().unwrap_or(""));
    page.secret("password", remote.password.as_ref());
    page.secret("ssh_key", remote.ssh_key.as_ref());
    page.text("ssh_host_key", remote.ssh_host_key.as_deref().unwrap_or(""));
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn hours(duration: Duration) -> u64 {
    duration.as_secs() / 3600
}

/// Sorted numbers as `FIRST-LAST` where they follow each other.
fn ranges(numbers: &[u32], show: impl Fn(u32) -> String) -> Vec<String> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => found.push((*number, *number)),
        }
    }
    let text = |(first, last): (u32, u32)| {
        if first == last { show(first) } else { format!("{}-{}", show(first), show(last)) }
    };
    found.into_iter().map(text).collect()
}
