//! The host grid.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::host_view::JobRow;
use super::{Frame, Page, missing, render};
use crate::domain::host::{Host, HostState};
use crate::domain::id::{HostId, JobId};
use crate::domain::job::{Job, StepStatus};
use crate::domain::time::Timestamp;
use crate::limits::operator::HOSTS_ON_A_PAGE;
use crate::store::{
    GuestReads as _, HostReads as _, ImageReads as _, JobReads as _, SightingReads as _, Snapshot,
    StoreError,
};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::PageProblem;
use crate::web::view::{When, state_label, state_tone};

/// Jobs below the grid.
const RECENT_JOBS: usize = 5;

/// One host in the grid.
pub(super) struct Tile {
    id: String,
    hostname: String,
    state: &'static str,
    label: &'static str,
    tone: &'static str,
    since: When,
    server_type: String,
    address: String,
    /// What the running job does, or why it failed.
    line: String,
    /// Steps done and all steps of the running job.
    done: usize,
    steps: usize,
}

impl Tile {
    fn new(host: &Host, job: Option<&Job>, now: Timestamp) -> Self {
        let running = |job: &Job| {
            let running = job.steps.iter().find(|s| s.status == StepStatus::Running);
            running.map(|s| s.title.clone()).unwrap_or_default()
        };
        let over = |s: &StepStatus| matches!(s, StepStatus::Succeeded | StepStatus::Skipped);
        let line = match &host.failure {
            Some(failure) => failure.reason.clone(),
            None => job.map(running).unwrap_or_default(),
        };
        Self {
            id: host.id.to_string(),
            hostname: host.hostname.to_string(),
            state: host.state.as_str(),
            label: state_label(host.state),
            tone: state_tone(host.state),
            since: When::new(host.state_since, now),
            server_type: host.server_type.to_string(),
            address: host.address.map(|a| a.to_string()).unwrap_or_default(),
            line,
            done: job.map_or(0, |j| j.steps.iter().filter(|s| over(&s.status)).count()),
            steps: job.map_or(0, |j| j.steps.len()),
        }
    }
}

/// How many hosts there are of each family.
pub(super) struct Counts {
    show: &'static str,
    all: usize,
    ready: usize,
    busy: usize,
    failed: usize,
    registered: usize,
}

