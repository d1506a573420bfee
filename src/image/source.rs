//! Where an image comes from: a path on this machine or an HTTP(S) URL.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::ImportError;

/// A source of an import. Its text form round-trips.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// A file on the appliance.
    Path(PathBuf),
    /// A file behind HTTP or HTTPS.
    Url(Url),
}

/// The text names no source, or is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot be used for an import: {rule}")]
pub struct BadSource {
    text: String,
    rule: &'static str,
}

impl FromStr for Source {
    type Err = BadSource;

    /// `http://` and `https://` URLs without user and password, or an absolute path.
    fn from_str(text: &str) -> Result<Self, BadSource> {
        let bad = |rule| BadSource { text: text.chars().take(200).collect(), rule };
        if text.starts_with('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        let url = Url::parse(text)
            .map_err(|_| bad("an absolute path or an http:// or https:// URL is expected"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("only http:// and https:// URLs can be fetched"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // The text goes into records, logs and pages.
            return Err(BadSource {
                text: format!("{}://…", url.scheme()),
                rule: "a URL with user or password would show them in logs; use a URL without",
            });
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = BadSource;
    fn try_from(text: String) -> Result<Self, BadSource> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// A SHA-256 that the operator expects, lower-case hex. Parsed when the import is asked for, so that a slip of the pen is
/// not found out after the download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExpectedSha256(String);

impl ExpectedSha256 {
    /// 64 lower-case hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExpectedSha256 {
    type Err = BadSource;

    /// 64 hex digits in either case, blanks around them ignored.
    fn from_str(text: &str) -> Result<Self, BadSource> {
        let digits = text.trim();
        if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Self(digits.to_ascii_lowercase()));
        }
        let text = text.chars().take(80).collect();
        Err(BadSource { text, rule: "a SHA-256 has 64 digits of 0-9 and a-f" })
    }
}

impl TryFrom<String> for ExpectedSha256 {
    type Error = BadSource;
    fn try_from(text: String) -> Result<Self, BadSource> {
        text.parse()
    }
}

impl From<ExpectedSha256> for String {
    fn from(expected: ExpectedSha256) -> Self {
        expected.0
    }
}

/// Opens a regular file; returns it with its length and a text that changes when the file changes.
pub(super) fn open_file(path: &Path) -> Result<(File, u64, String), ImportError> {
    use std::os::unix::fs::MetadataExt;
    let unreadable = |source| ImportError::Unreadable { path: path.to_owned(), source };
    // Opening a FIFO would wait for its writer.
    let kind = std::fs::metadata(path).map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let why = "not a regular file";
        return Err(unreadable(std::io::Error::other(why)));
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let (len, inode) = (metadata.len(), metadata.ino());
    let validator = format!("{inode}-{len}-{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
    Ok((file, len, validator))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn sources_are_absolute_paths_and_web_urls() {
        for good in ["/srv/proxmox-ve_9.2-1.iso", "http://192.0.2.1/x.iso", "https://a.example/x"] {
            assert_eq!(good.parse::<Source>().unwrap().to_string(), good);
        }
        for bad in ["", "x.iso", "ftp://a.example/x", "file:///etc/passwd", "http://"] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_expected_digest_has_64_hex_digits() {
        let upper: ExpectedSha256 = format!(" {}\n", "AB".repeat(32)).parse().unwrap();
        assert_eq!(upper.as_str(), "ab".repeat(32));
        for bad in ["", "ab", &"0".repeat(63), &"g".repeat(64)] {
            assert!(bad.parse::<ExpectedSha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = "https://me:hunter2@a.example/x".parse::<Source>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("user or password"), "{error}");
    }
}
