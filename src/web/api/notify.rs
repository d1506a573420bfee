//! `/api/notifications`: who is told what happened, and whether it arrives.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Answer, ok};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::notify::{TargetView, targets};

/// All targets with their last delivery.
pub(in crate::web) async fn list(State(web): State<WebState>, _: Operator) -> Answer {
    let config = web.config();
    let views = web.store().read(move |read| targets(read, &config)).await?;
    let views: Vec<Value> = views.iter().map(TargetView::body).collect();
    Ok(ok(&json!({ "targets": views })))
}

/// Sends a test now and tells how that went.
pub(in crate::web) async fn test(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Answer {
    let tested = web.parts.notifier.test(name).await?;
    Ok(ok(&json!({
        "target": tested.name,
        "delivered": tested.failure.is_none(),
        "reason": tested.failure,
    })))
}
