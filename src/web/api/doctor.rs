//! `/api/doctor`: what is wrong with the LAN and the installation.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Moment, ok, time};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::plan::doctor::rehearsal::{Firmware, Line, Rehearsal};
use crate::plan::doctor::{Finding, Report, Severity};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::Problem;

/// The last report.
pub(in crate::web) async fn last(State(web): State<WebState>, _: Operator) -> Answer {
    let report = web.parts.doctor.last().ok_or_else(|| {
        Problem::from(Refusal::new(
            RefusalKind::NotFound,
            "Nothing was checked since the start.",
            "Check now: POST /api/doctor, or ironhatch doctor.",
        ))
    })?;
    Ok(ok(&ReportBody::new(&report)))
}

/// Looks now, which takes some seconds.
pub(in crate::web) async fn check(State(web): State<WebState>, _: Operator) -> Response {
    let report = web.parts.doctor.check().await;
    ok(&ReportBody::new(&report))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimulateBody {
    firmware: String,
}

/// Plays a machine; which one is in the body.
pub(in crate::web) async fn simulate(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: SimulateBody = super::body(&bytes)?;
    let firmware = asked.firmware.parse::<Firmware>().map_err(|why| {
        let hint = "Name one of bios, uefi, http.";
        Refusal::new(RefusalKind::Malformed, format!("{why}."), hint).about("firmware")
    })?;
    let played = web.parts.doctor.simulate(firmware).await?;
    Ok(ok(&Played::new(&played)))
}

/// A report as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DoctorReport")]
pub(super) struct ReportBody<'a> {
    at: Moment,
    worst: Severity,
    findings: &'a [Finding],
}

impl<'a> ReportBody<'a> {
    fn new(report: &'a Report) -> Self {
        Self { at: time(report.at), worst: report.worst(), findings: &report.findings }
    }
}

/// A played boot as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PlayedBoot")]
pub(super) struct Played<'a> {
    firmware: Firmware,
    interface: &'a str,
    mac: Mac,
    lines: &'a [Line],
    worst: Severity,
    /// How it ended, in plain words.
    verdict: &'a str,
    /// What to do; empty when nothing is to be done.
    fix: &'a str,
}

impl<'a> Played<'a> {
    fn new(played: &'a Rehearsal) -> Self {
        Self {
            firmware: played.firmware,
            interface: &played.interface,
            mac: played.mac,
            lines: &played.lines,
            worst: played.ending.severity,
            verdict: &played.ending.verdict,
            fix: &played.ending.fix,
        }
    }
}
