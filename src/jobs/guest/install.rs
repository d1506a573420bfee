//! The looks before an installation, and what verifies it at its end.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{POLL, Working, change, create, discovery, failed, health, power, provision, remove};
use crate::domain::event::Level;
use crate::domain::guest::{GuestState, Ipv4Config, OutputValue};
use crate::domain::job::{GuestTask, PowerAction};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::vmid::Tag;
use crate::jobs::runner::{StepDone, StepFailure};
use crate::plan::guest::steps::step;
use crate::plan::guest::{create as plan, marks, recheck};
use crate::pve::Cluster;
use crate::store::{GuestReads as _, of_guest};

/// How long a container may take to have an address: DHCP servers that ping first need some seconds.
const NETWORK: Duration = Duration::from_secs(120);
/// What the clean-up after a failure may take: an operator who cancelled is waiting.
const CLEAN_UP: Duration = Duration::from_secs(90);

/// The order still lies inside the boundary: the configuration may have changed while it waited.
pub(super) async fn validate_request(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    if let GuestTask::Uninstall { .. } = working.task {
        return remove::validate(working).await;
    }
    // What only takes away or keeps safe is possible after the configuration has become narrower.
    if let GuestTask::Backup { .. }
    | GuestTask::Power { action: PowerAction::Stop | PowerAction::Shutdown } = working.task
    {
        return Ok(StepDone::Skipped("nothing is made or enlarged".to_owned()));
    }
    let boundary = &working.layer.apps.boundary;
    let node = match &working.task {
        GuestTask::Restore { node, .. } => node,
        _ => &working.guest.node,
    };
    recheck::inside(node, &working.guest.spec, boundary).map_err(|broken| {
        StepFailure::for_good(
            broken.join("; "),
            "ask for it again with values that the configuration approves",
        )
    })?;
    Ok(StepDone::Done("inside what the configuration approves".to_owned()))
}

/// The app's folder is kept here and is what was ordered.
pub(super) async fn validate_manifest(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let app = provision::folder(working)?;
    let manifest = &app.manifest;
    let short: String = app.hash.0.chars().take(12).collect();
    Ok(StepDone::Done(format!("{} {}, content {short}", manifest.id, manifest.version)))
}

/// Node, storage and bridge are there and have room, seen now.
pub(super) async fn validate_placement(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let seen = discovery::fresh(working.engine).await?;
    let boundary = &working.layer.apps.boundary;
    // Where it shall be, which for a restore may be another node than where it is.
    let mut guest = working.guest.clone();
    let ostemplate = match &working.task {
        GuestTask::Restore { node, storage, .. } => {
            guest.node = node.clone();
            guest.spec.storage = storage.clone();
            None
        }
        _ => Some(provision::folder(working)?.manifest.lxc.ostemplate.clone()),
    };
    recheck::place(ostemplate.as_deref(), &guest, boundary, &seen).map_err(|reasons| {
        StepFailure::for_good(
            format!("{} cannot take it: {}", guest.node, reasons.join("; ")),
            "free the resource, or choose another node",
        )
    })?;
    let spec = &guest.spec;
    Ok(StepDone::Done(format!(
        "{} on {}, bridge {}",
        guest.node, spec.storage, spec.network.bridge
    )))
}

