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
use crate::web::view::When;

struct Row {
    mac: String,
    what: String,
    facts: Vec<(&'static str, String)>,
    first: When,
    last: When,
    times: u64,
    ignored: bool,
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
        Self {
            mac: sighting.mac.to_string(),
            what: describe(sighting),
            facts: super::host_view::facts(
                &sighting.inventory,
                sighting.architecture.as_deref(),
                sighting.address,
            ),
            first: When::new(sighting.first_seen, now),
            last: When::new(sighting.last_seen, now),
            times: sighting.times_seen,
            ignored: sighting.ignored,
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
        let frame = Frame::new(&state, read, &operator, "sightings", "Sightings")?;
        let frame = Frame { reload_secs: 15, ..frame };
        Ok::<_, StoreError>(SightingsPage { frame, waiting, ignored })
    });
    render(&page.await?)
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
