//! Answers, and `/api/server-types`.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::{find, image_named};
use super::{Answer, body, missing, ok};
use crate::domain::form::Declined;
use crate::domain::id::ServerTypeName;
use crate::domain::server_type::ServerType;
use crate::jobs::ReadOnly;
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct ImageQuery {
    image: Option<String>,
}

/// What a host would be sent.
pub(in crate::web) async fn answer(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<ImageQuery>,
    _: Operator,
) -> Answer {
    let host = find(&web, &id).await?;
    let image = image_named(query.image.as_deref().filter(|id| !id.is_empty()))?;
    Ok(ok(&web.operations().types().preview_answer(host.id, image).await?))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServerTypeList")]
pub(super) struct TypeList<'a> {
    /// Secrets of their answers are blanked.
    server_types: Vec<ServerType>,
    /// What is wrong with files that could not be used, one sentence each.
    errors: &'a [String],
    /// Hosts by type.
    uses: BTreeMap<&'a ServerTypeName, usize>,
    /// The directory, or the one file.
    place: &'a FilePath,
    /// Why nothing can be changed here.
    read_only: Option<&'a ReadOnly>,
}

/// Server types, what is wrong with files, how many hosts use each, and whether they can be changed here.
pub(in crate::web) async fn list(State(web): State<WebState>, _: Operator) -> Answer {
    let known = web.types();
    let overview = web.operations().types().list_types().await?;
    let shown = known.types.iter().cloned().map(ServerType::shown).collect();
    Ok(ok(&TypeList {
        server_types: shown,
        errors: &known.errors,
        uses: overview
            .rows
            .iter()
            .filter_map(|row| Some((row.name.as_ref()?, row.hosts)))
            .collect(),
        place: &overview.place,
        read_only: overview.read_only.as_ref(),
    }))
}

fn name_of(name: &str) -> Result<ServerTypeName, Problem> {
    name.parse().map_err(|_| missing("server type", name))
}

/// One server type with the text of its file.
pub(in crate::web) async fn show(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Answer {
    Ok(ok(&web.operations().types().read_type(name_of(&name)?).await?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SaveBody {
    /// The file's text, TOML. A secret that is not shown stays as it is in the file that is replaced.
    text: String,
    /// The `hash` of the text that was changed; without it a new type is made.
    replaces: Option<String>,
}

/// Puts a text in place as the file of a type.
pub(in crate::web) async fn save(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let SaveBody { text, replaces } = body(&bytes)?;
    let saved = web.operations().types().save_type(name_of(&name)?, text, replaces).await;
    Ok(ok(&saved.map_err(Declined::from)?))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewBody {
    /// The text that the file would have.
    text: String,
    /// For this host, by name or id; without it for the first of the type, or a made-up machine.
    host: Option<String>,
}

/// What a text would do as the file of a type. Nothing is written.
pub(in crate::web) async fn preview(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let PreviewBody { text, host } = body(&bytes)?;
    let host = match host {
        Some(host) => Some(find(&web, &host).await?.id),
        None => None,
    };
    Ok(ok(&web.operations().types().try_type(name_of(&name)?, text, host).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct DeleteQuery {
    hash: Option<String>,
}

/// Removes the file of a type that no host has.
pub(in crate::web) async fn delete(
    State(web): State<WebState>,
    Path(name): Path<String>,
    Query(query): Query<DeleteQuery>,
    _: Operator,
) -> Answer {
    web.operations().types().delete_type(name_of(&name)?, query.hash).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
