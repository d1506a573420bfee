//! Notification targets in the API, and a notifier whose receivers are simple.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::golden::without_hashes;
use super::sample::NOW;
use super::scene::{CSRF, Scene, json};
use crate::config::live::ConfigView;
use crate::config::{Config, Problem, ProcessSecrets};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::golden::assert_golden;
use crate::store::{Delivery, EVERYBODY, Outcome};
use crate::web::{Notifier, Tested};

/// Must be on no page.
const PLANTED: &str = "planted-hook";

/// One target that takes what it gets, one that does not.
pub(crate) const CONFIGURED: &str = r#"
[server]
public_url = "http://192.0.2.10:8080"
[infrastructure]
base_url = "https://infra.example.net/api"
[[notify]]
name = "chat"
kind = "slack"
url = "https://hooks.example.net/planted-hook"
[[notify]]
name = "mail"
kind = "email"
server = "smtp.example.net"
user = "ironhatch"
password = "planted-hook"
from = "ironhatch@example.net"
to = ["ops@example.net"]
events = ["host.failed", "health.error"]
"#;

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    let path = Path::new("/etc/ironhatch/ironhatch.toml");
    let parsed = Config::parse(path, text, &ProcessSecrets);
    parsed.map(|(config, _)| config).map_err(|errors| errors.0)
}

/// The configuration of a scene.
pub(crate) fn config(text: &str) -> watch::Sender<Arc<ConfigView>> {
    let since = Timestamp(NOW.0 - 3_600_000);
    watch::Sender::new(Arc::new(ConfigView::new(Arc::new(parse(text).unwrap()), since)))
}

/// Delivers nothing: `chat` takes it, `mail` does not, and others are not there.
#[derive(Debug, Default)]
pub(crate) struct Deaf;

impl Notifier for Deaf {
    fn test(&self, name: String) -> BoxFuture<'_, Result<Tested, Refusal>> {
        let failure = match name.as_str() {
            "chat" => Ok(None),
            "mail" => Ok(Some("the mail server did not accept the login: 535".to_owned())),
            _ => Err(Refusal::new(RefusalKind::NotFound, "There is no such target.", "Look.")),
        };
        Box::pin(std::future::ready(failure.map(|failure| Tested { name, failure })))
    }
}

/// Deliveries of both targets, and reports that wait.
pub(crate) fn deliveries(scene: &Scene) {
    scene.write(90, |tx| {
        let told = |outcome| Delivery { at: tx.now(), event: "host.failed".into(), outcome };
        let failed = told(Outcome::Retried { reason: "the answer was status 503".into() });
        tx.save_delivery("chat", &told(Outcome::Delivered)).unwrap();
        tx.save_delivery("mail", &failed).unwrap();
        for reporter in ["mail", "mail", EVERYBODY] {
            tx.queue_report(reporter, "host.failed", None, serde_json::json!({})).unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_listed_with_their_last_delivery_and_without_secrets() {
    let scene = Scene::empty();
    deliveries(&scene);
    let answer = scene.get("/api/notifications").await;
    assert!(!answer.body.contains(PLANTED), "{}", answer.body);
    let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let targets = told["targets"].as_array().unwrap();
    let of = |name: &str| targets.iter().find(|t| t["name"] == name).unwrap();
    assert_eq!(of("chat")["place"], "https://hooks.example.net");
    assert_eq!(of("chat")["last"]["delivered"], true);
    assert_eq!(of("chat")["events"].as_array().unwrap().len(), 5);
    let mail = of("mail");
    assert_eq!((mail["kind"].as_str(), mail["waiting"].as_u64()), (Some("email"), Some(2)));
    assert_eq!(mail["last"]["reason"], "the answer was status 503");
    let registry = of("infrastructure");
    assert_eq!((registry["can_test"].as_bool(), registry["last"].is_null()), (Some(false), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_tells_how_it_went() {
    let scene = Scene::empty();
    let test = async |name: &str| {
        scene.send(json("POST", &format!("/api/notifications/{name}/test"), "{}")).await
    };
    let told: serde_json::Value = serde_json::from_str(&test("chat").await.body).unwrap();
    assert_eq!(told, serde_json::json!({ "target": "chat", "delivered": true, "reason": null }));
    let told: serde_json::Value = serde_json::from_str(&test("mail").await.body).unwrap();
    assert_eq!(told["delivered"], false);
    assert!(told["reason"].as_str().unwrap().contains("535"), "{told}");
    assert_eq!(test("nobody").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_page_looks_as_it_was_last_reviewed() {
    let (scene, settings) = Scene::configured(CONFIGURED);
    deliveries(&scene);
    let page = async |name: &str, path: &str| {
        let page = scene.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        assert!(!page.body.contains(PLANTED), "{}", page.body);
        assert_golden(&format!("pages/{name}.html"), &without_hashes(&page.body));
        page.body
    };
    page("settings", "/settings").await;
    let tried = scene.post("/settings/notifications/mail/test", &format!("csrf={CSRF}")).await;
    assert_eq!((tried.status.as_u16(), tried.header("location")), (303, "/settings?tested=mail"));
    let shown = page("settings-tested", "/settings?tested=mail").await;
    assert!(shown.contains("mail did not take the test"), "{shown}");
    // The file was changed, and is broken now.
    settings.send_modify(|view| {
        let changed = CONFIGURED.replace("8080\"", "8080\"\nlisten = \"0.0.0.0:9090\"");
        let changed = changed.replace("planted-hook\"\n[[", "planted-hook-2\"\n[[");
        let next = view.after(parse(&changed), Timestamp(NOW.0 - 120_000)).unwrap();
        let broken = next.after(parse("[server"), Timestamp(NOW.0 - 60_000)).unwrap();
        *view = Arc::new(broken);
    });
    let shown = page("settings-changed", "/settings").await;
    for text in [
        "<code class=\"wrapany\">server.listen</code>",
        "notify[0].url, server.listen",
        "cannot be used",
    ] {
        assert!(shown.contains(text), "{text} in {shown}");
    }
    let api = scene.get("/api/settings").await.body;
    assert!(!api.contains(PLANTED), "{api}");
    let api: serde_json::Value = serde_json::from_str(&api).unwrap();
    assert_eq!(api["waiting_for_restart"], serde_json::json!(["server.listen"]));
    assert_eq!(api["last_reload"]["keys"].as_array().unwrap().len(), 2, "{api}");
    assert_eq!(api["errors"].as_array().unwrap().len(), 1, "{api}");
    assert_eq!(api["file"], "/etc/ironhatch/ironhatch.toml");
    let (bare, _) = Scene::configured("[server]\npublic_url = \"http://192.0.2.10:8080\"\n");
    let shown = bare.get("/settings").await.body;
    assert!(
        shown.contains("kind = &#34;ntfy&#34;") || shown.contains("kind = \"ntfy\""),
        "{shown}"
    );
    assert_golden("pages/settings-bare.html", &without_hashes(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_settings_or_sends_tests_without_a_login() {
    let scene = Scene::empty();
    for (method, path) in [
        ("GET", "/api/settings"),
        ("GET", "/api/notifications"),
        ("POST", "/api/notifications/chat/test"),
    ] {
        let request = axum::http::Request::builder().method(method).uri(path);
        let answer = scene.send(request.body(axum::body::Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 401, "{method} {path}");
    }
    let without_token = scene.post("/settings/notifications/chat/test", "").await;
    assert_eq!(without_token.status, 403);
}
