//! The JSON API for operators: the same operations as the pages, for scripts and the command line.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::WebState;
use super::problem::Problem;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;

mod access;
mod app;
mod doctor;
mod guest;
mod host;
mod job;
mod node;
mod power;
mod roster;
mod system;

/// Routes that need an operator.
pub(super) fn router() -> Router<WebState> {
    Router::new()
        .route("/api/hosts", get(host::list).post(host::register))
        .route("/api/host-file", get(roster::export).post(roster::import))
        .route("/api/hosts/{id}", get(host::show).patch(host::change).delete(host::delete))
        .route("/api/hosts/{id}/boot", get(host::boot))
        .route("/api/hosts/{id}/rebuild", post(host::rebuild))
        .route("/api/hosts/{id}/power", get(power::show).put(power::change).post(power::switch))
        .route("/api/jobs", get(job::list))
        .route("/api/jobs/{id}", get(job::show))
        .route("/api/jobs/{id}/logs", get(job::logs))
        .route("/api/jobs/{id}/cancel", post(job::cancel))
        .route("/api/jobs/{id}/retry", post(job::retry))
        .route("/api/apps", get(app::list))
        .route("/api/apps/schema.json", get(app::schema))
        .route("/api/apps/refresh", post(app::refresh))
        .route("/api/apps/{id}", get(app::show))
        .route("/api/install", post(app::install))
        .route("/api/install/review", post(app::review))
        .route("/api/uninstall", post(guest::uninstall))
        .route("/api/guests", get(guest::list))
        .route("/api/guests/observe", post(guest::observe))
        .route("/api/kept-volumes", get(guest::kept_volumes))
        .route("/api/kept-volumes/{vmid}/forget", post(guest::forget_volumes))
        .route("/api/guests/{id}", get(guest::show).delete(guest::forget))
        .route("/api/guests/{id}/vitals", get(guest::vitals))
        .route("/api/guests/{id}/logs", get(guest::logs))
        .route("/api/guests/{id}/backups", get(guest::backups))
        .route("/api/guests/{id}/power", post(guest::power))
        .route("/api/guests/{id}/backup", post(guest::backup))
        .route("/api/guests/{id}/restore", post(guest::restore))
        .route("/api/guests/{id}/upgrade", post(guest::upgrade))
        .route("/api/guests/{id}/return", post(guest::return_back))
        .route("/api/guests/{id}/reconfigure", post(guest::reconfigure))
        .route("/api/guests/{id}/adopt", post(guest::adopt))
        .route("/api/guests/{id}/publish", post(guest::publish))
        .route("/api/guests/{id}/retry", post(guest::retry))
        .route("/api/guests/{id}/reveal", post(guest::reveal))
        .route("/api/system/discovery", get(guest::discovery))
        .route("/api/nodes", get(node::list))
        .route("/api/nodes/enroll", post(node::enroll))
        .route("/api/nodes/enroll-command", post(node::command))
        .route("/api/nodes/{name}/revoke", post(node::revoke))
        .route("/api/prometheus/targets", get(guest::targets))
        .route("/api/prometheus/token", post(node::reader_token))
        .route("/api/images", get(system::images).post(system::import))
        .route("/api/images/{id}", axum::routing::delete(system::delete_image))
        .route("/api/sightings", get(system::sightings))
        .route("/api/sightings/{mac}/boot", get(system::boot))
        .route("/api/sightings/{mac}/ignore", post(system::ignore))
        .route("/api/server-types", get(system::server_types))
        .route("/api/doctor", get(doctor::last).post(doctor::check))
        .route("/api/doctor/simulate", post(doctor::simulate))
        .route("/api/debug-bundle", get(system::debug_bundle))
        .route("/api/limits", get(system::limits))
        .route("/api/setup-link", post(system::setup_link))
        .route("/api/session", get(system::session))
        .route("/api/accounts", get(access::accounts).post(access::add_account))
        .route(
            "/api/accounts/{name}",
            axum::routing::patch(access::change_account).delete(access::remove_account),
        )
        .route("/api/accounts/{name}/unlock", post(access::unlock_account))
        .route("/api/sessions", get(access::sessions))
        .route("/api/sessions/{id}", axum::routing::delete(access::end_session))
        .route("/api/tokens", get(access::tokens).post(access::make_token))
        .route("/api/tokens/{id}", axum::routing::delete(access::revoke_token))
        .route("/api/audit", get(access::audit))
        .route("/api/cluster/key", get(system::cluster_key))
        .route("/api/db/backup", post(system::backup))
}

/// Routes that need nobody.
pub(super) fn open_router() -> Router<WebState> {
    Router::new().route("/api/health", get(system::health))
}

type Answer = Result<Response, Problem>;

/// An instant in RFC 3339 with milliseconds, UTC.
pub(super) fn time(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(t) => format!("{t:.3}"),
        Err(_) => at.to_string(),
    }
}

fn ok(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

fn created(status: StatusCode, value: &impl Serialize) -> Response {
    (status, axum::Json(value)).into_response()
}

fn missing(what: &str, id: &str) -> Problem {
    let id: String = id.chars().take(80).collect();
    let detail = format!("There is no {what} '{id}'.");
    Refusal::new(RefusalKind::NotFound, detail, "List them to see what there is.").into()
}

/// Parses a body: unknown fields and wrong types are refused by name.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text).map_err(|e| {
        let hint = "A JSON object with the fields of this request is expected.";
        Refusal::new(RefusalKind::Malformed, format!("The body is not valid: {e}."), hint).into()
    })
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    limit: Option<usize>,
    before: Option<String>,
    after: Option<u64>,
}

impl PageQuery {
    /// Entries of this page: 100 unless told, 1000 at most.
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }
}
