//! The JSON API for operators: the same operations as the pages, for scripts and the command line.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::route::Success::{Job, Made, Nothing, Other};
use self::route::{About, Described, Routes, about};
use super::WebState;
use super::power::PowerForm;
use super::problem::Problem;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;

mod access;
mod app;
mod bulk;
mod doctor;
pub(super) mod document;
mod guest;
mod host;
mod job;
mod node;
mod notify;
mod power;
mod roster;
mod route;
mod server_type;
mod system;

/// Routes that need an operator.
pub(super) fn router() -> Router<WebState> {
    [hosts(), server_types(), jobs(), images(), guests(), nodes(), access_routes(), appliance()]
        .into_iter()
        .fold(Router::new(), |all, some| all.merge(some.router()))
}

/// Routes that need nobody.
pub(super) fn open_router() -> Router<WebState> {
    open_routes().router()
}

/// Everything that the document describes.
fn all_routes() -> Vec<Described> {
    [
        hosts(),
        server_types(),
        jobs(),
        images(),
        guests(),
        nodes(),
        access_routes(),
        appliance(),
        open_routes(),
    ]
    .into_iter()
    .flat_map(Routes::described)
    .collect()
}

fn open_routes() -> Routes {
    let it = about("Tells that the appliance is up, and its version").open();
    Routes::default().get("/api/health", system::health, it)
}

fn hosts() -> Routes {
    let list = filtered(about("Hosts, by name").paged());
    Routes::default()
        .get("/api/hosts", host::list, list)
        .post(
            "/api/hosts",
            host::register,
            about("Registers a host").body::<host::NewBody>().answers(Made),
        )
        .get("/api/hosts/{id}", host::show, about("One host, by name or id"))
        .patch("/api/hosts/{id}", host::change, about("Changes a host").body::<host::ChangeBody>())
        .delete("/api/hosts/{id}", host::delete, about("Forgets a host").answers(Nothing))
        .get("/api/hosts/{id}/boot", host::boot, about("How its boots went, and why one failed"))
        .get(
            "/api/hosts/{id}/answer",
            server_type::answer,
            about(
                "The answer that it would be sent, secrets blanked, with the layer of each value",
            )
            .query("image", "for this image, not the newest"),
        )
        .post(
            "/api/hosts/{id}/rebuild",
            host::rebuild,
            about("Erases the host's disk and makes it a node")
                .body::<host::RebuildBody>()
                .starts_work(),
        )
        .post(
            "/api/bulk-rebuilds/review",
            bulk::review,
            about("What the rebuild of many hosts would erase, and what to send to confirm it")
                .body::<bulk::ReviewBody>(),
        )
        .post(
            "/api/bulk-rebuilds",
            bulk::begin,
            about("Erases the hosts of a review and makes them nodes, some at a time")
                .body::<bulk::BeginBody>()
                .starts_work(),
        )
        .get("/api/hosts/{id}/power", power::show, about("How it is switched; never the password"))
        .put(
            "/api/hosts/{id}/power",
            power::change,
            about("Changes how it is switched; a password that is left out stays")
                .body::<PowerForm>(),
        )
        .post(
            "/api/hosts/{id}/power",
            power::switch,
            about("Looks at its power, or switches it").body::<power::SwitchBody>(),
        )
        .get(
            "/api/host-file",
            roster::export,
            about("All hosts as the text of a file").query("format", "csv or toml"),
        )
        .post(
            "/api/host-file",
            roster::import,
            about("Takes hosts from a file, all or nothing").body::<roster::ImportBody>(),
        )
        .get("/api/sightings", system::sightings, about("Machines that were heard").paged())
        .get("/api/sightings/{mac}/boot", system::boot, about("How a machine's boots went"))
        .post(
            "/api/sightings/{mac}/ignore",
            system::ignore,
            about("Stays silent towards a machine, or shows it again")
                .body::<system::IgnoreBody>()
                .answers(Nothing),
        )
}

