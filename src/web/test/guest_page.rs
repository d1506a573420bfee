use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::guest_scene::{GuestScene, SEALED, TYPED, guest_id, installed};
use super::guests::{REVEALED, job};
use super::scene::{CSRF, Scene, job_id};
use crate::domain::form::{Declined, FieldError};
use crate::domain::job::{GuestTask, JobStatus, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};

fn asked(scene: &GuestScene) -> Vec<String> {
    scene.guests.asked.lock().unwrap().drain(..).collect()
}

fn draft(page: &str) -> &str {
    let (_, rest) = page.split_once("name=\"draft\" value=\"").unwrap();
    rest.split_once('"').unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_reviewed_and_installed_and_its_secret_is_on_no_page() {
    let scene = GuestScene::fleet();
    let form = format!(
        "csrf={CSRF}&name=web1&onboot=false&onboot=true&start=false&input.title=My+site\
         &input.protect=true&input.admin_password={TYPED}"
    );
    let review = scene.post("/apps/static-website/review", &form).await;
    assert_eq!(review.status, StatusCode::OK);
    assert!(review.body.contains("domain: web1.example.net"), "the definition is shown");
    assert!(!review.body.contains(TYPED));
    // "Change" leads back with everything but the secret, and that need not be typed again.
    let path = format!("/apps/static-website/install?draft={}", draft(&review.body));
    let change = scene.get(&path).await;
    assert!(change.body.contains("value=\"My site\"") && !change.body.contains(TYPED));
    assert!(change.body.contains("kept as it was typed"));
    let again = format!(
        "csrf={CSRF}&draft={}&name=web2&input.title=My+site&input.admin_password=",
        draft(&change.body)
    );
    let review = scene.post("/apps/static-website/review", &again).await;
    let order = format!("csrf={CSRF}&draft={}", draft(&review.body));
    let installed = scene.post("/apps/static-website/install", &order).await;
    assert_eq!(installed.header("location"), format!("/jobs/{}", job()));
    {
        let form = scene.guests.form.lock().unwrap();
        assert_eq!(form.get("name"), Some("web2"));
        assert_eq!(form.get("input.admin_password"), Some(TYPED));
        assert_eq!(form.get("csrf").or(form.get("draft")), None);
    }
    // A second press of the same button installs nothing.
    let twice = scene.post("/apps/static-website/install", &order).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    assert!(twice.body.contains("carried out already"));
    let told = asked(&scene);
    assert_eq!(told.iter().filter(|a| a.starts_with("install")).count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_stand_beside_their_fields_and_what_was_typed_stays() {
    let scene = GuestScene::fleet();
    let errors = vec![
        FieldError::new("name", "'web1' is taken by another guest"),
        FieldError::new("nowhere", "this field is not known"),
    ];
    *scene.guests.refusal.lock().unwrap() = Some(Declined::Fields(errors));
    let form = format!("csrf={CSRF}&name=web1&memory_mb=600&input.admin_password={TYPED}");
    let page = scene.post("/apps/static-website/review", &form).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, field) = page.body.split_once("id=\"f-name-error\">").unwrap();
    assert!(field.starts_with("&#39;web1&#39; is taken by another guest</p>"), "{}", &field[..60]);
    assert!(page.body.contains("value=\"600\"") && page.body.contains("nowhere</code>"));
    assert!(page.body.contains("2 fields are to be corrected"));
    assert!(!page.body.contains(TYPED));
    // The API says the same words.
    let body = r#"{"app": "static-website", "name": "web1"}"#;
    let api = scene.send(super::scene::json("POST", "/api/install", body)).await;
    assert_eq!(api.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problem: serde_json::Value = serde_json::from_str(&api.body).unwrap();
    assert_eq!(problem["errors"]["name"], "'web1' is taken by another guest");
    // A refusal about a field stands beside it as well; another one on top.
    let refusal = Refusal::new(RefusalKind::Conflict, "The name is taken.", "Take another.");
    *scene.guests.refusal.lock().unwrap() = Some(refusal.clone().about("name").into());
    let page = scene.post("/apps/static-website/review", &form).await;
    assert!(page.body.contains("id=\"f-name-error\">The name is taken. Take another."));
    *scene.guests.refusal.lock().unwrap() = Some(refusal.into());
    let page = scene.post("/apps/static-website/review", &form).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(!page.body.contains("f-name-error") && page.body.contains("The name is taken."));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_button_of_a_guest_asks_for_what_it_says() {
    let scene = GuestScene::fleet();
    let id = guest_id(101);
    for (path, form, wanted) in [
        ("power", "action=start", "power start".to_owned()),
        ("power", "action=shutdown", "power shutdown".to_owned()),
        ("backup", "storage=backup", "backup Some(backup)".to_owned()),
        (
            "restore",
            "archive=a&node=pve2&confirm=+web101+",
            "restore a Some(pve2) web101".to_owned(),
        ),
        ("restore", "archive=a&node=&confirm=x", "restore a None x".to_owned()),
        ("upgrade", "", format!("upgrade {id}")),
        ("return", "", format!("return {id}")),
        ("uninstall", "confirm=web101", "uninstall web101 false".to_owned()),
        ("uninstall", "keep_volumes=true&confirm=web101", "uninstall web101 true".to_owned()),
        ("adopt", "confirm=web101", "adopt web101".to_owned()),
        ("retry", "", format!("retry {id}")),
        ("publish", "", format!("publish {id}")),
        ("reconfigure", "cores=2", "reconfigure".to_owned()),
    ] {
        let form = format!("csrf={CSRF}&{form}");
        let answer = scene.post(&format!("/guests/web101/{path}"), &form).await;
        assert_eq!(answer.header("location"), format!("/jobs/{}", job()), "{path}");
        assert_eq!(asked(&scene), [wanted]);
    }
    let answer = scene.post("/guests/web101/forget", &format!("csrf={CSRF}")).await;
    assert_eq!(answer.header("location"), "/guests");
    assert_eq!(asked(&scene), [format!("forget {id}")]);
    let wrong = scene.post("/guests/web101/power", &format!("csrf={CSRF}&action=explode")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.body.contains("explode") && asked(&scene).is_empty());
    let nobody = scene.post("/guests/nobody/power", &format!("csrf={CSRF}&action=stop")).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_stand_at_the_form_they_belong_to() {
    let scene = GuestScene::fleet();
    let refusal = Refusal::new(RefusalKind::Unprocessable, "Type web101 to confirm.", "");
    *scene.guests.refusal.lock().unwrap() = Some(refusal.into());
    let page = scene.post("/guests/web101/uninstall", &format!("csrf={CSRF}&confirm=x")).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, section) = page.body.split_once("id=\"uninstall\"").unwrap();
    assert!(section.starts_with(" open") && section.contains("Type web101 to confirm."));
    let page = scene.post("/guests/web101/restore", &format!("csrf={CSRF}&confirm=x")).await;
    let (_, section) = page.body.split_once("id=\"backups\"").unwrap();
    assert!(section.contains("Type web101 to confirm.") && section.contains("vzdump-lxc-101"));
    *scene.guests.refusal.lock().unwrap() =
        Some(Declined::Fields(vec![FieldError::new("disk_gb", "a disk only grows")]));
    let page = scene.post("/guests/web101/reconfigure", &format!("csrf={CSRF}&disk_gb=1")).await;
    assert!(page.body.contains("id=\"f-disk_gb-error\">a disk only grows"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_revealed_on_a_page_of_its_own_that_nothing_keeps() {
    let scene = GuestScene::fleet();
    let page = scene.get("/guests/web101").await.body;
    assert!(page.contains("Reveal API token once") && page.contains("Reveal Password once"));
    assert!(page.contains("a secret that was shown already"), "the one that was taken before");
    let shown = scene.post("/guests/web101/reveal", &format!("csrf={CSRF}&key=token")).await;
    assert!(shown.body.contains(REVEALED) && shown.body.contains("API token of web101"));
    assert_eq!(shown.header("cache-control"), "no-store");
    assert_eq!(asked(&scene), ["reveal token"]);
    let by_get = scene.get("/guests/web101/reveal").await;
    assert_eq!(by_get.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_read_when_somebody_asks_and_not_before() {
    let scene = GuestScene::fleet();
    let page = scene.get("/guests/web101?look=1").await.body;
    assert!(page.contains("Read it</button>") && asked(&scene).is_empty());
    let page = scene.get("/guests/web101?journal=1&lines=50&unit=nginx").await.body;
    assert!(
        page.contains("&#60;b&#62;not markup&#60;/b&#62;")
            && page.contains("data-filter=\"journal-log\"")
    );
    assert!(page.contains("journal.txt?lines=50&amp;unit=nginx"));
    let told = asked(&scene);
    assert!(told.len() == 1 && told[0].contains("lines: 50, unit: Some(\"nginx\")"), "{told:?}");
    // Without JavaScript the server leaves the other lines out.
    let found = scene.get("/guests/web101?journal=1&find=STARTED").await.body;
    assert!(found.contains("Started nginx.service") && !found.contains("not markup"));
    let wrong = scene.get("/guests/web101?journal=1&unit=%2a").await.body;
    assert!(wrong.contains("is not the name of a systemd unit"));
    let file = scene.get("/guests/web101/journal.txt?lines=50").await;
    assert_eq!(file.header("content-type"), "text/plain; charset=utf-8");
    assert!(file.header("content-disposition").contains("web101-journal.txt"));
    assert!(file.body.ends_with("<b>not markup</b>\n"), "{}", file.body);
    let observed = scene.get("/guests/web104?look=1").await.body;
    assert!(!observed.contains("id=\"journal\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apps_icon_is_shown_where_it_has_one_and_a_letter_where_it_has_none() {
    let scene = GuestScene::fleet();
    let page = scene.get("/apps/jellyfin").await.body;
    let (_, rest) = page.split_once("<img class=\"letter\" src=\"").unwrap();
    let address = rest.split_once('"').unwrap().0.to_owned();
    assert!(address.starts_with("/apps/jellyfin/icon.png?v="), "{address}");
    let icon = scene.get(&address).await;
    assert_eq!(icon.header("content-type"), "image/png");
    assert_eq!(icon.header("x-content-type-options"), "nosniff");
    assert!(icon.header("content-security-policy").contains("default-src 'none'"));
    assert!(scene.get("/apps/redis").await.body.contains("<svg class=\"letter"));
    for none in ["/apps/redis/icon.png", "/apps/nobody/icon.png"] {
        assert_eq!(scene.get(none).await.status, StatusCode::NOT_FOUND, "{none}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_and_hostile_links_stay_text() {
    let scene = GuestScene::fleet();
    let failed = scene.get("/guests?state=failed").await.body;
    assert!(failed.contains("web103") && !failed.contains(">web101<"));
    let none = scene.get("/guests?q=nothing").await.body;
    assert!(none.contains("No guest fits"));
    let guest = scene.get("/guests/web101").await.body;
    assert!(guest.contains("href=\"http://192.0.2.60/\""));
    assert!(!guest.contains("href=\"javascript:"));
    let observed = scene.get("/guests/web104").await.body;
    assert!(observed.contains("(not shown)") && !observed.contains(SEALED));
    assert!(!observed.contains("/uninstall\"") && observed.contains("/adopt\""));
    let jobs = scene.get("/jobs?status=failed").await.body;
    let (_, list) = jobs.split_once("id=\"jobs\"").unwrap();
    assert!(list.contains("web103") && !list.contains("web102"), "{list}");
    assert!(jobs.contains("2 on guests at a time"));
    let log = scene.get(&format!("/jobs/{}/log.txt", job_id(12))).await;
    assert_eq!(log.header("content-type"), "text/plain; charset=utf-8");
    assert!(log.body.contains("[provision] Setting up nginx\n"), "{}", log.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_enrolled_and_revoked_and_the_password_comes_back_on_no_page() {
    let scene = GuestScene::fleet();
    let form = format!("csrf={CSRF}&address=192.0.2.23&password={TYPED}");
    let answer = scene.post("/nodes/enroll", &form).await;
    assert_eq!(answer.header("location"), format!("/jobs/{}", job()));
    let form = format!("csrf={CSRF}&address=pve3&password={TYPED}");
    let wrong = scene.post("/nodes/enroll", &form).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.body.contains("&#39;pve3&#39; is not an IP address") && !wrong.body.contains(TYPED)
    );
    // Without a password the appliance's own key is tried.
    let none = scene.post("/nodes/enroll", &format!("csrf={CSRF}&address=192.0.2.23")).await;
    assert_eq!(none.status, StatusCode::SEE_OTHER);
    // When the host key is to be compared first, the password waits: it is typed once and stands in no page.
    let compare = Refusal::new(RefusalKind::Unprocessable, "it shows the key SHA256:x", "compare");
    *scene.guests.refusal.lock().unwrap() = Some(compare.about("fingerprint").into());
    let form = format!("csrf={CSRF}&address=192.0.2.24&password={TYPED}");
    let compare = scene.post("/nodes/enroll", &form).await;
    assert!(compare.body.contains("kept as it was typed") && !compare.body.contains(TYPED));
    *scene.guests.refusal.lock().unwrap() = None;
    let waiting = draft(&compare.body).to_owned();
    let other = format!("csrf={CSRF}&address=192.0.2.99&draft={waiting}&fingerprint=SHA256:x");
    assert_eq!(scene.post("/nodes/enroll", &other).await.status, StatusCode::SEE_OTHER);
    for _ in 0..2 {
        let form = format!("csrf={CSRF}&address=192.0.2.24&draft={waiting}&fingerprint=SHA256:x");
        assert_eq!(scene.post("/nodes/enroll", &form).await.status, StatusCode::SEE_OTHER);
    }
    let command = scene.post("/nodes/enroll-command", &format!("csrf={CSRF}")).await;
    assert!(command.body.contains("enroll/once | sh"));
    let revoked = scene.post("/nodes/pve1/revoke", &format!("csrf={CSRF}")).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER);
    let observed = scene.post("/guests/adopt", &format!("csrf={CSRF}&node=pve1&vmid=105")).await;
    assert!(observed.header("location").starts_with("/guests/"));
    let wrong = scene.post("/guests/adopt", &format!("csrf={CSRF}&node=pve1&vmid=7")).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    let refreshed = scene.post("/apps/refresh", &format!("csrf={CSRF}&source=lab")).await;
    assert_eq!(refreshed.header("location"), format!("/jobs/{}", job()));
    assert_eq!(
        asked(&scene),
        [
            format!("enroll 192.0.2.23 {}", TYPED.len()),
            "enroll 192.0.2.23 0".to_owned(),
            format!("enroll 192.0.2.24 {}", TYPED.len()),
            "enroll 192.0.2.99 0".to_owned(),
            format!("enroll 192.0.2.24 {}", TYPED.len()),
            "enroll 192.0.2.24 0".to_owned(),
            "enroll command".to_owned(),
            "revoke pve1".to_owned(),
            "observe pve1 105".to_owned(),
            "refresh Some(\"lab\")".to_owned(),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lists_say_what_to_do() {
    let scene = GuestScene::empty();
    for (path, words) in [
        ("/guests", "No guest yet"),
        ("/nodes", "No node is enrolled"),
        ("/guests/adopt", "enrol one first"),
        ("/", "Install an app"),
    ] {
        assert!(scene.get(path).await.body.contains(words), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_apps_pages_say_how_to_switch_them_on() {
    let scene = Scene::fleet();
    for path in ["/apps", "/apps/redis", "/apps/redis/install", "/guests", "/nodes", "/profiles"] {
        let page = scene.get(path).await;
        assert!(page.body.contains("enabled = true"), "{path}");
    }
    let cluster = scene.get("/api/cluster").await;
    assert!(cluster.status.is_success() && cluster.body.contains("\"pve9\""), "{}", cluster.body);
    let api = scene.get("/api/guests").await;
    assert_eq!(api.status, StatusCode::NOT_FOUND);
    assert!(api.body.contains("Apps are switched off"));
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_of_one_session_are_nothing_to_another() {
    let scene = GuestScene::fleet();
    let form = format!("csrf={CSRF}&name=web1&input.title=x");
    let review = scene.post("/apps/static-website/review", &form).await;
    let draft = draft(&review.body).to_owned();
    // The control socket is another operator.
    let local = Request::get(format!("/apps/static-website/install?draft={draft}"))
        .extension(crate::web::ControlSocket)
        .body(Body::empty())
        .unwrap();
    assert!(!scene.send(local).await.body.contains("value=\"web1\""));
    let mine = scene.get(&format!("/apps/static-website/install?draft={draft}")).await;
    assert!(mine.body.contains("value=\"web1\""));
    let other_app = scene.get(&format!("/apps/redis/install?draft={draft}")).await;
    assert!(!other_app.body.contains("value=\"web1\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_try_at_what_destroys_wants_the_name() {
    let scene = GuestScene::fleet();
    scene.write(100, |tx| {
        let mut job = installed(14, 101, JobStatus::Failed, [StepStatus::Failed; 4]);
        let Work::Guest(work) = &mut job.work else { unreachable!() };
        work.task = GuestTask::Uninstall { keep_volumes: false, destroy_failed: false };
        tx.save_job(&job).unwrap();
    });
    let path = format!("/jobs/{}", job_id(14));
    let page = scene.get(&path).await.body;
    assert!(page.contains("Its container is destroyed.") && page.contains("<code>web101</code>"));
    scene.post(&format!("{path}/retry"), &format!("csrf={CSRF}&confirm=web101")).await;
    assert_eq!(*scene.asked.asked.lock().unwrap(), [format!("retry {} web101", job_id(14))]);
    let install = scene.get(&format!("/jobs/{}", job_id(13))).await.body;
    assert!(install.contains("Try again") && !install.contains("id=\"confirm\""));
}
