//! The `git` executable, as a tool of ours: fixed arguments, a clean environment, limits. The only place that starts it.
//!
//! It reads no configuration but ours, runs no hooks, asks nobody anything, and opens only the protocol of the configured
//! URL. Credentials reach it through its environment or a private file, never in its arguments, and never enter an error.
//! Called by the catalog's sources and by the publishing of service definitions.

mod remote;
mod run;
#[cfg(test)]
mod test;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::fault::ErrorClass;
use crate::limits::work::{GIT_OUTPUT, GIT_TIME};

pub use remote::Remote;
pub use run::Git;

/// Whether the executable is where [`Git`] looks for it.
#[must_use]
pub fn is_installed() -> bool {
    run::PATH.split(':').any(|dir| Path::new(dir).join("git").is_file())
}

/// Something that is asked of `git`.
#[derive(Debug)]
pub struct Call<'a> {
    /// Repository (`--git-dir`); none for commands that need none.
    pub repository: Option<&'a Path>,
    /// Folder that files are written to (`--work-tree`).
    pub work_tree: Option<&'a Path>,
    /// Index file to use instead of the repository's own.
    pub index: Option<&'a Path>,
    /// The command and its arguments.
    pub arguments: Vec<OsString>,
    /// What it reads from its standard input.
    pub input: Vec<u8>,
    /// The server that it talks to; without one no protocol is allowed at all.
    pub remote: Option<&'a Remote>,
    /// Author and committer, name and mail.
    pub author: Option<(&'a str, &'a str)>,
    /// Most time that it may take.
    pub limit: Duration,
    /// Most bytes that it may print.
    pub most_output: usize,
}

impl<'a> Call<'a> {
    /// A command in a repository, with the limits of local work.
    #[must_use]
    pub fn new<A: Into<OsString>>(
        repository: &'a Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            repository: Some(repository),
            work_tree: None,
            index: None,
            arguments: arguments.into_iter().map(Into::into).collect(),
            input: Vec::new(),
            remote: None,
            author: None,
            limit: GIT_TIME,
            most_output: GIT_OUTPUT,
        }
    }
}

/// What `git` printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Its standard output.
    pub output: Vec<u8>,
}

impl Printed {
    /// The output as text without the line end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim_end().to_owned()
    }
}

/// `git` did not do what it was asked for. Messages hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The configuration names something that cannot be used.
    #[error("{what} cannot be used: {rule}")]
    Unusable {
        /// URL, reference or path.
        what: String,
        /// What is wrong with it.
        rule: String,
    },
    /// It cannot be started.
    #[error("git cannot be started; it must be installed on the appliance")]
    Missing(#[source] std::io::Error),
    /// Files that it needs cannot be written.
    #[error("{} cannot be written", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time. What it was to change may be changed.
    #[error("git {command} did not end within {seconds} s")]
    Timeout {
        /// The command, `fetch`.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// It printed more than it may.
    #[error("git {command} printed more than {most} bytes")]
    TooMuchOutput {
        /// The command.
        command: String,
        /// The limit.
        most: usize,
    },
    /// It failed.
    #[error("git {command} failed: {detail}")]
    Failed {
        /// The command.
        command: String,
        /// What to do with it.
        class: ErrorClass,
        /// What it said, shortened.
        detail: String,
    },
}

impl GitError {
    /// What to do with it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unusable { .. } | Self::Missing(_) => ErrorClass::Denied,
            Self::Timeout { .. } | Self::Files { .. } => ErrorClass::Transient,
            Self::TooMuchOutput { .. } => ErrorClass::Broken,
            Self::Failed { class, .. } => *class,
        }
    }
}

/// Whether a text is a branch, tag or commit that can be passed to `git` where it expects one. Stricter than
/// git-check-ref-format(1): nothing that a refspec or a revision would read as more than a name.
#[must_use]
pub fn is_reference(text: &str) -> bool {
    (1..=200).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-+#".contains(&b))
        && !text.starts_with(['-', '/', '.', '+'])
        && !text.ends_with(['/', '.'])
        && !text.ends_with(".lock")
        && !text.contains("..")
        && !text.contains("//")
        && !text.contains("/.")
}
