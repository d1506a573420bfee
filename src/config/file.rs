//! From the tree of a file to [`Config`]: one function per section, every rule with its message.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ipnet::Ipv4Net;

use super::document::Value;
use super::read::{Findings, Located, Section, parse as parse_document, show};
use super::secret::{self, Origin, SecretSource};
use super::{
    Config, ConfigErrors, Credentials, EVENTS, Infrastructure, LeasePool, Proxmox, Pxe, PxeMode,
    Server, ServerTypesSource, UnknownPolicy, Warning, Webhook,
};
use crate::domain::secret::Secret;
use crate::plan::answer::access;
use crate::plan::script::KernelArgument;

/// Everything a section needs besides its own table.
struct Context<'a> {
    findings: &'a Findings,
    base: &'a Path,
    secrets: &'a dyn SecretSource,
}

pub(super) fn parse(
    path: &Path,
    text: &str,
    secrets: &dyn SecretSource,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let findings = Findings::of(path);
    let base = path.parent().unwrap_or(Path::new("."));
    let context = Context { findings: &findings, base, secrets };
    let config = parse_document(path, text, &findings).and_then(|node| {
        let root = Section::root(&node, &findings)?;
        let config = whole(path, &root, &context);
        root.finish();
        config
    });
    let (problems, warnings) = findings.into_parts();
    match config {
        Some(config) if problems.is_empty() => Ok((config, warnings)),
        _ => Err(ConfigErrors(problems)),
    }
}

fn whole(path: &Path, root: &Section<'_>, cx: &Context<'_>) -> Option<Config> {
    let dir = |key: &'static str, default: &str| {
        cx.base.join(root.filled(key).map_or_else(|| default.to_owned(), |d| d.value))
    };
    let data_dir = dir("data_dir", DEFAULT_DATA_DIR);
    let types = dir("server_types_dir", "server-types");
    let answer_templates_dir = dir("answer_templates_dir", "answer-templates");
    let server = match root.section("server") {
        Some(section) => server(section, cx),
        None => {
            root.missing("server", "it needs at least public_url = \"http://ADDRESS:8080\"");
            None
        }
    };
    let pxe = root.section("pxe").and_then(|section| pxe(section, server.as_ref(), cx));
    let proxmox = root.section("proxmox").map_or_else(default_proxmox, |s| proxmox(s, cx));
    let credentials = root
        .section("credentials")
        .map_or(Credentials { root_password_hash: None, ssh_keys: Vec::new() }, |s| {
            credentials(s, cx)
        });
    let infrastructure = root.section("infrastructure").and_then(|s| infrastructure(s, cx));
    let webhooks = webhooks(root, cx);
    Some(Config {
        path: path.to_owned(),
        data_dir,
        server_types: server_types_source(cx.base, types),
        answer_templates_dir,
        server: server?.value,
        pxe,
        proxmox,
        credentials,
        infrastructure,
        webhooks,
    })
}

const DEFAULT_DATA_DIR: &str = "/var/lib/ironhatch";

/// `server-types.yaml` is taken when it is named, or lies beside the file while there is no directory.
fn server_types_source(base: &Path, named: std::path::PathBuf) -> ServerTypesSource {
    if named.extension().is_some_and(|e| e == "yaml" || e == "yml") {
        return ServerTypesSource::File(named);
    }
    let yaml = base.join("server-types.yaml");
    if !named.is_dir() && yaml.is_file() {
        return ServerTypesSource::File(yaml);
    }
    ServerTypesSource::Directory(named)
}

