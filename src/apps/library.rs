//! The catalog as a whole: all sources, their refresh, and the files of what is or was in it.
//!
//! Owned by one value that is cheap to clone; one refresh runs at a time. Opening reads only this machine, so that no
//! server can hold up the start.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::copies::{Copies, CopyError};
use super::folder::AppFolder;
use super::source::{Reading, Source, merge};
use crate::config::apps::{Apps, CatalogSource};
use crate::domain::app::{Catalog, ContentHash};
use crate::domain::refusal::with_causes;
use crate::domain::time::Timestamp;
use crate::git::Git;

/// Folders of the appliance are looked at again after this.
const FOLDERS_EVERY: Duration = Duration::from_secs(60);
/// A failed fetch is tried again after this, when that is sooner than the schedule.
const RETRY_AFTER: Duration = Duration::from_secs(300);

/// All apps, and where they come from.
#[derive(Clone)]
pub struct Library(Arc<Inner>);

struct Inner {
    sources: Vec<Source>,
    readings: Mutex<Vec<Reading>>,
    /// Held while a source is refreshed.
    refreshing: tokio::sync::Mutex<()>,
    catalog: watch::Sender<Arc<Catalog>>,
    copies: Copies,
    git: Git,
    clock: Clock,
}

/// Whether the apps in the binary are in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// They are, behind those of the configured sources.
    Offered,
    /// They are not.
    Withheld,
}

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("sources", &self.0.sources.len()).finish_non_exhaustive()
    }
}

/// A source was not refreshed; what it had stays in use.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// There is no such source.
    #[error("there is no catalog source \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
    },
    /// It cannot be fetched or read. The reason is in its status as well.
    #[error("the catalog source \"{name}\" was not refreshed: {reason}")]
    Failed {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// The files of an app are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Neither the catalog nor the copies have it.
    #[error("the app's files are gone: no source has this version any more, and no copy was kept ({})", hash.0)]
    Gone {
        /// What was asked for.
        hash: ContentHash,
    },
    /// The kept copy cannot be used.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Reading was interrupted.
    #[error("reading the app's files was interrupted")]
    Interrupted,
}

impl Library {
    /// Reads all configured sources as they are on this machine. Git repositories are fetched by [`Library::run`] and on
    /// demand.
    pub async fn open(data_dir: &Path, apps: &Apps, clock: Clock) -> Self {
        let built_in = if apps.built_in { BuiltIn::Offered } else { BuiltIn::Withheld };
        Self::of(data_dir, &apps.sources, built_in, clock).await
    }

    /// As [`Library::open`], without the rest of the configuration.
    pub async fn of(
        data_dir: &Path,
        sources: &[CatalogSource],
        built_in: BuiltIn,
        clock: Clock,
    ) -> Self {
        let dir = data_dir.join("catalog");
        let mut sources: Vec<Source> =
            sources.iter().map(|source| Source::new(source, &dir)).collect();
        if built_in == BuiltIn::Offered {
            sources.push(Source::BuiltIn);
        }
        let library = Self(Arc::new(Inner {
            sources,
            readings: Mutex::new(Vec::new()),
            refreshing: tokio::sync::Mutex::new(()),
            catalog: watch::Sender::new(Arc::default()),
            copies: Copies::new(data_dir.join("apps")),
            git: Git::new(dir.join(".git-private")),
            clock,
        }));
        let inner = Arc::clone(&library.0);
        let read = tokio::task::spawn_blocking(move || {
            let now = (inner.clock)();
            inner.sources.iter().map(|source| source.read(now)).collect::<Vec<_>>()
        });
        if let Ok(readings) = read.await {
            *library.readings() = readings;
        }
        library.publish();
        library
    }

    fn readings(&self) -> std::sync::MutexGuard<'_, Vec<Reading>> {
        self.0.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the readings together and tells everybody, when something changed.
    fn publish(&self) {
        let catalog = merge(&self.readings());
        self.0.catalog.send_if_modified(|current| {
            let changed = **current != catalog;
            if changed {
                *current = Arc::new(catalog);
            }
            changed
        });
    }

