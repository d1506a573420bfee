//! `/api/guests`, `/api/uninstall`, `/api/system/discovery` and the list of targets for Prometheus.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Answer, ListQuery, Moment, body, created, missing, ok, time};
use crate::domain::discovery::{Discovery, NodeFacts};
use crate::domain::guest::{
    Adoption, Guest, GuestSpec, GuestState, InstalledApp, OutputValue, PublishedService,
    RestoreKind, RestorePoint,
};
use crate::domain::host::Failure;
use crate::domain::id::{GuestId, HostId, Hostname, JobId, NodeName, StorageId};
use crate::domain::vmid::Vmid;
use crate::plan::guest::journal::JournalAsk;
use crate::plan::guest::monitoring::targets as targets_of;
use crate::store::{GuestReads as _, HeldVmid, StoreError};
use crate::web::auth::Operator;
use crate::web::entry;
use crate::web::page::{find_guest, named, parse_place, parse_vmid, power_action};
use crate::web::problem::Problem;
use crate::web::{Archive, Archives, WebState};

/// A guest as the API shows it. Secrets are not part of its record.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Guest")]
pub(super) struct GuestBody<'a> {
    id: GuestId,
    name: &'a Hostname,
    vmid: Vmid,
    node: &'a NodeName,
    state: GuestState,
    state_since: Moment,
    /// What runs in it; `null`: it was adopted without an app.
    app: Option<&'a InstalledApp>,
    spec: &'a GuestSpec,
    address: Option<IpAddr>,
    /// The job that holds its lock.
    job: Option<JobId>,
    failure: Option<&'a Failure>,
    outputs: &'a [OutputValue],
    restore_point: Option<PointBody<'a>>,
    service: Option<&'a PublishedService>,
    adopted: Option<AdoptedBody<'a>>,
    /// The host whose rebuild asked for it.
    stack_of: Option<HostId>,
    created: Moment,
}

/// What a change can be taken back to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RestorePoint")]
struct PointBody<'a> {
    kind: &'a RestoreKind,
    made: Moment,
    /// Before what, in a few words.
    before: &'a str,
}

impl<'a> PointBody<'a> {
    fn new(point: &'a RestorePoint) -> Self {
        Self { kind: &point.kind, made: time(point.made), before: &point.before }
    }
}

/// It existed before.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Adoption")]
struct AdoptedBody<'a> {
    /// The pool it was in.
    pool: Option<&'a str>,
    /// When it became ours; `null`: it is only looked at.
    confirmed: Option<Moment>,
}

impl<'a> AdoptedBody<'a> {
    fn new(adopted: &'a Adoption) -> Self {
        Self { pool: adopted.pool.as_deref(), confirmed: adopted.confirmed.map(time) }
    }
}

impl<'a> GuestBody<'a> {
    fn new(guest: &'a Guest) -> Self {
        Self {
            id: guest.id,
            name: &guest.name,
            vmid: guest.vmid,
            node: &guest.node,
            state: guest.state,
            state_since: time(guest.state_since),
            app: guest.app.as_ref(),
            spec: &guest.spec,
            address: guest.address,
            job: guest.active_job,
            failure: guest.failure.as_ref(),
            outputs: &guest.outputs,
            restore_point: guest.restore_point.as_ref().map(PointBody::new),
            service: guest.service.as_ref(),
            adopted: guest.adopted.as_ref().map(AdoptedBody::new),
            stack_of: guest.stack_of,
            created: time(guest.created),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct GuestList<'a> {
    guests: Vec<GuestBody<'a>>,
    next: Option<String>,
}

async fn find(web: &WebState, id: &str) -> Result<Guest, Problem> {
    let wanted = id.to_owned();
    let found = web.store().read(move |read| find_guest(read, &wanted)).await?;
    found.ok_or_else(|| missing("guest", id))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::web) struct GuestQuery {
    state: String,
    node: String,
    app: String,
}

pub(in crate::web) async fn list(
    State(web): State<WebState>,
    Query(query): Query<GuestQuery>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    web.guests()?;
    let guests: Result<Vec<Guest>, StoreError> = web.store().read(|read| read.guests()).await;
    let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
    let wanted = |guest: &Guest| {
        is(&query.state, guest.state.as_str())
            && is(&query.node, guest.node.as_str())
            && is(&query.app, guest.app.as_ref().map_or("", |a| a.id.as_str()))
    };
    let mut guests = guests?;
    guests.retain(wanted);
    let (guests, next) = page.cut(guests, |guest| guest.id.to_string())?;
    Ok(ok(&GuestList { guests: guests.iter().map(GuestBody::new).collect(), next }))
}

pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    web.guests()?;
    Ok(ok(&GuestBody::new(&find(&web, &id).await?)))
}

pub(in crate::web) async fn vitals(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    Ok(ok(&guests.vitals(find(&web, &id).await?.id).await?))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::web) struct LogsQuery {
    lines: String,
    unit: String,
}

pub(in crate::web) async fn logs(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<LogsQuery>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    let ask = JournalAsk::parse(&query.lines, &query.unit)?;
    Ok(ok(&guests.journal(find(&web, &id).await?.id, ask).await?))
}

/// A backup as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Backup")]
struct ArchiveBody<'a> {
    /// Volume id: what a restore names.
    volid: &'a str,
    storage: &'a StorageId,
    /// The node that reported it.
    node: &'a NodeName,
    /// Bytes.
    size: u64,
    made: Moment,
}

