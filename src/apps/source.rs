//! One place that apps come from: reads all its apps, and for a Git repository keeps a copy that works offline.
//!
//! ```text
//!   data_dir/catalog/<name>/repository.git   what was fetched, without history
//!                           tree-<commit>/   the folder `apps` of that commit
//!                           state.json       which commit is in use, of which URL and reference, since when
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::folder::{self, AppFolder, Loaded};
use super::{built_in, lint};
use crate::config::apps::{CatalogSource, SourceLocation};
use crate::domain::app::{BrokenApp, CatalogApp, Provenance, SourceStatus};
use crate::domain::time::Timestamp;
use crate::git::{Call, Git, GitError, Remote, is_reference};
use crate::limits::work::{SOURCE_APPS, SOURCE_BYTES, SOURCE_FETCH, SOURCE_FILES, SOURCE_LISTING};

const HEAD: &str = "refs/ironhatch/head";

/// A source as it was last read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) status: SourceStatus,
    pub(super) apps: Vec<CatalogApp>,
    pub(super) broken: Vec<BrokenApp>,
}

/// Why a source could not be refreshed; what it had stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{} cannot be used", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Content(String),
}

/// What is in use of a Git repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    url: String,
    reference: String,
    commit: String,
    refreshed: Timestamp,
    /// By folder: what it holds, and the time of the commit that brought that.
    #[serde(default)]
    changed: BTreeMap<String, Changed>,
}

/// An app's folder as it last changed. The copy has no history: a change is seen when it is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    /// Git's id of the folder's tree.
    tree: String,
    at: Timestamp,
}

pub(super) enum Source {
    BuiltIn,
    Folder { name: String, dir: PathBuf, allow_privileged: bool },
    Git(GitSource),
}

pub(super) struct GitSource {
    name: String,
    allow_privileged: bool,
    /// The address, or why it cannot be used.
    remote: Result<Remote, String>,
    url: String,
    reference: String,
    pub(super) refresh: Option<Duration>,
    dir: PathBuf,
}

impl Source {
    /// `dir`: where copies of Git repositories are kept.
    pub(super) fn new(configured: &CatalogSource, dir: &Path) -> Self {
        let (name, allow_privileged) = (configured.name.clone(), configured.allow_privileged);
        match &configured.location {
            SourceLocation::Folder(dir) => {
                Self::Folder { name, dir: dir.clone(), allow_privileged }
            }
            SourceLocation::Git { repository, reference, refresh } => {
                let remote = if is_reference(reference) {
                    Remote::new(repository).map_err(|e| e.to_string())
                } else {
                    Err(format!("the reference \"{reference}\" is no branch, tag or commit"))
                };
                let url = remote.as_ref().map_or("", Remote::url).to_owned();
                let dir = dir.join(&name);
                let (reference, refresh) = (reference.clone(), *refresh);
                Self::Git(GitSource {
                    name,
                    allow_privileged,
                    remote,
                    url,
                    reference,
                    refresh,
                    dir,
                })
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::BuiltIn => built_in::NAME,
            Self::Folder { name, .. } | Self::Git(GitSource { name, .. }) => name,
        }
    }

    fn location(&self) -> String {
        match self {
            Self::BuiltIn => "built in".to_owned(),
            Self::Folder { dir, .. } => dir.display().to_string(),
            Self::Git(git) => format!("{} {}", git.url, git.reference),
        }
    }

    /// Reads what is on this machine. Blocking.
    pub(super) fn read(&self, now: Timestamp) -> Reading {
        let mut reading = Reading {
            status: SourceStatus {
                name: self.name().to_owned(),
                location: self.location(),
                commit: None,
                refreshed: None,
                problem: None,
            },
            apps: Vec::new(),
            broken: Vec::new(),
        };
        match self {
            Self::BuiltIn => {
                let exercised = built_in::exercised();
                for (folder, loaded) in built_in::load() {
                    reading.take(folder, loaded, exercised.contains(folder), true);
                }
                reading.status.refreshed = Some(now);
            }
            Self::Folder { dir, allow_privileged, .. } => {
                match reading.folders(&dir.join("apps"), *allow_privileged) {
                    Ok(()) => reading.status.refreshed = Some(now),
                    Err(problem) => reading.status.problem = Some(problem),
                }
            }
            Self::Git(git) => git.read(&mut reading),
        }
        reading
    }

    /// The app of this id as it is now. Blocking.
    pub(super) fn load(&self, id: &str) -> Option<AppFolder> {
        let shown = Path::new(id);
        match self {
            Self::BuiltIn => {
                let files = built_in::folders().remove(id)?;
                folder::assemble(shown, files).app
            }
            Self::Folder { dir, .. } => folder::load(&dir.join("apps").join(id), shown).app,
            Self::Git(git) => folder::load(&git.tree(&git.state()?.commit).join(id), shown).app,
        }
    }
}

impl Reading {
    fn folders(&mut self, dir: &Path, allow_privileged: bool) -> Result<(), String> {
        let folders =
            lint::folders(dir).map_err(|e| format!("{} cannot be read: {e}", dir.display()))?;
        if folders.len() > SOURCE_APPS {
            return Err(format!("{} has more than {SOURCE_APPS} folders", dir.display()));
        }
        for path in folders {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let loaded = folder::load(&path, Path::new(&name));
            self.take(&name, loaded, false, allow_privileged);
        }
        Ok(())
    }

