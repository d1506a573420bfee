//! What machines ask for and report: each message is one transaction of host state, job step and event.
//!
//! The guard is `plan::authority`. State is written before anything is handed out, so a crash in between costs a
//! machine its answer, never a second wipe.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::engine::Engine;
use super::registration::by_rule;
use super::{check, end};
use crate::config::{Config, UnknownPolicy};
use crate::domain::event::Level;
use crate::domain::host::{Failure, Host, HostEvent, Transition};
use crate::domain::id::{HostId, Hostname};
use crate::domain::image::Image;
use crate::domain::inventory::Inventory;
use crate::domain::job::{Job, JobStatus, StepStatus, Work};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::InstallToken;
use crate::domain::sighting::Sighting;
use crate::limits::over::Over;
use crate::plan::authority;
use crate::plan::rebuild;
use crate::plan::script::KernelArgument;
use crate::proto::installer::AnswerRequest;
use crate::report::queue;
use crate::store::{HostReads as _, ImageReads as _, JobReads as _, Read, SightingReads as _, Tx};

/// A machine that asks what to boot.
#[derive(Debug, Clone)]
pub struct ScriptRequest {
    /// The MAC it booted from.
    pub mac: Mac,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// What iPXE told about it.
    pub inventory: Inventory,
    /// The appliance plays this machine itself: whatever its MAC is, it is a stranger, and nothing is written down.
    pub is_rehearsal: bool,
}

/// What it is told to boot.
#[derive(Debug)]
pub enum BootDecision {
    /// The installer of its rebuild.
    Install {
        /// Whose rebuild.
        host: Hostname,
        /// Which image.
        image: Box<Image>,
        /// The rebuild's token.
        token: InstallToken,
        /// More words for the installer's kernel command line.
        arguments: Vec<KernelArgument>,
    },
    /// Its own disk.
    Local {
        /// Its name.
        host: Hostname,
        /// Why.
        reason: String,
    },
    /// Nobody registered it.
    Unknown,
    /// It may not have what it is armed for.
    Refused(Refusal),
}

/// A verified callback: whose it is.
#[derive(Debug)]
pub struct Callback {
    /// The host after the message.
    pub host: Host,
    /// Whether the message was new.
    pub is_new: bool,
}

/// What a node tells of itself: the installer's report, or the call of the installed system.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// The address of the node.
    pub address: Option<Ipv4Addr>,
    /// SSH host keys, as `type base64`.
    pub ssh_host_keys: Vec<String>,
    /// Hardware facts.
    pub inventory: Inventory,
}

fn unknown_token() -> Refusal {
    Refusal::new(
        RefusalKind::Forbidden,
        "this install token is not known: its rebuild is over, or it never was",
        "start a new rebuild",
    )
}

fn rebuild_of(from: &impl Read, token: &InstallToken) -> Result<(Job, Host), Refusal> {
    let job = from.job_by_token(token.hash())?.ok_or_else(unknown_token)?;
    let id = authority::live_rebuild(&job)?.host;
    let host = from.host(id)?.ok_or_else(unknown_token)?;
    Ok((job, host))
}

/// Moves the host and the job's waiting steps in the same write.
fn advance(
    tx: &mut Tx<'_, '_>,
    job: &mut Job,
    host: &mut Host,
    event: HostEvent,
    message: &str,
) -> Result<bool, Refusal> {
    let moved = tx.move_host(host, event, message)?.map_err(|denied| {
        Refusal::new(RefusalKind::Conflict, denied.to_string(), "").because_of(Some(job.id))
    })?;
    if moved == Transition::Repeated {
        return Ok(false);
    }
    for (id, status) in rebuild::steps_after(event) {
        let done = job.step(id).is_some_and(|s| s.status == StepStatus::Succeeded);
        if *status == StepStatus::Skipped && done {
            continue;
        }
        let detail = match *status {
            StepStatus::Skipped => {
                "the installer's report did not arrive; the call-back proves the installation"
            }
            StepStatus::Succeeded => message,
            _ => "",
        };
        tx.set_step(job, id, *status, detail)?;
    }
    Ok(true)
}

