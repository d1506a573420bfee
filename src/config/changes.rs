//! Notices that files changed: file events of a few directories, coalesced, because editors write, rename and write again.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// File events of the directories that are watched.
#[derive(Debug)]
pub(super) struct Changes {
    window: Duration,
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
}

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub(super) fn new(window: Duration) -> Result<Self, notify::Error> {
        // One waiting event is enough: everything is read again anyway.
        let (notify, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is an access event too; reacting to it would never end.
            if !event.is_ok_and(|e| e.kind.is_access()) {
                let _ = notify.try_send(());
            }
        })?;
        Ok(Self { window, watcher, events })
    }

    /// Watches a directory, if it is one. Watching again what is watched already is harmless.
    pub(super) fn watch(&mut self, dir: &Path) {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        if dir.is_dir()
            && let Err(error) = self.watcher.watch(dir, RecursiveMode::NonRecursive)
        {
            tracing::warn!(dir = %dir.display(), %error, "changes here will not be noticed");
        }
    }

    /// Waits for the next change and until it is calm again; false: the end has come.
    pub(super) async fn next(&mut self, cancel: &CancellationToken) -> bool {
        tokio::select! {
            () = cancel.cancelled() => return false,
            event = self.events.recv() => if event.is_none() { return false },
        }
        tokio::select! {
            () = cancel.cancelled() => return false,
            () = tokio::time::sleep(self.window) => {}
        }
        while self.events.try_recv().is_ok() {}
        true
    }
}
