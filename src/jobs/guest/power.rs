//! Turning guests on and off.

use super::task::Kind;
use super::{Working, backup, failed, gpu, remove};
use crate::domain::job::{GuestTask, PowerAction};
use crate::jobs::runner::{StepDone, StepFailure};
use crate::pve::{Cluster, Shutdown};

const START: Kind = Kind { upid: "vzstart", what: "starting the container" };
const STOP: Kind = Kind { upid: "vzstop", what: "stopping the container" };
const SHUTDOWN: Kind = Kind { upid: "vzshutdown", what: "shutting the container down" };
/// What a container gets to shut down by itself before it is stopped.
const GRACE: Shutdown = Shutdown { timeout_secs: 120, force: true };

/// Starts the guest, with its devices resolved anew; nothing to do when it runs.
pub(super) async fn start(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    working.ours().await?;
    if is_running(&cluster, working).await? {
        return Ok(StepDone::Done("it runs".to_owned()));
    }
    gpu::resolve(working).await?;
    turn_on(working, &cluster).await?;
    Ok(StepDone::Done("it was started".to_owned()))
}

/// Starts a container that is stopped.
pub(super) async fn turn_on(working: &Working<'_>, cluster: &Cluster) -> Result<(), StepFailure> {
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    working.task(cluster, START, async { cluster.start(&node, vmid).await }).await?;
    if is_running(cluster, working).await? {
        return Ok(());
    }
    Err(StepFailure::for_good(
        "the container was started and is stopped again",
        "look at its console and at its start log on the node",
    ))
}

/// Stops the guest; nothing to do when it does not run.
pub(super) async fn stop(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    // Both get along without the container, so that its end can be cleaned up after and a backup can take its place.
    let is_there = match working.task.clone() {
        GuestTask::Uninstall { .. } => remove::exists(working).await?,
        GuestTask::Restore { node, .. } => backup::settle(working, &cluster, &node).await?,
        _ => true,
    };
    if !is_there {
        return Ok(StepDone::Skipped("there is no container".to_owned()));
    }
    match working.task {
        GuestTask::Uninstall { .. } => remove::may_destroy(working, &cluster).await?,
        _ => drop(working.ours().await?),
    }
    if !is_running(&cluster, working).await? {
        return Ok(StepDone::Done("it does not run".to_owned()));
    }
    shut_down(working, &cluster).await?;
    Ok(StepDone::Done("it was stopped".to_owned()))
}

/// Asks the container to shut down, and stops it when it does not.
pub(super) async fn shut_down(working: &Working<'_>, cluster: &Cluster) -> Result<(), StepFailure> {
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    working.task(cluster, SHUTDOWN, async { cluster.shutdown(&node, vmid, GRACE).await }).await
}

/// Stops the container at once when it runs.
pub(super) async fn stop_hard(working: &Working<'_>, cluster: &Cluster) -> Result<(), StepFailure> {
    if !is_running(cluster, working).await? {
        return Ok(());
    }
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    working.task(cluster, STOP, async { cluster.stop(&node, vmid).await }).await
}

pub(super) async fn is_running(
    cluster: &Cluster,
    working: &Working<'_>,
) -> Result<bool, StepFailure> {
    let guest = &working.guest;
    let status = cluster.status(&guest.node, guest.vmid).await.map_err(failed)?;
    Ok(status.running)
}

/// The one step of a power job.
pub(super) async fn act(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let GuestTask::Power { action } = working.task else {
        return Err(StepFailure::for_good("this job turns nothing on or off", ""));
    };
    match action {
        PowerAction::Start => start(working).await,
        PowerAction::Shutdown => stop(working).await,
        PowerAction::Stop => {
            let cluster = working.engine.cluster().await?;
            working.ours().await?;
            stop_hard(working, &cluster).await?;
            Ok(StepDone::Done("it is stopped".to_owned()))
        }
        PowerAction::Restart => {
            // Two steps' worth of work in one: a restart in between finds it stopped and starts it.
            stop(working).await?;
            start(working).await?;
            Ok(StepDone::Done("it was restarted".to_owned()))
        }
    }
}
