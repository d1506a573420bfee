use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::guest_scene::{GuestScene, SEALED, TYPED, guest_id};
use super::guests::{REVEALED, job};
use super::scene::{self, job_id};

async fn get(scene: &GuestScene, path: &str) -> Value {
    let answer = scene.get(path).await;
    assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
    for secret in [SEALED, TYPED, REVEALED] {
        assert!(!answer.body.contains(secret), "{path} shows a secret");
    }
    serde_json::from_str(&answer.body).unwrap()
}

async fn post(scene: &GuestScene, path: &str, body: Value) -> (StatusCode, Value) {
    let answer = scene.send(scene::json("POST", path, &body.to_string())).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_read() {
    let scene = GuestScene::fleet();
    let apps = get(&scene, "/api/apps").await;
    assert_eq!(apps["apps"].as_array().unwrap().len(), 3);
    assert_eq!(apps["broken"][0]["folder"], "apps/gitea");
    assert_eq!(get(&scene, "/api/apps?q=video").await["apps"][0]["id"], "jellyfin");
    assert_eq!(get(&scene, "/api/apps/redis").await["manifest"]["name"], "Redis cache");
    let guests = get(&scene, "/api/guests").await;
    assert_eq!(guests["guests"].as_array().unwrap().len(), 4);
    let failed = get(&scene, "/api/guests?state=failed").await;
    assert_eq!(failed["guests"][0]["name"], "web103");
    let guest = get(&scene, "/api/guests/web101").await;
    assert_eq!(guest, get(&scene, &format!("/api/guests/{}", guest_id(101))).await);
    assert_eq!(guest["app"]["inputs"]["title"], "The club");
    assert_eq!(get(&scene, "/api/guests/web101/vitals").await["status"], "running");
    let logs = get(&scene, "/api/guests/web101/logs?lines=2&unit=nginx").await;
    assert_eq!((logs["lines"].as_array().unwrap().len(), &logs["unit"]), (2, &json!("nginx")));
    for query in ["lines=0", "lines=many", "unit=*", "unit=--rotate"] {
        let refused = scene.get(&format!("/api/guests/web101/logs?{query}")).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
    let backups = get(&scene, "/api/guests/web101/backups").await;
    assert_eq!(backups["backups"][0]["storage"], "backup");
    assert_eq!(get(&scene, "/api/system/discovery").await["nodes"][0]["name"], "pve1");
    let nodes = get(&scene, "/api/nodes").await;
    assert_eq!(
        (&nodes["nodes"][0]["usable"], &nodes["nodes"][1]["usable"]),
        (&json!(true), &json!(false))
    );
    let running = get(&scene, "/api/jobs?status=running&kind=install").await;
    assert_eq!(running["jobs"][0]["guest_name"], "web102");
    assert_eq!(running["jobs"][0]["guest"], guest_id(102).to_string());
    assert_eq!(running["jobs"].as_array().unwrap().len(), 1);
    let lines = get(&scene, &format!("/api/jobs/{}/logs?search=NGINX", job_id(12))).await;
    assert_eq!(lines["lines"].as_array().unwrap().len(), 1);
    let schema = get(&scene, "/api/apps/schema.json").await;
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"));
    assert_eq!(scene.get("/api/guests/nobody").await.status, StatusCode::NOT_FOUND);
    assert_eq!(scene.get("/api/apps/nobody").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_a_job_that_is_named() {
    let scene = GuestScene::fleet();
    let id = guest_id(101);
    for (path, body, wanted) in [
        ("/api/install", json!({"app": "redis", "name": "cache1"}), "install redis".to_owned()),
        (
            "/api/uninstall",
            json!({"guest": "web101", "confirm": "web101"}),
            "uninstall web101 false".into(),
        ),
        ("/api/guests/web101/power", json!({"action": "stop"}), "power stop".into()),
        ("/api/guests/web101/backup", json!({}), "backup None".into()),
        (
            "/api/guests/web101/restore",
            json!({"archive": "a", "confirm": "web101"}),
            "restore a None web101".into(),
        ),
        ("/api/guests/web101/upgrade", json!({}), format!("upgrade {id}")),
        ("/api/guests/web101/return", json!({}), format!("return {id}")),
        ("/api/guests/web101/reconfigure", json!({"cores": 2}), "reconfigure".into()),
        ("/api/guests/web101/adopt", json!({"confirm": "web101"}), "adopt web101".into()),
        ("/api/guests/web101/publish", json!({}), format!("publish {id}")),
        ("/api/guests/web101/retry", json!({}), format!("retry {id}")),
        (
            "/api/nodes/enroll",
            json!({"address": "192.0.2.23", "password": TYPED}),
            format!("enroll 192.0.2.23 {}", TYPED.len()),
        ),
        ("/api/nodes/pve1/revoke", json!({}), "revoke pve1".into()),
        ("/api/apps/refresh", json!({}), "refresh None".into()),
    ] {
        let (status, answer) = post(&scene, path, body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{path}: {answer}");
        assert_eq!(answer["job"], job().to_string(), "{path}");
        assert_eq!(std::mem::take(&mut *scene.guests.asked.lock().unwrap()), [wanted]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_answers_are_what_was_asked_for() {
    let scene = GuestScene::fleet();
    let order = json!({"app": "static-website", "name": "web1", "input": {"title": "x"}});
    let (status, review) = post(&scene, "/api/install/review", order).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(review["lines"][0]["what"], "Choose a number");
    assert_eq!(scene.guests.form.lock().unwrap().get("input.title"), Some("x"));
    let (_, secret) = post(&scene, "/api/guests/web101/reveal", json!({"key": "token"})).await;
    assert_eq!(secret["value"], REVEALED);
    let (status, seen) =
        post(&scene, "/api/guests/observe", json!({"node": "pve1", "vmid": 105})).await;
    assert_eq!((status, &seen["vmid"]), (StatusCode::CREATED, &json!(105)));
    let (_, command) = post(&scene, "/api/nodes/enroll-command", json!({})).await;
    assert!(command["command"].as_str().unwrap().starts_with("curl"));
    let forget = scene::json("DELETE", "/api/guests/web104", "");
    assert_eq!(scene.send(forget).await.status, StatusCode::NO_CONTENT);
    let kept = get(&scene, "/api/kept-volumes").await;
    assert_eq!(kept["kept"][0]["volumes"], json!(["tank:203/vm-203-disk-0.raw"]));
    assert_eq!(
        (&kept["kept"][0]["vmid"], &kept["kept"][0]["guest"]),
        (&json!(203), &json!("web203"))
    );
    let (status, _) = post(&scene, "/api/kept-volumes/203/forget", json!({"confirm": "203"})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for (path, body) in [
        ("/api/install", json!({"name": "x"})),
        ("/api/install", json!({"app": 7})),
        ("/api/guests/web101/power", json!({"akshun": "stop"})),
        ("/api/uninstall", json!({"guest": "web101"})),
    ] {
        let (status, problem) = post(&scene, path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
    }
    let (status, problem) = post(&scene, "/api/guests/web101/power", json!({"action": "x"})).await;
    assert_eq!((status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("action")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_prometheus_opens_targets_and_metrics_and_nothing_else() {
    let scene = GuestScene::fleet();
    let bearer = |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        request.body(Body::empty()).unwrap()
    };
    let targets = "/api/prometheus/targets";
    assert_eq!(scene.send(bearer(targets, "")).await.status, StatusCode::UNAUTHORIZED);
    let (_, made) = post(&scene, "/api/prometheus/token", json!({})).await;
    let token = made["token"].as_str().unwrap().to_owned();
    let answer = scene.send(bearer(targets, &token)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(list[0]["targets"], json!(["192.0.2.60:9100"]));
    assert_eq!(list[0]["labels"]["guest"], "web101");
    assert_eq!(list.as_array().unwrap().len(), 1, "only what is monitored and ready: {list}");
    for path in ["/api/guests", "/api/prometheus/token", "/api/jobs", "/guests", "/health"] {
        let answer = scene.send(bearer(path, &token)).await;
        assert!(!answer.status.is_success(), "{path}");
    }
    // A new one ends the one before.
    let (_, second) = post(&scene, "/api/prometheus/token", json!({})).await;
    assert_ne!(second["token"], made["token"]);
    assert_eq!(scene.send(bearer(targets, &token)).await.status, StatusCode::UNAUTHORIZED);
}
