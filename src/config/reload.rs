//! Server types and answer templates, read again when their files change.
//!
//! One task: file events in, coalesced, a validated [`ServerTypesView`] out through `watch`. The whole of both directories
//! is read each time; a broken file keeps its last good version and its error stays visible until it is repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::problem::Problem;
use super::server_type::{self, ServerTypes};
use super::template::{self, Templates};
use super::{ServerTypesSource, zones};
use crate::domain::server_type::ServerType;

/// What is known of server types and templates right now.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServerTypesView {
    /// Good server types, or the last good version of broken ones.
    pub types: ServerTypes,
    /// Good templates, or the last good version of broken ones.
    pub templates: Templates,
    /// What is wrong, by file.
    pub errors: BTreeMap<PathBuf, Vec<Problem>>,
    /// Zones of this machine's zone.tab, for checking answers.
    pub time_zones: Option<BTreeSet<String>>,
}

impl ServerTypesSource {
    /// The directory or file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::File(path) => path,
        }
    }

    /// The file that a type is written in.
    #[must_use]
    pub fn file_of(&self, name: &crate::domain::id::ServerTypeName) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join(format!("{name}.toml")),
            Self::File(file) => file.clone(),
        }
    }
}

impl ServerTypesView {
    /// Reads everything for the first time. Touches the disk.
    #[must_use]
    pub fn load(types: &ServerTypesSource, templates: &Path) -> Self {
        Self::default().reload(types, templates)
    }

    /// Reads everything again; what is broken now keeps the version that this view has. Touches the disk.
    #[must_use]
    pub fn reload(&self, source: &ServerTypesSource, templates_dir: &Path) -> Self {
        let (mut types, type_problems) = server_type::load(source);
        let (mut templates, template_problems) = template::load(templates_dir);
        let mut errors: BTreeMap<PathBuf, Vec<Problem>> = BTreeMap::new();
        for problem in type_problems.into_iter().chain(template_problems) {
            errors.entry(problem.file.clone()).or_default().push(problem);
        }
        for (name, old) in &self.types {
            if errors.contains_key(&source.file_of(name)) && !types.contains_key(name) {
                types.insert(name.clone(), old.clone());
            }
        }
        for (name, old) in &self.templates {
            let file = templates_dir.join(format!("{name}.toml"));
            if errors.contains_key(&file) && !templates.contains_key(name) {
                templates.insert(name.clone(), old.clone());
            }
        }
        for (name, server_type) in &types {
            if templates.contains_key(&server_type.answer_template) {
                continue;
            }
            let file = source.file_of(name);
            let problem = no_template(&file, server_type, &templates);
            errors.entry(file).or_default().push(problem);
        }
        let time_zones = zones::load(Path::new(zones::ZONE_TAB));
        Self { types, templates, errors, time_zones }
    }
}

/// What is wrong with a server type whose template is not there.
pub(super) fn no_template(file: &Path, server_type: &ServerType, templates: &Templates) -> Problem {
    let known: Vec<&str> = templates.keys().map(String::as_str).collect();
    let message = format!(
        "there is no answer template \"{}\"; known: {}",
        server_type.answer_template,
        known.join(", ")
    );
    let key = "answer_template".to_owned();
    Problem { file: file.to_owned(), line: 0, column: 0, key, message }
}

/// How long file events are collected before the files are read.
pub const COALESCE: Duration = Duration::from_millis(300);

/// Watches the files and publishes each new view. Built by [`Reloader::new`], then spawned by its owner.
#[derive(Debug)]
pub struct Reloader {
    source: ServerTypesSource,
    templates_dir: PathBuf,
    changes: Changes,
    publish: watch::Sender<Arc<ServerTypesView>>,
}

impl Reloader {
    /// Reads everything once and begins to watch. Call it at start-up: it touches the disk.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub fn new(
        source: ServerTypesSource,
        templates_dir: PathBuf,
        window: Duration,
    ) -> Result<(Self, watch::Receiver<Arc<ServerTypesView>>), notify::Error> {
        let changes = Changes::new(window)?;
        let (publish, receiver) = watch::channel(Arc::default());
        let mut reloader = Self { source, templates_dir, changes, publish };
        // Watch first and read then: a change in between is seen.
        reloader.watch_directories();
        let view = ServerTypesView::load(&reloader.source, &reloader.templates_dir);
        reloader.publish.send_replace(Arc::new(view));
        Ok((reloader, receiver))
    }

    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        while self.changes.next(&cancel).await {
            self.watch_directories();
            let (old, source, dir) =
                (self.publish.borrow().clone(), self.source.clone(), self.templates_dir.clone());
            let read = tokio::task::spawn_blocking(move || old.reload(&source, &dir));
            let Ok(view) = read.await else { continue };
            for problem in view.errors.values().flatten() {
                tracing::warn!(%problem, "server types or templates have an error; the last good version stays");
            }
            self.publish.send_if_modified(|current| {
                let changed = **current != view;
                if changed {
                    tracing::info!(types = view.types.len(), "server types were read again");
                    *current = Arc::new(view);
                }
                changed
            });
        }
    }

    /// Watches what exists, and the parents, so that directories which appear later are noticed.
    fn watch_directories(&mut self) {
        let types = match &self.source {
            ServerTypesSource::Directory(dir) => dir.clone(),
            ServerTypesSource::File(file) => file.parent().unwrap_or(Path::new(".")).to_owned(),
        };
        for dir in [types, self.templates_dir.clone()] {
            for level in [dir.parent(), Some(dir.as_path())].into_iter().flatten() {
                self.changes.watch(level);
            }
        }
    }
}
