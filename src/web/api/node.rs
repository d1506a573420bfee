//! `/api/nodes`.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ListQuery, body, missing, ok, time};
use crate::domain::id::NodeName;
use crate::domain::node::EnrolledNode;
use crate::store::{HostReads as _, ImageReads as _, NodeReads as _, StoreError};
use crate::web::auth::{Operator, token};
use crate::web::page::enroll_request;
use crate::web::{AskCluster, WebState};

fn shown(node: &EnrolledNode) -> Value {
    json!({
        "name": node.name,
        "address": node.address,
        "release": node.release,
        "usable": node.problem.is_empty(),
        "problem": node.problem,
        "host": node.host,
        "token_id": node.token_id,
        "api_fingerprint": node.api_fingerprint,
        "ssh_host_keys": node.ssh_host_keys,
        "enrolled": time(node.enrolled),
        "gpu": node.gpu,
        "gpu_seen": node.gpu_seen.map(time),
    })
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
    let nodes: Vec<Value> = nodes.iter().map(shown).collect();
    Ok(ok(&json!({ "nodes": nodes, "next": next })))
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

pub(in crate::web) async fn command(State(web): State<WebState>, _: Operator) -> Answer {
    let command = web.guests()?.enroll_command().await?;
    Ok(ok(&json!({ "command": command.expose() })))
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

pub(in crate::web) async fn reader_token(State(web): State<WebState>, _: Operator) -> Answer {
    web.guests()?;
    let token = token::make_reader(&web).await?;
    Ok(ok(&json!({ "token": token.expose() })))
}

/// The cluster's members as they are now, beside what is recorded. When it does not answer: what was seen last, and why.
pub(in crate::web) async fn cluster(State(web): State<WebState>, _: Operator) -> Answer {
    let view = web.guests()?.cluster(AskCluster::Now).await;
    let look = view.look.clone();
    let rows = web.store().read(move |read| {
        let (hosts, nodes, images) = (read.hosts()?, read.enrolled_nodes()?, read.images()?);
        Ok::<_, StoreError>(crate::plan::cluster::rows(look.as_deref(), &hosts, &nodes, &images))
    });
    let (rows, look) = (rows.await?, view.look.as_deref());
    Ok(ok(&json!({
        "seen": look.map(|look| time(look.seen)),
        "quorate": look.and_then(|look| look.quorate),
        "nodes": rows,
        "error": view.error.map(|e| json!({ "detail": e.detail, "hint": e.hint })),
    })))
}
