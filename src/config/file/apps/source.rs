//! `[[apps.catalog]]`, and how a Git repository is named.

use std::time::Duration;

use super::super::super::apps::{CatalogSource, GitRemote, SourceLocation};
use super::super::super::read::{Located, Section, show};
use super::super::{Context, LiteralPolicy, secret_value};
use crate::plan::answer::access;

/// Name of the apps in the binary.
const BUILT_IN: &str = "built-in";

pub(super) fn sources(section: &Section<'_>, cx: &Context<'_>) -> Vec<CatalogSource> {
    let mut sources: Vec<CatalogSource> = Vec::new();
    for table in section.tables("catalog") {
        let Some((at, source)) = source(table, cx) else { continue };
        if sources.iter().any(|other| other.name == source.name) {
            cx.findings.wrong_at(&at, format!("another source is called \"{}\"", source.name));
        } else {
            sources.push(source);
        }
    }
    sources
}

fn source(section: Section<'_>, cx: &Context<'_>) -> Option<(Located<String>, CatalogSource)> {
    let name = section.filled("name");
    let folder = section.filled("folder");
    let repository = remote(&section, None, cx);
    let has_repository = section.node("repository").is_some();
    let reference = section.filled("reference");
    let hours = section.within("refresh_hours", 0..=8760);
    let privileged = section.boolean("allow_privileged").is_some_and(|p| p.value);
    match &name {
        None => section.missing("name", "a short name, as in \"own\""),
        Some(at) if at.value == BUILT_IN => {
            cx.findings.wrong_at(at, "is the name of the apps in the binary; choose another one");
        }
        Some(at) if !is_slug(&at.value) => {
            let message = format!(
                "\"{}\" is no name of a source: 1 to 40 of a-z, 0-9, '_' and '-', beginning with a letter",
                show(&at.value)
            );
            cx.findings.wrong_at(at, message);
        }
        Some(_) => {}
    }
    if folder.is_some() == has_repository {
        let place = section.place();
        let message = "either folder or repository is needed, and only one of them";
        cx.findings.wrong(&section.path("folder"), place, message);
    }
    if let Some(at) = &reference
        && !is_reference(&at.value)
    {
        let message = format!("\"{}\" is no branch, tag or commit", show(&at.value));
        cx.findings.wrong_at(at, message);
    }
    if folder.is_some() {
        if let Some(at) = &reference {
            cx.findings.warn_at(at, "has no effect on a folder");
        }
        if let Some(at) = &hours {
            cx.findings.warn_at(at, "has no effect on a folder: its changes are noticed");
        }
    }
    section.finish();
    let location = match (folder, repository) {
        (Some(folder), None) => SourceLocation::Folder(cx.base.join(folder.value)),
        (None, Some(repository)) => SourceLocation::Git {
            repository,
            reference: reference.map_or_else(|| DEFAULT_REFERENCE.to_owned(), |r| r.value),
            refresh: match hours.map_or(DEFAULT_HOURS, |h| h.value) {
                0 => None,
                hours => Some(Duration::from_secs(u64::from(hours) * 3600)),
            },
        },
        _ => return None,
    };
    let name = name.filter(|n| is_slug(&n.value) && n.value != BUILT_IN)?;
    let value = name.value.clone();
    Some((name, CatalogSource { name: value, location, allow_privileged: privileged }))
}

pub(super) const DEFAULT_REFERENCE: &str = "main";
/// Catalogs change slowly, and every refresh is a visit.
const DEFAULT_HOURS: u32 = 24;

fn is_slug(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

/// A branch, tag or commit as git names one (git-check-ref-format), without what could be an option or another path.
pub(super) fn is_reference(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.starts_with(['-', '/', '.'])
        && !name.ends_with(['/', '.'])
        && !name.ends_with(".lock")
        && !["..", "//", "@{", "/."].iter().any(|bad| name.contains(bad))
        && name.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b'+' | b'@')
        })
}

/// Ways to reach a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Https,
    Ssh,
    Path,
}

