//! Jobs: the list, and one job's steps with its whole story.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::guest_view::{OutputRow, sealed_keys};
use super::host_view::{JobRow, RUN_EVENTS, boot_log};
use super::{Frame, Page, missing, render, render_with};
use crate::domain::event::EventKind;
use crate::domain::host::{Failure, Host};
use crate::domain::id::{JobId, StepId};
use crate::domain::job::{GuestTask, Job, JobStatus, Step, StepStatus, Work};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::plan;
use crate::plan::power::{Prompt, prompt};
use crate::store::{
    EventReads as _, GuestReads as _, HostReads as _, JobReads as _, Snapshot, StoreError,
};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::PageProblem;
use crate::web::view::story::{Line, Sources, story};
use crate::web::view::{Span, When, duration, job_label, job_title, job_tone, step_label};

/// Jobs on one page of the list.
const PER_PAGE: usize = 50;
/// Lines of a job's page: a page of some hundred KiB.
const STORY_LINES: usize = 1500;

/// Jobs looked through for one page of a filtered list.
const MOST_SCANNED: usize = 5000;
/// Jobs read at once while looking for those that fit.
const BATCH: usize = 250;

/// Which jobs are wanted; empty parts want all. The same for page and API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobFilter {
    kind: String,
    status: String,
    q: String,
}

/// Statuses by which jobs are filtered.
const STATUSES: [(&str, JobStatus); 5] = [
    ("pending", JobStatus::Pending),
    ("running", JobStatus::Running),
    ("succeeded", JobStatus::Succeeded),
    ("failed", JobStatus::Failed),
    ("cancelled", JobStatus::Cancelled),
];

/// Kinds by which jobs are filtered.
const KINDS: [&str; 16] = [
    "rebuild",
    "bulk_rebuild",
    "import_image",
    "install",
    "uninstall",
    "reconfigure",
    "upgrade",
    "return",
    "power",
    "backup",
    "restore",
    "adopt",
    "publish",
    "enroll_node",
    "revoke_node",
    "refresh_catalog",
];

impl JobFilter {
    fn wants(&self, job: &Job) -> bool {
        let status = STATUSES.iter().find(|(name, _)| *name == self.status);
        (self.kind.is_empty() || job.kind() == self.kind)
            && status.is_none_or(|(_, status)| job.status == *status)
            && (self.q.trim().is_empty() || {
                let reason = job.failure.as_ref().map_or("", |f| f.reason.as_str());
                let text = format!("{} {} {reason}", job_title(job), job.id).to_lowercase();
                self.q.to_lowercase().split_whitespace().all(|word| text.contains(word))
            })
    }

    fn is_narrow(&self) -> bool {
        !(self.kind.is_empty() && self.status.is_empty() && self.q.trim().is_empty())
    }

    /// At most `limit` jobs that fit, newest first, and where to go on when there may be more.
    pub(crate) fn page(
        &self,
        read: &Snapshot,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<Job>, Option<JobId>), StoreError> {
        let mut found = Vec::new();
        let (mut at, mut scanned) = (before, 0);
        loop {
            let batch = read.jobs(at, BATCH)?;
            let complete = batch.len() < BATCH;
            scanned += batch.len();
            for job in batch {
                at = Some(job.id);
                if self.wants(&job) {
                    found.push(job);
                    if found.len() == limit {
                        return Ok((found, at));
                    }
                }
            }
            if complete {
                return Ok((found, None));
            }
            if scanned >= MOST_SCANNED {
                return Ok((found, at));
            }
        }
    }
}

