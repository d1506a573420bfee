//! `/api/bulk-rebuilds`: many hosts in one job, after a review of exactly those.

use axum::body::Bytes;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::{find, image_named};
use super::{Answer, body, ok};
use crate::domain::host::HostState;
use crate::domain::id::{HostId, Hostname, ImageId, ServerTypeName};
use crate::domain::job::Reviewed;
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::DiskSelection;
use crate::jobs::{BulkChoice, BulkRequest, BulkReview, LeftOut};
use crate::plan::bulk::{AT_ONCE, STOP_AFTER};
use crate::plan::fleet::{Asked, Filter};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::page::matching;
use crate::web::problem::Problem;

/// Hosts as the list of hosts filters them.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MatchingBody {
    state: String,
    #[serde(rename = "type")]
    server_type: String,
    problem: bool,
    q: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewBody {
    /// Names or ids. Either these or `matching`.
    #[serde(default)]
    hosts: Vec<String>,
    /// All that match; `{}`: every host.
    #[serde(default)]
    matching: Option<MatchingBody>,
    /// The newest one when left out.
    #[serde(default)]
    image: Option<String>,
    /// Dead nodes of the same names may be removed from the cluster.
    #[serde(default)]
    replace_node: bool,
}

fn at_once() -> u32 {
    AT_ONCE
}

fn stop_after() -> u32 {
    STOP_AFTER
}

// The fields of a review stand here a second time: serde cannot refuse unknown fields of a flattened body.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BeginBody {
    /// Names or ids. Either these or `matching`.
    #[serde(default)]
    hosts: Vec<String>,
    /// All that match; `{}`: every host.
    #[serde(default)]
    matching: Option<MatchingBody>,
    /// The newest one when left out.
    #[serde(default)]
    image: Option<String>,
    /// Dead nodes of the same names may be removed from the cluster.
    #[serde(default)]
    replace_node: bool,
    /// `reviewed` of the review: another list is refused.
    reviewed: String,
    /// `confirm` of the review.
    confirm: String,
    /// Most rebuilds at a time.
    #[serde(default = "at_once")]
    at_once: u32,
    /// After so many failed rebuilds no other one begins.
    #[serde(default = "stop_after")]
    stop_after: u32,
}

async fn choice(web: &WebState, asked: ReviewBody) -> Result<BulkChoice, Problem> {
    let image = image_named(asked.image.as_deref())?;
    let hosts = match (asked.matching, asked.hosts.is_empty()) {
        (Some(wanted), true) => {
            let filter = Filter::parse(&Asked {
                state: wanted.state,
                server_type: wanted.server_type,
                problem: if wanted.problem { "yes".to_owned() } else { String::new() },
                q: wanted.q,
            })?;
            let state = web.clone();
            web.store().read(move |read| matching(&state, read, &filter)).await?
        }
        (None, false) => {
            let mut hosts = Vec::new();
            for name in &asked.hosts {
                hosts.push(find(web, name).await?.id);
            }
            hosts
        }
        _ => {
            let detail = "Either `hosts` or `matching` is expected.";
            let hint = "Name hosts, or give a filter; an empty filter wants every host.";
            return Err(Refusal::new(RefusalKind::Unprocessable, detail, hint)
                .about("hosts")
                .into());
        }
    };
    Ok(BulkChoice { hosts, image, replace_node: asked.replace_node })
}

/// A host whose disk would be erased.
#[derive(Serialize, JsonSchema)]
struct ErasedHost<'a> {
    id: HostId,
    hostname: &'a Hostname,
    state: HostState,
    server_type: &'a ServerTypeName,
    macs: &'a [Mac],
    disk: &'a DiskSelection,
    /// It is, or was, a node of the cluster.
    is_member: bool,
}

impl<'a> ErasedHost<'a> {
    fn new(host: &'a Reviewed) -> Self {
        Self {
            id: host.host,
            hostname: &host.hostname,
            state: host.state,
            server_type: &host.server_type,
            macs: &host.macs,
            disk: &host.disk,
            is_member: host.is_member,
        }
    }
}

/// A host that would be left as it is.
#[derive(Serialize, JsonSchema)]
struct LeftOutHost<'a> {
    id: HostId,
    hostname: &'a str,
    reason: &'a str,
    hint: &'a str,
}

impl<'a> LeftOutHost<'a> {
    fn new(left: &'a LeftOut) -> Self {
        let LeftOut { host, hostname, why } = left;
        Self { id: *host, hostname, reason: &why.detail, hint: &why.hint }
    }
}

/// What a rebuild of many hosts would do.
#[derive(Serialize, JsonSchema)]
pub(super) struct RebuildReview<'a> {
    image: &'a ImageId,
    replace_node: bool,
    hosts: Vec<ErasedHost<'a>>,
    left_out: Vec<LeftOutHost<'a>>,
    /// What to send as `confirm`.
    confirm: &'a str,
    /// The name of exactly this review.
    reviewed: &'a str,
}

impl<'a> RebuildReview<'a> {
    fn new(review: &'a BulkReview) -> Self {
        Self {
            image: &review.image.id,
            replace_node: review.replace_node,
            hosts: review.hosts.iter().map(ErasedHost::new).collect(),
            left_out: review.left_out.iter().map(LeftOutHost::new).collect(),
            confirm: &review.phrase,
            reviewed: &review.seal,
        }
    }
}

pub(in crate::web) async fn review(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let choice = choice(&web, body(&bytes)?).await?;
    Ok(ok(&RebuildReview::new(&web.operations().review_rebuilds(choice).await?)))
}

pub(in crate::web) async fn begin(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: BeginBody = body(&bytes)?;
    let BeginBody { hosts, matching, image, replace_node, .. } = asked;
    let choice = choice(&web, ReviewBody { hosts, matching, image, replace_node }).await?;
    let request = BulkRequest {
        choice,
        seal: asked.reviewed,
        confirm: asked.confirm,
        at_once: asked.at_once,
        stop_after: asked.stop_after,
    };
    Ok(super::job::accepted(web.operations().rebuild_many(request).await?))
}