fn transport(url: &str) -> Result<Transport, &'static str> {
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) || url.starts_with('-') {
        return Err("blanks, control characters and a leading '-' are not allowed");
    }
    let after = |scheme: &str| url.strip_prefix(scheme);
    let (transport, rest) = if let Some(rest) = after("https://") {
        (Transport::Https, rest)
    } else if let Some(rest) = after("http://") {
        (Transport::Http, rest)
    } else if let Some(rest) = after("ssh://") {
        (Transport::Ssh, rest)
    } else if url.starts_with('/') {
        return Ok(Transport::Path);
    } else if url.contains("://") {
        return Err("https://, http:// or ssh:// is expected");
    } else {
        let (who, path) = url.split_once(':').ok_or(KINDS)?;
        let (user, host) = who.split_once('@').ok_or(KINDS)?;
        let good = !user.is_empty() && !host.is_empty() && !path.is_empty() && !host.contains('/');
        return if good { Ok(Transport::Ssh) } else { Err(KINDS) };
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((who, _)) if who.contains(':') || transport != Transport::Ssh => Err(
            "user name and password do not belong into the URL: user and password are keys of their own",
        ),
        Some((_, "")) => Err("the host is missing"),
        None if authority.is_empty() => Err("the host is missing"),
        _ => Ok(transport),
    }
}

const KINDS: &str =
    "https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or an absolute path is expected";

/// `repository` with the keys that open it; `None` when it is not given or wrong.
/// `needed` says what it is for when it must be given.
pub(super) fn remote(
    section: &Section<'_>,
    needed: Option<&str>,
    cx: &Context<'_>,
) -> Option<GitRemote> {
    let url = section.filled("repository");
    if let (None, Some(what)) = (&url, needed) {
        section.missing("repository", what);
    }
    let user = section.filled("user");
    let password = secret_value(section, "password", cx, LiteralPolicy::Warn);
    let ssh_key = secret_value(section, "ssh_key", cx, LiteralPolicy::Warn);
    let ssh_host_key = section.filled("ssh_host_key");
    if let Some((at, key)) = &ssh_key
        && !(key.expose().contains("-----BEGIN ") && key.expose().contains("PRIVATE KEY-----"))
    {
        cx.findings.wrong_at(at, "no private key in OpenSSH form (-----BEGIN … PRIVATE KEY-----)");
    }
    if let Some(at) = &ssh_host_key
        && let Err(reason) = access::check_public_key(&at.value)
    {
        cx.findings.wrong_at(at, format!("not an SSH host key line: {reason}"));
    }
    let url = url?;
    let transport = match transport(&url.value) {
        Ok(transport) => transport,
        Err(reason) => {
            // The URL may hold a password: it is not repeated.
            cx.findings.wrong_at(&url, format!("is no repository: {reason}"));
            return None;
        }
    };
    let ssh = transport == Transport::Ssh;
    let http = matches!(transport, Transport::Http | Transport::Https);
    if ssh && ssh_host_key.is_none() {
        section.missing(
            "ssh_host_key",
            "the server's own key, as 'ssh-keyscan HOST' shows it: \"ssh-ed25519 AAAA…\"",
        );
    }
    if ssh && ssh_key.is_none() {
        section.missing("ssh_key", "the private key that opens the repository, as in file:PATH");
    }
    let idle = "has no effect on this kind of repository";
    if let Some((at, _)) = ssh_key.as_ref().filter(|_| !ssh) {
        cx.findings.warn_at(at, idle);
    }
    if let Some(at) = ssh_host_key.as_ref().filter(|_| !ssh) {
        cx.findings.warn_at(at, idle);
    }
    if let Some(at) = user.as_ref().filter(|_| !http) {
        cx.findings.warn_at(at, idle);
    }
    match &password {
        Some((at, _)) if !http => cx.findings.warn_at(at, idle),
        Some((at, _)) if transport == Transport::Http => {
            cx.findings
                .warn_at(at, "goes over the network in clear text: the repository is http://");
        }
        _ => {}
    }
    Some(GitRemote {
        url: url.value,
        user: user.map(|u| u.value),
        password: password.map(|(_, p)| p),
        ssh_key: ssh_key.map(|(_, k)| k),
        ssh_host_key: ssh_host_key.map(|k| k.value.trim().to_owned()),
    })
}
