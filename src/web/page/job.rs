//! Jobs: the list, and one job's steps with its whole story.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::host_view::{JobRow, RUN_EVENTS, boot_log};
use super::{Frame, Page, missing, render, render_with};
use crate::domain::event::EventKind;
use crate::domain::host::{Failure, Host};
use crate::domain::id::JobId;
use crate::domain::job::{Job, JobStatus, Step, StepStatus, Work};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::{EventReads as _, HostReads as _, JobReads as _, Snapshot, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::PageProblem;
use crate::web::view::story::{Line, Sources, story};
use crate::web::view::{Span, When, duration, job_label, job_title, job_tone, step_label};

/// Jobs on one page of the list.
const PER_PAGE: usize = 50;
/// Lines of a job's page: a page of some hundred KiB.
const STORY_LINES: usize = 1500;

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    jobs: Vec<JobRow>,
    older: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ListQuery {
    before: String,
}

pub(crate) async fn list(
    State(web): State<WebState>,
    Query(query): Query<ListQuery>,
    operator: Operator,
) -> Page {
    let before: Option<JobId> = query.before.parse().ok();
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let jobs = read.jobs(before, PER_PAGE)?;
        let older = jobs.get(PER_PAGE - 1).map(|j| j.id.to_string());
        Ok::<_, StoreError>(JobsPage {
            frame: Frame {
                reload_secs: if before.is_none() { 15 } else { 0 },
                ..Frame::new(&state, read, &operator, "jobs", "Jobs")?
            },
            jobs: jobs.iter().map(|j| JobRow::new(j, now)).collect(),
            older,
        })
    });
    render(&page.await?)
}

struct StepRow {
    title: String,
    label: &'static str,
    tone: &'static str,
    detail: String,
    attempts: u32,
    took: Span,
    last: String,
}

impl StepRow {
    fn new(step: &Step, last: Option<&Job>, now: Timestamp) -> Self {
        let (label, tone) = step_label(step.status);
        let before = last.and_then(|job| job.step(step.id.as_str()));
        let last = before.and_then(|s| Some(s.finished?.since(s.started?)));
        let shown = step.status != StepStatus::Skipped;
        Self {
            title: step.title.clone(),
            label,
            tone,
            detail: step.detail.clone(),
            attempts: step.attempts,
            took: if shown { Span::new(step.started, step.finished, now) } else { Span::default() },
            last: last.map(duration).unwrap_or_default(),
        }
    }
}

/// How far long work has come.
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) text: String,
}

