//! From the tree of a file to [`Config`]: one function per section, every rule with its message.

mod apps;
mod notify;
mod pxe;
mod trust;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::document::Value;
use super::read::{Findings, Located, Section, parse as parse_document, show};
use super::secret::{self, Origin, SecretSource};
use super::{
    Config, ConfigErrors, Credentials, Infrastructure, Proxmox, Server, ServerTypesSource, Warning,
};
use crate::domain::secret::Secret;
use crate::plan::answer::access;

/// Everything a section needs besides its own table.
struct Context<'a> {
    findings: &'a Findings,
    base: &'a Path,
    secrets: &'a dyn SecretSource,
    /// Every secret that was resolved.
    known: RefCell<Vec<Secret<String>>>,
}

pub(super) fn parse(
    path: &Path,
    text: &str,
    secrets: &dyn SecretSource,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let findings = Findings::of(path);
    let base = base_of(path);
    let context = Context { findings: &findings, base, secrets, known: RefCell::default() };
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

/// As [`parse`] reads it, without looking at anything else.
pub(super) fn data_dir(path: &Path, text: &str) -> Result<PathBuf, ConfigErrors> {
    let findings = Findings::of(path);
    let dir = parse_document(path, text, &findings).and_then(|node| {
        let root = Section::root(&node, &findings)?;
        Some(folder(base_of(path), &root, DATA_DIR))
    });
    dir.ok_or_else(|| ConfigErrors(findings.into_parts().0))
}

/// Relative paths start from the file's directory.
fn base_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Key and default of a folder.
type Folder = (&'static str, &'static str);
const DATA_DIR: Folder = ("data_dir", "/var/lib/ironhatch");

fn folder(base: &Path, root: &Section<'_>, (key, default): Folder) -> PathBuf {
    base.join(root.filled(key).map_or_else(|| default.to_owned(), |given| given.value))
}

fn whole(path: &Path, root: &Section<'_>, cx: &Context<'_>) -> Option<Config> {
    let dir = |named: Folder| folder(cx.base, root, named);
    let data_dir = dir(DATA_DIR);
    let types = dir(("server_types_dir", "server-types"));
    let answer_templates_dir = dir(("answer_templates_dir", "answer-templates"));
    let server = match root.section("server") {
        Some(section) => server(section, cx),
        None => {
            root.missing("server", "it needs at least public_url = \"http://ADDRESS:8080\"");
            None
        }
    };
    let pxe = root.section("pxe").and_then(|section| pxe::pxe(section, server.as_ref(), cx));
    let proxmox = root.section("proxmox").map_or_else(default_proxmox, |s| proxmox(s, cx));
    let credentials = root
        .section("credentials")
        .map_or(Credentials { root_password_hash: None, ssh_keys: Vec::new() }, |s| {
            credentials(s, cx)
        });
    let infrastructure = root.section("infrastructure").and_then(|s| infrastructure(s, cx));
    let targets = notify::targets(root, cx);
    let apps = root.section("apps").and_then(|s| apps::apps(s, cx));
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
        targets,
        apps,
        known_secrets: cx.known.take(),
    })
}

/// `server-types.yaml` is taken when it is named, or lies beside the file while there is no directory.
fn server_types_source(base: &Path, named: PathBuf) -> ServerTypesSource {
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
    let tls_files = trust::tls_files(&section, tls, cx);
    let trusted_header = trust::trusted_header(&section, cx);
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
    let value = Server {
        listen: listen_at,
        public_url,
        public_ip,
        public_port,
        tls_listen,
        tls_files,
        trusted_header,
    };
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
struct WebUrl {
    https: bool,
    host: String,
    port: u16,
    path: String,
}

fn web_url(text: &str) -> Result<WebUrl, &'static str> {
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
        && node.value.parse::<IpAddr>().is_err()
    {
        let message = format!(
            "\"{}\" is not an IP address: corosync and the host key are bound to the member's address",
            show(&node.value)
        );
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
            "proxmox.member_key is not set: put the appliance's own key on this member (ironhatch cluster key)",
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
            cx.known.borrow_mut().push(secret.clone());
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
