//! What machines fetch and report: boot scripts, kernel, initrd, ISO view, answer, webhook, first-boot script, phone-home.
//!
//! None of this is behind the operator's login: machines have none. Each route but the scripts needs the install token
//! of a live rebuild; the guard is in `jobs` and `plan::authority`. A refusal is one plain line, because a person may be
//! reading it on a console at that moment.

mod body;
mod inventory;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use tower_http::timeout::RequestBodyDeadlineLayer;

use super::file::{self, FileBody, FileContent, Way};
use super::problem;
use crate::assets::BootFiles;
use crate::boot::rehearsal::Rehearsals;
use crate::domain::boot::{
    BootFact, BootObservation, BootProgram, BootSink, BootStage, InstallerFile, ScriptGiven,
    Withheld,
};
use crate::domain::host::Host;
use crate::domain::id::HostId;
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::InstallToken;
use crate::jobs::{BootDecision, Engine, ScriptRequest};
use crate::limits::http::BODY_TIME;
use crate::limits::machine::PHONE_HOME_BYTES;
use crate::plan::enroll::paste::MOST_REPORT;
use crate::plan::script::{
    BootScript, FirstBoot, Install, LocalBoot, Refused, ScriptUrl, Start, Unknown,
};
use crate::proto::installer;
use crate::proto::iso9660::mode_file;

/// An answer request carries hardware facts of some KiB.
const ANSWER_LIMIT: usize = installer::MAX_REQUEST_BYTES;
/// The webhook carries all udev properties of all disks and NICs: several MB on big machines.
const WEBHOOK_LIMIT: usize = installer::MAX_REPORT_BYTES;
/// How long the notice for an unregistered machine stays on its console.
const NOTICE_SECONDS: u8 = 10;

/// What the machine routes work with.
#[derive(Clone)]
pub struct MachineState {
    /// Decisions and records.
    pub engine: Engine,
    /// The iPXE programs.
    pub boot_files: Arc<BootFiles>,
    /// Where what happens is told.
    pub sink: Arc<dyn BootSink>,
    /// The machines that the appliance plays itself.
    pub rehearsals: Rehearsals,
    /// Base of all URLs that machines get.
    pub public_url: Arc<str>,
}

impl std::fmt::Debug for MachineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineState")
    }
}

/// The routes for machines.
pub fn router(state: MachineState) -> Router {
    Router::new()
        .route("/ipxe/{mac}", get(script))
        .route("/boot/start.ipxe", get(start))
        .route("/boot/ipxe/{file}", get(boot_program))
        .route("/boot/{token}/{file}", get(installer_file))
        .route("/api/boot/answer", post(answer).get(answer_by_get))
        .route("/api/boot/answer/{token}", post(answer_at).get(answer_by_get))
        .layer(DefaultBodyLimit::max(ANSWER_LIMIT))
        .route("/api/hosts/{id}/installed", post(installed))
        .route("/api/hosts/{id}/first-boot-script", get(first_boot_script))
        .route(
            "/api/hosts/{id}/phone-home",
            post(phone_home).layer(DefaultBodyLimit::max(PHONE_HOME_BYTES)),
        )
        .route(
            "/api/nodes/enroll/{code}",
            get(enroll_script).post(enroll_report).layer(DefaultBodyLimit::max(MOST_REPORT)),
        )
        .layer(RequestBodyDeadlineLayer::new(BODY_TIME))
        .with_state(state)
}

/// A refusal as one line for a console.
struct Line(Refusal);

