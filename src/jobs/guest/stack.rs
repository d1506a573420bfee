//! Apps that come with a host: installed when it becomes ready, as children of its rebuild.

use std::collections::BTreeSet;

use super::request::{self, Parent};
use crate::config::apps::StackEntry;
use crate::domain::event::Level;
use crate::domain::form::Submitted;
use crate::domain::guest::{Guest, GuestEvent, GuestState};
use crate::domain::host::{Failure, Host};
use crate::domain::id::JobId;
use crate::domain::job::{JobStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::jobs::Engine;
use crate::jobs::record::{cancel_requested, load, log};
use crate::jobs::runner::{StepDone, StepFailure};
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
    forget_containers(engine, host).await?;
    let parent = Parent { job: id, host: host.id };
    let mut children = Vec::new();
    let mut failed = Vec::new();
    for entry in &entries {
        match begin(engine, parent, host, entry).await {
            Ok(Some(child)) => children.push((entry.app.clone(), child)),
            Ok(None) => {
                let text = format!("{}: it is there and ready", entry.app);
                log(engine, id, None, Level::Info, text).await?;
            }
            Err(reason) => {
                log(engine, id, None, Level::Error, format!("{}: {reason}", entry.app)).await?;
                failed.push(entry.app.to_string());
            }
        }
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

/// Guests whose container went with the disk are told so; their records and secrets stay for being made again.
async fn forget_containers(engine: &Engine, host: &Host) -> Result<(), StepFailure> {
    let cluster = engine.cluster().await?;
    let present: BTreeSet<_> =
        cluster.guests().await.map_err(super::failed)?.into_iter().map(|g| g.vmid).collect();
    let node = host.hostname.clone();
    engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            for mut guest in tx.guests()? {
                if guest.node != node || present.contains(&guest.vmid) || guest.active_job.is_some()
                {
                    continue;
                }
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

/// The job that brings one app up: one that is there already, the guest of an earlier life made again, or a new one.
async fn begin(
    engine: &Engine,
    parent: Parent,
    host: &Host,
    entry: &StackEntry,
) -> Result<Option<JobId>, String> {
    let form = Submitted::new(plan::fields(&entry.fields, &host.hostname));
    let earlier =
        earlier(engine, parent, entry, form.get("name")).await.map_err(|e| e.to_string())?;
    match earlier {
        Some((_, Some(child))) => Ok(Some(child)),
        // It was not on the disk that is gone: another node has it.
        Some((guest, None)) if guest.state == GuestState::Ready => Ok(None),
        Some((guest, None)) => {
            again(engine, parent, guest).await.map(Some).map_err(|e| e.to_string())
        }
        None => engine
            .install_for(&entry.app, &form, Some(parent))
            .await
            .map(Some)
            .map_err(|declined| declined.to_string()),
    }
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

/// Makes the container of an earlier life again, with the same number, inputs and secrets; never over one that exists.
async fn again(engine: &Engine, parent: Parent, guest: Guest) -> Result<JobId, Refusal> {
    let cluster = engine.cluster().await?;
    if !cluster.is_free(guest.vmid).await.map_err(super::unavailable)? {
        return Err(Refusal::new(
            RefusalKind::Conflict,
            format!("container {} of {} exists and is not ready", guest.vmid, guest.name),
            "open its page: repeat what failed there, go back, or uninstall it",
        ));
    }
    engine
        .start_work(guest.id, move |tx, guest| {
            let app =
                guest.app.as_ref().map(|a| a.id.clone()).ok_or_else(request::no_such_guest)?;
            request::install_again(tx, guest, app, Some(parent.job))
        })
        .await
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
