//! The doctor's report on its page and in the API.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::sample::NOW;
use super::scene::{CSRF, HOSTILE, Scene, json};
use crate::domain::mac::Mac;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::plan::doctor::rehearsal::{Ending, Firmware, Line, Rehearsal, Speaker};
use crate::plan::doctor::{Report, examine, facts};
use crate::web::Doctor;

/// A doctor that finds the same each time.
#[derive(Debug, Default)]
pub(crate) struct Canned(Mutex<Option<Arc<Report>>>);

/// A taken port, a hostile image name, and a machine that is in order otherwise.
fn report() -> Report {
    let image = facts::ImageFacts {
        id: HOSTILE.to_owned(),
        release: Some((9, 2)),
        unusable: Some("the file is gone".to_owned()),
    };
    let storage = facts::Storage {
        path: "/var/lib/ironhatch".to_owned(),
        unusable: None,
        free: Some(1 << 30),
    };
    examine(&facts::Facts {
        now: Timestamp(NOW.0 - 60_000),
        configuration: facts::Configuration { server_types: 1, ..Default::default() },
        ports: vec![facts::Port {
            name: "UDP 67 (DHCP)",
            number: 67,
            holder: facts::Holder::Other(Some("dnsmasq (process 812)".to_owned())),
        }],
        storage: Some(storage),
        images: Some(vec![image]),
        ..Default::default()
    })
}

impl Doctor for Canned {
    fn last(&self) -> Option<Arc<Report>> {
        self.0.lock().unwrap().clone()
    }

    fn check(&self) -> BoxFuture<'_, Arc<Report>> {
        let found = Arc::new(report());
        *self.0.lock().unwrap() = Some(Arc::clone(&found));
        Box::pin(std::future::ready(found))
    }

    fn simulate(&self, firmware: Firmware) -> BoxFuture<'_, Result<Rehearsal, Refusal>> {
        let line =
            Line { at: Duration::from_millis(7), who: Speaker::Machine, text: "asks".into() };
        let played = Rehearsal {
            firmware,
            interface: "eth0".to_owned(),
            mac: Mac([2, 0x49, 0x48, 1, 2, 3]),
            lines: vec![line],
            ending: Ending::stuck("It is stuck.", "Help it."),
        };
        Box::pin(std::future::ready(Ok(played)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_asked_for_and_its_findings_are_shown_with_their_fixes() {
    let scene = Scene::empty();
    assert_eq!(scene.get("/api/doctor").await.status, 404);
    assert!(scene.get("/health").await.body.contains("Nothing was checked since the start"));
    let asked = scene.post("/health/check", &format!("csrf={CSRF}")).await;
    assert_eq!((asked.status.as_u16(), asked.header("location")), (303, "/health"));
    let page = scene.get("/health").await.body;
    for text in
        ["2 errors, 2 warnings, 1 note", "dnsmasq (process 812)", "port-taken", "1024 MiB left"]
    {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains(HOSTILE), "{page}");
    let api: serde_json::Value =
        serde_json::from_str(&scene.get("/api/doctor").await.body).unwrap();
    assert_eq!(api["worst"], "error");
    let first = &api["findings"][0];
    assert_eq!(
        (first["severity"].as_str(), first["area"].as_str()),
        (Some("error"), Some("ports"))
    );
    assert_eq!(first["code"], "port-taken");
    assert!(first["fix"].as_str().unwrap().contains("systemctl"), "{first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_checks_without_a_login() {
    let scene = Scene::empty();
    let request = axum::http::Request::post("/api/doctor").body(axum::body::Body::empty()).unwrap();
    assert_eq!(scene.send(request).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_played_and_its_timeline_told() {
    let scene = Scene::empty();
    let told = scene.send(json("POST", "/api/doctor/simulate", r#"{"firmware":"uefi"}"#)).await;
    let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!((told["firmware"].as_str(), told["worst"].as_str()), (Some("uefi"), Some("error")));
    assert_eq!(told["lines"][0], serde_json::json!({"at_ms": 7, "who": "machine", "text": "asks"}));
    let refused = scene.send(json("POST", "/api/doctor/simulate", r#"{"firmware":"arm"}"#)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("bios, uefi, http"), "{}", refused.body);
}
