//! API tokens: for programs, with a scope and an end. A program keeps its credentials in a file that others may read, and
//! must not be able to do all that an operator can. `Authorization: Bearer …` carries one; it is stored as its hash.

use std::time::Duration;

use axum::http::{HeaderMap, Method, header};
use subtle::ConstantTimeEq as _;

use super::{Operator, Proof, random_token, token_hash};
use crate::domain::account::{AccountName, ApiToken, Scope, TOKEN_ID_DIGITS};
use crate::domain::audit::Who;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::limits::operator::API_TOKENS;
use crate::store::{AccountReads as _, ApiTokenReads as _, SettingReads as _, StoreError, Tx};
use crate::web::WebState;

/// What a metrics token opens: the list of addresses, and the numbers of this program.
const METRICS_PATHS: [&str; 2] = ["/api/prometheus/targets", "/metrics"];
/// What only an admin token opens, for reading too: who has access and what they did, and all that the log knows.
const ADMIN_PATHS: [&str; 7] = [
    "/api/accounts",
    "/api/sessions",
    "/api/tokens",
    "/api/audit",
    "/api/prometheus/token",
    "/api/setup-link",
    "/api/debug-bundle",
];
/// Setting in which earlier versions kept the hash of Prometheus' token.
const OLD_READER: &str = "prometheus_token";
/// Name of the token that the page of nodes makes.
const READER: &str = "Prometheus";
/// How exactly the last use is known: not each one is a write.
const USE_NOTED_EVERY: Duration = Duration::from_hours(1);
/// Longest name of a token.
const NAME_CHARS: usize = 60;
/// Longest life of a token that ends by itself.
const MOST_DAYS: u32 = 3650;

