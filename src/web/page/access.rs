//! Who has access: accounts, sessions, API tokens.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::{Frame, Page, SecretPage, missing, render, render_with};
use crate::domain::account::{Account, AccountName, ApiToken, Scope};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::{AccountReads as _, ApiTokenReads as _, Session, SessionReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::{Operator, account, session, token};
use crate::web::view::{When, duration};

struct AccountRow {
    name: AccountName,
    disabled: bool,
    has_password: bool,
    /// For how long strange networks are shut out; empty: not at all.
    locked: String,
    last_login: Option<When>,
    is_own: bool,
}

struct SessionRow {
    id: String,
    account: AccountName,
    address: String,
    agent: String,
    begun: When,
    is_own: bool,
}

struct TokenRow {
    id: String,
    name: String,
    scope: &'static str,
    owner: String,
    made: When,
    /// When it ends; empty: when it is revoked.
    ends: String,
    is_over: bool,
    used: Option<When>,
}

impl TokenRow {
    fn new(token: ApiToken, now: Timestamp) -> Self {
        Self {
            scope: token.scope.as_str(),
            owner: token.owner.map(|name| name.to_string()).unwrap_or_default(),
            made: When::new(token.created, now),
            ends: token.expires.map(|end| When::new(end, now).full).unwrap_or_default(),
            is_over: token.expires.is_some_and(|end| end <= now),
            used: token.last_used.map(|used| When::new(used, now)),
            id: token.id,
            name: token.name,
        }
    }
}

/// What a form asked for and did not get.
#[derive(Default)]
struct Declined {
    /// Which form.
    form: &'static str,
    refusal: Option<Refusal>,
    name: String,
    scope: String,
    days: String,
}

impl Declined {
    fn at(form: &'static str, refusal: Refusal) -> Self {
        Self { form, refusal: Some(refusal), ..Self::default() }
    }
}

#[derive(Template)]
#[template(path = "access.html")]
struct AccessPage {
    frame: Frame,
    accounts: Vec<AccountRow>,
    sessions: Vec<SessionRow>,
    tokens: Vec<TokenRow>,
    scopes: Vec<(&'static str, &'static str)>,
    declined: Declined,
}

impl AccessPage {
    fn error(&self, form: &str) -> Option<&Refusal> {
        self.declined.refusal.as_ref().filter(|_| self.declined.form == form)
    }
}

/// The scopes with what they open, the most useful ones first.
const SCOPES: [(Scope, &str); 4] = [
    (Scope::Read, "look at everything but access"),
    (Scope::Operate, "and change hosts, guests, images, nodes"),
    (Scope::Admin, "and accounts, tokens, audit log"),
    (Scope::Metrics, "only the numbers and targets for Prometheus"),
];

async fn answer(web: WebState, operator: Operator, declined: Declined) -> Page {
    let refusal = declined.refusal.as_ref();
    let status = refusal.map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let own = operator.account.clone();
        let account_row = |account: Account| AccountRow {
            locked: state.gate.locked(&account.name).map(duration).unwrap_or_default(),
            disabled: account.disabled,
            has_password: account.password_hash.is_some(),
            last_login: account.last_login.map(|at| When::new(at, now)),
            is_own: own.as_ref() == Some(&account.name),
            name: account.name,
        };
        let session_row = |found: Session| SessionRow {
            id: session::shown_id(&found).to_owned(),
            address: found.address.map(|a| a.to_string()).unwrap_or_default(),
            begun: When::new(found.created, now),
            is_own: operator.session() == Some(found.id_hash.as_str()),
            account: found.account,
            agent: found.agent,
        };
        let mut sessions = read.sessions()?;
        sessions.retain(|s| s.expires > now);
        sessions.sort_by_key(|s| std::cmp::Reverse(s.created));
        Ok::<_, StoreError>(AccessPage {
            frame: Frame::new(&state, read, &operator, "access", "Access")?,
            accounts: read.accounts()?.into_iter().map(account_row).collect(),
            sessions: sessions.into_iter().map(session_row).collect(),
            tokens: read.api_tokens()?.into_iter().map(|t| TokenRow::new(t, now)).collect(),
            scopes: SCOPES.iter().map(|(scope, what)| (scope.as_str(), *what)).collect(),
            declined,
        })
    });
    Ok(render_with(status, &page.await?))
}

fn back() -> Page {
    Ok(Redirect::to("/access").into_response())
}

