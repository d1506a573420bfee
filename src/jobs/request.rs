//! What an operator can ask for. Each request is validated, written in one transaction, and answered at once; the work
//! itself is a job.

use uuid::Uuid;

use super::engine::Engine;
use super::registration::leave_to_the_operator;
use super::{bulk, check, import, rebuild};
use crate::domain::boot::BootProfile;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::{Host, HostOverrides};
use crate::domain::id::{HostId, Hostname, ImageId, JobId, ServerTypeName};
use crate::domain::image::Image;
use crate::domain::job::{ImportImage, Job, JobStatus, Rebuild, Step, Work};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::store::{HostReads as _, ImageReads, JobReads as _, NewEvent, SightingReads as _, Tx};

/// A host to be registered.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// Short name, unique.
    pub hostname: Hostname,
    /// Hardware addresses, the one it boots from first.
    pub macs: Vec<Mac>,
    /// Its kind; must exist.
    pub server_type: ServerTypeName,
    /// What goes over the server type.
    pub overrides: HostOverrides,
}

/// Changes to a registered host; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct HostChange {
    /// New addresses.
    pub macs: Option<Vec<Mac>>,
    /// New kind.
    pub server_type: Option<ServerTypeName>,
    /// New overrides.
    pub overrides: Option<HostOverrides>,
    /// New boot profile.
    pub boot: Option<BootProfile>,
    /// Forget the system UUID (the mainboard was replaced); the next boot tells the new one.
    pub forget_uuid: bool,
}

/// The one request that wipes a disk.
#[derive(Debug, Clone)]
pub struct RebuildRequest {
    /// Which image; `None`: the newest imported one.
    pub image: Option<ImageId>,
    /// The host's name as the operator typed it; must equal the host's name.
    pub confirm: String,
    /// A dead node of the same name may be removed from the cluster.
    pub replace_node: bool,
}

/// An image to be imported.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Path on the appliance or http(s) URL.
    pub source: String,
    /// SHA-256 (hex) it must have.
    pub sha256: Option<String>,
}

fn refuse(kind: RefusalKind, detail: impl Into<String>, hint: &str) -> Refusal {
    Refusal::new(kind, detail, hint)
}

pub(super) fn no_such_host() -> Refusal {
    refuse(RefusalKind::NotFound, "there is no such host", "look at the list of hosts")
}

impl Engine {
    /// Registers a host; a sighting of one of its MACs becomes part of it.
    ///
    /// # Errors
    /// Name or MAC taken, unknown server type, no MAC.
    pub async fn register_host(&self, new: NewHost) -> Result<Host, Refusal> {
        self.known_type(&new.server_type)?;
        let macs = distinct(new.macs)?;
        self.store().write(move |tx| register(tx, NewHost { macs, ..new }, "")).await
    }

    /// Changes a host that no rebuild is running for.
    ///
    /// # Errors
    /// Unknown host, busy host, taken MAC, unknown server type.
    pub async fn change_host(&self, id: HostId, change: HostChange) -> Result<Host, Refusal> {
        if let Some(name) = &change.server_type {
            self.known_type(name)?;
        }
        let macs = change.macs.clone().map(distinct).transpose()?;
        self.store()
            .write(move |tx| {
                let mut host = tx.host(id)?.ok_or_else(no_such_host)?;
                refuse_busy(&host, "change")?;
                if let Some(macs) = macs {
                    host.macs = macs;
                    adopt_sightings(tx, &mut host)?;
                }
                if let Some(name) = change.server_type {
                    host.server_type = name;
                }
                if let Some(overrides) = change.overrides {
                    host.overrides = overrides;
                }
                if let Some(boot) = change.boot {
                    host.boot = boot;
                }
                if change.forget_uuid {
                    host.uuid = None;
                    // What the old hardware told would otherwise stand in the new one's way.
                    host.inventory = Default::default();
                    for mac in &host.macs {
                        tx.delete_boot_lesson(*mac);
                    }
                }
                tx.save_host(&host)?;
                let message = format!("{} was changed", host.hostname);
                emit(tx, &host, EventKind::HostChanged, message)?;
                Ok(host)
            })
            .await
    }

