//! A guest is taken away: its own script, its container, its record.

use super::task::Kind;
use super::{Working, failed, place, power, provision};
use crate::domain::event::Level;
use crate::domain::guest::{Guest, Volume};
use crate::domain::job::GuestTask;
use crate::domain::refusal::Refusal;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::create as plan;
use crate::plan::guest::whereabouts;
use crate::proto::verb::{Request, Verb};
use crate::pve::{Cluster, Destroy};
use crate::store::Tx;

/// Backup jobs and replication forget it too; volumes that its configuration does not name stay.
pub(super) const WITH_VOLUMES: Destroy =
    Destroy { purge: true, force: false, unreferenced_volumes: false };
const DESTROY: Kind = Kind { upid: "vzdestroy", what: "destroying the container" };

/// Sees that the container is ours to take away, or gone already, before anything is touched.
pub(super) async fn validate(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    if !exists(working).await? {
        return Ok(StepDone::Done("the container is gone; what is recorded of it goes".to_owned()));
    }
    let cluster = working.engine.cluster().await?;
    may_destroy(working, &cluster).await?;
    Ok(StepDone::Done("the container is ours to take away".to_owned()))
}

/// Runs the app's own script for its end, when there is one and the container runs. Its failure holds nothing up.
pub(super) async fn run_script(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    if working.guest.app.is_none() {
        return Ok(StepDone::Skipped("no app of ours runs in it".to_owned()));
    }
    let app = match provision::folder(working) {
        Ok(app) => app,
        Err(failure) => return Ok(StepDone::Skipped(failure.reason)),
    };
    if app.manifest.provision.uninstall.is_none() {
        return Ok(StepDone::Skipped("the app has none".to_owned()));
    }
    let cluster = working.engine.cluster().await?;
    if !exists(working).await? || !power::is_running(&cluster, working).await? {
        return Ok(StepDone::Skipped("the container does not run".to_owned()));
    }
    working.ours().await?;
    match provision::run_uninstall(working).await {
        Ok(()) => Ok(StepDone::Done("the app's script for its end ran".to_owned())),
        Err(failure) => {
            let text = format!("the app's script for its end failed: {}", failure.reason);
            working.log(Level::Warn, text).await?;
            Ok(StepDone::Done("it failed; the container goes all the same".to_owned()))
        }
    }
}

/// Whether the container is still there.
pub(super) async fn exists(working: &Working<'_>) -> Result<bool, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let guest = &working.guest;
    let place = place::find(&cluster, guest.vmid).await.map_err(failed)?;
    whereabouts::present(guest.vmid, &guest.node, &place)
        .map_err(|stuck| StepFailure::for_good(stuck.reason, stuck.hint))
}

/// Takes volumes that shall stay out of the container's configuration, so that its end does not take them along.
pub(super) async fn keep_volumes(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let GuestTask::Uninstall { keep_volumes: true, .. } = working.task else {
        return Ok(StepDone::Skipped("all volumes go".to_owned()));
    };
    if !exists(working).await? {
        return Ok(StepDone::Skipped("the container is gone".to_owned()));
    }
    let config = working.ours().await?;
    let vmid = working.guest.vmid;
    let mut kept = Vec::new();
    for (slot, mount) in config.mounts() {
        let volume = mount.bare().unwrap_or_default().to_owned();
        // Before it leaves the configuration: afterwards nobody could tell its id.
        let message = format!("{volume} of {} stays", working.guest.name);
        let (id, path) = (volume.clone(), mount.get("mp").unwrap_or_default().to_owned());
        working.record(message, move |guest| note_volume(guest, slot, path, id)).await?;
        let request = Request::new(Verb::ReleaseVolume { vmid, slot });
        super::create::call(working, &request).await?;
        working.log(Level::Info, format!("{volume} stays on its storage")).await?;
        kept.push(volume);
    }
    if kept.is_empty() {
        return Ok(StepDone::Skipped("it has no volumes beside its root disk".to_owned()));
    }
    Ok(StepDone::Done(format!("kept: {}", kept.join(", "))))
}

fn note_volume(guest: &mut Guest, slot: u8, path: String, id: String) {
    let volumes = &mut guest.spec.volumes;
    match volumes.iter_mut().find(|volume| volume.slot == slot) {
        Some(known) => known.volid = Some(id),
        // Somebody mounted it on the node.
        None => volumes.push(Volume {
            key: format!("mp{slot}"),
            slot,
            path,
            size_gb: 0,
            backup: false,
            volid: Some(id),
        }),
    }
}

/// Destroys the container with the volumes that it still has.
pub(super) async fn destroy(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    if working.begun(&cluster, DESTROY).await?.is_none() {
        if !exists(working).await? {
            return Ok(StepDone::Done(format!("there is no container {vmid}")));
        }
        may_destroy(working, &cluster).await?;
        power::stop_hard(working, &cluster).await?;
    }
    working
        .task(&cluster, DESTROY, async { cluster.destroy(&node, vmid, WITH_VOLUMES).await })
        .await?;
    if exists(working).await? {
        return Err(StepFailure::passing(format!("container {vmid} is still there"), ""));
    }
    Ok(StepDone::Done(format!("container {vmid} is gone")))
}

/// All three marks; or, for an installation that failed before it was tagged, our pool and the note of who made it.
pub(super) async fn may_destroy(
    working: &Working<'_>,
    cluster: &Cluster,
) -> Result<(), StepFailure> {
    let Err(outside) = working.ours().await else { return Ok(()) };
    let (GuestTask::Uninstall { destroy_failed: true, .. } | GuestTask::Install { .. }) =
        working.task
    else {
        return Err(outside);
    };
    let vmid = working.guest.vmid;
    let config = cluster.config(&working.guest.node, vmid).await.map_err(failed)?;
    let pool = &working.layer.apps.boundary.pool;
    let members = cluster.pool_members(pool).await.map_err(failed)?;
    let in_pool = members.is_some_and(|m| m.guests.contains(&vmid));
    if in_pool && plan::maker(config.description(), working.guest.id).is_some() {
        return Ok(());
    }
    Err(outside)
}

/// Deletes the record, its secrets and its reservation, in the write that ends the job.
///
/// # Errors
/// When the database fails.
pub(super) fn forget(tx: &mut Tx<'_, '_>, guest: &Guest, task: &GuestTask) -> Result<(), Refusal> {
    let kept = matches!(task, GuestTask::Uninstall { keep_volumes: true, .. })
        && !guest.spec.volumes.is_empty();
    tx.delete_guest(guest, &format!("{} was removed", guest.name))?;
    if kept {
        let of = |volume: &Volume| volume.volid.clone().unwrap_or_else(|| volume.path.clone());
        tx.hold_for_volumes(guest, guest.spec.volumes.iter().map(of).collect())?;
    }
    Ok(())
}