/// Back to the page, which shows the change or why there is none.
async fn done(web: WebState, operator: Operator, did: Result<(), Refusal>) -> Page {
    match did {
        Ok(()) => back(),
        Err(refusal) => answer(web, operator, Declined::at("accounts", refusal)).await,
    }
}

pub(crate) async fn show(State(web): State<WebState>, operator: Operator) -> Page {
    answer(web, operator, Declined::default()).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct PasswordForm {
    name: String,
    password: String,
    repeated: String,
}

impl PasswordForm {
    /// The password, when it was typed twice alike.
    fn password(&mut self) -> Result<Secret<String>, Refusal> {
        let password = Secret::new(std::mem::take(&mut self.password));
        let repeated = Secret::new(std::mem::take(&mut self.repeated));
        if password.expose() == repeated.expose() {
            return Ok(password);
        }
        let detail = "The two passwords differ.";
        Err(Refusal::new(RefusalKind::Unprocessable, detail, "Type them again.").about("repeated"))
    }
}

async fn try_to_add(web: &WebState, form: &mut PasswordForm) -> Result<(), Refusal> {
    let name = account::parse_name(&form.name)?;
    let password = Some(form.password()?).filter(|p| !p.expose().is_empty());
    account::add(web, name, password).await.map(drop)
}

pub(crate) async fn add_account(
    State(web): State<WebState>,
    operator: Operator,
    Form(mut form): Form<PasswordForm>,
) -> Page {
    match try_to_add(&web, &mut form).await {
        Ok(()) => back(),
        Err(refusal) => {
            let declined = Declined { name: form.name, ..Declined::at("account", refusal) };
            answer(web, operator, declined).await
        }
    }
}

fn named(name: &str) -> Result<AccountName, Refusal> {
    name.parse().map_err(|_| missing("account"))
}

pub(crate) async fn set_password(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
    Form(mut form): Form<PasswordForm>,
) -> Page {
    let name = named(&name)?;
    let kept = operator.session().map(str::to_owned);
    let did = match form.password() {
        Ok(password) => account::set_password(&web, name, password, kept).await,
        Err(refusal) => Err(refusal),
    };
    done(web, operator, did).await
}

pub(crate) async fn disable(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
) -> Page {
    let did = account::set_disabled(&web, named(&name)?, true).await;
    done(web, operator, did).await
}

pub(crate) async fn enable(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
) -> Page {
    let did = account::set_disabled(&web, named(&name)?, false).await;
    done(web, operator, did).await
}

pub(crate) async fn unlock(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
) -> Page {
    let did = account::unlock(&web, named(&name)?).await;
    done(web, operator, did).await
}

pub(crate) async fn remove(
    State(web): State<WebState>,
    Path(name): Path<String>,
    operator: Operator,
) -> Page {
    let did = account::remove(&web, named(&name)?).await;
    done(web, operator, did).await
}

pub(crate) async fn end_session(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let did = session::end_session(&web, id).await;
    done(web, operator, did).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct TokenForm {
    name: String,
    scope: String,
    days: String,
}

impl TokenForm {
    fn parse(&self, owner: Option<AccountName>) -> Result<token::NewToken, Refusal> {
        let days = match self.days.trim() {
            "" => None,
            days => Some(days.parse().map_err(|_| {
                let detail = "The number of days is not a number.";
                let hint = "Leave it empty for a token without an end.";
                Refusal::new(RefusalKind::Unprocessable, detail, hint).about("days")
            })?),
        };
        token::NewToken::parse(&self.name, &self.scope, days, owner)
    }
}

pub(crate) async fn make_token(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<TokenForm>,
) -> Page {
    let made = match form.parse(operator.account.clone()) {
        Ok(new) => token::make(&web, new).await,
        Err(refusal) => Err(refusal),
    };
    match made {
        Ok((made, secret)) => {
            let page = SecretPage {
                title: format!("API token '{}'", made.name),
                note: "It is shown this once. Send it as 'Authorization: Bearer …'.",
                secret,
                back: "/access".to_owned(),
            };
            let state = web.clone();
            let page = web.store().read(move |read| page.framed(&state, read, &operator, "access"));
            render(&page.await?)
        }
        Err(refusal) => {
            let TokenForm { name, scope, days } = form;
            let declined = Declined { name, scope, days, ..Declined::at("token", refusal) };
            answer(web, operator, declined).await
        }
    }
}

pub(crate) async fn revoke_token(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let did = token::revoke(&web, id).await;
    done(web, operator, did).await
}
