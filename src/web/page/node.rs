//! Nodes: the cluster's members, and where apps are switched on the enrolled ones, how one is enrolled or given up.

use std::net::IpAddr;
use std::time::Duration;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::{Frame, Page, SecretPage, missing, render, render_with, switched_off};
use crate::domain::discovery::ClusterView;
use crate::domain::form::Submitted;
use crate::domain::guest::Guest;
use crate::domain::id::NodeName;
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::jobs::EnrollRequest;
use crate::limits::operator::COMPARISON_TIME;
use crate::plan::cluster;
use crate::store::{
    GuestReads as _, HostReads as _, ImageReads as _, NodeReads as _, Snapshot, StoreError,
};
use crate::web::auth::{Operator, token};
use crate::web::view::app::{gpu_name, short_hash};
use crate::web::view::{When, duration, state_label};
use crate::web::{AskCluster, WebState};

struct NodeRow {
    name: String,
    address: String,
    release: String,
    token_id: String,
    fingerprint: String,
    enrolled: When,
    problem: String,
    host: String,
    /// Name and driver of each.
    gpus: Vec<(String, String)>,
    nvidia_problem: String,
    gpu_seen: Option<When>,
    guests: usize,
}

impl NodeRow {
    fn new(node: &EnrolledNode, guests: &[Guest], now: Timestamp) -> Self {
        let gpu = |gpu: &crate::domain::gpu::Gpu| {
            let driver = gpu.driver.as_deref().unwrap_or("no driver");
            let version = gpu.driver_version.as_deref().map(|v| format!(" {v}"));
            (gpu_name(gpu), format!("{driver}{}", version.unwrap_or_default()))
        };
        Self {
            name: node.name.to_string(),
            address: node.address.to_string(),
            release: node.release.clone(),
            token_id: node.token_id.clone(),
            fingerprint: short_hash(&node.api_fingerprint),
            enrolled: When::new(node.enrolled, now),
            problem: node.problem.clone(),
            host: node.host.map(|h| h.to_string()).unwrap_or_default(),
            gpus: node.gpu.gpus.iter().map(gpu).collect(),
            nvidia_problem: node.gpu.nvidia_problem.clone(),
            gpu_seen: node.gpu_seen.map(|at| When::new(at, now)),
            guests: guests.iter().filter(|g| g.node == node.name).count(),
        }
    }
}

/// One node beside what the cluster tells of it.
struct MemberRow {
    name: String,
    label: &'static str,
    tone: &'static str,
    version: String,
    memory: String,
    uptime: String,
    guests: String,
    host: Option<String>,
    host_label: &'static str,
    is_enrolled: bool,
    disagrees: Vec<String>,
}

impl MemberRow {
    fn new(row: cluster::NodeRow) -> Self {
        let member = row.member.as_ref();
        let (label, tone) = match member {
            Some(member) if member.online => ("online", "good"),
            Some(_) => ("offline", "bad"),
            None => ("not seen", "idle"),
        };
        let known = |number: u64, text: String| if number > 0 { text } else { String::new() };
        let gib = |mib: u64| format!("{}.{}", mib / 1024, mib % 1024 * 10 / 1024);
        Self {
            label,
            tone,
            version: member.map(|m| m.version.clone()).unwrap_or_default(),
            memory: member.map_or_else(String::new, |m| {
                let text = format!("{} of {} GiB", gib(m.used_memory_mb), gib(m.memory_mb));
                known(m.memory_mb.min(m.used_memory_mb), text)
            }),
            uptime: member.map_or_else(String::new, |m| {
                known(m.uptime_secs, duration(Duration::from_secs(m.uptime_secs)))
            }),
            guests: member
                .map_or_else(String::new, |m| format!("{} of {} run", m.running, m.guests)),
            host: row.host.map(|id| id.to_string()),
            host_label: row.host_state.map_or("", state_label),
            is_enrolled: row.enrolled,
            disagrees: row.disagrees,
            name: row.name,
        }
    }
}

/// The cluster as it was seen last.
struct ClusterPart {
    seen: Option<When>,
    /// Whether it has a majority, in words; empty: there is nothing to tell.
    quorum: &'static str,
    quorum_tone: &'static str,
    online: usize,
    members: usize,
    rows: Vec<MemberRow>,
    error: Option<Refusal>,
    /// Whether the configuration names a member of it.
    is_named: bool,
}

impl ClusterPart {
    fn read(view: ClusterView, read: &Snapshot, now: Timestamp) -> Result<Self, StoreError> {
        let look = view.look.as_deref();
        let (hosts, nodes, images) = (read.hosts()?, read.enrolled_nodes()?, read.images()?);
        let rows = cluster::rows(look, &hosts, &nodes, &images);
        let members = look.map_or(&[][..], |look| &look.members);
        let (quorum, quorum_tone) = match look.and_then(|look| look.quorate) {
            Some(true) => ("quorate", "good"),
            Some(false) => ("no quorum", "bad"),
            None if members.len() > 1 => ("quorum not known", "idle"),
            None => ("", ""),
        };
        Ok(Self {
            seen: look.map(|look| When::new(look.seen, now)),
            quorum,
            quorum_tone,
            online: members.iter().filter(|member| member.online).count(),
            members: members.len(),
            rows: rows.into_iter().map(MemberRow::new).collect(),
            error: view.error,
            is_named: view.is_named,
        })
    }
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct NodesPage {
    frame: Frame,
    cluster: ClusterPart,
    nodes: Vec<NodeRow>,
    address: String,
    /// The password that was typed before the host key was to be compared waits under this name.
    draft: Option<String>,
    refused: Option<Refusal>,
    public_url: String,
}

impl NodesPage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| r.field == Some(field))
    }

    fn general_error(&self) -> Option<&Refusal> {
        self.refused
            .as_ref()
            .filter(|r| !matches!(r.field, Some("address" | "password" | "fingerprint")))
    }
}