    /// Forgets a host that no rebuild is running for.
    ///
    /// # Errors
    /// Unknown host, busy host.
    pub async fn delete_host(&self, id: HostId) -> Result<(), Refusal> {
        let types = self.context().types.borrow().clone();
        self.store()
            .write(move |tx| {
                let host = tx.host(id)?.ok_or_else(no_such_host)?;
                refuse_busy(&host, "delete")?;
                tx.delete_host(&host);
                tx.delete_host_secrets(id)?;
                for mac in &host.macs {
                    tx.delete_boot_log(*mac)?;
                }
                leave_to_the_operator(tx, &types, &host)?;
                let message = format!("{} was deleted", host.hostname);
                emit(tx, &host, EventKind::HostDeleted, message)
            })
            .await
    }

    /// Queues a rebuild: the host's disk will be wiped.
    ///
    /// # Errors
    /// Name not typed right, busy host (with its job), no image, an answer the installer would reject, the appliance
    /// itself.
    pub async fn rebuild(&self, id: HostId, request: RebuildRequest) -> Result<JobId, Refusal> {
        self.begin_rebuild(id, request, None).await
    }

    /// The same, also as the turn of a host on the list of a rebuild of many.
    ///
    /// # Errors
    /// As above; and what the list says against it.
    pub(super) async fn begin_rebuild(
        &self,
        id: HostId,
        request: RebuildRequest,
        list: Option<JobId>,
    ) -> Result<JobId, Refusal> {
        let wanted = request.image.clone();
        let (host, image) = self
            .store()
            .read::<_, Refusal, _>(move |r| {
                let host = r.host(id)?.ok_or_else(no_such_host)?;
                Ok((host, image_of(r, wanted.as_ref())))
            })
            .await?;
        if request.confirm.trim() != host.hostname.as_str() {
            return Err(refuse(
                RefusalKind::Unprocessable,
                format!("the name typed is not '{}'", host.hostname),
                "a rebuild erases the host's disk: type its name exactly to confirm",
            )
            .about("confirm"));
        }
        refuse_busy(&host, "rebuild")?;
        let image = image?;
        let disk = check::before_arming(self, &host, &image)?;
        let steps = rebuild::steps(self, &host).await?;
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let mut host = tx.host(id)?.ok_or_else(no_such_host)?;
                // The state may have changed since it was looked at: only this look counts.
                refuse_busy(&host, "rebuild")?;
                let work = Work::Rebuild(Rebuild {
                    host: host.id,
                    hostname: host.hostname.clone(),
                    image: image.id.clone(),
                    disk: Some(disk.clone()),
                    replace_node: request.replace_node,
                    token_hash: None,
                    public_key: None,
                    answer_served: None,
                    join_started: false,
                    part_of: list,
                });
                let job = queue(tx, work, steps)?;
                if let Some(list) = list {
                    bulk::claim(tx, list, &host, &image, &disk, job.id)?;
                }
                host.active_job = Some(job.id);
                tx.save_host(&host)?;
                Ok(job.id)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }

    /// Asks a job to stop. Repeating it changes nothing.
    ///
    /// # Errors
    /// Unknown job, or it is over.
    pub async fn cancel(&self, id: JobId) -> Result<(), Refusal> {
        self.store()
            .write(move |tx| {
                let mut job = tx.job(id)?.ok_or_else(no_such_job)?;
                if job.status.is_terminal() {
                    return Err(refuse(
                        RefusalKind::Conflict,
                        "the job is over; there is nothing to cancel",
                        "",
                    ));
                }
                if !job.cancel_requested {
                    job.cancel_requested = true;
                    tx.save_job(&job)?;
                    tx.log(&job, None, Level::Warn, "cancel was asked for")?;
                }
                Ok(())
            })
            .await
    }

