//! The supervisor of job drivers: one task per job that is not over, woken when something about it is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::appliance::Appliance;
use super::{import, rebuild};
use crate::config::Config;
use crate::config::reload::ServerTypesView;
use crate::domain::id::{ImageId, JobId, ServerTypeName};
use crate::domain::image::Image;
use crate::domain::job::{Job, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::image::{ImageStore, OpenImage};
use crate::node::ClusterLocks;
use crate::store::{JobReads as _, Store};

/// Imports at a time: each one saturates the disk or the uplink by itself.
const IMPORTS_AT_ONCE: usize = 2;

/// Pause after a job's first error of the database.
const AFTER_DATABASE_ERROR: Duration = Duration::from_secs(1);
/// Longest pause when errors of the database go on.
const AFTER_DATABASE_ERRORS: Duration = Duration::from_secs(60);

/// What the engine needs of the rest of the daemon.
#[derive(Debug)]
pub struct Context {
    /// The validated configuration.
    pub config: Arc<Config>,
    /// Server types and answer templates, as last read.
    pub types: watch::Receiver<Arc<ServerTypesView>>,
    /// ISO files.
    pub images: ImageStore,
    /// Who we are.
    pub appliance: Appliance,
}

/// The job engine's handle. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) context: Context,
    pub(super) cluster_locks: ClusterLocks,
    pub(super) imports: Semaphore,
    wakers: Mutex<HashMap<JobId, Arc<Notify>>>,
    open_images: Mutex<HashMap<ImageId, Arc<OpenImage>>>,
    tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// An engine that does nothing yet; [`Engine::run`] starts it.
    #[must_use]
    pub fn new(store: Store, context: Context, stop: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                context,
                cluster_locks: ClusterLocks::default(),
                imports: Semaphore::new(IMPORTS_AT_ONCE),
                wakers: Mutex::new(HashMap::new()),
                open_images: Mutex::new(HashMap::new()),
                tracker: TaskTracker::new(),
                stop,
            }),
        }
    }

    /// The database it works on.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What it knows of the rest of the daemon.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// Takes up all jobs that are not over, then wakes drivers as events are written, until the stop. Returns when all
    /// drivers have reached a safe point.
    ///
    /// # Errors
    /// When the jobs cannot be read at the start.
    pub async fn run(self) -> Result<(), Refusal> {
        let mut events = self.inner.store.subscribe();
        let active = self.inner.store.read::<_, Refusal, _>(|r| Ok(r.active_jobs()?)).await?;
        for job in active {
            tracing::info!(job = %job.id, kind = job.kind(), "job taken up");
            self.drive(job.id);
        }
        loop {
            tokio::select! {
                () = self.inner.stop.cancelled() => break,
                event = events.recv() => match event {
                    Ok(event) => {
                        if let Some(job) = event.subject.job {
                            self.wake(job);
                        }
                    }
                    // Missed some: every driver looks for itself.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.wake_all(),
                    Err(broadcast::error::RecvError::Closed) => break,
                }
            }
        }
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
        Ok(())
    }

    /// Starts the driver of a job that was just written.
    pub(super) fn drive(&self, job: JobId) {
        let waker = Arc::new(Notify::new());
        self.wakers().insert(job, Arc::clone(&waker));
        let engine = self.clone();
        // Owned by the tracker: `run` waits for it at the stop.
        self.inner.tracker.spawn(async move {
            engine.drive_to_the_end(job, &waker).await;
            engine.wakers().remove(&job);
        });
    }

    /// Drives a job until it is over. After an error of the database (a full disk) the records are as the last write left
    /// them, so the job is taken up again from there, as after a restart.
    async fn drive_to_the_end(&self, id: JobId, waker: &Notify) {
        let mut pause = AFTER_DATABASE_ERROR;
        loop {
            let read = self.inner.store.read::<_, Refusal, _>(move |r| Ok(r.job(id)?)).await;
            let result = match read {
                Ok(None) => return,
                Ok(Some(Job { work: Work::Rebuild(_), .. })) => {
                    rebuild::drive(self, id, waker).await
                }
                Ok(Some(Job { work: Work::ImportImage(_), .. })) => {
                    import::drive(self, id, waker).await
                }
                Err(error) => Err(error),
            };
            let Err(error) = result else { return };
            let seconds = pause.as_secs();
            tracing::error!(job = %id, %error, seconds, "job met an error of the database and is taken up again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.inner.stop.cancelled() => return,
            }
            pause = (pause * 2).min(AFTER_DATABASE_ERRORS);
        }
    }

    /// What is wrong with the file of a server type, in one line.
    pub(super) fn type_problem(&self, name: &ServerTypeName) -> Option<String> {
        let file = self.inner.context.config.server_types.file_of(name);
        let view = self.inner.context.types.borrow();
        let problems: Vec<String> =
            view.errors.get(&file)?.iter().map(ToString::to_string).collect();
        Some(problems.join("; "))
    }

    /// An image's open file with its layout; kept open, because every request of every machine needs it.
    ///
    /// # Errors
    /// The file is gone or is not what was imported.
    pub async fn open_image(&self, image: &Image) -> Result<Arc<OpenImage>, Refusal> {
        let cached = {
            let open = self.inner.open_images.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(&image.id).filter(|o| o.sha256 == image.sha256).cloned()
        };
        if let Some(open) = cached {
            return Ok(open);
        }
        let open = self.inner.context.images.open_image(image).await.map_err(|e| {
            Refusal::new(RefusalKind::Unprocessable, e.to_string(), "import the image again")
        })?;
        let open = Arc::new(open);
        let mut cache = self.inner.open_images.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(image.id.clone(), Arc::clone(&open));
        Ok(open)
    }

    /// Forgets an open image, so that its file's space is freed once nobody reads it.
    pub(super) fn close_image(&self, id: &ImageId) {
        self.inner.open_images.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn wakers(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Notify>>> {
        self.inner.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, job: JobId) {
        if let Some(waker) = self.wakers().get(&job) {
            waker.notify_one();
        }
    }

    fn wake_all(&self) {
        for waker in self.wakers().values() {
            waker.notify_one();
        }
    }
}