/// Work that waits or runs.
struct Queue {
    running: Vec<JobRow>,
    waiting: Vec<JobRow>,
    /// Work on guests at a time; 0 when apps are switched off.
    at_once: usize,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    filter: JobFilter,
    narrow: bool,
    kinds: &'static [&'static str],
    statuses: Vec<(&'static str, &'static str)>,
    queue: Queue,
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
    Query(filter): Query<JobFilter>,
    operator: Operator,
) -> Page {
    let before: Option<JobId> = query.before.parse().ok();
    let at_once = web.guests().map_or(0, |guests| guests.site().jobs_at_once);
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let (jobs, older) = filter.page(read, before, PER_PAGE)?;
        let active = read.active_jobs()?;
        let rows = |status| {
            let wanted = active.iter().filter(move |j| j.status == status);
            wanted.map(|j| JobRow::new(j, now)).collect::<Vec<_>>()
        };
        let queue =
            Queue { running: rows(JobStatus::Running), waiting: rows(JobStatus::Pending), at_once };
        Ok::<_, StoreError>(JobsPage {
            frame: Frame {
                reload_secs: if before.is_none() { 15 } else { 0 },
                ..Frame::new(&state, read, &operator, "jobs", "Jobs")?
            },
            narrow: filter.is_narrow() || before.is_some(),
            filter,
            kinds: &KINDS,
            statuses: STATUSES.iter().map(|(name, s)| (*name, job_label(*s))).collect(),
            queue,
            jobs: jobs.iter().map(|j| JobRow::new(j, now)).collect(),
            older: older.map(|id| id.to_string()),
        })
    });
    render(&page.await?)
}

struct StepRow {
    title: String,
    /// The job that it stands for.
    job: Option<String>,
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
            job: None,
            label,
            tone,
            detail: step.detail.clone(),
            attempts: step.attempts,
            took: if shown { Span::new(step.started, step.finished, now) } else { Span::default() },
            last: last.map(duration).unwrap_or_default(),
        }
    }
}

/// Steps that stand for rebuilds of their own lead there.
fn step_rows(job: &Job, last: Option<&Job>, now: Timestamp) -> Vec<StepRow> {
    let mut rows: Vec<StepRow> = job.steps.iter().map(|s| StepRow::new(s, last, now)).collect();
    if let Work::BulkRebuild(bulk) = &job.work {
        let of: HashMap<StepId, Option<JobId>> =
            bulk.hosts.iter().map(|r| (plan::bulk::step_of(r.host), r.job)).collect();
        for (row, step) in rows.iter_mut().zip(&job.steps) {
            match step.status {
                StepStatus::Pending => row.label = "waits for its turn",
                StepStatus::Succeeded => row.label = "ready",
                StepStatus::Skipped => row.label = "left out",
                StepStatus::Running | StepStatus::Failed => {}
            }
            row.job = of.get(&step.id).copied().flatten().map(|id| id.to_string());
        }
    }
    rows
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
    prompt: Option<Prompt>,
    /// Guest's id and name, when the job is about one.
    guest: Option<(String, String)>,
    guest_exists: bool,
    /// What the guest gives, once its installation succeeded.
    outputs: Vec<OutputRow>,
    find: String,
    about: Vec<(&'static str, String)>,
    /// The rebuild of many hosts that it is part of.
    list: Option<String>,
    /// Each step is a host that waits for its turn.
    is_list: bool,
    failure: Option<Failure>,
    steps: Vec<StepRow>,
    progress: Option<Progress>,
    lines: Vec<Line>,
    only_log: bool,
    open: bool,
    stopping: bool,
    may_retry: bool,
    /// What another try destroys or changes for good; the guest's name is typed then.
    retry_warning: &'static str,
    refused: Option<Refusal>,
}

/// What has to be confirmed before a guest's work is done again; empty: nothing.
fn retry_warning(work: &Work) -> &'static str {
    let Work::Guest(work) = work else { return "" };
    match work.task {
        GuestTask::Uninstall { .. } => "Its container is destroyed.",
        GuestTask::Restore { .. } => "What is in it is replaced by the backup.",
        GuestTask::Adopt => "It moves into Ironhatch's pool and gets its tag.",
        _ => "",
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ShowQuery {
    view: String,
    /// Lines without these words are left out.
    find: String,
}

/// What is shown of a job's story.
#[derive(Default)]
struct Shown {
    only_log: bool,
    find: String,
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
    shown: Shown,
    refused: Option<Refusal>,
) -> Result<Option<JobPage>, StoreError> {
    let Some(job) = read.job(id)? else { return Ok(None) };
    let now = web.store().now();
    let host = job.host().map(|id| read.host(id)).transpose()?.flatten();
    let last = job.host().map(|host| read.last_succeeded(host, id)).transpose()?.flatten();
    let mut told = sources(read, &job, host.as_ref())?;
    let Shown { only_log, find } = shown;
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
        Work::Guest(_) => (None, Vec::new()),
        Work::Node(work) => (None, vec![("Address", work.address.to_string())]),
        Work::Catalog(work) => (None, vec![("Source", work.source.clone())]),
        Work::BulkRebuild(bulk) => {
            let mut about = vec![
                ("Image", bulk.image.to_string()),
                ("At a time", bulk.at_once.to_string()),
                ("Stops after failures", bulk.stop_after.to_string()),
            ];
            if bulk.replace_node {
                about.push(("Dead nodes", "of the same names may be removed".to_owned()));
            }
            (None, about)
        }
    };
    let list = match &job.work {
        Work::Rebuild(rebuild) => rebuild.part_of.map(|id| id.to_string()),
        _ => None,
    };
    let is_list = matches!(job.work, Work::BulkRebuild(_));
    let guest = job.guest().map(|id| read.guest(id)).transpose()?.flatten();
    let guest_named = match &job.work {
        Work::Guest(work) => Some((work.guest.to_string(), work.name.to_string())),
        _ => None,
    };
    let gives = job.status == JobStatus::Succeeded && job.kind() == "install";
    let outputs = match guest.as_ref().filter(|_| gives) {
        Some(guest) => {
            let sealed = sealed_keys(read, guest.id)?;
            guest.outputs.iter().map(|o| OutputRow::new(o, &sealed)).collect()
        }
        None => Vec::new(),
    };
    let mut lines = story(&told, job.created, job.finished, STORY_LINES);
    let wanted = find.to_lowercase();
    lines.retain(|line| line.text.to_lowercase().contains(wanted.trim()));
    let frame = Frame::new(web, read, operator, "jobs", job_title(&job))?;
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
        prompt: host.as_ref().and_then(|host| prompt(host, &job)),
        guest: guest_named,
        guest_exists: guest.is_some(),
        outputs,
        find,
        about,
        list,
        is_list,
        failure: job.failure.clone(),
        steps: step_rows(&job, last.as_ref(), now),
        progress: if open { progress(read, id)? } else { None },
        lines,
        only_log,
        open,
        stopping: open && job.cancel_requested,
        retry_warning: retry_warning(&job.work),
        may_retry: matches!(job.status, JobStatus::Failed | JobStatus::Cancelled) && !is_list,
        refused,
    }))
}

