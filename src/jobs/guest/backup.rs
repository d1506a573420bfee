//! Restore points and backups: made before a change, made on demand or on schedule, put back.

use super::task::Kind;
use super::{Working, failed, place, power};
use crate::domain::event::Level;
use crate::domain::guest::{Guest, RestoreKind, RestorePoint};
use crate::domain::id::{NodeName, StorageId};
use crate::domain::job::GuestTask;
use crate::jobs::record;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::whereabouts::{self, Replace};
use crate::proto::pve::{ContainerConfig, PropertyString};
use crate::pve::{Backup, BackupMode, Cluster, Content, RestoreContainer, Volume};

const VZDUMP: Kind = Kind { upid: "vzdump", what: "backing the guest up" };
const SNAPSHOT: Kind = Kind { upid: "vzsnapshot", what: "taking the snapshot" };
const DROP_SNAPSHOT: Kind = Kind { upid: "vzdelsnapshot", what: "removing the older snapshot" };
const ROLLBACK: Kind = Kind { upid: "vzrollback", what: "going back to the snapshot" };
const RESTORE: Kind = Kind { upid: "vzrestore", what: "restoring the backup" };
const DESTROY: Kind = Kind { upid: "vzdestroy", what: "removing the guest on its old node" };

/// The name of our snapshots; one per guest at a time.
const SNAPSHOT_NAME: &str = "ironhatch";

/// Makes something to return to: a snapshot where every volume can have one, else a backup.
pub(super) async fn restore_point(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let config = working.ours().await?;
    let before = working.task.title(&working.guest.name);
    let asked = record::load(working.engine, working.id).await?.map(|job| job.created);
    let point = working.guest.restore_point.as_ref();
    // One of an earlier job with the same title shows the guest as it was then, not as it is now.
    if point.is_some_and(|p| asked.is_some_and(|asked| p.made >= asked)) {
        return Ok(StepDone::Done("made by an earlier attempt".to_owned()));
    }
    let storages = cluster.storages(&working.guest.node).await.map_err(failed)?;
    let can = |volume: &PropertyString| {
        let id = volume.bare().and_then(|volid| volid.split_once(':')).map(|(id, _)| id);
        let storage = storages.iter().find(|s| Some(s.id.as_str()) == id);
        storage.is_some_and(|s| s.facts().has_snapshots())
    };
    let snapshots = config.rootfs().is_some_and(|v| can(&v)) && config.mounts().values().all(can);
    let kind = if snapshots {
        take_snapshot(working, &cluster).await?;
        RestoreKind::Snapshot { name: SNAPSHOT_NAME.to_owned() }
    } else if let Some(path) = left_out(&config) {
        return Err(StepFailure::for_good(
            format!("the volume at {path} is in no backup, and its storage has no snapshots"),
            "include it in backups on the node (Resources → Edit): a change without a way back is not made",
        ));
    } else {
        let Some(storage) = working.layer.apps.boundary.backup_storages.first().cloned() else {
            return Err(StepFailure::for_good(
                "a volume's storage has no snapshots, and no backup storage is approved",
                "name one in apps.backup_storages: a change without a way back is not made",
            ));
        };
        let notes = format!("ironhatch guest {} before: {before}", working.guest.id);
        let volid = dump(working, &cluster, &storage, notes).await?;
        RestoreKind::Backup { volid }
    };
    let told = match &kind {
        RestoreKind::Snapshot { name } => format!("snapshot '{name}'"),
        RestoreKind::Backup { volid } => format!("backup {volid}"),
    };
    let app = working.guest.app.clone();
    let made = working.engine.store().now();
    let spec = Some(working.guest.spec.clone());
    let point = RestorePoint { kind, made, before, app, spec };
    let message = format!("{} has a restore point: {told}", working.guest.name);
    working.record(message, move |guest| guest.restore_point = Some(point)).await?;
    Ok(StepDone::Done(told))
}

/// Where a volume is mounted that archives do not hold: putting an archive back would take it away.
fn left_out(config: &ContainerConfig) -> Option<String> {
    let mounts = config.mounts();
    let out = mounts.values().find(|m| {
        // Bind mounts are folders of the node; no archive and no restore touches them.
        !m.bare().is_some_and(|source| source.starts_with('/')) && m.get("backup") != Some("1")
    })?;
    Some(out.get("mp").unwrap_or_default().to_owned())
}

