//! The answer file as the vendor's parser of each release takes it: unknown keys and forbidden combinations abort.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{Failure, Release, http};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Answer {
    pub global: Global,
    pub network: Network,
    pub disk_setup: DiskSetup,
    pub post_installation_webhook: Option<Webhook>,
    pub first_boot: Option<FirstBoot>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Global {
    pub country: String,
    pub keyboard: String,
    pub timezone: String,
    pub fqdn: Fqdn,
    pub mailto: String,
    #[serde(alias = "root_password")]
    pub root_password: Option<String>,
    #[serde(alias = "root_password_hashed")]
    pub root_password_hashed: Option<String>,
    #[serde(default, alias = "root_ssh_keys")]
    pub root_ssh_keys: Vec<String>,
    #[serde(default, alias = "reboot_on_error", rename = "reboot-on-error")]
    _reboot_on_error: bool,
    #[serde(alias = "reboot_mode")]
    pub reboot_mode: Option<String>,
    #[serde(alias = "subscription_key", rename = "subscription-key")]
    _subscription_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Fqdn {
    Name(String),
    FromDhcp(FqdnFromDhcp),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FqdnFromDhcp {
    pub source: Option<String>,
    pub domain: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Network {
    pub source: Option<String>,
    pub cidr: Option<String>,
    pub gateway: Option<std::net::IpAddr>,
    pub dns: Option<std::net::IpAddr>,
    #[serde(default)]
    pub filter: BTreeMap<String, String>,
    #[serde(rename = "interface-name-pinning")]
    _interface_name_pinning: Option<Pinning>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pinning {
    #[serde(rename = "enabled")]
    _enabled: bool,
    #[serde(default, rename = "mapping")]
    _mapping: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct DiskSetup {
    pub filesystem: String,
    #[serde(default, alias = "disk_list")]
    pub disk_list: Vec<String>,
    #[serde(default)]
    pub filter: BTreeMap<String, String>,
    #[serde(alias = "filter_match")]
    pub filter_match: Option<String>,
    pub zfs: Option<Zfs>,
    pub lvm: Option<Lvm>,
    pub btrfs: Option<Btrfs>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Zfs {
    pub raid: Option<String>,
    #[serde(rename = "ashift")]
    _ashift: Option<u32>,
    #[serde(alias = "arc_max", rename = "arc-max")]
    _arc_max: Option<u32>,
    pub checksum: Option<String>,
    pub compress: Option<String>,
    #[serde(rename = "copies")]
    _copies: Option<u32>,
    #[serde(rename = "hdsize")]
    _hdsize: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lvm {
    pub hdsize: Option<f64>,
    pub swapsize: Option<f64>,
    #[serde(rename = "maxroot")]
    _maxroot: Option<f64>,
    #[serde(rename = "maxvz")]
    _maxvz: Option<f64>,
    #[serde(rename = "minfree")]
    _minfree: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Btrfs {
    pub raid: Option<String>,
    pub compress: Option<String>,
    #[serde(rename = "hdsize")]
    _hdsize: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Webhook {
    pub url: String,
    #[serde(alias = "cert_fingerprint")]
    pub cert_fingerprint: Option<String>,
    #[serde(alias = "auth_token")]
    pub auth_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FirstBoot {
    pub source: String,
    pub ordering: Option<String>,
    pub url: Option<String>,
    #[serde(alias = "cert_fingerprint")]
    pub cert_fingerprint: Option<String>,
}

impl Webhook {
    pub(crate) fn endpoint(&self) -> http::Endpoint<'_> {
        http::Endpoint { url: &self.url, cert_fingerprint: self.cert_fingerprint.as_deref() }
    }
}

impl FirstBoot {
    /// Where the executable is, unless it is on the ISO.
    pub(crate) fn endpoint(&self) -> Option<http::Endpoint<'_>> {
        let url = self.url.as_deref().filter(|_| self.source == "from-url")?;
        Some(http::Endpoint { url, cert_fingerprint: self.cert_fingerprint.as_deref() })
    }
}

const KEYBOARDS: &str = "de de-ch dk en-gb en-us es fi fr fr-be fr-ca fr-ch hu is it jp lt mk nl no pl pt pt-br se si tr";

/// Keys (without section) and the release that first knows them.
const SINCE: [(&str, u32, u32); 8] = [
    ("post-installation-webhook", 8, 3),
    ("first-boot", 8, 3),
    ("root-password-hashed", 8, 3),
    ("reboot-mode", 8, 4),
    ("interface-name-pinning", 9, 1),
    ("subscription-key", 9, 2),
    ("auth-token", 9, 2),
    ("btrfs.compress", 8, 3),
];

/// Parses and checks the body of the answer response.
///
/// # Errors
/// One line that names the key and the rule, as the vendor's parser would on the console.
pub(crate) fn parse(response: &http::Response, release: &Release) -> Result<Answer, Failure> {
    let text = std::str::from_utf8(&response.body).map_err(|_| "answer is not UTF-8")?;
    let json = release.at_least(9, 2) && response.content_type().starts_with("application/json");
    let document: Value = if json {
        serde_json::from_str(text).map_err(|error| format!("answer is not JSON: {error}"))?
    } else {
        toml::from_str(text).map_err(|error| format!("answer is not TOML: {error}"))?
    };
    check_keys(&document, "", release)?;
    let answer: Answer =
        serde_json::from_value(document).map_err(|error| format!("answer: {error}"))?;
    check(&answer, release)?;
    Ok(answer)
}

/// Key style and age: sections are kebab-case always; keys inside them snake_case only before 8.4.
fn check_keys(value: &Value, section: &str, release: &Release) -> Result<(), Failure> {
    let Some(table) = value.as_object() else { return Ok(()) };
    for (key, inner) in table {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        // Tables whose keys are data.
        if path.ends_with(".filter") || path.ends_with(".mapping") {
            continue;
        }
        let is_section = inner.is_object();
        if !is_section && key.contains('-') && !release.at_least(8, 4) {
            return Err(format!(
                "answer: unknown field `{path}`: this release knows snake_case only"
            ));
        }
        let kebab = path.replace('_', "-");
        for (name, major, minor) in SINCE {
            if (kebab == name
                || kebab.ends_with(&format!(".{name}"))
                || kebab.ends_with(name) && name.contains('.'))
                && !release.at_least(major, minor)
            {
                return Err(format!("answer: unknown field `{path}`: since {major}.{minor}"));
            }
        }
        check_keys(inner, &path, release)?;
    }
    Ok(())
}

fn check(answer: &Answer, release: &Release) -> Result<(), Failure> {
    let global = &answer.global;
    rule(
        global.country.len() == 2 && global.country.bytes().all(|byte| byte.is_ascii_lowercase()),
        "global.country",
    )?;
    rule(KEYBOARDS.split(' ').any(|name| name == global.keyboard), "global.keyboard")?;
    rule(!global.timezone.is_empty() && global.timezone != "Etc/UTC", "global.timezone")?;
    rule(global.mailto.contains('@') && global.mailto != "mail@example.invalid", "global.mailto")?;
    rule(
        global.root_password.is_some() != global.root_password_hashed.is_some(),
        "exactly one root password",
    )?;
    if let Some(password) = &global.root_password {
        rule(
            !release.at_least(8, 4) || password.len() >= 8,
            "global.root-password: at least 8 bytes",
        )?;
    }
    rule(one_of(global.reboot_mode.as_deref(), &["reboot", "power-off"]), "global.reboot-mode")?;
    match &global.fqdn {
        Fqdn::Name(name) => rule(valid_fqdn(name), "global.fqdn")?,
        Fqdn::FromDhcp(table) => {
            rule(release.at_least(8, 4), "global.fqdn: a table since 8.4")?;
            rule(one_of(table.source.as_deref(), &["from-dhcp"]), "global.fqdn.source")?;
        }
    }
    check_network(&answer.network, release)?;
    check_disks(&answer.disk_setup)?;
    if let Some(first_boot) = &answer.first_boot {
        rule(matches!(first_boot.source.as_str(), "from-url" | "from-iso"), "first-boot.source")?;
        rule(
            one_of(
                first_boot.ordering.as_deref(),
                &["before-network", "network-online", "fully-up"],
            ),
            "first-boot.ordering",
        )?;
        rule(first_boot.source != "from-url" || first_boot.url.is_some(), "first-boot.url")?;
    }
    Ok(())
}

fn check_network(network: &Network, release: &Release) -> Result<(), Failure> {
    rule(network.source.is_some() || !release.at_least(9, 2), "network.source: missing field")?;
    match network.source.as_deref().unwrap_or("from-dhcp") {
        "from-dhcp" => rule(
            network.cidr.is_none()
                && network.gateway.is_none()
                && network.dns.is_none()
                && network.filter.is_empty(),
            "network: from-dhcp takes no other key",
        ),
        "from-answer" => {
            rule(network.cidr.as_deref().is_some_and(|cidr| cidr.contains('/')), "network.cidr")?;
            rule(network.gateway.is_some() && network.dns.is_some(), "network: gateway and dns")?;
            rule(!network.filter.is_empty(), "network: no filter defined")
        }
        _ => rule(false, "network.source"),
    }
}

fn check_disks(disks: &DiskSetup) -> Result<(), Failure> {
    rule(
        disks.disk_list.is_empty() != disks.filter.is_empty(),
        "disk-setup: exactly one of disk-list and filter",
    )?;
    let on_lvm = match disks.filesystem.as_str() {
        "ext4" | "xfs" => true,
        "zfs" | "btrfs" => false,
        _ => return rule(false, "disk-setup.filesystem"),
    };
    rule(!on_lvm || disks.filter_match.is_none(), "disk-setup.filter-match: only zfs and btrfs")?;
    rule(one_of(disks.filter_match.as_deref(), &["any", "all"]), "disk-setup.filter-match")?;
    rule(!on_lvm || disks.disk_list.len() <= 1, "disk-setup.disk-list: one disk for ext4 and xfs")?;
    rule(disks.lvm.is_none() || on_lvm, "disk-setup.lvm")?;
    rule(disks.zfs.is_none() || disks.filesystem == "zfs", "disk-setup.zfs")?;
    rule(disks.btrfs.is_none() || disks.filesystem == "btrfs", "disk-setup.btrfs")?;
    if disks.filesystem == "zfs" {
        let zfs = disks.zfs.as_ref();
        let raids = ["raid0", "raid1", "raid10", "raidz-1", "raidz-2", "raidz-3"];
        rule(
            zfs.and_then(|zfs| zfs.raid.as_deref()).is_some_and(|raid| raids.contains(&raid)),
            "disk-setup.zfs.raid",
        )?;
        rule(
            one_of(zfs.and_then(|zfs| zfs.checksum.as_deref()), &["on", "fletcher4", "sha256"]),
            "disk-setup.zfs.checksum",
        )?;
        rule(
            one_of(
                zfs.and_then(|zfs| zfs.compress.as_deref()),
                &["on", "off", "lzjb", "lz4", "zle", "gzip", "zstd"],
            ),
            "disk-setup.zfs.compress",
        )?;
    }
    if disks.filesystem == "btrfs" {
        let btrfs = disks.btrfs.as_ref();
        let raid = btrfs.and_then(|btrfs| btrfs.raid.as_deref());
        rule(
            raid.is_some_and(|raid| ["raid0", "raid1", "raid10"].contains(&raid)),
            "disk-setup.btrfs.raid",
        )?;
        rule(
            one_of(
                btrfs.and_then(|btrfs| btrfs.compress.as_deref()),
                &["off", "on", "zlib", "lzo", "zstd"],
            ),
            "disk-setup.btrfs.compress",
        )?;
    }
    if let Some(Lvm { hdsize: Some(hdsize), swapsize: Some(swapsize), .. }) = disks.lvm {
        rule(swapsize <= hdsize / 2.0, "disk-setup.lvm.swapsize")?;
    }
    Ok(())
}

fn rule(holds: bool, which: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(format!("answer is invalid: {which}")) }
}

/// Absent options are fine.
fn one_of(value: Option<&str>, allowed: &[&str]) -> bool {
    value.is_none_or(|value| allowed.contains(&value))
}

fn valid_fqdn(name: &str) -> bool {
    let labels: Vec<&str> = name.split('.').collect();
    let label_ok = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && labels.len() >= 2
        && labels.iter().all(label_ok)
        && labels.first().is_some_and(|first| !first.bytes().all(|byte| byte.is_ascii_digit()))
}
