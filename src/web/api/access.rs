//! `/api/accounts`, `/api/sessions`, `/api/tokens` and `/api/audit`.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, ListQuery, Moment, PageQuery, body, created, missing, ok, time};
use crate::domain::account::{Account, AccountName, ApiToken, Scope};
use crate::domain::audit::{AuditEntry, Change, Who};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::store::{
    AccountReads as _, ApiTokenReads as _, AuditReads as _, Session, SessionReads as _, StoreError,
};
use crate::web::WebState;
use crate::web::auth::{Operator, account, session, token};
use crate::web::problem::Problem;

/// An account as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Account")]
pub(super) struct AccountBody {
    name: AccountName,
    disabled: bool,
    /// Without one it logs in through a trusted proxy only.
    has_password: bool,
    password_set: Option<Moment>,
    /// For so many seconds strange networks cannot try its password.
    locked_secs: Option<u64>,
    created: Moment,
    last_login: Option<Moment>,
}

impl AccountBody {
    fn new(web: &WebState, account: &Account) -> Self {
        Self {
            name: account.name.clone(),
            disabled: account.disabled,
            has_password: account.password_hash.is_some(),
            password_set: account.password_set.map(time),
            locked_secs: web.gate.locked(&account.name).map(|rest| rest.as_secs()),
            created: time(account.created),
            last_login: account.last_login.map(time),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct AccountList {
    accounts: Vec<AccountBody>,
    next: Option<String>,
}

fn parse(name: &str) -> Result<AccountName, Problem> {
    name.parse().map_err(|_| missing("account", name))
}

async fn find(web: &WebState, name: &AccountName) -> Result<Account, Problem> {
    let wanted = name.clone();
    let found = web.store().read(move |read| read.account(&wanted)).await?;
    found.ok_or_else(|| missing("account", name.as_str()))
}

pub(in crate::web) async fn accounts(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    let all: Result<Vec<Account>, StoreError> = web.store().read(|read| read.accounts()).await;
    let (all, next) = page.cut(all?, |account| account.name.to_string())?;
    let accounts = all.iter().map(|account| AccountBody::new(&web, account)).collect();
    Ok(ok(&AccountList { accounts, next }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBody {
    name: String,
    #[serde(default)]
    password: Option<String>,
}

pub(in crate::web) async fn add_account(
    State(web): State<WebState>,
    _: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: NewBody = body(&bytes)?;
    let name = account::parse_name(&asked.name)?;
    let made = account::add(&web, name, asked.password.map(Secret::new)).await?;
    Ok(created(StatusCode::CREATED, &AccountBody::new(&web, &made)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeBody {
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    disabled: Option<bool>,
}

pub(in crate::web) async fn change_account(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: ChangeBody = body(&bytes)?;
    let name = parse(&name)?;
    find(&web, &name).await?;
    if let Some(password) = asked.password {
        let kept = operator.session().map(str::to_owned);
        account::set_password(&web, name.clone(), Secret::new(password), kept).await?;
    }
    if let Some(disabled) = asked.disabled {
        account::set_disabled(&web, name.clone(), disabled).await?;
    }
    Ok(ok(&AccountBody::new(&web, &find(&web, &name).await?)))
}

pub(in crate::web) async fn remove_account(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Answer {
    account::remove(&web, parse(&name)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(in crate::web) async fn unlock_account(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Answer {
    account::unlock(&web, parse(&name)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A browser that is logged in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
struct SessionBody<'a> {
    id: &'a str,
    account: &'a AccountName,
    address: Option<IpAddr>,
    /// What the browser calls itself.
    agent: &'a str,
    created: Moment,
    expires: Moment,
    /// It is the one that asks.
    own: bool,
}

impl<'a> SessionBody<'a> {
    fn new(found: &'a Session, own: Option<&str>) -> Self {
        Self {
            id: session::shown_id(found),
            account: &found.account,
            address: found.address,
            agent: &found.agent,
            created: time(found.created),
            expires: time(found.expires),
            own: own == Some(found.id_hash.as_str()),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct SessionList<'a> {
    sessions: Vec<SessionBody<'a>>,
    next: Option<String>,
}

pub(in crate::web) async fn sessions(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    operator: Operator,
) -> Answer {
    let now = web.store().now();
    let all: Result<Vec<Session>, StoreError> = web.store().read(|read| read.sessions()).await;
    let mut all = all?;
    all.retain(|s| s.expires > now);
    all.sort_by_key(|s| std::cmp::Reverse(s.created));
    let (all, next) = page.cut(all, |s| session::shown_id(s).to_owned())?;
    let sessions = all.iter().map(|s| SessionBody::new(s, operator.session())).collect();
    Ok(ok(&SessionList { sessions, next }))
}

pub(in crate::web) async fn end_session(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    session::end_session(&web, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An API token as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(super) struct TokenShown<'a> {
    id: &'a str,
    name: &'a str,
    scope: Scope,
    /// `null`: it was made on the appliance itself.
    owner: Option<&'a AccountName>,
    created: Moment,
    expires: Option<Moment>,
    last_used: Option<Moment>,
    /// The token itself: only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> TokenShown<'a> {
    fn new(token: &'a ApiToken) -> Self {
        Self {
            id: &token.id,
            name: &token.name,
            scope: token.scope,
            owner: token.owner.as_ref(),
            created: time(token.created),
            expires: token.expires.map(time),
            last_used: token.last_used.map(time),
            token: None,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct TokenList<'a> {
    tokens: Vec<TokenShown<'a>>,
    next: Option<String>,
}

pub(in crate::web) async fn tokens(
    State(web): State<WebState>,
    Query(page): Query<ListQuery>,
    _: Operator,
) -> Answer {
    let all: Result<Vec<ApiToken>, StoreError> = web.store().read(|read| read.api_tokens()).await;
    let (all, next) = page.cut(all?, |token| token.id.clone())?;
    Ok(ok(&TokenList { tokens: all.iter().map(TokenShown::new).collect(), next }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    name: String,
    scope: String,
    #[serde(default)]
    days: Option<u32>,
}

/// The one answer that holds the token itself.
pub(in crate::web) async fn make_token(
    State(web): State<WebState>,
    operator: Operator,
    bytes: Bytes,
) -> Answer {
    let asked: TokenBody = body(&bytes)?;
    let new = token::NewToken::parse(&asked.name, &asked.scope, asked.days, operator.account)?;
    let (made, plain) = token::make(&web, new).await?;
    let shown = TokenShown { token: Some(plain.expose().as_str()), ..TokenShown::new(&made) };
    Ok(created(StatusCode::CREATED, &shown))
}

pub(in crate::web) async fn revoke_token(
    State(web): State<WebState>,
    Path(id): Path<String>,
    _: Operator,
) -> Answer {
    token::revoke(&web, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// One change of the audit log.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditEntry")]
struct EntryBody<'a> {
    seq: u64,
    at: Moment,
    who: &'a Who,
    /// From which address; `null` on the control socket.
    address: Option<IpAddr>,
    /// By which request: method and path.
    action: &'a str,
    changes: &'a [Change],
    /// So many further records were changed.
    more: usize,
}

impl<'a> EntryBody<'a> {
    fn new(entry: &'a AuditEntry) -> Self {
        Self {
            seq: entry.seq,
            at: time(entry.at),
            who: &entry.who,
            address: entry.address,
            action: &entry.action,
            changes: &entry.changes,
            more: entry.more,
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct AuditList<'a> {
    entries: Vec<EntryBody<'a>>,
    next: Option<String>,
}

pub(in crate::web) async fn audit(
    State(web): State<WebState>,
    Query(query): Query<PageQuery>,
    _: Operator,
) -> Answer {
    let limit = query.limit();
    let before = query.before.as_deref().map(str::parse::<u64>).transpose().map_err(|_| {
        let hint = "Give the number that the page before named in next.";
        Refusal::new(RefusalKind::Malformed, "before is not a number.", hint).about("before")
    })?;
    let found: Result<Vec<AuditEntry>, StoreError> =
        web.store().read(move |read| read.audit(before, limit)).await;
    let found = found?;
    // Where the next page begins; absent on the last one.
    let next =
        found.last().filter(|e| found.len() == limit && e.seq > 1).map(|e| e.seq.to_string());
    Ok(ok(&AuditList { entries: found.iter().map(EntryBody::new).collect(), next }))
}