impl From<Refusal> for Line {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Line {
    fn into_response(self) -> Response<Body> {
        let text = format!("ironhatch: {}\n", self.0.to_string().replace(['\n', '\r'], " "));
        (problem::status(self.0.kind), [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
            .into_response()
    }
}

fn text(body: String) -> Response<Body> {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

fn ipv4(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

impl MachineState {
    fn tell(
        &self,
        mac: Option<Mac>,
        peer: SocketAddr,
        answered: bool,
        fact: Option<BootFact>,
        message: String,
    ) {
        let stage = match fact {
            Some(
                BootFact::Script { .. }
                | BootFact::Fetched { .. }
                | BootFact::Loading { .. }
                | BootFact::Loaded { .. },
            ) => BootStage::Http,
            _ => BootStage::Callback,
        };
        self.sink.observe(BootObservation {
            at: self.engine.store().now(),
            mac,
            address: ipv4(peer),
            stage,
            answered,
            message,
            fact,
            client: None,
        });
    }

    fn tell_refusal(&self, mac: Option<Mac>, peer: SocketAddr, what: Withheld, refusal: &Refusal) {
        let name = match what {
            Withheld::Installer => "request for the installer",
            Withheld::Answer => "answer request",
            Withheld::FirstBootScript => "first-boot script",
            Withheld::Report => "installation report",
            Withheld::CallBack => "phone-home",
        };
        tracing::debug!(peer = %peer.ip(), what = name, reason = %refusal, "a machine was refused");
        let message = format!("{name} refused: {refusal}");
        self.tell(mac, peer, false, Some(BootFact::Refused { what }), message);
    }

    fn url<'a>(&self, text: &'a str) -> Result<ScriptUrl<'a>, Line> {
        ScriptUrl::parse(text).map_err(|e| {
            Line(Refusal::new(RefusalKind::Internal, e.to_string(), "correct server.public_url"))
        })
    }
}

async fn start(State(state): State<MachineState>) -> Result<Response<Body>, Line> {
    let base = state.url(&state.public_url)?;
    Ok(text(BootScript::Start(Start { base }).render()))
}

/// `GET /ipxe/{mac}`: what this machine boots.
async fn script(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(mac): Path<String>,
    Query(query): Query<inventory::BootQuery>,
) -> Result<Response<Body>, Line> {
    let mac: Mac = mac.parse().map_err(|e: crate::domain::mac::InvalidMac| {
        Line(Refusal::new(RefusalKind::Malformed, e.to_string(), "use /ipxe/52-54-00-aa-bb-01"))
    })?;
    let request = ScriptRequest {
        mac,
        address: ipv4(peer),
        inventory: query.into_inventory(),
        is_rehearsal: state.rehearsals.plays(mac),
    };
    let (body, given, message) = match state.engine.boot_decision(request).await? {
        BootDecision::Install { host, image, token, arguments } => {
            let base = format!("{}/boot/{}", state.public_url, token.reveal());
            let (kernel, initrd, iso) = (
                format!("{base}/linux26"),
                format!("{base}/initrd.img"),
                format!("{base}/proxmox.iso"),
            );
            let release = &image.release;
            let shown =
                format!("{} {}-{}", release.product_long, release.release, release.iso_release);
            let script = BootScript::Install(Install {
                hostname: &host,
                mac,
                image: &shown,
                kernel: state.url(&kernel)?,
                initrd: state.url(&initrd)?,
                iso: state.url(&iso)?,
                arguments: &arguments,
            });
            (script.render(), ScriptGiven::Install, format!("boot script: install {shown}"))
        }
        BootDecision::Local { host, reason } => {
            let script = BootScript::LocalBoot(LocalBoot { reason: &reason });
            let told = format!("boot script: {host} boots its own disk ({reason})");
            (script.render(), ScriptGiven::OwnDisk, told)
        }
        BootDecision::Unknown => {
            let dashboard = state.public_url.to_string();
            let notice = Unknown { mac, dashboard: &dashboard, seconds: NOTICE_SECONDS };
            let told = "boot script: notice for an unregistered machine, then local boot";
            (BootScript::Unknown(notice).render(), ScriptGiven::Notice, told.to_owned())
        }
        BootDecision::Refused(refusal) => {
            let reason = refusal.to_string();
            let script = BootScript::Refused(Refused { reason: &reason });
            (script.render(), ScriptGiven::Refusal, format!("boot script refused: {reason}"))
        }
    };
    let answered = given != ScriptGiven::Refusal;
    state.tell(Some(mac), peer, answered, Some(BootFact::Script { given }), message);
    Ok(text(body))
}

/// `GET /boot/ipxe/{file}`: the iPXE programs, for UEFI HTTP boot.
async fn boot_program(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    way: Way,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Line> {
    let bytes = state.boot_files.get(&name).ok_or_else(|| {
        Line(Refusal::new(RefusalKind::NotFound, "there is no such boot file", ""))
    })?;
    let tag = format!("{}-{}", env!("CARGO_PKG_VERSION"), bytes.len());
    let body = FileBody {
        content_type: file::content_type(&name),
        content: FileContent::Bytes(bytes),
        tag,
        modified: crate::domain::time::Timestamp(0),
    };
    if method == Method::GET {
        let message = format!("{name} fetched over HTTP");
        let fact = BootProgram::named(&name).map(|program| BootFact::Fetched { program });
        state.tell(None, peer, true, fact, message);
    }
    Ok(file::respond(body, &method, &headers, way, None))
}

/// `GET /boot/{token}/{file}`: kernel and initrd from inside the ISO, and the ISO as this rebuild sees it.
async fn installer_file(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((token, name)): Path<(String, String)>,
    way: Way,
    method: Method,
    headers: HeaderMap,
) -> Result<Response<Body>, Line> {
    let token = parse_token(&token)?;
    let refuse = |refusal: Refusal, mac| {
        state.tell_refusal(mac, peer, Withheld::Installer, &refusal);
        Line(refusal)
    };
    let (host, image) =
        state.engine.installer_image(token.clone()).await.map_err(|r| refuse(r, None))?;
    let mac = host.macs.first().copied();
    let open = state.engine.open_image(&image).await.map_err(|r| refuse(r, mac))?;
    let (content, tag) = match name.as_str() {
        "linux26" => (extent(&open, open.content.kernel), format!("{}-kernel", image.sha256)),
        "initrd.img" => (extent(&open, open.content.initrd), format!("{}-initrd", image.sha256)),
        "proxmox.iso" => {
            let callbacks = &state.engine.context().callbacks;
            let url = format!("{}/api/boot/answer/{}", callbacks.url, token.reveal());
            let pinned = callbacks.certificate.as_ref().map(|c| c.fingerprint_text.as_str());
            let mode = mode_file(&url, pinned);
            let view = open.view(mode.as_bytes()).map_err(|e| {
                refuse(
                    Refusal::new(RefusalKind::Internal, e.to_string(), "import the image again"),
                    mac,
                )
            })?;
            // The tag must differ per token and must not give it away.
            let hash: String = token.hash().0.iter().take(8).map(|b| format!("{b:02x}")).collect();
            let content = FileContent::View { file: Arc::clone(&open.file), view: Arc::new(view) };
            (content, format!("{}-{hash}", image.sha256))
        }
        _ => {
            let refusal = Refusal::new(RefusalKind::NotFound, "there is no such file", "");
            return Err(refuse(refusal, mac));
        }
    };
    let body = FileBody {
        content,
        content_type: file::content_type(&name),
        tag,
        modified: image.imported_at,
    };
    let finished = transfer_hook(&state, &host, peer, &name);
    if method == Method::GET {
        let fact = InstallerFile::named(&name).map(|file| BootFact::Loading { file });
        let message = format!("sending {name} ({} MiB)", body.content.len() >> 20);
        state.tell(host.macs.first().copied(), peer, true, fact, message);
    }
    Ok(file::respond(body, &method, &headers, way, Some(finished)))
}

fn extent(open: &crate::image::OpenImage, extent: crate::proto::iso9660::Extent) -> FileContent {
    FileContent::Extent { file: Arc::clone(&open.file), extent }
}

fn transfer_hook(state: &MachineState, host: &Host, peer: SocketAddr, name: &str) -> file::OnEnd {
    let (state, mac, name) = (state.clone(), host.macs.first().copied(), name.to_owned());
    Box::new(move |transfer| {
        let mib = transfer.sent >> 20;
        let message = if transfer.is_complete() {
            format!("{name} fetched ({mib} MiB)")
        } else {
            format!("{name} broke off after {mib} of {} MiB", transfer.asked >> 20)
        };
        let whole = transfer.is_complete();
        let fact = InstallerFile::named(&name).map(|file| BootFact::Loaded { file, whole });
        state.tell(mac, peer, whole, fact, message);
    })
}

fn parse_token(text: &str) -> Result<InstallToken, Line> {
    text.parse().map_err(|_| {
        Line(Refusal::new(
            RefusalKind::Forbidden,
            "this is not an install token",
            "boot the machine from the network again",
        ))
    })
}

#[derive(Debug, Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

/// The token of a request: `Authorization: Bearer`, or `?token=`.
fn token_of(headers: &HeaderMap, query: &TokenQuery) -> Result<Option<InstallToken>, Line> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    bearer.or(query.token.as_deref()).map(|text| parse_token(text.trim())).transpose()
}

fn missing_token() -> Line {
    Line(Refusal::new(
        RefusalKind::Forbidden,
        "this needs the install token of a rebuild",
        "use the URL that Ironhatch gave the machine",
    ))
}

async fn answer_by_get() -> impl IntoResponse {
    (
        StatusCode::METHOD_NOT_ALLOWED,
        [(header::ALLOW, "POST")],
        "ironhatch: the installer asks here with POST; a browser has no use for it\n",
    )
}

async fn answer(
    state: State<MachineState>,
    peer: ConnectInfo<SocketAddr>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response<Body>, Line> {
    let token = token_of(&headers, &query);
    serve_answer(state.0, peer.0, token.and_then(|t| t.ok_or_else(missing_token)), &headers, body)
        .await
}

async fn answer_at(
    state: State<MachineState>,
    peer: ConnectInfo<SocketAddr>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response<Body>, Line> {
    serve_answer(state.0, peer.0, parse_token(&token), &headers, body).await
}

async fn serve_answer(
    state: MachineState,
    peer: SocketAddr,
    token: Result<InstallToken, Line>,
    headers: &HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response<Body>, Line> {
    let bytes = body::whole(body, ANSWER_LIMIT)?;
    let request = body::answer_request(&bytes)?;
    // Told on the page of the host whose MAC the machine claims to have, also when it is refused.
    let mac = state.engine.registered_mac(&request.macs).await?;
    let refuse = |refusal: Refusal| {
        state.tell_refusal(mac, peer, Withheld::Answer, &refusal);
        Line(refusal)
    };
    let token = token.map_err(|line| refuse(line.0))?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let answer = state.engine.take_answer(token, request, accept).await.map_err(refuse)?;
    let told = "answer served, once and for all".to_owned();
    state.tell(mac, peer, true, Some(BootFact::Answered), told);
    Ok(([(header::CONTENT_TYPE, answer.content_type)], answer.text).into_response())
}

async fn installed(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<HostId>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Line> {
    // Megabytes are taken from a machine of a live rebuild only; a report with its token inside (9.2) may be smaller.
    let limit = match token_of(&headers, &query) {
        Ok(Some(token)) => {
            if let Err(refusal) = state.engine.first_boot_host(id, Some(token)).await {
                let host = state.engine.first_boot_host(id, None).await.ok();
                let mac = host.and_then(|h| h.macs.first().copied());
                state.tell_refusal(mac, peer, Withheld::Report, &refusal);
                return Err(Line(refusal));
            }
            WEBHOOK_LIMIT
        }
        _ => ANSWER_LIMIT,
    };
    let bytes = body::collect(body, limit).await?;
    let (report, body_token) = body::install_report(&bytes)?;
    let macs: Vec<Mac> = report.inventory.nics.iter().map(|nic| nic.mac).collect();
    let mac = state.engine.registered_mac(&macs).await?;
    let refuse = |refusal: Refusal| {
        state.tell_refusal(mac, peer, Withheld::Report, &refusal);
        Line(refusal)
    };
    let token = match token_of(&headers, &query).map_err(|line| refuse(line.0))? {
        Some(token) => token,
        None => body_token.ok_or_else(|| refuse(missing_token().0))?,
    };
    let callback = state.engine.installed(id, token, report).await.map_err(refuse)?;
    let told =
        if callback.is_new { "installation report taken" } else { "installation report, again" };
    let mac = callback.host.macs.first().copied();
    state.tell(mac, peer, true, Some(BootFact::Reported), told.to_owned());
    // 200 and nothing else: a 9.2 installer takes 204 for a failure and stops at a shell.
    Ok(text("ok\n".to_owned()))
}

async fn first_boot_script(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<HostId>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
) -> Result<Response<Body>, Line> {
    let token = token_of(&headers, &query)?;
    let host = state.engine.first_boot_host(id, token.clone()).await.map_err(|refusal| {
        state.tell_refusal(None, peer, Withheld::FirstBootScript, &refusal);
        Line(refusal)
    })?;
    let callbacks = &state.engine.context().callbacks;
    let base = state.url(&callbacks.url)?;
    let pinned = callbacks.certificate.as_ref().map(|c| c.base64.as_str());
    let told = "first-boot script fetched".to_owned();
    let fact = Some(BootFact::FirstBootScript);
    state.tell(host.macs.first().copied(), peer, true, fact, told);
    Ok(text(FirstBoot::new(base, id, token.as_ref(), pinned).render()))
}

/// The script of a pasted enrolment command. The code is the permission, as tokens are elsewhere.
async fn enroll_script(
    State(state): State<MachineState>,
    Path(code): Path<String>,
) -> Result<Response<Body>, Line> {
    Ok(text(state.engine.enroll_script(&code)?))
}

async fn enroll_report(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(code): Path<String>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response<Body>, Line> {
    let bytes = body::whole(body, MOST_REPORT)?;
    let sender = peer.ip().to_canonical();
    let job = state.engine.enroll_report(&code, sender, &bytes).await?;
    Ok(text(format!("{}/jobs/{job}\n", state.public_url)))
}

async fn phone_home(
    State(state): State<MachineState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<HostId>,
    Query(query): Query<TokenQuery>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response<Body>, Line> {
    let bytes = body::whole(body, PHONE_HOME_BYTES)?;
    let (mut report, body_token) = body::phone_home(&bytes)?;
    let macs: Vec<Mac> = report.inventory.nics.iter().map(|nic| nic.mac).collect();
    let mac = state.engine.registered_mac(&macs).await?;
    let refuse = |refusal: Refusal| {
        state.tell_refusal(mac, peer, Withheld::CallBack, &refusal);
        Line(refusal)
    };
    let token = match token_of(&headers, &query).map_err(|line| refuse(line.0))? {
        Some(token) => token,
        None => body_token.ok_or_else(|| refuse(missing_token().0))?,
    };
    report.address = report.address.or_else(|| ipv4(peer));
    let callback = state.engine.phone_home(id, token, report).await.map_err(refuse)?;
    let told = if callback.is_new { "phone-home taken" } else { "phone-home, again" };
    let mac = callback.host.macs.first().copied();
    state.tell(mac, peer, true, Some(BootFact::CalledBack), told.to_owned());
    Ok(text("ok\n".to_owned()))
}