impl Engine {
    /// Decides what a machine boots, and records that it asked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn boot_decision(&self, request: ScriptRequest) -> Result<BootDecision, Refusal> {
        let config = self.context().config.clone();
        let pxe = config.pxe.as_ref();
        let enroll = pxe.is_some_and(|pxe| pxe.unknown == UnknownPolicy::Enroll);
        let arguments = pxe.map(|pxe| pxe.kernel_arguments.clone()).unwrap_or_default();
        let strangers = Arc::clone(&self.inner.strangers);
        let registrations = Arc::clone(&self.inner.registrations);
        let types = self.context().types.borrow().clone();
        let appliance = self.context().appliance.clone();
        let over = self.context().over.clone();
        self.store()
            .write(move |tx| {
                if request.is_rehearsal {
                    return Ok(BootDecision::Unknown);
                }
                let Some(mut host) = tx.host_by_mac(request.mac)? else {
                    let known = tx.sighting(request.mac)?.is_some();
                    if enroll && (known || strangers.admits(tx.now())) {
                        let seen = note_sighting(tx, &config, &request)?;
                        if let Some(host) = by_rule(tx, &types, &appliance, &registrations, &seen)?
                        {
                            let host = host.hostname;
                            let reason = format!(
                                "{host} was registered by rule; no rebuild is waiting for it"
                            );
                            return Ok(BootDecision::Local { host, reason });
                        }
                    } else if enroll {
                        over.met(Over::Strangers);
                    }
                    return Ok(BootDecision::Unknown);
                };
                let seen_uuid = request.inventory.uuid;
                if let Err(refusal) = authority::may_boot(&host, seen_uuid) {
                    return Ok(BootDecision::Refused(refusal));
                }
                // Anybody on the wire can ask for this MAC: what a node told with its token stands above that.
                if !host.state.has_installed_system() {
                    host.inventory.absorb(request.inventory);
                    host.address = request.address.or(host.address);
                    tx.save_host(&host)?;
                }
                let job = host.active_job.map(|id| tx.job(id)).transpose()?.flatten();
                let Some(mut job) = job.filter(|_| host.state.is_armed()) else {
                    let reason = format!(
                        "{} is {}, no rebuild is waiting for it",
                        host.hostname, host.state
                    );
                    return Ok(BootDecision::Local { host: host.hostname, reason });
                };
                if let Err(refusal) = authority::live_rebuild(&job) {
                    return Ok(BootDecision::Refused(refusal));
                }
                let Work::Rebuild(work) = job.work.clone() else {
                    return Ok(BootDecision::Refused(unknown_token()));
                };
                let Some(image) = tx.image(&work.image)? else {
                    let reason = format!("the image {} is gone", work.image);
                    return stop(tx, &config, job, reason, "import it again, then retry");
                };
                if let Err((reason, hint)) = check::memory(&host, &image) {
                    return stop(tx, &config, job, reason, hint);
                }
                let Some(token) = open_token(tx, &job)? else {
                    let reason = "the install token is gone from the database".to_owned();
                    return stop(tx, &config, job, reason, "start a new rebuild");
                };
                let message =
                    format!("{} booted from the network and takes its installer", host.hostname);
                advance(tx, &mut job, &mut host, HostEvent::ScriptFetched, &message)?;
                Ok(BootDecision::Install {
                    host: host.hostname,
                    image: Box::new(image),
                    token,
                    arguments,
                })
            })
            .await
    }

    /// The first of these MACs that belongs to a host.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn registered_mac(&self, macs: &[Mac]) -> Result<Option<Mac>, Refusal> {
        // A request may list any number of links; no machine has this many.
        let macs: Vec<Mac> = macs.iter().copied().take(64).collect();
        self.store()
            .read(move |r| {
                for mac in macs {
                    if r.host_by_mac(mac)?.is_some() {
                        return Ok(Some(mac));
                    }
                }
                Ok(None)
            })
            .await
    }

    /// The image a token may fetch now.
    ///
    /// # Errors
    /// Unknown token, rebuild over, answer already served.
    pub async fn installer_image(&self, token: InstallToken) -> Result<(Host, Image), Refusal> {
        self.store()
            .read(move |r| {
                let (job, host) = rebuild_of(r, &token)?;
                authority::may_fetch_installer(&job, &host)?;
                let id = &authority::live_rebuild(&job)?.image;
                let image = r.image(id)?.ok_or_else(|| {
                    Refusal::new(
                        RefusalKind::NotFound,
                        format!("the image {id} is gone"),
                        "import it again",
                    )
                })?;
                Ok((host, image))
            })
            .await
    }

    /// Releases the answer of a rebuild, once.
    ///
    /// # Errors
    /// With the rule that forbids it; then nothing was released or changed.
    pub async fn take_answer(
        &self,
        token: InstallToken,
        facts: AnswerRequest,
        accept: Option<String>,
    ) -> Result<check::ServedAnswer, Refusal> {
        let engine = self.clone();
        self.store()
            .write(move |tx| {
                let (mut job, mut host) = rebuild_of(tx, &token)?;
                let work = authority::live_rebuild(&job)?.clone();
                let image = tx.image(&work.image)?.ok_or_else(|| {
                    Refusal::new(RefusalKind::Conflict, format!("the image {} is gone", work.image), "")
                })?;
                authority::may_have_answer(&job, &host, &image.release, &facts)?;
                engine.context().appliance.refuse_machine(&host, &facts.macs, facts.uuid)?;
                let answer = check::answer_for(&engine, tx, &job, &host, &image, &token, accept.as_deref())?;
                host.uuid = host.uuid.or(facts.uuid);
                host.inventory.absorb(facts.inventory);
                // From here on its disk is wiped: what the old system was is over.
                host.is_member = false;
                host.ssh_host_keys.clear();
                host.address = None;
                if let Work::Rebuild(work) = &mut job.work {
                    work.answer_served = Some(tx.now());
                }
                let message = format!(
                    "the answer for {} left the building (release {}); its network boot is local boot from now on",
                    host.hostname, facts.release
                );
                advance(tx, &mut job, &mut host, HostEvent::AnswerServed, &message)?;
                Ok(answer)
            })
            .await
    }

    /// Takes the installer's report. Repeating it changes nothing.
    ///
    /// # Errors
    /// Unknown token, another host's token, rebuild over.
    pub async fn installed(
        &self,
        id: HostId,
        token: InstallToken,
        report: NodeReport,
    ) -> Result<Callback, Refusal> {
        self.report(id, token, report, HostEvent::InstalledReported).await
    }

    /// Takes the call of the installed system. Repeating it changes nothing.
    ///
    /// # Errors
    /// As [`Engine::installed`].
    pub async fn phone_home(
        &self,
        id: HostId,
        token: InstallToken,
        report: NodeReport,
    ) -> Result<Callback, Refusal> {
        self.report(id, token, report, HostEvent::PhonedHome).await
    }

    async fn report(
        &self,
        id: HostId,
        token: InstallToken,
        report: NodeReport,
        event: HostEvent,
    ) -> Result<Callback, Refusal> {
        self.store()
            .write(move |tx| {
                let (mut job, mut host) = rebuild_of(tx, &token)?;
                authority::may_call_back(&job, id)?;
                let known_keys = host.ssh_host_keys.clone();
                let keys_differ = !known_keys.is_empty()
                    && !report.ssh_host_keys.is_empty()
                    && !report.ssh_host_keys.iter().any(|k| known_keys.contains(k));
                if keys_differ && event == HostEvent::PhonedHome {
                    return Err(Refusal::new(
                        RefusalKind::Forbidden,
                        format!("{} calls back with other SSH host keys than its installer reported", host.hostname),
                        "another machine answers in its place, or its keys were made anew; rebuild it again",
                    )
                    .because_of(Some(job.id)));
                }
                let what = match event {
                    HostEvent::PhonedHome => "called back from its installed system",
                    _ => "reported a finished installation",
                };
                let from = report.address.map_or_else(String::new, |a| format!(" at {a}"));
                let message = format!("{} {what}{from}", host.hostname);
                let is_new = advance(tx, &mut job, &mut host, event, &message)?;
                if is_new {
                    host.address = report.address.or(host.address);
                    if host.ssh_host_keys.is_empty() {
                        host.ssh_host_keys = report.ssh_host_keys;
                    }
                    host.inventory.absorb(report.inventory);
                    tx.save_host(&host)?;
                }
                Ok(Callback { host, is_new })
            })
            .await
    }

    /// The host a token's first-boot script belongs to.
    ///
    /// # Errors
    /// As [`Engine::installed`].
    pub async fn first_boot_host(
        &self,
        id: HostId,
        token: Option<InstallToken>,
    ) -> Result<Host, Refusal> {
        self.store()
            .read(move |r| {
                if let Some(token) = &token {
                    let (job, _) = rebuild_of(r, token)?;
                    authority::may_call_back(&job, id)?;
                }
                r.host(id)?
                    .ok_or_else(|| Refusal::new(RefusalKind::NotFound, "there is no such host", ""))
            })
            .await
    }
}

