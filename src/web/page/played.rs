//! The timeline of a machine that the daemon played.

use askama::Template;
use axum::extract::{Form, State};
use serde::Deserialize;

use super::{Frame, Page, health, render};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::plan::doctor::rehearsal::{Firmware, Speaker};
use crate::web::WebState;
use crate::web::auth::Operator;

struct LineRow {
    at: String,
    who: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "played.html")]
struct PlayedPage {
    frame: Frame,
    title: &'static str,
    interface: String,
    mac: String,
    verdict: String,
    fix: String,
    severity: &'static str,
    tone: &'static str,
    lines: Vec<LineRow>,
}

#[derive(Deserialize)]
pub(super) struct PlayForm {
    firmware: String,
}

/// Plays a machine, which takes some seconds, and shows how far it came.
pub(super) async fn play(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<PlayForm>,
) -> Page {
    let firmware = form.firmware.parse::<Firmware>().map_err(|why| {
        Refusal::new(RefusalKind::Malformed, format!("{why}."), "Choose one on the page Health.")
    })?;
    let played = web.parts.doctor.simulate(firmware).await?;
    let state = web.clone();
    let frame = web
        .store()
        .read(move |read| Frame::new(&state, read, &operator, "health", "A played machine"));
    let lines = played.lines.into_iter().map(|line| LineRow {
        at: format!("{:.3} s", line.at.as_secs_f64()),
        who: match line.who {
            Speaker::Machine => "Machine",
            Speaker::Network => "Network",
            Speaker::Daemon => "Ironhatch",
        },
        text: line.text,
    });
    render(&PlayedPage {
        frame: frame.await?,
        title: firmware.title(),
        interface: played.interface,
        mac: played.mac.to_string(),
        verdict: played.ending.verdict,
        fix: played.ending.fix,
        severity: played.ending.severity.name(),
        tone: health::tone(played.ending.severity),
        lines: lines.collect(),
    })
}
