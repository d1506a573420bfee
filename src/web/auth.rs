//! Who is asking: an account's session, an API token, or the control socket. Every changing request of a browser also
//! proves that it comes from our own pages.

use std::net::IpAddr;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Form, FromRequest as _, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::WebState;
use super::once::{self, Turn};
use super::problem::{from_store, refuse};
use crate::domain::account::{AccountName, Scope};
use crate::domain::audit::{Author, Who};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::FORM_BYTES;
use crate::store::{Session, as_author_once};

pub(super) mod account;
mod limit;
mod lock;
mod login;
mod password;
mod proxy;
pub(super) mod session;
pub(super) mod token;

pub use login::{adopt_old_access, setup_link};
pub(super) use password::LoginGate;
pub use password::check_rules as check_password;
pub(super) use proxy::note_client;

/// Marks a request that came over the control socket: file permission is its login. Only the listener of that socket
/// may insert it.
#[derive(Debug, Clone, Copy)]
pub struct ControlSocket;

/// Marks a request that came over TLS: its cookies get the `__Host-` prefix and `Secure`.
#[derive(Debug, Clone, Copy)]
pub struct TlsTransport;

/// Who opened the control socket, as the system tells it. Inserted beside [`ControlSocket`].
#[derive(Debug, Clone)]
pub struct LocalUser(pub String);

/// The logged-in operator, as handlers see it.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// Goes into each form.
    pub(super) csrf: String,
    /// Whether the request came over the control socket.
    pub(super) local: bool,
    /// Who, for the audit log and the pages.
    pub(super) who: Who,
    /// The account that asks, or whose token does; `None`: the control socket, or a token that belongs to nobody.
    pub(super) account: Option<AccountName>,
    /// What it may do.
    pub(super) scope: Scope,
    /// By what it was let in.
    pub(super) proof: Proof,
}

/// By what somebody was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    /// The permission on the control socket's file.
    Socket,
    /// A session, by its hash.
    Session(String),
    /// An API token, by its id.
    Token(String),
    /// The word of a trusted proxy, about this account.
    Proxy(AccountName),
}

impl Operator {
    /// The hash of the session that asks.
    pub(super) fn session(&self) -> Option<&str> {
        match &self.proof {
            Proof::Session(hash) => Some(hash),
            Proof::Socket | Proof::Token(_) | Proof::Proxy(_) => None,
        }
    }

    fn at_socket(request: &Request) -> Self {
        let user = request.extensions().get::<LocalUser>();
        Self {
            csrf: String::new(),
            local: true,
            who: Who::Socket(user.map_or_else(|| "somebody".to_owned(), |user| user.0.clone())),
            account: None,
            scope: Scope::Admin,
            proof: Proof::Socket,
        }
    }

    fn of_session(session: &Session) -> Self {
        Self {
            csrf: session.csrf.clone(),
            local: false,
            who: Who::Account(session.account.to_string()),
            account: Some(session.account.clone()),
            scope: Scope::Admin,
            proof: Proof::Session(session.id_hash.clone()),
        }
    }
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

/// Lets a request through when it comes from the control socket, from a logged-in browser, or with an API token that may.
/// What it changes is written on behalf of whoever asked.
pub(super) async fn require_operator(
    State(web): State<WebState>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let (operator, request) = match identify(&web, request).await {
        Ok(found) => found,
        Err(response) => return *response,
    };
    if let Err(refusal) = token::check_scope(&operator, request.method(), &path) {
        tracing::warn!(who = %operator.who, path, "a request was outside of the token's scope");
        return refuse(&path, refusal);
    }
    let (mut request, ticket) = match once::turn(&web, &operator, request).await {
        Ok(Turn::Go(request, ticket)) => (request, ticket),
        Ok(Turn::Answer(answer)) => return answer,
        Err(refusal) => return refuse(&path, refusal),
    };
    let author = is_changing(request.method()).then(|| Author {
        who: operator.who.clone(),
        address: client_address(request.extensions()).filter(|_| !operator.local),
        action: format!("{} {}", request.method(), path.chars().take(200).collect::<String>()),
    });
    request.extensions_mut().insert(operator);
    match author {
        Some(author) => {
            let once = ticket.as_ref().map(|ticket| ticket.once.clone());
            let work = as_author_once(author, once, next.run(request));
            once::carry_out(&web, ticket, work).await
        }
        None => next.run(request).await,
    }
}

/// Who asks; or the answer for whom nobody knows.
async fn identify(web: &WebState, request: Request) -> Result<(Operator, Request), Box<Response>> {
    if request.extensions().get::<ControlSocket>().is_some() {
        return Ok((Operator::at_socket(&request), request));
    }
    let path = request.uri().path().to_owned();
    let turned = |refusal| Box::new(refuse(&path, refusal));
    if let Some(given) = token::given(request.headers()) {
        let found = token::holder(web, &given).await.map_err(|e| turned(from_store(&e)))?;
        return match found {
            Some(operator) => Ok((operator, request)),
            None => Err(turned(token::unknown())),
        };
    }
    let operator = match proxy::named(web, &request).map_err(turned)? {
        Some(name) => proxy::operator(web, name).await.map_err(turned)?,
        None => {
            let session = session::current_session(web, request.headers()).await;
            let Some(session) = session.map_err(|e| turned(from_store(&e)))? else {
                return Err(Box::new(ask_for_login(&request)));
            };
            Operator::of_session(&session)
        }
    };
    if !is_changing(request.method()) {
        return Ok((operator, request));
    }
    check_origin(request.headers()).map_err(turned)?;
    let request = check_token(request, &operator.csrf).await.map_err(turned)?;
    Ok((operator, request))
}

/// From where the request comes; `None` on a listener that does not tell.
fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<proxy::Client>().map(|client| client.address)
}

/// Waits until whoever opened a stream is not let in any more.
pub(super) async fn until_ended(web: WebState, operator: Operator) {
    let mut changes = web.access.subscribe();
    loop {
        let is_let_in = match &operator.proof {
            Proof::Socket => true,
            Proof::Session(hash) => {
                session::living(&web, hash.clone()).await.is_ok_and(|s| s.is_some())
            }
            Proof::Token(id) => token::is_living(&web, id.clone()).await,
            Proof::Proxy(name) => proxy::is_usable(&web, name.clone()).await.unwrap_or(false),
        };
        if !is_let_in || changes.changed().await.is_err() {
            return;
        }
    }
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
async fn check_token(request: Request, expected: &str) -> Result<Request, Refusal> {
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
    if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
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
