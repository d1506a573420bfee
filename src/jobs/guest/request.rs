//! What an operator can ask about guests. Each request is checked, written in one transaction, and answered at once; the
//! work itself is a job.

mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::distr::{Alphanumeric, SampleString as _};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{discovery, publish, remains, reveal};
use crate::apps::FilesError;
use crate::domain::app::{AppId, CatalogApp, Manifest, Provenance};
use crate::domain::discovery::{Discovery, Review};
use crate::domain::form::{Declined, Submitted};
use crate::domain::guest::{Guest, GuestEvent, GuestState, InstalledApp, PublishedService};
use crate::domain::id::{GuestId, HostId, JobId};
use crate::domain::job::{GuestTask, GuestWork, Job, JobStatus, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::jobs::Engine;
use crate::jobs::request::queue;
use crate::plan::guest::order::{self, Order, Site};
use crate::plan::guest::remains::Remains;
use crate::plan::guest::{review, steps, vmid};
use crate::store::{GuestReads as _, JobReads as _, SecretReads as _, Tx, of_guest};

/// Jobs of a guest that are looked through for its last installation.
pub(super) const LOOK_BACK: usize = 50;

pub(super) fn no_such_guest() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "there is no such guest", "look at the list of guests")
}

fn no_such_app(app: &AppId) -> Refusal {
    Refusal::new(
        RefusalKind::NotFound,
        format!("there is no app '{app}' in the catalog"),
        "look at the list of apps; one that is broken is listed there with its problems",
    )
}

/// Letters and digits from the operating system's generator.
fn draw(length: usize) -> Secret<String> {
    Secret::new(Alphanumeric.sample_string(&mut rand::rng(), length))
}

/// Who asks for an installation besides an operator: a rebuild whose host became ready.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    pub(super) job: JobId,
    pub(super) host: HostId,
}

