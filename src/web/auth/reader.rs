//! The token of Prometheus. It comes again and again, keeps its credentials in a file that others may read, and must not
//! be able to do what an operator can: so it gets a token of its own that opens a list of addresses and the metrics for reading.

use axum::extract::Request;
use axum::http::{Method, header};
use subtle::ConstantTimeEq as _;

use super::{random_token, token_hash};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::secret::Secret;
use crate::store::{NewEvent, SettingReads as _, Store, StoreError};

/// What the token opens: the list of addresses, and the numbers of this program.
const PATHS: [&str; 2] = ["/api/prometheus/targets", "/metrics"];
/// Setting that holds the token's hash.
const SETTING: &str = "prometheus_token";

/// Makes a new token; the one before ends. It is stored nowhere in the clear.
///
/// # Errors
/// When the database fails.
pub(in crate::web) async fn new_reader_token(store: &Store) -> Result<Secret<String>, StoreError> {
    let token = Secret::new(random_token());
    let hash = token_hash(token.expose());
    store
        .write(move |tx| {
            tx.save_setting(SETTING, &hash)?;
            let (level, subject) = (Level::Info, Subject::default());
            let message = "A new token for Prometheus was made.".to_owned();
            tx.emit(NewEvent { level, subject, kind: EventKind::System, message }).map(drop)
        })
        .await?;
    Ok(token)
}

/// The hash of the token of a request that looks at the list with one.
pub(super) fn given_token(request: &Request) -> Option<String> {
    let reads = *request.method() == Method::GET && PATHS.contains(&request.uri().path());
    let value = request.headers().get(header::AUTHORIZATION).filter(|_| reads)?;
    value.to_str().ok()?.strip_prefix("Bearer ").map(|token| token_hash(token.trim()))
}

/// Whether this is the hash of the token.
pub(super) async fn is_reader(store: &Store, given: &str) -> Result<bool, StoreError> {
    let kept = store.read(|read| read.setting::<String>(SETTING)).await?;
    Ok(kept.is_some_and(|kept| bool::from(kept.as_bytes().ct_eq(given.as_bytes()))))
}
