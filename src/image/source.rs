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

/// The text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot be imported: {rule}")]
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
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = "https://me:hunter2@a.example/x".parse::<Source>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(error.contains("user or password"), "{error}");
    }
}
