//! The event stream as a browser that comes back asks for it: `Last-Event-ID`, `after` and the filters. Only what is
//! newer than the number that was given is told, in order, nothing twice, and only of what was asked for.
//!
//! Input: which header and query there are (1 byte), `Last-Event-ID` (piece), then the query string.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use futures_util::StreamExt as _;
use ironhatch::domain::event::{Event, EventKind, Level, Subject};
use ironhatch::domain::id::JobId;
use ironhatch::store::{EventReads as _, NewEvent, StoreError};
use ironhatch::web::ControlSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::Seeds;
use super::appliance::Appliance;
use crate::input::{Input, piece};

/// Events in the log.
const EVENTS: u64 = 40;

struct Log {
    router: Router,
    events: Vec<Event>,
}

fn job(n: u128) -> JobId {
    JobId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n))
}

fn log() -> Log {
    let appliance = Appliance::new();
    for n in 0..EVENTS {
        appliance
            .store
            .write_blocking(move |tx| -> Result<(), StoreError> {
                let subject = Subject { job: Some(job(u128::from(n % 3))), ..Subject::default() };
                let (level, kind) = (Level::Info, EventKind::System);
                tx.emit(NewEvent { level, subject, kind, message: format!("event {n}") })?;
                Ok(())
            })
            .expect("an event");
    }
    let snapshot = appliance.store.snapshot().expect("a database");
    let events = snapshot.events_after(0, 1000).expect("events");
    Log { router: appliance.operator(), events }
}

thread_local! {
    /// Time stands still but when everybody waits: then it jumps.
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    static LOG: Log = log();
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.byte();
    let (header, query) = (input.piece(), input.rest());
    // A stored event is read again from its JSON.
    if which & 8 != 0 {
        if let Ok(event) = serde_json::from_slice::<Event>(query) {
            let text = serde_json::to_vec(&event).expect("JSON");
            assert_eq!(serde_json::from_slice::<Event>(&text).expect("JSON"), event);
        }
        return;
    }
    let query = String::from_utf8_lossy(query).into_owned();
    let target = if which & 1 == 0 { "/events".to_owned() } else { format!("/events?{query}") };
    let Ok(mut request) = Request::builder().uri(target).body(Body::empty()) else { return };
    request.extensions_mut().insert(ControlSocket);
    let mut last = None;
    if which & 2 != 0 {
        let Ok(value) = HeaderValue::from_bytes(header) else { return };
        last = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
        request.headers_mut().insert("last-event-id", value);
    }
    LOG.with(|log| {
        let told = RUNTIME.with(|runtime| runtime.block_on(read(&log.router, request)));
        let Some(told) = told else { return };
        for pair in told.windows(2) {
            assert!(pair[0] < pair[1], "not in order, or twice: {told:?}");
        }
        let filtered =
            query.contains("job=") || query.contains("host=") || query.contains("guest=");
        match last {
            Some(last) => {
                assert!(told.iter().all(|id| *id > last), "told again: {told:?} after {last}");
                let newer = log.events.iter().map(|event| event.seq).filter(|id| *id > last);
                if which & 1 == 0 || !filtered {
                    assert_eq!(told, newer.collect::<Vec<_>>(), "after {last}");
                }
            }
            None if which & 1 == 0 => assert_eq!(told, [0; 0], "nobody asked for old ones"),
            None => {}
        }
        for n in 0..3 {
            if which & 1 != 0 && query == format!("after=0&job={}", job(n)) {
                let of_job = |event: &&Event| event.subject.job == Some(job(n));
                assert_eq!(told.len(), log.events.iter().filter(of_job).count());
            }
        }
    });
}

/// The ids that a stream tells until it has nothing more to say; `None` when it was refused.
async fn read(router: &Router, request: Request<Body>) -> Option<Vec<u64>> {
    let response = router.clone().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    if status != 200 {
        assert!(matches!(status, 400 | 422), "status {status}");
        return None;
    }
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut body = response.into_body().into_data_stream();
    while let Ok(Some(piece)) = timeout(Duration::from_secs(5), body.next()).await {
        text.push_str(std::str::from_utf8(&piece.expect("bytes")).expect("text"));
    }
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    let ids: Vec<u64> = ids.map(|id| id.parse().expect("a number")).collect();
    assert_eq!(ids.len(), text.matches("data: ").count(), "an event without an id: {text}");
    Some(ids)
}

pub(crate) fn seeds() -> Seeds {
    let seed = |name: &str, which: u8, header: &str, query: &str| {
        (name.to_owned(), [vec![which], piece(header.as_bytes()), query.into()].concat())
    };
    vec![
        seed("live", 0, "", ""),
        seed("resume", 2, "20", ""),
        seed("resume-all", 2, "0", ""),
        seed("beyond", 2, "18446744073709551615", ""),
        seed("no-number", 2, "-1", ""),
        seed("after", 1, "", "after=30"),
        seed("job", 1, "", &format!("after=0&job={}", job(1))),
        seed("both", 3, " 39 ", "after=3&host=&guest="),
        seed("bad-job", 1, "", "job=x"),
        seed(
            "record",
            8,
            "",
            r#"{"seq":1,"at":1000,"level":"info","subject":{},"kind":{"type":"progress","done":1,"total":null},"message":"x"}"#,
        ),
        seed(
            "record-state",
            8,
            "",
            r#"{"seq":1,"at":1,"level":"warn","subject":{"mac":"52:54:00:aa:bb:01"},"kind":{"type":"state-changed","from":"registered","to":"pxe_ready"},"message":""}"#,
        ),
    ]
}