async fn take_snapshot(working: &mut Working<'_>, cluster: &Cluster) -> Result<(), StepFailure> {
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    if working.begun(cluster, SNAPSHOT).await?.is_none() {
        let present = cluster.snapshots(&node, vmid).await.map_err(failed)?;
        if present.iter().any(|s| s.name == SNAPSHOT_NAME) {
            // First: a record must never describe a snapshot that is gone or shows something else.
            let message = format!("{} gets another restore point", working.guest.name);
            working
                .record(message, |guest| {
                    guest.restore_point = guest
                        .restore_point
                        .take()
                        .filter(|p| !matches!(p.kind, RestoreKind::Snapshot { .. }));
                })
                .await?;
            working
                .task(cluster, DROP_SNAPSHOT, async {
                    cluster.delete_snapshot(&node, vmid, SNAPSHOT_NAME).await
                })
                .await?;
        }
    }
    let note = working.task.title(&working.guest.name);
    working
        .task(cluster, SNAPSHOT, async {
            cluster.snapshot(&node, vmid, SNAPSHOT_NAME, &note).await
        })
        .await
}

/// Makes a backup and returns its volume id: the newest archive of the guest afterwards.
async fn dump(
    working: &Working<'_>,
    cluster: &Cluster,
    storage: &StorageId,
    notes: String,
) -> Result<String, StepFailure> {
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    let wanted =
        Backup { storage: storage.clone(), mode: BackupMode::Snapshot, notes, remove_older: false };
    working.task(cluster, VZDUMP, async { cluster.backup(&node, vmid, &wanted).await }).await?;
    let archives = archives(cluster, working, storage).await?;
    let newest = archives.into_iter().next().ok_or_else(|| {
        StepFailure::for_good(
            format!("the backup ended well, but {storage} lists no archive of {vmid}"),
            "look at the storage on the node",
        )
    })?;
    Ok(newest.volid)
}

/// What marks an archive as the schedule's, and so as one that the schedule may delete.
fn scheduled_note(guest: &Guest) -> String {
    format!("ironhatch guest {}, scheduled", guest.id)
}

/// Archives of the guest on a storage, newest first.
async fn archives(
    cluster: &Cluster,
    working: &Working<'_>,
    storage: &StorageId,
) -> Result<Vec<Volume>, StepFailure> {
    let guest = &working.guest;
    let mut found = cluster
        .content(&guest.node, storage, Content::Backup, Some(guest.vmid))
        .await
        .map_err(failed)?;
    found.sort_by_key(|v| std::cmp::Reverse(v.made));
    Ok(found)
}

/// The one step of a backup.
pub(super) async fn back_up(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let GuestTask::Backup { storage, scheduled } = working.task.clone() else {
        return Err(StepFailure::for_good("this job makes no backup", ""));
    };
    let cluster = working.engine.cluster().await?;
    working.ours().await?;
    let notes = if scheduled {
        scheduled_note(&working.guest)
    } else {
        format!("ironhatch guest {}, asked for", working.guest.id)
    };
    let volid = dump(working, &cluster, &storage, notes).await?;
    Ok(StepDone::Done(volid))
}

/// Deletes archives of ours that the schedule does not keep.
pub(super) async fn prune(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let GuestTask::Backup { storage, scheduled: true } = working.task.clone() else {
        return Ok(StepDone::Skipped("not a scheduled backup".to_owned()));
    };
    let Some(schedule) = &working.layer.apps.backups else {
        return Ok(StepDone::Skipped("the schedule was switched off".to_owned()));
    };
    let cluster = working.engine.cluster().await?;
    let keep = usize::try_from(schedule.keep.max(1)).unwrap_or(usize::MAX);
    let point = working.guest.restore_point.as_ref().map(|p| p.kind.clone());
    let archives = archives(&cluster, working, &storage).await?;
    // What the schedule made says so in its notes; what an operator made or asked for is not the schedule's to delete.
    let own = scheduled_note(&working.guest);
    let ours = archives.into_iter().filter(|v| v.notes.trim() == own && !v.protected);
    let old: Vec<Volume> = ours
        .skip(keep)
        .filter(|v| point != Some(RestoreKind::Backup { volid: v.volid.clone() }))
        .collect();
    let mut deleted = 0;
    for volume in old {
        let gone = cluster.delete_volume(&working.guest.node, &storage, &volume.volid).await;
        match gone {
            Ok(_) => deleted += 1,
            Err(error) => {
                let text = format!("{} could not be deleted: {error}", volume.volid);
                working.log(Level::Warn, text).await?;
            }
        }
    }
    Ok(StepDone::Done(format!("{deleted} older archives deleted, {keep} are kept")))
}

