//! `/api/hosts`.

use std::net::Ipv4Addr;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Answer, ListQuery, Moment, body, created, missing, ok, time};
use crate::domain::boot::BootProfile;
use crate::domain::host::{Failure, Host, HostOverrides, HostState};
use crate::domain::id::{HostId, Hostname, ImageId, InvalidId, JobId, ServerTypeName};
use crate::domain::identity::DmiUuid;
use crate::domain::inventory::Inventory;
use crate::domain::mac::Mac;
use crate::domain::power::Power;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::DiskSelection;
use crate::jobs::{HostChange, NewHost, RebuildRequest};
use crate::plan::fleet::{Asked, Filter};
use crate::store::{HostReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::boot::{Boots, BootsBody};
use crate::web::form;
use crate::web::page::{find_host, problems};
use crate::web::problem::Problem;

/// A host as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Host")]
pub(super) struct HostBody<'a> {
    id: HostId,
    hostname: &'a Hostname,
    state: HostState,
    state_since: Moment,
    /// The first is the one it boots from.
    macs: &'a [Mac],
    /// System UUID, when it is known.
    uuid: Option<DmiUuid>,
    server_type: &'a ServerTypeName,
    /// Last address it called back from or was told to use.
    address: Option<Ipv4Addr>,
    /// The job that holds its lock.
    job: Option<JobId>,
    failure: Option<&'a Failure>,
    overrides: &'a HostOverrides,
    boot: &'a BootProfile,
    power: &'a Power,
    inventory: &'a Inventory,
    ssh_host_keys: &'a [String],
    created: Moment,
}

impl<'a> HostBody<'a> {
    pub(super) fn new(host: &'a Host) -> Self {
        Self {
            id: host.id,
            hostname: &host.hostname,
            state: host.state,
            state_since: time(host.state_since),
            macs: &host.macs,
            uuid: host.uuid,
            server_type: &host.server_type,
            address: host.address,
            job: host.active_job,
            failure: host.failure.as_ref(),
            overrides: &host.overrides,
            boot: &host.boot,
            power: &host.power,
            inventory: &host.inventory,
            ssh_host_keys: &host.ssh_host_keys,
            created: time(host.created),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct HostList<'a> {
    hosts: Vec<HostBody<'a>>,
    next: Option<String>,
}

pub(super) async fn find(web: &WebState, id: &str) -> Result<Host, Problem> {
    let wanted = id.to_owned();
    let found = web.store().read(move |read| find_host(read, &wanted)).await?;
    found.ok_or_else(|| missing("host", id))
}

pub(in crate::web) async fn list(
    State(web): State<WebState>,
    Query(asked): Query<Asked>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    let filter = Filter::parse(&asked)?;
    let state = web.clone();
    let found =
        web.store().read(move |read| Ok::<_, StoreError>((read.hosts()?, problems(&state, read)?)));
    let (hosts, problems) = found.await?;
    let wanted = |host: &Host| filter.admits(host, &problems);
    let (hosts, next) = page.cut_wanted(hosts, |host| host.id.to_string(), wanted)?;
    Ok(ok(&HostList { hosts: hosts.iter().map(HostBody::new).collect(), next }))
}

pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    Ok(ok(&HostBody::new(&find(&web, &id).await?)))
}

/// What became of its boots: verdict, time line, earlier boots, what was learned.
pub(in crate::web) async fn boot(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let (state, wanted) = (web.clone(), id.clone());
    let boots = web.store().read(move |read| {
        let host = find_host(read, &wanted)?;
        host.map(|host| Boots::of_host(read, &host, state.store().now())).transpose()
    });
    Ok(ok(&BootsBody::new(&boots.await?.ok_or_else(|| missing("host", &id))?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkBody {
    cidr: String,
    gateway: String,
    dns: String,
}

impl NetworkBody {
    fn parse(&self) -> Result<Option<crate::domain::host::StaticNetwork>, Refusal> {
        form::network(&self.cidr, &self.gateway, &self.dns)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBody {
    hostname: String,
    macs: Vec<String>,
    server_type: String,
    #[serde(default)]
    boot_disk: Option<DiskSelection>,
    #[serde(default)]
    network: Option<NetworkBody>,
    #[serde(default)]
    answer: serde_json::Map<String, serde_json::Value>,
}

pub(in crate::web) async fn register(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let new: NewBody = body(&bytes)?;
    let network = new.network.as_ref().map(NetworkBody::parse).transpose()?.flatten();
    let new = NewHost {
        hostname: form::hostname(&new.hostname)?,
        macs: form::macs(new.macs.iter().map(String::as_str))?,
        server_type: form::server_type(&new.server_type)?,
        overrides: HostOverrides { boot_disk: new.boot_disk, network, answer: new.answer },
    };
    let host = web.operations().register_host(new).await?;
    Ok(created(StatusCode::CREATED, &HostBody::new(&host)))
}

/// Tells "absent" from "null": the first leaves as it is, the second removes.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeBody {
    macs: Option<Vec<String>>,
    server_type: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<DiskSelection>")]
    boot_disk: Option<Option<DiskSelection>>,
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<NetworkBody>")]
    network: Option<Option<NetworkBody>>,
    answer: Option<serde_json::Map<String, serde_json::Value>>,
    boot: Option<BootProfile>,
    #[serde(default)]
    forget_uuid: bool,
}

pub(in crate::web) async fn change(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: ChangeBody = body(&bytes)?;
    let host = find(&web, &id).await?;
    let mut overrides = host.overrides.clone();
    if let Some(disk) = asked.boot_disk {
        overrides.boot_disk = disk;
    }
    if let Some(network) = asked.network {
        overrides.network = network.as_ref().map(NetworkBody::parse).transpose()?.flatten();
    }
    if let Some(answer) = asked.answer {
        overrides.answer = answer;
    }
    let macs = asked.macs.map(|macs| form::macs(macs.iter().map(String::as_str))).transpose()?;
    let change = HostChange {
        macs,
        server_type: asked.server_type.as_deref().map(form::server_type).transpose()?,
        overrides: (overrides != host.overrides).then_some(overrides),
        boot: asked.boot,
        forget_uuid: asked.forget_uuid,
    };
    let host = web.operations().change_host(host.id, change).await?;
    Ok(ok(&HostBody::new(&host)))
}

pub(in crate::web) async fn delete(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let host = find(&web, &id).await?;
    web.operations().delete_host(host.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An image that was named.
///
/// # Errors
/// No image can have such a name.
pub(super) fn image_named(named: Option<&str>) -> Result<Option<ImageId>, Refusal> {
    named.map(str::parse).transpose().map_err(|error: InvalidId| {
        let hint = "List the images to see what there is.";
        Refusal::new(RefusalKind::Malformed, error.to_string(), hint).about("image")
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RebuildBody {
    image: Option<String>,
    confirm: String,
    #[serde(default)]
    replace_node: bool,
}

pub(in crate::web) async fn rebuild(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: RebuildBody = body(&bytes)?;
    let host = find(&web, &id).await?;
    let image = image_named(asked.image.as_deref())?;
    let request =
        RebuildRequest { image, confirm: asked.confirm, replace_node: asked.replace_node };
    let job = web.operations().rebuild(host.id, request).await?;
    Ok(super::job::accepted(job))
}
