//! `/api/nodes` and `/api/cluster`.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, ListQuery, Moment, body, missing, ok, time};
use crate::domain::gpu::GpuReport;
use crate::domain::id::{HostId, NodeName};
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::Refusal;
use crate::plan::cluster::{NodeRow, rows};
use crate::store::{HostReads as _, ImageReads as _, NodeReads as _, StoreError};
use crate::web::auth::{Operator, token};
use crate::web::page::enroll_request;
use crate::web::{AskCluster, WebState};

/// An enrolled node as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Node")]
struct NodeBody<'a> {
    name: &'a NodeName,
    address: IpAddr,
    /// Proxmox VE's release.
    release: &'a str,
    /// Guests can be put on it.
    usable: bool,
    /// Why not; empty when it is usable.
    problem: &'a str,
    /// The host of ours that it is.
    host: Option<HostId>,
    token_id: &'a str,
    api_fingerprint: &'a str,
    ssh_host_keys: &'a [String],
    enrolled: Moment,
    gpu: &'a GpuReport,
    gpu_seen: Option<Moment>,
}

impl<'a> NodeBody<'a> {
    fn new(node: &'a EnrolledNode) -> Self {
        Self {
            name: &node.name,
            address: node.address,
            release: &node.release,
            usable: node.problem.is_empty(),
            problem: &node.problem,
            host: node.host,
            token_id: &node.token_id,
            api_fingerprint: &node.api_fingerprint,
            ssh_host_keys: &node.ssh_host_keys,
            enrolled: time(node.enrolled),
            gpu: &node.gpu,
            gpu_seen: node.gpu_seen.map(time),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct NodeList<'a> {
    nodes: Vec<NodeBody<'a>>,
    next: Option<String>,
}

pub(in crate::web) async fn list(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    web.guests()?;
    let nodes: Result<Vec<EnrolledNode>, StoreError> =
        web.store().read(|read| read.enrolled_nodes()).await;
    let (nodes, next) = page.cut(nodes?, |node| node.name.to_string())?;
    Ok(ok(&NodeList { nodes: nodes.iter().map(NodeBody::new).collect(), next }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrollBody {
    address: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    fingerprint: String,
}

pub(in crate::web) async fn enroll(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let asked: EnrollBody = body(&bytes)?;
    let request = enroll_request(&asked.address, asked.password, asked.fingerprint)?;
    Ok(super::job::accepted(guests.enroll_node(request).await?))
}

/// What to paste on a node.
#[derive(Serialize, JsonSchema)]
pub(super) struct EnrollCommand<'a> {
    command: &'a str,
}

pub(in crate::web) async fn command(State(web): State<WebState>, _: Operator) -> Answer {
    let command = web.guests()?.enroll_command().await?;
    Ok(ok(&EnrollCommand { command: command.expose() }))
}

pub(in crate::web) async fn revoke(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Answer {
    let guests = web.guests()?;
    let node: NodeName = name.parse().map_err(|_| missing("node", &name))?;
    Ok(super::job::accepted(guests.revoke_node(node).await?))
}

/// The token of Prometheus.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReaderToken<'a> {
    token: &'a str,
}

pub(in crate::web) async fn reader_token(State(web): State<WebState>, _: Operator) -> Answer {
    web.guests()?;
    let token = token::make_reader(&web).await?;
    Ok(ok(&ReaderToken { token: token.expose() }))
}

/// The cluster as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Cluster")]
pub(super) struct ClusterBody<'a> {
    /// When it was looked at.
    seen: Option<Moment>,
    quorate: Option<bool>,
    nodes: Vec<NodeRow>,
    /// Why it did not answer; with neither this nor a time of a look there is no cluster to ask yet.
    error: Option<ClusterError<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct ClusterError<'a> {
    detail: &'a str,
    hint: &'a str,
}

impl<'a> ClusterError<'a> {
    fn new(refusal: &'a Refusal) -> Self {
        Self { detail: &refusal.detail, hint: &refusal.hint }
    }
}

/// The cluster's members as they are now, beside what is recorded. When it does not answer: what was seen last, and why.
pub(in crate::web) async fn cluster(State(web): State<WebState>, _: Operator) -> Answer {
    let view = web.operations().cluster(AskCluster::Now).await;
    let look = view.look.clone();
    let nodes = web.store().read(move |read| {
        let (hosts, nodes, images) = (read.hosts()?, read.enrolled_nodes()?, read.images()?);
        Ok::<_, StoreError>(rows(look.as_deref(), &hosts, &nodes, &images))
    });
    let (nodes, look) = (nodes.await?, view.look.as_deref());
    Ok(ok(&ClusterBody {
        seen: look.map(|look| time(look.seen)),
        quorate: look.and_then(|look| look.quorate),
        nodes,
        error: view.error.as_ref().map(ClusterError::new),
    }))
}
