//! Power settings are typed, saved and used; the password that was typed comes back on no page.

use fantoccini::Locator;
use ironhatch::store::HostWriteError;

use super::{Screen, browser, dashboard, host, log_in, picture, see};

#[tokio::test(flavor = "multi_thread")]
async fn a_power_method_is_named_and_the_machine_is_asked() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    let saved: Result<(), HostWriteError> = store.write(|tx| tx.save_host(&host(1))).await;
    saved.unwrap();
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1100, 1500).await.unwrap();
    log_in(&client, &store, address).await;

    client.goto(&format!("http://{address}/hosts/{}", host(1).id)).await.unwrap();
    see(&client, "#power summary").await.click().await.unwrap();
    let method = see(&client, "#power_method").await;
    method.select_by_value("redfish").await.unwrap();
    for (field, text) in [
        ("#power_address", "192.0.2.60"),
        ("#power_user", "admin"),
        ("#power_password", "Pl4nted-S3cret"),
    ] {
        see(&client, field).await.send_keys(text).await.unwrap();
    }
    // Every field has its label.
    let script =
        "return [...document.querySelectorAll('#power input:not([type=hidden]), #power select')]
        .filter((field) => !field.labels.length).map((field) => field.id);";
    assert_eq!(client.execute(script, vec![]).await.unwrap(), serde_json::json!([]));
    picture(&client, "power").await;
    see(&client, "form[action$='/power/edit'] button").await.click().await.unwrap();

    see(&client, "#power button[value=cycle]").await;
    let card = see(&client, "#power").await.text().await.unwrap();
    assert!(card.contains("by Redfish at 192.0.2.60:443 as admin"), "{card}");
    see(&client, "#power button[value=look]").await.click().await.unwrap();
    see(&client, "#power [data-power=on]").await;
    assert!(!client.source().await.unwrap().contains("Pl4nted-S3cret"));
    assert!(client.find(Locator::Css("#power [data-power=off]")).await.is_err());

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
