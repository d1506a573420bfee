//! `/api/images`, `/api/sightings`, `/api/health` and the backup.

use std::path::PathBuf;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, ListQuery, body, missing, ok, time};
use crate::domain::id::{Hostname, ImageId};
use crate::domain::image::Image;
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;
use crate::jobs::ImportRequest;
use crate::limits::over::Over;
use crate::plan::matching::{next_name, proposed};
use crate::store::{HostReads as _, ImageReads as _, SightingReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::boot::Boots;
use crate::web::problem::Problem;

pub(in crate::web) async fn health(State(web): State<WebState>) -> Response {
    ok(&json!({ "status": "ok", "version": web.parts.version }))
}

/// The link that sets the first password; `null` when one is set. Only for the control socket: whoever has the link becomes
/// the first operator, which no API token may do.
pub(in crate::web) async fn setup_link(State(web): State<WebState>, operator: Operator) -> Answer {
    if !operator.local {
        let hint = "Use ironhatch setup on the appliance, or the link of its log.";
        let detail = "The set-up link is told on the appliance only.";
        return Err(Refusal::new(RefusalKind::Forbidden, detail, hint).into());
    }
    let link = crate::web::setup_link(web.store(), &web.parts.public_url).await?;
    Ok(ok(&json!({ "link": link })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct BundleQuery {
    hours: Option<u32>,
}

/// The debug bundle, as a download.
pub(in crate::web) async fn debug_bundle(
    State(web): State<WebState>,
    _: Operator,
    Query(query): Query<BundleQuery>,
) -> Answer {
    // At most a year.
    let hours = query.hours.unwrap_or(24).clamp(1, 8_760);
    let bytes = web.parts.bundles.make(hours).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"ironhatch-debug.tar.gz\""),
    ];
    Ok((headers, bytes).into_response())
}

/// The configuration in effect.
pub(in crate::web) async fn settings(State(web): State<WebState>, _: Operator) -> Response {
    ok(&crate::web::settings::body(&web.config()))
}

/// Every limit, and how often those were met that are counted.
pub(in crate::web) async fn limits(State(web): State<WebState>, _: Operator) -> Answer {
    let parts: Vec<_> = crate::limits::parts()
        .into_iter()
        .map(|part| {
            let row = |r: crate::limits::Row| json!({ "limit": format!("{}.{}", part.name, r.name), "value": r.value, "reason": r.reason });
            json!({ "title": part.title, "limits": part.rows.into_iter().map(row).collect::<Vec<_>>() })
        })
        .collect();
    let met: Vec<_> = Over::ALL
        .iter()
        .map(|over| {
            let met = web.parts.traffic.over().of(*over);
            json!({
                "name": over.label(),
                "limit": over.limit(),
                "times": met.times,
                "last": met.last.map(|ms| time(Timestamp(ms))),
                "what": over.what(),
                "hint": over.advice(),
            })
        })
        .collect();
    Ok(ok(&json!({ "met": met, "parts": parts })))
}

/// Who is asking, and the token that changing requests of a session must carry in `x-csrf-token`.
pub(in crate::web) async fn session(State(web): State<WebState>, operator: Operator) -> Response {
    ok(&json!({
        "csrf": operator.csrf,
        "control_socket": operator.local,
        "public_url": web.parts.public_url,
    }))
}

/// The public key that opens the cluster's members for Ironhatch.
pub(in crate::web) async fn cluster_key(State(web): State<WebState>, _: Operator) -> Answer {
    let key = web.operations().member_public_key().await?;
    Ok(ok(&json!({ "public_key": key })))
}

pub(in crate::web) async fn images(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    let images: Result<Vec<Image>, StoreError> = web.store().read(|read| read.images()).await;
    let (images, next) = page.cut(images?, |image| image.id.to_string())?;
    let bodies: Vec<_> = images
        .iter()
        .map(|image| {
            json!({
                "id": image.id,
                "product": image.release.product_long,
                "release": image.release.release,
                "iso_release": image.release.iso_release,
                "size": image.size,
                "sha256": image.sha256,
                "source": image.source,
                "imported_at": time(image.imported_at),
                "job": image.job,
            })
        })
        .collect();
    Ok(ok(&json!({ "images": bodies, "next": next })))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportBody {
    source: String,
    sha256: Option<String>,
}

pub(in crate::web) async fn import(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: ImportBody = body(&bytes)?;
    let sha256 = asked.sha256.map(|s| s.trim().to_ascii_lowercase());
    let request = ImportRequest { source: asked.source, sha256 };
    Ok(super::job::accepted(web.operations().import_image(request).await?))
}

pub(in crate::web) async fn delete_image(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    let id: ImageId = id.parse().map_err(|_| missing("image", &id))?;
    web.operations().delete_image(id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(in crate::web) async fn sightings(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    type Seen = (Vec<Sighting>, Vec<Hostname>);
    let all: Result<Seen, StoreError> = web
        .store()
        .read(|read| {
            let taken = read.hostnames()?;
            Ok((read.sightings()?, taken))
        })
        .await;
    let (all, taken) = all?;
    let (all, next) = page.cut(all, |sighting| sighting.mac.to_string())?;
    let types = web.types();
    let bodies: Vec<_> = all
        .iter()
        .map(|s| {
            let proposed = proposed(&types.types, s.mac, &s.inventory).map(|t| {
                let hostname = next_name(&t.hostname_prefix, &taken);
                json!({ "server_type": t.name, "hostname": hostname })
            });
            json!({
                "proposed": proposed,
                "mac": s.mac,
                "inventory": s.inventory,
                "architecture": s.architecture,
                "address": s.address,
                "first_seen": time(s.first_seen),
                "last_seen": time(s.last_seen),
                "times_seen": s.times_seen,
                "ignored": s.ignored,
            })
        })
        .collect();
    Ok(ok(&json!({ "sightings": bodies, "next": next })))
}

/// As for hosts.
pub(in crate::web) async fn boot(
    State(web): State<WebState>,
    Path(mac): Path<String>,
    _: Operator,
) -> Answer {
    let wanted: Mac = mac.parse().map_err(|_| missing("sighting", &mac))?;
    let state = web.clone();
    let boots = web.store().read(move |read| {
        let known = read.sighting(wanted)?;
        known.map(|_| Boots::of_sighting(read, wanted, state.store().now())).transpose()
    });
    Ok(ok(&boots.await?.ok_or_else(|| missing("sighting", &mac))?.body()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IgnoreBody {
    #[serde(default = "yes")]
    ignored: bool,
}

fn yes() -> bool {
    true
}

pub(in crate::web) async fn ignore(
    State(web): State<WebState>,
    Path(mac): Path<String>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: IgnoreBody = body(&bytes)?;
    let mac: Mac = mac.parse().map_err(|_| missing("sighting", &mac))?;
    web.operations().set_sighting_ignored(mac, asked.ignored).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupBody {
    path: PathBuf,
}

/// Copies the database to a path on the appliance. Only over the control socket: the path is written with our rights.
pub(in crate::web) async fn backup(
    State(web): State<WebState>,
    operator: Operator,
    bytes: Bytes,
) -> Answer {
    if !operator.local {
        return Err(Problem::from(Refusal::new(
            RefusalKind::Forbidden,
            "A backup can be asked for over the control socket only.",
            "Run `ironhatch db backup` on the appliance.",
        )));
    }
    let asked: BackupBody = body(&bytes)?;
    if !asked.path.is_absolute() || asked.path.exists() {
        let detail = format!("{} is not a new absolute path.", asked.path.display());
        let hint = "Name a file that does not exist yet.";
        let refusal = Refusal::new(RefusalKind::Unprocessable, detail, hint);
        return Err(refusal.about("path").into());
    }
    let store = web.store().clone();
    let path = asked.path.clone();
    let verified = tokio::task::spawn_blocking(move || store.backup(&path))
        .await
        .unwrap_or(Err(StoreError::Closed))?;
    Ok(ok(&json!({
        "path": asked.path,
        "records": verified.records,
        "schema": verified.schema,
        "digest": verified.digest,
    })))
}
