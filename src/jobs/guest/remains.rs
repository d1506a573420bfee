//! Looks what is left of a container after its node was installed anew: whether it may be made again in its own place.

use std::collections::BTreeSet;

use super::{failed, place};
use crate::domain::guest::Guest;
use crate::domain::job::{GuestTask, Job, JobStatus, Work};
use crate::domain::refusal::Refusal;
use crate::jobs::Engine;
use crate::jobs::runner::StepFailure;
use crate::plan::guest::remains::{self as plan, Remains};
use crate::plan::guest::{create, whereabouts};
use crate::proto::pve::ContainerConfig;
use crate::pve::{Cluster, Content};
use crate::store::GuestReads as _;

/// Jobs that are looked through for the one that a container comes from.
const LOOK_BACK: usize = 1000;

/// What is left of a guest of ours.
///
/// # Errors
/// It is not ours, it is somewhere else, or that cannot be seen now.
pub(super) async fn of(engine: &Engine, guest: &Guest) -> Result<Remains, StepFailure> {
    let cluster = engine.cluster().await?;
    let at = place::find(&cluster, guest.vmid).await.map_err(failed)?;
    let is_there = whereabouts::present(guest.vmid, &guest.node, &at)
        .map_err(|stuck| StepFailure::for_good(stuck.reason, stuck.hint))?;
    if !is_there {
        return Ok(Remains::Nothing);
    }
    let config = engine.ours(guest).await?;
    of_config(engine, &cluster, guest, &config).await
}

/// The same for a container whose marks were looked at.
///
/// # Errors
/// That cannot be seen now.
pub(super) async fn of_config(
    engine: &Engine,
    cluster: &Cluster,
    guest: &Guest,
    config: &ContainerConfig,
) -> Result<Remains, StepFailure> {
    may_see(engine, cluster, guest).await?;
    let named = plan::volumes(config);
    let storages: BTreeSet<_> = named.iter().filter_map(|v| plan::storage(v)).collect();
    let known = cluster.storages(&guest.node).await.map_err(failed)?;
    let mut present = BTreeSet::new();
    for storage in storages {
        // What a storage that is not active holds is not gone.
        if !known.iter().any(|s| s.id == storage && s.active) {
            return Err(StepFailure::passing(
                format!(
                    "whether the volumes of {} are left cannot be seen: the storage {storage} is not active on {}",
                    guest.name, guest.node
                ),
                "bring the storage back (import its pool), or destroy the container on the node",
            ));
        }
        let found = cluster.content(&guest.node, &storage, Content::RootDir, Some(guest.vmid));
        present.extend(found.await.map_err(failed)?.into_iter().map(|volume| volume.volid));
    }
    plan::judge(config, &present).ok_or_else(|| {
        StepFailure::for_good(
            format!("the configuration of container {} names no volume", guest.vmid),
            "look at it on the node",
        )
    })
}

/// A list of volumes leaves out what the token may not see. Without that right everything would look gone.
async fn may_see(engine: &Engine, cluster: &Cluster, guest: &Guest) -> Result<(), StepFailure> {
    const PRIVILEGE: &str = "VM.Config.Disk";
    let pool = &engine.layer()?.apps.boundary.pool;
    let held = cluster.permissions().await.map_err(failed)?;
    let paths = [format!("/pool/{pool}"), format!("/vms/{}", guest.vmid)];
    if paths.iter().any(|path| held.allow(path, PRIVILEGE)) {
        return Ok(());
    }
    Err(StepFailure::for_good(
        format!("the token lacks {PRIVILEGE} on {pool}: volumes cannot be seen"),
        "enrol the node again to renew its roles and access lists",
    ))
}

/// Whether the guest ran in the container whose configuration this is: an installation succeeded in it, or nobody knows.
/// Such a container may hold data.
///
/// # Errors
/// When the database fails.
pub(super) async fn ran(
    engine: &Engine,
    guest: &Guest,
    config: &ContainerConfig,
) -> Result<bool, Refusal> {
    let id = guest.id;
    let maker = create::maker(config.description(), id);
    let jobs =
        engine.store().read::<_, Refusal, _>(move |r| Ok(r.jobs_of_guest(id, LOOK_BACK)?)).await?;
    let Some(made) = jobs.iter().find(|job| Some(job.id) == maker).map(|job| job.created) else {
        return Ok(true);
    };
    Ok(jobs.iter().any(|job| job.created >= made && has_succeeded(job)))
}

fn has_succeeded(job: &Job) -> bool {
    let is_install = matches!(
        &job.work,
        Work::Guest(work) if matches!(work.task, GuestTask::Install { .. })
    );
    is_install && (job.status == JobStatus::Succeeded || super::only_unpublished(job))
}