fn server(section: Section<'_>, cx: &Context<'_>) -> Option<Located<Server>> {
    let listen = address(&section, "listen", cx);
    let tls = section.one_of("tls", &[("auto", true), ("off", false)]).unwrap_or(false);
    let tls_listen = address(&section, "tls_listen", cx);
    if let (Some(at), false) = (&tls_listen, tls) {
        cx.findings.warn_at(at, "has no effect without tls = \"auto\"");
    }
    let public = section.filled("public_url");
    if public.is_none() {
        section.missing("public_url", "machines need it: http://ADDRESS:PORT with an IP address");
    }
    let place = public.as_ref().map_or((0, 0), |p| (p.line, p.column));
    let public = public.and_then(|given| public_url(given, cx));
    let listen_at = listen.as_ref().map_or(DEFAULT_LISTEN, |l| l.value);
    let tls_listen = tls.then(|| tls_listen.map_or(DEFAULT_TLS_LISTEN, |l| l.value));
    if tls_listen.is_some_and(|tls| tls.port() == listen_at.port()) {
        let message = format!("port {} is already that of server.listen", listen_at.port());
        cx.findings.wrong(&section.path("tls_listen"), section.place(), message);
    }
    section.finish();
    let (public_url, public_ip, public_port) = public?;
    if listen_at.ip().is_loopback() && !public_ip.is_loopback() {
        let message = format!("{listen_at} is reached from this machine only, not as {public_url}");
        match &listen {
            Some(at) => cx.findings.warn_at(at, message),
            None => cx.findings.warn("server.listen", (0, 0), message),
        }
    }
    let value = Server { listen: listen_at, public_url, public_ip, public_port, tls_listen };
    Some(Located { value, key: "server.public_url".to_owned(), line: place.0, column: place.1 })
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const DEFAULT_TLS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);

fn address(
    section: &Section<'_>,
    key: &'static str,
    cx: &Context<'_>,
) -> Option<Located<SocketAddr>> {
    let given = section.filled(key)?;
    match given.value.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => {
            cx.findings
                .wrong_at(&given, "port 0 is not an address that machines can be told; 1 to 65535");
            None
        }
        Ok(value) => {
            Some(Located { value, key: given.key, line: given.line, column: given.column })
        }
        Err(_) => {
            let message =
                format!("\"{}\" is not ADDRESS:PORT, as in 0.0.0.0:8080", show(&given.value));
            cx.findings.wrong_at(&given, message);
            None
        }
    }
}

/// Scheme, host and port of an http(s) URL; `None` when it is not one.
pub(super) struct WebUrl {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: String,
}

pub(super) fn web_url(text: &str) -> Result<WebUrl, &'static str> {
    let (https, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("http:// or https:// is expected at its beginning"),
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return Err("blanks, control characters and non-ASCII characters are not allowed");
    }
    if rest.contains(['?', '#']) {
        return Err("a query or fragment is not allowed");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("a user name or password is not allowed");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("']' is missing after the address")?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err("only :PORT may follow the address"),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    let port = match port {
        None => {
            if https {
                443
            } else {
                80
            }
        }
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err("the port must be 1 to 65535"),
        },
    };
    Ok(WebUrl { https, host: host.to_owned(), port, path: path.to_owned() })
}

fn public_url(given: Located<String>, cx: &Context<'_>) -> Option<(String, IpAddr, u16)> {
    let wrong = |message: &str| {
        let shown = show(&given.value);
        cx.findings.wrong_at(&given, format!("\"{shown}\" cannot be used: {message}"));
        None
    };
    let url = match web_url(&given.value) {
        Ok(url) => url,
        Err(reason) => return wrong(reason),
    };
    if !url.path.is_empty() {
        return wrong("a path is not allowed; machines use fixed paths below the host");
    }
    let Ok(ip) = url.host.parse::<IpAddr>() else {
        return wrong(
            "the host must be an IP address, as in http://192.0.2.10:8080; firmware may have no DNS",
        );
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return wrong("this address belongs to no machine; take the one that machines reach");
    }
    if url.https {
        cx.findings.warn_at(
            &given,
            "firmware and iPXE cannot check a self-signed certificate; use http here and server.tls = \"auto\"",
        );
    }
    Some((given.value.trim_end_matches('/').to_owned(), ip, url.port))
}

