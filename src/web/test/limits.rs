//! Limits and metrics, as operators and Prometheus see them.

use axum::body::Body;
use axum::http::Request;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::scene::Scene;
use crate::domain::refusal::Refusal;
use crate::limits::over::Over;
use crate::web::Bundles;
use crate::web::metrics::{Family, Kind, Meters};

/// One number that stands still.
pub(crate) struct Still;

impl Meters for Still {
    fn read(&self) -> Vec<Family> {
        let values = [("offer", 3.0), ("a \"b\"\n", 1.0)];
        vec![Family::labelled("ironhatch_dhcp", "Packets", Kind::Counter, "what", values)]
    }
}

/// A bundle of four bytes.
pub(crate) struct NoBundle;

impl Bundles for NoBundle {
    fn make(&self, hours: u32) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(std::future::ready(Ok(hours.to_be_bytes().to_vec())))
    }
}

async fn status_and_text(scene: &Scene, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::empty()).unwrap();
    let response = scene.router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_need_a_token_or_a_login_and_tell_what_was_counted() {
    let scene = Scene::fleet();
    assert_eq!(status_and_text(&scene, "/metrics", None).await.0, 401);
    assert_eq!(status_and_text(&scene, "/metrics", Some("wrong")).await.0, 401);
    let body = r#"{"name":"Prometheus","scope":"metrics"}"#;
    let made = scene.send(super::scene::json("POST", "/api/tokens", body)).await;
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    scene.traffic.over().met(Over::Drafts);
    let (status, text) = status_and_text(&scene, "/metrics", Some(token.as_str())).await;
    assert_eq!(status, 200);
    for line in [
        "# TYPE ironhatch_hosts gauge",
        "ironhatch_hosts{state=\"installing\"} 1.0",
        "ironhatch_hosts{state=\"first_boot\"} 0.0",
        "ironhatch_limit_met_total{limit=\"drafts\"} 1.0",
        "ironhatch_limit_met_total{limit=\"http_head_time\"} 0.0",
        "ironhatch_dhcp_total{what=\"offer\"} 3.0",
        "ironhatch_dhcp_total{what=\"a \\\"b\\\"\\n\"} 1.0",
        "ironhatch_http_connections 0.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert_eq!(scene.get("/metrics").await.status, 200);
    // The token still opens nothing else.
    assert_eq!(status_and_text(&scene, "/api/limits", Some(token.as_str())).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_was_met_is_on_the_page_and_in_the_api_with_what_to_do() {
    let scene = Scene::empty();
    assert!(scene.get("/health").await.body.contains("No limit was met since the start"));
    scene.traffic.over().met(Over::Login);
    scene.traffic.over().met(Over::Login);
    let page = scene.get("/health").await.body;
    assert!(page.contains(Over::Login.what()) && page.contains("2 times"), "{page}");
    assert!(page.contains(Over::Login.advice()), "{page}");
    let api: serde_json::Value =
        serde_json::from_str(&scene.get("/api/limits").await.body).unwrap();
    let met = api["met"].as_array().unwrap();
    let login = met.iter().find(|m| m["name"] == "login_attempts").unwrap();
    assert_eq!(login["times"], 2);
    assert!(login["last"].is_string());
    assert!(met.iter().filter(|m| m["times"] == 0).all(|m| m["last"].is_null()));
    let all = api["parts"].as_array().unwrap();
    let rows = all.iter().flat_map(|p| p["limits"].as_array().unwrap());
    assert!(
        rows.clone().any(|r| r["limit"] == "http.connections" && r["value"] == "4096 connections")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_debug_bundle_is_a_download_for_operators() {
    let scene = Scene::empty();
    assert_eq!(status_and_text(&scene, "/api/debug-bundle", None).await.0, 401);
    let answer = scene.get("/api/debug-bundle?hours=7").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_bytes()), (200, &[0, 0, 0, 7][..]));
    assert_eq!(answer.header("content-type"), "application/gzip");
    assert!(answer.header("content-disposition").starts_with("attachment"));
    assert!(scene.get("/health").await.body.contains("href=\"/api/debug-bundle\""));
}
