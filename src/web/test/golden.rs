use super::scene::{HOSTILE, PLANTED_HASH, Scene, job_id};
use crate::golden::assert_golden;
use crate::web::asset;

fn id(n: u8) -> String {
    super::sample::host(n, |_| ()).id.to_string()
}

/// Pages name their assets by content; the golden files should not change with every line of style.
fn without_hashes(html: &str) -> String {
    [asset::style(), asset::script(), asset::icon()].iter().fold(html.to_owned(), |text, link| {
        let name = link.rsplit('/').next().unwrap();
        text.replace(link, &format!("/assets/HASH/{name}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_looks_as_it_was_last_reviewed() {
    let scene = Scene::fleet();
    let pages = [
        ("hosts", "/".to_owned()),
        ("hosts-failed", "/?show=failed".to_owned()),
        ("host-installing", format!("/hosts/{}", id(2))),
        ("host-failed", format!("/hosts/{}", id(3))),
        ("register", "/hosts/new?mac=52:54:00:cc:00:51".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("job", format!("/jobs/{}", job_id(2))),
        ("job-log", format!("/ops/{}?view=log", job_id(2))),
        ("sightings", "/sightings".to_owned()),
        ("images", "/images".to_owned()),
        ("missing", "/hosts/nobody".to_owned()),
        ("login", "/login?next=/jobs".to_owned()),
    ];
    for (name, path) in pages {
        let answer = scene.get(&path).await;
        assert_eq!(answer.status.is_success(), name != "missing", "{path}");
        assert!(!answer.body.contains(HOSTILE), "{path} lets a machine's text through");
        assert!(!answer.body.contains(PLANTED_HASH), "{path} shows a secret");
        assert!(!answer.body.contains("style=") && !answer.body.contains("<script>"), "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_golden(&format!("pages/{name}.html"), &without_hashes(&answer.body));
    }
    let first = Scene::empty().get("/").await;
    assert_golden("pages/hosts-empty.html", &without_hashes(&first.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_says_is_shown_as_text() {
    let scene = Scene::fleet();
    for path in [format!("/hosts/{}", id(3)), format!("/jobs/{}", job_id(2)), "/sightings".into()] {
        let shown = scene.get(&path).await.body;
        assert!(shown.contains("&#60;script&#62;alert(1)"), "{path}");
    }
    let published = scene.get("/api/sightings").await;
    assert_eq!(published.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_rebuild_has_packets_states_and_log_in_order() {
    let scene = Scene::fleet();
    let page = scene.get(&format!("/ops/{}", job_id(2))).await.body;
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    let told = [
        place("pve2 is armed"),
        place("The image is readable."),
        place("offered snponly.efi"),
        place("sent the installer script"),
        place("fetched its installer script"),
        place("The answer was handed out."),
    ];
    assert!(told.is_sorted(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_shows_hosts_and_jobs_without_tokens() {
    let scene = Scene::fleet();
    let by_name = scene.get("/api/hosts/pve2").await;
    let by_id = scene.get(&format!("/api/hosts/{}", id(2))).await;
    assert_eq!(by_name.body, by_id.body);
    let host: serde_json::Value = serde_json::from_str(&by_name.body).unwrap();
    assert_eq!(host["state"], "installing");
    for path in ["/api/jobs", "/api/hosts", &format!("/api/jobs/{}", job_id(2))] {
        let answer = scene.get(path).await;
        assert!(answer.status.is_success() && !answer.body.contains(PLANTED_HASH), "{path}");
    }
    let page = scene.get(&format!("/api/jobs?limit=1&before={}", job_id(3))).await.body;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["jobs"][0]["id"], job_id(2).to_string());
    assert_eq!(page["jobs"].as_array().unwrap().len(), 1);
    let import = scene.get(&format!("/api/jobs/{}", job_id(3))).await.body;
    let import: serde_json::Value = serde_json::from_str(&import).unwrap();
    assert_eq!(import["progress"]["text"], "60 % · 1.0 of 1.6 GiB");
    let logs = scene.get(&format!("/api/jobs/{}/logs?after=1", job_id(2))).await.body;
    assert!(logs.contains("\"seq\":2") && !logs.contains("\"seq\":1,"), "{logs}");
}
