//! Every route of the API, with what the document says about it.

mod guest;

use axum::Router;

use super::route::Success::{Job, Made, Nothing, Other};
use super::route::{About, Described, Routes, about};
use super::{
    access, bulk, doctor, document, host, job, notify, power, roster, server_type, system,
};
use crate::jobs::{AnswerPreview, PowerAnswer, TypeFile, TypeTrial};
use crate::web::WebState;
use crate::web::boot::BootsBody;
use crate::web::power::PowerForm;
use crate::web::settings::SettingsBody;

/// Routes that need an operator.
pub(in crate::web) fn router() -> Router<WebState> {
    [
        hosts(),
        server_types(),
        jobs(),
        images(),
        guest::guests(),
        guest::nodes(),
        access_routes(),
        appliance(),
    ]
    .into_iter()
    .fold(Router::new(), |all, some| all.merge(some.router()))
}

/// Routes that need nobody.
pub(in crate::web) fn open_router() -> Router<WebState> {
    open_routes().router()
}

/// Everything that the document describes.
pub(super) fn all_routes() -> Vec<Described> {
    [
        hosts(),
        server_types(),
        jobs(),
        images(),
        guest::guests(),
        guest::nodes(),
        access_routes(),
        appliance(),
        open_routes(),
    ]
    .into_iter()
    .flat_map(Routes::described)
    .collect()
}

fn open_routes() -> Routes {
    let it = about("Tells that the appliance is up, and its version").answer::<system::Health>();
    Routes::default().get("/api/health", system::health, it.open())
}

