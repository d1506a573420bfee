//! `/api/guests`, `/api/uninstall`, `/api/system/discovery` and the list of targets for Prometheus.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, ListQuery, body, created, missing, ok, time};
use crate::domain::guest::{Guest, InstalledApp};
use crate::domain::id::{NodeName, StorageId};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::plan::guest::journal::JournalAsk;
use crate::plan::guest::monitoring::targets as targets_of;
use crate::store::{GuestReads as _, HeldVmid, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::entry;
use crate::web::page::{find_guest, named, parse_place, parse_vmid, power_action};
use crate::web::problem::Problem;

/// A guest as the API shows it. Secrets are not part of its record.
fn shown(guest: &Guest) -> Value {
    let point = guest
        .restore_point
        .as_ref()
        .map(|p| json!({ "kind": p.kind, "made": time(p.made), "before": p.before }));
    let adopted = guest
        .adopted
        .as_ref()
        .map(|a| json!({ "pool": a.pool, "confirmed": a.confirmed.map(time) }));
    json!({
        "id": guest.id,
        "name": guest.name,
        "vmid": guest.vmid,
        "node": guest.node,
        "state": guest.state,
        "state_since": time(guest.state_since),
        "app": guest.app,
        "spec": guest.spec,
        "address": guest.address,
        "job": guest.active_job,
        "failure": guest.failure,
        "outputs": guest.outputs,
        "restore_point": point,
        "service": guest.service,
        "adopted": adopted,
        "stack_of": guest.stack_of,
        "created": time(guest.created),
    })
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
    let guests: Vec<Value> = guests.iter().map(shown).collect();
    Ok(ok(&json!({ "guests": guests, "next": next })))
}

pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    web.guests()?;
    Ok(ok(&shown(&find(&web, &id).await?)))
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

pub(in crate::web) async fn backups(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    let all = guests.backups(find(&web, &id).await?.id).await?;
    let shown = |a: &crate::web::Archive| {
        json!({
            "volid": a.volid, "storage": a.storage, "node": a.node, "size": a.size,
            "made": time(a.made),
        })
    };
    Ok(ok(
        &json!({ "backups": all.found.iter().map(shown).collect::<Vec<_>>(), "problems": all.problems }),
    ))
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
    Ok(ok(&json!({ "key": asked.key, "value": secret.expose() })))
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
    Ok(created(StatusCode::CREATED, &shown(&guest)))
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

/// Volumes that guests left, by the numbers that they hold.
pub(in crate::web) async fn kept_volumes(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    web.guests()?;
    let kept: Result<Vec<HeldVmid>, StoreError> = web.store().read(|read| read.kept_vmids()).await;
    let shown = |held: HeldVmid| {
        let left = held.kept.as_ref();
        json!({
            "vmid": held.vmid, "since": time(held.since), "guest": left.map(|k| &k.name),
            "node": left.map(|k| &k.node), "volumes": left.map_or(&[][..], |k| &k.volumes),
        })
    };
    let (kept, next) = page.cut(kept?, |held| held.vmid.to_string())?;
    Ok(ok(&json!({ "kept": kept.into_iter().map(shown).collect::<Vec<_>>(), "next": next })))
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

pub(in crate::web) async fn discovery(State(web): State<WebState>, _: Operator) -> Answer {
    let found = web.guests()?.discovery().await?;
    let mut value = serde_json::to_value(&*found)
        .map_err(|e| Refusal::new(RefusalKind::Internal, e.to_string(), "This is a bug."))?;
    if let Some(map) = value.as_object_mut() {
        map.insert("seen".into(), time(found.seen).into());
    }
    Ok(ok(&value))
}
