//! GPUs of a guest: seen to be usable, given to it, and looked up again before each start.

use super::create::{call, refused};
use super::{Working, power};
use crate::domain::event::Level;
use crate::domain::gpu::GpuReport;
use crate::domain::guest::GpuAttachment;
use crate::domain::id::NodeName;
use crate::domain::job::{GuestTask, PowerAction};
use crate::domain::refusal::Refusal;
use crate::jobs::Engine;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::node::channel::CallLimits;
use crate::plan::guest::gpu::{self as plan, inside};
use crate::proto::pve::ContainerConfig;
use crate::proto::verb::{Answer, DeviceEntry, FileMode, Request, Stream, Verb, is_gpu_device};
use crate::store::NodeReads as _;

const HINT: &str = "correct it on the node, or reconfigure the guest without this GPU";

const INSIDE_HINT: &str = "look into the guest: is the service's user in the group 'render', has its user land the version of the \
                           node's driver? Then try again";

/// The attachments that the guest shall have once its job is done.
fn wanted(working: &Working<'_>) -> Vec<GpuAttachment> {
    match &working.task {
        GuestTask::Reconfigure(change) => {
            change.gpu.clone().unwrap_or_else(|| working.guest.spec.gpu.clone())
        }
        _ => working.guest.spec.gpu.clone(),
    }
}

/// The driver works, the nodes exist, the boundary lets the app have it; seen on the node now.
pub(super) async fn validate(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let wanted = wanted(working);
    if wanted.is_empty() {
        return Ok(StepDone::Skipped("it has none".to_owned()));
    }
    let report = report(working, Verb::DriverCheck).await?;
    let need = super::provision::folder(working)?.manifest.gpu.clone();
    let addresses = wanted.iter().map(|a| a.address.clone()).collect();
    let app = working.guest.app.as_ref().map(|a| a.id.clone());
    let Some(app) = app else {
        return Err(StepFailure::for_good("an adopted guest without an app gets no GPU", HINT));
    };
    plan::choose(
        need.as_ref(),
        &working.layer.apps.boundary.gpu,
        &app,
        &working.guest.node,
        &report,
        &plan::Wish::Pick(addresses),
    )
    .map_err(|e| StepFailure::for_good(e.to_string(), HINT))?;
    Ok(StepDone::Done(format!("{} usable", wanted.len())))
}

/// Gives the guest its device entries. Its group numbers are read in the guest itself, which is started once for that.
pub(super) async fn attach(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let wanted = wanted(working);
    let config = working.ours().await?;
    if wanted.is_empty() && working.guest.spec.gpu.is_empty() {
        return Ok(StepDone::Skipped("it has none".to_owned()));
    }
    if let GuestTask::Power { action: PowerAction::Stop | PowerAction::Shutdown } = working.task {
        return Ok(StepDone::Skipped("they are looked up before the next start".to_owned()));
    }
    let current = entries(&config);
    let mut gids = plan::Gids::from_entries(&current);
    let cluster = working.engine.cluster().await?;
    if plan::needs_gids(&wanted) && gids.render.is_none() {
        if !power::is_running(&cluster, working).await? {
            power::turn_on(working, &cluster).await?;
        }
        gids = read_gids(working).await?;
    }
    let report = report(working, Verb::Gpus).await?;
    let wanted = match working.task {
        // Its script installs the user land for the driver that the node has now.
        GuestTask::Upgrade { .. } => plan::renewed(&report, &wanted),
        _ => wanted,
    };
    let entries = plan::devices(&working.guest.node, &report, &wanted, gids)
        .map_err(|e| StepFailure::for_good(e.to_string(), HINT))?;
    let changes = plan::changes(&current, &entries);
    if !changes.is_empty() {
        // Removed and changed entries count from the next start on (PVE 9.2); new ones of a running guest from 9.0 on.
        // Before the change, so that an interruption after it leaves nothing running with the old ones.
        if power::is_running(&cluster, working).await? {
            power::shut_down(working, &cluster).await?;
        }
        set(working, entries).await?;
    }
    let attachments = plan::renewed(&report, &wanted);
    if working.guest.spec.gpu != attachments {
        let message = format!("{} has its GPU devices", working.guest.name);
        working.record(message, move |guest| guest.spec.gpu = attachments).await?;
    }
    if changes.is_empty() {
        return Ok(StepDone::Done("its devices are as they should be".to_owned()));
    }
    Ok(StepDone::Done(changes.join("; ")))
}

