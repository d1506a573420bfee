use super::guest_scene::{GuestScene, SEALED, TYPED, guest_id};
use super::guests::REVEALED;
use super::scene::{CSRF, HOSTILE, PLANTED_HASH, Scene, job_id};
use crate::domain::form::{Declined, FieldError};
use crate::golden::assert_golden;
use crate::web::asset;

fn id(n: u8) -> String {
    super::sample::host(n, |_| ()).id.to_string()
}

/// Pages name their assets by content; the golden files should not change with every line of style.
pub(super) fn without_hashes(html: &str) -> String {
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
        ("hosts-found", "/?state=busy&type=lab&q=rack+52-54-00".to_owned()),
        ("rack", "/rack".to_owned()),
        ("hosts-none", "/?problem=yes&q=nobody".to_owned()),
        ("host-installing", format!("/hosts/{}", id(2))),
        ("host-failed", format!("/hosts/{}", id(3))),
        ("register", "/hosts/new?mac=52:54:00:cc:00:51".to_owned()),
        ("jobs", "/jobs".to_owned()),
        ("job", format!("/jobs/{}", job_id(2))),
        ("job-log", format!("/ops/{}?view=log", job_id(2))),
        ("sightings", "/sightings".to_owned()),
        ("sighting", "/sightings/52-54-00-cc-00-51".to_owned()),
        ("nodes-alone", "/nodes?look=1".to_owned()),
        ("images", "/images".to_owned()),
        ("health", "/health".to_owned()),
        ("health-checked", "/health".to_owned()),
        ("missing", "/hosts/nobody".to_owned()),
        ("login", "/login?next=/jobs".to_owned()),
    ];
    for (name, path) in pages {
        if name == "health-checked" {
            scene.post("/health/check", &format!("csrf={CSRF}")).await;
            let played =
                scene.post("/health/simulate", &format!("csrf={CSRF}&firmware=uefi")).await;
            assert_golden("pages/played.html", &without_hashes(&played.body));
        }
        let answer = scene.get(&path).await;
        assert_eq!(answer.status.is_success(), name != "missing", "{path}");
        assert!(!answer.body.contains(HOSTILE), "{path} lets a machine's text through");
        assert!(!answer.body.contains(PLANTED_HASH), "{path} shows a secret");
        assert!(!answer.body.contains("style=") && !answer.body.contains("<script>"), "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_golden(&format!("pages/{name}.html"), &without_hashes(&answer.body));
    }
    let first = Scene::empty();
    for (name, path) in [("hosts-empty", "/"), ("switched-off", "/apps")] {
        let answer = first.get(path).await;
        assert_golden(&format!("pages/{name}.html"), &without_hashes(&answer.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_controller_looks_as_it_was_last_reviewed() {
    use crate::domain::power::{BootMode, Method, Power, Redfish};
    let scene = Scene::fleet();
    scene.write(0, |tx| {
        use crate::store::{HostReads as _, of_host};
        let mut host = tx.host(super::sample::host(3, |_| ()).id).unwrap().unwrap();
        host.is_member = true;
        let redfish = Redfish {
            address: "192.0.2.60:443".parse().unwrap(),
            user: "admin".into(),
            fingerprint: None,
            system: None,
            mode: BootMode::Keep,
        };
        host.power = Power { method: Method::Redfish(redfish), boot_on_rebuild: Some(true) };
        tx.save_host(&host).unwrap();
        tx.put_secret(&of_host(host.id, crate::jobs::POWER_SECRET), PLANTED_HASH);
    });
    let look =
        scene.post(&format!("/hosts/{}/power", id(3)), &format!("csrf={CSRF}&action=look")).await;
    assert!(!look.body.contains(PLANTED_HASH) && look.body.contains("one is stored"));
    assert_golden("pages/host-power.html", &without_hashes(&look.body));
    let form =
        format!("csrf={CSRF}&method=ipmi&address=nowhere&user=admin&password={PLANTED_HASH}");
    let refused = scene.post(&format!("/hosts/{}/power/edit", id(3)), &form).await;
    assert_eq!(refused.status, 422);
    assert!(!refused.body.contains(PLANTED_HASH) && refused.body.contains("nowhere"));
    let asked =
        |path: &str, more: &str| (format!("/hosts/{}{path}", id(3)), format!("csrf={CSRF}&{more}"));
    for (path, form) in [
        asked("/power", "action=off&confirm=pve3"),
        asked("/power/edit", "method=wake-on-lan&forget_password=yes"),
        asked("/power/trust", &format!("fingerprint={}", "ab".repeat(32))),
    ] {
        let answer = scene.post(&path, &form).await;
        assert!(
            answer.status.is_success() || answer.status.is_redirection(),
            "{path}: {}",
            answer.body
        );
    }
    let asked = scene.asked.asked.lock().unwrap().clone();
    for expected in ["switch off pve3", "power wake-on-lan Forget", "power redfish Keep"] {
        assert!(asked.iter().any(|a| a == expected), "{expected}: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_as_a_file_look_as_they_were_last_reviewed() {
    let scene = Scene::fleet();
    let empty = scene.get("/host-file").await;
    assert_golden("pages/host-file.html", &without_hashes(&empty.body));
    let form =
        |action: &str, text: &str| format!("csrf={CSRF}&format=csv&action={action}&text={text}");
    let header = "hostname,macs,server_type%0D%0A";
    let good = format!("{header}pve7,52:54:00:00:00:77,lab%0D%0Apve1,52:54:00:00:00:78,lab%0D%0A");
    let looked = scene.post("/host-file", &form("look", &good)).await;
    assert_golden("pages/host-file-looked.html", &without_hashes(&looked.body));
    let bad = format!(
        "{header}PVE_7,nonsense,lab%0D%0A{}",
        HOSTILE.replace('<', "%3C").replace('>', "%3E")
    );
    let refused = scene.post("/host-file", &form("import", &bad)).await;
    assert_eq!(refused.status, 422);
    assert!(!refused.body.contains(HOSTILE));
    assert_golden("pages/host-file-wrong.html", &without_hashes(&refused.body));
    assert!(scene.post("/host-file", &form("import", &good)).await.status.is_redirection());
    let file = scene.get("/host-file/hosts.csv").await;
    assert!(file.header("content-disposition").contains("attachment"));
    assert_eq!(scene.get("/host-file/other").await.status, 404);
    let asked = scene.asked.asked.lock().unwrap().join("; ");
    assert_eq!(asked, "import Csv DryRun; import Csv Apply; import Csv Apply; export Csv");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_apps_look_as_they_were_last_reviewed() {
    let scene = GuestScene::fleet();
    let form = format!("csrf={CSRF}&name=web1&input.title=My+site&input.admin_password={TYPED}");
    let review = scene.post("/apps/static-website/review", &form).await;
    // The draft's name is random.
    let draft = |text: &str| {
        let (_, rest) = text.split_once("name=\"draft\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let name = draft(&review.body);
    let review = review.body.replace(&name, "DRAFT");
    assert_golden("pages/review.html", &without_hashes(&review));
    *scene.guests.refusal.lock().unwrap() = Some(Declined::Fields(vec![
        FieldError::new("name", "'web1' is taken by another guest"),
        FieldError::new("input.title", "Title is needed"),
    ]));
    let wrong = scene.post("/apps/static-website/review", &form).await;
    let name = draft(&wrong.body);
    let wrong = wrong.body.replace(&name, "DRAFT");
    assert_golden("pages/install-wrong.html", &without_hashes(&wrong));
    *scene.guests.refusal.lock().unwrap() = None;
    let pages = [
        ("dashboard", "/".to_owned()),
        ("apps", "/apps".to_owned()),
        ("apps-none", "/apps?q=nothing".to_owned()),
        ("app", "/apps/static-website".to_owned()),
        ("app-gpu", "/apps/jellyfin".to_owned()),
        ("profiles", "/profiles".to_owned()),
        ("install", "/apps/static-website/install".to_owned()),
        ("install-gpu", "/apps/jellyfin/install".to_owned()),
        ("guests", "/guests?look=1".to_owned()),
        ("guest", format!("/guests/{}?look=1", guest_id(101))),
        ("guest-installing", format!("/guests/{}", guest_id(102))),
        ("guest-failed", format!("/guests/{}", guest_id(103))),
        ("guest-observed", format!("/guests/{}", guest_id(104))),
        ("adopt", "/guests/adopt".to_owned()),
        ("nodes", "/nodes".to_owned()),
        ("nodes-looked", "/nodes?look=1".to_owned()),
        ("jobs-filtered", "/jobs?kind=install&status=running".to_owned()),
        ("job-install", format!("/jobs/{}", job_id(11))),
        ("job-install-running", format!("/jobs/{}?find=nginx", job_id(12))),
    ];
    for (name, path) in pages {
        let answer = scene.get(&path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.status);
        assert!(!answer.body.contains(HOSTILE), "{path} lets an app's text through");
        for secret in [TYPED, SEALED, REVEALED] {
            assert!(!answer.body.contains(secret), "{path} shows a secret");
        }
        assert!(!answer.body.contains("style=") && !answer.body.contains("<script>"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_golden(&format!("pages/{name}.html"), &without_hashes(&answer.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_says_is_shown_as_text() {
    let scene = Scene::fleet();
    for path in [format!("/hosts/{}", id(3)), format!("/jobs/{}", job_id(2)), "/sightings".into()] {
        let shown = scene.get(&path).await.body;
        assert!(shown.contains("&#60;script&#62;alert(1)"), "{path}");
    }
    let sighting = scene.get("/sightings/52:54:00:cc:00:51").await.body;
    assert!(sighting.contains("&#60;script&#62;alert(1)"));
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
async fn the_api_tells_how_boots_went() {
    let scene = Scene::fleet();
    let read = async |path: &str| -> serde_json::Value {
        let answer = scene.get(path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let installing = read("/api/hosts/pve2/boot").await;
    assert_eq!(installing["verdict"]["name"], "under-way");
    assert_eq!(installing["timeline"][0]["protocol"], "DHCP");
    let failed = read("/api/hosts/pve3/boot").await;
    assert_eq!(failed["verdict"]["name"], "program-silent");
    assert_eq!(failed["verdict"]["next"], "Trying ipxe.efi next.");
    assert_eq!(failed["profile"]["program"], "ipxe-efi");
    assert_eq!(failed["earlier"][0]["verdict"]["name"], "program-silent");
    let stranger = read("/api/sightings/52:54:00:cc:00:51/boot").await;
    assert_eq!(stranger["verdict"]["name"], "foreign-file");
    let silent = read("/api/hosts/pve1/boot").await;
    assert_eq!(silent["verdict"], serde_json::Value::Null);
    for path in ["/api/hosts/nobody/boot", "/api/sightings/52:54:00:cc:00:99/boot", "/sightings/x"]
    {
        assert_eq!(scene.get(path).await.status, 404, "{path}");
    }
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
