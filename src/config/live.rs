//! `ironhatch.toml`, read again when it changes.
//!
//! One task: file events in, a [`ConfigView`] out through `watch`. Notification targets take effect at once; everything
//! else waits for a restart, and the view says what. A file that cannot be used changes nothing: the last good one stays,
//! and its errors are shown until it is repaired.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::changes::Changes;
use super::effective::differing;
use super::notify::Target;
use super::{Config, Problem, SecretSource};
use crate::domain::time::Timestamp;

/// The key whose values take effect without a restart.
pub const LIVE: &str = "notify";

/// What is in effect, and what the file says now.
#[derive(Debug, Clone)]
pub struct ConfigView {
    /// As it was at the start: everything but the targets.
    pub running: Arc<Config>,
    /// As the file was when it could be used last.
    pub file: Arc<Config>,
    /// When the daemon read it first.
    pub since: Timestamp,
    /// Why the file as it is now cannot be used; empty: it can.
    pub errors: Vec<Problem>,
    /// What a reload changed last; `None`: nothing since the start.
    pub last: Option<Reloaded>,
}

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// When.
    pub at: Timestamp,
    /// The keys whose values are others now.
    pub keys: Vec<String>,
}

impl ConfigView {
    /// At the start.
    #[must_use]
    pub fn new(config: Arc<Config>, since: Timestamp) -> Self {
        Self { running: Arc::clone(&config), file: config, since, errors: Vec::new(), last: None }
    }

    /// Who is told what.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.file.targets
    }

    /// The keys that the file has other values for than what runs: they wait for a restart.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        let mut keys = differing(&self.running, &self.file);
        keys.retain(|key| !is_live(key));
        keys
    }

    /// After the file was read again at `at`. `None`: nothing is different.
    pub(crate) fn after(&self, read: Result<Config, Vec<Problem>>, at: Timestamp) -> Option<Self> {
        match read {
            Err(errors) if errors == self.errors => None,
            Err(errors) => Some(Self { errors, ..self.clone() }),
            Ok(config) => {
                let keys = differing(&self.file, &config);
                if keys.is_empty() && self.errors.is_empty() {
                    return None;
                }
                let last =
                    if keys.is_empty() { self.last.clone() } else { Some(Reloaded { at, keys }) };
                Some(Self { file: Arc::new(config), errors: Vec::new(), last, ..self.clone() })
            }
        }
    }
}

/// Whether a key's value takes effect without a restart.
#[must_use]
pub fn is_live(key: &str) -> bool {
    key.strip_prefix(LIVE).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

/// Watches the file and publishes each new view. Built by [`ConfigReloader::new`], then spawned by its owner.
pub struct ConfigReloader {
    path: PathBuf,
    changes: Changes,
    secrets: Arc<dyn SecretSource + Send + Sync>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    publish: watch::Sender<Arc<ConfigView>>,
}

impl std::fmt::Debug for ConfigReloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigReloader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ConfigReloader {
    /// Begins to watch the directory of the file that `config` was read from; secrets in files beside it count too.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub fn new(
        config: Arc<Config>,
        secrets: Arc<dyn SecretSource + Send + Sync>,
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
        window: Duration,
    ) -> Result<(Self, watch::Receiver<Arc<ConfigView>>), notify::Error> {
        let mut changes = Changes::new(window)?;
        let path = config.path.clone();
        changes.watch(path.parent().unwrap_or(Path::new(".")));
        let (publish, receiver) = watch::channel(Arc::new(ConfigView::new(config, now())));
        Ok((Self { path, changes, secrets, now, publish }, receiver))
    }

    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        // What was written between the start's reading and the watching is not missed.
        self.read_again().await;
        while self.changes.next(&cancel).await {
            self.read_again().await;
        }
    }

    async fn read_again(&self) {
        let (path, secrets) = (self.path.clone(), Arc::clone(&self.secrets));
        let read = tokio::task::spawn_blocking(move || Config::load(&path, &*secrets));
        let Ok(read) = read.await else { return };
        let read = read.map(|(config, _)| config).map_err(|errors| errors.0);
        let Some(view) = self.publish.borrow().after(read, (self.now)()) else { return };
        for problem in &view.errors {
            tracing::warn!(%problem, "the configuration cannot be used as it is now; what was read before stays");
        }
        if view.errors.is_empty() {
            let waiting = view.waiting().join(", ");
            let targets = view.targets().len();
            tracing::info!(targets, waiting, "the configuration was read again");
        }
        self.publish.send_replace(Arc::new(view));
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::config::{ConfigErrors, ProcessSecrets};

    const SERVER: &str = "[server]\npublic_url = \"http://127.0.0.1:8080\"\n";

    fn read(text: &str) -> Result<Config, Vec<Problem>> {
        let parsed = Config::parse(Path::new("/etc/x.toml"), text, &ProcessSecrets);
        parsed.map(|(config, _)| config).map_err(|ConfigErrors(problems)| problems)
    }

    fn target(url: &str) -> String {
        format!("{SERVER}[[notify]]\nname = \"a\"\nkind = \"slack\"\nurl = \"{url}\"\n")
    }

    #[test]
    fn targets_take_effect_and_everything_else_waits() {
        let start = ConfigView::new(Arc::new(read(SERVER).unwrap()), Timestamp(1));
        assert!(start.after(read(SERVER), Timestamp(2)).is_none(), "nothing is different");
        let told = format!("data_dir = \"/srv/x\"\n{}", target("https://hooks.example.net/1"));
        let view = start.after(read(&told), Timestamp(3)).unwrap();
        assert_eq!(view.targets().len(), 1);
        assert_eq!(view.waiting(), ["data_dir"]);
        let last = view.last.clone().unwrap();
        assert_eq!(last.at, Timestamp(3));
        assert!(last.keys.contains(&"data_dir".to_owned()), "{last:?}");
        assert!(last.keys.contains(&"notify[0].url".to_owned()), "{last:?}");
        assert_eq!(view.running.data_dir, Path::new("/var/lib/ironhatch"));
        // Put back: nothing waits any more.
        let view = view.after(read(&target("https://hooks.example.net/1")), Timestamp(4)).unwrap();
        assert_eq!(view.waiting(), [""; 0]);
    }

    #[test]
    fn a_secret_that_changed_is_noticed_and_not_told() {
        let config = read(&target("https://hooks.example.net/planted-1")).unwrap();
        let start = ConfigView::new(Arc::new(config), Timestamp(1));
        let next = read(&target("https://hooks.example.net/planted-2"));
        let view = start.after(next, Timestamp(2)).unwrap();
        assert_eq!(view.last.as_ref().unwrap().keys, ["notify[0].url"]);
        assert!(!format!("{view:?}").contains("planted"), "{view:?}");
    }

    #[test]
    fn a_broken_file_changes_nothing_but_what_is_shown() {
        let config = read(&target("https://hooks.example.net/1")).unwrap();
        let start = ConfigView::new(Arc::new(config), Timestamp(1));
        let broken = start.after(read("[server"), Timestamp(2)).unwrap();
        assert_eq!((broken.targets().len(), broken.errors.is_empty()), (1, false));
        assert!(broken.after(read("[server"), Timestamp(3)).is_none(), "told once");
        let good = read(&target("https://hooks.example.net/1"));
        let whole = broken.after(good, Timestamp(4)).unwrap();
        assert!(whole.errors.is_empty() && whole.last.is_none());
    }

    #[test]
    fn only_targets_are_live() {
        assert!(is_live("notify[0].url") && is_live("notify"));
        assert!(!is_live("notifyer") && !is_live("server.listen"));
    }
}