/// The page with what was refused, and the cluster as it was seen last.
async fn answer(
    web: WebState,
    operator: Operator,
    address: String,
    draft: Option<String>,
    refused: Option<Refusal>,
) -> Page {
    page(web, operator, AskCluster::Never, address, draft, refused).await
}

async fn page(
    web: WebState,
    operator: Operator,
    ask: AskCluster,
    address: String,
    draft: Option<String>,
    refused: Option<Refusal>,
) -> Page {
    let status = refused.as_ref().map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let view = web.operations().cluster(ask).await;
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let guests = read.guests()?;
        let nodes = read.enrolled_nodes()?;
        Ok::<_, StoreError>(NodesPage {
            cluster: ClusterPart::read(view, read, now)?,
            frame: Frame::new(&state, read, &operator, "nodes", "Nodes")?,
            nodes: nodes.iter().map(|n| NodeRow::new(n, &guests, now)).collect(),
            address,
            draft,
            refused,
            public_url: state.parts.public_url.trim_end_matches('/').to_owned(),
        })
    });
    Ok(render_with(status, &page.await?))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct LookQuery {
    /// Anything: the cluster is asked.
    look: String,
}

pub(crate) async fn list(
    State(web): State<WebState>,
    Query(query): Query<LookQuery>,
    operator: Operator,
) -> Page {
    let ask = if query.look.is_empty() { AskCluster::Never } else { AskCluster::Now };
    page(web, operator, ask, String::new(), None, None).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct EnrollForm {
    address: String,
    password: String,
    fingerprint: String,
    /// Names the password that was typed before.
    draft: String,
}

/// What a waiting password is kept for.
fn about(address: &str) -> String {
    format!("node {}", address.trim())
}

/// An address as it was entered; the same words for page and API.
fn parse_address(text: &str) -> Result<IpAddr, Refusal> {
    text.trim().parse().map_err(|_| {
        let shown: String = text.trim().chars().take(60).collect();
        let detail = format!("'{shown}' is not an IP address.");
        let hint = "Give the address at which the node's API answers, as in 192.0.2.21.";
        Refusal::new(RefusalKind::Unprocessable, detail, hint).about("address")
    })
}

/// What was entered for an enrolment; the same for page and API. Without a password the appliance's own key is tried.
pub(crate) fn enroll_request(
    address: &str,
    password: String,
    fingerprint: String,
) -> Result<EnrollRequest, Refusal> {
    Ok(EnrollRequest {
        address: parse_address(address)?,
        password: Some(Secret::new(password)).filter(|p| !p.expose().is_empty()),
        fingerprint: Some(fingerprint).filter(|f| !f.trim().is_empty()),
    })
}

pub(crate) async fn enroll(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<EnrollForm>,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "nodes").await };
    let EnrollForm { address, mut password, fingerprint, draft } = form;
    let now = web.store().now();
    // It is taken and kept anew, so that it never waits longer than the last comparison.
    let waiting = web.drafts.take(&draft, &operator.csrf, &about(&address), now);
    if password.is_empty() {
        password = waiting.and_then(|f| f.get("password").map(str::to_owned)).unwrap_or_default();
    }
    let mut kept = Submitted::default();
    kept.set("password", &password);
    let typed = !password.is_empty();
    let queued = match enroll_request(&address, password, fingerprint) {
        Ok(request) => guests.enroll_node(request).await,
        Err(refusal) => Err(refusal),
    };
    match queued {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(refusal) => {
            // Nothing was sent to the node yet: its key is to be compared first.
            let waits = typed && refusal.field == Some("fingerprint");
            let until = now.after(COMPARISON_TIME);
            let keep = || web.drafts.keep(&operator.csrf, &about(&address), kept, until, now);
            let draft = waits.then(keep);
            answer(web.clone(), operator.clone(), address, draft, Some(refusal)).await
        }
    }
}

pub(crate) async fn command(State(web): State<WebState>, operator: Operator) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "nodes").await };
    match guests.enroll_command().await {
        Ok(secret) => {
            let page = SecretPage {
                title: "Paste this on the node, as root".to_owned(),
                note: "It enrols the node that it is pasted on. It is valid once, for some minutes.",
                secret,
                back: "/nodes".to_owned(),
            };
            let state = web.clone();
            let page = web.store().read(move |read| page.framed(&state, read, &operator, "nodes"));
            render(&page.await?)
        }
        Err(refusal) => answer(web, operator, String::new(), None, Some(refusal)).await,
    }
}

pub(crate) async fn revoke(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "nodes").await };
    let name: NodeName = name.parse().map_err(|_| missing("node"))?;
    match guests.revoke_node(name).await {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(refusal) => answer(web, operator, String::new(), None, Some(refusal)).await,
    }
}

pub(crate) async fn reader_token(State(web): State<WebState>, operator: Operator) -> Page {
    if web.guests().is_err() {
        return switched_off(web, operator, "nodes").await;
    }
    let page = SecretPage {
        title: "Token for Prometheus".to_owned(),
        note: "It reads the list of targets and nothing else. A token that was made before ends now.",
        secret: token::make_reader(&web).await?,
        back: "/nodes".to_owned(),
    };
    let state = web.clone();
    let page = web.store().read(move |read| page.framed(&state, read, &operator, "nodes"));
    render(&page.await?)
}
