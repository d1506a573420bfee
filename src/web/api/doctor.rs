//! `/api/doctor`: what is wrong with the LAN and the installation.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::{Answer, ok, time};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::plan::doctor::Report;
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
    Ok(ok(&body(&report)))
}

/// Looks now, which takes some seconds.
pub(in crate::web) async fn check(State(web): State<WebState>, _: Operator) -> Response {
    let report = web.parts.doctor.check().await;
    ok(&body(&report))
}

fn body(report: &Report) -> Value {
    json!({ "at": time(report.at), "worst": report.worst(), "findings": report.findings })
}