fn server_types() -> Routes {
    let delete = about("Deletes a server type that no host has")
        .query("hash", "only if its text has this hash")
        .answers(Nothing);
    Routes::default()
        .get("/api/server-types", server_type::list, about("Server types, and broken files"))
        .get(
            "/api/server-types/{name}",
            server_type::show,
            about("One server type with its file's text, the text's hash, and what is wrong with it"),
        )
        .put(
            "/api/server-types/{name}",
            server_type::save,
            about("Puts a text in place as its file, if it is still the one that was read; arms nothing")
                .body::<server_type::SaveBody>(),
        )
        .post(
            "/api/server-types/{name}/preview",
            server_type::preview,
            about("What a text would change in the answer of a host; writes nothing")
                .body::<server_type::PreviewBody>(),
        )
        .delete("/api/server-types/{name}", server_type::delete, delete)
}

/// The parts of [`crate::plan::fleet::Asked`].
fn filtered(list: About) -> About {
    list.query("state", "only in this state; `busy`: while a rebuild runs")
        .query("type", "only of this server type")
        .query("problem", "`yes`: only with a problem")
        .query("q", "only with these words in name, addresses or serial numbers")
}

fn jobs() -> Routes {
    let list = about("Jobs, the newest first")
        .query("limit", "entries of this page: 1 to 1000")
        .query("before", "where the page begins: `next` of the page before")
        .query("kind", "only of this kind")
        .query("status", "only with this status")
        .query("q", "only with these words");
    let logs = about("A job's log")
        .query("limit", "lines: 1 to 1000")
        .query("after", "only lines with a larger number")
        .query("search", "only lines with these words");
    Routes::default()
        .get("/api/jobs", job::list, list)
        .get("/api/jobs/{id}", job::show, about("One job with its steps"))
        .get("/api/jobs/{id}/logs", job::logs, logs)
        .post("/api/jobs/{id}/cancel", job::cancel, about("Asks a job to stop").answers(Job))
        .post(
            "/api/jobs/{id}/retry",
            job::retry,
            about("Does the work of a failed job again").body::<job::RetryBody>().starts_work(),
        )
}

fn images() -> Routes {
    Routes::default()
        .get("/api/images", system::images, about("Imported images").paged())
        .post(
            "/api/images",
            system::import,
            about("Imports an installer ISO").body::<system::ImportBody>().starts_work(),
        )
        .delete(
            "/api/images/{id}",
            system::delete_image,
            about("Deletes an image and its file").answers(Nothing),
        )
}