fn pxe(section: Section<'_>, server: Option<&Located<Server>>, cx: &Context<'_>) -> Option<Pxe> {
    let enabled = section.boolean("enabled");
    let on = enabled.as_ref().is_some_and(|e| e.value);
    let interfaces = interfaces(&section, on, cx);
    let subnet = subnet(&section, on, cx);
    let full = section.one_of("mode", &[("proxy", false), ("full", true)]).unwrap_or(false);
    let unknown = [("enroll", UnknownPolicy::Enroll), ("ignore", UnknownPolicy::Ignore)];
    let unknown = section.one_of("unknown", &unknown).unwrap_or(UnknownPolicy::Enroll);
    let boot_files_dir = section.filled("boot_files_dir").map(|d| cx.base.join(d.value));
    let kernel_arguments = kernel_arguments(&section, cx);
    let net = subnet.as_ref().map(|s| s.value);
    let pool = lease_pool(&section, full, net, cx);
    if enabled.is_none() && !section.is_empty() {
        let message = "is not set, so network boot is off; enabled = true switches it on";
        cx.findings.warn(&section.path("enabled"), section.place(), message);
    }
    section.finish();
    if !on {
        return None;
    }
    if let Some(server) = server {
        reachable(server, subnet.as_ref(), cx);
    }
    let mode = if full { PxeMode::Full(pool?) } else { PxeMode::Proxy };
    let interfaces = interfaces?;
    Some(Pxe { interfaces, subnet: net?, mode, unknown, boot_files_dir, kernel_arguments })
}

fn kernel_arguments(section: &Section<'_>, cx: &Context<'_>) -> Vec<KernelArgument> {
    let words = section.strings("kernel_arguments").unwrap_or_default();
    let parsed = words.iter().filter_map(|word| match KernelArgument::parse(&word.value) {
        Ok(argument) => Some(argument),
        Err(error) => {
            cx.findings.wrong_at(word, error.to_string());
            None
        }
    });
    parsed.collect()
}

/// Rules that bind `server.public_url` to network boot.
fn reachable(server: &Located<Server>, subnet: Option<&Located<Ipv4Net>>, cx: &Context<'_>) {
    let IpAddr::V4(ip) = server.value.public_ip else {
        let message = "must be an IPv4 address while pxe.enabled = true: network boot here is IPv4";
        cx.findings.wrong_at(server, message);
        return;
    };
    if ip.is_loopback() {
        let message = "a loopback address cannot be reached by machines while pxe.enabled = true";
        cx.findings.wrong_at(server, message);
    } else if let Some(subnet) = subnet.filter(|s| !s.value.contains(&ip)) {
        let message = format!(
            "{ip} of server.public_url is outside {}; machines reach it only through a router",
            subnet.value
        );
        cx.findings.warn_at(subnet, message);
    }
}

fn interfaces(section: &Section<'_>, on: bool, cx: &Context<'_>) -> Option<Vec<String>> {
    let given = section.strings("interface").unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    let mut good = true;
    for name in given.iter().filter(|n| !n.value.is_empty()) {
        // Linux: IFNAMSIZ is 16 with the final NUL; no slash, no white space.
        let legal = name.value.len() <= 15
            && !matches!(name.value.as_str(), "." | "..")
            && name.value.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
        if !legal {
            good = false;
            let message = format!(
                "\"{}\" is not an interface name: 1 to 15 characters without blanks, '/' and ':'",
                show(&name.value)
            );
            cx.findings.wrong_at(name, message);
        } else if names.contains(&name.value) {
            cx.findings.warn_at(name, format!("\"{}\" is listed twice", name.value));
        } else {
            names.push(name.value.clone());
        }
    }
    let wrong_type =
        given.is_empty() && section.node("interface").is_some_and(|n| !n.value.value.is_empty());
    if on && good && names.is_empty() && !wrong_type {
        let message =
            "is needed while pxe.enabled = true: the name of an interface, or a list of names";
        let place = given.first().map_or(section.place(), |g| (g.line, g.column));
        cx.findings.wrong(&section.path("interface"), place, message);
    }
    (good && !names.is_empty()).then_some(names)
}

