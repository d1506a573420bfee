//! Every answer of the API is described, and a populated appliance sends what is described.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::described::{Described, Seen};
use super::guest_scene::GuestScene;
use super::scene::{self, Answer, Scene, job_id};
use crate::web::ControlSocket;
use crate::web::api::document::document;

/// What the document says; [`Scene::send`] looks at each answer with it.
pub(super) static DESCRIBED: LazyLock<Described> = LazyLock::new(|| Described::new(&document()));

/// Routes that only say that their answer is some object. A new route cannot be among them.
const NOT_DESCRIBED: [&str; 0] = [];

/// Parts of answers that can hold any JSON: keys of the installer's answer are its own, and this document is OpenAPI's.
const OPEN: [&str; 5] = [
    "GET /api/openapi.json",
    "HostOverrides.answer",
    "Layered.value",
    "Lower.value",
    "ServerType.answer",
];

#[test]
fn every_answer_is_described() {
    let bare = json!({ "type": "object" });
    let bare: Vec<String> =
        DESCRIBED.with_json().filter(|o| *o.schema() == bare).map(|o| o.name()).collect();
    assert_eq!(bare, NOT_DESCRIBED);
    assert!(DESCRIBED.with_json().count() > 55);
}

/// Names the places below a schema where anything may stand.
fn open(schema: &Value, place: &str, found: &mut BTreeSet<String>) {
    let says = ["type", "$ref", "oneOf", "anyOf", "allOf", "enum", "const"];
    let Some(object) = schema.as_object().filter(|o| says.iter().any(|key| o.contains_key(*key)))
    else {
        found.insert(place.to_owned());
        return;
    };
    if schema["type"] == "object" && schema["properties"].is_null() {
        let others = &schema["additionalProperties"];
        open(if others.is_null() { &Value::Bool(true) } else { others }, place, found);
    }
    for (key, value) in object {
        match key.as_str() {
            "properties" => {
                for (name, value) in value.as_object().unwrap() {
                    open(value, &format!("{place}.{name}"), found);
                }
            }
            "oneOf" | "anyOf" | "allOf" | "prefixItems" => {
                value.as_array().unwrap().iter().for_each(|one| open(one, place, found));
            }
            "items" => open(value, place, found),
            _ => {}
        }
    }
}

#[test]
fn only_what_is_named_here_may_be_anything() {
    let mut found = BTreeSet::new();
    let document = document();
    let components = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in components {
        open(schema, name, &mut found);
        let is_counted = name.ends_with(|c: char| c.is_ascii_digit());
        assert!(!is_counted, "{name}: two types have one name, give one of them another");
    }
    for operation in DESCRIBED.with_json() {
        open(operation.schema(), &operation.name(), &mut found);
    }
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), OPEN);
    // Words of a closed set are one list, which programs that make clients understand.
    assert_eq!(components["JobStatus"]["type"], "string");
    let words = json!(["pending", "running", "succeeded", "failed", "cancelled"]);
    assert_eq!(components["JobStatus"]["enum"], words);
    let meaning = components["JobStatus"]["description"].as_str().unwrap();
    assert!(meaning.contains("* `cancelled`: Stopped by the operator."), "{meaning}");
}