impl Counts {
    fn new(hosts: &[Host], show: &'static str) -> Self {
        let of = |tone| hosts.iter().filter(|h| state_tone(h.state) == tone).count();
        Self {
            show,
            all: hosts.len(),
            ready: of("good"),
            busy: of("busy"),
            failed: of("bad"),
            registered: of("idle"),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct GridQuery {
    show: String,
    /// Which part of the grid, from 1 on; anything else is the first.
    page: String,
}

/// Which of the hosts are on a page.
struct Part {
    page: usize,
    pages: usize,
    /// Numbers of the first and the last host, from 1 on.
    first: usize,
    last: usize,
    all: usize,
}

impl Part {
    /// The part that was asked for, or the nearest that exists.
    fn new(asked: &str, all: usize) -> Self {
        let pages = all.div_ceil(HOSTS_ON_A_PAGE).max(1);
        let page = asked.parse().unwrap_or(1).clamp(1, pages);
        let before = (page - 1) * HOSTS_ON_A_PAGE;
        Self { page, pages, first: before + 1, last: (before + HOSTS_ON_A_PAGE).min(all), all }
    }
}

/// The filter, when it is one that exists.
fn filter(query: &GridQuery) -> (&'static str, fn(HostState) -> bool) {
    match query.show.as_str() {
        "ready" => ("ready", |s| state_tone(s) == "good"),
        "busy" => ("busy", |s| state_tone(s) == "busy"),
        "failed" => ("failed", |s| state_tone(s) == "bad"),
        "registered" => ("registered", |s| state_tone(s) == "idle"),
        _ => ("", |_| true),
    }
}

struct Waiting {
    mac: String,
    what: String,
    passed: String,
}

#[derive(Template)]
#[template(path = "hosts.html")]
struct GridPage {
    frame: Frame,
    counts: Counts,
    tiles: Vec<Tile>,
    part: Part,
    waiting: Vec<Waiting>,
    more_waiting: usize,
    has_image: bool,
    type_errors: Vec<String>,
    /// How many guests there are; absent when apps are switched off.
    guests: Option<super::guests::Counts>,
    recent: Vec<JobRow>,
}

pub(crate) async fn grid(
    State(web): State<WebState>,
    Query(query): Query<GridQuery>,
    operator: Operator,
) -> Page {
    let state = web.clone();
    let page = web.store().read(move |read| grid_page(&state, read, &operator, &query)).await;
    render(&page?)
}

fn grid_page(
    web: &WebState,
    read: &Snapshot,
    operator: &Operator,
    query: &GridQuery,
) -> Result<GridPage, StoreError> {
    let now = web.store().now();
    let hosts = read.hosts()?;
    let jobs: HashMap<JobId, Job> = read.active_jobs()?.into_iter().map(|j| (j.id, j)).collect();
    let (show, wanted) = filter(query);
    let shown: Vec<&Host> = hosts.iter().filter(|h| wanted(h.state)).collect();
    let part = Part::new(&query.page, shown.len());
    let tiles = shown
        .iter()
        .skip(part.first - 1)
        .take(HOSTS_ON_A_PAGE)
        .map(|h| Tile::new(h, h.active_job.and_then(|id| jobs.get(&id)), now))
        .collect();
    let sightings: Vec<_> = read.sightings()?.into_iter().filter(|s| !s.ignored).collect();
    let waiting = sightings.iter().take(3).map(|s| Waiting {
        mac: s.mac.to_string(),
        what: super::sighting::describe(s),
        passed: When::new(s.last_seen, now).passed,
    });
    Ok(GridPage {
        frame: Frame { reload_secs: 15, ..Frame::new(web, read, operator, "hosts", "Hosts")? },
        counts: Counts::new(&hosts, show),
        tiles,
        part,
        waiting: waiting.collect(),
        more_waiting: sightings.len().saturating_sub(3),
        has_image: !read.images()?.is_empty(),
        type_errors: web.types().errors.clone(),
        guests: match web.guests() {
            Ok(_) => Some(super::guests::Counts::new(&read.guests()?)),
            Err(_) => None,
        },
        recent: read.jobs(None, RECENT_JOBS)?.iter().map(|j| JobRow::new(j, now)).collect(),
    })
}

#[derive(Template)]
#[template(path = "fragment/tile.html")]
struct TileFragment {
    tile: Tile,
}

pub(crate) async fn tile(State(web): State<WebState>, Path(id): Path<String>, _: Operator) -> Page {
    let id: HostId = id.parse().map_err(|_| PageProblem(missing("host")))?;
    let now = web.store().now();
    let found = web
        .store()
        .read(move |read| {
            let Some(host) = read.host(id)? else { return Ok(None) };
            let job = host.active_job.map(|job| read.job(job)).transpose()?.flatten();
            Ok::<_, StoreError>(Some(Tile::new(&host, job.as_ref(), now)))
        })
        .await?;
    render(&TileFragment { tile: found.ok_or_else(|| missing("host"))? })
}

#[derive(Template)]
#[template(path = "fragment/counts.html")]
struct CountsFragment {
    counts: Counts,
}

pub(crate) async fn counts(
    State(web): State<WebState>,
    Query(query): Query<GridQuery>,
    _: Operator,
) -> Page {
    let hosts = web.store().read(|read| read.hosts()).await?;
    render(&CountsFragment { counts: Counts::new(&hosts, filter(&query).0) })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_page_that_does_not_exist_is_the_nearest_one() {
        let seen = |asked: &str, all| {
            let part = Part::new(asked, all);
            (part.page, part.pages, part.first, part.last)
        };
        assert_eq!(seen("", 0), (1, 1, 1, 0));
        assert_eq!(seen("", 3), (1, 1, 1, 3));
        assert_eq!(seen("2", 1000), (2, 5, 201, 400));
        assert_eq!(seen("5", 999), (5, 5, 801, 999));
        assert_eq!(seen("99", 999), (5, 5, 801, 999));
        assert_eq!(seen("0", 999), (1, 5, 1, 200));
        assert_eq!(seen("-1", 999), (1, 5, 1, 200));
        assert_eq!(seen("x", 999), (1, 5, 1, 200));
    }
}