fn guests() -> Routes {
    let apps = about("The catalog")
        .query("q", "only with these words")
        .query("category", "only of this category")
        .query("tag", "only with this tag");
    let list = about("Guests")
        .paged()
        .query("state", "only in this state")
        .query("node", "only on this node")
        .query("app", "only of this app");
    let journal = about("The guest's own journal")
        .query("lines", "how many")
        .query("unit", "only of this unit");
    Routes::default()
        .get("/api/apps", app::list, apps)
        .get(
            "/api/apps/schema.json",
            app::schema,
            about("The JSON Schema of manifests").answers(Other("application/schema+json")),
        )
        .post(
            "/api/apps/refresh",
            app::refresh,
            about("Reads the sources again").body::<app::RefreshBody>().starts_work(),
        )
        .get("/api/apps/{id}", app::show, about("One app with its manifest"))
        .post(
            "/api/install",
            app::install,
            about("Installs an app: its id as `app`, and the form's fields")
                .body::<Fields>()
                .starts_work(),
        )
        .post(
            "/api/install/review",
            app::review,
            about("What an installation would do").body::<Fields>(),
        )
        .post(
            "/api/uninstall",
            guest::uninstall,
            about("Takes a guest away").body::<guest::UninstallBody>().starts_work(),
        )
        .get("/api/guests", guest::list, list)
        .post(
            "/api/guests/observe",
            guest::observe,
            about("Records a container that exists").body::<guest::ObserveBody>().answers(Made),
        )
        .get("/api/kept-volumes", guest::kept_volumes, about("Volumes that guests left").paged())
        .post(
            "/api/kept-volumes/{vmid}/forget",
            guest::forget_volumes,
            about("Frees the number that kept volumes hold")
                .body::<guest::ConfirmBody>()
                .answers(Nothing),
        )
        .get("/api/guests/{id}", guest::show, about("One guest, by name or id"))
        .delete(
            "/api/guests/{id}",
            guest::forget,
            about("Forgets a container that is only observed").answers(Nothing),
        )
        .get("/api/guests/{id}/vitals", guest::vitals, about("Its load, memory and disk now"))
        .get("/api/guests/{id}/logs", guest::logs, journal)
        .get("/api/guests/{id}/backups", guest::backups, about("Its backups"))
        .post(
            "/api/guests/{id}/power",
            guest::power,
            about("Turns it on, off, or on again").body::<guest::PowerBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/backup",
            guest::backup,
            about("Backs it up").body::<guest::BackupBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/restore",
            guest::restore,
            about("Puts a backup in its place").body::<guest::RestoreBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/upgrade",
            guest::upgrade,
            about("Brings its app to the catalog's version").starts_work(),
        )
        .post(
            "/api/guests/{id}/return",
            guest::return_back,
            about("Takes it back to its restore point").starts_work(),
        )
        .post(
            "/api/guests/{id}/reconfigure",
            guest::reconfigure,
            about("Gives it other inputs or resources").body::<Fields>().starts_work(),
        )
        .post(
            "/api/guests/{id}/adopt",
            guest::adopt,
            about("Makes an observed container ours").body::<guest::ConfirmBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/publish",
            guest::publish,
            about("Publishes its service definition again").starts_work(),
        )
        .post(
            "/api/guests/{id}/retry",
            guest::retry,
            about("Tries a failed installation again").starts_work(),
        )
        .post(
            "/api/guests/{id}/reveal",
            guest::reveal,
            about("Tells a secret of its installation, once").body::<guest::RevealBody>(),
        )
        .get(
            "/api/system/discovery",
            guest::discovery,
            about("Nodes, storages, bridges and GPUs as they are now"),
        )
}

fn nodes() -> Routes {
    Routes::default()
        .get("/api/nodes", node::list, about("Enrolled nodes").paged())
        .post(
            "/api/nodes/enroll",
            node::enroll,
            about("Enrols a node with its password or our key")
                .body::<node::EnrollBody>()
                .starts_work(),
        )
        .post(
            "/api/nodes/enroll-command",
            node::command,
            about("Makes a command that enrols the node it is pasted on"),
        )
        .post(
            "/api/nodes/{name}/revoke",
            node::revoke,
            about("Takes everything that enrolment made off a node").starts_work(),
        )
        .get("/api/cluster", node::cluster, about("The cluster's members, and what disagrees"))
        .get("/api/cluster/key", system::cluster_key, about("The key that opens the members"))
        .get(
            "/api/prometheus/targets",
            guest::targets,
            about("Monitored guests, for Prometheus' HTTP service discovery"),
        )
        .post(
            "/api/prometheus/token",
            node::reader_token,
            about("Makes the token of Prometheus; the one before ends"),
        )
}

fn access_routes() -> Routes {
    let audit = about("What was changed by whom, the newest first")
        .query("limit", "entries of this page: 1 to 1000")
        .query("before", "where the page begins: `next` of the page before");
    Routes::default()
        .get("/api/accounts", access::accounts, about("Accounts").paged())
        .post(
            "/api/accounts",
            access::add_account,
            about("Adds an account").body::<access::NewBody>().answers(Made),
        )
        .patch(
            "/api/accounts/{name}",
            access::change_account,
            about("Sets its password, disables or enables it").body::<access::ChangeBody>(),
        )
        .delete(
            "/api/accounts/{name}",
            access::remove_account,
            about("Removes it with its sessions and tokens").answers(Nothing),
        )
        .post(
            "/api/accounts/{name}/unlock",
            access::unlock_account,
            about("Lets strange networks try its password again").answers(Nothing),
        )
        .get("/api/sessions", access::sessions, about("Browsers that are logged in").paged())
        .delete("/api/sessions/{id}", access::end_session, about("Ends a session").answers(Nothing))
        .get("/api/tokens", access::tokens, about("API tokens").paged())
        .post(
            "/api/tokens",
            access::make_token,
            about("Makes an API token, told this once").body::<access::TokenBody>().answers(Made),
        )
        .delete("/api/tokens/{id}", access::revoke_token, about("Revokes a token").answers(Nothing))
        .get("/api/audit", access::audit, audit)
        .get("/api/session", system::session, about("Who asks, and the session's form token"))
}

