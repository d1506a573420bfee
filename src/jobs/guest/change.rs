//! Changes of a guest's resources.

use super::task::Kind;
use super::{Working, failed};
use crate::domain::guest::Guest;
use crate::domain::job::{GuestTask, Reconfigure};
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::create as plan;
use crate::proto::pve::size_gb;
use crate::pve::ConfigChange;

const RESIZE: Kind = Kind { upid: "resize", what: "growing the root disk" };

/// Sets cores, memory, start with the node and the description; inputs are recorded for the script that runs later.
pub(super) async fn set_resources(
    working: &mut Working<'_>,
    change: &Reconfigure,
) -> Result<StepDone, StepFailure> {
    let config = working.ours().await?;
    let mut wanted = ConfigChange::default();
    let mut told = Vec::new();
    if let Some(cores) = change.cores {
        wanted = wanted.set("cores", cores);
        told.push(format!("{cores} cores"));
    }
    if let Some(memory) = change.memory_mb {
        wanted = wanted.set("memory", memory);
        told.push(format!("{memory} MiB of memory"));
    }
    if let Some(onboot) = change.onboot {
        wanted = wanted.flag("onboot", onboot);
        told.push(
            if onboot { "starts with the node" } else { "does not start with the node" }.to_owned(),
        );
    }
    if let Some(text) = &change.description {
        let note = plan::with_text(text, config.description());
        wanted = wanted.set("description", note);
        told.push("its description".to_owned());
    }
    if !wanted.is_empty() {
        let cluster = working.engine.cluster().await?;
        let wanted = wanted.digest(&config.digest);
        let (node, vmid) = (&working.guest.node, working.guest.vmid);
        cluster.set_config(node, vmid, &wanted).await.map_err(failed)?;
    }
    let taken = change.clone();
    let message = format!("{} has other settings", working.guest.name);
    working.record(message, move |guest| take(guest, taken)).await?;
    if told.is_empty() {
        told.push("no resources change".to_owned());
    }
    Ok(StepDone::Done(told.join(", ")))
}

fn take(guest: &mut Guest, change: Reconfigure) {
    let spec = &mut guest.spec;
    spec.cores = change.cores.unwrap_or(spec.cores);
    spec.memory_mb = change.memory_mb.unwrap_or(spec.memory_mb);
    spec.onboot = change.onboot.unwrap_or(spec.onboot);
    if let Some(text) = change.description {
        spec.description = text;
    }
    if let (Some(app), Some(inputs)) = (&mut guest.app, change.inputs) {
        app.inputs = inputs;
    }
}

/// Grows the root disk. A disk that has the size already is left alone.
pub(super) async fn resize(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let GuestTask::Reconfigure(Reconfigure { disk_gb: Some(wanted), .. }) = working.task else {
        return Ok(StepDone::Skipped("the root disk keeps its size".to_owned()));
    };
    let config = working.ours().await?;
    let present = config.rootfs().and_then(|v| size_gb(v.get("size")?)).unwrap_or(0);
    let cluster = working.engine.cluster().await?;
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    if working.begun(&cluster, RESIZE).await?.is_some() || present < u64::from(wanted) {
        working
            .task(&cluster, RESIZE, async { cluster.resize(&node, vmid, "rootfs", wanted).await })
            .await?;
    }
    let message = format!("the root disk of {} has {wanted} GiB", working.guest.name);
    working.record(message, move |guest| guest.spec.disk_gb = wanted).await?;
    Ok(StepDone::Done(format!("{wanted} GiB")))
}

/// Whether the job's change makes the app's script run again: for other inputs, and for another GPU when the app allows
/// it, because the script brings the user land and puts the service's user into the devices' group.
pub(super) fn provisions(working: &Working<'_>) -> bool {
    match &working.task {
        GuestTask::Reconfigure(change) => {
            let other_gpu = change.gpu.as_ref().is_some_and(|gpus| !gpus.is_empty());
            change.inputs.is_some() || (other_gpu && working.retry_safe())
        }
        _ => true,
    }
}
