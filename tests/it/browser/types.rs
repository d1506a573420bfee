//! Answers and server types in the browser, with an engine that composes and reads them as the daemon's does.

use std::path::Path;

use fantoccini::Locator;
use ironhatch::domain::image::Image;
use ironhatch::domain::server_type::DiskSelection;
use ironhatch::fakes::sample;
use ironhatch::jobs::Engine;
use ironhatch::store::{HostWriteError, ImageReads as _, Store};

use super::{FITS, Screen, browser, dashboard, host, log_in, now, picture, see};

const LAB: &str = "# Machines of the test rack.\ndisplay_name = \"Lab machine\"\nboot_disk = \"per-host\"\n\
                   domain = \"lab.example\"\nanswer_template = \"zfs-single\"\n\n[answer.global]\ncountry = \"de\"\n";

/// An engine that is not run.
pub(super) fn engine(dir: &Path, store: &Store) -> Engine {
    sample::engine(dir, store, "", &[("lab", LAB)])
}

/// An image and a host with a disk of its own.
pub(super) async fn rack(store: &Store) {
    let saved: Result<(), HostWriteError> = store
        .write(|tx| {
            tx.save_image(&Image { imported_at: now(), ..sample::image() })?;
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
        assert_eq!(client.execute(FITS, vec![]).await.unwrap(), serde_json::json!(true));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_server_type_is_edited_with_a_look_at_the_answer() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    rack(&store).await;
    let file = state.path().join("server-types/lab.toml");
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1180, 1500).await.unwrap();
    log_in(&client, &store, address).await;

    see(&client, ".head a[href='/server-types']").await.click().await.unwrap();
    see(&client, "[data-hosts='2']").await;
    picture(&client, "server-types").await;
    see(&client, "#types h2 a").await.click().await.unwrap();

    // A wrong line is named, and nothing is written.
    let field = see(&client, "#text").await;
    field.send_keys("contry = \"at\"\n").await.unwrap();
    see(&client, "button[value=save]").await.click().await.unwrap();
    let wrong = see(&client, "#errors").await.text().await.unwrap();
    assert!(wrong.contains("Line 9") && wrong.contains("did you mean"), "{wrong}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), LAB);
    let labels =
        "return [...document.querySelectorAll('main input:not([type=hidden]), main select, main textarea')]
        .filter((field) => !field.labels.length).map((field) => field.id);";
    assert_eq!(client.execute(labels, vec![]).await.unwrap(), serde_json::json!([]));
    picture(&client, "server-type-wrong").await;

    // A look at what a change does, for one host; then it is saved, and the answer follows at once.
    let write = "document.getElementById('text').value = arguments[0];";
    let edited = LAB.replace("\"de\"", "\"ch\"").replace("zfs-single", "btrfs-single");
    client.execute(write, vec![serde_json::json!(edited)]).await.unwrap();
    see(&client, "#host").await.select_by_value(&host(1).id.to_string()).await.unwrap();
    see(&client, "button[value=look]").await.click().await.unwrap();
    let trial = see(&client, "#trial").await.text().await.unwrap();
    assert!(
        trial.contains("answer for pve1") && trial.contains("+ filesystem = \"btrfs\""),
        "{trial}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), LAB);
    picture(&client, "server-type-look").await;
    see(&client, "button[value=save]").await.click().await.unwrap();
    see(&client, ".box.good[role=status]").await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), edited);
    client.goto(&format!("http://{address}/hosts/{}/answer", host(1).id)).await.unwrap();
    let text = see(&client, "main pre").await.text().await.unwrap();
    assert!(text.contains("filesystem = \"btrfs\""), "{text}");

    // A copy under another name, and its end. Only the keyboard is used.
    client.goto(&format!("http://{address}/new-server-type?from=lab")).await.unwrap();
    see(&client, "#name").await.send_keys("spare\u{e007}").await.unwrap();
    see(&client, "#trial").await;
    see(&client, "button[value=save]").await.send_keys("\u{e007}").await.unwrap();
    see(&client, ".box.good[role=status]").await;
    assert!(state.path().join("server-types/spare.toml").exists());
    see(&client, "details.card summary").await.send_keys("\u{e007}").await.unwrap();
    see(&client, "form[action$='/delete'] button").await.send_keys("\u{e007}").await.unwrap();
    see(&client, "#types").await;
    assert!(!state.path().join("server-types/spare.toml").exists());
    client.close().await.unwrap();
    driver.kill().await.unwrap();

    let own = tempfile::tempdir().unwrap();
    let (mut driver, client) = browser(&own, Screen::Phone).await;
    client.goto(&format!("http://{address}/")).await.unwrap();
    see(&client, "#password").await.send_keys("correct horse battery").await.unwrap();
    see(&client, "main form button").await.click().await.unwrap();
    see(&client, "html[data-live=yes]").await;
    for (path, name) in [
        ("/server-types", "server-types-phone"),
        ("/server-types/lab", "server-type-phone"),
        ("/new-server-type", "server-type-new-phone"),
    ] {
        client.goto(&format!("http://{address}{path}")).await.unwrap();
        see(&client, "h1").await;
        assert_eq!(client.execute(FITS, vec![]).await.unwrap(), serde_json::json!(true), "{path}");
        picture(&client, name).await;
    }
    client.close().await.unwrap();
    driver.kill().await.unwrap();
    cancel.cancel();
}
