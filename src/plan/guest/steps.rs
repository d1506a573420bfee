//! The steps of every job on a guest: stable ids, titles, what a restart may do, how long each may take.
//!
//! The names of an installation's steps are a contract with pages and scripts. Steps that a guest does not need are in the
//! list and are skipped when their turn comes, so that every job of a kind has the same timeline.

use std::time::Duration;

use crate::domain::app::{HealthCheck, Manifest};
use crate::domain::job::{GuestTask, Step, StepClass};

use StepClass::{Inspect, Pure, SafeToRepeat, Wait};

/// One step of a kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepRow {
    /// Its id; the meaning never changes.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// What a restart may do with it.
    pub class: StepClass,
    /// How long it may take. A manifest's own limits go before it, see [`limit`].
    pub limit: Duration,
    /// What is left when the job fails in it or is cancelled there.
    pub leaves: &'static str,
}

const fn row(
    id: &'static str,
    title: &'static str,
    class: StepClass,
    secs: u64,
    leaves: &'static str,
) -> StepRow {
    StepRow { id, title, class, limit: Duration::from_secs(secs), leaves }
}

/// Ids that drivers branch on.
pub mod step {
    /// The request is checked once more against what is there now.
    pub const VALIDATE_REQUEST: &str = "validate_request";
    /// The app's kept copy is complete and is the one that was chosen.
    pub const VALIDATE_MANIFEST: &str = "validate_manifest";
    /// Node, storage, bridge and template are still there.
    pub const VALIDATE_PLACEMENT: &str = "validate_placement";
    /// The chosen GPUs can be used.
    pub const VALIDATE_GPU: &str = "validate_gpu";
    /// A number is held.
    pub const ALLOCATE_CTID: &str = "allocate_ctid";
    /// The OS template is fetched, the container made.
    pub const CREATE_CONTAINER: &str = "create_container";
    /// Pool, tags, features, resources.
    pub const CONFIGURE_CONTAINER: &str = "configure_container";
    /// Device entries.
    pub const ATTACH_GPU: &str = "attach_gpu";
    /// Its service can open the devices.
    pub const VERIFY_GPU: &str = "verify_gpu";
    /// It runs.
    pub const START_CONTAINER: &str = "start_container";
    /// It has an address and resolves names.
    pub const WAIT_FOR_NETWORK: &str = "wait_for_network";
    /// The app's files are in it.
    pub const PUSH_ASSETS: &str = "push_assets";
    /// The app's packages and scripts ran.
    pub const PROVISION: &str = "provision";
    /// The app answers.
    pub const HEALTHCHECK: &str = "healthcheck";
    /// URLs and credentials are kept, staged files are gone.
    pub const COLLECT_OUTPUTS: &str = "collect_outputs";
    /// The reverse proxy's repository has its definition.
    pub const PUBLISH_SERVICE: &str = "publish_service";
    /// The definition is taken out of the repository.
    pub const WITHDRAW_SERVICE: &str = "withdraw_service";
    /// The app's own clean-up script ran.
    pub const UNINSTALL_SCRIPT: &str = "uninstall_script";
    /// It does not run.
    pub const STOP_CONTAINER: &str = "stop_container";
    /// Volumes that stay are set aside.
    pub const KEEP_VOLUMES: &str = "keep_volumes";
    /// Container and volumes are gone.
    pub const DESTROY_CONTAINER: &str = "destroy_container";
    /// Something to go back to exists.
    pub const RESTORE_POINT: &str = "restore_point";
    /// Disks have their new size.
    pub const RESIZE: &str = "resize";
    /// The upgrade script ran.
    pub const UPGRADE: &str = "upgrade";
    /// It is as it was at the restore point.
    pub const ROLL_BACK: &str = "roll_back";
    /// Started, stopped or restarted.
    pub const POWER: &str = "power";
    /// The archive exists.
    pub const BACKUP: &str = "backup";
    /// Older archives of ours are deleted.
    pub const PRUNE_BACKUPS: &str = "prune_backups";
    /// The archive is in the guest's place.
    pub const RESTORE_CONTAINER: &str = "restore_container";
    /// Pool and tag are set.
    pub const MARK_CONTAINER: &str = "mark_container";
}

const NOTHING: &str = "nothing was changed";
const AS_IT_WAS: &str = "the guest is as it was";
const KEPT: &str = "the container stays, stopped and tagged ironhatch-failed, with its log";
const POINT: &str = "the guest stays as it is; one click returns it to its restore point";

const MINUTE: u64 = 60;
/// vzdump and restore of large volumes on slow disks.
const HOURS: u64 = 6 * 3600;

