//! Every page there is, as the accessibility engine, the dark and a phone see it: of a populated appliance, of an empty
//! one, and as the golden files have it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use fantoccini::Client;
use ironhatch::domain::host::{Host, HostState};
use ironhatch::store::{HostReads as _, HostWriteError, Store};
use ironhatch::web::setup_link;

use super::accessible::{engine, examine};
use super::world::{World, guest_id, install_id};
use super::{Screen, boots, browser, dashboard, dashboard_with, host, log_in, see, types};

/// Answers to a GET that are no page of their own.
const NO_PAGES: [&str; 9] = [
    "/assets/{hash}/{name}",
    "/fragments/fleet", // parts of pages, which are looked at there
    "/fragments/legend",
    "/fragments/cell/{id}/{label}",
    "/fragments/tile/{id}",
    "/host-file/{name}",
    "/apps/{id}/icon.png",
    "/guests/{id}/journal.txt",
    "/jobs/{id}/log.txt",
];

/// Routes that are for machines and programs.
const FOR_PROGRAMS: [&str; 3] = ["/api/", "/boot/", "/ipxe/"];

struct Visit {
    route: &'static str,
    path: String,
    /// Is there when the page has what it is about.
    has: &'static str,
}

fn visit(route: &'static str, path: impl Into<String>, has: &'static str) -> Visit {
    Visit { route, path: path.into(), has }
}

/// Where an appliance that has something to show is looked at. A new page belongs here, with something to show in
/// [`populate`], and below in [`empty`] when it is a list.
fn populated() -> Vec<Visit> {
    let (id, stranger) = (host(1).id, boots::stranger());
    vec![
        visit("/", "/", ".tile[data-state=failed]"),
        visit("/rack", "/rack", ".cell[data-state=failed]"),
        visit("/rebuild", "/rebuild", "#choose .pick, .empty"),
        visit("/hosts/new", format!("/hosts/new?mac={stranger}"), "#hostname"),
        visit("/host-file", "/host-file", "#text"),
        visit("/hosts/{id}", format!("/hosts/{id}"), "#boot-story svg"),
        visit("/hosts/{id}/answer", format!("/hosts/{id}/answer"), ".values tbody tr"),
        visit("/server-types", "/server-types", "#types .facts"),
        visit("/server-types/{name}", "/server-types/lab", "#text"),
        visit("/new-server-type", "/new-server-type?from=lab", "#name"),
        visit("/apps", "/apps", ".card.app"),
        visit("/apps/{id}", "/apps/static-website", ".readme ul"),
        visit("/apps/{id}/install", "/apps/static-website/install", "#f-name"),
        visit("/profiles", "/profiles", "section.card details"),
        visit("/guests", "/guests?look=1", ".power.good"),
        visit("/guests/adopt", "/guests/adopt", "main form"),
        visit(
            "/guests/{id}",
            format!("/guests/{}?look=1&journal=1", guest_id()),
            "#journal-log li",
        ),
        visit("/nodes", "/nodes", "#enroll"),
        visit("/health", "/health", "section[aria-labelledby=doctor] .badge.bad"),
        visit("/jobs", "/jobs", "#jobs tbody tr"),
        visit("/jobs/{id}", format!("/jobs/{}", install_id()), "#story li"),
        visit("/ops/{id}", format!("/ops/{}", install_id()), "#story li"),
        visit("/sightings", "/sightings", "#sightings .row-verdict"),
        visit("/sightings/{mac}", format!("/sightings/{stranger}"), "#boot-story svg"),
        visit("/images", "/images", "#images .facts"),
        visit("/access", "/access", "form[action^='/access/sessions/']"),
        visit("/audit", "/audit", "main section.card .rows li"),
        visit("/settings", "/settings", "section[aria-labelledby=notifications] li form"),
    ]
}

/// Pages that have nothing to show yet, each with its way on: a link or a form that leads to the first thing of its kind.
fn empty() -> Vec<Visit> {
    vec![
        visit("/", "/", ".empty a[href='/images']"),
        visit("/apps", "/apps?q=nothing", ".empty a"),
        visit("/guests", "/guests", ".empty a[href='/apps']"),
        visit("/nodes", "/nodes", "#nodes .empty a[href='#enroll']"),
        visit("/jobs", "/jobs", "#jobs .empty a"),
        visit("/sightings", "/sightings", "#sightings .empty a[href='/hosts/new']"),
        visit("/images", "/images", "#images .empty"),
        visit("/health", "/health", "form[action='/health/check']"),
    ]
}

async fn populate(store: &Store) {
    World { store: store.clone() }.fill().await;
    boots::failed(store).await;
    types::rack(store).await;
    let saved: Result<(), HostWriteError> = store
        .write(|tx| {
            for (n, state) in (3..).zip(HostState::ALL) {
                tx.save_host(&Host { state, address: Some([192, 0, 2, n].into()), ..host(n) })?;
            }
            let mut failed = tx.host(host(1).id)?.expect("the rack has it");
            failed.state = HostState::Joining;
            tx.save_host(&failed)?;
            let reason = "The node at 192.0.2.21 did not answer over SSH for 10 minutes.";
            assert!(tx.fail_host(&mut failed, reason, "Look at its console.")?.is_ok());
            Ok(())
        })
        .await;
    saved.unwrap();
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if !path.ends_with("test") => sources(&path, found),
            true => {}
            false if path.ends_with("test.rs") => {}
            false => found.push(path),
        }
    }
}

