//! Answers and server types, with an engine that composes and reads them as the daemon's does.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::golden::without_hashes;
use super::scene::{HOSTILE, PLANTED_HASH, Scene};
use crate::config::reload::ServerTypesView;
use crate::config::{Config, ProcessSecrets};
use crate::golden::assert_golden;
use crate::image::{ImageStore, ImportLimits};
use crate::jobs::{CallbackBase, Context, Engine};
use crate::limits::over::Overruns;
use crate::store::Store;

/// A subscription key that no page may show.
const SUBSCRIPTION: &str = "pve2c-5ec7e75ec7";

const LAB: &str = "\
# Machines of the test rack.
display_name = \"Lab machine\"
boot_disk = \"per-host\"
domain = \"lab.example\"
answer_template = \"zfs-single\"

[answer.global]
country = \"de\"           # the rack stands in Hamburg
timezone = \"Europe/Berlin\"
";

/// An engine that is not run: answers are composed and server types read from files below `dir`.
pub(crate) fn engine(dir: &Path, store: &Store) -> Engine {
    let text = format!(
        "data_dir = \"{}\"\n[server]\nlisten = \"192.0.2.10:8080\"\npublic_url = \"http://192.0.2.10:8080\"\n\
         [pxe]\nenabled = false\n[credentials]\nssh_keys = [\"ssh-ed25519 \
         AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f you@desk\"]\n",
        dir.display()
    );
    let (config, _) = Config::parse(&dir.join("ironhatch.toml"), &text, &ProcessSecrets).unwrap();
    let types = dir.join("server-types");
    std::fs::create_dir_all(&types).unwrap();
    std::fs::write(types.join("lab.toml"), LAB).unwrap();
    std::fs::write(types.join("gpu.toml"), "boot_dsik = \"per-host\"\n").unwrap();
    let mut view = ServerTypesView::load(&config.server_types, &config.answer_templates_dir);
    // Whatever zone.tab this machine has.
    view.time_zones = None;
    // In a thread of its own: the caller is inside a runtime.
    let images = std::thread::scope(|scope| {
        let open = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(ImageStore::open(dir.join("images"), ImportLimits::default()))
        };
        scope.spawn(open).join().unwrap()
    });
    let context = Context {
        over: Overruns::new(Arc::new(|| 0)),
        config: Arc::new(config),
        types: watch::channel(Arc::new(view)).1,
        images: images.unwrap(),
        appliance: Default::default(),
        power: Default::default(),
        callbacks: CallbackBase { url: "http://192.0.2.10:8080".to_owned(), certificate: None },
        apps: None,
    };
    Engine::new(store.clone(), context, CancellationToken::new())
}

fn host(n: u8) -> String {
    super::sample::host(n, |_| ()).id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_shown_with_its_layers_and_without_secrets() {
    use crate::store::HostReads as _;
    let scene = Scene::fleet();
    scene.write(0, |tx| {
        let mut host = tx.host(super::sample::host(2, |_| ()).id).unwrap().unwrap();
        let own = serde_json::json!({ "global": { "timezone": "Europe/Vienna", "mailto": "pve2@example.net",
            "subscription-key": SUBSCRIPTION } });
        host.overrides.answer = own.as_object().unwrap().clone();
        tx.save_host(&host).unwrap();
    });
    let page = scene.get(&format!("/hosts/{}/answer", host(2))).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(SUBSCRIPTION) && !page.body.contains(PLANTED_HASH));
    assert_golden("pages/answer.html", &without_hashes(&page.body));

    let told = scene.get("/api/hosts/pve2/answer").await;
    assert!(!told.body.contains(SUBSCRIPTION), "{}", told.body);
    let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(told["is_sendable"], true, "{told:#}");
    let values = told["values"].as_array().unwrap();
    let zone = values.iter().find(|v| v["key"] == "global.timezone").unwrap();
    assert_eq!((&zone["value"], &zone["layer"]), (&"Europe/Vienna".into(), &"host".into()));
    let below: Vec<&str> = zone["overridden"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["layer"].as_str().unwrap())
        .collect();
    assert_eq!(below, ["template", "server-type"]);
    assert!(told["disk"]["why"].as_str().unwrap().contains("exact text"), "{told:#}");

    // Without a disk there is no answer, and the rule says what to do.
    let page = scene.get(&format!("/hosts/{}/answer", host(3))).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(HOSTILE));
    assert_golden("pages/answer-refused.html", &without_hashes(&page.body));
    let unknown = scene.get("/api/hosts/pve2/answer?image=no-such-image").await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert_eq!(scene.get("/api/hosts/pve2/answer?image=..%2Fx").await.status, 400);
    assert_eq!(scene.get("/hosts/nobody/answer").await.status, 404);
}