    fn take(&mut self, folder: &str, loaded: Loaded, exercised: bool, allow_privileged: bool) {
        let broken = |problems| BrokenApp {
            folder: folder.to_owned(),
            source: self.status.name.clone(),
            problems,
        };
        let Some(app) = loaded.app else {
            let problems = loaded.problems.iter().map(ToString::to_string).collect();
            self.broken.push(broken(problems));
            return;
        };
        if !app.manifest.lxc.unprivileged && !allow_privileged {
            let message = "it wants a privileged container, and its source has no allow_privileged";
            self.broken.push(broken(vec![message.to_owned()]));
            return;
        }
        let icon = app.icon().is_some();
        self.apps.push(CatalogApp {
            manifest: app.manifest,
            provenance: Provenance {
                source: self.status.name.clone(),
                commit: self.status.commit.clone(),
                icon,
                hash: app.hash,
                exercised,
                updated: None,
            },
            readme: app.readme,
        });
    }
}

impl GitSource {
    fn tree(&self, commit: &str) -> PathBuf {
        self.dir.join(format!("tree-{commit}"))
    }

    /// What is in use; nothing when the configuration now means another repository.
    fn state(&self) -> Option<State> {
        let text = fs::read_to_string(self.dir.join("state.json")).ok()?;
        let state: State = serde_json::from_str(&text).ok()?;
        let plain = state.commit.len() >= 40 && state.commit.bytes().all(|b| b.is_ascii_hexdigit());
        (plain && state.url == self.url && state.reference == self.reference).then_some(state)
    }

    fn read(&self, reading: &mut Reading) {
        if let Err(problem) = &self.remote {
            reading.status.problem = Some(problem.clone());
            return;
        }
        let Some(state) = self.state() else {
            reading.status.problem = Some("it was not fetched yet".to_owned());
            return;
        };
        reading.status.commit = Some(state.commit.clone());
        reading.status.refreshed = Some(state.refreshed);
        if let Err(problem) = reading.folders(&self.tree(&state.commit), self.allow_privileged) {
            reading.status.problem = Some(problem);
        }
        for app in &mut reading.apps {
            let changed = state.changed.get(app.manifest.id.as_str());
            app.provenance.updated = changed.map(|c| c.at);
        }
    }