fn subnet(section: &Section<'_>, on: bool, cx: &Context<'_>) -> Option<Located<Ipv4Net>> {
    let Some(given) = section.filled("subnet") else {
        if on {
            section.missing("subnet", "the served segment is expected, as in 192.0.2.0/24");
        }
        return None;
    };
    match given.value.parse::<Ipv4Net>() {
        Ok(net) if net.prefix_len() == 0 || net.prefix_len() > 30 => {
            let message =
                format!("{net} is no segment with machines: a prefix of 1 to 30 is allowed");
            cx.findings.wrong_at(&given, message);
            None
        }
        Ok(net) => {
            if net.addr() != net.network() {
                cx.findings.warn_at(&given, format!("is taken as {}", net.trunc()));
            }
            let Located { key, line, column, .. } = given;
            Some(Located { value: net.trunc(), key, line, column })
        }
        Err(_) => {
            let message =
                format!("\"{}\" is not an IPv4 network, as in 192.0.2.0/24", show(&given.value));
            cx.findings.wrong_at(&given, message);
            None
        }
    }
}

fn lease_pool(
    section: &Section<'_>,
    full: bool,
    net: Option<Ipv4Net>,
    cx: &Context<'_>,
) -> Option<LeasePool> {
    let range = section.filled("pool");
    let gateway = section.filled("gateway");
    let dns = section.strings("dns").unwrap_or_default();
    let lease_secs = section.integer("lease_secs");
    if !full {
        for idle in [range.as_ref(), gateway.as_ref(), dns.first()].into_iter().flatten() {
            cx.findings.warn_at(idle, "has no effect without mode = \"full\"");
        }
        if let Some(idle) = &lease_secs {
            cx.findings.warn_at(idle, "has no effect without mode = \"full\"");
        }
        return None;
    }
    let ip = |at: &Located<String>| {
        let parsed = at.value.parse::<Ipv4Addr>().ok();
        if parsed.is_none() {
            let message = format!("\"{}\" is not an IPv4 address", show(&at.value));
            cx.findings.wrong_at(at, message);
        }
        parsed
    };
    let gateway_ip = gateway.as_ref().map(ip);
    if let (Some(Some(ip)), Some(net), Some(at)) = (gateway_ip, net, &gateway)
        && !net.contains(&ip)
    {
        cx.findings.wrong_at(at, format!("{ip} is outside pxe.subnet {net}"));
    }
    let dns: Vec<Option<Ipv4Addr>> = dns.iter().map(ip).collect();
    let lease = match &lease_secs {
        None => Some(DEFAULT_LEASE_SECS),
        Some(at) => match u64::try_from(at.value) {
            Ok(secs @ MIN_LEASE_SECS..=MAX_LEASE_SECS) => Some(secs),
            _ => {
                let message = format!(
                    "{} is not a lease time; {MIN_LEASE_SECS} to {MAX_LEASE_SECS} seconds",
                    at.value
                );
                cx.findings.wrong_at(at, message);
                None
            }
        },
    };
    let Some(range) = range else {
        section.missing("pool", "mode = \"full\" needs a range, as in 192.0.2.100-192.0.2.199");
        return None;
    };
    let (first, last) = pool_range(&range, net, cx)?;
    Some(LeasePool {
        first,
        last,
        gateway: gateway_ip.flatten(),
        dns: dns.into_iter().collect::<Option<_>>()?,
        lease: Duration::from_secs(lease?),
    })
}

/// Long enough for an installation, short enough that a small pool recovers.
const DEFAULT_LEASE_SECS: u64 = 3600;
/// Below this, renewals are a large part of the traffic.
const MIN_LEASE_SECS: u64 = 120;
/// A month: an isolated install segment needs no longer memory.
const MAX_LEASE_SECS: u64 = 30 * 24 * 3600;

