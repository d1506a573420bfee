//! How the appliance itself stands: limits that were met, what is in use, and all limits with their reasons.

use askama::Template;
use axum::extract::State;

use super::{Frame, Page, render};
use crate::domain::time::Timestamp;
use crate::limits::http::CONNECTIONS;
use crate::limits::operator::MOST_STREAMS;
use crate::limits::over::Over;
use crate::limits::record::SIGHTINGS;
use crate::limits::{self, Part};
use crate::store::{SightingReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::view::When;

/// A limit that was met.
struct MetRow {
    limit: &'static str,
    what: &'static str,
    advice: &'static str,
    times: u64,
    last: When,
}

/// How much of a limit is taken.
struct UseRow {
    name: &'static str,
    used: usize,
    of: usize,
}

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    met: Vec<MetRow>,
    uses: Vec<UseRow>,
    version: &'static str,
    parts: Vec<Part>,
}

pub(super) async fn show(State(web): State<WebState>, operator: Operator) -> Page {
    let state = web.clone();
    let (frame, sightings) = web
        .store()
        .read(move |read| {
            let frame = Frame::new(&state, read, &operator, "health", "Health")?;
            Ok::<_, StoreError>((frame, read.sightings()?.len()))
        })
        .await?;
    let (traffic, now) = (&web.parts.traffic, web.store().now());
    let met = Over::ALL.iter().filter_map(|over| {
        let met = traffic.over().of(*over);
        Some(MetRow {
            limit: over.limit(),
            what: over.what(),
            advice: over.advice(),
            times: met.times,
            last: When::new(Timestamp(met.last?), now),
        })
    });
    let streams = MOST_STREAMS.saturating_sub(web.streams.available_permits());
    let uses = vec![
        UseRow { name: "HTTP connections", used: traffic.connections(), of: CONNECTIONS },
        UseRow { name: "Event streams", used: streams, of: MOST_STREAMS },
        UseRow { name: "Sightings", used: sightings, of: SIGHTINGS },
    ];
    render(&HealthPage {
        frame,
        met: met.collect(),
        uses,
        version: web.parts.version,
        parts: limits::parts(),
    })
}
