//! Login, logout, and the first visit.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, http};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::password::SETTING;
use super::{
    TlsTransport, begin_session, local_path, random_token, session_cookie, session_id, token_hash,
};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::store::{NewEvent, SettingReads as _, Store, StoreError};
use crate::web::WebState;
use crate::web::page::{LoginPage, SetupPage, render_with};
use crate::web::problem::PageProblem;

/// Setting that holds the hash of the set-up token until it is used.
const SETUP_SETTING: &str = "setup_token";

/// The one-time link that sets the operator's password, when none is set. Each call makes a new link and ends the one
/// before: it is printed once at start and stored nowhere in the clear.
///
/// # Errors
/// When the database fails.
pub async fn setup_link(store: &Store, public_url: &str) -> Result<Option<String>, StoreError> {
    let token = random_token();
    let hash = token_hash(&token);
    let wanted = store
        .write(move |tx| {
            if tx.setting::<String>(SETTING)?.is_some() {
                return Ok::<_, StoreError>(false);
            }
            tx.save_setting(SETUP_SETTING, &hash)?;
            Ok(true)
        })
        .await?;
    Ok(wanted.then(|| format!("{}/setup?token={token}", public_url.trim_end_matches('/'))))
}

/// Address and transport of the browser.
pub(super) struct Peer {
    address: IpAddr,
    over_tls: bool,
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        let found = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // A listener that does not tell addresses makes all its peers one.
        let address = found.map_or(IpAddr::from([0, 0, 0, 0]), |info| info.0.ip());
        Ok(Self { address, over_tls: parts.extensions.get::<TlsTransport>().is_some() })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct LoginQuery {
    next: String,
}

pub(super) async fn show_login(
    State(web): State<WebState>,
    Query(query): Query<LoginQuery>,
) -> Result<Response, PageProblem> {
    let has_password = has_password(&web).await?;
    let next = local_path(&query.next).to_owned();
    Ok(render_with(StatusCode::OK, &LoginPage::new(next, has_password, None)))
}

async fn has_password(web: &WebState) -> Result<bool, StoreError> {
    web.store().read(|read| Ok(read.setting::<String>(SETTING)?.is_some())).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct LoginForm {
    password: String,
    next: String,
}

pub(super) async fn log_in(
    State(web): State<WebState>,
    peer: Peer,
    Form(form): Form<LoginForm>,
) -> Result<Response, PageProblem> {
    let hash = web.store().read(|read| read.setting::<String>(SETTING)).await?;
    let has_password = hash.is_some();
    let next = local_path(&form.next).to_owned();
    let given = Secret::new(form.password);
    let refusal = match web.gate.check(given, hash, peer.address).await {
        Ok(true) => return Ok(logged_in(&web, &peer, &next).await?),
        Ok(false) => {
            tracing::warn!(address = %peer.address, "a login failed");
            let hint = "Passwords are case-sensitive.";
            Refusal::new(RefusalKind::Unauthenticated, "That is not the password.", hint)
        }
        Err(refusal) => {
            tracing::warn!(address = %peer.address, "logins are being slowed down");
            refusal
        }
    };
    let status = crate::web::problem::status(refusal.kind);
    let mut response = render_with(status, &LoginPage::new(next, has_password, Some(refusal)));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("60"));
    }
    Ok(response)
}

async fn logged_in(web: &WebState, peer: &Peer, next: &str) -> Result<Response, StoreError> {
    let id = begin_session(web.store()).await?;
    let message = format!("An operator logged in from {}.", peer.address);
    note(web.store(), message).await?;
    let cookie = [(header::SET_COOKIE, session_cookie(&id, peer.over_tls))];
    Ok((cookie, Redirect::to(next)).into_response())
}

async fn note(store: &Store, message: String) -> Result<(), StoreError> {
    store
        .write(move |tx| {
            let (level, subject) = (Level::Info, Subject::default());
            tx.emit(NewEvent { level, subject, kind: EventKind::System, message }).map(drop)
        })
        .await
}

pub(super) async fn log_out(
    State(web): State<WebState>,
    tls: Option<Extension<TlsTransport>>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    if let Some(key) = session_id(&headers).map(token_hash) {
        web.store()
            .write(move |tx| {
                tx.delete_session(&key);
                Ok::<_, StoreError>(())
            })
            .await?;
    }
    let cookie = [(header::SET_COOKIE, session_cookie("", tls.is_some()))];
    Ok((cookie, Redirect::to("/login")).into_response())
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SetupQuery {
    token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SetupForm {
    token: String,
    password: String,
    repeated: String,
}

fn bad_link() -> Refusal {
    Refusal::new(
        RefusalKind::Forbidden,
        "This set-up link is not valid: it was used, or a newer one was printed.",
        "Restart the appliance to print a new one, as long as no password is set.",
    )
}

fn is_token(stored: Option<&str>, given: &str) -> bool {
    stored.is_some_and(|hash| bool::from(hash.as_bytes().ct_eq(token_hash(given).as_bytes())))
}

pub(super) async fn show_setup(
    State(web): State<WebState>,
    Query(query): Query<SetupQuery>,
) -> Result<Response, PageProblem> {
    if has_password(&web).await? {
        return Ok(Redirect::to("/login").into_response());
    }
    let stored = web.store().read(|read| read.setting::<String>(SETUP_SETTING)).await?;
    if !is_token(stored.as_deref(), &query.token) {
        return Err(bad_link().into());
    }
    Ok(render_with(StatusCode::OK, &SetupPage::new(query.token, None)))
}

pub(super) async fn set_up(
    State(web): State<WebState>,
    peer: Peer,
    Form(form): Form<SetupForm>,
) -> Result<Response, PageProblem> {
    let stored = web.store().read(|read| read.setting::<String>(SETUP_SETTING)).await?;
    if !is_token(stored.as_deref(), &form.token) {
        return Err(bad_link().into());
    }
    let refused = if form.password == form.repeated {
        super::password::check_rules(&form.password).err()
    } else {
        let detail = "The two passwords differ.";
        Some(Refusal::new(RefusalKind::Unprocessable, detail, "Type them again.").about("repeated"))
    };
    if let Some(refusal) = refused {
        let page = SetupPage::new(form.token, Some(refusal));
        return Ok(render_with(StatusCode::UNPROCESSABLE_ENTITY, &page));
    }
    let hash = web.gate.hash(Secret::new(form.password)).await?;
    // Checked again inside the write: of two visits with the same link one wins.
    let given = form.token;
    let set = web
        .store()
        .write(move |tx| {
            let stored = tx.setting::<String>(SETUP_SETTING)?;
            if tx.setting::<String>(SETTING)?.is_some() || !is_token(stored.as_deref(), &given) {
                return Ok::<_, StoreError>(false);
            }
            tx.save_setting(SETTING, &hash)?;
            tx.delete_setting(SETUP_SETTING);
            Ok(true)
        })
        .await?;
    if !set {
        return Err(bad_link().into());
    }
    tracing::info!(address = %peer.address, "the operator password was set");
    Ok(logged_in(&web, &peer, "/").await?)
}