async fn answer(
    web: &WebState,
    operator: Operator,
    id: JobId,
    shown: Shown,
    refused: Option<Refusal>,
) -> Page {
    let status = refused.as_ref().map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let page = web
        .store()
        .read(move |read| job_page(&state, read, &operator, id, shown, refused))
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
    let shown = Shown { only_log: query.view == "log", find: query.find };
    answer(&web, operator, parse(&id)?, shown, None).await
}

/// A job's whole log as a file.
pub(crate) async fn log_file(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Page {
    let id = parse(&id)?;
    let found: Result<_, StoreError> = web
        .store()
        .read(move |read| {
            let Some(job) = read.job(id)? else { return Ok(None) };
            Ok(Some(read.job_log(job.id, 0, usize::MAX)?))
        })
        .await;
    let lines = found?.ok_or_else(|| missing("job"))?;
    let mut text = String::new();
    for line in &lines {
        let level = match line.level {
            crate::domain::event::Level::Info => "",
            crate::domain::event::Level::Warn => "warning: ",
            crate::domain::event::Level::Error => "error: ",
        };
        let step = line.step.as_ref().map(|s| format!("[{s}] ")).unwrap_or_default();
        text.push_str(&format!("{} {step}{level}{}\n", line.at, line.message));
    }
    let name = format!("attachment; filename=\"job-{id}.txt\"");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, text).into_response())
}

pub(crate) async fn cancel(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let id = parse(&id)?;
    match web.operations().cancel(id).await {
        Ok(()) => Ok(Redirect::to(&format!("/jobs/{id}")).into_response()),
        Err(refusal) => answer(&web, operator, id, Shown::default(), Some(refusal)).await,
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
        Err(refusal) => answer(&web, operator, id, Shown::default(), Some(refusal)).await,
    }
}
