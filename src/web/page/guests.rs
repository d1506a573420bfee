//! All guests, with filters; and the form that records an existing container.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use futures_util::stream::{self, StreamExt as _};
use serde::Deserialize;

use super::{Frame, Page, render, render_with, switched_off};
use crate::domain::guest::Guest;
use crate::domain::id::{GuestId, NodeName};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;
use crate::store::{GuestReads as _, HeldVmid, NodeReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::view::When;
use crate::web::view::guest::{power_tone, state_label, state_tone};

/// Guests that are asked for their power status at a time.
const ASKED_AT_ONCE: usize = 8;
/// How long one guest's status may take before the list is shown without it.
const PATIENCE: Duration = Duration::from_secs(4);

/// One guest in a list.
pub(super) struct GuestRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) vmid: String,
    pub(super) node: String,
    pub(super) app: String,
    pub(super) version: String,
    pub(super) address: String,
    pub(super) state: &'static str,
    pub(super) label: &'static str,
    pub(super) tone: &'static str,
    pub(super) since: When,
    pub(super) note: String,
    pub(super) job: String,
    /// `running`, `stopped`, `unknown`; empty: nobody asked.
    pub(super) power: String,
    pub(super) power_tone: &'static str,
}

impl GuestRow {
    pub(super) fn new(guest: &Guest, power: Option<&str>, now: Timestamp) -> Self {
        let power = power.unwrap_or_default();
        Self {
            id: guest.id.to_string(),
            name: guest.name.to_string(),
            vmid: guest.vmid.to_string(),
            node: guest.node.to_string(),
            app: guest.app.as_ref().map(|a| a.id.to_string()).unwrap_or_default(),
            version: guest.app.as_ref().map(|a| a.version.clone()).unwrap_or_default(),
            address: guest.address.map(|a| a.to_string()).unwrap_or_default(),
            state: guest.state.as_str(),
            label: state_label(guest.state),
            tone: state_tone(guest.state),
            since: When::new(guest.state_since, now),
            note: guest.failure.as_ref().map(|f| f.reason.clone()).unwrap_or_default(),
            job: guest.active_job.map(|j| j.to_string()).unwrap_or_default(),
            power_tone: power_tone(power),
            power: power.to_owned(),
        }
    }
}

/// How many guests there are of each family.
pub(super) struct Counts {
    pub(super) all: usize,
    pub(super) ready: usize,
    pub(super) busy: usize,
    pub(super) failed: usize,
    pub(super) observed: usize,
}

impl Counts {
    pub(super) fn new(guests: &[Guest]) -> Self {
        let of = |tone| guests.iter().filter(|g| state_tone(g.state) == tone).count();
        Self {
            all: guests.len(),
            ready: of("good"),
            busy: of("busy"),
            failed: of("bad"),
            observed: of("idle"),
        }
    }
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct ListQuery {
    q: String,
    state: String,
    node: String,
    app: String,
    /// Anything: the cluster is asked how each guest runs.
    look: String,
}

impl ListQuery {
    fn wants(&self, guest: &Guest) -> bool {
        let tone = match self.state.as_str() {
            "ready" => "good",
            "busy" => "busy",
            "failed" => "bad",
            "observed" => "idle",
            _ => "",
        };
        let app = guest.app.as_ref().map_or("", |a| a.id.as_str());
        let address = guest.address.map(|a| a.to_string()).unwrap_or_default();
        let text = format!(
            "{} {} {} {app} {address} {}",
            guest.name, guest.vmid, guest.node, guest.spec.description
        );
        let text = text.to_lowercase();
        (tone.is_empty() || state_tone(guest.state) == tone)
            && (self.node.is_empty() || guest.node.as_str() == self.node)
            && (self.app.is_empty() || app == self.app)
            && self.q.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }
}

/// Guests of one node.
struct Group {
    node: String,
    rows: Vec<GuestRow>,
}

#[derive(Template)]
#[template(path = "guests.html")]
struct GuestsPage {
    frame: Frame,
    query: ListQuery,
    counts: Counts,
    groups: Vec<Group>,
    nodes: Vec<String>,
    apps: Vec<String>,
    kept: Vec<KeptRow>,
}

/// Volumes that a guest left, and the number that they hold.
struct KeptRow {
    vmid: String,
    name: String,
    node: String,
    volumes: Vec<String>,
    since: When,
}

impl KeptRow {
    fn new(held: HeldVmid, now: Timestamp) -> Self {
        let (name, node, volumes) = match held.kept {
            Some(kept) => (kept.name.to_string(), kept.node.to_string(), kept.volumes),
            None => Default::default(),
        };
        let since = When::new(held.since, now);
        Self { vmid: held.vmid.to_string(), name, node, volumes, since }
    }
}

/// How each of these guests runs, as far as the cluster says so in time.
async fn power(web: &WebState, guests: &[Guest]) -> BTreeMap<GuestId, String> {
    let Ok(operations) = web.guests() else { return BTreeMap::new() };
    let ask = |id: GuestId| async move {
        let told = tokio::time::timeout(PATIENCE, operations.vitals(id)).await;
        let status = match told {
            Ok(Ok(vitals)) => vitals.status,
            Ok(Err(_)) | Err(_) => "unknown".to_owned(),
        };
        (id, status)
    };
    let ids: Vec<GuestId> = guests.iter().map(|g| g.id).collect();
    stream::iter(ids).map(ask).buffer_unordered(ASKED_AT_ONCE).collect().await
}

pub(crate) async fn list(
    State(web): State<WebState>,
    Query(query): Query<ListQuery>,
    operator: Operator,
) -> Page {
    if web.guests().is_err() {
        return switched_off(web, operator, "guests").await;
    }
    let guests: Result<Vec<Guest>, StoreError> = web.store().read(|read| read.guests()).await;
    let guests = guests?;
    let shown: Vec<Guest> = guests.iter().filter(|g| query.wants(g)).cloned().collect();
    let power = if query.look.is_empty() { BTreeMap::new() } else { power(&web, &shown).await };
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let mut groups: BTreeMap<String, Vec<GuestRow>> = BTreeMap::new();
        for guest in &shown {
            let row = GuestRow::new(guest, power.get(&guest.id).map(String::as_str), now);
            groups.entry(guest.node.to_string()).or_default().push(row);
        }
        let apps: BTreeSet<String> =
            guests.iter().filter_map(|g| Some(g.app.as_ref()?.id.to_string())).collect();
        let nodes: BTreeSet<String> = guests.iter().map(|g| g.node.to_string()).collect();
        Ok::<_, StoreError>(GuestsPage {
            frame: Frame::new(&state, read, &operator, "guests", "Guests")?,
            query,
            counts: Counts::new(&guests),
            groups: groups.into_iter().map(|(node, rows)| Group { node, rows }).collect(),
            nodes: nodes.into_iter().collect(),
            apps: apps.into_iter().collect(),
            kept: read.kept_vmids()?.into_iter().map(|held| KeptRow::new(held, now)).collect(),
        })
    });
    render(&page.await?)
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(crate) struct ObserveForm {
    node: String,
    vmid: String,
}

