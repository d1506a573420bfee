//! A repository's address and its credentials, checked before `git` sees them.

use std::fmt;

use base64::Engine as _;

use super::GitError;
use crate::config::apps::GitRemote;
use crate::domain::secret::Secret;

/// A server that may be talked to.
#[derive(Debug, Clone)]
pub struct Remote {
    pub(super) url: String,
    pub(super) way: Way,
}

/// How the server is reached, with what it needs for that.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// A repository on this machine.
    Path,
    /// HTTP or HTTPS; the value of the `Authorization` header.
    Http { secure: bool, authorization: Option<Secret<String>> },
    /// SSH with its own key and the only host key that is accepted.
    Ssh { key: Secret<String>, host_key: String },
}

impl Remote {
    /// Checks a configured repository.
    ///
    /// # Errors
    /// [`GitError::Unusable`]: what is wrong and what would be allowed.
    pub fn new(configured: &GitRemote) -> Result<Self, GitError> {
        let url = configured.url.trim();
        let wrong = |rule: &str| GitError::Unusable { what: shown(url), rule: rule.to_owned() };
        if url.is_empty() || url.len() > 1000 || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("1 to 1000 printable characters without blanks are expected"));
        }
        let way = if url.starts_with('/') {
            if url.split('/').any(|part| part == "..") {
                return Err(wrong("the path must not contain '..'"));
            }
            Way::Path
        } else if let Some(rest) =
            url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))
        {
            let parsed = url::Url::parse(url).map_err(|_| wrong("it is no URL"))?;
            if !parsed.username().is_empty() || parsed.password().is_some() || rest.contains('@') {
                return Err(wrong(
                    "user and password do not belong into the URL, use the keys of their own",
                ));
            }
            if parsed.query().is_some() || parsed.fragment().is_some() {
                return Err(wrong("a repository's URL has no '?' and no '#'"));
            }
            Way::Http { secure: url.starts_with("https://"), authorization: basic(configured)? }
        } else if url.starts_with("ssh://") || is_scp_like(url) {
            check_ssh(url).map_err(wrong)?;
            let Some(key) = configured.ssh_key.clone() else {
                return Err(wrong("SSH needs a private key (ssh_key)"));
            };
            let line = configured.ssh_host_key.as_deref().unwrap_or_default();
            let Some(host_key) = host_key(line) else {
                return Err(wrong(
                    "SSH needs the server's host key (ssh_host_key), as in \"ssh-ed25519 AAAA…\"",
                ));
            };
            Way::Ssh { key, host_key }
        } else {
            return Err(wrong(
                "https://…, http://…, ssh://…, user@host:path or an absolute path is expected",
            ));
        };
        Ok(Self { url: url.to_owned(), way })
    }

    /// The address as it is configured; it holds no credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The only protocol that `git` may use, as `GIT_ALLOW_PROTOCOL` takes it.
    pub(super) fn protocol(&self) -> &'static str {
        match self.way {
            Way::Path => "file",
            Way::Http { secure: true, .. } => "https",
            Way::Http { secure: false, .. } => "http",
            Way::Ssh { .. } => "ssh",
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// A URL for a message: without what could be a password.
fn shown(url: &str) -> String {
    let cut: String = url.chars().filter(|c| !c.is_control()).take(200).collect();
    match (cut.split_once("://"), cut.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => cut,
    }
}

/// `user:password` for HTTP's basic authentication (RFC 7617); forges take a token as password.
fn basic(configured: &GitRemote) -> Result<Option<Secret<String>>, GitError> {
    let Some(password) = &configured.password else { return Ok(None) };
    let user = configured.user.as_deref().unwrap_or("git");
    let plain = |text: &str| !text.chars().any(char::is_control);
    if user.contains(':') || !plain(user) || !plain(password.expose()) {
        return Err(GitError::Unusable {
            what: "the user or password of the repository".to_owned(),
            rule: "control characters, and ':' in the user, are not allowed".to_owned(),
        });
    }
    let pair = Secret::new(format!("{user}:{}", password.expose()));
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose());
    Ok(Some(Secret::new(format!("Basic {encoded}"))))
}

/// `user@host:path`, git's short way of writing an SSH URL.
fn is_scp_like(url: &str) -> bool {
    url.split_once(':').is_some_and(|(before, path)| {
        before.contains('@') && !before.contains('/') && !path.is_empty() && !path.starts_with("//")
    })
}

/// ssh would read a host or user that begins with '-' as an option.
fn check_ssh(url: &str) -> Result<(), &'static str> {
    let authority = match url.strip_prefix("ssh://") {
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        None => url.split(':').next().unwrap_or_default(),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_some_and(|u| {
        u.starts_with('-') || !u.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    }) {
        return Err("the user may have letters, digits and . _ - (a password has no place there)");
    }
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    if host.is_empty() || host.starts_with('-') || !plain {
        return Err("it names no host");
    }
    Ok(())
}

/// `TYPE BASE64`; a comment behind it is dropped.
fn host_key(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let kind_ok = kind.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b))
        && kind.starts_with(|c: char| c.is_ascii_alphabetic());
    let decoded = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
    (kind_ok && decoded.len() > 16).then(|| format!("{kind} {key}"))
}