impl Engine {
    /// An app of the catalog.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn app(&self, id: &AppId) -> Result<CatalogApp, Refusal> {
        self.layer()?.library.catalog().get(id).cloned().ok_or_else(|| no_such_app(id))
    }

    fn site<'a>(
        &'a self,
        app: Option<&CatalogApp>,
        seen: &'a Discovery,
    ) -> Result<Site<'a>, Refusal> {
        let apps = &self.layer()?.apps;
        let source = app.map(|a| a.provenance.source.as_str());
        let trusted = apps.sources.iter().find(|s| Some(s.name.as_str()) == source);
        Ok(Site {
            boundary: &apps.boundary,
            defaults: &apps.defaults,
            discovery: seen,
            // What is in the binary is ours, and asks for nothing that the boundary does not allow.
            source_privileged: trusted.is_none_or(|s| s.allow_privileged),
            publishes: apps.services.is_some(),
        })
    }

    /// A look at the cluster, not older than some seconds.
    ///
    /// # Errors
    /// No node is enrolled, or none answers.
    pub async fn discovery(&self) -> Result<Arc<Discovery>, Refusal> {
        discovery::recent(self).await
    }

    /// The form of an app with its defaults filled in.
    ///
    /// # Errors
    /// No such app; the cluster cannot be looked at.
    pub async fn app_defaults(&self, app: &AppId) -> Result<Submitted, Refusal> {
        let app = self.app(app)?;
        let seen = discovery::recent(self).await?;
        Ok(order::defaults(&app, &self.site(Some(&app), &seen)?))
    }

    /// Checks a form and tells everything that an installation would do.
    ///
    /// # Errors
    /// Fields to correct, or why it cannot be said.
    pub async fn review(&self, app: &AppId, form: &Submitted) -> Result<Review, Declined> {
        let app = self.app(app)?;
        let seen = discovery::recent(self).await?;
        let order = self.order(&app, &seen, form)?;
        let service = publish::preview(self, &app.manifest, &order)?;
        Ok(review::install(&app, &order, &self.site(Some(&app), &seen)?, service))
    }

    fn order(
        &self,
        app: &CatalogApp,
        seen: &Discovery,
        form: &Submitted,
    ) -> Result<Order, Declined> {
        let site = self.site(Some(app), seen)?;
        order::read(app, &site, form, &mut draw).map_err(Declined::Fields)
    }

    /// Queues an installation.
    ///
    /// # Errors
    /// Fields to correct, or why it is refused.
    pub async fn install(&self, app: &AppId, form: &Submitted) -> Result<JobId, Declined> {
        self.install_for(app, form, None).await
    }

    pub(super) async fn install_for(
        &self,
        app: &AppId,
        form: &Submitted,
        parent: Option<Parent>,
    ) -> Result<JobId, Declined> {
        let layer = self.layer()?;
        let app = self.app(app)?;
        let seen = discovery::fresh(self)
            .await
            .map_err(|f| Refusal::new(RefusalKind::Unavailable, f.reason, f.hint))?;
        let order = self.order(&app, &seen, form)?;
        // From here on the guest needs its app's folder, whatever becomes of the catalog.
        layer.library.keep(&app.provenance.hash).await.map_err(|e| gone(&e))?;
        let boundary = layer.apps.boundary.clone();
        let taken = seen.taken_vmids.clone();
        let secrets = sealed(&order.secrets);
        let drawn = order.drawn.clone();
        let installed = order.installed(&app);
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let held: Vec<_> = tx.held_vmids()?.into_iter().map(|h| h.vmid).collect();
                let range = &boundary.vmids;
                let vmid = vmid::choose(range, &boundary.reserved_vmids, &taken, &held)
                    .ok_or_else(|| {
                        Refusal::new(
                            RefusalKind::Unprocessable,
                            format!("no number from {} to {} is free", range.start(), range.end()),
                            "widen apps.vmids in the configuration, or remove guests",
                        )
                    })?;
                let service = order.service.map(|s| PublishedService {
                    domain: s.domain,
                    public: s.public,
                    path: String::new(),
                    commit: None,
                    branch: None,
                });
                let mut guest = Guest {
                    id: GuestId(Uuid::now_v7()),
                    vmid,
                    node: order.node,
                    name: order.name,
                    app: Some(installed.clone()),
                    spec: order.spec,
                    state: GuestState::Installing,
                    state_since: tx.now(),
                    failure: None,
                    active_job: None,
                    address: None,
                    outputs: Vec::new(),
                    restore_point: None,
                    service,
                    adopted: None,
                    stack_of: parent.map(|p| p.host),
                    created: tx.now(),
                };
                reveal::seal(tx, guest.id, &secrets, &drawn);
                tx.hold_vmid(vmid, guest.id)?;
                let task = GuestTask::Install { app: installed.id };
                start(tx, &mut guest, task, parent.map(|p| p.job))
            })
            .await?;
        self.drive(job);
        Ok(job)
    }

    /// Tries a failed installation again, or makes a guest anew whose container is gone.
    ///
    /// # Errors
    /// No such guest, not failed, or it exists and something else than its installation failed.
    pub async fn retry_install(&self, id: GuestId) -> Result<JobId, Refusal> {
        let guest = self.known_guest(id).await?;
        let Some(app) = guest.app.clone() else {
            return Err(Refusal::new(RefusalKind::Conflict, "no app was installed in it", ""));
        };
        let folder = self.layer()?.library.files(&app.hash).await.map_err(|e| gone(&e))?;
        // Somebody may have removed what the earlier try left, and a node that was installed anew has its configuration
        // only. One that is not to be judged is there.
        let is_gone = match remains::of(self, &guest).await {
            Ok(left) => !matches!(left, Remains::Volumes(_)),
            Err(failure) if failure.is_transient => {
                return Err(Refusal::new(RefusalKind::Unavailable, failure.reason, failure.hint));
            }
            Err(_) => false,
        };
        self.start_work(id, move |tx, guest| {
            let last = failed_install(&tx.jobs_of_guest(id, LOOK_BACK)?).cloned();
            // A guest that ran already may hold data: making it anew would destroy them.
            if last.is_none() && !is_gone {
                let text = format!("the installation of {} did not fail", guest.name);
                let hint = "repeat what failed, go back to its restore point, or uninstall it";
                return Err(Refusal::new(RefusalKind::Conflict, text, hint));
            }
            let id = install_again(tx, guest, app.id, None)?;
            if !is_gone && let (Some(last), Some(mut job)) = (last, tx.job(id)?) {
                skip_done(&mut job, &last, &folder.manifest);
                tx.save_job(&job)?;
            }
            Ok(id)
        })
        .await
    }

    /// Does a failed job's work on a guest again.
    ///
    /// # Errors
    /// As for asking for it the first time.
    pub(in crate::jobs) async fn retry_guest_work(
        &self,
        job: &Job,
        work: GuestWork,
        confirm: &str,
    ) -> Result<JobId, Refusal> {
        let id = work.guest;
        let confirm = confirm.to_owned();
        match work.task {
            GuestTask::Install { .. } if super::only_unpublished(job) => {
                self.publish_guest(id).await
            }
            GuestTask::Install { .. } => self.retry_install(id).await,
            GuestTask::Uninstall { keep_volumes, .. } => {
                self.uninstall(id, keep_volumes, confirm).await
            }
            GuestTask::Upgrade { .. } => self.upgrade(id).await,
            GuestTask::Return => self.return_guest(id).await,
            GuestTask::Power { action } => self.power_guest(id, action).await,
            GuestTask::Backup { storage, .. } => self.back_up_guest(id, Some(storage)).await,
            GuestTask::Restore { archive, node, .. } => {
                self.restore_guest(id, archive, Some(node), confirm).await
            }
            GuestTask::Adopt => self.adopt_guest(id, confirm).await,
            GuestTask::Publish => self.publish_guest(id).await,
            task @ GuestTask::Reconfigure(_) => {
                self.begin(id, Some(GuestEvent::ChangeStarted), move |_| Ok(task)).await
            }
        }
    }

    /// The version of an app that is installed, as it was when it was.
    async fn installed_app(&self, installed: &InstalledApp) -> Result<CatalogApp, Refusal> {
        let folder = self.layer()?.library.files(&installed.hash).await.map_err(|e| gone(&e))?;
        Ok(CatalogApp {
            manifest: folder.manifest.clone(),
            provenance: Provenance {
                source: installed.source.clone(),
                commit: None,
                hash: installed.hash.clone(),
                exercised: false,
                icon: false,
                updated: None,
            },
            readme: String::new(),
        })
    }

    /// Keys of the secret inputs that a guest has.
    async fn stored_secrets(&self, id: GuestId) -> Result<BTreeSet<String>, Refusal> {
        let prefix = of_guest(id, &reveal::input(""));
        self.store()
            .read(move |r| {
                let names = r.secret_names(&prefix)?;
                Ok(names
                    .iter()
                    .filter_map(|n| n.strip_prefix(&prefix))
                    .map(str::to_owned)
                    .collect())
            })
            .await
    }

    async fn known_guest(&self, id: GuestId) -> Result<Guest, Refusal> {
        self.store().read(move |r| r.guest(id)?.ok_or_else(no_such_guest)).await
    }

    /// Starts work on a guest that is ours.
    async fn begin(
        &self,
        id: GuestId,
        event: Option<GuestEvent>,
        task: impl FnOnce(&Guest) -> Result<GuestTask, Refusal> + Send + 'static,
    ) -> Result<JobId, Refusal> {
        self.begin_with(id, event, |_, guest| task(guest)).await
    }

    async fn begin_with(
        &self,
        id: GuestId,
        event: Option<GuestEvent>,
        task: impl FnOnce(&mut Tx<'_, '_>, &Guest) -> Result<GuestTask, Refusal> + Send + 'static,
    ) -> Result<JobId, Refusal> {
        self.start_work(id, move |tx, guest| {
            if !guest.is_ours() {
                return Err(Refusal::new(
                    RefusalKind::Conflict,
                    format!("{} is only observed", guest.name),
                    "confirm its adoption first",
                ));
            }
            let task = task(tx, guest)?;
            if let Some(event) = event {
                move_guest(guest, event, tx.now())?;
            }
            start(tx, guest, task, None)
        })
        .await
    }

    async fn begin_observed(
        &self,
        id: GuestId,
        task: impl FnOnce(&Guest) -> Result<GuestTask, Refusal> + Send + 'static,
    ) -> Result<JobId, Refusal> {
        self.start_work(id, move |tx, guest| {
            if guest.is_ours() {
                let text = format!("{} is ours already", guest.name);
                return Err(Refusal::new(RefusalKind::Conflict, text, ""));
            }
            let task = task(guest)?;
            start(tx, guest, task, None)
        })
        .await
    }

    /// Starts work on a guest that no other work holds: lock, move and job in one write, then its driver.
    pub(super) async fn start_work(
        &self,
        id: GuestId,
        queued: impl FnOnce(&mut Tx<'_, '_>, &mut Guest) -> Result<JobId, Refusal> + Send + 'static,
    ) -> Result<JobId, Refusal> {
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let mut guest = tx.guest(id)?.ok_or_else(no_such_guest)?;
                refuse_busy(&guest)?;
                queued(tx, &mut guest)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }
}

