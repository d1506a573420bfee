//! Accounts, sessions, tokens and the audit log, by those who should not have what they ask for.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::sample::{NOW, ago, host};
use super::scene::{Answer, CSRF, Scene, browser, json};
use crate::domain::account::{Account, AccountName, ApiToken, Scope};
use crate::domain::audit::{Author, Who};
use crate::golden::assert_golden;
use crate::store::{
    AccountReads as _, HostReads as _, HostWriteError, SettingReads as _, StoreError, as_author,
};
use crate::web::auth::token_hash;
use crate::web::{ControlSocket, LocalUser, adopt_old_access};

const PASSWORD: &str = "planted-correct-horse";
const OTHER: &str = "planted-battery-staple";

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

async fn api(scene: &Scene, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
    let answer = scene.send(json(method, path, body)).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

async fn log_in(scene: &Scene, last: u8, account: &str, password: &str) -> Answer {
    let peer = SocketAddr::from(([192, 0, 2, last], 4000));
    let form = format!("username={account}&password={password}");
    let request = Request::post("/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("user-agent", "Other/2")
        .extension(ConnectInfo(peer))
        .body(Body::from(form));
    scene.send(request.unwrap()).await
}

/// The cookie of a log-in that must work.
async fn cookie(scene: &Scene, last: u8, account: &str, password: &str) -> String {
    let answer = log_in(scene, last, account, password).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn status_with(scene: &Scene, cookie: &str) -> StatusCode {
    let request = Request::get("/api/hosts").header("cookie", cookie).body(Body::empty());
    scene.send(request.unwrap()).await.status
}

/// An appliance where `operator` and `ann` can log in.
async fn two_accounts() -> Scene {
    let scene = Scene::empty();
    let body = format!(r#"{{"password":"{OTHER}"}}"#);
    let (status, _) = api(&scene, "PATCH", "/api/accounts/operator", &body).await;
    assert_eq!(status, StatusCode::OK);
    let body = format!(r#"{{"name":"Ann","password":"{PASSWORD}"}}"#);
    let (status, made) = api(&scene, "POST", "/api/accounts", &body).await;
    assert_eq!((status, &made["name"]), (StatusCode::CREATED, &"ann".into()));
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_accounts_sessions_and_streams_end_at_once() {
    let scene = two_accounts().await;
    let ann = cookie(&scene, 2, "ann", PASSWORD).await;
    assert_eq!(status_with(&scene, &ann).await, StatusCode::OK);
    let request = Request::get("/events").header("cookie", &ann).body(Body::empty()).unwrap();
    let mut stream = scene.router.clone().oneshot(request).await.unwrap().into_body();
    let (status, _) = api(&scene, "PATCH", "/api/accounts/ann", r#"{"disabled":true}"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(status_with(&scene, &ann).await, StatusCode::UNAUTHORIZED);
    let rest = async { while let Some(Ok(_)) = stream.frame().await {} };
    tokio::time::timeout(Duration::from_secs(30), rest).await.expect("the stream ends");
    assert_eq!(log_in(&scene, 2, "ann", PASSWORD).await.status, StatusCode::UNAUTHORIZED);
    // Enabled again it can log in, but the old session stays ended.
    api(&scene, "PATCH", "/api/accounts/ann", r#"{"disabled":false}"#).await;
    assert_eq!(status_with(&scene, &ann).await, StatusCode::UNAUTHORIZED);
    let ann = cookie(&scene, 2, "ann", PASSWORD).await;
    // A new password ends the others' sessions of the account; so does the button on the page.
    api(&scene, "PATCH", "/api/accounts/ann", &format!(r#"{{"password":"{OTHER}"}}"#)).await;
    assert_eq!(status_with(&scene, &ann).await, StatusCode::UNAUTHORIZED);
    let ann = cookie(&scene, 2, "ann", OTHER).await;
    let (_, all) = api(&scene, "GET", "/api/sessions", "").await;
    let of_ann = all["sessions"].as_array().unwrap().iter().find(|s| s["account"] == "ann");
    let path = format!("/access/sessions/{}/end", of_ann.unwrap()["id"].as_str().unwrap());
    let ended = scene.post(&path, &format!("csrf={CSRF}")).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert_eq!(status_with(&scene, &ann).await, StatusCode::UNAUTHORIZED);
    let ann = cookie(&scene, 2, "ann", OTHER).await;
    let (status, _) = api(&scene, "DELETE", "/api/accounts/ann", "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(status_with(&scene, &ann).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_account_that_can_log_in_stays() {
    let scene = two_accounts().await;
    let (status, _) = api(&scene, "DELETE", "/api/accounts/ann", "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for (method, body) in [("DELETE", ""), ("PATCH", r#"{"disabled":true}"#)] {
        let (status, problem) = api(&scene, method, "/api/accounts/operator", body).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(problem["detail"].as_str().unwrap().contains("last account"), "{problem}");
    }
    let read = scene.store.read::<_, StoreError, _>(|read| read.account(&AccountName::first()));
    assert!(!read.await.unwrap().unwrap().disabled, "nothing of the refused write is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_of_strangers_lock_strangers_out_and_not_the_operator() {
    let scene = two_accounts().await;
    cookie(&scene, 2, "ann", PASSWORD).await;
    cookie(&scene, 5, "ann", PASSWORD).await;
    for n in 0..10 {
        let wrong = log_in(&scene, 100 + n, "ann", "wrong-wrong").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{n}");
    }
    let stranger = log_in(&scene, 200, "ann", PASSWORD).await;
    assert_eq!(stranger.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(!stranger.header("retry-after").is_empty());
    // The address of the proxy is everybody's behind it.
    assert_eq!(log_in(&scene, 5, "ann", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    // From where she logged in before, and into another account, it goes on as ever.
    cookie(&scene, 2, "ann", PASSWORD).await;
    cookie(&scene, 200, "operator", OTHER).await;
    assert_eq!(log_in(&scene, 201, "ann", PASSWORD).await.status, StatusCode::TOO_MANY_REQUESTS);
    let (_, shown) = api(&scene, "GET", "/api/accounts", "").await;
    assert!(shown["accounts"][0]["locked_secs"].as_u64() > Some(0), "{shown}");
    let (status, _) = api(&scene, "POST", "/api/accounts/ann/unlock", "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    cookie(&scene, 201, "ann", PASSWORD).await;
    // A name that no account has is counted alike.
    for n in 0..10 {
        log_in(&scene, 210 + n, "nobody", "wrong-wrong").await;
    }
    let stranger = log_in(&scene, 230, "nobody", "wrong-wrong").await;
    assert_eq!(stranger.status, StatusCode::TOO_MANY_REQUESTS);
}

async fn with_token(scene: &Scene, method: &str, path: &str, token: &str) -> StatusCode {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from("{}"));
    scene.send(request.unwrap()).await.status
}

async fn make_token(scene: &Scene, scope: &str) -> (String, String) {
    let body = format!(r#"{{"name":"a {scope} program","scope":"{scope}","days":30}}"#);
    let (status, made) = api(scene, "POST", "/api/tokens", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_scope_and_nothing_else() {
    let scene = Scene::fleet();
    let rebuild = "/api/hosts/pve4/rebuild";
    // What the scopes may do: read hosts, ask for a rebuild (refused for its body), see accounts, read numbers.
    let table = [
        ("metrics", [403, 403, 403, 200]),
        ("read", [200, 403, 403, 200]),
        ("operate", [200, 400, 403, 200]),
        ("admin", [200, 400, 200, 200]),
    ];
    for (scope, wanted) in table {
        let (_, token) = make_token(&scene, scope).await;
        let asked = [
            ("GET", "/api/hosts"),
            ("POST", rebuild),
            ("GET", "/api/accounts"),
            ("GET", "/metrics"),
        ];
        for ((method, path), wanted) in asked.into_iter().zip(wanted) {
            let status = with_token(&scene, method, path, &token).await;
            assert_eq!(status.as_u16(), wanted, "{scope}: {method} {path}");
        }
        assert_eq!(with_token(&scene, "GET", "/access", &token).await, StatusCode::FORBIDDEN);
        let backup = with_token(&scene, "POST", "/api/db/backup", &token).await;
        assert_eq!(backup, StatusCode::FORBIDDEN, "only over the control socket");
    }
    assert!(scene.asked.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_forged_over_revoked_or_of_a_disabled_account_opens_nothing() {
    let scene = two_accounts().await;
    let (id, token) = make_token(&scene, "admin").await;
    let try_it = async |token: &str| with_token(&scene, "GET", "/api/hosts", token).await;
    assert_eq!(try_it(&token).await, StatusCode::OK);
    // Not even the session's cookie beside it helps a wrong one.
    let mut forged = token.clone();
    forged.replace_range(..1, if token.starts_with('0') { "1" } else { "0" });
    for bad in [forged.as_str(), "", &id, &token_hash(&token), &token[..63]] {
        assert_eq!(try_it(bad).await, StatusCode::UNAUTHORIZED, "{bad}");
        let request = browser("GET", "/api/hosts").header("authorization", format!("Bearer {bad}"));
        let answer = scene.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let (status, _) = api(&scene, "DELETE", &format!("/api/tokens/{id}"), "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(try_it(&token).await, StatusCode::UNAUTHORIZED);
    // One that is over, and one of an account that is disabled.
    let keep = |plain: &str, owner: Option<AccountName>, expires| {
        let hash = token_hash(plain);
        let id = hash[..12].to_owned();
        let (name, scope, created) = (plain.to_owned(), Scope::Admin, ago(100));
        let token =
            ApiToken { id, hash, name, scope, owner, created, expires, last_used: Some(NOW) };
        scene.write(0, move |tx| tx.save_api_token(&token).unwrap());
    };
    keep("over", None, Some(NOW));
    keep("living", None, Some(NOW.after(Duration::from_secs(1))));
    keep("of-ann", Some(name("ann")), None);
    keep("of-nobody-now", Some(name("gone")), None);
    assert_eq!(try_it("over").await, StatusCode::UNAUTHORIZED);
    assert_eq!(try_it("living").await, StatusCode::OK);
    assert_eq!(try_it("of-nobody-now").await, StatusCode::UNAUTHORIZED);
    assert_eq!(try_it("of-ann").await, StatusCode::OK);
    api(&scene, "PATCH", "/api/accounts/ann", r#"{"disabled":true}"#).await;
    assert_eq!(try_it("of-ann").await, StatusCode::UNAUTHORIZED);
    api(&scene, "PATCH", "/api/accounts/ann", r#"{"disabled":false}"#).await;
    assert_eq!(try_it("of-ann").await, StatusCode::OK);
    // A token that a token makes belongs to the same account, and goes with it.
    let request = Request::post("/api/tokens")
        .header("authorization", "Bearer of-ann")
        .body(Body::from(r#"{"name":"second","scope":"admin"}"#));
    let made: Value = serde_json::from_str(&scene.send(request.unwrap()).await.body).unwrap();
    let second = made["token"].as_str().unwrap().to_owned();
    assert_eq!((made["owner"].as_str(), try_it(&second).await), (Some("ann"), StatusCode::OK));
    api(&scene, "DELETE", "/api/accounts/ann", "").await;
    assert_eq!(try_it("of-ann").await, StatusCode::UNAUTHORIZED);
    assert_eq!(try_it(&second).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_changed_what_from_where_and_no_secret() {
    let scene = two_accounts().await;
    let (_, token) = make_token(&scene, "admin").await;
    cookie(&scene, 2, "ann", PASSWORD).await;
    // A program, a user of the machine, and a browser.
    let peer = SocketAddr::from(([192, 0, 2, 9], 4000));
    let request = Request::patch("/api/accounts/ann")
        .header("authorization", format!("Bearer {token}"))
        .extension(ConnectInfo(peer))
        .body(Body::from(format!(r#"{{"password":"{OTHER}","disabled":true}}"#)));
    assert_eq!(scene.send(request.unwrap()).await.status, StatusCode::OK);
    let request = Request::delete("/api/accounts/ann")
        .extension(ControlSocket)
        .extension(LocalUser("root".to_owned()))
        .body(Body::empty());
    assert_eq!(scene.send(request.unwrap()).await.status, StatusCode::NO_CONTENT);
    // What is refused leaves nothing.
    let (status, _) = api(&scene, "DELETE", "/api/accounts/operator", "").await;
    assert_eq!(status, StatusCode::CONFLICT);

    let (_, log) = api(&scene, "GET", "/api/audit", "").await;
    let entries = log["entries"].as_array().unwrap();
    let told: Vec<String> = entries
        .iter()
        .map(|e| {
            let subjects = e["changes"].as_array().unwrap().iter();
            let subjects: Vec<_> =
                subjects.map(|c| format!("{} {}", c["fate"], c["subject"])).collect();
            let who = format!("{} {}", e["who"]["kind"], e["who"]["name"]);
            format!("{who} {} {}: {}", e["address"], e["action"], subjects.join(", "))
                .replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        [
            "socket root null DELETE /api/accounts/ann: removed account ann",
            "token a admin program 192.0.2.9 PATCH /api/accounts/ann: changed account ann",
            "token a admin program 192.0.2.9 PATCH /api/accounts/ann: removed session of ann, changed account ann",
            "account ann 192.0.2.2 POST /login: added session of ann",
            "account operator null POST /api/tokens: added API token a admin program",
            "account operator null POST /api/accounts: added account ann",
            "account operator null PATCH /api/accounts/operator: changed account operator",
        ]
    );
    assert_eq!(entries[1]["changes"][0]["fields"][0]["after"], "true");
    let (_, page) = api(&scene, "GET", "/api/audit?limit=2", "").await;
    let next = page["next"].as_str().unwrap();
    let (_, second) = api(&scene, "GET", &format!("/api/audit?limit=2&before={next}"), "").await;
    assert_eq!(second["entries"][0], entries[2]);
    // Neither passwords nor hashes nor tokens are anywhere that people look.
    let mut hashes = vec![token_hash(&token)];
    let accounts = scene.store.read::<_, StoreError, _>(|read| read.accounts()).await.unwrap();
    hashes.extend(accounts.into_iter().filter_map(|a| a.password_hash));
    for path in ["/api/audit", "/audit", "/access", "/api/accounts", "/api/tokens", "/api/sessions"]
    {
        let shown = scene.get(path).await.body;
        for secret in [PASSWORD, OTHER, CSRF, token.as_str(), "argon2", "csrf\":"]
            .into_iter()
            .chain(hashes.iter().map(String::as_str))
        {
            let is_form = path == "/access" || path == "/audit";
            assert!(!shown.contains(secret) || (is_form && secret == CSRF), "{path}: {secret}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_changes_on_a_host_is_in_the_log_with_before_and_after() {
    const PLANTED: &str = "planted-in-an-answer";
    let scene = Scene::empty();
    scene.write(0, |tx| tx.save_host(&host(1, |_| ())).unwrap());
    let author = Author {
        who: Who::Account("operator".to_owned()),
        address: None,
        action: "PATCH /api/hosts/pve1".to_owned(),
    };
    let change = scene.store.write(|tx| -> Result<(), HostWriteError> {
        let mut host = tx.host(host(1, |_| ()).id)?.unwrap();
        host.server_type = "gpu".parse().unwrap();
        let answer = serde_json::json!({ "global": { "root-password": PLANTED, "country": "de" } });
        host.overrides.answer = answer.as_object().unwrap().clone();
        tx.put_secret("job/x/key", PLANTED);
        tx.save_host(&host)
    });
    as_author(author, change).await.unwrap();
    // Somebody who is not asked for it writes meanwhile: that is nobody's change.
    scene.write(0, |tx| tx.save_host(&host(2, |_| ())).unwrap());
    let (_, log) = api(&scene, "GET", "/api/audit", "").await;
    assert!(!log.to_string().contains(PLANTED), "{log}");
    assert_eq!(log["entries"].as_array().unwrap().len(), 1);
    let changes = &log["entries"][0]["changes"];
    assert_eq!(changes[0]["subject"], "host pve1");
    let fields = &changes[0]["fields"];
    assert_eq!(fields[0]["field"], "overrides.answer.global.country");
    assert_eq!(fields[1]["after"], "(not shown)");
    assert_eq!(
        (fields[2]["before"].as_str(), fields[2]["after"].as_str()),
        (Some("lab"), Some("gpu"))
    );
    assert_eq!(changes[1]["subject"], "sealed secret job/x/key");
    let page = scene.get("/audit").await.body;
    assert!(page.contains("host pve1") && !page.contains(PLANTED));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_with_one_password_goes_on_as_the_first_account() {
    let scene = Scene::empty();
    let hash = crate::web::auth::LoginGate::new()
        .hash(crate::domain::secret::Secret::new(PASSWORD.to_owned()))
        .await
        .unwrap();
    // As the version before left it: a setting, a session without an account, Prometheus' token.
    scene.write(0, move |tx| {
        tx.delete_account(&AccountName::first());
        tx.save_setting("operator_password", &hash).unwrap();
        tx.save_setting("prometheus_token", &token_hash("scraper")).unwrap();
    });
    assert_eq!(scene.get("/jobs").await.status, StatusCode::SEE_OTHER, "no account, no session");
    for _ in 0..2 {
        adopt_old_access(&scene.store).await.unwrap();
    }
    assert_eq!(scene.get("/jobs").await.status, StatusCode::OK, "who was logged in stays so");
    cookie(&scene, 5, "", PASSWORD).await;
    assert_eq!(with_token(&scene, "GET", "/metrics", "scraper").await, StatusCode::OK);
    assert_eq!(with_token(&scene, "GET", "/api/hosts", "scraper").await, StatusCode::FORBIDDEN);
    let left: Option<String> =
        scene.store.read(|read| read.setting("operator_password")).await.unwrap();
    assert_eq!(left, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_access_look_as_they_were_last_reviewed() {
    let scene = Scene::empty();
    let empty = scene.get("/audit").await;
    assert_golden("pages/audit-empty.html", &super::golden::without_hashes(&empty.body));
    scene.write(0, |tx| {
        let mut ann = Account::new(name("ann"), Some("$argon2id$planted".to_owned()), ago(9000));
        ann.disabled = true;
        ann.last_login = Some(ago(4000));
        tx.save_account(&ann).unwrap();
        for (n, scope) in [(1, Scope::Metrics), (2, Scope::Operate)] {
            tx.save_api_token(&ApiToken {
                id: format!("{n:012}"),
                hash: "planted".to_owned(),
                name: format!("Program {n}"),
                scope,
                owner: (n == 2).then(|| name("ann")),
                created: ago(5000 + n),
                expires: (n == 2).then(|| ago(60)),
                last_used: (n == 1).then(|| ago(30)),
            })
            .unwrap();
        }
    });
    let author = |who, action: &str| Author {
        who,
        address: Some([192, 0, 2, 33].into()),
        action: action.to_owned(),
    };
    let added = scene.store.write(|tx| tx.save_host(&host(1, |_| ())));
    let who = Who::Token("<b>script</b>".to_owned());
    as_author(author(who, "POST /api/hosts"), added).await.unwrap();
    for n in 0..54u8 {
        let changed = scene.store.write(move |tx| -> Result<(), HostWriteError> {
            let mut host = tx.host(host(1, |_| ()).id)?.unwrap();
            host.server_type = format!("type{}", n).parse().unwrap();
            tx.save_host(&host)
        });
        let who = Who::Account("operator".to_owned());
        as_author(author(who, "POST /hosts/x/edit"), changed).await.unwrap();
    }
    for (page, path) in [("access", "/access"), ("audit", "/audit?before=4")] {
        let answer = scene.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.body.contains("planted") && !answer.body.contains("<b>script"), "{path}");
        assert!(!answer.body.contains("style=") && !answer.body.contains("<script>"), "{path}");
        assert_golden(&format!("pages/{page}.html"), &super::golden::without_hashes(&answer.body));
    }
    // Long lists page.
    let first = scene.get("/audit").await.body;
    assert_eq!(first.matches("<section class=\"card\"").count(), 50);
    assert!(first.contains("href=\"/audit?before=6\""));
    let wrong = scene.post("/access/accounts", &format!("csrf={CSRF}&name=bad name")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.body.contains("<details open") && wrong.body.contains("bad name"));
    let form = format!("csrf={CSRF}&name=a&scope=all&days=");
    let wrong = scene.post("/access/tokens", &form).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let form = format!("csrf={CSRF}&name=backup&scope=read&days=");
    let made = scene.post("/access/tokens", &form).await;
    let secret = made.body.split("class=\"mono\">").nth(1).unwrap().split('<').next().unwrap();
    assert_eq!(with_token(&scene, "GET", "/api/hosts", secret).await, StatusCode::OK);
}

/// A request with the header of a proxy, from this address.
fn through(last: u8, method: &str, path: &str, names: &[&str]) -> axum::http::request::Builder {
    let peer = SocketAddr::from(([192, 0, 2, last], 4000));
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("x-forwarded-for", "198.51.100.7")
        .extension(ConnectInfo(peer));
    for name in names {
        request = request.header("x-forwarded-user", *name);
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_header_counts_from_the_proxy_only() {
    let scene = two_accounts().await;
    let (status, _) = api(&scene, "POST", "/api/accounts", r#"{"name":"bob@example.org"}"#).await;
    assert_eq!(status, StatusCode::CREATED, "an account without a password");
    let get = async |last: u8, names: &[&str]| {
        let request = through(last, "GET", "/api/session", names).body(Body::empty());
        scene.send(request.unwrap()).await
    };
    let answer = get(5, &["Bob@example.org"]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    // A stranger who sends the header himself is nobody, whatever else he claims.
    for last in [4, 6, 77] {
        assert_eq!(get(last, &["bob@example.org"]).await.status, StatusCode::UNAUTHORIZED);
    }
    let request = Request::get("/api/session").header("x-forwarded-user", "ann");
    let on_no_known_listener = scene.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(on_no_known_listener.status, StatusCode::UNAUTHORIZED);
    // Behind the proxy: no name is no log-in, two names are a forgery, an unknown or disabled one is refused.
    assert_eq!(get(5, &[]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(5, &[""]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(5, &["ann", "bob@example.org"]).await.status, StatusCode::BAD_REQUEST);
    for name in ["eve", "ann, bob@example.org", "../ann", "an n"] {
        assert_eq!(get(5, &[name]).await.status, StatusCode::FORBIDDEN, "{name}");
    }
    // Another site cannot use it: changes need the token that only our pages tell.
    let csrf: Value = serde_json::from_str(&answer.body).unwrap();
    let csrf = csrf["csrf"].as_str().unwrap();
    let add = |names: &[&str], token: &str| {
        let request = through(5, "POST", "/api/tokens", names).header("x-csrf-token", token);
        request.body(Body::from(r#"{"name":"of bob","scope":"read"}"#)).unwrap()
    };
    assert_eq!(scene.send(add(&["bob@example.org"], "")).await.status, StatusCode::FORBIDDEN);
    assert_eq!(scene.send(add(&["ann"], csrf)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(scene.send(add(&["bob@example.org"], csrf)).await.status, StatusCode::CREATED);
    let (_, log) = api(&scene, "GET", "/api/audit?limit=1", "").await;
    assert_eq!(log["entries"][0]["who"]["kind"], "proxy");
    assert_eq!(log["entries"][0]["address"], "198.51.100.7");
    // A stranger's word about his address does not count for the limit of guesses.
    let request = through(6, "POST", "/login", &[])
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("username=ann&password={PASSWORD}")));
    assert_eq!(scene.send(request.unwrap()).await.status, StatusCode::SEE_OTHER);
    let (_, sessions) = api(&scene, "GET", "/api/sessions", "").await;
    let of_ann = sessions["sessions"].as_array().unwrap().iter().find(|s| s["account"] == "ann");
    assert_eq!(of_ann.unwrap()["address"], "192.0.2.6");
    api(&scene, "PATCH", "/api/accounts/bob@example.org", r#"{"disabled":true}"#).await;
    assert_eq!(get(5, &["bob@example.org"]).await.status, StatusCode::FORBIDDEN);
}
