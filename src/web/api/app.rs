//! `/api/apps` and `/api/install`.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Answer, Moment, body, missing, ok, time};
use crate::domain::app::{AppId, BrokenApp, CatalogApp, ContentHash, SourceStatus};
use crate::domain::form::Submitted;
use crate::domain::id::JobId;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::entry;
use crate::web::problem::Problem;

/// An app in a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "App")]
struct AppBody<'a> {
    id: &'a AppId,
    name: &'a str,
    version: &'a str,
    description: &'a str,
    categories: &'a [String],
    tags: &'a [String],
    featured: bool,
    /// `none`, `supported`, `required`.
    gpu: &'static str,
    /// It was provisioned by the tests of this version.
    exercised: bool,
    source: &'a str,
    hash: &'a ContentHash,
}

impl<'a> AppBody<'a> {
    fn new(app: &'a CatalogApp) -> Self {
        let manifest = &app.manifest;
        Self {
            id: &manifest.id,
            name: &manifest.name,
            version: &manifest.version,
            description: &manifest.description,
            categories: &manifest.categories,
            tags: &manifest.tags,
            featured: manifest.featured,
            gpu: match &manifest.gpu {
                None => "none",
                Some(gpu) if gpu.required => "required",
                Some(_) => "supported",
            },
            exercised: app.provenance.exercised,
            source: &app.provenance.source,
            hash: &app.provenance.hash,
        }
    }
}

/// A source of apps, and how it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Source")]
struct SourceBody<'a> {
    name: &'a str,
    location: &'a str,
    commit: Option<&'a str>,
    /// When it was last read with success.
    refreshed: Option<Moment>,
    /// Why the last try failed; the copy before it stays in use.
    problem: Option<&'a str>,
}

impl<'a> SourceBody<'a> {
    fn new(source: &'a SourceStatus) -> Self {
        Self {
            name: &source.name,
            location: &source.location,
            commit: source.commit.as_deref(),
            refreshed: source.refreshed.map(time),
            problem: source.problem.as_deref(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct AppList<'a> {
    apps: Vec<AppBody<'a>>,
    broken: &'a [BrokenApp],
    sources: Vec<SourceBody<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(in crate::web) struct ListQuery {
    q: String,
    category: String,
    tag: String,
}

pub(in crate::web) async fn list(
    State(web): State<WebState>,
    Query(query): Query<ListQuery>,
    _: Operator,
) -> Answer {
    let catalog = web.guests()?.catalog();
    let wanted = crate::web::page::AppFilter::new(query.q, query.category, query.tag);
    Ok(ok(&AppList {
        apps: catalog.apps.iter().filter(|a| wanted.wants(a)).map(AppBody::new).collect(),
        broken: &catalog.broken,
        sources: catalog.sources.iter().map(SourceBody::new).collect(),
    }))
}

fn parse(id: &str) -> Result<AppId, Problem> {
    id.parse().map_err(|_| missing("app", id))
}

/// The JSON Schema of manifests.
pub(in crate::web) async fn schema(_: Operator) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/schema+json")];
    (kind, crate::apps::schema::TEXT).into_response()
}

/// One app with its whole manifest.
pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let catalog = web.guests()?.catalog();
    let app = catalog.get(&parse(&id)?).ok_or_else(|| missing("app", &id))?;
    Ok(ok(app))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshBody {
    source: Option<String>,
}

/// The jobs that read sources again.
#[derive(Serialize, JsonSchema)]
pub(super) struct Refreshing {
    /// Not told again when a request is repeated under its idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<Vec<JobId>>,
    /// What waiting clients look for: the last one of a queue that works in order.
    job: Option<JobId>,
    /// The same id, only in the answer to a repeated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_id: Option<JobId>,
}

pub(in crate::web) async fn refresh(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: RefreshBody = body(&bytes)?;
    let jobs = web.guests()?.refresh_catalog(asked.source).await?;
    let started = Refreshing { job: jobs.last().copied(), jobs: Some(jobs), operation_id: None };
    Ok((StatusCode::ACCEPTED, axum::Json(started)).into_response())
}

/// The app that a body names, and its other fields as a form.
fn order(bytes: &Bytes) -> Result<(AppId, Submitted), Problem> {
    let mut asked: Map<String, Value> = body(bytes)?;
    let named = asked.remove("app");
    let app = named.as_ref().and_then(Value::as_str).ok_or_else(|| {
        let hint = "Name it by its id: {\"app\": \"redis\", \"name\": \"cache1\"}.";
        Refusal::new(RefusalKind::Malformed, "The body does not name an app.", hint).about("app")
    })?;
    Ok((parse(app)?, entry::from_json(asked)?))
}

pub(in crate::web) async fn install(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let (app, form) = order(&bytes)?;
    Ok(super::job::accepted(guests.install(app, form).await?))
}

pub(in crate::web) async fn review(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let guests = web.guests()?;
    let (app, form) = order(&bytes)?;
    Ok(ok(&guests.review(app, form).await?))
}
