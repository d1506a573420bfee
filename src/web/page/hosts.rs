//! The host grid.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::host_view::JobRow;
use super::{Frame, Page, missing, render};
use crate::domain::host::{Host, HostState};
use crate::domain::id::{HostId, JobId, ServerTypeName};
use crate::domain::job::{Job, StepStatus};
use crate::domain::node::EnrolledNode;
use crate::domain::time::Timestamp;
use crate::limits::operator::HOSTS_ON_A_PAGE;
use crate::plan::fleet::{Asked, Filter, Problems, States};
use crate::store::{
    GuestReads as _, HostReads as _, ImageReads as _, JobReads as _, NodeReads as _,
    SightingReads as _, Snapshot, StoreError,
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
    fn new(host: &Host, job: Option<&Job>, problems: &Problems, now: Timestamp) -> Self {
        let running = |job: &Job| {
            let running = job.steps.iter().find(|s| s.status == StepStatus::Running);
            running.map(|s| s.title.clone()).unwrap_or_default()
        };
        let over = |s: &StepStatus| matches!(s, StepStatus::Succeeded | StepStatus::Skipped);
        let line = match (problems.of(host), job) {
            (None, Some(job)) => running(job),
            (problem, _) => problem.unwrap_or_default(),
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

/// A link to the hosts in some states, with how many there are.
struct Chip {
    href: String,
    count: usize,
    label: &'static str,
    tone: &'static str,
    is_current: bool,
}

/// What stands above the grid and follows the events: how many hosts there are in each state, which of them are shown, and
/// whether the list is still that of the page. The grid itself keeps its order: a host that comes or goes is announced.
pub(super) struct Fleet {
    /// Of the hosts that the filter wants in any state.
    families: Vec<Chip>,
    stages: Vec<Chip>,
    /// Registered hosts, whatever the filter wants.
    all: usize,
    part: Part,
    /// Address of this part alone.
    source: String,
    /// Address of the page as it is now.
    here: String,
    has_changed: bool,
}

/// The states in which a rebuild runs, in their order.
fn stages() -> impl Iterator<Item = HostState> {
    HostState::ALL.into_iter().filter(|state| state.is_busy())
}

impl Fleet {
    /// Returns also the hosts of the page.
    fn new<'a>(
        hosts: &'a [Host],
        filter: &Filter,
        problems: &Problems,
        query: &GridQuery,
    ) -> (Self, Vec<&'a Host>) {
        let wanted = filter.wanted_in_any_state(hosts, problems);
        let chip = |states: States, label, tone| {
            let search = filter.with(states).query();
            Chip {
                href: if search.is_empty() { "/".to_owned() } else { format!("/?{search}") },
                count: wanted.iter().filter(|h| states.admit(h.state)).count(),
                label,
                tone,
                is_current: filter.states == states,
            }
        };
        let families = vec![
            chip(States::All, "all", ""),
            chip(States::Busy, "in progress", "busy"),
            chip(States::One(HostState::Ready), "ready", "good"),
            chip(States::One(HostState::Failed), "failed", "bad"),
            chip(States::One(HostState::Registered), "registered", "idle"),
        ];
        let stages =
            stages().map(|state| chip(States::One(state), state_label(state), "")).collect();
        let shown: Vec<&Host> =
            wanted.iter().copied().filter(|h| filter.states.admit(h.state)).collect();
        let part = Part::new(&query.page, shown.len());
        let page: Vec<&Host> =
            shown.into_iter().skip(part.first - 1).take(HOSTS_ON_A_PAGE).collect();
        let now = fingerprint(&page);
        // What the page shows stays what it is, however often this part is drawn anew.
        let is_known = !query.seen.is_empty() && query.seen.bytes().all(|b| b.is_ascii_hexdigit());
        let seen = if is_known { query.seen.clone() } else { now.clone() };
        let number = part.page.to_string();
        let mut search = filter.query();
        let with = |search: &str, name: &str, value: &str| {
            let sign = if search.is_empty() { "" } else { "&" };
            format!("{search}{sign}{name}={value}")
        };
        if part.page > 1 {
            search = with(&search, "page", &number);
        }
        let fleet = Self {
            families,
            stages,
            all: hosts.len(),
            source: format!("/fragments/fleet?{}", with(&search, "seen", &seen)),
            here: format!("/?{search}"),
            has_changed: seen != now,
            part,
        };
        (fleet, page)
    }
}

/// A short text that is another one when other hosts are on a page, or the same in another order.
fn fingerprint(hosts: &[&Host]) -> String {
    let mut hash = Sha256::new();
    for host in hosts {
        hash.update(host.id.0.as_bytes());
    }
    hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct GridQuery {
    /// Which part of the grid, from 1 on; anything else is the first.
    page: String,
    /// The fingerprint of the hosts that the page shows.
    seen: String,
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

/// What can be wrong with hosts beyond their own records.
pub(crate) fn problems(web: &WebState, read: &Snapshot) -> Result<Problems, StoreError> {
    let broken = |node: EnrolledNode| Some((node.host?, node.problem));
    let nodes = read.enrolled_nodes()?.into_iter().filter(|node| !node.problem.is_empty());
    Ok(Problems {
        types: web.types().types.iter().map(|t| t.name.clone()).collect(),
        nodes: nodes.filter_map(broken).collect(),
    })
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
    fleet: Fleet,
    filter: Filter,
    /// Server types to choose from, also those of hosts whose file went away.
    types: Vec<String>,
    tiles: Vec<Tile>,
    waiting: Vec<Waiting>,
    more_waiting: usize,
    has_image: bool,
    has_type: bool,
    type_errors: Vec<String>,
    /// How many guests there are; absent when apps are switched off.
    guests: Option<super::guests::Counts>,
    recent: Vec<JobRow>,
}

impl GridPage {
    fn is_chosen(&self, server_type: &str) -> bool {
        self.filter.server_type.as_ref().is_some_and(|chosen| chosen.as_str() == server_type)
    }

    /// The address of another part of the list.
    fn part(&self, page: usize) -> String {
        let search = self.filter.query();
        let sign = if search.is_empty() { "" } else { "&" };
        format!("/?{search}{sign}page={page}")
    }
}

pub(crate) async fn grid(
    State(web): State<WebState>,
    Query(asked): Query<Asked>,
    Query(query): Query<GridQuery>,
    operator: Operator,
) -> Page {
    let filter = Filter::parse(&asked).map_err(PageProblem)?;
    let state = web.clone();
    let page =
        web.store().read(move |read| grid_page(&state, read, &operator, filter, &query)).await;
    render(&page?)
}

fn grid_page(
    web: &WebState,
    read: &Snapshot,
    operator: &Operator,
    filter: Filter,
    query: &GridQuery,
) -> Result<GridPage, StoreError> {
    let now = web.store().now();
    let hosts = read.hosts()?;
    let jobs: HashMap<JobId, Job> = read.active_jobs()?.into_iter().map(|j| (j.id, j)).collect();
    let problems = problems(web, read)?;
    let (fleet, shown) = Fleet::new(&hosts, &filter, &problems, query);
    let tiles = shown
        .iter()
        .map(|h| Tile::new(h, h.active_job.and_then(|id| jobs.get(&id)), &problems, now))
        .collect();
    let sightings: Vec<_> = read.sightings()?.into_iter().filter(|s| !s.ignored).collect();
    let waiting = sightings.iter().take(3).map(|s| Waiting {
        mac: s.mac.to_string(),
        what: super::sighting::describe(s),
        passed: When::new(s.last_seen, now).passed,
    });
    let types: BTreeSet<&ServerTypeName> =
        problems.types.iter().chain(hosts.iter().map(|h| &h.server_type)).collect();
    Ok(GridPage {
        frame: Frame { reload_secs: 15, ..Frame::new(web, read, operator, "hosts", "Hosts")? },
        types: types.into_iter().map(ToString::to_string).collect(),
        fleet,
        filter,
        tiles,
        waiting: waiting.collect(),
        more_waiting: sightings.len().saturating_sub(3),
        has_image: !read.images()?.is_empty(),
        has_type: !web.types().types.is_empty(),
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
    let state = web.clone();
    let found = web
        .store()
        .read(move |read| {
            let Some(host) = read.host(id)? else { return Ok(None) };
            let job = host.active_job.map(|job| read.job(job)).transpose()?.flatten();
            let problems = problems(&state, read)?;
            Ok::<_, StoreError>(Some(Tile::new(&host, job.as_ref(), &problems, now)))
        })
        .await?;
    render(&TileFragment { tile: found.ok_or_else(|| missing("host"))? })
}

#[derive(Template)]
#[template(path = "fragment/fleet.html")]
struct FleetFragment {
    fleet: Fleet,
}

/// What stands above the grid, alone.
pub(crate) async fn fleet(
    State(web): State<WebState>,
    Query(asked): Query<Asked>,
    Query(query): Query<GridQuery>,
    _: Operator,
) -> Page {
    let filter = Filter::parse(&asked).map_err(PageProblem)?;
    let state = web.clone();
    let fleet = web.store().read(move |read| {
        let problems = problems(&state, read)?;
        Ok::<_, StoreError>(Fleet::new(&read.hosts()?, &filter, &problems, &query).0)
    });
    render(&FleetFragment { fleet: fleet.await? })
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
