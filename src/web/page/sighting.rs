//! Machines that were heard and are not registered.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::{Frame, Page, missing, render};
use crate::domain::mac::Mac;
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;
use crate::store::{SightingReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::boot::Boots;
use crate::web::view::When;
use crate::web::view::boot::{BootView, VerdictView};

/// Machines whose verdict is on the list; that of the others is on their own page.
const JUDGED: usize = 50;

struct Row {
    at: Mac,
    mac: String,
    what: String,
    facts: Vec<(&'static str, String)>,
    first: When,
    last: When,
    times: u64,
    ignored: bool,
    verdict: Option<VerdictView>,
}

/// A machine in a few words: vendor and product when it told them.
pub(super) fn describe(sighting: &Sighting) -> String {
    let seen = &sighting.inventory;
    let words: Vec<&str> =
        [seen.vendor.as_deref(), seen.product.as_deref()].into_iter().flatten().collect();
    if words.is_empty() { "Unknown machine".to_owned() } else { words.join(" ") }
}

impl Row {
    fn new(sighting: &Sighting, now: Timestamp) -> Self {
        let mut facts = super::host_view::facts(
            &sighting.inventory,
            sighting.architecture.as_deref(),
            sighting.address,
        );
        if sighting.by_hand {
            let told = "its host was deleted, so no rule registers it again; an operator does";
            facts.push(("Rules", told.to_owned()));
        }
        Self {
            at: sighting.mac,
            mac: sighting.mac.to_string(),
            what: describe(sighting),
            facts,
            first: When::new(sighting.first_seen, now),
            last: When::new(sighting.last_seen, now),
            times: sighting.times_seen,
            ignored: sighting.ignored,
            verdict: None,
        }
    }
}

#[derive(Template)]
#[template(path = "sightings.html")]
struct SightingsPage {
    frame: Frame,
    waiting: Vec<Row>,
    ignored: Vec<Row>,
}

pub(crate) async fn list(State(web): State<WebState>, operator: Operator) -> Page {
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let (ignored, waiting): (Vec<_>, Vec<_>) =
            read.sightings()?.iter().map(|s| Row::new(s, now)).partition(|row| row.ignored);
        let mut waiting = waiting;
        for row in waiting.iter_mut().take(JUDGED) {
            let boots = Boots::of_sighting(read, row.at, now)?;
            row.verdict = boots.diagnosis.verdict.as_ref().map(VerdictView::new);
        }
        let frame = Frame::new(&state, read, &operator, "sightings", "Sightings")?;
        let frame = Frame { reload_secs: 15, ..frame };
        Ok::<_, StoreError>(SightingsPage { frame, waiting, ignored })
    });
    render(&page.await?)
}

#[derive(Template)]
#[template(path = "sighting.html")]
struct SightingPage {
    frame: Frame,
    mac: String,
    what: String,
    facts: Vec<(&'static str, String)>,
    first: When,
    last: When,
    boot: BootView,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(mac): Path<String>,
    operator: Operator,
) -> Page {
    let mac: Mac = mac.parse().map_err(|_| missing("sighting"))?;
    let state = web.clone();
    let page = web.store().read(move |read| {
        let Some(sighting) = read.sighting(mac)? else { return Ok(None) };
        let now = state.store().now();
        let boots = Boots::of_sighting(read, mac, now)?;
        let row = Row::new(&sighting, now);
        let frame = Frame::new(&state, read, &operator, "sightings", row.mac.as_str())?;
        let Row { mac, what, facts, first, last, .. } = row;
        let boot = BootView::new(&boots.diagnosis, boots.learned);
        Ok::<_, StoreError>(Some(SightingPage { frame, mac, what, facts, first, last, boot }))
    });
    render(&page.await?.ok_or_else(|| missing("sighting"))?)
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct IgnoreForm {
    /// `no` shows the machine again.
    ignored: String,
}

pub(crate) async fn ignore(
    State(web): State<WebState>,
    Path(mac): Path<String>,
    _: Operator,
    Form(form): Form<IgnoreForm>,
) -> Page {
    let mac: Mac = mac.parse().map_err(|_| missing("sighting"))?;
    web.operations().set_sighting_ignored(mac, form.ignored != "no").await?;
    Ok(Redirect::to("/sightings").into_response())
}
