//! `/api/jobs`.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Moment, PageQuery, body, missing, ok, time};
use crate::domain::event::Level;
use crate::domain::host::Failure;
use crate::domain::id::{GuestId, HostId, Hostname, ImageId, JobId, StepId};
use crate::domain::job::{BulkRebuild, Job, JobStatus, LogLine, Step, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::store::{JobReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::page::{JobFilter, progress};
use crate::web::problem::Problem;
use crate::web::view::job_title;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Step")]
struct StepBody<'a> {
    id: &'a StepId,
    title: &'a str,
    status: StepStatus,
    attempts: u32,
    started: Option<Moment>,
    finished: Option<Moment>,
    detail: &'a str,
}

impl<'a> StepBody<'a> {
    fn new(step: &'a Step) -> Self {
        Self {
            id: &step.id,
            title: &step.title,
            status: step.status,
            attempts: step.attempts,
            started: step.started.map(time),
            finished: step.finished.map(time),
            detail: &step.detail,
        }
    }
}

/// A job as the API shows it: no token, not even its hash.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(super) struct JobBody<'a> {
    id: JobId,
    kind: &'static str,
    title: String,
    status: JobStatus,
    host: Option<HostId>,
    hostname: Option<&'a Hostname>,
    guest: Option<GuestId>,
    guest_name: Option<&'a Hostname>,
    node: Option<&'a Hostname>,
    /// The job that asked for this one.
    parent: Option<JobId>,
    image: Option<&'a ImageId>,
    source: Option<&'a str>,
    created: Moment,
    started: Option<Moment>,
    finished: Option<Moment>,
    cancel_requested: bool,
    /// The ephemeral public key of a rebuild, so that anybody can check that it is gone.
    public_key: Option<&'a str>,
    failure: Option<&'a Failure>,
    /// What a rebuild of many hosts was confirmed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk: Option<&'a BulkRebuild>,
    steps: Vec<StepBody<'a>>,
    /// Newest progress of a running job, when it tells any; only in the answer about one job.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressBody>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Progress")]
struct ProgressBody {
    done: u64,
    /// 0: not known.
    total: u64,
    text: String,
}

impl<'a> JobBody<'a> {
    fn new(job: &'a Job) -> Self {
        let (hostname, image, source) = match &job.work {
            Work::Rebuild(work) => (Some(&work.hostname), Some(&work.image), None),
            Work::ImportImage(work) => (None, work.image.as_ref(), Some(work.source.as_str())),
            Work::Catalog(work) => (None, None, Some(work.source.as_str())),
            Work::BulkRebuild(work) => (None, Some(&work.image), None),
            Work::Guest(_) | Work::Node(_) => (None, None, None),
        };
        let (guest_name, parent) = match &job.work {
            Work::Guest(work) => (Some(&work.name), work.parent),
            Work::Rebuild(work) => (None, work.part_of),
            _ => (None, None),
        };
        let node = match &job.work {
            Work::Node(work) => work.name.as_ref(),
            _ => None,
        };
        Self {
            id: job.id,
            kind: job.kind(),
            title: job_title(job),
            status: job.status,
            host: job.host(),
            hostname,
            guest: job.guest(),
            guest_name,
            node,
            parent,
            image,
            source,
            created: time(job.created),
            started: job.started.map(time),
            finished: job.finished.map(time),
            cancel_requested: job.cancel_requested,
            public_key: match &job.work {
                Work::Rebuild(work) => work.public_key.as_deref(),
                _ => None,
            },
            failure: job.failure.as_ref(),
            bulk: match &job.work {
                Work::BulkRebuild(work) => Some(work),
                _ => None,
            },
            steps: job.steps.iter().map(StepBody::new).collect(),
            progress: None,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct JobList<'a> {
    jobs: Vec<JobBody<'a>>,
    next: Option<String>,
}

/// The job that does what was asked for.
#[derive(Serialize, JsonSchema)]
pub(super) struct Started {
    /// Its id: `GET /api/jobs/{id}`.
    job: JobId,
    /// The same id.
    operation_id: JobId,
}

/// 202 with the job's id and address.
pub(in crate::web) fn accepted(job: JobId) -> Response {
    let place = [(header::LOCATION, format!("/api/jobs/{job}"))];
    (StatusCode::ACCEPTED, place, axum::Json(Started { job, operation_id: job })).into_response()
}

fn parse(id: &str) -> Result<JobId, Problem> {
    id.parse().map_err(|_| missing("job", id))
}

pub(in crate::web) async fn list(
    State(web): State<WebState>,
    Query(query): Query<PageQuery>,
    Query(filter): Query<JobFilter>,
    _: Operator,
) -> Answer {
    let limit = query.limit();
    let before: Option<JobId> = query.before.as_deref().map(str::parse).transpose().map_err(
        |e: crate::domain::id::InvalidId| {
            Refusal::new(RefusalKind::Malformed, e.to_string(), "Give a job's id.").about("before")
        },
    )?;
    let found: Result<_, StoreError> =
        web.store().read(move |read| filter.page(read, before, limit)).await;
    let (jobs, next) = found?;
    // A list of hosts can be long: it is in the answer about that job alone.
    let jobs = jobs.iter().map(|job| JobBody { bulk: None, ..JobBody::new(job) }).collect();
    // Where the next page begins; absent on the last one.
    let next = next.map(|id| id.to_string());
    Ok(ok(&JobList { jobs, next }))
}

pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let wanted = parse(&id)?;
    let found: Result<_, StoreError> = web
        .store()
        .read(move |read| {
            let Some(job) = read.job(wanted)? else { return Ok(None) };
            let told = if job.status.is_terminal() { None } else { progress(read, wanted)? };
            Ok(Some((job, told)))
        })
        .await;
    let (job, told) = found?.ok_or_else(|| missing("job", &id))?;
    let told = told.map(|p| ProgressBody { done: p.done, total: p.total, text: p.text });
    Ok(ok(&JobBody { progress: told, ..JobBody::new(&job) }))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogLine")]
struct LineBody<'a> {
    seq: u64,
    at: Moment,
    level: Level,
    step: Option<&'a StepId>,
    message: &'a str,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct JobLog<'a> {
    lines: Vec<LineBody<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(in crate::web) struct SearchQuery {
    /// Lines without these words are left out.
    search: String,
}

pub(in crate::web) async fn logs(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
    Query(search): Query<SearchQuery>,
    _: Operator,
) -> Answer {
    let words = search.search.trim().to_lowercase();
    let (wanted, after, limit) = (parse(&id)?, query.after.unwrap_or(0), query.limit());
    let found: Result<Option<Vec<LogLine>>, StoreError> = web
        .store()
        .read(move |read| {
            let Some(job) = read.job(wanted)? else { return Ok(None) };
            if words.is_empty() {
                return Ok(Some(read.job_log(job.id, after, limit)?));
            }
            let mut lines = read.job_log(job.id, after, usize::MAX)?;
            lines.retain(|line| line.message.to_lowercase().contains(&words));
            lines.truncate(limit);
            Ok(Some(lines))
        })
        .await;
    let lines = found?.ok_or_else(|| missing("job", &id))?;
    let lines = lines
        .iter()
        .map(|line| LineBody {
            seq: line.seq,
            at: time(line.at),
            level: line.level,
            step: line.step.as_ref(),
            message: &line.message,
        })
        .collect();
    Ok(ok(&JobLog { lines }))
}

pub(in crate::web) async fn cancel(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let id = parse(&id)?;
    web.operations().cancel(id).await?;
    Ok(accepted(id))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    #[serde(default)]
    confirm: String,
}

pub(in crate::web) async fn retry(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: RetryBody = body(&bytes)?;
    let job = web.operations().retry(parse(&id)?, asked.confirm).await?;
    Ok(accepted(job))
}