#[test]
fn an_answer_that_is_not_as_described_is_found() {
    let seen = |body: &str| {
        let path = "/api/host-file";
        let content_type = "application/json";
        let seen = Seen { method: "GET", path, status: 200, content_type, body };
        catch_unwind(AssertUnwindSafe(|| DESCRIBED.check(&seen))).is_ok()
    };
    assert!(seen(r#"{"format":"csv","text":""}"#));
    assert!(!seen(r#"{"format":"csv"}"#), "something is missing");
    assert!(!seen(r#"{"format":"csv","text":7}"#), "of another kind");
    assert!(!seen(r#"{"format":"yaml","text":""}"#), "another word");
    assert!(!seen(r#"{"format":"csv","text":"","more":1}"#), "more than is described");
    let made = Seen {
        method: "GET",
        path: "/api/hosts/x/y",
        status: 200,
        content_type: "application/json",
        body: "{}",
    };
    let found = catch_unwind(AssertUnwindSafe(|| DESCRIBED.check(&made))).is_err();
    assert!(found, "an unknown route");
}

/// Operations that were asked for, with their answers.
#[derive(Default)]
struct Asked(BTreeMap<String, Value>);

impl Asked {
    /// What the answer holds was looked at when it was sent.
    async fn ask(&mut self, scene: &Scene, method: &str, path: &str, body: Value) -> &Value {
        let request = scene::json(method, path, &body.to_string());
        let answer = scene.send(request).await;
        self.take(method, path, &answer)
    }

    async fn on_the_appliance(&mut self, scene: &Scene, path: &str, body: Value) {
        let request = Request::post(path).extension(ControlSocket);
        let answer = scene.send(request.body(Body::from(body.to_string())).unwrap()).await;
        self.take("POST", path, &answer);
    }

    fn take(&mut self, method: &str, path: &str, answer: &Answer) -> &Value {
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.body);
        let told: Value = serde_json::from_str(&answer.body).unwrap();
        let path = path.split('?').next().unwrap();
        let name = DESCRIBED.operation(method, path).unwrap().name();
        // A list without entries would show nothing of them.
        let first = told.as_object().and_then(|o| o.values().find_map(Value::as_array));
        let is_list = told.get("next").is_some();
        assert!(!is_list || first.is_some_and(|list| !list.is_empty()), "{name} is empty: {told}");
        self.0.entry(name).or_insert(told)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_described_answer_is_sent_by_a_populated_appliance() {
    let mut asked = Asked::default();
    let scene = Scene::fleet();
    super::notify::deliveries(&scene);
    let place = scene.dir.path().join("copy.redb");
    asked.on_the_appliance(&scene, "/api/db/backup", json!({ "path": place })).await;
    asked.on_the_appliance(&scene, "/api/setup-link", json!({})).await;
    let new = json!({ "hostname": "pve9", "macs": ["52:54:00:aa:bb:09"], "server_type": "lab" });
    let password = "correct horse battery staple 7";
    for (method, path, body) in [
        ("POST", "/api/hosts", new),
        ("PATCH", "/api/hosts/pve4", json!({ "macs": ["52:54:00:aa:bb:44"] })),
        ("POST", "/api/bulk-rebuilds/review", json!({ "matching": {} })),
        ("PUT", "/api/hosts/pve4/power", json!({ "method": "wake-on-lan" })),
        ("POST", "/api/hosts/pve4/power", json!({ "action": "look" })),
        (
            "POST",
            "/api/host-file",
            json!({ "format": "csv", "dry_run": true,
                "text": "hostname,macs,server_type\npve7,52:54:00:00:00:77,lab\n" }),
        ),
        ("POST", "/api/accounts", json!({ "name": "ann", "password": password })),
        ("PATCH", "/api/accounts/ann", json!({ "password": "a horse of another colour 9" })),
        ("POST", "/api/tokens", json!({ "name": "ci", "scope": "read", "days": 7 })),
        ("POST", "/api/doctor", json!({})),
        ("POST", "/api/doctor/simulate", json!({ "firmware": "uefi" })),
        ("POST", "/api/notifications/mail/test", json!({})),
    ] {
        asked.ask(&scene, method, path, body).await;
    }
    let lab = asked.ask(&scene, "GET", "/api/server-types/lab", json!({})).await;
    let (text, hash) = (lab["text"].as_str().unwrap().to_owned(), lab["hash"].clone());
    let edited = text.replace("country = \"de\"", "country = \"at\"");
    let trial = json!({ "text": edited, "host": "pve2" });
    asked.ask(&scene, "POST", "/api/server-types/lab/preview", trial).await;
    let saved = json!({ "text": edited, "replaces": hash });
    asked.ask(&scene, "PUT", "/api/server-types/lab", saved).await;
    let job = job_id(2);
    for path in [
        "/api/health",
        "/api/hosts",
        "/api/hosts/pve2",
        "/api/hosts/pve2/boot",
        "/api/hosts/pve2/answer",
        "/api/hosts/pve4/power",
        "/api/host-file?format=csv",
        "/api/sightings",
        "/api/sightings/52:54:00:cc:00:51/boot",
        "/api/server-types",
        "/api/jobs",
        &format!("/api/jobs/{job}"),
        &format!("/api/jobs/{job}/logs"),
        "/api/images",
        "/api/accounts",
        "/api/sessions",
        "/api/tokens",
        "/api/audit",
        "/api/session",
        "/api/doctor",
        "/api/settings",
        "/api/notifications",
        "/api/limits",
        "/api/openapi.json",
    ] {
        asked.ask(&scene, "GET", path, json!({})).await;
    }
    let scene = GuestScene::fleet();
    let order = json!({ "app": "redis", "name": "cache1" });
    for (path, body) in [
        ("/api/install/review", order),
        ("/api/guests/observe", json!({ "node": "pve1", "vmid": 105 })),
        ("/api/guests/web101/reveal", json!({ "key": "token" })),
        ("/api/nodes/enroll-command", json!({})),
        ("/api/prometheus/token", json!({})),
    ] {
        asked.ask(&scene, "POST", path, body).await;
    }
    for path in [
        "/api/apps",
        "/api/apps/redis",
        "/api/guests",
        "/api/guests/web101",
        "/api/guests/web101/vitals",
        "/api/guests/web101/logs",
        "/api/guests/web101/backups",
        "/api/kept-volumes",
        "/api/system/discovery",
        "/api/nodes",
        "/api/cluster",
        "/api/cluster/key",
        "/api/prometheus/targets",
    ] {
        asked.ask(&scene, "GET", path, json!({})).await;
    }
    let described: BTreeSet<String> = DESCRIBED.with_json().map(|o| o.name()).collect();
    let seen: BTreeSet<String> = asked.0.into_keys().collect();
    assert_eq!(described.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new());
}
