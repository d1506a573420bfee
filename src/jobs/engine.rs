//! The supervisor of job drivers: one task per job that is not over, woken when something about it is written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::appliance::Appliance;
use super::cluster::Looks;
use super::guest::Layer;
use super::{bulk, catalog, end, enroll, guest, import, rebuild};
use crate::config::Config;
use crate::config::reload::ServerTypesView;
use crate::domain::host::Failure;
use crate::domain::id::{ImageId, JobId, ServerTypeName};
use crate::domain::image::Image;
use crate::domain::job::{JobStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::image::{ImageStore, OpenImage};
use crate::limits::over::Overruns;
use crate::limits::record::{REGISTRATIONS_PER_HOUR, STRANGERS_PER_SECOND};
use crate::limits::work::IMPORTS_AT_ONCE;
use crate::node::ClusterLocks;
use crate::power::Switchboard;
use crate::store::{JobReads as _, Store};

/// Pauses of a driver that met an error of the database: they double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Lets so many through in each period.
#[derive(Debug)]
pub(super) struct Gate {
    period_ms: i64,
    most: u32,
    seen: Mutex<(i64, u32)>,
}

impl Gate {
    fn new(period: Duration, most: u32) -> Arc<Self> {
        let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1);
        Arc::new(Self { period_ms, most, seen: Mutex::new((0, 0)) })
    }

    /// Whether one more may pass now.
    pub(super) fn admits(&self, now: Timestamp) -> bool {
        let mut window = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let period = now.0.div_euclid(self.period_ms);
        if window.0 != period {
            *window = (period, 0);
        }
        window.1 = window.1.saturating_add(1);
        window.1 <= self.most
    }

    /// Whether it would admit one more now; counts nothing.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        let window = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        window.0 != now.0.div_euclid(self.period_ms) || window.1 < self.most
    }
}

/// What the engine needs of the rest of the daemon.
#[derive(Debug)]
pub struct Context {
    /// Counts limits that were met.
    pub over: Overruns,
    /// The validated configuration.
    pub config: Arc<Config>,
    /// Server types and answer templates, as last read.
    pub types: watch::Receiver<Arc<ServerTypesView>>,
    /// ISO files.
    pub images: ImageStore,
    /// Who we are.
    pub appliance: Appliance,
    /// Where installers and installed systems call back.
    pub callbacks: CallbackBase,
    /// Switches machines.
    pub power: Switchboard,
    /// The app layer; `None`: switched off.
    pub apps: Option<Arc<Layer>>,
}

/// Where installers and installed systems call back: HTTPS with a pinned certificate when there is a TLS listener.
#[derive(Debug, Clone)]
pub struct CallbackBase {
    /// Scheme, address and port, without a slash at its end.
    pub url: String,
    /// The certificate that is pinned.
    pub certificate: Option<PinnedCertificate>,
}

/// A certificate as callers pin it.
#[derive(Debug, Clone)]
pub struct PinnedCertificate {
    /// SHA-256 over the DER form, for the installer.
    pub fingerprint: [u8; 32],
    /// The same as hex pairs with colons.
    pub fingerprint_text: String,
    /// Base64 of the DER form in one line, for the first-boot script.
    pub base64: String,
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
    /// What was seen of the cluster last.
    pub(super) looks: Looks,
    pub(super) imports: Semaphore,
    /// New strangers.
    pub(super) strangers: Arc<Gate>,
    /// Machines that are registered by rule.
    pub(super) registrations: Arc<Gate>,
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
                looks: Looks::default(),
                imports: Semaphore::new(IMPORTS_AT_ONCE),
                strangers: Gate::new(Duration::from_secs(1), STRANGERS_PER_SECOND),
                registrations: Gate::new(Duration::from_hours(1), REGISTRATIONS_PER_HOUR),
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
        import::tidy(&self).await?;
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

    /// Starts the driver of a job, unless it has one: a job that is asked for while the engine starts is found in the
    /// database too.
    pub(super) fn drive(&self, job: JobId) {
        let waker = Arc::new(Notify::new());
        match self.wakers().entry(job) {
            Entry::Occupied(_) => return,
            Entry::Vacant(place) => place.insert(Arc::clone(&waker)),
        };
        let engine = self.clone();
        // Owned by the tracker: `run` waits for it at the stop.
        self.inner.tracker.spawn(async move {
            engine.drive_to_the_end(job, &waker).await;
            engine.wakers().remove(&job);
        });
    }

    /// Drives a job until it is over or the daemon stops. An error of the database (a full disk) does not end it: the
    /// records are as the last write left them, and without a driver the job would hold its host for ever.
    async fn drive_to_the_end(&self, id: JobId, waker: &Arc<Notify>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (engine, waker) = (self.clone(), Arc::clone(waker));
            let driver = async move { engine.drive_once(id, &waker).await };
            // A task of its own: a defect ends this job, not the daemon, and not in silence.
            let outcome = match self.inner.tracker.spawn(driver).await {
                Ok(outcome) => outcome,
                Err(defect) => {
                    tracing::error!(job = %id, %defect, "a job's driver ended by a defect");
                    self.give_up(id).await
                }
            };
            let Err(error) = outcome else { return };
            tracing::error!(job = %id, %error, "a job waits for the database to work again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.inner.stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn drive_once(&self, id: JobId, waker: &Notify) -> Result<(), Refusal> {
        let job = self.inner.store.read::<_, Refusal, _>(move |r| Ok(r.job(id)?)).await?;
        match job.map(|job| job.work) {
            Some(Work::Rebuild(_)) => rebuild::drive(self, id, waker).await,
            Some(Work::ImportImage(_)) => import::drive(self, id, waker).await,
            Some(Work::Guest(_)) => guest::drive(self, id, waker).await,
            Some(Work::Node(_)) => enroll::drive(self, id, waker).await,
            Some(Work::Catalog(_)) => catalog::drive(self, id).await,
            Some(Work::BulkRebuild(_)) => bulk::drive(self, id, waker).await,
            None => Ok(()),
        }
    }

    async fn give_up(&self, id: JobId) -> Result<(), Refusal> {
        let failure = Failure {
            from: None,
            reason: "a defect of Ironhatch ended this job".to_owned(),
            hint: "report it with the daemon's log; then try again".to_owned(),
        };
        end::finish(self, id, JobStatus::Failed, Some(failure)).await
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