    /// Queues the same work again after a failure; for a rebuild the name must be typed again.
    ///
    /// # Errors
    /// Unknown job, not failed, busy host.
    pub async fn retry(&self, id: JobId, confirm: &str) -> Result<JobId, Refusal> {
        let job =
            self.store().read::<_, Refusal, _>(move |r| r.job(id)?.ok_or_else(no_such_job)).await?;
        if !matches!(job.status, JobStatus::Failed | JobStatus::Cancelled) {
            return Err(refuse(
                RefusalKind::Conflict,
                "only a failed or cancelled job can be tried again",
                "",
            ));
        }
        match job.work.clone() {
            Work::Rebuild(work) => {
                let request = RebuildRequest {
                    image: Some(work.image),
                    confirm: confirm.to_owned(),
                    replace_node: work.replace_node,
                };
                self.rebuild(work.host, request).await
            }
            Work::ImportImage(work) => {
                let request = ImportRequest { source: work.source, sha256: work.expected_sha256 };
                self.import_image(request).await
            }
            Work::Guest(work) => self.retry_guest_work(&job, work, confirm).await,
            Work::Node(work) => self.retry_node_work(work).await,
            Work::BulkRebuild(_) => Err(refuse(
                RefusalKind::Conflict,
                "a list of hosts is not taken up again: it was reviewed as things were then",
                "choose the hosts that are still wanted, and review them as they are now",
            )),
            Work::Catalog(work) => {
                let jobs = self.refresh_catalog(Some(work.source)).await?;
                jobs.into_iter().next().ok_or_else(no_such_job)
            }
        }
    }

    /// Queues an image import.
    ///
    /// # Errors
    /// Source not usable at first sight, the same import is running.
    pub async fn import_image(&self, request: ImportRequest) -> Result<JobId, Refusal> {
        let (source, sha256) = import::accept(&request)?;
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                for job in tx.active_jobs()? {
                    if matches!(&job.work, Work::ImportImage(other) if other.source == source) {
                        return Err(refuse(
                            RefusalKind::Conflict,
                            "this image is being imported already",
                            "follow the running import",
                        )
                        .because_of(Some(job.id)));
                    }
                }
                let work =
                    Work::ImportImage(ImportImage { source, expected_sha256: sha256, image: None });
                Ok(queue(tx, work, import::steps())?.id)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }

    /// Removes an image that no running rebuild needs.
    ///
    /// # Errors
    /// Unknown image, in use.
    pub async fn delete_image(&self, id: &ImageId) -> Result<(), Refusal> {
        let wanted = id.clone();
        let image = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let image = tx
                    .image(&wanted)?
                    .ok_or_else(|| refuse(RefusalKind::NotFound, "there is no such image", ""))?;
                for job in tx.active_jobs()? {
                    let is_needed = match &job.work {
                        Work::Rebuild(work) => work.image == wanted,
                        Work::BulkRebuild(work) => work.image == wanted,
                        _ => false,
                    };
                    if is_needed {
                        return Err(refuse(
                            RefusalKind::Conflict,
                            "a running rebuild needs this image",
                            "wait for its end or cancel it",
                        )
                        .because_of(Some(job.id)));
                    }
                }
                tx.delete_image(&wanted);
                tx.emit(NewEvent {
                    level: Level::Info,
                    subject: Subject { image: Some(wanted), ..Subject::default() },
                    kind: EventKind::ImageChanged,
                    message: format!("image {} was deleted", image.id),
                })?;
                Ok(image)
            })
            .await?;
        import::remove_file(self, image).await
    }

    /// Hides a sighting and stays silent towards the machine, or shows it again.
    ///
    /// # Errors
    /// Unknown sighting.
    pub async fn set_sighting_ignored(&self, mac: Mac, ignored: bool) -> Result<(), Refusal> {
        self.store()
            .write(move |tx| {
                let mut sighting = tx
                    .sighting(mac)?
                    .ok_or_else(|| refuse(RefusalKind::NotFound, "no such machine was seen", ""))?;
                if sighting.ignored == ignored {
                    return Ok(());
                }
                sighting.ignored = ignored;
                tx.save_sighting(&sighting)?;
                let verb = if ignored { "is ignored from now on" } else { "is shown again" };
                tx.emit(NewEvent {
                    level: Level::Info,
                    subject: Subject { mac: Some(mac), ..Subject::default() },
                    kind: EventKind::Sighting,
                    message: format!("the machine {mac} {verb}"),
                })?;
                Ok(())
            })
            .await
    }

    fn known_type(&self, name: &ServerTypeName) -> Result<(), Refusal> {
        let view = self.context().types.borrow().clone();
        if view.types.contains_key(name) {
            return Ok(());
        }
        let known: Vec<&str> = view.types.keys().map(ServerTypeName::as_str).collect();
        let detail = match self.type_problem(name) {
            Some(error) => format!("the server type '{name}' has never been valid: {error}"),
            None => format!("there is no server type '{name}'"),
        };
        let hint = format!("known server types: {}", known.join(", "));
        Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about("server_type"))
    }
}