fn pool_range(
    range: &Located<String>,
    net: Option<Ipv4Net>,
    cx: &Context<'_>,
) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ends = range.value.split_once('-').and_then(|(a, b)| {
        Some((a.trim().parse::<Ipv4Addr>().ok()?, b.trim().parse::<Ipv4Addr>().ok()?))
    });
    let Some((first, last)) = ends else {
        let message =
            format!("\"{}\" is not a range, as in 192.0.2.100-192.0.2.199", show(&range.value));
        cx.findings.wrong_at(range, message);
        return None;
    };
    if first > last {
        cx.findings.wrong_at(range, format!("{first} comes after {last}"));
        return None;
    }
    let net = net?;
    let inside = |ip: Ipv4Addr| net.contains(&ip) && ip != net.network() && ip != net.broadcast();
    if !inside(first) || !inside(last) {
        cx.findings.wrong_at(range, format!("{first}-{last} is not inside pxe.subnet {net}"));
        return None;
    }
    Some((first, last))
}

fn default_proxmox() -> Proxmox {
    Proxmox {
        existing_node: None,
        join_fingerprint: None,
        member_key: None,
        member_host_key: None,
        cluster_name: DEFAULT_CLUSTER.to_owned(),
    }
}

const DEFAULT_CLUSTER: &str = "ironhatch";

fn proxmox(section: Section<'_>, cx: &Context<'_>) -> Proxmox {
    let existing = section.filled("existing_node");
    let fingerprint = section.filled("join_fingerprint");
    let member_key = secret_value(&section, "member_key", cx, LiteralPolicy::Warn);
    let host_key = section.filled("member_host_key");
    let cluster = section.filled("cluster_name");
    if let Some(node) = &existing
        && !is_host(&node.value)
    {
        let message = format!("\"{}\" is neither an IP address nor a host name", show(&node.value));
        cx.findings.wrong_at(node, message);
    }
    let join_fingerprint = fingerprint.as_ref().and_then(|given| {
        let parsed = access::fingerprint(&given.value);
        if parsed.is_none() {
            let message = "64 hex digits (SHA-256) are expected, with or without colons between pairs; \
                           'pvenode cert info' on the member shows it";
            cx.findings.wrong_at(given, message);
        }
        parsed
    });
    if let Some(key) = &host_key
        && let Err(reason) = access::check_public_key(&key.value)
    {
        cx.findings.wrong_at(key, format!("not an SSH host key line: {reason}"));
    }
    if let Some((at, key)) = &member_key
        && !(key.expose().contains("-----BEGIN ") && key.expose().contains("PRIVATE KEY-----"))
    {
        cx.findings.wrong_at(at, "no private key in OpenSSH form (-----BEGIN … PRIVATE KEY-----)");
    }
    match (&existing, &member_key) {
        (Some(node), None) => cx.findings.warn_at(
            node,
            "proxmox.member_key is not set: without a key that opens this member as root, hosts cannot join it",
        ),
        (None, Some((at, _))) => {
            cx.findings.warn_at(at, "has no effect without proxmox.existing_node");
        }
        _ => {}
    }
    if let (None, Some(at)) = (&existing, &fingerprint) {
        cx.findings.warn_at(at, "has no effect without proxmox.existing_node");
    }
    if let Some(name) = &cluster
        && !is_cluster_name(&name.value)
    {
        let message = format!(
            "\"{}\" is not a cluster name: 1 to 15 letters, digits or '-', a letter or digit at both ends",
            show(&name.value)
        );
        cx.findings.wrong_at(name, message);
    }
    section.finish();
    Proxmox {
        existing_node: existing.map(|n| n.value),
        join_fingerprint,
        member_key: member_key.map(|(_, key)| key),
        member_host_key: host_key.map(|k| k.value),
        cluster_name: cluster.map_or_else(|| DEFAULT_CLUSTER.to_owned(), |c| c.value),
    }
}

/// `pvecm create` takes at most 15 characters of a host name label (PVE's `clustername` option).
fn is_cluster_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 15
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let looks_numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.len() <= 253
        && !looks_numeric
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LiteralPolicy {
    Accept,
    Warn,
}

