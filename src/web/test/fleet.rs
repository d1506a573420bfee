//! The fleet's list: its filter on page and API, its pages, and what is told of changes.

use serde_json::Value;

use super::sample::host;
use super::scene::Scene;
use crate::domain::host::HostState;

fn names(list: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap();
    let hosts = list["hosts"].as_array().unwrap();
    hosts.iter().map(|h| h["hostname"].as_str().unwrap().to_owned()).collect()
}

/// Names on a page, in their order.
fn tiles(page: &str) -> Vec<String> {
    let mut names: Vec<String> = page
        .split("<span class=\"name\">")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect();
    names.retain(|name| !name.is_empty());
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn page_and_api_filter_in_the_same_way() {
    let scene = Scene::fleet();
    for (query, expected) in [
        ("", vec!["pve1", "pve2", "pve3", "pve4"]),
        ("state=busy", vec!["pve2"]),
        ("state=installing", vec!["pve2"]),
        ("state=joining", vec![]),
        ("state=failed", vec!["pve3"]),
        ("problem=yes", vec!["pve3"]),
        ("type=lab&q=S6B0NX0T1", vec!["pve2"]),
        ("q=PVE4", vec!["pve4"]),
        ("type=gpu", vec![]),
        ("state=failed&q=pve1", vec![]),
    ] {
        let page = scene.get(&format!("/?{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        assert_eq!(tiles(&page.body), expected, "{query}");
        let list = scene.get(&format!("/api/hosts?{query}")).await;
        assert_eq!(names(&list.body), expected, "{query}");
    }
    for wrong in ["state=faild", "type=No+Type", "problem=maybe"] {
        for path in ["/?", "/api/hosts?", "/fragments/fleet?"] {
            let refused = scene.get(&format!("{path}{wrong}")).await;
            assert_eq!(refused.status, 422, "{path}{wrong}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filtered_pages_go_on_where_they_ended_also_when_a_host_left_the_filter() {
    let scene = Scene::empty();
    scene.write(10, |tx| {
        for n in 1..=5 {
            tx.save_host(&host(n, |h| h.state = HostState::Ready)).unwrap();
        }
    });
    let first = scene.get("/api/hosts?state=ready&limit=2").await.body;
    assert_eq!(names(&first), ["pve1", "pve2"]);
    let next: Value = serde_json::from_str(&first).unwrap();
    let next = next["next"].as_str().unwrap().to_owned();
    scene.write(5, |tx| tx.save_host(&host(2, |h| h.state = HostState::Failed)).unwrap());
    let rest = scene.get(&format!("/api/hosts?state=ready&limit=2&after={next}")).await.body;
    assert_eq!(names(&rest), ["pve3", "pve4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_comes_is_announced_and_the_list_keeps_its_order() {
    let scene = Scene::empty();
    scene.write(10, |tx| {
        for n in 1..=3 {
            tx.save_host(&host(n, |_| ())).unwrap();
        }
    });
    let page = scene.get("/?state=registered").await.body;
    let source = page.split("data-src=\"").find(|s| s.starts_with("/fragments/fleet")).unwrap();
    let source = source.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    let same = scene.get(&source).await.body;
    assert!(same.contains("1 to 3 of 3") && !same.contains("has changed"), "{same}");
    scene.write(5, |tx| tx.save_host(&host(4, |_| ())).unwrap());
    let told = scene.get(&source).await.body;
    assert!(told.contains("The list has changed") && told.contains("/?state=registered"), "{told}");
    assert!(told.contains("<b>4</b> registered"), "{told}");
    // It stays told, however often it is asked for.
    let again = told.split("data-src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(again.replace("&#38;", "&"), source);
    // A page is not replaced as a whole while it has hosts: only tiles and what stands above them.
    let grid = page.split("id=\"grid\"").nth(1).unwrap();
    assert!(!grid.split('>').next().unwrap().contains("data-live"));
    assert!(!page.contains("id=\"fleet\" data-live"));
    assert!(Scene::empty().get("/").await.body.contains("id=\"fleet\" data-live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_the_same_alone_and_in_its_row() {
    let scene = Scene::fleet();
    let page = scene.get("/rack?q=pve").await.body;
    for n in 1..=4 {
        let id = host(n, |_| ()).id;
        let address = format!("/fragments/cell/{id}/{n}");
        let cell = scene.get(&address).await.body;
        assert!(page.contains(cell.trim()), "{cell}");
        assert!(
            scene
                .get(&format!("/fragments/cell/{id}/else"))
                .await
                .body
                .contains(&format!("pve{n}</span>"))
        );
    }
    let failed = scene.get("/rack?state=failed").await.body;
    assert_eq!(failed.matches("class=\"cell ").count(), 1);
    assert!(failed.contains("aria-label=\"pve3: Failed\""));
    let legend = scene.get("/fragments/legend?state=failed").await.body;
    assert!(failed.contains(legend.trim()), "{legend}");
    assert_eq!(scene.get("/rack?state=faild").await.status, 422);
    assert_eq!(scene.get("/fragments/cell/nobody/1").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_machines_stand_on_one_page() {
    let scene = Scene::empty();
    scene.write(10, |tx| {
        for n in 0..1000_u32 {
            let new = host(1, |h| {
                h.id = crate::domain::id::HostId(uuid::Uuid::from_u128(u128::from(n) + 1));
                h.hostname = format!("r{}-pve{n}", n % 20).parse().unwrap();
                let [_, _, a, b] = n.to_be_bytes();
                h.macs = vec![crate::domain::mac::Mac([2, 0, 0, 0, a, b])];
                h.state = HostState::ALL[n as usize % HostState::ALL.len()];
            });
            tx.save_host(&new).unwrap();
        }
    });
    let page = scene.get("/rack").await.body;
    assert_eq!(page.matches("class=\"cell ").count(), 1000);
    assert_eq!(page.matches("<section class=\"rack\"").count(), 20);
    assert!(page.len() < 700_000, "{} bytes", page.len());
}