/// Takes the guest back to its restore point.
pub(super) async fn take_back(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let Some(point) = working.guest.restore_point.clone() else {
        return Err(StepFailure::for_good("the guest has no restore point", ""));
    };
    let cluster = working.engine.cluster().await?;
    working.ours().await?;
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    power::stop_hard(working, &cluster).await?;
    match &point.kind {
        RestoreKind::Snapshot { name } => {
            working
                .task(&cluster, ROLLBACK, async { cluster.rollback(&node, vmid, name).await })
                .await?;
        }
        RestoreKind::Backup { volid } => {
            let wanted = over_itself(working, volid);
            working
                .task(&cluster, RESTORE, async { cluster.restore_container(&node, &wanted).await })
                .await?;
        }
    }
    let (app, spec) = (point.app.clone(), point.spec.clone());
    let message = format!("{} is as it was before: {}", working.guest.name, point.before);
    working
        .record(message, move |guest| {
            guest.app = app;
            if let Some(spec) = spec {
                guest.spec = spec;
            }
        })
        .await?;
    Ok(StepDone::Done(format!("as it was before: {}", point.before)))
}

fn over_itself(working: &Working<'_>, archive: &str) -> RestoreContainer {
    RestoreContainer {
        vmid: working.guest.vmid,
        archive: archive.to_owned(),
        storage: working.guest.spec.storage.clone(),
        pool: Some(working.layer.apps.boundary.pool.clone()),
        unprivileged: working.guest.spec.unprivileged,
        hostname: None,
        force: true,
        unique: false,
    }
}

/// Whether a container of the guest is there that a restore onto `target` replaces. The record follows a container that
/// somebody moved there.
///
/// # Errors
/// It must not be replaced: it could run twice, or is not to be found out about.
pub(super) async fn settle(
    working: &mut Working<'_>,
    cluster: &Cluster,
    target: &NodeName,
) -> Result<bool, StepFailure> {
    let vmid = working.guest.vmid;
    let place = place::find(cluster, vmid).await.map_err(failed)?;
    let found = whereabouts::replace(vmid, &working.guest.node, target, &place)
        .map_err(|stuck| StepFailure::for_good(stuck.reason, stuck.hint))?;
    match found {
        Replace::Nothing => Ok(false),
        Replace::Here => Ok(true),
        Replace::Moved => {
            let message = format!("the container of {} was moved to {target}", working.guest.name);
            goes_to(working, target, None, message).await?;
            Ok(true)
        }
    }
}

/// The record follows its container to another node.
async fn goes_to(
    working: &mut Working<'_>,
    node: &NodeName,
    storage: Option<&StorageId>,
    message: String,
) -> Result<(), StepFailure> {
    let (to, storage) = (node.clone(), storage.cloned());
    working
        .record(message, move |guest| {
            guest.node = to;
            if let Some(storage) = storage {
                guest.spec.storage = storage;
            }
        })
        .await?;
    working.channel = None;
    Ok(())
}

/// Puts a backup in the guest's place; on another node the guest is made there and removed here.
pub(super) async fn restore(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let GuestTask::Restore { archive, node, storage } = working.task.clone() else {
        return Err(StepFailure::for_good("this job restores nothing", ""));
    };
    let cluster = working.engine.cluster().await?;
    let vmid = working.guest.vmid;
    // It is begun only after the record has gone to the node where it is put: another one need not answer.
    let begun = working.guest.node == node && working.begun(&cluster, RESTORE).await?.is_some();
    if !begun && settle(working, &cluster, &node).await? {
        let config = working.ours().await?;
        if let Some(path) = left_out(&config) {
            return Err(StepFailure::for_good(
                format!("the volume at {path} is in no backup: a restore would destroy it"),
                "move it out of the container first, or detach it on the node",
            ));
        }
        power::stop_hard(working, &cluster).await?;
        let old = working.guest.node.clone();
        if old != node {
            // A number is unique in the cluster: it must go here before it can come there. The archive is the safety.
            working
                .task(&cluster, DESTROY, async {
                    cluster.destroy(&old, vmid, super::remove::WITH_VOLUMES).await
                })
                .await?;
        }
    }
    let same = working.guest.node == node;
    let wanted = RestoreContainer {
        storage: storage.clone(),
        force: same,
        ..over_itself(working, &archive)
    };
    if !same {
        let message = format!("{} moves to {node}", working.guest.name);
        goes_to(working, &node, Some(&storage), message).await?;
    }
    working
        .task(&cluster, RESTORE, async { cluster.restore_container(&node, &wanted).await })
        .await?;
    Ok(StepDone::Done(format!("{archive} on {node}")))
}
