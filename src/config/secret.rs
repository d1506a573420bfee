//! Secret references: `env:NAME`, `file:PATH`, or the value itself.

use std::path::Path;

use crate::domain::secret::Secret;

/// Where referenced secrets come from. A trait, so that tests need neither the environment nor files.
pub trait SecretSource {
    /// The value of an environment variable.
    fn env(&self, name: &str) -> Option<String>;

    /// The content of a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn file(&self, path: &Path) -> std::io::Result<String>;
}

/// The process environment and the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSecrets;

impl SecretSource for ProcessSecrets {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        let size = std::fs::metadata(path)?.len();
        if size > MAX_SECRET_BYTES {
            return Err(std::io::Error::other(format!(
                "{size} bytes, a secret has at most {MAX_SECRET_BYTES}"
            )));
        }
        std::fs::read_to_string(path)
    }
}

/// A key or password is never larger; a wrong path to an image must not be read into memory.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// How a secret was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Literal,
    Reference,
}

/// Resolves a reference. Trailing line ends of files and variables do not belong to the secret; a key's own final line
/// end is put back by what reads the key.
///
/// # Errors
/// What is wrong with the reference; never the secret itself.
pub(crate) fn resolve(
    text: &str,
    base: &Path,
    source: &dyn SecretSource,
) -> Result<(Secret<String>, Origin), String> {
    let found = if let Some(name) = text.strip_prefix("env:") {
        let found = source.env(name);
        found.ok_or_else(|| format!("the environment variable {name} is not set"))?
    } else if let Some(path) = text.strip_prefix("file:") {
        let path = base.join(path);
        source.file(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?
    } else {
        return Ok((Secret::new(text.to_owned()), Origin::Literal));
    };
    let value = found.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(format!("'{text}' is empty"));
    }
    Ok((Secret::new(value.to_owned()), Origin::Reference))
}