/// Waits until the container has its address.
pub(super) async fn wait_for_network(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let begun = tokio::time::Instant::now();
    let wanted = match working.guest.spec.network.ipv4 {
        Ipv4Config::Dhcp => None,
        Ipv4Config::Static { address, .. } => Some(address),
    };
    loop {
        let found = addresses(&cluster, working).await?;
        let address = match wanted {
            Some(wanted) => found.contains(&wanted).then_some(wanted),
            None => found.first().copied(),
        };
        if let Some(address) = address {
            let ip = IpAddr::V4(address);
            let message = format!("{} has the address {ip}", working.guest.name);
            working.record(message, move |guest| guest.address = Some(ip)).await?;
            return Ok(StepDone::Done(format!("{ip} after {} s", begun.elapsed().as_secs())));
        }
        if begun.elapsed() > NETWORK {
            let bridge = &working.guest.spec.network.bridge;
            let hint = match wanted {
                Some(_) => "look at its console: the address may be refused inside",
                None => "see that a DHCP server answers on that bridge and VLAN",
            };
            return Err(StepFailure::passing(
                format!("no address on {bridge} within {} s", NETWORK.as_secs()),
                hint,
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// IPv4 addresses of the running container that others can reach.
pub(super) async fn addresses(
    cluster: &Cluster,
    working: &Working<'_>,
) -> Result<Vec<Ipv4Addr>, StepFailure> {
    let guest = &working.guest;
    let interfaces = cluster.interfaces(&guest.node, guest.vmid).await.map_err(failed)?;
    let all = interfaces.into_iter().flat_map(|i| i.addresses).map(|net| net.addr());
    Ok(all
        .filter_map(|address| match address {
            IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_link_local() => Some(v4),
            _ => None,
        })
        .collect())
}

/// Success is what was verified: the app's own check, or at least that the container still runs.
pub(super) async fn healthcheck(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let app = match working.guest.app {
        Some(_) => Some(provision::folder(working)?),
        // Adopted: it is known by its container only.
        None => None,
    };
    let Some(check) = app.as_ref().and_then(|app| app.manifest.healthcheck.as_ref()) else {
        let cluster = working.engine.cluster().await?;
        if power::is_running(&cluster, working).await? {
            return Ok(StepDone::Done("no check is known; the container runs".to_owned()));
        }
        return Err(StepFailure::for_good(
            "the container does not run after provisioning",
            "read the provisioning log above",
        ));
    };
    let address = address(working)?;
    health::wait_until_healthy(working, check, address).await.map(StepDone::Done)
}

/// The address that was found before.
pub(super) fn address(working: &Working<'_>) -> Result<IpAddr, StepFailure> {
    working.guest.address.ok_or_else(|| {
        StepFailure::for_good("the guest has no known address", "start it and try again")
    })
}

/// Works out what the operator is shown, seals what is secret, and takes the staged files away.
pub(super) async fn collect_outputs(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    if working.guest.app.is_none() {
        return Ok(StepDone::Skipped("no app of ours runs in it".to_owned()));
    }
    let facts = provision::known_facts(working).await?;
    let found = provision::outputs(working, &facts).await?;
    let count = found.len();
    // What was shown once stays so when nothing about it can have changed.
    let provisions = change::provisions(working);
    let id = working.guest.id;
    let saved = working
        .engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            let Some(mut guest) = tx.guest(id)? else { return Ok(None) };
            provision::keep_facts(tx, id, &facts).map_err(|e| {
                Refusal::new(RefusalKind::Internal, format!("facts cannot be kept: {e}"), "")
            })?;
            guest.outputs.clear();
            for output in found {
                let value = match output.secret {
                    Some(secret) => {
                        if provisions {
                            let name = of_guest(id, &super::reveal::output(&output.key));
                            tx.put_secret(&name, secret.expose());
                        }
                        None
                    }
                    None => output.value,
                };
                let (key, label, kind) = (output.key, output.label, output.kind);
                guest.outputs.push(OutputValue { key, label, kind, value });
            }
            tx.save_guest(&guest, &format!("{} has its outputs", guest.name))?;
            Ok(Some(guest))
        })
        .await?;
    if let Some(guest) = saved {
        working.guest = guest;
    }
    // Only now: a restart in between finds the facts in the store.
    provision::tidy(working).await?;
    let mut told = format!("{count} shown on the guest's page");
    if !working.guest.spec.start && matches!(working.task, GuestTask::Install { .. }) {
        let cluster = working.engine.cluster().await?;
        working.ours().await?;
        if power::is_running(&cluster, working).await? {
            power::shut_down(working, &cluster).await?;
        }
        told.push_str("; it is stopped, as was asked for");
    }
    Ok(StepDone::Done(told))
}

/// After a failed or cancelled installation the container stays, stopped and tagged, for somebody to look at. Other work
/// leaves the guest as it is, and so does an installation of which only the service's definition is missing.
pub(super) async fn leave_stopped(working: &mut Working<'_>) {
    let works = working.step.as_str() == step::PUBLISH_SERVICE;
    if working.guest.state != GuestState::Installing || works {
        return;
    }
    let text = match tokio::time::timeout(CLEAN_UP, try_leave_stopped(working)).await {
        Ok(Ok(Some(text))) => (Level::Info, text),
        Ok(Ok(None)) => return,
        Ok(Err(failure)) => (
            Level::Warn,
            format!("its container could not be stopped and tagged: {}", failure.reason),
        ),
        Err(_) => (Level::Warn, "its container could not be stopped and tagged in time".to_owned()),
    };
    if let Err(failure) = working.log(text.0, text.1).await {
        tracing::error!(job = %working.id, reason = failure.reason, "job log could not be written");
    }
}

async fn try_leave_stopped(working: &mut Working<'_>) -> Result<Option<String>, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    match cluster.config(&node, vmid).await {
        Err(error) if error.is_no_guest() || error.is_forbidden() => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(config) => {
            if plan::maker(config.description(), working.guest.id).is_none() {
                return Ok(None);
            }
            let tags = marks::tags_when_failed(config.get("tags").unwrap_or_default());
            create::set_tags(&cluster, working, &tags).await?;
        }
    }
    if power::is_running(&cluster, working).await? {
        power::stop_hard(working, &cluster).await?;
    }
    Ok(Some(format!(
        "container {vmid} is kept on {node}, stopped and tagged '{}': look at it, try again or destroy it",
        Tag::failed()
    )))
}