/// A secret that may be a reference; the place is kept for later rules.
fn secret_value(
    section: &Section<'_>,
    key: &'static str,
    cx: &Context<'_>,
    literal: LiteralPolicy,
) -> Option<(Located<()>, Secret<String>)> {
    let given = section.filled(key)?;
    let at = Located { value: (), key: given.key, line: given.line, column: given.column };
    match secret::resolve(&given.value, cx.base, cx.secrets) {
        Ok((secret, origin)) => {
            if origin == Origin::Literal && literal == LiteralPolicy::Warn {
                let message =
                    "the secret is written in the file itself; env:NAME or file:PATH keeps it out";
                cx.findings.warn_at(&at, message);
            }
            Some((at, secret))
        }
        Err(reason) => {
            cx.findings.wrong_at(&at, reason);
            None
        }
    }
}

fn credentials(section: Section<'_>, cx: &Context<'_>) -> Credentials {
    let hash = secret_value(&section, "root_password_hash", cx, LiteralPolicy::Accept);
    if let Some((at, hash)) = &hash
        && let Err(reason) = access::check_crypt(hash.expose())
    {
        cx.findings.wrong_at(at, reason);
    }
    let mut ssh_keys = Vec::new();
    for key in section.strings("ssh_keys").unwrap_or_default() {
        match access::check_public_key(&key.value) {
            Ok(()) => ssh_keys.push(key.value.trim().to_owned()),
            Err(reason) => cx.findings.wrong_at(&key, format!("not a public SSH key: {reason}")),
        }
    }
    section.finish();
    Credentials { root_password_hash: hash.map(|(_, hash)| hash), ssh_keys }
}

fn infrastructure(section: Section<'_>, cx: &Context<'_>) -> Option<Infrastructure> {
    let base = section.filled("base_url");
    let mut server_type_map = BTreeMap::new();
    if let Some(map) = section.section("server_type_map") {
        for entry in map.entries() {
            let key = map.path(&show(&entry.key));
            match &entry.node.value {
                Value::String(text) if !text.is_empty() => {
                    server_type_map.insert(entry.key.clone(), text.clone());
                }
                Value::String(_) => {
                    cx.findings.wrong(&key, (entry.line, entry.column), "is empty");
                }
                other => {
                    let message = format!("a string is expected, this is {}", other.kind());
                    cx.findings.wrong(&key, (entry.line, entry.column), message);
                }
            }
        }
    }
    section.finish();
    let base = base?;
    if let Err(reason) = web_url(&base.value) {
        let shown = show(&base.value);
        cx.findings.wrong_at(&base, format!("\"{shown}\" cannot be used: {reason}"));
    }
    let base_url = base.value.trim_end_matches('/').to_owned();
    Some(Infrastructure { base_url, server_type_map })
}

fn webhooks(root: &Section<'_>, cx: &Context<'_>) -> Vec<Webhook> {
    let Some(list) = root.node("webhook") else { return Vec::new() };
    let Value::Array(items) = &list.value.value else {
        cx.findings.wrong_at(&list, "a list is expected: one [[webhook]] table each");
        return Vec::new();
    };
    let mut hooks = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("webhook[{index}]");
        let Some(section) = Section::of(path, item, cx.findings) else { continue };
        let url = section.filled("url");
        let secret = secret_value(&section, "secret", cx, LiteralPolicy::Warn);
        let events = section.strings("events").unwrap_or_default();
        for event in events.iter().filter(|e| !EVENTS.contains(&e.value.as_str())) {
            let message =
                format!("\"{}\" is not an event; known: {}", show(&event.value), EVENTS.join(", "));
            cx.findings.wrong_at(event, message);
        }
        match url {
            None => section.missing("url", "where to POST, as in https://hooks.example.net/x"),
            Some(url) => match web_url(&url.value) {
                Err(reason) => {
                    let shown = show(&url.value);
                    cx.findings.wrong_at(&url, format!("\"{shown}\" cannot be used: {reason}"));
                }
                Ok(_) => hooks.push(Webhook {
                    url: url.value,
                    secret: secret.map(|(_, s)| s),
                    events: events.into_iter().map(|e| e.value).collect(),
                }),
            },
        }
        section.finish();
    }
    hooks
}