fn no_such_job() -> Refusal {
    refuse(RefusalKind::NotFound, "there is no such job", "look at the list of jobs")
}

/// The image that is wanted, or the newest.
///
/// # Errors
/// There is none.
pub(super) fn image_of(from: &impl ImageReads, wanted: Option<&ImageId>) -> Result<Image, Refusal> {
    let found = match wanted {
        Some(id) => from.image(id)?,
        None => from.images()?.into_iter().next(),
    };
    found.ok_or_else(|| {
        let (detail, hint) = match wanted {
            Some(id) => (format!("there is no image '{id}'"), "choose one of the imported images"),
            None => (
                "no image was imported yet".to_owned(),
                "import a Proxmox VE ISO first: ironhatch image import PATH",
            ),
        };
        refuse(RefusalKind::Unprocessable, detail, hint).about("image")
    })
}

pub(super) fn refuse_busy(host: &Host, verb: &str) -> Result<(), Refusal> {
    if host.active_job.is_none() && !host.state.is_busy() {
        return Ok(());
    }
    let detail = format!("cannot {verb} {}: a rebuild is running ({})", host.hostname, host.state);
    Err(refuse(RefusalKind::Conflict, detail, "wait for its end or cancel it")
        .because_of(host.active_job))
}

fn distinct(macs: Vec<Mac>) -> Result<Vec<Mac>, Refusal> {
    let mut seen: Vec<Mac> = Vec::new();
    for mac in macs {
        if !seen.contains(&mac) {
            seen.push(mac);
        }
    }
    if seen.is_empty() {
        let hint = "the address of the NIC it boots from is printed by its firmware and shown among the sightings";
        return Err(
            refuse(RefusalKind::Unprocessable, "a host needs a MAC address", hint).about("mac")
        );
    }
    Ok(seen)
}

/// Writes a new host, which is armed by nobody yet; `how` it came to be, beyond an operator's form.
pub(super) fn register(tx: &mut Tx<'_, '_>, new: NewHost, how: &str) -> Result<Host, Refusal> {
    let mut host = Host {
        overrides: new.overrides,
        ..Host::new(HostId(Uuid::now_v7()), new.hostname, new.macs, new.server_type, tx.now())
    };
    adopt_sightings(tx, &mut host)?;
    tx.save_host(&host)?;
    let how = if how.is_empty() { String::new() } else { format!(" {how}") };
    let message = format!("{} was registered as {}{how}", host.hostname, host.server_type);
    emit(tx, &host, EventKind::HostRegistered, message)?;
    Ok(host)
}

/// What was heard of the host's MACs becomes the host's own.
pub(super) fn adopt_sightings(tx: &mut Tx<'_, '_>, host: &mut Host) -> Result<(), Refusal> {
    for mac in host.macs.clone() {
        if let Some(sighting) = tx.sighting(mac)? {
            host.uuid = host.uuid.or(sighting.inventory.uuid);
            host.inventory.absorb(sighting.inventory);
            tx.delete_sighting(mac);
        }
    }
    Ok(())
}

pub(super) fn emit(
    tx: &mut Tx<'_, '_>,
    host: &Host,
    kind: EventKind,
    message: String,
) -> Result<(), Refusal> {
    let subject = Subject { host: Some(host.id), ..Subject::default() };
    tx.emit(NewEvent { level: Level::Info, subject, kind, message })?;
    Ok(())
}

pub(super) fn queue(tx: &mut Tx<'_, '_>, work: Work, steps: Vec<Step>) -> Result<Job, Refusal> {
    let job = Job {
        id: JobId(Uuid::now_v7()),
        work,
        status: JobStatus::Pending,
        created: tx.now(),
        started: None,
        finished: None,
        steps,
        failure: None,
        cancel_requested: false,
    };
    tx.save_job(&job)?;
    let message = format!("{} was asked for", job.title());
    tx.log(&job, None, Level::Info, &message)?;
    tx.emit(NewEvent {
        level: Level::Info,
        subject: Subject {
            host: job.host(),
            guest: job.guest(),
            job: Some(job.id),
            ..Subject::default()
        },
        kind: EventKind::JobQueued,
        message,
    })?;
    Ok(job)
}