/// The token that a request carries. An empty one is one, too: it opens nothing.
pub(super) fn given(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

pub(super) fn unknown() -> Refusal {
    Refusal::new(
        RefusalKind::Unauthenticated,
        "The token is not known: it was revoked, it is over, or it never was one.",
        "Make a new one on the page Access of the dashboard, or with `ironhatch token add` on the appliance.",
    )
}

/// The token as it is kept, when it opens something now: not over, and its account is not disabled.
fn living(
    read: &(impl crate::store::Read + ?Sized),
    id: &str,
    now: Timestamp,
) -> Result<Option<ApiToken>, StoreError> {
    let found = read.api_token(id)?.filter(|token| token.expires.is_none_or(|end| end > now));
    let Some(token) = found else { return Ok(None) };
    let is_usable = match &token.owner {
        None => true,
        Some(owner) => read.account(owner)?.is_some_and(|account| !account.disabled),
    };
    Ok(is_usable.then_some(token))
}

/// Who holds this token.
pub(super) async fn holder(web: &WebState, given: &str) -> Result<Option<Operator>, StoreError> {
    let hash = token_hash(given);
    let Some(id) = hash.get(..TOKEN_ID_DIGITS).map(str::to_owned) else { return Ok(None) };
    let now = web.store().now();
    let found = web.store().read(move |read| living(read, &id, now)).await?;
    let Some(token) = found.filter(|t| bool::from(t.hash.as_bytes().ct_eq(hash.as_bytes()))) else {
        return Ok(None);
    };
    if token.last_used.is_none_or(|used| now.since(used) > USE_NOTED_EVERY) {
        let id = token.id.clone();
        // Looked up again: a revocation in between must not be undone.
        web.store()
            .write(move |tx| match tx.api_token(&id)? {
                Some(mut token) => {
                    token.last_used = Some(now);
                    tx.save_api_token(&token)
                }
                None => Ok(()),
            })
            .await?;
    }
    Ok(Some(Operator {
        csrf: String::new(),
        local: false,
        who: Who::Token(token.name),
        account: token.owner,
        scope: token.scope,
        proof: Proof::Token(token.id),
    }))
}

/// Whether this token still opens something.
pub(super) async fn is_living(web: &WebState, id: String) -> bool {
    let now = web.store().now();
    web.store().read(move |read| living(read, &id, now)).await.is_ok_and(|found| found.is_some())
}

/// What a request needs. Pages are for browsers: no token opens them.
pub(in crate::web) fn needed(method: &Method, path: &str) -> Option<Scope> {
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    let is_below = |top: &str| {
        path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if is_reading && METRICS_PATHS.contains(&path) {
        return Some(Scope::Metrics);
    }
    if ADMIN_PATHS.iter().any(|top| is_below(top)) {
        return Some(Scope::Admin);
    }
    if path == "/events" {
        return Some(Scope::Read);
    }
    path.starts_with("/api/").then_some(if is_reading { Scope::Read } else { Scope::Operate })
}

/// Refuses what is outside of a token's scope.
pub(super) fn check_scope(operator: &Operator, method: &Method, path: &str) -> Result<(), Refusal> {
    let Proof::Token(_) = operator.proof else { return Ok(()) };
    let has = operator.scope.as_str();
    match needed(method, path) {
        Some(scope) if scope <= operator.scope => Ok(()),
        Some(scope) => Err(Refusal::new(
            RefusalKind::Forbidden,
            format!(
                "This needs a token with the scope {}; the one that was sent has {has}.",
                scope.as_str()
            ),
            "Use another token.",
        )),
        None => Err(Refusal::new(
            RefusalKind::Forbidden,
            "Pages are not opened by tokens.",
            "Use the API below /api/, or log in with a browser.",
        )),
    }
}

/// A token to be made.
#[derive(Debug)]
pub(in crate::web) struct NewToken {
    pub(in crate::web) name: String,
    pub(in crate::web) scope: Scope,
    pub(in crate::web) owner: Option<AccountName>,
    /// `None`: until it is revoked.
    pub(in crate::web) days: Option<u32>,
}

impl NewToken {
    /// What was entered, checked.
    ///
    /// # Errors
    /// A name without letters or too long, an unknown scope, a time out of bounds.
    pub(in crate::web) fn parse(
        name: &str,
        scope: &str,
        days: Option<u32>,
        owner: Option<AccountName>,
    ) -> Result<Self, Refusal> {
        let wrong = |field, detail: String, hint: &str| {
            Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about(field))
        };
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS || name.contains(char::is_control) {
            let detail = format!("A name has 1 to {NAME_CHARS} characters.");
            return wrong("name", detail, "Say what the token is for, as in 'backup script'.");
        }
        let scope: Scope = match scope.parse() {
            Ok(scope) => scope,
            Err(e) => return wrong("scope", format!("{e}."), "Take the smallest that is enough."),
        };
        if days.is_some_and(|days| days == 0 || days > MOST_DAYS) {
            let detail = format!("A token lives 1 to {MOST_DAYS} days.");
            return wrong("days", detail, "Leave it empty for a token without an end.");
        }
        Ok(Self { name: name.to_owned(), scope, owner, days })
    }
}

/// Makes a token, and tells it this once.
///
/// # Errors
/// When there are too many, or the database fails.
pub(in crate::web) async fn make(
    web: &WebState,
    new: NewToken,
) -> Result<(ApiToken, Secret<String>), Refusal> {
    let plain = Secret::new(random_token());
    let hash = token_hash(plain.expose());
    let made = web.store().write(move |tx| save(tx, new, hash)).await?;
    Ok((made, plain))
}

fn save(tx: &mut Tx<'_, '_>, new: NewToken, hash: String) -> Result<ApiToken, Refusal> {
    let now = tx.now();
    let all = tx.api_tokens()?;
    let (over, living): (Vec<_>, Vec<_>) =
        all.iter().partition(|token| token.expires.is_some_and(|end| end <= now));
    if living.len() >= API_TOKENS {
        let detail = format!("There are {API_TOKENS} tokens, which is the most.");
        return Err(Refusal::new(RefusalKind::Conflict, detail, "Revoke one that nobody uses."));
    }
    if all.len() >= API_TOKENS {
        for token in over {
            tx.delete_api_token(&token.id);
        }
    }
    let life = new.days.map(|days| Duration::from_hours(24).saturating_mul(days));
    let token = ApiToken {
        id: hash.chars().take(TOKEN_ID_DIGITS).collect(),
        hash,
        name: new.name,
        scope: new.scope,
        owner: new.owner,
        created: now,
        expires: life.map(|life| now.after(life)),
        last_used: None,
    };
    tx.save_api_token(&token)?;
    Ok(token)
}

/// Revokes a token: it opens nothing from now on.
///
/// # Errors
/// When there is none with this id.
pub(in crate::web) async fn revoke(web: &WebState, id: String) -> Result<(), Refusal> {
    web.store()
        .write(move |tx| {
            if tx.api_token(&id)?.is_none() {
                let detail = "There is no such token.";
                let hint = "List them to see what there is.";
                return Err(Refusal::new(RefusalKind::NotFound, detail, hint));
            }
            tx.delete_api_token(&id);
            Ok(())
        })
        .await?;
    web.access_changed();
    Ok(())
}

/// Makes a new token for Prometheus; the one before ends.
///
/// # Errors
/// As for [`make`].
pub(in crate::web) async fn make_reader(web: &WebState) -> Result<Secret<String>, Refusal> {
    let plain = Secret::new(random_token());
    let hash = token_hash(plain.expose());
    web.store()
        .write(move |tx| {
            for old in tx.api_tokens()?.into_iter().filter(is_reader) {
                tx.delete_api_token(&old.id);
            }
            save(
                tx,
                NewToken {
                    name: READER.to_owned(),
                    scope: Scope::Metrics,
                    owner: None,
                    days: None,
                },
                hash,
            )
        })
        .await?;
    web.access_changed();
    Ok(plain)
}

fn is_reader(token: &ApiToken) -> bool {
    token.name == READER && token.scope == Scope::Metrics
}

/// Makes the Prometheus token of earlier versions one of these. Nothing happens the second time.
pub(super) fn adopt_old_reader(tx: &mut Tx<'_, '_>) -> Result<(), StoreError> {
    let Some(hash) = tx.setting::<String>(OLD_READER)? else { return Ok(()) };
    let token = ApiToken {
        id: hash.chars().take(TOKEN_ID_DIGITS).collect(),
        hash,
        name: READER.to_owned(),
        scope: Scope::Metrics,
        owner: None,
        created: tx.now(),
        expires: None,
        last_used: None,
    };
    tx.save_api_token(&token)?;
    tx.delete_setting(OLD_READER);
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn each_scope_opens_what_it_says_and_no_page() {
        let table = [
            ("GET", "/metrics", Some(Scope::Metrics)),
            ("GET", "/api/prometheus/targets", Some(Scope::Metrics)),
            ("POST", "/api/prometheus/targets", Some(Scope::Operate)),
            ("POST", "/metrics", None),
            ("POST", "/api/prometheus/token", Some(Scope::Admin)),
            ("GET", "/events", Some(Scope::Read)),
            ("GET", "/api/hosts", Some(Scope::Read)),
            ("HEAD", "/api/hosts/x", Some(Scope::Read)),
            ("POST", "/api/hosts/x/rebuild", Some(Scope::Operate)),
            ("DELETE", "/api/hosts/x", Some(Scope::Operate)),
            ("GET", "/api/audit", Some(Scope::Admin)),
            ("GET", "/api/tokens", Some(Scope::Admin)),
            ("DELETE", "/api/tokens/x", Some(Scope::Admin)),
            ("GET", "/api/accounts/x", Some(Scope::Admin)),
            ("GET", "/api/accountsx", Some(Scope::Read)),
            ("GET", "/", None),
            ("POST", "/hosts/x/rebuild", None),
            ("GET", "/access", None),
        ];
        for (method, path, scope) in table {
            assert_eq!(needed(&method.parse().unwrap(), path), scope, "{method} {path}");
        }
    }

    #[test]
    fn the_token_is_what_follows_bearer() {
        let sent = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            given(&headers)
        };
        assert_eq!(sent("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(sent("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(sent("Bearer ").as_deref(), Some(""));
        assert_eq!(sent("Basic abc"), None);
        assert_eq!(sent("abc"), None);
    }
}
