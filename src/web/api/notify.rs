//! `/api/notifications`: who is told what happened, and whether it arrives.

use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, ok};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::notify::{TargetBody, targets};

#[derive(Serialize, JsonSchema)]
pub(super) struct TargetList<'a> {
    targets: Vec<TargetBody<'a>>,
}

/// All targets with their last delivery.
pub(in crate::web) async fn list(State(web): State<WebState>, _: Operator) -> Answer {
    let config = web.config();
    let views = web.store().read(move |read| targets(read, &config)).await?;
    Ok(ok(&TargetList { targets: views.iter().map(TargetBody::new).collect() }))
}

/// How a test went.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TargetTest")]
pub(super) struct TestedBody<'a> {
    target: &'a str,
    /// The receiver took it.
    delivered: bool,
    /// Why it did not arrive.
    reason: Option<&'a str>,
}

/// Sends a test now and tells how that went.
pub(in crate::web) async fn test(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Answer {
    let tested = web.parts.notifier.test(name).await?;
    Ok(ok(&TestedBody {
        target: &tested.name,
        delivered: tested.failure.is_none(),
        reason: tested.failure.as_deref(),
    }))
}
