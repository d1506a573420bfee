//! An operator lets somebody else in, makes a token for a program, and reads afterwards what was changed.

use super::{Screen, browser, dashboard, log_in, picture, see};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_adds_an_account_and_a_token_and_reads_the_audit_log() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    log_in(&client, &store, address).await;
    see(&client, "nav a[href='/access']").await.click().await.unwrap();

    see(&client, "section[aria-labelledby=accounts] > details > summary")
        .await
        .click()
        .await
        .unwrap();
    see(&client, "#account-name").await.send_keys("ann").await.unwrap();
    see(&client, "#account-password").await.send_keys("ann's own password").await.unwrap();
    see(&client, "#account-repeated").await.send_keys("another password").await.unwrap();
    see(&client, "#add-account button").await.click().await.unwrap();
    // The form is open again, with what is wrong and the name that was typed.
    see(&client, "#add-account .box.bad").await;
    let typed = see(&client, "#account-name").await.prop("value").await.unwrap();
    assert_eq!(typed.as_deref(), Some("ann"));
    for field in ["#account-password", "#account-repeated"] {
        see(&client, field).await.send_keys("ann's own password").await.unwrap();
    }
    see(&client, "#add-account button").await.click().await.unwrap();
    see(&client, "form[action='/access/accounts/ann/disable']").await;

    see(&client, "section[aria-labelledby=tokens] > details > summary")
        .await
        .click()
        .await
        .unwrap();
    see(&client, "#token-name").await.send_keys("backup script").await.unwrap();
    picture(&client, "access").await;
    see(&client, "#make-token button").await.click().await.unwrap();
    let token = see(&client, "#secret").await.text().await.unwrap();
    assert_eq!(token.len(), 64);
    see(&client, ".once .actions a").await.click().await.unwrap();
    see(&client, "form[action^='/access/tokens/'] button").await;
    assert!(!client.source().await.unwrap().contains(&token), "it is shown once");

    see(&client, ".head a[href='/audit']").await.click().await.unwrap();
    let newest = see(&client, "main section.card").await.text().await.unwrap();
    assert!(newest.contains("account operator") && newest.contains("API token backup script"));
    picture(&client, "audit").await;
    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
