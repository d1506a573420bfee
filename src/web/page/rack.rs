//! All machines at a glance: one small cell each, in the order in which they stand, with a sign and a colour for the state.

use askama::Template;
use axum::extract::{Path, Query, State};

use super::{Frame, Page, missing, problems, render};
use crate::domain::host::{Host, HostState};
use crate::domain::id::HostId;
use crate::plan::fleet::{Asked, Filter, States};
use crate::plan::rack;
use crate::store::{HostReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::PageProblem;
use crate::web::view::{state_label, state_tone};

/// A state's sign: told apart without colours.
fn sign(state: HostState) -> &'static str {
    match state {
        HostState::Registered => "○",
        HostState::PxeReady => "◔",
        HostState::PxeBooted => "◑",
        HostState::Installing => "◕",
        HostState::Installed => "◉",
        HostState::FirstBoot => "▷",
        HostState::Joining => "▶",
        HostState::Ready => "✓",
        HostState::Failed => "✕",
    }
}

/// One machine.
struct Cell {
    id: String,
    label: String,
    hostname: String,
    sign: &'static str,
    state: &'static str,
    word: &'static str,
    tone: &'static str,
}

impl Cell {
    fn new(label: &str, host: &Host) -> Self {
        Self {
            id: host.id.to_string(),
            label: label.to_owned(),
            hostname: host.hostname.to_string(),
            sign: sign(host.state),
            state: host.state.as_str(),
            word: state_label(host.state),
            tone: state_tone(host.state),
        }
    }
}

/// Machines that stand together.
struct Row {
    name: String,
    cells: Vec<Cell>,
}

/// One state of the legend.
struct Key {
    href: String,
    sign: &'static str,
    word: &'static str,
    tone: &'static str,
    count: usize,
    is_current: bool,
}

struct Legend {
    keys: Vec<Key>,
    all: usize,
    all_href: String,
    source: String,
    is_all: bool,
}

impl Legend {
    fn new(filter: &Filter, wanted: &[&Host]) -> Self {
        let address = |states| {
            let query = filter.with(states).query();
            if query.is_empty() { "/rack".to_owned() } else { format!("/rack?{query}") }
        };
        let key = |state: HostState| Key {
            href: address(States::One(state)),
            sign: sign(state),
            word: state_label(state),
            tone: state_tone(state),
            count: wanted.iter().filter(|host| host.state == state).count(),
            is_current: filter.states == States::One(state),
        };
        Self {
            keys: HostState::ALL.into_iter().map(key).collect(),
            all: wanted.len(),
            all_href: address(States::All),
            source: format!("/fragments/legend?{}", filter.query()),
            is_all: filter.states == States::All,
        }
    }
}

#[derive(Template)]
#[template(path = "rack.html")]
struct RackPage {
    frame: Frame,
    filter: Filter,
    legend: Legend,
    rows: Vec<Row>,
    /// Registered hosts, whatever the filter wants.
    all: usize,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Query(asked): Query<Asked>,
    operator: Operator,
) -> Page {
    let filter = Filter::parse(&asked).map_err(PageProblem)?;
    let state = web.clone();
    let page = web.store().read(move |read| {
        let (hosts, problems) = (read.hosts()?, problems(&state, read)?);
        let wanted = filter.wanted_in_any_state(&hosts, &problems);
        let shown: Vec<&Host> =
            wanted.iter().copied().filter(|h| filter.states.admit(h.state)).collect();
        let row = |row: rack::Row<'_>| Row {
            cells: row.hosts.iter().map(|(label, host)| Cell::new(label, host)).collect(),
            name: row.name,
        };
        Ok::<_, StoreError>(RackPage {
            frame: Frame {
                reload_secs: 15,
                ..Frame::new(&state, read, &operator, "hosts", "Hosts at a glance")?
            },
            legend: Legend::new(&filter, &wanted),
            rows: rack::rows(&shown).into_iter().map(row).collect(),
            all: hosts.len(),
            filter,
        })
    });
    render(&page.await?)
}

#[derive(Template)]
#[template(path = "fragment/legend.html")]
struct LegendFragment {
    legend: Legend,
}

/// The legend with its counts, alone.
pub(crate) async fn legend(
    State(web): State<WebState>,
    Query(asked): Query<Asked>,
    _: Operator,
) -> Page {
    let filter = Filter::parse(&asked).map_err(PageProblem)?;
    let state = web.clone();
    let legend = web.store().read(move |read| {
        let (hosts, problems) = (read.hosts()?, problems(&state, read)?);
        let wanted = filter.wanted_in_any_state(&hosts, &problems);
        Ok::<_, StoreError>(Legend::new(&filter, &wanted))
    });
    render(&LegendFragment { legend: legend.await? })
}

#[derive(Template)]
#[template(path = "fragment/cell.html")]
struct CellFragment {
    cell: Cell,
}

/// One machine, alone. Its label inside of its row is that of its name: a row is not put together again for it.
pub(crate) async fn cell(
    State(web): State<WebState>,
    Path((id, label)): Path<(String, String)>,
    _: Operator,
) -> Page {
    let id: HostId = id.parse().map_err(|_| PageProblem(missing("host")))?;
    let found = web.store().read(move |read| read.host(id)).await?;
    let host = found.ok_or_else(|| missing("host"))?;
    let name = host.hostname.as_str();
    let (_, number) = rack::split(name);
    // Whatever else was asked for: the name.
    let label = if label == number { number } else { name };
    render(&CellFragment { cell: Cell::new(label, &host) })
}
