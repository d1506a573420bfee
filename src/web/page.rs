//! Pages for browsers. Each works without JavaScript; the script only replaces elements of the page that is shown by the
//! same elements of a newer rendering.

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};

use super::WebState;
use super::asset;
use super::auth::Operator;
use super::problem::PageProblem;
use crate::domain::account::AccountName;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::store::{EventReads as _, SightingReads as _, Snapshot, StoreError};

mod access;
mod answer;
mod app;
mod audit;
mod bulk;
mod field;
mod guest;
mod guest_view;
mod guests;
mod health;
mod host;
mod host_view;
mod hosts;
mod image;
mod install;
mod job;
mod journal;
mod node;
mod played;
mod power;
mod rack;
mod register;
mod roster;
mod server_type;
mod settings;
mod sighting;
mod wizard;

/// Routes of the pages; all need a login.
pub(super) fn router() -> Router<WebState> {
    Router::new()
        .route("/", get(hosts::grid))
        .route("/fragments/tile/{id}", get(hosts::tile))
        .route("/fragments/fleet", get(hosts::fleet))
        .route("/rack", get(rack::show))
        .route("/fragments/legend", get(rack::legend))
        .route("/fragments/cell/{id}/{label}", get(rack::cell))
        .route("/rebuild", get(bulk::choose).post(bulk::begin))
        .route("/rebuild/review", post(bulk::review))
        .route("/hosts/new", get(register::show).post(register::register))
        .route("/host-file", get(roster::show).post(roster::import))
        .route("/host-file/{name}", get(roster::export))
        .route("/hosts/{id}", get(host::show))
        .route("/hosts/{id}/answer", get(answer::show))
        .route("/hosts/{id}/edit", post(host::edit))
        .route("/hosts/{id}/rebuild", post(host::rebuild))
        .route("/hosts/{id}/delete", post(host::delete))
        .route("/hosts/{id}/power", post(power::switch))
        .route("/hosts/{id}/power/edit", post(power::edit))
        .route("/hosts/{id}/power/trust", post(power::trust))
        .route("/server-types", get(server_type::list))
        .route("/new-server-type", get(server_type::new).post(server_type::make))
        .route("/server-types/{name}", get(server_type::show).post(server_type::edit))
        .route("/server-types/{name}/delete", post(server_type::delete))
        .route("/apps", get(app::list))
        .route("/apps/refresh", post(app::refresh))
        .route("/apps/{id}", get(app::show))
        .route("/apps/{id}/icon.png", get(app::icon))
        .route("/apps/{id}/install", get(install::show).post(install::install))
        .route("/apps/{id}/review", post(install::review))
        .route("/profiles", get(app::profiles))
        .route("/guests", get(guests::list))
        .route("/guests/kept/{vmid}/forget", post(guests::forget_volumes))
        .route("/guests/adopt", get(guests::show_observe).post(guests::observe))
        .route("/guests/{id}", get(guest::show))
        .route("/guests/{id}/power", post(guest::power))
        .route("/guests/{id}/backup", post(guest::backup))
        .route("/guests/{id}/restore", post(guest::restore))
        .route("/guests/{id}/upgrade", post(guest::upgrade))
        .route("/guests/{id}/return", post(guest::return_back))
        .route("/guests/{id}/reconfigure", post(guest::reconfigure))
        .route("/guests/{id}/journal.txt", get(journal::file))
        .route("/guests/{id}/uninstall", post(guest::uninstall))
        .route("/guests/{id}/adopt", post(guest::adopt))
        .route("/guests/{id}/forget", post(guest::forget))
        .route("/guests/{id}/retry", post(guest::retry))
        .route("/guests/{id}/publish", post(guest::publish))
        .route("/guests/{id}/reveal", post(guest::reveal))
        .route("/nodes", get(node::list))
        .route("/nodes/enroll", post(node::enroll))
        .route("/nodes/enroll-command", post(node::command))
        .route("/nodes/prometheus-token", post(node::reader_token))
        .route("/nodes/{name}/revoke", post(node::revoke))
        .route("/health", get(health::show))
        .route("/health/check", post(health::check))
        .route("/health/simulate", post(played::play))
        .route("/jobs", get(job::list))
        .route("/jobs/{id}", get(job::show))
        .route("/jobs/{id}/log.txt", get(job::log_file))
        .route("/jobs/{id}/cancel", post(job::cancel))
        .route("/jobs/{id}/retry", post(job::retry))
        .route("/ops/{id}", get(job::show))
        .route("/sightings", get(sighting::list))
        .route("/sightings/{mac}", get(sighting::show))
        .route("/sightings/{mac}/ignore", post(sighting::ignore))
        .route("/images", get(image::list).post(image::import))
        .route("/images/{id}/delete", post(image::delete))
        .route("/access", get(access::show))
        .route("/access/accounts", post(access::add_account))
        .route("/access/accounts/{name}/password", post(access::set_password))
        .route("/access/accounts/{name}/disable", post(access::disable))
        .route("/access/accounts/{name}/enable", post(access::enable))
        .route("/access/accounts/{name}/unlock", post(access::unlock))
        .route("/access/accounts/{name}/remove", post(access::remove))
        .route("/access/sessions/{id}/end", post(access::end_session))
        .route("/access/tokens", post(access::make_token))
        .route("/access/tokens/{id}/revoke", post(access::revoke_token))
        .route("/audit", get(audit::list))
        .route("/settings", get(settings::show))
        .route("/settings/notifications/{name}/test", post(settings::test))
}