fn hosts() -> Routes {
    let list = filtered(about("Hosts, by name").paged()).answer::<host::HostList<'_>>();
    Routes::default()
        .get("/api/hosts", host::list, list)
        .post(
            "/api/hosts",
            host::register,
            about("Registers a host")
                .body::<host::NewBody>()
                .answers(Made)
                .answer::<host::HostBody<'_>>(),
        )
        .get(
            "/api/hosts/{id}",
            host::show,
            about("One host, by name or id").answer::<host::HostBody<'_>>(),
        )
        .patch(
            "/api/hosts/{id}",
            host::change,
            about("Changes a host").body::<host::ChangeBody>().answer::<host::HostBody<'_>>(),
        )
        .delete("/api/hosts/{id}", host::delete, about("Forgets a host").answers(Nothing))
        .get(
            "/api/hosts/{id}/boot",
            host::boot,
            about("How its boots went, and why one failed").answer::<BootsBody<'_>>(),
        )
        .get(
            "/api/hosts/{id}/answer",
            server_type::answer,
            about(
                "The answer that it would be sent, secrets blanked, with the layer of each value",
            )
            .query("image", "for this image, not the newest")
            .answer::<AnswerPreview>(),
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
                .body::<bulk::ReviewBody>()
                .answer::<bulk::RebuildReview<'_>>(),
        )
        .post(
            "/api/bulk-rebuilds",
            bulk::begin,
            about("Erases the hosts of a review and makes them nodes, some at a time")
                .body::<bulk::BeginBody>()
                .starts_work(),
        )
        .get(
            "/api/hosts/{id}/power",
            power::show,
            about("How it is switched; never the password").answer::<power::PowerShown<'_>>(),
        )
        .put(
            "/api/hosts/{id}/power",
            power::change,
            about("Changes how it is switched; a password that is left out stays")
                .body::<PowerForm>()
                .answer::<host::HostBody<'_>>(),
        )
        .post(
            "/api/hosts/{id}/power",
            power::switch,
            about("Looks at its power, or switches it")
                .body::<power::SwitchBody>()
                .answer::<PowerAnswer>(),
        )
        .get(
            "/api/host-file",
            roster::export,
            about("All hosts as the text of a file")
                .query("format", "csv or toml")
                .answer::<roster::HostFile>(),
        )
        .post(
            "/api/host-file",
            roster::import,
            about("Takes hosts from a file, all or nothing")
                .body::<roster::ImportBody>()
                .answer::<roster::Imported>(),
        )
        .get(
            "/api/sightings",
            system::sightings,
            about("Machines that were heard").paged().answer::<system::SightingList<'_>>(),
        )
        .get(
            "/api/sightings/{mac}/boot",
            system::boot,
            about("How a machine's boots went").answer::<BootsBody<'_>>(),
        )
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
        .get(
            "/api/server-types",
            server_type::list,
            about("Server types, and broken files").answer::<server_type::TypeList<'_>>(),
        )
        .get(
            "/api/server-types/{name}",
            server_type::show,
            about("One server type with its file's text, the text's hash, and what is wrong with it")
                .answer::<TypeFile>(),
        )
        .put(
            "/api/server-types/{name}",
            server_type::save,
            about("Puts a text in place as its file, if it is still the one that was read; arms nothing")
                .body::<server_type::SaveBody>()
                .answer::<TypeFile>(),
        )
        .post(
            "/api/server-types/{name}/preview",
            server_type::preview,
            about("What a text would change in the answer of a host; writes nothing")
                .body::<server_type::PreviewBody>()
                .answer::<TypeTrial>(),
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
        .query("q", "only with these words")
        .answer::<job::JobList<'_>>();
    let logs = about("A job's log")
        .answer::<job::JobLog<'_>>()
        .query("limit", "lines: 1 to 1000")
        .query("after", "only lines with a larger number")
        .query("search", "only lines with these words");
    Routes::default()
        .get("/api/jobs", job::list, list)
        .get(
            "/api/jobs/{id}",
            job::show,
            about("One job with its steps").answer::<job::JobBody<'_>>(),
        )
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
        .get(
            "/api/images",
            system::images,
            about("Imported images").paged().answer::<system::ImageList<'_>>(),
        )
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

fn access_routes() -> Routes {
    let audit = about("What was changed by whom, the newest first")
        .answer::<access::AuditList<'_>>()
        .query("limit", "entries of this page: 1 to 1000")
        .query("before", "where the page begins: `next` of the page before");
    Routes::default()
        .get(
            "/api/accounts",
            access::accounts,
            about("Accounts").paged().answer::<access::AccountList>(),
        )
        .post(
            "/api/accounts",
            access::add_account,
            about("Adds an account")
                .body::<access::NewBody>()
                .answers(Made)
                .answer::<access::AccountBody>(),
        )
        .patch(
            "/api/accounts/{name}",
            access::change_account,
            about("Sets its password, disables or enables it")
                .body::<access::ChangeBody>()
                .answer::<access::AccountBody>(),
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
        .get(
            "/api/sessions",
            access::sessions,
            about("Browsers that are logged in").paged().answer::<access::SessionList<'_>>(),
        )
        .delete("/api/sessions/{id}", access::end_session, about("Ends a session").answers(Nothing))
        .get(
            "/api/tokens",
            access::tokens,
            about("API tokens").paged().answer::<access::TokenList<'_>>(),
        )
        .post(
            "/api/tokens",
            access::make_token,
            about("Makes an API token, told this once")
                .body::<access::TokenBody>()
                .answers(Made)
                .answer::<access::TokenShown<'_>>(),
        )
        .delete("/api/tokens/{id}", access::revoke_token, about("Revokes a token").answers(Nothing))
        .get("/api/audit", access::audit, audit)
        .get(
            "/api/session",
            system::session,
            about("Who asks, and the session's form token").answer::<system::Asker<'_>>(),
        )
}

fn appliance() -> Routes {
    let events = about("Events as they happen; Last-Event-ID goes on after a break")
        .answers(Other("text/event-stream"))
        .query("after", "begin behind this number")
        .query("job", "only of this job")
        .query("host", "only of this host")
        .query("guest", "only of this guest");
    Routes::default()
        .get(
            "/api/doctor",
            doctor::last,
            about("The doctor's last report").answer::<doctor::ReportBody<'_>>(),
        )
        .post(
            "/api/doctor",
            doctor::check,
            about("Looks for what is wrong now").answer::<doctor::ReportBody<'_>>(),
        )
        .post(
            "/api/doctor/simulate",
            doctor::simulate,
            about("Plays a machine that boots")
                .body::<doctor::SimulateBody>()
                .answer::<doctor::Played<'_>>(),
        )
        .get(
            "/api/settings",
            system::settings,
            about("The configuration in effect, secrets as set, and what waits for a restart")
                .answer::<SettingsBody<'_>>(),
        )
        .get(
            "/api/notifications",
            notify::list,
            about("Who is told what happened, and how the last delivery to each went")
                .answer::<notify::TargetList<'_>>(),
        )
        .post(
            "/api/notifications/{name}/test",
            notify::test,
            about("Sends a test to a notification target and tells whether it arrived")
                .answer::<notify::TestedBody<'_>>(),
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
            about("Makes a new set-up link, as long as no password is set")
                .answer::<system::SetupLink>(),
        )
        .get(
            "/api/limits",
            system::limits,
            about("Every limit, and how often it was met").answer::<system::LimitList>(),
        )
        .post(
            "/api/db/backup",
            system::backup,
            about("Copies the database; over the control socket only")
                .body::<system::BackupBody>()
                .answer::<system::BackedUp<'_>>(),
        )
        .get("/api/openapi.json", document::show, about("This document").answer::<Fields>())
        .get("/events", crate::web::stream::events, events)
        .get(
            "/metrics",
            crate::web::metrics::show,
            about("Numbers for Prometheus").answers(Other("text/plain")),
        )
}

/// A form's fields: which ones there are depends on the app.
type Fields = serde_json::Map<String, serde_json::Value>;
