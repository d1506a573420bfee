//! Who is asking: the operator's session, or the control socket. Every changing request also proves that it comes from
//! our own pages.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Form, FromRequest as _, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::WebState;
use super::problem::{from_store, refuse};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::limits::operator::{FORM_BYTES, SESSION_IDLE, SESSION_TIME};
use crate::store::{Session, SessionReads as _, Store, StoreError};

mod limit;
mod login;
mod password;
mod reader;

pub use login::setup_link;
pub(super) use password::LoginGate;
pub(super) use reader::new_reader_token;

/// Marks a request that came over the control socket: file permission is its login. Only the listener of that socket
/// may insert it.
#[derive(Debug, Clone, Copy)]
pub struct ControlSocket;

/// Marks a request that came over TLS: its cookies get the `__Host-` prefix and `Secure`.
#[derive(Debug, Clone, Copy)]
pub struct TlsTransport;

/// The logged-in operator, as handlers see it.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// Goes into each form.
    pub(super) csrf: String,
    /// Whether the request came over the control socket.
    pub(super) local: bool,
}

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| refuse(parts.uri.path(), not_logged_in()))
    }
}

/// Routes that lead to a session; they need none.
pub(super) fn router() -> Router<WebState> {
    Router::new()
        .route("/login", get(login::show_login).post(login::log_in))
        .route("/setup", get(login::show_setup).post(login::set_up))
        .route("/logout", axum::routing::post(login::log_out))
        .layer(axum::extract::DefaultBodyLimit::max(16 * 1024))
        .route_layer(axum::middleware::from_fn(only_from_our_pages))
}

/// Lets a request through when it comes from the control socket or from a logged-in browser.
pub(super) async fn require_operator(
    State(web): State<WebState>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.extensions().get::<ControlSocket>().is_some() {
        request.extensions_mut().insert(Operator { csrf: String::new(), local: true });
        return next.run(request).await;
    }
    let path = request.uri().path().to_owned();
    if let Some(given) = reader::given_token(&request) {
        match reader::is_reader(web.store(), &given).await {
            Ok(true) => return next.run(request).await,
            Ok(false) => return refuse(&path, not_logged_in()),
            Err(error) => return refuse(&path, from_store(&error)),
        }
    }
    let session = match current_session(&web, request.headers()).await {
        Ok(Some(session)) => session,
        Ok(None) => return ask_for_login(&request),
        Err(error) => return refuse(&path, from_store(&error)),
    };
    if is_changing(request.method()) {
        if let Err(refusal) = check_origin(request.headers()) {
            return refuse(&path, refusal);
        }
        request = match check_token(request, &session).await {
            Ok(request) => request,
            Err(refusal) => return refuse(&path, refusal),
        };
    }
    request.extensions_mut().insert(Operator { csrf: session.csrf, local: false });
    next.run(request).await
}

async fn only_from_our_pages(request: Request, next: Next) -> Response {
    if is_changing(request.method())
        && let Err(refusal) = check_origin(request.headers())
    {
        return refuse(request.uri().path(), refusal);
    }
    next.run(request).await
}

fn is_changing(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

fn not_logged_in() -> Refusal {
    Refusal::new(
        RefusalKind::Unauthenticated,
        "Nobody is logged in.",
        "Log in on the dashboard, or use the command line on the appliance itself.",
    )
}

/// Browsers that ask for a page are led to the login and back; everybody else is told.
fn ask_for_login(request: &Request) -> Response {
    let uri = request.uri();
    let path = uri.path();
    let for_programs = path.starts_with("/api/")
        || path == "/events"
        || path == "/metrics"
        || path == "/fragments";
    let is_fragment = path.starts_with("/fragments/");
    if for_programs || is_fragment || is_changing(request.method()) {
        return refuse(path, not_logged_in());
    }
    let wanted = uri.path_and_query().map_or("/", |p| p.as_str());
    Redirect::to(&login_address(wanted)).into_response()
}

fn login_address(wanted: &str) -> String {
    if wanted == "/" {
        return "/login".to_owned();
    }
    let encoded: String = wanted
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect();
    format!("/login?next={encoded}")
}

/// A path on this site, or `/`: an address that leads elsewhere is not followed.
fn local_path(wanted: &str) -> &str {
    let is_local = wanted.starts_with('/')
        && !wanted.starts_with("//")
        && !wanted.contains(['\\', '\r', '\n', '\t'])
        && wanted.len() <= 500
        && wanted.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none());
    if is_local { wanted } else { "/" }
}

