//! Apps that come with a host: installed when it becomes ready, as children of its rebuild.

use std::collections::BTreeSet;

use super::request::{self, Parent};
use super::{discovery, remains};
use crate::config::apps::StackEntry;
use crate::domain::event::Level;
use crate::domain::fault::ErrorClass;
use crate::domain::form::{Declined, Submitted};
use crate::domain::guest::{Guest, GuestEvent, GuestState};
use crate::domain::host::{Failure, Host};
use crate::domain::id::JobId;
use crate::domain::job::{GuestTask, JobStatus, PowerAction, Work};
use crate::domain::refusal::Refusal;
use crate::jobs::Engine;
use crate::jobs::record::{cancel_requested, load, log};
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::remains::Remains;
use crate::plan::guest::stack as plan;
use crate::store::GuestReads as _;

/// The entries for a host.
pub(in crate::jobs) fn entries(engine: &Engine, host: &Host) -> Vec<StackEntry> {
    let Ok(layer) = engine.layer() else { return Vec::new() };
    layer.apps.stacks.iter().filter(|s| s.server_type == host.server_type).cloned().collect()
}

/// Installs a host's apps and waits for their end. Repeating it goes on with the jobs that are there.
///
/// # Errors
/// Which apps did not come up.
pub(in crate::jobs) async fn install(
    engine: &Engine,
    id: JobId,
    host: &Host,
) -> Result<StepDone, StepFailure> {
    let entries = entries(engine, host);
    if entries.is_empty() {
        return Ok(StepDone::Skipped("no apps come with this server type".to_owned()));
    }
    forget_containers(engine, id, host).await?;
    let parent = Parent { job: id, host: host.id };
    let mut children = Vec::new();
    let mut failed = Vec::new();
    let mut passing = None;
    for entry in &entries {
        match begin(engine, parent, host, entry).await {
            Ok(Some(child)) => children.push((entry.app.clone(), child)),
            Ok(None) => {
                let text = format!("{}: it is there and runs", entry.app);
                log(engine, id, None, Level::Info, text).await?;
            }
            Err(failure) if failure.is_transient => {
                let reason = format!("{}: {}", entry.app, failure.reason);
                passing = Some(StepFailure { reason, ..failure });
            }
            Err(failure) => {
                let text = format!("{}: {} ({})", entry.app, failure.reason, failure.hint);
                log(engine, id, None, Level::Error, text).await?;
                failed.push(entry.app.to_string());
            }
        }
    }
    // A node that has just joined does not answer everything at once. What began goes on meanwhile and is found again.
    if let Some(failure) = passing {
        return Err(failure);
    }
    for (app, child) in children {
        if wait(engine, id, child).await? != Some(JobStatus::Succeeded) {
            failed.push(app.to_string());
        }
    }
    if failed.is_empty() {
        return Ok(StepDone::Done(format!("{} apps run on {}", entries.len(), host.hostname)));
    }
    Err(StepFailure::for_good(
        format!("{} is ready, but not everything on it: {}", host.hostname, failed.join(", ")),
        "open the guests' pages: each tells why, and can be tried again without another rebuild",
    ))
}

