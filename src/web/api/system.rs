//! `/api/images`, `/api/sightings`, `/api/health` and the backup.

use std::net::Ipv4Addr;
use std::path::{Path as FilePath, PathBuf};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, ListQuery, Moment, body, missing, ok, time};
use crate::domain::id::{Hostname, ImageId, JobId, ServerTypeName};
use crate::domain::image::Image;
use crate::domain::inventory::Inventory;
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;
use crate::jobs::ImportRequest;
use crate::limits;
use crate::limits::over::Over;
use crate::plan::matching::{next_name, proposed};
use crate::store::{HostReads as _, ImageReads as _, SightingReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::boot::{Boots, BootsBody};
use crate::web::problem::Problem;
use crate::web::settings::SettingsBody;

#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
    version: &'static str,
}

pub(in crate::web) async fn health(State(web): State<WebState>) -> Response {
    ok(&Health { status: "ok", version: web.parts.version })
}

#[derive(Serialize, JsonSchema)]
pub(super) struct SetupLink {
    link: Option<String>,
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
    Ok(ok(&SetupLink { link }))
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
    ok(&SettingsBody::new(&web.config()))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct LimitList {
    /// Those that are counted.
    met: Vec<MetLimit>,
    /// All of them.
    parts: Vec<LimitPart>,
}

/// A limit, and how often it was met since the start.
#[derive(Serialize, JsonSchema)]
struct MetLimit {
    name: &'static str,
    /// Its name in `parts`.
    limit: &'static str,
    times: u64,
    last: Option<Moment>,
    /// What happens then.
    what: &'static str,
    hint: &'static str,
}

/// Limits that belong together.
#[derive(Serialize, JsonSchema)]
struct LimitPart {
    title: &'static str,
    limits: Vec<LimitBody>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Limit")]
struct LimitBody {
    limit: String,
    /// The number with its unit.
    value: String,
    reason: String,
}

/// Every limit, and how often those were met that are counted.
pub(in crate::web) async fn limits(State(web): State<WebState>, _: Operator) -> Answer {
    let part = |part: limits::Part| {
        let row = |row: limits::Row| LimitBody {
            limit: format!("{}.{}", part.name, row.name),
            value: row.value,
            reason: row.reason,
        };
        LimitPart { title: part.title, limits: part.rows.into_iter().map(row).collect() }
    };
    let met = |over: &Over| {
        let met = web.parts.traffic.over().of(*over);
        MetLimit {
            name: over.label(),
            limit: over.limit(),
            times: met.times,
            last: met.last.map(|ms| time(Timestamp(ms))),
            what: over.what(),
            hint: over.advice(),
        }
    };
    let parts = limits::parts().into_iter().map(part).collect();
    Ok(ok(&LimitList { met: Over::ALL.iter().map(met).collect(), parts }))
}

/// The one who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct Asker<'a> {
    /// For `x-csrf-token`; empty when none is needed.
    csrf: &'a str,
    control_socket: bool,
    public_url: &'a str,
}

/// Who is asking, and the token that changing requests of a session must carry in `x-csrf-token`.
pub(in crate::web) async fn session(State(web): State<WebState>, operator: Operator) -> Response {
    ok(&Asker {
        csrf: &operator.csrf,
        control_socket: operator.local,
        public_url: &web.parts.public_url,
    })
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ClusterKey {
    public_key: String,
}

/// The public key that opens the cluster's members for Ironhatch.
pub(in crate::web) async fn cluster_key(State(web): State<WebState>, _: Operator) -> Answer {
    let key = web.operations().member_public_key().await?;
    Ok(ok(&ClusterKey { public_key: key }))
}

/// An image as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Image")]
struct ImageBody<'a> {
    id: &'a ImageId,
    product: &'a str,
    release: &'a str,
    iso_release: &'a str,
    /// Bytes.
    size: u64,
    sha256: &'a str,
    source: &'a str,
    imported_at: Moment,
    job: Option<JobId>,
}

impl<'a> ImageBody<'a> {
    fn new(image: &'a Image) -> Self {
        Self {
            id: &image.id,
            product: &image.release.product_long,
            release: &image.release.release,
            iso_release: &image.release.iso_release,
            size: image.size,
            sha256: &image.sha256,
            source: &image.source,
            imported_at: time(image.imported_at),
            job: image.job,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ImageList<'a> {
    images: Vec<ImageBody<'a>>,
    next: Option<String>,
}

pub(in crate::web) async fn images(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    let images: Result<Vec<Image>, StoreError> = web.store().read(|read| read.images()).await;
    let (images, next) = page.cut(images?, |image| image.id.to_string())?;
    Ok(ok(&ImageList { images: images.iter().map(ImageBody::new).collect(), next }))
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

/// A machine that was heard, as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Sighting")]
struct SightingBody<'a> {
    /// What it could be registered as.
    proposed: Option<ProposedBody<'a>>,
    mac: Mac,
    inventory: &'a Inventory,
    architecture: Option<&'a str>,
    address: Option<Ipv4Addr>,
    first_seen: Moment,
    last_seen: Moment,
    /// How often it was heard, retries included.
    times_seen: u64,
    /// It is met with silence.
    ignored: bool,
}

/// Type and name of a machine that is not registered yet.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Proposed")]
struct ProposedBody<'a> {
    server_type: &'a ServerTypeName,
    hostname: String,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct SightingList<'a> {
    sightings: Vec<SightingBody<'a>>,
    next: Option<String>,
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
    let bodies = all.iter().map(|s| {
        let proposed = proposed(&types.types, s.mac, &s.inventory).map(|t| ProposedBody {
            server_type: &t.name,
            hostname: next_name(&t.hostname_prefix, &taken),
        });
        SightingBody {
            proposed,
            mac: s.mac,
            inventory: &s.inventory,
            architecture: s.architecture.as_deref(),
            address: s.address,
            first_seen: time(s.first_seen),
            last_seen: time(s.last_seen),
            times_seen: s.times_seen,
            ignored: s.ignored,
        }
    });
    Ok(ok(&SightingList { sightings: bodies.collect(), next }))
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
    Ok(ok(&BootsBody::new(&boots.await?.ok_or_else(|| missing("sighting", &mac))?)))
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

/// A copy of the database.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DatabaseBackup")]
pub(super) struct BackedUp<'a> {
    path: &'a FilePath,
    records: u64,
    /// Version of the database's schema.
    schema: u32,
    /// SHA-256 over all records.
    digest: &'a str,
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
    Ok(ok(&BackedUp {
        path: &asked.path,
        records: verified.records,
        schema: verified.schema,
        digest: &verified.digest,
    }))
}
