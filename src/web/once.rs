//! `Idempotency-Key` on requests that start work: the same key starts it once, whatever becomes of answer, connection or
//! daemon in between.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use sha2::{Digest as _, Sha256};

use super::WebState;
use super::auth::{Operator, Proof};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::FORM_BYTES;
use crate::store::{Once, OnceReads as _};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// Tells that the answer is about work which an earlier request started.
const REPEATED: &str = "idempotency-replayed";
/// Longest key.
const LONGEST: usize = 255;

/// Keys whose first request is being carried out.
#[derive(Debug, Default, Clone)]
pub(super) struct UnderWay(Arc<Mutex<HashSet<String>>>);

/// One of them; over when dropped.
pub(super) struct Ticket {
    pub(super) once: Once,
    all: UnderWay,
}

impl UnderWay {
    fn begin(&self, once: Once) -> Option<Ticket> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(once.key.clone()).then(|| Ticket { once, all: self.clone() })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.once.key);
    }
}

/// What to do with a request.
pub(super) enum Turn {
    /// Carry it out; with a ticket, once.
    Go(Request, Option<Ticket>),
    /// It was carried out before.
    Answer(Response),
}

/// The key that a request carries, when it can start work.
fn key(method: &Method, path: &str, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    if *method != Method::POST || !path.starts_with("/api/") {
        return Ok(None);
    }
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let is_good = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if is_good && values.next().is_none() {
        return Ok(Some(text.to_owned()));
    }
    let detail = format!("An idempotency key is one word of 1 to {LONGEST} visible characters.");
    Err(Refusal::new(RefusalKind::Malformed, detail, "A random UUID makes a good one."))
}

/// Parts whose border counts: what one loses at its end another cannot win at its beginning.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// Looks whether this request was carried out before.
pub(super) async fn turn(
    web: &WebState,
    operator: &Operator,
    request: Request,
) -> Result<Turn, Refusal> {
    let path = request.uri().path().to_owned();
    let Some(key) = key(request.method(), &path, request.headers())? else {
        return Ok(Turn::Go(request, None));
    };
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, FORM_BYTES).await.map_err(|_| {
        let detail = format!("The request is larger than {} KiB.", FORM_BYTES / 1024);
        Refusal::new(RefusalKind::TooLarge, detail, "Send less.")
    })?;
    // Two programs may choose the same key, and two tokens the same name.
    let who = match &operator.proof {
        Proof::Token(id) => format!("token {id}"),
        Proof::Socket | Proof::Session(_) | Proof::Proxy(_) => operator.who.to_string(),
    };
    let once = Once {
        key: digest(&[who.as_bytes(), key.as_bytes()]),
        request: digest(&[path.as_bytes(), &bytes]),
    };
    // The ticket is taken first: between the look and the write nobody else begins.
    let Some(ticket) = web.under_way.begin(once) else {
        return Err(Refusal::new(
            RefusalKind::Conflict,
            "A request with this idempotency key is being carried out.",
            "Ask again in a moment: the answer will be that of the first one.",
        ));
    };
    let wanted = ticket.once.key.clone();
    match web.store().read(move |read| read.begun(&wanted)).await? {
        None => Ok(Turn::Go(Request::from_parts(parts, Body::from(bytes)), Some(ticket))),
        Some(begun) if begun.request == ticket.once.request => {
            let mut answer = super::api::accepted(begun.job);
            answer.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
            Ok(Turn::Answer(answer))
        }
        Some(begun) => Err(Refusal::new(
            RefusalKind::Unprocessable,
            "This idempotency key was sent with another request before.",
            "Take a new key for new work.",
        )
        .because_of(Some(begun.job))),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_key_is_one_word() {
        let of = |method: Method, path: &str, keys: &[&str]| {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append(HEADER, key.parse().unwrap());
            }
            key(&method, path, &headers)
        };
        assert_eq!(of(Method::POST, "/api/images", &["a-1"]), Ok(Some("a-1".to_owned())));
        assert_eq!(of(Method::POST, "/api/images", &[]), Ok(None));
        assert_eq!(of(Method::GET, "/api/images", &["a"]), Ok(None));
        assert_eq!(of(Method::POST, "/images", &["a"]), Ok(None));
        for bad in [&[""][..], &["a b"], &["a", "a"], &["x".repeat(256).as_str()]] {
            assert!(of(Method::POST, "/api/images", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn borders_between_parts_count() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