/// What surrounds every page.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) title: String,
    /// Which entry of the navigation is the present one.
    pub(super) active: &'static str,
    /// The session's token; empty when nobody is logged in.
    pub(super) csrf: String,
    /// Apps are switched on.
    pub(super) apps: bool,
    /// Machines that wait to be registered.
    pub(super) sightings: usize,
    /// The appliance's clock in milliseconds, so that the script shows right ages on a machine with another clock.
    pub(super) now: i64,
    /// Newest event that this rendering knows: the stream goes on from here, nothing in between is missed.
    pub(super) last_event: u64,
    /// Seconds after which a browser without JavaScript loads the page again; 0: never.
    pub(super) reload_secs: u32,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    pub(super) icon: &'static str,
}

impl Frame {
    fn bare(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            active: "",
            csrf: String::new(),
            apps: false,
            sightings: 0,
            now: 0,
            last_event: 0,
            reload_secs: 0,
            style: asset::style(),
            script: asset::script(),
            icon: asset::icon(),
        }
    }

    fn new(
        web: &WebState,
        read: &Snapshot,
        operator: &Operator,
        active: &'static str,
        title: impl Into<String>,
    ) -> Result<Self, StoreError> {
        let waiting = read.sightings()?.iter().filter(|s| !s.ignored).count();
        Ok(Self {
            active,
            csrf: operator.csrf.clone(),
            apps: web.guests().is_ok(),
            sightings: waiting,
            now: web.store().now().0,
            last_event: read.last_event()?,
            title: title.into(),
            ..Self::bare("")
        })
    }
}

/// Renders a page with a status.
pub(super) fn render_with(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

pub(super) use app::ListQuery as AppFilter;
pub(super) use bulk::matching;
pub(super) use guest::{find as find_guest, named, power_action};
pub(super) use guests::{parse_place, parse_vmid};
pub(super) use host::find as find_host;
pub(super) use hosts::problems;
pub(super) use job::{JobFilter, progress};
pub(super) use node::enroll_request;

type Page = Result<Response, PageProblem>;

fn render(page: &impl Template) -> Page {
    Ok(render_with(StatusCode::OK, page))
}

fn missing(what: &str) -> Refusal {
    let hint = "It may have been deleted; the lists show what there is.";
    Refusal::new(RefusalKind::NotFound, format!("There is no such {what}."), hint)
}

/// How apps are switched on, where a page of theirs would be.
#[derive(Template)]
#[template(path = "switched_off.html")]
struct SwitchedOff {
    frame: Frame,
}

async fn switched_off(web: WebState, operator: Operator, active: &'static str) -> Page {
    let state = web.clone();
    let page = web.store().read(move |read| {
        let frame = Frame::new(&state, read, &operator, active, "Apps are switched off")?;
        Ok::<_, StoreError>(SwitchedOff { frame })
    });
    render(&page.await?)
}

/// A secret that is shown once, on a page that nothing keeps.
struct SecretPage {
    title: String,
    note: &'static str,
    secret: Secret<String>,
    back: String,
}

#[derive(Template)]
#[template(path = "secret.html")]
struct FramedSecret {
    frame: Frame,
    title: String,
    note: &'static str,
    secret: Secret<String>,
    back: String,
}

impl SecretPage {
    fn framed(
        self,
        web: &WebState,
        read: &Snapshot,
        operator: &Operator,
        active: &'static str,
    ) -> Result<FramedSecret, StoreError> {
        let Self { title, note, secret, back } = self;
        let frame = Frame::new(web, read, operator, active, title.as_str())?;
        Ok(FramedSecret { frame, title, note, secret, back })
    }
}

/// A refusal as a page.
#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct ErrorPage {
    frame: Frame,
    status: u16,
    detail: String,
    hint: String,
    job: Option<String>,
    log_in: bool,
}

impl ErrorPage {
    pub(super) fn new(refusal: &Refusal) -> Self {
        Self {
            frame: Frame::bare(refusal.kind.title()),
            status: super::problem::status(refusal.kind).as_u16(),
            detail: refusal.detail.clone(),
            hint: refusal.hint.clone(),
            job: refusal.job.map(|j| j.to_string()),
            log_in: refusal.kind == RefusalKind::Unauthenticated,
        }
    }
}

/// The login.
#[derive(Template)]
#[template(path = "login.html")]
pub(super) struct LoginPage {
    frame: Frame,
    next: String,
    has_password: bool,
    username: String,
    refusal: Option<Refusal>,
}

impl LoginPage {
    /// The same for a name that was typed.
    pub(super) fn of(mut self, typed: String) -> Self {
        if !typed.is_empty() {
            self.username = typed;
        }
        self
    }

    pub(super) fn new(next: String, has_password: bool, refusal: Option<Refusal>) -> Self {
        let username = AccountName::first().to_string();
        Self { frame: Frame::bare("Log in"), next, has_password, username, refusal }
    }
}

/// The first visit.
#[derive(Template)]
#[template(path = "setup.html")]
pub(super) struct SetupPage {
    frame: Frame,
    token: String,
    refusal: Option<Refusal>,
}

impl SetupPage {
    pub(super) fn new(token: String, refusal: Option<Refusal>) -> Self {
        Self { frame: Frame::bare("Set the operator password"), token, refusal }
    }
}