/// The newest progress that a job told.
pub(crate) fn progress(read: &Snapshot, job: JobId) -> Result<Option<Progress>, StoreError> {
    let events = read.events_of_job(job, 50)?;
    Ok(events.iter().find_map(|event| match event.kind {
        EventKind::Progress { done, total } => {
            let part = match total {
                Some(total) if total > 0 => {
                    let percent = u128::from(done.min(total)) * 100 / u128::from(total);
                    format!("{percent} % · ")
                }
                _ => String::new(),
            };
            let text = format!("{part}{}", event.message);
            Some(Progress { done, total: total.unwrap_or(0), text })
        }
        _ => None,
    }))
}

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    id: String,
    title: String,
    label: &'static str,
    tone: &'static str,
    created: When,
    took: Span,
    last_took: String,
    /// Host's id and name, when the job is about one.
    host: Option<(String, String)>,
    host_exists: bool,
    about: Vec<(&'static str, String)>,
    failure: Option<Failure>,
    steps: Vec<StepRow>,
    progress: Option<Progress>,
    lines: Vec<Line>,
    only_log: bool,
    open: bool,
    stopping: bool,
    may_retry: bool,
    refused: Option<Refusal>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ShowQuery {
    view: String,
}

fn sources(read: &Snapshot, job: &Job, host: Option<&Host>) -> Result<Sources, StoreError> {
    let log = read.job_log(job.id, 0, usize::MAX)?;
    let mut events = read.events_of_job(job.id, RUN_EVENTS)?;
    let mut boot = Vec::new();
    if let Some(host) = host {
        events.extend(read.events_of_host(host.id, RUN_EVENTS)?);
        boot = boot_log(read, host, 500)?;
    }
    Ok(Sources { log, events, boot })
}

fn job_page(
    web: &WebState,
    read: &Snapshot,
    operator: &Operator,
    id: JobId,
    only_log: bool,
    refused: Option<Refusal>,
) -> Result<Option<JobPage>, StoreError> {
    let Some(job) = read.job(id)? else { return Ok(None) };
    let now = web.store().now();
    let host = job.host().map(|id| read.host(id)).transpose()?.flatten();
    let last = job.host().map(|host| read.last_succeeded(host, id)).transpose()?.flatten();
    let mut told = sources(read, &job, host.as_ref())?;
    if only_log {
        (told.events, told.boot) = (Vec::new(), Vec::new());
    }
    let open = !job.status.is_terminal();
    let (named, about) = match &job.work {
        Work::Rebuild(rebuild) => {
            let mut about = vec![("Image", rebuild.image.to_string())];
            if rebuild.replace_node {
                about.push(("Dead node", "of the same name may be removed".to_owned()));
            }
            (Some((rebuild.host.to_string(), rebuild.hostname.to_string())), about)
        }
        Work::ImportImage(import) => {
            let mut about = vec![("Source", import.source.clone())];
            about.extend(import.expected_sha256.clone().map(|sha| ("Expected SHA-256", sha)));
            about.extend(import.image.as_ref().map(|image| ("Image", image.to_string())));
            (None, about)
        }
        Work::Guest(work) => (None, vec![("Guest", work.name.to_string())]),
        Work::Node(work) => (None, vec![("Address", work.address.to_string())]),
        Work::Catalog(work) => (None, vec![("Source", work.source.clone())]),
    };
    let frame = Frame::new(web, read, operator, "jobs", job_title(&job))?;
    let steps = job.steps.iter();
    Ok(Some(JobPage {
        frame: Frame { reload_secs: if open { 10 } else { 0 }, ..frame },
        id: id.to_string(),
        title: job_title(&job),
        label: job_label(job.status),
        tone: job_tone(job.status),
        created: When::new(job.created, now),
        took: Span::new(job.started, job.finished, now),
        last_took: last
            .as_ref()
            .and_then(|l| Some(duration(l.finished?.since(l.started?))))
            .unwrap_or_default(),
        host: named,
        host_exists: host.is_some(),
        about,
        failure: job.failure.clone(),
        steps: steps.map(|s| StepRow::new(s, last.as_ref(), now)).collect(),
        progress: if open { progress(read, id)? } else { None },
        lines: story(&told, job.created, job.finished, STORY_LINES),
        only_log,
        open,
        stopping: open && job.cancel_requested,
        may_retry: matches!(job.status, JobStatus::Failed | JobStatus::Cancelled),
        refused,
    }))
}

async fn answer(
    web: &WebState,
    operator: Operator,
    id: JobId,
    only_log: bool,
    refused: Option<Refusal>,
) -> Page {
    let status = refused.as_ref().map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let page = web
        .store()
        .read(move |read| job_page(&state, read, &operator, id, only_log, refused))
        .await?
        .ok_or_else(|| missing("job"))?;
    Ok(render_with(status, &page))
}

fn parse(id: &str) -> Result<JobId, PageProblem> {
    id.parse().map_err(|_| missing("job").into())
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
    operator: Operator,
) -> Page {
    answer(&web, operator, parse(&id)?, query.view == "log", None).await
}

pub(crate) async fn cancel(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let id = parse(&id)?;
    match web.operations().cancel(id).await {
        Ok(()) => Ok(Redirect::to(&format!("/jobs/{id}")).into_response()),
        Err(refusal) => answer(&web, operator, id, false, Some(refusal)).await,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct RetryForm {
    confirm: String,
}

pub(crate) async fn retry(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<RetryForm>,
) -> Page {
    let id = parse(&id)?;
    match web.operations().retry(id, form.confirm.trim().to_owned()).await {
        Ok(next) => Ok(Redirect::to(&format!("/jobs/{next}")).into_response()),
        Err(refusal) => answer(&web, operator, id, false, Some(refusal)).await,
    }
}
