//! The pages over the real engine: what an operator presses is what happens on the node.

use super::world::World;
use crate::browser::{Screen, browser, picture, see};
use crate::join::lab::story;

#[test]
fn an_operator_installs_an_app_opens_it_and_takes_it_away() {
    story(async |lab| {
        let world = World::start(&lab);
        let profile = tempfile::tempdir().unwrap();
        let (mut driver, client) = browser(&profile, Screen::Desk).await;
        client.set_window_size(1100, 900).await.unwrap();
        client.goto(&world.daemon.setup_link()).await.unwrap();
        for field in ["#password", "#repeated"] {
            see(&client, field).await.send_keys("correct horse battery").await.unwrap();
        }
        see(&client, "form button").await.click().await.unwrap();
        see(&client, "html[data-live=yes]").await;

        see(&client, "nav a[href='/apps']").await.click().await.unwrap();
        see(&client, "#q").await.send_keys("hello").await.unwrap();
        see(&client, ".filters button").await.click().await.unwrap();
        // The page before has that card as well, and goes away.
        see(&client, "#q[value='hello']").await;
        see(&client, ".card.app h2 a[href$='/hello']").await.click().await.unwrap();
        see(&client, ".head a[href$='/hello/install']").await.click().await.unwrap();
        see(&client, "#f-input-title").await.send_keys("from a browser").await.unwrap();
        see(&client, "#f-name").await.send_keys("-web1").await.unwrap();
        see(&client, ".wizard button").await.click().await.unwrap();
        let wrong = see(&client, "#f-name-error").await.text().await.unwrap();
        assert!(!wrong.is_empty());
        assert!(world.find("-web1").is_none());
        let name = see(&client, "#f-name").await;
        name.clear().await.unwrap();
        name.send_keys("web1").await.unwrap();
        see(&client, ".wizard button").await.click().await.unwrap();
        see(&client, ".plan li:nth-child(3)").await;
        picture(&client, "engine-review").await;
        assert!(world.find("web1").is_none(), "a review makes nothing");
        see(&client, ".pair form button").await.click().await.unwrap();

        see(&client, "#job[data-job-open=true]").await;
        let address = client.current_url().await.unwrap();
        let job = address.path_segments().unwrap().next_back().unwrap().to_owned();
        world.wait(&job, "succeeded");
        // The open page learns of it by itself.
        let output = see(&client, "a.output").await;
        let link = output.attr("href").await.unwrap().unwrap();
        picture(&client, "engine-job").await;
        assert!(client.source().await.unwrap().contains("the password is [secret]"));
        client.goto(&link).await.unwrap();
        let page = see(&client, "body").await.text().await.unwrap();
        assert_eq!(page.trim(), "page one: from a browser");

        let id = world.guest("web1")["id"].as_str().unwrap().to_owned();
        client.goto(&format!("http://192.0.2.10:8080/guests/{id}")).await.unwrap();
        see(&client, "#vitals .power.good").await;
        picture(&client, "engine-guest").await;
        see(&client, "#uninstall summary").await.click().await.unwrap();
        see(&client, "#uninstall-confirm").await.send_keys("web1").await.unwrap();
        see(&client, "#uninstall .danger").await.click().await.unwrap();
        see(&client, "#job[data-job-open=true]").await;
        let address = client.current_url().await.unwrap();
        let job = address.path_segments().unwrap().next_back().unwrap().to_owned();
        world.wait(&job, "succeeded");
        client.goto("http://192.0.2.10:8080/guests").await.unwrap();
        see(&client, ".empty").await;
        assert!(world.conf(0).is_none());

        client.close().await.unwrap();
        driver.kill().await.unwrap();
    });
}