const REQUEST: StepRow =
    row(step::VALIDATE_REQUEST, "Check the request once more", Pure, 2 * MINUTE, NOTHING);
const START: StepRow =
    row(step::START_CONTAINER, "Start the container", SafeToRepeat, 5 * MINUTE, KEPT);
const STOP: StepRow =
    row(step::STOP_CONTAINER, "Stop the container", SafeToRepeat, 5 * MINUTE, AS_IT_WAS);
const NETWORK: StepRow = row(
    step::WAIT_FOR_NETWORK,
    "Wait for its address and for name resolution",
    Wait,
    5 * MINUTE,
    KEPT,
);
const PUSH: StepRow =
    row(step::PUSH_ASSETS, "Push the app's files", SafeToRepeat, 10 * MINUTE, KEPT);
const HEALTH: StepRow =
    row(step::HEALTHCHECK, "Verify that the app answers", Pure, 10 * MINUTE, KEPT);
const OUTPUTS: StepRow = row(
    step::COLLECT_OUTPUTS,
    "Collect outputs, remove staged files",
    SafeToRepeat,
    5 * MINUTE,
    KEPT,
);
const PUBLISH: StepRow = row(
    step::PUBLISH_SERVICE,
    "Publish its service definition",
    SafeToRepeat,
    5 * MINUTE,
    "the guest works; publishing can be tried again",
);
const RESTORE_POINT: StepRow = row(
    step::RESTORE_POINT,
    "Make a restore point (snapshot, or backup where the storage has none)",
    Inspect,
    HOURS,
    AS_IT_WAS,
);
const GPU: StepRow =
    row(step::ATTACH_GPU, "Give it its GPU devices", SafeToRepeat, 5 * MINUTE, KEPT);

const GPU_INSIDE: StepRow =
    row(step::VERIFY_GPU, "Verify that its service can open the GPU", Pure, 5 * MINUTE, KEPT);

/// An installation.
pub const INSTALL: &[StepRow] = &[
    REQUEST,
    row(step::VALIDATE_MANIFEST, "Check the app's files", Pure, 2 * MINUTE, NOTHING),
    row(
        step::VALIDATE_PLACEMENT,
        "Check node, storage, bridge and template",
        Pure,
        2 * MINUTE,
        NOTHING,
    ),
    row(step::VALIDATE_GPU, "Check the GPU", Pure, 2 * MINUTE, NOTHING),
    row(
        step::ALLOCATE_CTID,
        "Reserve a number",
        SafeToRepeat,
        2 * MINUTE,
        "the number is free again",
    ),
    row(
        step::CREATE_CONTAINER,
        "Fetch the OS template if needed, create the container",
        Inspect,
        60 * MINUTE,
        "what exists under the held number is looked at: a container of ours stays and is listed, otherwise the number \
         is free again",
    ),
    row(step::CONFIGURE_CONTAINER, "Set tags and features", SafeToRepeat, 5 * MINUTE, KEPT),
    GPU,
    START,
    NETWORK,
    PUSH,
    row(step::PROVISION, "Install the app", Inspect, 45 * MINUTE, KEPT),
    GPU_INSIDE,
    HEALTH,
    OUTPUTS,
    PUBLISH,
];

/// Taking a guest away.
pub const UNINSTALL: &[StepRow] = &[
    REQUEST,
    row(
        step::WITHDRAW_SERVICE,
        "Take its service definition out of the repository",
        SafeToRepeat,
        5 * MINUTE,
        "the guest is as it was, and may not be published any more",
    ),
    row(
        step::UNINSTALL_SCRIPT,
        "Run the app's clean-up script",
        Inspect,
        30 * MINUTE,
        "the guest stays and can be uninstalled again",
    ),
    row(
        step::STOP_CONTAINER,
        "Stop the container",
        SafeToRepeat,
        5 * MINUTE,
        "the guest stays and can be uninstalled again",
    ),
    row(
        step::KEEP_VOLUMES,
        "Set the volumes aside that shall stay",
        Inspect,
        30 * MINUTE,
        "the guest stays; volumes that were set aside are named in the log",
    ),
    row(
        step::DESTROY_CONTAINER,
        "Destroy the container",
        Inspect,
        30 * MINUTE,
        "the guest stays listed and can be uninstalled again",
    ),
];