/// Looks the device nodes up again: their numbers may have changed with the last boot of the node.
pub(super) async fn resolve(working: &mut Working<'_>) -> Result<(), StepFailure> {
    let attachments = working.guest.spec.gpu.clone();
    if attachments.is_empty() {
        return Ok(());
    }
    let config = working.ours().await?;
    let current = entries(&config);
    let gids = plan::Gids::from_entries(&current);
    if plan::needs_gids(&attachments) && gids.render.is_none() {
        // Its first start, or nothing was attached yet: the step that attaches finds the number out.
        return Ok(());
    }
    let report = report(working, Verb::DriverCheck).await?;
    let entries = plan::devices(&working.guest.node, &report, &attachments, gids)
        .map_err(|e| StepFailure::for_good(e.to_string(), HINT))?;
    let changes = plan::changes(&current, &entries);
    if changes.is_empty() {
        return Ok(());
    }
    let text =
        format!("its GPU has other device nodes since the last start: {}", changes.join("; "));
    working.log(Level::Warn, text).await?;
    set(working, entries).await
}

/// Looks in the running guest whether the nodes are there as they should be, and whether the service's user can open them.
/// Only a look: what is wrong is told and left as it is.
pub(super) async fn verify(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let attachments = working.guest.spec.gpu.clone();
    if attachments.is_empty() {
        return Ok(StepDone::Skipped("it has none".to_owned()));
    }
    let entries = entries(&working.ours().await?);
    let cluster = working.engine.cluster().await?;
    if !power::is_running(&cluster, working).await? {
        return Ok(StepDone::Skipped("the container does not run".to_owned()));
    }
    let wrong = |reason: String| StepFailure::for_good(reason, INSIDE_HINT);
    let listing = inside::listing(&entries);
    // `stat` tells of the nodes that are there also when it fails because of one that is not.
    let (_, printed, _) = said(working, &listing).await?;
    inside::compare(&entries, &printed).map_err(wrong)?;
    let need = super::provision::folder(working)?.manifest.gpu.clone();
    let looks = need.map(|need| inside::trials(&need, &attachments, &entries)).unwrap_or_default();
    for look in &looks {
        let (status, printed, complaint) = said(working, look).await?;
        if status != 0 {
            let told = if complaint.trim().is_empty() { printed } else { complaint };
            return Err(wrong(inside::failure(look, status, &told)));
        }
    }
    let programs = looks.len().saturating_sub(entries.len());
    let by = match looks.first() {
        Some(look) => format!(" and can be opened by {}", look.user),
        None => String::new(),
    };
    let more =
        if programs > 0 { format!("; {programs} programs succeeded") } else { String::new() };
    Ok(StepDone::Done(format!("{} device nodes are there{by}{more}", entries.len())))
}

/// Runs a program in the guest: its status, output and complaints, both cut.
async fn said(
    working: &mut Working<'_>,
    look: &inside::Look,
) -> Result<(i32, String, String), StepFailure> {
    const MOST: usize = 16 * 1024;
    let request = Request::new(Verb::Exec {
        vmid: working.guest.vmid,
        argv: look.argv.clone(),
        env: std::collections::BTreeMap::new(),
        user: Some(look.user.clone()),
        timeout_sec: inside::TIMEOUT_SEC,
    });
    let limits = CallLimits::for_verb(&request.verb);
    let (mut printed, mut complaint) = (String::new(), String::new());
    let channel = working.channel().await?;
    let outcome = channel
        .call(&request, &[], limits, &mut |stream, text| {
            let kept = if stream == Stream::Stdout { &mut printed } else { &mut complaint };
            if kept.len() < MOST {
                kept.push_str(text);
            }
        })
        .await
        .map_err(refused)?;
    Ok((outcome.status, printed, complaint))
}

