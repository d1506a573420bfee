use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};

use super::scene::{CSRF, Scene, browser};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::web::{ControlSocket, setup_link};

/// Every path of the routers, read from their source and their document: a route that is added is tested without being
/// listed here.
fn guarded_paths() -> Vec<String> {
    let told = crate::web::api::document::document();
    let api = told["paths"].as_object().unwrap().iter();
    let api = api.filter(|(path, item)| {
        let is_of_machines = |operation: &serde_json::Value| operation["tags"][0] == "machines";
        *path != "/api/health" && !item.as_object().unwrap().values().all(is_of_machines)
    });
    let sources = [include_str!("../page.rs"), include_str!("../../web.rs")];
    let paths: Vec<String> = sources
        .iter()
        .flat_map(|text| text.split(".route(\"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .chain(api.map(|(path, _)| path.as_str()))
        .map(|path| {
            let id = "01900000-0000-7000-8000-000000000001";
            let path = path.replace("{id}", id).replace("{mac}", "52:54:00:00:00:01");
            path.replace("{name}", "pve1")
        })
        .collect();
    assert!(paths.len() > 80, "{paths:?}");
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_open_without_a_session() {
    let scene = Scene::fleet();
    for path in guarded_paths() {
        for method in ["GET", "POST", "PATCH", "DELETE", "PUT"] {
            let request = Request::builder().method(method).uri(&path).body(Body::empty()).unwrap();
            let answer = scene.send(request).await;
            let led_to_login = answer.status == StatusCode::SEE_OTHER
                && answer.header("location").starts_with("/login");
            assert!(
                answer.status == StatusCode::UNAUTHORIZED || led_to_login,
                "{method} {path}: {}",
                answer.status
            );
        }
    }
    assert!(scene.asked.asked.lock().unwrap().is_empty());
    let health = Request::get("/api/health").body(Body::empty()).unwrap();
    assert_eq!(scene.send(health).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_alone_changes_nothing() {
    let scene = Scene::fleet();
    for path in guarded_paths() {
        for (method, token) in [("POST", None), ("DELETE", None), ("POST", Some("wrong"))] {
            let mut request = browser(method, &path);
            if let Some(token) = token {
                request = request.header("x-csrf-token", token);
            }
            let answer = scene.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
    // The right token, sent by another site's page.
    let request = browser("POST", "/sightings/52:54:00:cc:00:51/ignore")
        .header("x-csrf-token", CSRF)
        .header("sec-fetch-site", "cross-site");
    let answer = scene.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(scene.asked.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_with_their_token_are_carried_out() {
    let scene = Scene::fleet();
    let host = super::sample::host(4, |_| ()).id;
    let form = format!("csrf={CSRF}&image=proxmox-ve-9.2-1&confirm=pve4&replace_node=yes");
    let answer = scene.post(&format!("/hosts/{host}/rebuild"), &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.header("location").starts_with("/jobs/"));
    let form = format!("csrf={CSRF}&hostname=pve7&macs=52:54:00:00:00:07&server_type=lab");
    let answer = scene.post("/hosts/new", &form).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let answer =
        scene.post(&format!("/hosts/{host}/delete"), &format!("csrf={CSRF}&confirm=x")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        *scene.asked.asked.lock().unwrap(),
        ["rebuild pve4 true", "register pve7 [52:54:00:00:00:07]"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_api_refuse_with_the_same_words() {
    let scene = Scene::fleet();
    let refusal =
        Refusal::new(RefusalKind::Conflict, "pve2 is being rebuilt.", "Wait for its end.")
            .because_of(Some(super::scene::job_id(2)));
    *scene.asked.refusal.lock().unwrap() = Some(refusal);
    let host = super::sample::host(4, |_| ()).id;
    let page =
        scene.post(&format!("/hosts/{host}/rebuild"), &format!("csrf={CSRF}&confirm=pve4")).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(
        page.body.contains("pve2 is being rebuilt.") && page.body.contains("Wait for its end.")
    );
    let request = browser("POST", "/api/hosts/pve4/rebuild").header("x-csrf-token", CSRF);
    let api = scene.send(request.body(Body::from(r#"{"confirm":"pve4"}"#)).unwrap()).await;
    assert_eq!(api.header("content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&api.body).unwrap();
    assert_eq!(problem["detail"], "pve2 is being rebuilt.");
    assert_eq!(problem["status"], 409);
    assert_eq!(problem["job"], super::scene::job_id(2).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_and_oversized_bodies_are_refused() {
    let scene = Scene::fleet();
    let request = browser("POST", "/api/hosts/pve4/rebuild").header("x-csrf-token", CSRF);
    let body = r#"{"confirm":"pve4","imgae":"x"}"#;
    let answer = scene.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.body.contains("imgae"), "{}", answer.body);
    let request = browser("POST", "/api/hosts").header("x-csrf-token", CSRF);
    let answer = scene.send(request.body(Body::from(vec![b' '; 300 * 1024])).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(scene.asked.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_needs_no_login_and_only_it_may_back_up() {
    let scene = Scene::fleet();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.redb");
    let body = serde_json::json!({ "path": path }).to_string();
    let request = browser("POST", "/api/db/backup").header("x-csrf-token", CSRF);
    let answer = scene.send(request.body(Body::from(body.clone())).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let request = Request::post("/api/db/backup").extension(ControlSocket);
    let answer = scene.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(crate::store::verify(&path).is_ok());
}

fn login_from(last: u8, password: &str) -> Request<Body> {
    let peer = SocketAddr::from(([192, 0, 2, last], 4000));
    Request::post("/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(ConnectInfo(peer))
        .body(Body::from(format!("next=/jobs&password={password}")))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_visit_sets_the_password_once_and_logins_are_limited() {
    let scene = Scene::empty();
    assert_eq!(scene.send(login_from(1, "")).await.status, StatusCode::UNAUTHORIZED);
    let old = setup_link(&scene.store, "http://192.0.2.10:8080").await.unwrap().unwrap();
    let link = setup_link(&scene.store, "http://192.0.2.10:8080/").await.unwrap().unwrap();
    let path = |link: &str| link.strip_prefix("http://192.0.2.10:8080").unwrap().to_owned();
    assert_eq!(scene.get(&path(&old)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(scene.get(&path(&link)).await.status, StatusCode::OK);
    let token = link.split_once("token=").unwrap().1.to_owned();
    let set = |password: &str| {
        let form = format!("token={token}&password={password}&repeated={password}");
        Request::post("/setup")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap()
    };
    let short = scene.send(set("short")).await;
    assert_eq!(short.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(short.body.contains("at least 10"));
    let answer = scene.send(set("correct-horse")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let request = Request::get("/jobs").header("cookie", &cookie).body(Body::empty()).unwrap();
    assert_eq!(scene.send(request).await.status, StatusCode::OK);
    assert_eq!(scene.send(set("another-horse")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(setup_link(&scene.store, "http://x").await.unwrap(), None);
    // Login, wrong logins, and the limit.
    let answer = scene.send(login_from(2, "correct-horse")).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/jobs"));
    for _ in 0..5 {
        assert_eq!(scene.send(login_from(3, "wrong")).await.status, StatusCode::UNAUTHORIZED);
    }
    let limited = scene.send(login_from(3, "correct-horse")).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!limited.header("retry-after").is_empty());
    // Logging out ends the session on the server, not only in the browser.
    let request = Request::post("/logout").header("cookie", &cookie).body(Body::empty()).unwrap();
    assert_eq!(scene.send(request).await.status, StatusCode::SEE_OTHER);
    let request = Request::get("/jobs").header("cookie", &cookie).body(Body::empty()).unwrap();
    assert_eq!(scene.send(request).await.status, StatusCode::SEE_OTHER);
}