/// Other inputs or resources.
pub const RECONFIGURE: &[StepRow] = &[
    REQUEST,
    row(step::VALIDATE_GPU, "Check the GPU", Pure, 2 * MINUTE, AS_IT_WAS),
    RESTORE_POINT,
    row(step::CONFIGURE_CONTAINER, "Set resources", SafeToRepeat, 5 * MINUTE, POINT),
    row(step::RESIZE, "Grow the root disk", Inspect, 30 * MINUTE, POINT),
    row(step::ATTACH_GPU, "Give it its GPU devices", SafeToRepeat, 5 * MINUTE, POINT),
    row(step::START_CONTAINER, "Start the container again", SafeToRepeat, 5 * MINUTE, POINT),
    StepRow { leaves: POINT, ..NETWORK },
    row(step::PUSH_ASSETS, "Push the app's files", SafeToRepeat, 10 * MINUTE, POINT),
    row(step::PROVISION, "Apply the new inputs", Inspect, 30 * MINUTE, POINT),
    StepRow { leaves: POINT, ..GPU_INSIDE },
    StepRow { leaves: POINT, ..HEALTH },
    StepRow { leaves: POINT, ..OUTPUTS },
];

/// The catalog's version.
pub const UPGRADE: &[StepRow] = &[
    REQUEST,
    row(step::VALIDATE_MANIFEST, "Check the new version's files", Pure, 2 * MINUTE, AS_IT_WAS),
    row(step::VALIDATE_GPU, "Check the GPU", Pure, 2 * MINUTE, AS_IT_WAS),
    RESTORE_POINT,
    // Before the start, which refuses software for another driver than the node has now: the script renews it.
    row(step::ATTACH_GPU, "Give it its GPU devices", SafeToRepeat, 5 * MINUTE, POINT),
    row(
        step::START_CONTAINER,
        "Start the container if it is stopped",
        SafeToRepeat,
        5 * MINUTE,
        POINT,
    ),
    StepRow { leaves: POINT, ..NETWORK },
    row(step::PUSH_ASSETS, "Push the new version's files", SafeToRepeat, 10 * MINUTE, POINT),
    row(step::UPGRADE, "Upgrade the app", Inspect, 45 * MINUTE, POINT),
    StepRow { leaves: POINT, ..GPU_INSIDE },
    StepRow { leaves: POINT, ..HEALTH },
    StepRow { leaves: POINT, ..OUTPUTS },
];

const STILL: &str = "the restore point stays and can be returned to again";

/// Back to the restore point.
pub const RETURN: &[StepRow] = &[
    REQUEST,
    row(step::STOP_CONTAINER, "Stop the container", SafeToRepeat, 5 * MINUTE, STILL),
    row(step::ROLL_BACK, "Put the restore point in its place", Inspect, HOURS, STILL),
    row(step::ATTACH_GPU, "Give it its GPU devices", SafeToRepeat, 5 * MINUTE, STILL),
    row(step::START_CONTAINER, "Start the container", SafeToRepeat, 5 * MINUTE, STILL),
    StepRow { leaves: STILL, ..NETWORK },
    StepRow { leaves: STILL, ..GPU_INSIDE },
    StepRow { leaves: STILL, ..HEALTH },
];

/// On and off.
pub const POWER: &[StepRow] = &[
    REQUEST,
    row(step::ATTACH_GPU, "Look its GPU devices up again", SafeToRepeat, 5 * MINUTE, AS_IT_WAS),
    row(step::POWER, "Change its power state", SafeToRepeat, 10 * MINUTE, AS_IT_WAS),
    StepRow { leaves: "the guest runs, and its service may lack the GPU", ..GPU_INSIDE },
];

/// A backup.
pub const BACKUP: &[StepRow] = &[
    REQUEST,
    row(step::BACKUP, "Back it up", Inspect, HOURS, AS_IT_WAS),
    row(
        step::PRUNE_BACKUPS,
        "Delete archives beyond the number that is kept",
        SafeToRepeat,
        30 * MINUTE,
        AS_IT_WAS,
    ),
];

const ARCHIVE: &str = "the archive stays and can be restored again";

/// A backup in the guest's place.
pub const RESTORE: &[StepRow] = &[
    REQUEST,
    row(step::VALIDATE_PLACEMENT, "Check node, storage and archive", Pure, 2 * MINUTE, AS_IT_WAS),
    STOP,
    row(step::RESTORE_CONTAINER, "Restore the archive", Inspect, HOURS, ARCHIVE),
    row(
        step::CONFIGURE_CONTAINER,
        "Set pool, tags and features",
        SafeToRepeat,
        5 * MINUTE,
        ARCHIVE,
    ),
    row(step::ATTACH_GPU, "Give it its GPU devices", SafeToRepeat, 5 * MINUTE, ARCHIVE),
    row(step::START_CONTAINER, "Start the container", SafeToRepeat, 5 * MINUTE, ARCHIVE),
    StepRow { leaves: ARCHIVE, ..NETWORK },
    StepRow { leaves: ARCHIVE, ..GPU_INSIDE },
    StepRow { leaves: ARCHIVE, ..HEALTH },
    row(
        step::PUBLISH_SERVICE,
        "Publish its service definition",
        SafeToRepeat,
        5 * MINUTE,
        "the guest works; publishing can be tried again",
    ),
];