    /// When each app's folder last changed: the time of this commit for those that differ from what was in use, else what
    /// was known.
    async fn changed(
        &self,
        git: &Git,
        repository: &Path,
        commit: &str,
    ) -> Result<BTreeMap<String, Changed>, SourceError> {
        let before = self.state().map(|s| s.changed).unwrap_or_default();
        let time = git.run(Call::new(repository, ["show", "--no-patch", "--format=%ct", commit]));
        let seconds: i64 = time.await?.text().trim().parse().unwrap_or(0);
        let at = Timestamp(seconds.saturating_mul(1000));
        let apps = format!("{commit}:apps");
        let mut list = Call::new(repository, ["ls-tree", "-d", "-z", &apps]);
        list.most_output = SOURCE_LISTING;
        let listing = git.run(list).await?.output;
        let mut changed = BTreeMap::new();
        for line in listing.split(|b| *b == 0) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let Some((head, name)) = line.split_once('\t') else { continue };
            let Some(tree) = head.split_ascii_whitespace().nth(2) else { continue };
            let now = Changed { tree: tree.to_owned(), at };
            let known = before.get(name).filter(|c| c.tree == tree).cloned();
            changed.insert(name.to_owned(), known.unwrap_or(now));
        }
        Ok(changed)
    }

    /// Fetches the reference and puts its apps in place. What was there stays until the new one is complete.
    pub(super) async fn fetch(&self, git: &Git, now: Timestamp) -> Result<(), SourceError> {
        let remote = self.remote.as_ref().map_err(|p| SourceError::Content(p.clone()))?;
        let repository = self.dir.join("repository.git");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SourceError::Io { path, source }
        };
        tokio::fs::create_dir_all(&self.dir).await.map_err(io(&self.dir))?;
        git.init(&repository).await?;
        let shallow = ["--depth=1"];
        let refspec = format!("+{}:{HEAD}", self.reference);
        let fetched = git.run(fetch(&repository, remote, &shallow, &[&refspec])).await;
        match fetched {
            Ok(_) => {}
            // Not every server hands out a commit by its number: then it is among the branches and tags, or nowhere.
            Err(GitError::Failed { .. }) if is_commit(&self.reference) => {
                remove(&repository).await.map_err(io(&repository))?;
                git.init(&repository).await?;
                let all =
                    ["+refs/heads/*:refs/ironhatch/heads/*", "+refs/tags/*:refs/ironhatch/tags/*"];
                git.run(fetch(&repository, remote, &[], &all)).await?;
                git.run(Call::new(&repository, ["update-ref", HEAD, &self.reference])).await?;
            }
            Err(error) => return Err(error.into()),
        }
        let head = format!("{HEAD}^{{commit}}");
        let commit =
            git.run(Call::new(&repository, ["rev-parse", "--verify", &head])).await?.text();
        if self.state().is_none_or(|s| s.commit != commit) || !self.tree(&commit).is_dir() {
            self.check_out(git, &repository, &commit).await?;
        }
        let changed = self.changed(git, &repository, &commit).await?;
        let state = State {
            url: self.url.clone(),
            reference: self.reference.clone(),
            commit: commit.clone(),
            refreshed: now,
            changed,
        };
        let text = serde_json::to_vec(&state)
            .map_err(|e| SourceError::Content(format!("the state cannot be written: {e}")))?;
        let (new, place) = (self.dir.join("state.new"), self.dir.join("state.json"));
        tokio::fs::write(&new, text).await.map_err(io(&new))?;
        tokio::fs::rename(&new, &place).await.map_err(io(&place))?;
        self.sweep(&commit).await.map_err(io(&self.dir))
    }

    async fn check_out(
        &self,
        git: &Git,
        repository: &Path,
        commit: &str,
    ) -> Result<(), SourceError> {
        let apps = format!("{commit}:apps");
        let mut list = Call::new(repository, ["ls-tree", "-r", "--long", "-z", &apps]);
        list.most_output = SOURCE_LISTING;
        let listing = git.run(list).await.map_err(|error| match error {
            GitError::Failed { .. } => {
                SourceError::Content(format!("commit {commit} has no folder \"apps\""))
            }
            other => other.into(),
        })?;
        check_size(&listing.output).map_err(SourceError::Content)?;
        let new = self.dir.join("tree.new");
        let index = self.dir.join("index.new");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| SourceError::Io { path, source }
        };
        remove(&new).await.map_err(io(&new))?;
        remove(&index).await.map_err(io(&index))?;
        tokio::fs::create_dir(&new).await.map_err(io(&new))?;
        let mut read = Call::new(repository, ["read-tree", &apps]);
        read.index = Some(&index);
        git.run(read).await?;
        let mut write = Call::new(repository, ["checkout-index", "--all", "--force", "--quiet"]);
        write.index = Some(&index);
        write.work_tree = Some(&new);
        git.run(write).await?;
        remove(&index).await.map_err(io(&index))?;
        let place = self.tree(commit);
        remove(&place).await.map_err(io(&place))?;
        tokio::fs::rename(&new, &place).await.map_err(io(&place))
    }

    /// Removes the trees of other commits.
    async fn sweep(&self, commit: &str) -> Result<(), std::io::Error> {
        let kept = format!("tree-{commit}");
        let mut entries = tokio::fs::read_dir(&self.dir).await?;
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("tree") && *name != *kept {
                tokio::fs::remove_dir_all(entry.path()).await?;
            }
        }
        Ok(())
    }
}