#[derive(Template)]
#[template(path = "observe.html")]
struct ObservePage {
    frame: Frame,
    form: ObserveForm,
    nodes: Vec<String>,
    refused: Option<Refusal>,
}

impl ObservePage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| r.field == Some(field))
    }

    fn general_error(&self) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| !matches!(r.field, Some("node" | "vmid")))
    }
}

async fn observe_page(
    web: WebState,
    operator: Operator,
    form: ObserveForm,
    refused: Option<Refusal>,
) -> Page {
    let status = refused.as_ref().map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let page = web.store().read(move |read| {
        let nodes = read.enrolled_nodes()?;
        Ok::<_, StoreError>(ObservePage {
            frame: Frame::new(&state, read, &operator, "guests", "Adopt a container")?,
            form,
            nodes: nodes.iter().map(|n| n.name.to_string()).collect(),
            refused,
        })
    });
    Ok(render_with(status, &page.await?))
}

pub(crate) async fn show_observe(
    State(web): State<WebState>,
    Query(form): Query<ObserveForm>,
    operator: Operator,
) -> Page {
    if web.guests().is_err() {
        return switched_off(web, operator, "guests").await;
    }
    observe_page(web, operator, form, None).await
}

/// Node and number as they were entered; the same words for page and API.
pub(crate) fn parse_place(node: &str, vmid: &str) -> Result<(NodeName, Vmid), Refusal> {
    let wrong = |field, detail: String, hint: &str| {
        Refusal::new(RefusalKind::Unprocessable, detail, hint).about(field)
    };
    let node = node.trim().parse().map_err(|e: crate::domain::id::InvalidId| {
        wrong("node", e.to_string(), "Choose one of the enrolled nodes.")
    })?;
    Ok((node, parse_vmid(vmid)?))
}

/// A number as it was entered.
pub(crate) fn parse_vmid(vmid: &str) -> Result<Vmid, Refusal> {
    vmid.trim().parse().map_err(|e: crate::domain::id::InvalidId| {
        let hint = "It is the number beside the container in Proxmox VE.";
        Refusal::new(RefusalKind::Unprocessable, e.to_string(), hint).about("vmid")
    })
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ForgetForm {
    confirm: String,
}

/// Frees the number that kept volumes hold.
pub(crate) async fn forget_volumes(
    State(web): State<WebState>,
    Path(vmid): Path<String>,
    operator: Operator,
    Form(form): Form<ForgetForm>,
) -> Page {
    let Ok(guests) = web.guests() else { return switched_off(web, operator, "guests").await };
    guests.forget_volumes(parse_vmid(&vmid)?, form.confirm).await?;
    Ok(Redirect::to("/guests").into_response())
}

pub(crate) async fn observe(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<ObserveForm>,
) -> Page {
    let Ok(guests) = web.guests() else { return switched_off(web, operator, "guests").await };
    let observed = match parse_place(&form.node, &form.vmid) {
        Ok((node, vmid)) => guests.observe(node, vmid).await,
        Err(refusal) => Err(refusal),
    };
    match observed {
        Ok(guest) => Ok(Redirect::to(&format!("/guests/{}", guest.id)).into_response()),
        Err(refusal) => observe_page(web, operator, form, Some(refusal)).await,
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::guest::sample;

    #[test]
    fn guests_are_found_by_state_node_app_and_words() {
        let guest = sample::guest(101);
        let query = |q: &str, state: &str, node: &str, app: &str| ListQuery {
            q: q.into(),
            state: state.into(),
            node: node.into(),
            app: app.into(),
            look: String::new(),
        };
        for yes in [
            query("", "", "", ""),
            query("WEB101 pve1", "ready", "pve1", "static-website"),
            query("101", "", "", ""),
        ] {
            assert!(yes.wants(&guest));
        }
        for no in [
            query("web102", "", "", ""),
            query("", "failed", "", ""),
            query("", "", "pve2", ""),
            query("", "", "", "redis"),
        ] {
            assert!(!no.wants(&guest));
        }
    }
}