fn gone(error: &FilesError) -> Refusal {
    let hint = "refresh the catalog source that had it";
    Refusal::new(RefusalKind::Unavailable, with_causes(error), hint)
}

fn sealed(secrets: &BTreeMap<String, Secret<String>>) -> Vec<(String, Zeroizing<String>)> {
    secrets.iter().map(|(k, v)| (k.clone(), Zeroizing::new(v.expose().clone()))).collect()
}

fn refuse_busy(guest: &Guest) -> Result<(), Refusal> {
    match guest.active_job {
        None => Ok(()),
        Some(job) => Err(Refusal::new(
            RefusalKind::Conflict,
            format!("a job is at work on {}", guest.name),
            "wait for its end or cancel it",
        )
        .because_of(Some(job))),
    }
}

/// The installation that a guest's last work was, when it did not succeed. `jobs`: newest first. Turning the guest on to
/// look at it does not count.
pub(super) fn failed_install(jobs: &[Job]) -> Option<&Job> {
    let (last, task) = jobs.iter().find_map(|job| match &job.work {
        Work::Guest(work) => match &work.task {
            GuestTask::Power { .. } | GuestTask::Backup { .. } | GuestTask::Publish => None,
            task => Some((job, task)),
        },
        _ => None,
    })?;
    let is_install = matches!(task, GuestTask::Install { .. });
    (is_install && matches!(last.status, JobStatus::Failed | JobStatus::Cancelled)).then_some(last)
}

