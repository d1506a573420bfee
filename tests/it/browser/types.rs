//! Answers and server types in the browser, with an engine that composes and reads them as the daemon's does.

use std::path::Path;
use std::sync::Arc;

use fantoccini::Locator;
use ironhatch::config::reload::ServerTypesView;
use ironhatch::config::{Config, ProcessSecrets};
use ironhatch::domain::image::{Image, Release};
use ironhatch::domain::server_type::DiskSelection;
use ironhatch::image::{ImageStore, ImportLimits};
use ironhatch::jobs::{CallbackBase, Context, Engine};
use ironhatch::limits::over::Overruns;
use ironhatch::store::{HostWriteError, ImageReads as _, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Screen, browser, dashboard, host, log_in, now, picture, see};

const LAB: &str = "# Machines of the test rack.\ndisplay_name = \"Lab machine\"\nboot_disk = \"per-host\"\n\
                   domain = \"lab.example\"\nanswer_template = \"zfs-single\"\n\n[answer.global]\ncountry = \"de\"\n";

/// An engine that is not run.
pub(super) fn engine(dir: &Path, store: &Store) -> Engine {
    let text = format!(
        "data_dir = \"{}\"\n[server]\nlisten = \"192.0.2.10:8080\"\npublic_url = \"http://192.0.2.10:8080\"\n\
         [pxe]\nenabled = false\n",
        dir.display()
    );
    let (config, _) = Config::parse(&dir.join("ironhatch.toml"), &text, &ProcessSecrets).unwrap();
    std::fs::create_dir_all(dir.join("server-types")).unwrap();
    std::fs::write(dir.join("server-types/lab.toml"), LAB).unwrap();
    let view = ServerTypesView::load(&config.server_types, &config.answer_templates_dir);
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

/// An image and a host with a disk of its own.
pub(super) async fn rack(store: &Store) {
    let saved: Result<(), HostWriteError> = store
        .write(|tx| {
            let release = Release {
                product: "pve".into(),
                product_long: "Proxmox VE".into(),
                release: "9.2".into(),
                iso_release: "1".into(),
            };
            tx.save_image(&Image {
                id: "proxmox-ve-9.2-1".parse().unwrap(),
                file_name: "proxmox-ve-9.2-1.iso".into(),
                size: 1_800_000_000,
                initrd_size: 60_000_000,
                sha256: "ab".repeat(32),
                release,
                source: "/srv/iso/proxmox-ve_9.2-1.iso".into(),
                imported_at: now(),
                job: None,
            })?;
            let mut own = host(1);
            own.overrides.boot_disk = Some(DiskSelection::Property {
                property: "ID_SERIAL_SHORT".into(),
                value: "S6B0NX0T100000".into(),
            });
            let answer =
                serde_json::json!({ "global": { "country": "at", "mailto": "ops@example.net" } });
            own.overrides.answer = answer.as_object().unwrap().clone();
            tx.save_host(&own)?;
            tx.save_host(&host(2))
        })
        .await;
    saved.unwrap();
    let read: Result<_, ironhatch::store::StoreError> = store.read(|read| read.images()).await;
    assert_eq!(read.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_read_with_the_layer_of_each_value() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    rack(&store).await;
    for screen in [Screen::Desk, Screen::Phone] {
        let name = if let Screen::Desk = screen { "answer" } else { "answer-phone" };
        let folder = profile.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let own = tempfile::tempdir_in(folder).unwrap();
        let (mut driver, client) = browser(&own, screen).await;
        if name == "answer" {
            client.set_window_size(1180, 1900).await.unwrap();
            log_in(&client, &store, address).await;
        } else {
            client.goto(&format!("http://{address}/")).await.unwrap();
            see(&client, "#password").await.send_keys("correct horse battery").await.unwrap();
            see(&client, "main form button").await.click().await.unwrap();
            see(&client, "html[data-live=yes]").await;
        }
        client.goto(&format!("http://{address}/hosts/{}", host(1).id)).await.unwrap();
        see(&client, "a[href$='/answer']").await.click().await.unwrap();
        see(&client, "[data-sendable=true]").await;
        let replaced = see(&client, ".values details summary").await;
        replaced.click().await.unwrap();
        let below = see(&client, ".values details[open] li").await.text().await.unwrap();
        assert!(below.contains("answer template"), "{below}");
        let fits = "return document.documentElement.scrollWidth <= window.innerWidth;";
        assert_eq!(client.execute(fits, vec![]).await.unwrap(), serde_json::json!(true));
        picture(&client, name).await;

        client.goto(&format!("http://{address}/hosts/{}/answer", host(2).id)).await.unwrap();
        see(&client, "[data-sendable=false]").await;
        let rules = see(&client, ".rules").await.text().await.unwrap();
        assert!(rules.contains("broken") && rules.contains("What to do"), "{rules}");
        assert!(client.find(Locator::Css("pre")).await.is_err());
        picture(&client, &format!("{name}-refused")).await;
        client.close().await.unwrap();
        driver.kill().await.unwrap();
    }
    cancel.cancel();
}
