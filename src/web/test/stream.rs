use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::scene::{Scene, browser};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::id::JobId;
use crate::store::{EventReads as _, NewEvent};

fn emit(scene: &Scene, job: Option<JobId>, message: &'static str) {
    scene.write(0, move |tx| {
        let subject = Subject { job, ..Subject::default() };
        let (level, kind) = (Level::Info, EventKind::System);
        tx.emit(NewEvent { level, subject, kind, message: message.into() }).unwrap();
    });
}

async fn open(scene: &Scene, path: &str, last: Option<u64>) -> Body {
    let mut request = browser("GET", path);
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response =
        scene.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body()
}

/// Reads until `wanted` was seen, and returns all of it.
async fn until(body: &mut Body, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        let frame = frame.unwrap_or_else(|_| panic!("{wanted} did not come: {text}"));
        let bytes = frame.expect("the stream goes on").unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_back_gets_what_it_missed_and_then_goes_on_live() {
    let scene = Scene::empty();
    let before = scene.store.read(|read| read.last_event()).await.unwrap();
    for message in ["first", "second", "third"] {
        emit(&scene, None, message);
    }
    let mut body = open(&scene, "/events?after=0", Some(before + 1)).await;
    let text = until(&mut body, "third").await;
    assert!(!text.contains("first") && text.contains("second"), "{text}");
    assert!(text.contains(&format!("id: {}", before + 3)), "{text}");
    assert!(text.contains("\"operation_id\":null") && text.contains("\"type\":\"system\""));
    emit(&scene, None, "live");
    let live = until(&mut body, "live").await;
    assert!(!live.contains("third"), "nothing is told twice: {live}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lags_loses_nothing() {
    let scene = Scene::empty();
    let mut body = open(&scene, "/events", None).await;
    // More than the channel holds, and nobody reads meanwhile.
    for part in 0..15 {
        scene.write(0, move |tx| {
            for n in 0..100 {
                let (level, kind) = (Level::Info, EventKind::System);
                let message = format!("number {}.", part * 100 + n);
                tx.emit(NewEvent { level, subject: Subject::default(), kind, message }).unwrap();
            }
        });
    }
    let text = until(&mut body, "number 1499.").await;
    assert_eq!(text.matches("data: ").count(), 1500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_stream_tells_only_of_its_job() {
    let scene = Scene::empty();
    let job = super::scene::job_id(7);
    let mut body = open(&scene, &format!("/events?job={job}"), None).await;
    emit(&scene, None, "of nobody");
    emit(&scene, Some(job), "of the job");
    let text = until(&mut body, "of the job").await;
    assert!(!text.contains("of nobody"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_the_streams() {
    let scene = Scene::empty();
    let body = open(&scene, "/events", None).await;
    scene.cancel.cancel();
    let rest = tokio::time::timeout(Duration::from_secs(10), body.collect()).await;
    assert!(rest.expect("the stream ends").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited_and_a_closed_one_makes_room() {
    let scene = Scene::empty();
    let mut all = Vec::new();
    for _ in 0..crate::web::MOST_STREAMS {
        all.push(open(&scene, "/events", None).await);
    }
    let refused = scene.get("/events").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "30");
    all.pop();
    drop(open(&scene, "/events", None).await);
}
