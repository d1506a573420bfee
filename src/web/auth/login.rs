//! Login, logout, and the first visit.

use std::net::IpAddr;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::{Extension, http};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::password::{Checked, Guess};
use super::proxy::Client;
use super::session::{Browser, begin_session, session_cookie, session_id};
use super::{TlsTransport, local_path, random_token, token_hash};
use crate::domain::account::{Account, AccountName, network_of};
use crate::domain::audit::{Author, Who};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::store::{
    AccountReads as _, NewEvent, OLD_PASSWORD, Read, SessionReads as _, SettingReads as _, Store,
    StoreError, as_author,
};
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
            tx.adopt_old_password()?;
            if someone_has_a_password(tx)? {
                return Ok::<_, StoreError>(false);
            }
            tx.save_setting(SETUP_SETTING, &hash)?;
            Ok(true)
        })
        .await?;
    Ok(wanted.then(|| format!("{}/setup?token={token}", public_url.trim_end_matches('/'))))
}

/// Makes the single password and the token of Prometheus of earlier versions the first account and one of the API tokens.
///
/// # Errors
/// When the database fails.
pub async fn adopt_old_access(store: &Store) -> Result<(), StoreError> {
    store
        .write(|tx| {
            tx.adopt_old_password()?;
            super::token::adopt_old_reader(tx)
        })
        .await
}

fn someone_has_a_password(read: &(impl Read + ?Sized)) -> Result<bool, StoreError> {
    let is_old = read.setting::<String>(OLD_PASSWORD)?.is_some();
    Ok(is_old || read.accounts()?.iter().any(|account| account.password_hash.is_some()))
}

/// Address and transport of the browser.
pub(super) struct Peer {
    address: IpAddr,
    /// Nobody else comes from it: it can be known to an account.
    is_own: bool,
    over_tls: bool,
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        // A listener that does not tell addresses makes all its peers one.
        let client = parts.extensions.get::<Client>();
        let address = client.map_or(IpAddr::from([0, 0, 0, 0]), |client| client.address);
        let is_own = client.is_some_and(|client| client.is_own);
        let over_tls = parts.extensions.get::<TlsTransport>().is_some();
        Ok(Self { address, is_own, over_tls })
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
    web.store().read(someone_has_a_password).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct LoginForm {
    /// Left out: the first account.
    username: String,
    password: String,
    next: String,
}

/// Longest account name that is looked at.
const NAME_CHARS: usize = 64;

pub(super) async fn log_in(
    State(web): State<WebState>,
    peer: Peer,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, PageProblem> {
    let typed: String =
        form.username.trim().to_ascii_lowercase().chars().take(NAME_CHARS).collect();
    let wanted = if typed.is_empty() { Ok(AccountName::first()) } else { typed.parse() }.ok();
    let (account, has_password) = web
        .store()
        .read(move |read| {
            let account = wanted.map(|name| read.account(&name)).transpose()?.flatten();
            Ok::<_, StoreError>((account, someone_has_a_password(read)?))
        })
        .await?;
    let next = local_path(&form.next).to_owned();
    let guess = Guess {
        account: account.as_ref().map_or_else(|| typed.clone(), |a| a.name.to_string()),
        address: peer.address,
        is_known: peer.is_own
            && account.as_ref().is_some_and(|a| a.known.contains(&network_of(peer.address))),
    };
    let hash = account.as_ref().filter(|a| !a.disabled).and_then(|a| a.password_hash.clone());
    let checked = web.gate.check(Secret::new(form.password), hash, &guess).await;
    let refusal = match (checked, account) {
        (Ok(Checked::Right), Some(account)) => {
            return logged_in(&web, &peer, account.name, &headers, &next).await;
        }
        (Ok(checked), account) => {
            tracing::warn!(address = %peer.address, account = guess.account, "a login failed");
            if let (Checked::WrongAndLocked, Some(account)) = (checked, account) {
                note_lock(web.store(), &account, peer.address).await?;
            }
            let detail = "There is no such account with this password.";
            let hint = "Passwords are case-sensitive.";
            Refusal::new(RefusalKind::Unauthenticated, detail, hint)
        }
        (Err(refusal), _) => {
            tracing::warn!(address = %peer.address, account = guess.account, "logins are being slowed down");
            refusal
        }
    };
    let status = crate::web::problem::status(refusal.kind);
    let page = LoginPage::new(next, has_password, Some(refusal)).of(typed);
    let mut response = render_with(status, &page);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(header::RETRY_AFTER, http::HeaderValue::from_static("60"));
    }
    Ok(response)
}

/// On whose behalf the browser of an account acts.
fn author(name: &AccountName, address: IpAddr, action: &str) -> Author {
    let who = Who::Account(name.to_string());
    Author { who, address: Some(address), action: action.to_owned() }
}

async fn logged_in(
    web: &WebState,
    peer: &Peer,
    name: AccountName,
    headers: &HeaderMap,
    next: &str,
) -> Result<Response, PageProblem> {
    let author = author(&name, peer.address, "POST /login");
    let from = Browser::new(peer.address, peer.is_own, headers);
    let Some(id) = as_author(author, begin_session(web, name, from)).await? else {
        let detail = "The account was disabled meanwhile.";
        return Err(Refusal::new(RefusalKind::Forbidden, detail, "Ask another operator.").into());
    };
    let cookie = [(header::SET_COOKIE, session_cookie(&id, peer.over_tls))];
    Ok((cookie, Redirect::to(next)).into_response())
}

async fn note_lock(store: &Store, account: &Account, address: IpAddr) -> Result<(), StoreError> {
    let message = format!(
        "Passwords of {} are being guessed, last from {address}: networks that it never logged in from must wait.",
        account.name
    );
    store
        .write(move |tx| {
            let (level, subject) = (Level::Warn, Subject::default());
            tx.emit(NewEvent { level, subject, kind: EventKind::System, message }).map(drop)
        })
        .await
}

pub(super) async fn log_out(
    State(web): State<WebState>,
    tls: Option<Extension<TlsTransport>>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    if let Some(key) = session_id(&headers).map(token_hash) {
        let wanted = key.clone();
        let session = web.store().read(move |read| read.session(&wanted)).await?;
        if let Some(session) = session {
            let ended = web.store().write(move |tx| {
                tx.delete_session(&key);
                Ok::<_, StoreError>(())
            });
            as_author(author(&session.account, peer.address, "POST /logout"), ended).await?;
            web.access_changed();
        }
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
    headers: HeaderMap,
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
    let name = AccountName::first();
    let author = author(&name, peer.address, "POST /setup");
    let set = web.store().write(move |tx| {
        let stored = tx.setting::<String>(SETUP_SETTING)?;
        if someone_has_a_password(tx)? || !is_token(stored.as_deref(), &given) {
            return Ok::<_, StoreError>(false);
        }
        let now = tx.now();
        let mut account = match tx.account(&AccountName::first())? {
            Some(account) => account,
            None => Account::new(AccountName::first(), None, now),
        };
        (account.password_hash, account.password_set) = (Some(hash), Some(now));
        account.disabled = false;
        tx.save_account(&account)?;
        tx.delete_setting(SETUP_SETTING);
        Ok(true)
    });
    if !as_author(author, set).await? {
        return Err(bad_link().into());
    }
    tracing::info!(address = %peer.address, "the first account's password was set");
    logged_in(&web, &peer, name, &headers, "/").await
}