fn is_commit(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|b| b.is_ascii_hexdigit())
}

fn fetch<'a>(
    repository: &'a Path,
    remote: &'a Remote,
    options: &[&str],
    refspecs: &[&str],
) -> Call<'a> {
    let fixed = ["fetch", "--quiet", "--no-tags", "--force", "--no-write-fetch-head"];
    let mut call = Call::new(repository, fixed);
    let server = ["--", remote.url()];
    let rest = options.iter().chain(&server).chain(refspecs);
    call.arguments.extend(rest.map(Into::into));
    call.remote = Some(remote);
    call.limit = SOURCE_FETCH;
    call
}

async fn remove(path: &Path) -> Result<(), std::io::Error> {
    let removed = match tokio::fs::symlink_metadata(path).await {
        Ok(found) if found.is_dir() => tokio::fs::remove_dir_all(path).await,
        Ok(_) => tokio::fs::remove_file(path).await,
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// `ls-tree --long -z`: `MODE TYPE OBJECT SIZE\tPATH`, each ended by NUL.
fn check_size(listing: &[u8]) -> Result<(), String> {
    let (mut files, mut bytes) = (0_usize, 0_u64);
    for line in listing.split(|b| *b == 0).filter(|l| !l.is_empty()) {
        let head = line.split(|b| *b == b'\t').next().unwrap_or_default();
        let size = String::from_utf8_lossy(head);
        let size = size.split_ascii_whitespace().nth(3).and_then(|s| s.parse().ok());
        files += 1;
        bytes = bytes.saturating_add(size.unwrap_or(0));
    }
    if files > SOURCE_FILES || bytes > SOURCE_BYTES {
        return Err(format!(
            "the folder \"apps\" has {files} files with {bytes} bytes; at most {SOURCE_FILES} files and {SOURCE_BYTES} bytes are read"
        ));
    }
    Ok(())
}

/// The apps of all sources, in their order; of two with the same id the first one counts.
pub(super) fn merge(readings: &[Reading]) -> crate::domain::app::Catalog {
    let mut catalog = crate::domain::app::Catalog::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for reading in readings {
        catalog.sources.push(reading.status.clone());
        catalog.broken.extend(reading.broken.iter().cloned());
        for app in &reading.apps {
            if seen.insert(app.manifest.id.to_string()) {
                catalog.apps.push(app.clone());
            }
        }
    }
    catalog.apps.sort_by(|a, b| a.manifest.id.cmp(&b.manifest.id));
    catalog
}