fn appliance() -> Routes {
    let events = about("Events as they happen; Last-Event-ID goes on after a break")
        .answers(Other("text/event-stream"))
        .query("after", "begin behind this number")
        .query("job", "only of this job")
        .query("host", "only of this host")
        .query("guest", "only of this guest");
    Routes::default()
        .get("/api/doctor", doctor::last, about("The doctor's last report"))
        .post("/api/doctor", doctor::check, about("Looks for what is wrong now"))
        .post(
            "/api/doctor/simulate",
            doctor::simulate,
            about("Plays a machine that boots").body::<doctor::SimulateBody>(),
        )
        .get(
            "/api/settings",
            system::settings,
            about("The configuration in effect, secrets as set, and what waits for a restart"),
        )
        .get(
            "/api/notifications",
            notify::list,
            about("Who is told what happened, and how the last delivery to each went"),
        )
        .post(
            "/api/notifications/{name}/test",
            notify::test,
            about("Sends a test to a notification target and tells whether it arrived"),
        )
        .get(
            "/api/debug-bundle",
            system::debug_bundle,
            about("What somebody who helps needs to see, without secrets")
                .query("hours", "how far the log goes back")
                .answers(Other("application/gzip")),
        )
        .post(
            "/api/setup-link",
            system::setup_link,
            about("Makes a new set-up link, as long as no password is set"),
        )
        .get("/api/limits", system::limits, about("Every limit, and how often it was met"))
        .post(
            "/api/db/backup",
            system::backup,
            about("Copies the database; over the control socket only").body::<system::BackupBody>(),
        )
        .get("/api/openapi.json", document::show, about("This document"))
        .get("/events", crate::web::stream::events, events)
        .get(
            "/metrics",
            crate::web::metrics::show,
            about("Numbers for Prometheus").answers(Other("text/plain")),
        )
}

/// A form's fields: which ones there are depends on the app.
type Fields = serde_json::Map<String, serde_json::Value>;

pub(super) use job::accepted;

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

/// A page of a list that is put in order first: entries behind the one that is named.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListQuery {
    limit: Option<usize>,
    after: String,
}

impl ListQuery {
    /// The entries of this page, and where the next one begins when there is one. A list that nobody asks in pages is
    /// cut after 1000 entries.
    ///
    /// # Errors
    /// When the entry behind which the page begins is gone.
    fn cut<T>(
        &self,
        all: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        self.cut_wanted(all, key, |_| true)
    }

    /// The same of those that are wanted. A page may begin behind an entry that is not wanted any more.
    ///
    /// # Errors
    /// As above.
    fn cut_wanted<T>(
        &self,
        mut all: Vec<T>,
        key: impl Fn(&T) -> String,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        if !self.after.is_empty() {
            let found = all.iter().position(|entry| key(entry) == self.after);
            let Some(at) = found else {
                let detail = "The entry behind which the page begins is gone.";
                let hint = "Read the list from its beginning.";
                return Err(Refusal::new(RefusalKind::Conflict, detail, hint).about("after"));
            };
            all.drain(..=at);
        }
        all.retain(wanted);
        let limit = self.limit.unwrap_or(1000).clamp(1, 1000);
        let is_more = all.len() > limit;
        all.truncate(limit);
        let next = all.last().filter(|_| is_more).map(key);
        Ok((all, next))
    }
}