/// An existing container becomes ours.
pub const ADOPT: &[StepRow] = &[
    REQUEST,
    row(
        step::MARK_CONTAINER,
        "Put it into the pool and set its tag",
        SafeToRepeat,
        5 * MINUTE,
        "the container keeps the marks that were set, and is only observed",
    ),
];

/// The service definition again.
pub const PUBLISH_AGAIN: &[StepRow] = &[REQUEST, PUBLISH];

/// The steps of a task.
#[must_use]
pub fn rows(task: &GuestTask) -> &'static [StepRow] {
    match task {
        GuestTask::Install { .. } => INSTALL,
        GuestTask::Uninstall { .. } => UNINSTALL,
        GuestTask::Reconfigure(_) => RECONFIGURE,
        GuestTask::Upgrade { .. } => UPGRADE,
        GuestTask::Return => RETURN,
        GuestTask::Power { .. } => POWER,
        GuestTask::Backup { .. } => BACKUP,
        GuestTask::Restore { .. } => RESTORE,
        GuestTask::Adopt => ADOPT,
        GuestTask::Publish => PUBLISH_AGAIN,
    }
}

/// The same as pending steps of a job.
#[must_use]
pub fn steps(task: &GuestTask) -> Vec<Step> {
    let pending = |row: &StepRow| {
        let id = row.id.parse().expect("step ids above are slugs");
        Step::pending(id, row.title.to_owned(), row.class)
    };
    rows(task).iter().map(pending).collect()
}

/// How long a step may take, with the manifest's own limits.
#[must_use]
pub fn limit(row: &StepRow, manifest: Option<&Manifest>) -> Duration {
    let Some(manifest) = manifest else { return row.limit };
    match row.id {
        // Each script may take the manifest's time; packages and units come on top.
        step::PROVISION | step::UPGRADE | step::UNINSTALL_SCRIPT => {
            Duration::from_secs(u64::from(manifest.provision.timeout_sec)) + row.limit
        }
        step::HEALTHCHECK => manifest.healthcheck.as_ref().map_or(row.limit, health_limit),
        _ => row.limit,
    }
}

/// How long the first success may take, with one more look.
fn health_limit(check: &HealthCheck) -> Duration {
    let secs = u64::from(check.timeout_sec) + u64::from(check.interval_sec);
    Duration::from_secs(secs)
}

/// What a restart does with a step that was begun and whose end is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterRestart {
    /// Run it again.
    Repeat,
    /// Look first what the earlier attempt left.
    Look,
    /// End the job with this reason.
    Fail(&'static str),
}

/// Decides it. Scripts of an app are run again only when its manifest says that this is safe.
#[must_use]
pub fn after_restart(row: &StepRow, manifest: Option<&Manifest>) -> AfterRestart {
    match (row.class, row.id) {
        (Inspect, step::PROVISION | step::UPGRADE | step::UNINSTALL_SCRIPT) => {
            if manifest.is_some_and(|m| m.provision.retry_safe) {
                AfterRestart::Repeat
            } else {
                AfterRestart::Fail(
                    "Ironhatch was restarted while the app's script ran, and its manifest does not say that the script \
                     may run twice",
                )
            }
        }
        (Inspect, _) => AfterRestart::Look,
        (Pure | SafeToRepeat | Wait, _) => AfterRestart::Repeat,
    }
}

/// Whether a failed installation may go on from its failed step when it is tried again; otherwise the remains are
/// destroyed and it starts anew. `failed` is the step that failed.
#[must_use]
pub fn may_resume(failed: &str, manifest: &Manifest) -> bool {
    let provisioned =
        [step::PROVISION, step::HEALTHCHECK, step::COLLECT_OUTPUTS, step::PUBLISH_SERVICE];
    match provisioned.iter().position(|id| *id == failed) {
        // The scripts began: only a safe one may run again.
        Some(0) => manifest.provision.retry_safe,
        // They ended well; what comes after them can be repeated.
        Some(_) | None => true,
    }
}

#[cfg(test)]
mod test;