/// Paths of the program that answer a GET of a browser, from its source.
fn routes() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web"), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        for call in program.split(".route(").skip(1) {
            let Some((path, handlers)) =
                call.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'))
            else {
                continue;
            };
            let handlers = handlers.split(';').next().unwrap_or_default();
            if handlers.contains("get(") && !FOR_PROGRAMS.iter().any(|p| path.starts_with(p)) {
                found.insert(path.to_owned());
            }
        }
    }
    found
}

#[test]
fn no_page_is_forgotten_by_the_looks_of_the_browser() {
    let mut visited: BTreeSet<String> = populated().iter().map(|v| v.route.to_owned()).collect();
    visited.extend(NO_PAGES.map(str::to_owned));
    // Before somebody is logged in.
    visited.extend(["/login", "/setup"].map(str::to_owned));
    let missing =
        "add its visit to tests/it/browser/pages.rs, or take a page that is gone out there";
    assert_eq!(routes(), visited, "{missing}");
}

async fn look(
    client: &Client,
    engine: &str,
    address: SocketAddr,
    visits: Vec<Visit>,
    kind: &str,
    wrong: &mut Vec<String>,
) {
    for Visit { path, has, .. } in visits {
        client.goto(&format!("http://{address}{path}")).await.unwrap();
        see(client, has).await;
        // Without the query, which may hold a secret.
        let name = path.split('?').next().unwrap_or_default().replace(['/', ':'], "-");
        let found = examine(client, engine, &format!("{kind}{name}")).await;
        wrong.extend(found.into_iter().map(|f| format!("{kind} {path}: {f}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_populated_appliance_hinder_nobody() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) =
        dashboard_with(&state, |store| Some(Arc::new(World { store: store.clone() }))).await;
    populate(&store).await;
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();
    let (engine, mut wrong) = (engine(), Vec::new());
    let link = setup_link(&store, "").await.unwrap().unwrap();
    let visits = vec![visit("/setup", link, "#repeated"), visit("/login", "/login", "#password")];
    look(&client, &engine, address, visits, "before", &mut wrong).await;

    log_in(&client, &store, address).await;
    client.goto(&format!("http://{address}/health")).await.unwrap();
    see(&client, "section[aria-labelledby=doctor] button").await.click().await.unwrap();
    see(&client, "section[aria-labelledby=doctor] .badge.bad").await;
    look(&client, &engine, address, populated(), "full", &mut wrong).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_pages_say_what_to_do_next_and_hinder_nobody() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) =
        dashboard_with(&state, |store| Some(Arc::new(World { store: store.clone() }))).await;
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();
    let (engine, mut wrong) = (engine(), Vec::new());
    log_in(&client, &store, address).await;
    look(&client, &engine, address, empty(), "empty", &mut wrong).await;
    cancel.cancel();

    // Without apps their pages say how they are switched on; the cluster is there all the same.
    let state = tempfile::tempdir().unwrap();
    let (store, address, cancel) = dashboard(&state).await;
    log_in(&client, &store, address).await;
    let off = [("/apps", ".empty pre"), ("/guests", ".empty pre"), ("/nodes", "#cluster")];
    let visits = off.map(|(path, shows)| visit(path, path, shows));
    look(&client, &engine, address, visits.into(), "off", &mut wrong).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}

/// Serves the golden files of pages, with the assets that they name.
async fn goldens() -> (Vec<String>, SocketAddr) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/golden/pages");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let page = get(move |extract::Path(name): extract::Path<String>| async move {
        axum::response::Html(fs::read_to_string(folder.join(name)).unwrap())
    });
    let assets = root.join("templates/assets");
    let asset = get(move |extract::Path(name): extract::Path<String>| async move {
        let kind = match name.rsplit('.').next() {
            Some("css") => "text/css",
            Some("js") => "text/javascript",
            Some("svg") => "image/svg+xml",
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        let content = fs::read(assets.join(name)).unwrap();
        ([(header::CONTENT_TYPE, kind)], content).into_response()
    });
    let router = Router::new().route("/pages/{name}", page).route("/assets/HASH/{name}", asset);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (names, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_golden_pages_hinder_nobody() {
    let profile = tempfile::tempdir().unwrap();
    let (names, address) = goldens().await;
    assert!(!names.is_empty());
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();
    let (engine, mut wrong) = (engine(), Vec::new());
    for name in names {
        client.goto(&format!("http://{address}/pages/{name}")).await.unwrap();
        see(&client, "main *").await;
        let found = examine(&client, &engine, &format!("golden-{name}")).await;
        wrong.extend(found.into_iter().map(|f| format!("{name}: {f}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    client.close().await.unwrap();
    driver.kill().await.unwrap();
}
