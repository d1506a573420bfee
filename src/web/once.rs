//! `Idempotency-Key` on requests that start work: the same key starts it once, whatever becomes of answer, connection or
//! daemon in between.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse as _, Response};
use tokio_util::task::TaskTracker;

use super::WebState;
use super::auth::{Operator, Proof};
use super::problem::Problem;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::FORM_BYTES;
use crate::store::{Begun, Once, OnceReads as _, Store};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// Tells that the answer is about work which an earlier request started.
const REPEATED: &str = "idempotency-replayed";
/// Longest key.
const LONGEST: usize = 255;

/// Keys whose first request is being carried out, and the tasks that do it.
#[derive(Debug, Default, Clone)]
pub(super) struct UnderWay {
    keys: Arc<Mutex<HashSet<String>>>,
    tasks: TaskTracker,
}

/// One of them; over when dropped.
pub(super) struct Ticket {
    pub(super) once: Once,
    all: UnderWay,
}

impl UnderWay {
    fn begin(&self, once: Once) -> Option<Ticket> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(once.key.clone()).then(|| Ticket { once, all: self.clone() })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.all.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.once.key);
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
        key: web.store().digest(&[who.as_bytes(), key.as_bytes()]),
        request: web.store().digest(&[path.as_bytes(), &bytes]),
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
        Some(begun) => told(&begun, &ticket.once).map(Turn::Answer),
    }
}

/// The answer to a request whose key was sent before.
fn told(begun: &Begun, once: &Once) -> Result<Response, Refusal> {
    if begun.request == once.request {
        let mut answer = super::api::accepted(begun.job);
        answer.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
        return Ok(answer);
    }
    Err(Refusal::new(
        RefusalKind::Unprocessable,
        "This idempotency key was sent with another request before.",
        "Take a new key for new work.",
    )
    .because_of(Some(begun.job)))
}

/// Carries a request that changes something out in a task of its own. A client that hangs up does not end it: a job that
/// was queued must not be left without somebody who drives it. A ticket is held as long.
pub(super) async fn carry_out(
    web: &WebState,
    ticket: Option<Ticket>,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    carry(web.store().clone(), web.under_way.tasks.clone(), ticket, work).await
}

async fn carry(
    store: Store,
    tasks: TaskTracker,
    ticket: Option<Ticket>,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    // After the stop the writer refuses what such a task writes: nobody needs to wait for it.
    let carried = tasks.spawn(async move {
        let answer = work.await;
        match ticket {
            Some(ticket) => settled(&store, &ticket.once, answer).await,
            None => answer,
        }
    });
    carried.await.unwrap_or_else(|defect| {
        tracing::error!(%defect, "a request ended by a defect");
        let detail = "The request ended by a defect.";
        let hint = "See the appliance's log; the list of jobs tells whether its work was begun.";
        Problem::from(Refusal::new(RefusalKind::Internal, detail, hint)).into_response()
    })
}

/// The answer to a request that was carried out. When it was refused, and work was begun under its key all the same (by a
/// write that was still in the queue when it looked), the answer is that job.
async fn settled(store: &Store, once: &Once, answer: Response) -> Response {
    if answer.status().is_success() {
        return answer;
    }
    let wanted = once.key.clone();
    match store.read(move |read| read.begun(&wanted)).await {
        Ok(Some(begun)) => {
            told(&begun, once).unwrap_or_else(|refusal| Problem::from(refusal).into_response())
        }
        Ok(None) | Err(_) => answer,
    }
}

#[cfg(test)]
mod test {
    use axum::http::StatusCode;

    use super::*;
    use crate::domain::audit::{Author, Who};
    use crate::domain::time::Timestamp;
    use crate::store::{MasterKey, as_author_once};

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

    fn open(dir: &tempfile::TempDir) -> Store {
        let clock = Arc::new(|| Timestamp(1_000));
        let key = MasterKey::from_bytes(&[7; 32]);
        Store::open(&dir.path().join("db.redb"), key, clock).unwrap()
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_end_its_work_nor_its_ticket() {
        let dir = tempfile::tempdir().unwrap();
        let all = UnderWay::default();
        let once = || Once { key: "k".into(), request: "a".into() };
        let (go, waits) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let work = async move {
            waits.await.unwrap();
            done.send(()).unwrap();
            StatusCode::ACCEPTED.into_response()
        };
        let tasks = all.tasks.clone();
        let carried = carry(open(&dir), tasks, all.begin(once()), work);
        tokio::select! {
            biased;
            _ = carried => panic!("the work waits"),
            () = tokio::task::yield_now() => {}
        }
        assert!(all.begin(once()).is_none(), "the ticket is still held");
        go.send(()).unwrap();
        is_done.await.unwrap();
        let free = async {
            while all.begin(once()).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), free).await.unwrap();
    }

    #[tokio::test]
    async fn work_that_was_begun_meanwhile_is_the_answer_and_not_the_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let author =
            Author { who: Who::Socket("root".into()), address: None, action: "test".into() };
        let once = |key: &str, request: &str| Once { key: key.into(), request: request.into() };
        let job = crate::web::test::scene::import_job();
        let id = job.id;
        let queue = store.write(move |tx| tx.save_job(&job));
        as_author_once(author, Some(once("k", "a")), queue).await.unwrap();
        let refused = || StatusCode::CONFLICT.into_response();
        let again = settled(&store, &once("k", "a"), refused()).await;
        assert_eq!(again.status(), StatusCode::ACCEPTED);
        assert_eq!(again.headers().get(REPEATED).unwrap(), "true");
        let body = axum::body::to_bytes(again.into_body(), 4096).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains(&id.to_string()), "{body:?}");
        let other = settled(&store, &once("k", "b"), refused()).await;
        assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
        // What nobody began is refused as it was.
        let never = settled(&store, &once("l", "a"), refused()).await;
        assert_eq!(never.status(), StatusCode::CONFLICT);
        assert!(!never.headers().contains_key(REPEATED));
    }
}