    /// The catalog as it is now.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.catalog.borrow())
    }

    /// The catalog as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.0.catalog.subscribe()
    }

    /// Fetches a Git source, or reads a folder again, and publishes the result.
    ///
    /// # Errors
    /// [`RefreshError`]; the apps that the source had stay.
    pub async fn refresh(&self, name: &str) -> Result<(), RefreshError> {
        let Some(index) = self.0.sources.iter().position(|s| s.name() == name) else {
            return Err(RefreshError::Unknown { name: name.to_owned() });
        };
        let _one_at_a_time = self.0.refreshing.lock().await;
        let now = (self.0.clock)();
        let fetched = match self.0.sources.get(index) {
            Some(Source::Git(source)) => source.fetch(&self.0.git, now).await,
            _ => Ok(()),
        };
        let inner = Arc::clone(&self.0);
        let read =
            tokio::task::spawn_blocking(move || inner.sources.get(index).map(|s| s.read(now)));
        let failed = fetched.err().map(|error| with_causes(&error));
        let Ok(Some(mut reading)) = read.await else {
            return Err(RefreshError::Failed {
                name: name.to_owned(),
                reason: "reading it was interrupted".to_owned(),
            });
        };
        if failed.is_some() {
            reading.status.problem.clone_from(&failed);
        }
        let problem = reading.status.problem.clone();
        if let Some(place) = self.readings().get_mut(index) {
            // A folder that vanished keeps its apps listed: what was installed from it is still known by name.
            if problem.is_some() && reading.apps.is_empty() && reading.broken.is_empty() {
                place.status.problem.clone_from(&problem);
            } else {
                *place = reading;
            }
        }
        self.publish();
        match problem {
            None => {
                tracing::debug!(source = name, "catalog source refreshed");
                Ok(())
            }
            Some(reason) => Err(RefreshError::Failed { name: name.to_owned(), reason }),
        }
    }

    /// Refreshes each source when it is due, until it is stopped. Git sources with a schedule are fetched at once.
    pub async fn run(self, stop: CancellationToken) {
        let schedule = self.0.sources.iter().filter_map(|source| {
            let every = match source {
                Source::BuiltIn => None,
                Source::Folder { .. } => Some(FOLDERS_EVERY),
                Source::Git(git) => git.refresh,
            };
            every.map(|every| (source, every.max(Duration::from_secs(1))))
        });
        let library = &self;
        let tasks = schedule.map(|(source, every)| async move {
            loop {
                let refreshed = library.refresh(source.name()).await;
                if let Err(error) = &refreshed {
                    tracing::warn!(source = source.name(), %error, "catalog source not refreshed");
                }
                let pause = if refreshed.is_err() { every.min(RETRY_AFTER) } else { every };
                tokio::time::sleep(pause).await;
            }
        });
        let all = futures_util::future::join_all(tasks);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = all => stop.cancelled().await,
        }
    }

    /// The files of an app by its hash: from the kept copy, else from its source.
    ///
    /// # Errors
    /// [`FilesError`].
    pub async fn files(&self, hash: &ContentHash) -> Result<Arc<AppFolder>, FilesError> {
        self.blocking(hash, |_, _| Ok(())).await
    }

    /// As [`Library::files`], and keeps a copy: from now on this version does not depend on its source.
    ///
    /// # Errors
    /// [`FilesError`].
    pub async fn keep(&self, hash: &ContentHash) -> Result<Arc<AppFolder>, FilesError> {
        self.blocking(hash, Copies::keep).await
    }

    async fn blocking(
        &self,
        hash: &ContentHash,
        then: fn(&Copies, &AppFolder) -> Result<(), CopyError>,
    ) -> Result<Arc<AppFolder>, FilesError> {
        let (library, hash) = (self.clone(), hash.clone());
        let work = tokio::task::spawn_blocking(move || {
            let app = library.find(&hash)?;
            then(&library.0.copies, &app)?;
            Ok(Arc::new(app))
        });
        work.await.unwrap_or(Err(FilesError::Interrupted))
    }

    fn find(&self, hash: &ContentHash) -> Result<AppFolder, FilesError> {
        let kept = self.0.copies.read(hash);
        if let Ok(Some(app)) = kept {
            return Ok(app);
        }
        let candidates: Vec<(String, String)> = self
            .readings()
            .iter()
            .flat_map(|reading| &reading.apps)
            .filter(|app| app.provenance.hash == *hash)
            .map(|app| (app.provenance.source.clone(), app.manifest.id.to_string()))
            .collect();
        for (source, id) in candidates {
            let source = self.0.sources.iter().find(|s| s.name() == source);
            let found = source.and_then(|s| s.load(&id)).filter(|app| app.hash == *hash);
            if let Some(app) = found {
                return Ok(app);
            }
        }
        // A damaged copy is the reason only when nobody else has it.
        kept?;
        Err(FilesError::Gone { hash: hash.clone() })
    }

    /// Removes the copies of all versions that are not in use and that nobody wanted for at least `unwanted`. The pause
    /// is for a request that has kept its copy and not yet written who uses it.
    ///
    /// # Errors
    /// [`FilesError::Copy`].
    pub async fn prune(
        &self,
        used: BTreeSet<ContentHash>,
        unwanted: Duration,
    ) -> Result<(), FilesError> {
        let library = self.clone();
        let work = tokio::task::spawn_blocking(move || library.0.copies.prune(&used, unwanted));
        Ok(work.await.map_err(|_| FilesError::Interrupted)??)
    }
}
