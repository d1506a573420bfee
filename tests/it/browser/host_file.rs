//! Hosts as a file: what would change is seen before anything is written.

use ironhatch::store::HostWriteError;

use super::{Screen, browser, dashboard, host, log_in, see};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_hosts_is_looked_at_before_it_is_taken() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    let saved: Result<(), HostWriteError> = store.write(|tx| tx.save_host(&host(1))).await;
    saved.unwrap();
    let (mut driver, client) = browser(&profile, Screen::Phone).await;
    log_in(&client, &store, address).await;

    see(&client, "a[href='/host-file']").await.click().await.unwrap();
    let text =
        "hostname,macs,server_type\npve1,52:54:00:00:00:01,lab\npve2,52:54:00:00:00:02,lab\n";
    see(&client, "#text").await.send_keys(text).await.unwrap();
    see(&client, "button[value=look]").await.click().await.unwrap();
    let table = see(&client, "#changes").await.text().await.unwrap();
    assert!(
        table.contains("pve1") && table.contains("the same") && table.contains("new"),
        "{table}"
    );
    see(&client, "button[value=import]").await;
    assert_eq!(client.execute(super::FITS, vec![]).await.unwrap(), serde_json::json!(true));

    // Every wrong row is named, and nothing can be imported then.
    see(&client, "#text").await.send_keys("pve3,nonsense,lab\n").await.unwrap();
    see(&client, "button[value=look]").await.click().await.unwrap();
    let wrong = see(&client, ".box.bad").await.text().await.unwrap();
    assert!(wrong.contains("row 3"), "{wrong}");
    let buttons = "return document.querySelectorAll('button[value=import]').length;";
    assert_eq!(client.execute(buttons, vec![]).await.unwrap(), serde_json::json!(0));

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
