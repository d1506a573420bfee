//! Sessions of browsers: the cookie, its record, its end.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};

use super::{random_token, token_hash};
use crate::domain::account::{Account, AccountName, network_of};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::{KNOWN_NETWORKS, SESSION_IDLE, SESSION_TIME};
use crate::store::{AccountReads as _, NewEvent, Session, SessionReads as _, StoreError};
use crate::web::WebState;

const COOKIE: &str = "ironhatch_session";
const TLS_COOKIE: &str = "__Host-ironhatch_session";
/// Digits of a session's hash by which people end it.
const SHOWN_DIGITS: usize = 16;
/// What is kept of the browser's name.
const AGENT_CHARS: usize = 120;

/// The session id that the browser sent.
pub(super) fn session_id(headers: &HeaderMap) -> Option<&str> {
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
pub(super) fn session_cookie(id: &str, over_tls: bool) -> HeaderValue {
    let (name, secure) = if over_tls { (TLS_COOKIE, "; Secure") } else { (COOKIE, "") };
    let age = if id.is_empty() { 0 } else { SESSION_TIME.as_secs() };
    let text = format!("{name}={id}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The session of this request, prolonged when a good part of its time is over. A session of an account that is
/// disabled or gone is none.
pub(super) async fn current_session(
    web: &WebState,
    headers: &HeaderMap,
) -> Result<Option<Session>, StoreError> {
    let Some(id) = session_id(headers) else { return Ok(None) };
    let Some(mut session) = living(web, token_hash(id)).await? else { return Ok(None) };
    let now = web.store().now();
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

/// The session with this hash, when it is not over and its account can be used.
pub(super) async fn living(web: &WebState, id_hash: String) -> Result<Option<Session>, StoreError> {
    let now = web.store().now();
    web.store()
        .read(move |read| {
            let Some(session) = read.session(&id_hash)?.filter(|s| s.expires > now) else {
                return Ok(None);
            };
            let account = read.account(&session.account)?;
            Ok(account.filter(|a| !a.disabled).map(|_| session))
        })
        .await
}

/// From where a session begins.
pub(super) struct Browser {
    pub(super) address: IpAddr,
    /// The account shall know the address: it is not one that everybody behind a proxy has.
    pub(super) is_own: bool,
    pub(super) agent: String,
}

impl Browser {
    pub(super) fn new(address: IpAddr, is_own: bool, headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("");
        let agent = agent.chars().filter(|c| !c.is_control()).take(AGENT_CHARS).collect();
        Self { address, is_own, agent }
    }
}

/// Writes a new session of an account and returns its id; `None` when the account was disabled or removed meanwhile.
pub(super) async fn begin_session(
    web: &WebState,
    name: AccountName,
    from: Browser,
) -> Result<Option<String>, StoreError> {
    let id = random_token();
    let id_hash = token_hash(&id);
    let csrf = random_token();
    let begun = web
        .store()
        .write(move |tx| {
            let Some(mut account) = tx.account(&name)?.filter(|a| !a.disabled) else {
                return Ok::<_, StoreError>(false);
            };
            let now = tx.now();
            if from.is_own {
                remember(&mut account, from.address);
            }
            account.last_login = Some(now);
            tx.save_account(&account)?;
            let message = format!("{name} logged in from {}.", from.address);
            tx.save_session(&Session {
                id_hash,
                csrf,
                created: now,
                expires: now.after(SESSION_IDLE),
                account: name,
                address: Some(from.address),
                agent: from.agent,
            })?;
            let (level, subject) = (Level::Info, Subject::default());
            tx.emit(NewEvent { level, subject, kind: EventKind::System, message })?;
            Ok(true)
        })
        .await?;
    Ok(begun.then_some(id))
}

fn remember(account: &mut Account, address: IpAddr) {
    let network = network_of(address);
    account.known.retain(|known| *known != network);
    account.known.insert(0, network);
    account.known.truncate(KNOWN_NETWORKS);
}

/// By what people name a session. It opens nothing.
pub(in crate::web) fn shown_id(session: &Session) -> &str {
    session.id_hash.get(..SHOWN_DIGITS).unwrap_or(&session.id_hash)
}

/// Ends the session that is shown by this id.
///
/// # Errors
/// When there is none.
pub(in crate::web) async fn end_session(web: &WebState, shown: String) -> Result<(), Refusal> {
    web.store()
        .write(move |tx| {
            let all = tx.sessions()?;
            let found = all.iter().find(|s| shown_id(s) == shown).ok_or_else(|| {
                let detail = "There is no such session.";
                Refusal::new(RefusalKind::NotFound, detail, "It may have ended by itself.")
            })?;
            tx.delete_session(&found.id_hash);
            Ok::<_, Refusal>(())
        })
        .await?;
    web.access_changed();
    Ok(())
}