fn stop(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    mut job: Job,
    reason: String,
    hint: &str,
) -> Result<BootDecision, Refusal> {
    let refusal =
        Refusal::new(RefusalKind::Conflict, reason.clone(), hint).because_of(Some(job.id));
    let failure = Failure { from: None, reason, hint: hint.to_owned() };
    end::end_job(tx, config, &mut job, JobStatus::Failed, Some(failure))?;
    Ok(BootDecision::Refused(refusal))
}

/// The install token of an armed job.
pub(super) fn open_token(tx: &Tx<'_, '_>, job: &Job) -> Result<Option<InstallToken>, Refusal> {
    let name = crate::store::of_job(job.id, super::rebuild::TOKEN_SECRET);
    Ok(tx.open_secret(&name)?.and_then(|text| text.parse().ok()))
}

fn note_sighting(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    request: &ScriptRequest,
) -> Result<Sighting, Refusal> {
    let now = tx.now();
    let known = tx.sighting(request.mac)?;
    let is_new = known.is_none();
    let mut sighting = known.unwrap_or_else(|| Sighting::first_heard(request.mac, now));
    let before = sighting.inventory.clone();
    sighting.inventory.absorb(request.inventory.clone());
    sighting.address = request.address.or(sighting.address);
    sighting.last_seen = now;
    sighting.times_seen = sighting.times_seen.saturating_add(1);
    tx.save_sighting(&sighting)?;
    if before != sighting.inventory {
        tx.emit(crate::store::NewEvent {
            level: Level::Info,
            subject: crate::domain::event::Subject { mac: Some(request.mac), ..Default::default() },
            kind: crate::domain::event::EventKind::Sighting,
            message: format!(
                "an unregistered machine booted: {} {} {}",
                sighting.inventory.vendor.as_deref().unwrap_or("unknown vendor"),
                sighting.inventory.product.as_deref().unwrap_or(""),
                request.mac
            ),
        })?;
    }
    if is_new {
        queue::sighting(tx, &config.server.public_url, &sighting)?;
    }
    Ok(sighting)
}
