//! The container comes to be: its number, the container itself, its marks and features.

use super::task::Kind;
use super::{Working, failed, remains};
use crate::domain::app::Feature;
use crate::domain::event::Level;
use crate::domain::id::NodeName;
use crate::domain::job::GuestTask;
use crate::domain::refusal::Refusal;
use crate::domain::vmid::{Tag, Vmid};
use crate::jobs::runner::{StepDone, StepFailure};
use crate::node::channel::{CallLimits, ChannelError};
use crate::plan::guest::ostemplate::{self, TemplateChoice};
use crate::plan::guest::remains::Remains;
use crate::plan::guest::{create as plan, marks, vmid};
use crate::proto::verb::{Request, Verb};
use crate::pve::{Cluster, ConfigChange, Content, NewContainer};
use crate::store::GuestReads as _;

const CREATE: Kind = Kind { upid: "vzcreate", what: "creating the container" };
const DOWNLOAD: Kind = Kind { upid: "download", what: "downloading the OS template" };
const DESTROY: Kind = Kind { upid: "vzdestroy", what: "destroying the remains of the earlier try" };
/// Numbers tried when others are faster: each loss is one that somebody else took in the same second.
const MOST_NUMBERS: usize = 20;

/// Sees that the number held for the guest is free in the cluster, or takes another one.
pub(super) async fn allocate(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    if made_by(&cluster, working).await?.is_some() {
        return Ok(StepDone::Done(format!("{} is this guest's already", working.guest.vmid)));
    }
    let vmid = working.guest.vmid;
    if cluster.is_free(vmid).await.map_err(failed)? {
        return Ok(StepDone::Done(format!("{vmid} is free and held for it")));
    }
    let vmid = take_another(&cluster, working).await?;
    Ok(StepDone::Done(format!("{vmid} is free and held for it")))
}

/// Gives the guest another number that is free, and holds it.
async fn take_another(cluster: &Cluster, working: &mut Working<'_>) -> Result<Vmid, StepFailure> {
    let boundary = &working.layer.apps.boundary;
    let mut taken: Vec<Vmid> =
        cluster.guests().await.map_err(failed)?.into_iter().map(|g| g.vmid).collect();
    taken.push(working.guest.vmid);
    for _ in 0..MOST_NUMBERS {
        let held = held(working).await?;
        let range = &boundary.vmids;
        let Some(vmid) = vmid::choose(range, &boundary.reserved_vmids, &taken, &held) else {
            return Err(StepFailure::for_good(
                format!("no number from {} to {} is free", range.start(), range.end()),
                "widen apps.vmids in the configuration, or remove guests",
            ));
        };
        if cluster.is_free(vmid).await.map_err(failed)? {
            renumber(working, vmid).await?;
            return Ok(vmid);
        }
        taken.push(vmid);
    }
    Err(StepFailure::passing("every number that was free got taken by somebody else", ""))
}

async fn held(working: &Working<'_>) -> Result<Vec<Vmid>, StepFailure> {
    let mine = working.guest.id;
    Ok(working
        .engine
        .store()
        .read::<_, Refusal, _>(move |r| {
            let held = r.held_vmids()?.into_iter().filter(|h| h.guest != mine).map(|h| h.vmid);
            let guests = r.guests()?.into_iter().filter(|g| g.id != mine).map(|g| g.vmid);
            Ok(held.chain(guests).collect())
        })
        .await?)
}

/// Moves the guest's record and reservation to another number, in one write.
async fn renumber(working: &mut Working<'_>, vmid: Vmid) -> Result<(), StepFailure> {
    let id = working.guest.id;
    let saved = working
        .engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            let Some(mut guest) = tx.guest(id)? else { return Ok(None) };
            tx.release_vmid(guest.vmid);
            guest.vmid = vmid;
            tx.hold_vmid(vmid, id)?;
            tx.save_guest(&guest, &format!("{} gets the number {vmid}", guest.name))?;
            Ok(Some(guest))
        })
        .await?;
    if let Some(guest) = saved {
        working.guest = guest;
    }
    Ok(())
}

