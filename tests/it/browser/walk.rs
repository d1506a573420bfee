//! An operator puts an app on a node: browse, filter, a form with an error, review, live log, output, uninstall.

use std::sync::Arc;

use fantoccini::{Client, Locator};
use ironhatch::domain::job::StepStatus;

use super::world::{World, guest_id, install_id};
use super::{PHONE_WIDTH, Screen, browser, dashboard_with, log_in, picture, see};

async fn texts(client: &Client, css: &str) -> Vec<String> {
    let mut all = Vec::new();
    for element in client.find_all(Locator::Css(css)).await.unwrap() {
        all.push(element.text().await.unwrap());
    }
    all
}

/// Whether the element takes room on the screen.
async fn shown(client: &Client, css: &str) -> bool {
    see(client, css).await.is_displayed().await.unwrap()
}

/// How many of these take room.
async fn visible(client: &Client, css: &str) -> usize {
    let mut count = 0;
    for element in client.find_all(Locator::Css(css)).await.unwrap() {
        count += usize::from(element.is_displayed().await.unwrap());
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_installs_an_app_watches_it_and_takes_it_away() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) =
        dashboard_with(&state, |store| Some(Arc::new(World { store: store.clone() }))).await;
    let world = World { store: store.clone() };
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1100, 800).await.unwrap();
    log_in(&client, &store, address).await;

    // Browse and filter.
    see(&client, "nav a[href='/apps']").await.click().await.unwrap();
    see(&client, ".card.app").await;
    assert_eq!(texts(&client, ".card.app h2").await.len(), 3);
    picture(&client, "apps").await;
    see(&client, "#q").await.send_keys("site").await.unwrap();
    see(&client, ".filters button").await.click().await.unwrap();
    // The page before has cards as well, and goes away.
    see(&client, "#q[value='site']").await;
    assert_eq!(texts(&client, ".card.app h2").await, ["Static Website"]);
    see(&client, ".card.app h2 a").await.click().await.unwrap();
    see(&client, ".readme ul").await;
    picture(&client, "app").await;
    see(&client, ".head .button").await.click().await.unwrap();

    // What does not count is hidden until it does.
    assert!(!shown(&client, "#f-address").await);
    assert!(!shown(&client, "#f-input-password").await);
    see(&client, "#f-input-protect").await.click().await.unwrap();
    assert!(shown(&client, "#f-input-password").await);
    see(&client, "#f-input-password").await.send_keys("a typed secret").await.unwrap();
    see(&client, "#f-name").await.send_keys("club").await.unwrap();
    picture(&client, "install").await;

    // An error beside its field; what was typed stays, the secret is not written back.
    see(&client, ".wizard button").await.click().await.unwrap();
    let wrong = see(&client, "#f-input-title-error").await.text().await.unwrap();
    assert_eq!(wrong, "Title is needed");
    assert_eq!(see(&client, "#f-name").await.prop("value").await.unwrap().unwrap(), "club");
    assert!(!client.source().await.unwrap().contains("a typed secret"));
    picture(&client, "install-error").await;
    see(&client, "#f-input-title").await.send_keys("The club").await.unwrap();
    see(&client, ".wizard button").await.click().await.unwrap();

    // Review, install, and the log as it grows.
    see(&client, ".plan li:nth-child(3)").await;
    assert!(!client.source().await.unwrap().contains("a typed secret"));
    picture(&client, "review").await;
    see(&client, ".pair form button").await.click().await.unwrap();
    see(&client, "#job[data-job-open=true]").await;
    see(&client, "html[data-live=yes]").await;
    let job = install_id();
    world.step(job, "create_container", StepStatus::Succeeded, "container 100 was made").await;
    world.step(job, "provision", StepStatus::Running, "Setting up nginx").await;
    world.step(job, "provision", StepStatus::Succeeded, "Setting up libssl3").await;
    see(&client, ".steps li:nth-child(2).good").await;
    see(&client, "#story li[data-seq='6']").await;
    picture(&client, "job").await;
    see(&client, "#find").await.send_keys("nginx").await.unwrap();
    assert_eq!(visible(&client, "#story li").await, 1, "only lines with the words stay");
    world.installed().await;
    let output = see(&client, "a.output").await;
    assert_eq!(output.attr("href").await.unwrap().unwrap(), "http://192.0.2.60/");

    // The guest, with what the cluster says; and its end.
    see(&client, ".meta a[href^='/guests/']").await.click().await.unwrap();
    see(&client, "#status .badge[data-state=ready]").await;
    see(&client, "#vitals .power.good").await;
    picture(&client, "guest").await;
    see(&client, "#journal button").await.click().await.unwrap();
    see(&client, "#journal-log li:nth-child(40)").await;
    see(&client, "#journal-find").await.send_keys("line 17").await.unwrap();
    assert_eq!(visible(&client, "#journal-log li").await, 1);
    picture(&client, "journal").await;
    client.goto(&format!("http://{address}/guests")).await.unwrap();
    see(&client, &format!("#guest-{} .power.good", guest_id())).await;
    picture(&client, "guests").await;
    client.goto(&format!("http://{address}/guests/{}", guest_id())).await.unwrap();
    see(&client, "html[data-live=yes]").await;
    for (typed, next) in [("clubb", "#uninstall .box.bad"), ("club", "#job[data-job-open=true]")] {
        if !shown(&client, "#uninstall-confirm").await {
            see(&client, "#uninstall summary").await.click().await.unwrap();
        }
        see(&client, "#uninstall-confirm").await.send_keys(typed).await.unwrap();
        see(&client, "#uninstall .danger").await.click().await.unwrap();
        see(&client, next).await;
    }
    world.removed().await;
    client.goto(&format!("http://{address}/guests")).await.unwrap();
    see(&client, ".empty").await;

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_apps_fit_a_phone() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) =
        dashboard_with(&state, |store| Some(Arc::new(World { store: store.clone() }))).await;
    let world = World { store: store.clone() };
    world.fill().await;
    let (mut driver, client) = browser(&profile, Screen::Phone).await;
    log_in(&client, &store, address).await;
    let guest = format!("/guests/{}?look=1&journal=1", guest_id());
    let job = format!("/jobs/{}", install_id());
    for path in [
        "/",
        "/apps",
        "/apps/static-website",
        "/apps/static-website/install",
        "/profiles",
        "/guests",
        &guest,
        "/guests/adopt",
        "/nodes",
        "/jobs",
        &job,
    ] {
        client.goto(&format!("http://{address}{path}")).await.unwrap();
        let script = "return document.documentElement.scrollWidth;";
        let width = client.execute(script, vec![]).await.unwrap();
        assert_eq!(width.as_u64(), Some(PHONE_WIDTH), "{path} scrolls sideways");
        let name: String =
            path.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        picture(&client, &format!("phone{name}")).await;
    }
    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
