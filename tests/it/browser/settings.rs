//! An operator looks at the settings and tries a notification target out.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ironhatch::config::live::ConfigView;
use ironhatch::config::{Config, ProcessSecrets};
use ironhatch::domain::refusal::Refusal;
use ironhatch::store::{Delivery, Outcome};
use ironhatch::web::{Notifier, Tested};
use tokio::sync::watch;

use super::{Screen, browser, dashboard, log_in, now, picture, see};

/// A long address and a long key, for narrow screens.
const CONFIGURED: &str = r#"
[server]
public_url = "http://192.0.2.10:8080"
[credentials]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ops"]
[[notify]]
name = "phone"
kind = "ntfy"
url = "https://ntfy.a-long-name-of-a-host.in-a-long-domain.example.net/a-topic"
[[notify]]
name = "mail"
kind = "email"
server = "smtp.example.net"
user = "ironhatch"
password = "a password"
from = "ironhatch@example.net"
to = ["operators-of-the-second-rack-from-the-left@a-long-domain.example.net"]
"#;

/// The configuration of the browser's dashboard.
pub(super) fn config() -> watch::Receiver<Arc<ConfigView>> {
    let path = Path::new("/etc/ironhatch/ironhatch.toml");
    let (config, _) = Config::parse(path, CONFIGURED, &ProcessSecrets).unwrap();
    watch::channel(Arc::new(ConfigView::new(Arc::new(config), now()))).1
}

/// Every test arrives.
pub(super) struct Told;

impl Notifier for Told {
    fn test(&self, name: String) -> BoxFuture<'_, Result<Tested, Refusal>> {
        Box::pin(std::future::ready(Ok(Tested { name, failure: None })))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_looks_at_the_settings_and_sends_a_test() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    let reason = "the answer was status 503".to_owned();
    let failed = Outcome::Retried { reason };
    let delivery = Delivery { at: now(), event: "host.failed".to_owned(), outcome: failed };
    let saved: Result<(), ironhatch::store::StoreError> =
        store.write(move |tx| tx.save_delivery("mail", &delivery)).await;
    saved.unwrap();
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();
    log_in(&client, &store, address).await;
    see(&client, "nav a[href='/settings']").await.click().await.unwrap();
    let rows = see(&client, "section[aria-labelledby=notifications]").await.text().await.unwrap();
    assert!(rows.contains("the answer was status 503") && rows.contains("Nothing was sent yet"));
    see(&client, "section[aria-labelledby=effect] details > summary").await.click().await.unwrap();
    let shown = see(&client, "section[aria-labelledby=effect] details[open]").await;
    assert!(shown.text().await.unwrap().contains("/var/lib/ironhatch"));
    picture(&client, "settings").await;
    // By the keyboard, as by any other way.
    let button = see(&client, "form[action='/settings/notifications/phone/test'] button").await;
    button.send_keys("\u{e007}").await.unwrap();
    let said = see(&client, "#tested").await;
    assert_eq!(said.attr("role").await.unwrap().as_deref(), Some("status"));
    assert!(said.text().await.unwrap().contains("phone took the test"));
    picture(&client, "settings-tested").await;
    assert!(!client.source().await.unwrap().contains("a password"));
    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