async fn set(working: &mut Working<'_>, devices: Vec<DeviceEntry>) -> Result<(), StepFailure> {
    let vmid = working.guest.vmid;
    call(working, &Request::new(Verb::SetDevices { vmid, devices })).await
}

/// The entries of GPU devices that a container has; others are not ours to look after.
fn entries(config: &ContainerConfig) -> Vec<DeviceEntry> {
    let number = |text: Option<&str>| text.and_then(|t| t.parse().ok()).unwrap_or(0);
    let devices = config.devices();
    devices
        .values()
        .filter_map(|entry| {
            let mode = entry.get("mode").unwrap_or("0660").to_owned();
            let path = entry.bare().or(entry.get("path")).filter(|path| is_gpu_device(path))?;
            Some(DeviceEntry {
                path: path.to_owned(),
                uid: number(entry.get("uid")),
                gid: number(entry.get("gid")),
                mode: FileMode::try_from(mode).ok()?,
            })
        })
        .collect()
}

async fn read_gids(working: &mut Working<'_>) -> Result<plan::Gids, StepFailure> {
    const GROUP_FILE: &str = "/etc/group";
    const MOST: u64 = 64 * 1024;
    let verb = Verb::Pull { vmid: working.guest.vmid, path: GROUP_FILE.to_owned(), most: MOST };
    let limits = CallLimits::for_verb(&verb);
    let channel = working.channel().await?;
    let outcome =
        channel.call(&Request::new(verb), &[], limits, &mut |_, _| {}).await.map_err(refused)?;
    Ok(plan::Gids::from_group_file(&String::from_utf8_lossy(&outcome.data)))
}

async fn report(working: &mut Working<'_>, verb: Verb) -> Result<GpuReport, StepFailure> {
    let limits = CallLimits::for_verb(&verb);
    let channel = working.channel().await?;
    let outcome =
        channel.call(&Request::new(verb), &[], limits, &mut |_, _| {}).await.map_err(refused)?;
    let Some(Answer::Gpu { report }) = outcome.answer else {
        return Err(StepFailure::for_good("the node told nothing about its GPUs", HINT));
    };
    keep(working.engine, &working.guest.node, report.clone()).await?;
    Ok(report)
}

/// Keeps what a node told about its GPUs, for forms and pages.
pub(in crate::jobs) async fn keep(
    engine: &Engine,
    node: &NodeName,
    report: GpuReport,
) -> Result<(), Refusal> {
    let name = node.clone();
    engine
        .store()
        .write(move |tx| {
            let Some(mut node) = tx.enrolled_node(&name)? else { return Ok(()) };
            node.gpu_seen = Some(tx.now());
            if node.gpu == report {
                return Ok(());
            }
            node.gpu = report;
            Ok(tx.save_node(&node, &format!("{name} reported other GPUs"))?)
        })
        .await
}

/// Asks every enrolled node for its GPUs; what does not answer is left as it was.
pub(in crate::jobs) async fn look_at_all(engine: &Engine) -> Result<(), Refusal> {
    let nodes = engine.store().read::<_, Refusal, _>(|r| Ok(r.enrolled_nodes()?)).await?;
    for node in nodes {
        let verb = Verb::Gpus;
        let limits = CallLimits::for_verb(&verb);
        let Ok(channel) = engine.channel(&node.name).await else { continue };
        let told = channel.call(&Request::new(verb), &[], limits, &mut |_, _| {}).await;
        if let Ok(outcome) = told
            && let Some(Answer::Gpu { report }) = outcome.answer
        {
            keep(engine, &node.name, report).await?;
        }
    }
    Ok(())
}