impl<'a> ArchiveBody<'a> {
    fn new(archive: &'a Archive) -> Self {
        let Archive { volid, storage, node, size, made } = archive;
        Self { volid, storage, node, size: *size, made: time(*made) }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct BackupList<'a> {
    /// Newest first.
    backups: Vec<ArchiveBody<'a>>,
    /// Storages that could not be looked at, one sentence each.
    problems: &'a [String],
}

impl<'a> BackupList<'a> {
    fn new(all: &'a Archives) -> Self {
        Self { backups: all.found.iter().map(ArchiveBody::new).collect(), problems: &all.problems }
    }
}

pub(in crate::web) async fn backups(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    let all = guests.backups(find(&web, &id).await?.id).await?;
    Ok(ok(&BackupList::new(&all)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PowerBody {
    action: String,
}

pub(in crate::web) async fn power(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: PowerBody = body(&bytes)?;
    let action = power_action(&asked.action)?;
    Ok(super::job::accepted(guests.power(find(&web, &id).await?.id, action).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupBody {
    #[serde(default)]
    storage: String,
}

pub(in crate::web) async fn backup(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: BackupBody = body(&bytes)?;
    let storage = named::<StorageId>(&asked.storage, "storage")?;
    Ok(super::job::accepted(guests.backup(find(&web, &id).await?.id, storage).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreBody {
    archive: String,
    #[serde(default)]
    node: String,
    confirm: String,
}

pub(in crate::web) async fn restore(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: RestoreBody = body(&bytes)?;
    let node = named::<NodeName>(&asked.node, "node")?;
    let guest = find(&web, &id).await?.id;
    Ok(super::job::accepted(guests.restore(guest, asked.archive, node, asked.confirm).await?))
}

pub(in crate::web) async fn upgrade(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    Ok(super::job::accepted(guests.upgrade(find(&web, &id).await?.id).await?))
}

pub(in crate::web) async fn return_back(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    let guest = find(&web, &id).await?.id;
    Ok(super::job::accepted(guests.return_to_restore_point(guest).await?))
}

pub(in crate::web) async fn reconfigure(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: Map<String, Value> = body(&bytes)?;
    let form = entry::from_json(asked)?;
    Ok(super::job::accepted(guests.reconfigure(find(&web, &id).await?.id, form).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    #[serde(default)]
    confirm: String,
}

pub(in crate::web) async fn adopt(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: ConfirmBody = body(&bytes)?;
    Ok(super::job::accepted(guests.adopt(find(&web, &id).await?.id, asked.confirm).await?))
}

pub(in crate::web) async fn publish(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    Ok(super::job::accepted(guests.publish(find(&web, &id).await?.id).await?))
}

pub(in crate::web) async fn retry(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    Ok(super::job::accepted(guests.retry_install(find(&web, &id).await?.id).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevealBody {
    key: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Revealed<'a> {
    key: &'a str,
    value: &'a str,
}

/// A secret, once. The answer is the only place of the API that holds one.
pub(in crate::web) async fn reveal(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: RevealBody = body(&bytes)?;
    let secret = guests.reveal(find(&web, &id).await?.id, asked.key.clone()).await?;
    Ok(ok(&Revealed { key: &asked.key, value: secret.expose() }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ObserveBody {
    node: String,
    vmid: Value,
}

pub(in crate::web) async fn observe(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: ObserveBody = body(&bytes)?;
    let vmid = asked.vmid.as_str().map_or_else(|| asked.vmid.to_string(), str::to_owned);
    let (node, vmid) = parse_place(&asked.node, &vmid)?;
    let guest = guests.observe(node, vmid).await?;
    Ok(created(StatusCode::CREATED, &GuestBody::new(&guest)))
}

/// Forgets an observed container.
pub(in crate::web) async fn forget(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    guests.forget(find(&web, &id).await?.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A number that is held because a guest left volumes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeptVolumes")]
struct KeptBody<'a> {
    vmid: Vmid,
    since: Moment,
    /// The name of the guest that had them, when it is known.
    guest: Option<&'a Hostname>,
    node: Option<&'a NodeName>,
    /// Their ids, or where they were mounted.
    volumes: &'a [String],
}

impl<'a> KeptBody<'a> {
    fn new(held: &'a HeldVmid) -> Self {
        let left = held.kept.as_ref();
        Self {
            vmid: held.vmid,
            since: time(held.since),
            guest: left.map(|k| &k.name),
            node: left.map(|k| &k.node),
            volumes: left.map_or(&[][..], |k| &k.volumes),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct KeptList<'a> {
    kept: Vec<KeptBody<'a>>,
    next: Option<String>,
}

/// Volumes that guests left, by the numbers that they hold.
pub(in crate::web) async fn kept_volumes(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    web.guests()?;
    let kept: Result<Vec<HeldVmid>, StoreError> = web.store().read(|read| read.kept_vmids()).await;
    let (kept, next) = page.cut(kept?, |held| held.vmid.to_string())?;
    Ok(ok(&KeptList { kept: kept.iter().map(KeptBody::new).collect(), next }))
}

/// Frees the number that kept volumes hold.
pub(in crate::web) async fn forget_volumes(
    State(web): State<WebState>,
    Path(vmid): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: ConfirmBody = body(&bytes)?;
    guests.forget_volumes(parse_vmid(&vmid)?, asked.confirm).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UninstallBody {
    /// Name or id.
    guest: String,
    #[serde(default)]
    keep_volumes: bool,
    confirm: String,
}

pub(in crate::web) async fn uninstall(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: UninstallBody = body(&bytes)?;
    let guest = find(&web, &asked.guest).await?.id;
    Ok(super::job::accepted(guests.uninstall(guest, asked.keep_volumes, asked.confirm).await?))
}

/// What Prometheus is told: its HTTP service discovery reads exactly this list.
pub(in crate::web) async fn targets(State(web): State<WebState>) -> Answer {
    let catalog = web.guests()?.catalog();
    let guests: Result<Vec<Guest>, StoreError> = web.store().read(|read| read.guests()).await;
    let guests = guests?;
    let manifest = |installed: &InstalledApp| catalog.get(&installed.id).map(|a| &a.manifest);
    Ok(ok(&targets_of(&guests, &manifest)))
}

/// What was found in the cluster.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Discovery")]
pub(super) struct DiscoveryBody<'a> {
    seen: Moment,
    nodes: &'a [NodeFacts],
    /// Numbers in use anywhere in the cluster.
    taken_vmids: &'a [Vmid],
    /// Addresses known to be in use, with by whom.
    taken_addresses: &'a [(Ipv4Addr, String)],
    /// Names of our guests.
    taken_names: &'a [String],
    /// Domains in the reverse proxy's repository, with the file that defines each.
    taken_domains: &'a [(String, String)],
    /// What could not be looked at, one sentence each.
    problems: &'a [String],
}

impl<'a> DiscoveryBody<'a> {
    fn new(found: &'a Discovery) -> Self {
        Self {
            seen: time(found.seen),
            nodes: &found.nodes,
            taken_vmids: &found.taken_vmids,
            taken_addresses: &found.taken_addresses,
            taken_names: &found.taken_names,
            taken_domains: &found.taken_domains,
            problems: &found.problems,
        }
    }
}

pub(in crate::web) async fn discovery(State(web): State<WebState>, _: Operator) -> Answer {
    let found = web.guests()?.discovery().await?;
    Ok(ok(&DiscoveryBody::new(&found)))
}