/// Makes the container, or goes on with the one that an earlier attempt of this job made.
pub(super) async fn create(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    match made_by(&cluster, working).await? {
        Some(Maker::ThisJob) => {
            // Interrupted while it waited, or the answer was lost: the task may still run.
            if let Some(upid) = working.begun(&cluster, CREATE).await? {
                working.watch(&cluster, CREATE, &upid).await?;
            }
            return confirm(&cluster, working).await;
        }
        Some(Maker::AnotherJob) => clear(&cluster, working).await?,
        None => {}
    }
    let template = ensure_template(&cluster, working).await?;
    for _ in 0..MOST_NUMBERS {
        let wanted = container(working, &template);
        let node = working.guest.node.clone();
        let started = working
            .task(&cluster, CREATE, async { cluster.create_container(&node, &wanted).await })
            .await;
        match started {
            Ok(()) => return confirm(&cluster, working).await,
            // Somebody took the number between the look and the request: only this answer is certain.
            Err(failure) if failure.reason.contains("already exists") => {
                let lost = working.guest.vmid;
                let vmid = take_another(&cluster, working).await?;
                working
                    .log(Level::Warn, format!("{lost} was taken meanwhile; {vmid} it is"))
                    .await?;
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(StepFailure::passing("every number that was free got taken by somebody else", ""))
}

fn container(working: &Working<'_>, ostemplate: &str) -> NewContainer {
    let guest = &working.guest;
    let spec = &guest.spec;
    let app = guest.app.as_ref().map(|a| (a.id.as_str(), a.version.as_str()));
    NewContainer {
        vmid: guest.vmid,
        pool: working.layer.apps.boundary.pool.clone(),
        ostemplate: ostemplate.to_owned(),
        hostname: guest.name.clone(),
        storage: spec.storage.clone(),
        disk_gb: spec.disk_gb,
        cores: spec.cores,
        memory_mb: spec.memory_mb,
        swap_mb: spec.swap_mb,
        unprivileged: spec.unprivileged,
        nesting: spec.unprivileged && spec.features.contains(&Feature::Nesting),
        network: spec.network.clone(),
        volumes: spec.volumes.clone(),
        onboot: spec.onboot,
        description: plan::description(&spec.description, app, guest.id, working.id),
    }
}

/// The container is in the pool: only then are the numbers and marks of it ours to rely on.
async fn confirm(cluster: &Cluster, working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let pool = &working.layer.apps.boundary.pool;
    let vmid = working.guest.vmid;
    let members = cluster.pool_members(pool).await.map_err(failed)?;
    if !members.is_some_and(|m| m.guests.contains(&vmid)) {
        return Err(StepFailure::passing(
            format!("the container {vmid} is not in the pool '{pool}' yet"),
            "look at the pool on the node",
        ));
    }
    let template = working.guest.spec.ostemplate.clone().unwrap_or_default();
    Ok(StepDone::Done(format!("container {vmid} on {}, from {template}", working.guest.node)))
}

/// Which job made the container that has the guest's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    ThisJob,
    AnotherJob,
}

/// Looks whether the container with the guest's number was made for this guest; its description says so.
async fn made_by(cluster: &Cluster, working: &Working<'_>) -> Result<Option<Maker>, StepFailure> {
    let guest = &working.guest;
    match cluster.config(&guest.node, guest.vmid).await {
        Ok(config) => Ok(plan::maker(config.description(), guest.id)
            .map(|job| if job == working.id { Maker::ThisJob } else { Maker::AnotherJob })),
        // Not there, or not in our pool: neither is ours. While it is being created only the task may be looked at.
        Err(error) if error.is_no_guest() => Ok(None),
        Err(error) if error.is_forbidden() => {
            let own_task = working.begun(cluster, CREATE).await?;
            Ok(own_task.map(|_| Maker::ThisJob))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Destroys what an earlier job of this guest left, so that provisioning begins on a clean system.
async fn clear(cluster: &Cluster, working: &mut Working<'_>) -> Result<(), StepFailure> {
    let guest = working.guest.clone();
    if working.begun(cluster, DESTROY).await?.is_none() {
        super::remove::may_destroy(working, cluster).await?;
        let config = cluster.config(&guest.node, guest.vmid).await.map_err(failed)?;
        let text = if remains::ran(working.engine, &guest, &config).await? {
            match remains::of_config(working.engine, cluster, &guest, &config).await? {
                Remains::Volumes(left) => {
                    return Err(StepFailure::for_good(
                        format!(
                            "container {} ran, and volumes of it are left: {}",
                            guest.vmid,
                            left.join(", ")
                        ),
                        "start it, restore a backup, or uninstall it: what may hold data is not made anew",
                    ));
                }
                Remains::Nothing | Remains::Hollow => {
                    "its volumes went with the old disk: what is left of it is removed"
                }
            }
        } else {
            "the container of the earlier try is destroyed: its script may not run twice"
        };
        super::power::stop_hard(working, cluster).await?;
        working.log(Level::Info, text).await?;
    }
    working
        .task(cluster, DESTROY, async {
            cluster.destroy(&guest.node, guest.vmid, super::remove::WITH_VOLUMES).await
        })
        .await
}

/// Sees that the OS template is on the node's template storage; downloads it when it is not.
async fn ensure_template(
    cluster: &Cluster,
    working: &mut Working<'_>,
) -> Result<String, StepFailure> {
    let app = super::provision::folder(working)?;
    let wanted = app.manifest.lxc.ostemplate.clone();
    let storage = working.layer.apps.boundary.template_storage.clone();
    let node: NodeName = working.guest.node.clone();
    let present =
        cluster.content(&node, &storage, Content::Template, None).await.map_err(failed)?;
    let present: Vec<String> = present.into_iter().map(|v| v.volid).collect();
    let index = cluster.appliance_index(&node).await.map_err(failed)?;
    let index: Vec<String> = index.into_iter().map(|a| a.template).collect();
    let Some(choice) = ostemplate::choose(&wanted, &storage, &present, &index) else {
        return Err(StepFailure::for_good(
            format!(
                "no OS template '{wanted}-…' is on {storage} of {node}, and its index has none"
            ),
            "run 'pveam update' on the node, or upload the template",
        ));
    };
    if let TemplateChoice::Download { file, .. } = &choice {
        working
            .task(cluster, DOWNLOAD, async {
                cluster.download_template(&node, &storage, file).await
            })
            .await?;
    }
    let volid = choice.volume().to_owned();
    let kept = volid.clone();
    let message = format!("{} is made from {volid}", working.guest.name);
    working.record(message, move |guest| guest.spec.ostemplate = Some(kept)).await?;
    Ok(volid)
}

/// Sets what creation could not set, or what a change asks for: marks, features, resources.
pub(super) async fn configure(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    match working.task.clone() {
        GuestTask::Reconfigure(change) => super::change::set_resources(working, &change).await,
        _ => mark(working).await,
    }
}

/// Sets the marks that make the guest ours, then the features that only root may set.
async fn mark(working: &mut Working<'_>) -> Result<StepDone, StepFailure> {
    let cluster = working.engine.cluster().await?;
    let (node, vmid) = (working.guest.node.clone(), working.guest.vmid);
    let config = cluster.config(&node, vmid).await.map_err(failed)?;
    if working.guest.adopted.is_some() {
        // Nobody wrote into its description who it is.
        working.ours().await?;
    // Before its tag is set, the number, the pool and the description tell that it is this guest.
    } else if plan::maker(config.description(), working.guest.id).is_none() {
        return Err(StepFailure::for_good(
            format!("container {vmid} does not say that it is this guest"),
            "somebody changed its description; destroy it and install again",
        ));
    }
    let app = working.guest.app.as_ref().map(|a| a.id.clone());
    let tags = marks::tags(config.get("tags").unwrap_or_default(), app.as_ref());
    let tags = marks::tags_when_mended(&marks::property(&tags));
    set_tags(&cluster, working, &tags).await?;
    let features = plan::root_features(&working.guest.spec);
    let told = if features.is_some() { " and its features" } else { "" };
    if let Some(features) = features {
        working.ours().await?;
        call(working, &Request::new(Verb::SetFeatures { vmid, features })).await?;
    }
    Ok(StepDone::Done(format!("its tags{told} are set")))
}

/// Sets a container's tags.
pub(super) async fn set_tags(
    cluster: &Cluster,
    working: &Working<'_>,
    tags: &[Tag],
) -> Result<(), StepFailure> {
    let change = ConfigChange::default().tags(tags);
    let (node, vmid) = (&working.guest.node, working.guest.vmid);
    cluster.set_config(node, vmid, &change).await.map_err(failed)
}

/// A request over the root channel that answers nothing.
pub(super) async fn call(working: &mut Working<'_>, request: &Request) -> Result<(), StepFailure> {
    let limits = CallLimits::for_verb(&request.verb);
    let channel = working.channel().await?;
    channel.call(request, &[], limits, &mut |_, _| {}).await.map(drop).map_err(refused)
}

/// A call over the root channel as a step's failure.
pub(in crate::jobs) fn refused(error: ChannelError) -> StepFailure {
    StepFailure::of(error.class(), error.reason(), error.hint())
}