/// Guests whose container went with the disk are told so; their records and secrets stay for being made again. A
/// configuration that came back with the node's name and has no volumes behind it is no container.
async fn forget_containers(engine: &Engine, id: JobId, host: &Host) -> Result<(), StepFailure> {
    let node = host.hostname.clone();
    let at = node.clone();
    let guests = engine.store().read::<_, Refusal, _>(|r| Ok(r.guests()?)).await?;
    let mut lost = BTreeSet::new();
    for guest in guests.into_iter().filter(|g| g.node == at && is_settled(g)) {
        match remains::of(engine, &guest).await {
            Ok(Remains::Volumes(_)) => {}
            Ok(Remains::Nothing | Remains::Hollow) => {
                lost.insert(guest.id);
            }
            Err(failure) if failure.is_transient => return Err(failure),
            // It is there, but not as ours: somebody else has to look at it.
            Err(failure) => {
                let text = format!("{}: {}", guest.name, failure.reason);
                log(engine, id, None, Level::Warn, text).await?;
            }
        }
    }
    engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            for id in lost {
                let Some(mut guest) = tx.guest(id)?.filter(is_settled) else { continue };
                if guest.step(GuestEvent::Lost, tx.now()).is_ok() {
                    guest.failure = Some(Failure {
                        from: None,
                        reason: format!("its container went with the old disk of {node}"),
                        hint: "install it again, or restore a backup".to_owned(),
                    });
                    let message = format!("the container of {} is gone", guest.name);
                    tx.save_guest(&guest, &message)?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(())
}

/// Whether it counts as being there: nothing is at work on it, and it did not fail.
fn is_settled(guest: &Guest) -> bool {
    guest.state == GuestState::Ready && guest.active_job.is_none()
}

/// The job that brings one app up: one that is there already, the guest of an earlier life made again or started, or a new
/// one. `None`: it runs.
async fn begin(
    engine: &Engine,
    parent: Parent,
    host: &Host,
    entry: &StackEntry,
) -> Result<Option<JobId>, StepFailure> {
    let form = Submitted::new(plan::fields(&entry.fields, &host.hostname));
    match earlier(engine, parent, entry, form.get("name")).await? {
        Some((_, Some(child))) => Ok(Some(child)),
        // It was not on the disk that is gone: its volumes came back, or another node has it.
        Some((guest, None)) if guest.state == GuestState::Ready => {
            if needs_no_start(engine, host, &guest).await? {
                return Ok(None);
            }
            let start = GuestTask::Power { action: PowerAction::Start };
            let queued = engine
                .start_work(guest.id, move |tx, guest| {
                    request::start(tx, guest, start, Some(parent.job))
                })
                .await?;
            Ok(Some(queued))
        }
        Some((guest, None)) => again(engine, parent, guest).await.map(Some),
        None => {
            let begun = engine.install_for(&entry.app, &form, Some(parent)).await;
            match begun {
                Ok(child) => Ok(Some(child)),
                Err(Declined::Refused(refusal)) => Err(refusal.into()),
                Err(declined) => Err(declined_fields(engine, host, &declined).await),
            }
        }
    }
}

/// Whether there is nothing to start: it runs, it shall not, or it is another node's.
async fn needs_no_start(engine: &Engine, host: &Host, guest: &Guest) -> Result<bool, StepFailure> {
    if guest.node != host.hostname || !guest.spec.start {
        return Ok(true);
    }
    let cluster = engine.cluster().await?;
    let status = cluster.status(&guest.node, guest.vmid).await.map_err(super::failed)?;
    Ok(status.running)
}

/// Fields that were refused: while the host is not usable yet, what is wrong with them may be just that.
async fn declined_fields(engine: &Engine, host: &Host, declined: &Declined) -> StepFailure {
    let seen = discovery::recent(engine).await;
    let is_usable = seen.is_ok_and(|d| d.node(&host.hostname).is_some_and(|n| n.usable));
    let class = if is_usable { ErrorClass::Denied } else { ErrorClass::Transient };
    StepFailure::of(class, declined.to_string(), "correct the stack's fields in the configuration")
}

/// The guest that this entry made before, with the job of this rebuild for it when there is one.
async fn earlier(
    engine: &Engine,
    parent: Parent,
    entry: &StackEntry,
    name: Option<&str>,
) -> Result<Option<(Guest, Option<JobId>)>, Refusal> {
    let (app, name) = (entry.app.clone(), name.map(str::to_owned));
    engine
        .store()
        .read(move |r| {
            let is_same = |guest: &Guest| {
                guest.stack_of == Some(parent.host)
                    && guest.app.as_ref().is_some_and(|a| a.id == app)
                    && name.as_deref().is_none_or(|name| guest.name.as_str() == name)
            };
            let Some(guest) = r.guests()?.into_iter().find(is_same) else { return Ok(None) };
            let jobs = r.jobs_of_guest(guest.id, 20)?;
            let child = jobs.into_iter().find(
                |job| matches!(&job.work, Work::Guest(work) if work.parent == Some(parent.job)),
            );
            Ok(Some((guest, child.map(|job| job.id))))
        })
        .await
}

/// Makes the container of an earlier life again, with the same number, inputs and secrets; never over one that has volumes.
async fn again(engine: &Engine, parent: Parent, guest: Guest) -> Result<JobId, StepFailure> {
    if let Remains::Volumes(left) = remains::of(engine, &guest).await? {
        return Err(StepFailure::for_good(
            format!(
                "container {} of {} is not ready, and volumes of it are left: {}",
                guest.vmid,
                guest.name,
                left.join(", ")
            ),
            "open its page: repeat what failed there, go back, or uninstall it",
        ));
    }
    let queued = engine
        .start_work(guest.id, move |tx, guest| {
            let app =
                guest.app.as_ref().map(|a| a.id.clone()).ok_or_else(request::no_such_guest)?;
            request::install_again(tx, guest, app, Some(parent.job))
        })
        .await?;
    Ok(queued)
}

/// Waits for a child's end; `None` when the rebuild was asked to stop meanwhile.
async fn wait(engine: &Engine, id: JobId, child: JobId) -> Result<Option<JobStatus>, Refusal> {
    let mut events = engine.store().subscribe();
    loop {
        match load(engine, child).await? {
            Some(job) if !job.status.is_terminal() => {}
            other => return Ok(other.map(|job| job.status)),
        }
        if cancel_requested(engine, id).await? {
            return Ok(None);
        }
        // Any event may be the one; at least every few seconds.
        let _ = tokio::time::timeout(super::POLL, events.recv()).await;
    }
}
