//! The validated `[apps]` section: what may be made in the cluster, where apps come from, where services are published.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::boundary::Boundary;
use crate::domain::id::StorageId;
use crate::domain::secret::Secret;

pub use crate::domain::boundary::Defaults;

/// The app layer. Absent from the configuration when `apps.enabled` is not true.
#[derive(Debug, Clone)]
pub struct Apps {
    /// What may be touched.
    pub boundary: Boundary,
    /// What forms propose.
    pub defaults: Defaults,
    /// Catalog sources beside the built-in one, the first wins.
    pub sources: Vec<CatalogSource>,
    /// The apps in the binary are offered.
    pub built_in: bool,
    /// Work on guests at a time.
    pub jobs_at_once: usize,
    /// Where the reverse proxy's definitions are kept; `None`: nothing is published.
    pub services: Option<Services>,
    /// Backups of all guests on a schedule; `None`: none.
    pub backups: Option<BackupSchedule>,
    /// The remains of a failed installation are destroyed after this; `None`: never.
    pub destroy_failed_after: Option<Duration>,
    /// Folders of nodes that may be mounted into guests.
    pub bind_sources: Vec<PathBuf>,
    /// Paths of the appliance's own programs that nodes get: the static binary itself when empty.
    pub node_binary: Option<PathBuf>,
    /// Apps that are installed when a host of a server type becomes ready, by the type's name.
    pub stacks: Vec<StackEntry>,
}

/// Where apps come from.
#[derive(Debug, Clone)]
pub struct CatalogSource {
    /// Its name: a slug.
    pub name: String,
    /// Of which kind.
    pub location: SourceLocation,
    /// Its apps may ask for privileged containers, when the boundary allows any.
    pub allow_privileged: bool,
}

/// Kinds of sources.
#[derive(Debug, Clone)]
pub enum SourceLocation {
    /// A folder of the appliance that has `apps/`.
    Folder(PathBuf),
    /// A Git repository.
    Git {
        /// URL as `git` takes it.
        repository: GitRemote,
        /// Branch, tag or commit.
        reference: String,
        /// Between two refreshes; `None`: only when asked for.
        refresh: Option<Duration>,
    },
}

/// A Git repository and how it is opened.
#[derive(Debug, Clone)]
pub struct GitRemote {
    /// `https://…`, `ssh://…`, `user@host:path` or an absolute path.
    pub url: String,
    /// User name for HTTP.
    pub user: Option<String>,
    /// Password or token for HTTP.
    pub password: Option<Secret<String>>,
    /// Private key (OpenSSH form) for SSH.
    pub ssh_key: Option<Secret<String>>,
    /// The server's host key line for SSH (`type base64`); required for SSH.
    pub ssh_host_key: Option<String>,
}

/// The reverse proxy's repository.
#[derive(Debug, Clone)]
pub struct Services {
    /// The repository.
    pub repository: GitRemote,
    /// Branch that is read and, in direct mode, written.
    pub branch: String,
    /// How a change gets there.
    pub mode: CommitMode,
    /// Folder below which files are written, and nowhere else.
    pub path: String,
    /// File name, a template over `name` and `domain`: `{{ name }}.yaml`.
    pub file_name: String,
    /// Template of the definition, over `name`, `domain`, `address`, `port`, `backend`, `headers`, `auth`, `public`, `health_path`.
    pub template: String,
    /// Author of commits, `Name <mail>`.
    pub author: String,
    /// Value of `headers`.
    pub headers: bool,
    /// Value of `auth`.
    pub auth: bool,
}

/// How a change gets into the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitMode {
    /// Onto the branch.
    Direct,
    /// Onto a branch of its own, `ironhatch/<name>`, for a person to merge.
    Branch,
}

/// Backups on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSchedule {
    /// Where to; one of the approved backup storages.
    pub storage: StorageId,
    /// Between two backups of a guest.
    pub every: Duration,
    /// Archives kept per guest; older ones that we made are deleted.
    pub keep: u32,
}

/// An app that comes with a server type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackEntry {
    /// The server type.
    pub server_type: crate::domain::id::ServerTypeName,
    /// The app.
    pub app: crate::domain::app::AppId,
    /// Fields of its form, as they would be entered; `{{ host }}` in a value is the host's name.
    pub fields: std::collections::BTreeMap<String, String>,
}