/// The hash under which a session or set-up token is stored.
pub(super) fn token_hash(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// 256 random bits as text.
pub(super) fn random_token() -> String {
    rand::random::<[u8; 32]>().iter().map(|b| format!("{b:02x}")).collect()
}

const COOKIE: &str = "ironhatch_session";
const TLS_COOKIE: &str = "__Host-ironhatch_session";

/// The session id that the browser sent.
fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| (*name == COOKIE || *name == TLS_COOKIE) && value.len() == 64)
        .map(|(_, value)| value)
}

/// The cookie that carries a session id; an empty id removes it.
fn session_cookie(id: &str, over_tls: bool) -> HeaderValue {
    let (name, secure) = if over_tls { (TLS_COOKIE, "; Secure") } else { (COOKIE, "") };
    let age = if id.is_empty() { 0 } else { SESSION_TIME.as_secs() };
    let text = format!("{name}={id}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The session of this request, prolonged when a good part of its time is over.
async fn current_session(
    web: &WebState,
    headers: &HeaderMap,
) -> Result<Option<Session>, StoreError> {
    let Some(id) = session_id(headers) else { return Ok(None) };
    let key = token_hash(id);
    let session = web.store().read(move |read| read.session(&key)).await?;
    let now = web.store().now();
    let Some(mut session) = session.filter(|s| s.expires > now) else { return Ok(None) };
    let wanted = now.after(SESSION_IDLE).min(session.created.after(SESSION_TIME));
    // Not on every request: a write is two fsyncs.
    if wanted.since(session.expires) > SESSION_IDLE / 12 {
        session.expires = wanted;
        let kept = session.clone();
        // The record is looked up again: a log-out in between must not be undone.
        web.store()
            .write(move |tx| match tx.session(&kept.id_hash)? {
                Some(_) => tx.save_session(&kept),
                None => Ok(()),
            })
            .await?;
    }
    Ok(Some(session))
}

/// Writes a new session and returns its id.
async fn begin_session(store: &Store) -> Result<String, StoreError> {
    let id = random_token();
    let now = store.now();
    let session = Session {
        id_hash: token_hash(&id),
        csrf: random_token(),
        created: now,
        expires: Timestamp::after(now, SESSION_IDLE),
    };
    store.write(move |tx| tx.save_session(&session)).await?;
    Ok(id)
}

fn foreign() -> Refusal {
    Refusal::new(
        RefusalKind::Forbidden,
        "The request did not come from a page of this appliance.",
        "Load the page again and repeat what you did.",
    )
}

/// Refuses requests that another site made the browser send. Requests without both headers come from programs; those
/// have no cookie, or know the session's token.
fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: header::HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or(""));
    if let Some(site) = headers.get("sec-fetch-site") {
        return match site.as_bytes() {
            b"same-origin" | b"none" => Ok(()),
            _ => Err(foreign()),
        };
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) => {
            let authority = origin.split_once("://").map(|(_, rest)| rest);
            let host = text(header::HOST);
            if authority.is_some() && authority == host { Ok(()) } else { Err(foreign()) }
        }
    }
}

#[derive(serde::Deserialize)]
struct TokenField {
    #[serde(default)]
    csrf: String,
}

/// Compares the session's token with the `x-csrf-token` header or the form's field; gives the request back.
async fn check_token(request: Request, session: &Session) -> Result<Request, Refusal> {
    let (parts, body) = request.into_parts();
    let bytes: Bytes = axum::body::to_bytes(body, FORM_BYTES).await.map_err(|_| {
        Refusal::new(
            RefusalKind::TooLarge,
            format!("The request is larger than {} KiB.", FORM_BYTES / 1024),
            "Send less.",
        )
    })?;
    let given = match parts.headers.get("x-csrf-token") {
        Some(value) => value.to_str().unwrap_or("").to_owned(),
        None => {
            let copy = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
            Form::<TokenField>::from_request(copy, &())
                .await
                .map_or_else(|_| String::new(), |Form(field)| field.csrf)
        }
    };
    if bool::from(given.as_bytes().ct_eq(session.csrf.as_bytes())) {
        Ok(Request::from_parts(parts, Body::from(bytes)))
    } else {
        Err(Refusal::new(
            RefusalKind::Forbidden,
            "The form does not belong to this session.",
            "Load the page again and repeat what you did.",
        ))
    }
}

#[cfg(test)]
mod test;
