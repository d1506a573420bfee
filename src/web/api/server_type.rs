//! Answers, and `/api/server-types`.

use axum::extract::{Path, Query, State};
use serde::Deserialize;

use super::host::find;
use super::{Answer, ok};
use crate::domain::id::{ImageId, InvalidId};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::web::WebState;
use crate::web::auth::Operator;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct ImageQuery {
    image: Option<String>,
}

/// An image that was named.
///
/// # Errors
/// No image has such a name.
pub(super) fn image(named: Option<&str>) -> Result<Option<ImageId>, Refusal> {
    named.filter(|id| !id.is_empty()).map(str::parse).transpose().map_err(|error: InvalidId| {
        let hint = "List the images to see what there is.";
        Refusal::new(RefusalKind::Malformed, error.to_string(), hint).about("image")
    })
}

/// What a host would be sent.
pub(in crate::web) async fn answer(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<ImageQuery>,
    _: Operator,
) -> Answer {
    let host = find(&web, &id).await?;
    let image = image(query.image.as_deref())?;
    Ok(ok(&web.operations().types().preview_answer(host.id, image).await?))
}
