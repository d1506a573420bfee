//! `/api/host-file`: hosts as a file.

use axum::body::Bytes;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, body, ok};
use crate::jobs::ImportMode;
use crate::plan::roster::{Change, Format};
use crate::web::WebState;
use crate::web::auth::Operator;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct FormatQuery {
    format: Format,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct HostFile {
    format: Format,
    text: String,
}

/// All hosts, as the text of a file.
pub(in crate::web) async fn export(
    State(web): State<WebState>,
    Query(query): Query<FormatQuery>,
    _: Operator,
) -> Answer {
    let text = web.operations().export_hosts(query.format).await?;
    Ok(ok(&HostFile { format: query.format, text }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportBody {
    format: Format,
    text: String,
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
}

/// What becomes of the hosts of a file.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ImportedHosts")]
pub(super) struct Imported {
    dry_run: bool,
    hosts: Vec<Change>,
}

/// Takes a file, all of it or nothing; tells what becomes of each of its hosts.
pub(in crate::web) async fn import(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let ImportBody { format, text, dry_run } = body(&bytes)?;
    let mode = if dry_run { ImportMode::DryRun } else { ImportMode::Apply };
    let hosts = web.operations().import_hosts(text, format, mode).await?;
    Ok(ok(&Imported { dry_run, hosts }))
}