/// Skips the steps of an earlier installation whose result is in the container that it left, unless its programs began
/// and may not run twice.
fn skip_done(job: &mut Job, last: &Job, manifest: &Manifest) {
    let lasting = [steps::step::CREATE_CONTAINER, steps::step::PUSH_ASSETS, steps::step::PROVISION];
    // The furthest one counts, not the one that failed last: a third try may have failed earlier than the second.
    let furthest = last.steps.iter().rfind(|s| s.status != StepStatus::Pending);
    if !furthest.is_some_and(|s| steps::may_resume(s.id.as_str(), manifest)) {
        return;
    }
    for step in &mut job.steps {
        let is_done = last
            .step(step.id.as_str())
            .is_some_and(|s| matches!(s.status, StepStatus::Succeeded | StepStatus::Skipped));
        if is_done && lasting.contains(&step.id.as_str()) {
            step.status = StepStatus::Skipped;
            step.detail = "done by the earlier try".to_owned();
        }
    }
}

/// Queues the installation of a guest once more, under the number that it has.
pub(super) fn install_again(
    tx: &mut Tx<'_, '_>,
    guest: &mut Guest,
    app: AppId,
    parent: Option<JobId>,
) -> Result<JobId, Refusal> {
    move_guest(guest, GuestEvent::RetryStarted, tx.now())?;
    tx.hold_vmid(guest.vmid, guest.id)?;
    start(tx, guest, GuestTask::Install { app }, parent)
}

fn move_guest(guest: &mut Guest, event: GuestEvent, now: Timestamp) -> Result<(), Refusal> {
    guest
        .step(event, now)
        .map_err(|denied| Refusal::new(RefusalKind::Conflict, denied.to_string(), ""))
}

fn confirmed(guest: &Guest, typed: &str, what: &str) -> Result<(), Refusal> {
    if typed.trim() == guest.name.as_str() {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::Unprocessable,
        format!("the name typed is not '{}'", guest.name),
        format!("{what}: type its name exactly to confirm"),
    )
    .about("confirm"))
}

/// Queues a job on a guest and takes its lock.
pub(super) fn start(
    tx: &mut Tx<'_, '_>,
    guest: &mut Guest,
    task: GuestTask,
    parent: Option<JobId>,
) -> Result<JobId, Refusal> {
    let steps = steps::steps(&task);
    let title = task.title(&guest.name);
    let name = guest.name.clone();
    let work = Work::Guest(GuestWork { guest: guest.id, name, task, parent, pending: None });
    let job = queue(tx, work, steps)?;
    guest.active_job = Some(job.id);
    tx.save_guest(guest, &format!("{title}: queued"))?;
    Ok(job.id)
}
