//! The dashboard in a real browser: log in, watch a tile change, and use it on a phone.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use futures_util::future::BoxFuture;
use ironhatch::domain::discovery::ClusterView;
use ironhatch::domain::form::Declined;
use ironhatch::domain::host::{Host, HostEvent, HostState};
use ironhatch::domain::id::{HostId, ImageId, JobId};
use ironhatch::domain::mac::Mac;
use ironhatch::domain::power::{Action, PowerState};
use ironhatch::domain::refusal::{Refusal, RefusalKind};
use ironhatch::domain::time::Timestamp;
use ironhatch::jobs::{
    BulkChoice, BulkRequest, BulkReview, Engine, HostChange, ImportMode, ImportRequest, NewHost,
    PowerAnswer, PowerChange, RebuildRequest,
};
use ironhatch::plan::doctor::rehearsal::{Firmware, Rehearsal};
use ironhatch::plan::doctor::{Facts, Report, examine, facts};
use ironhatch::plan::roster::{self, Change, Format};
use ironhatch::store::{HostReads as _, HostWriteError, MasterKey, Store};
use ironhatch::web::{
    self, AskCluster, GuestOperations, Operations, ServerTypeList, TypeOperations, WebParts,
    WebState, setup_link,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

mod access;
mod accessible;
mod boots;
mod first_host;
mod fleet;
mod host_file;
mod pages;
mod power;
mod settings;
mod types;
mod walk;
mod world;

/// The pages are only looked at here: whatever is asked for is refused, but for what a machine's power needs.
struct NoEngine(Store, Engine);

fn refused<T>() -> BoxFuture<'static, Result<T, Refusal>> {
    let refusal = Refusal::new(RefusalKind::Unavailable, "There is no engine.", "Only look.");
    Box::pin(async move { Err(refusal) })
}

impl Operations for NoEngine {
    fn register_host(&self, _: NewHost) -> BoxFuture<'_, Result<Host, Refusal>> {
        refused()
    }
    fn export_hosts(&self, _: Format) -> BoxFuture<'_, Result<String, Refusal>> {
        refused()
    }
    fn import_hosts(
        &self,
        text: String,
        format: Format,
        mode: ImportMode,
    ) -> BoxFuture<'_, Result<Vec<Change>, Declined>> {
        assert_eq!(mode, ImportMode::DryRun, "nothing is written here");
        let read = roster::read(&text, format).and_then(|entries| {
            roster::compare(&entries, &[host(1)], &|name| name.as_str() == "lab")
        });
        Box::pin(std::future::ready(read.map_err(Declined::Fields)))
    }
    fn change_host(&self, _: HostId, _: HostChange) -> BoxFuture<'_, Result<Host, Refusal>> {
        refused()
    }
    fn delete_host(&self, _: HostId) -> BoxFuture<'_, Result<(), Refusal>> {
        refused()
    }
    fn rebuild(&self, _: HostId, _: RebuildRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn review_rebuilds(&self, choice: BulkChoice) -> BoxFuture<'_, Result<BulkReview, Refusal>> {
        fleet::review(&self.0, choice)
    }
    fn rebuild_many(&self, request: BulkRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        fleet::rebuild_many(&self.0, request)
    }
    fn cancel(&self, _: JobId) -> BoxFuture<'_, Result<(), Refusal>> {
        refused()
    }
    fn retry(&self, _: JobId, _: String) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn import_image(&self, _: ImportRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn set_power(&self, id: HostId, change: PowerChange) -> BoxFuture<'_, Result<Host, Refusal>> {
        let store = self.0.clone();
        Box::pin(async move {
            let saved: Result<Host, HostWriteError> = store
                .write(move |tx| {
                    let mut host = tx.host(id)?.unwrap();
                    host.power = change.power;
                    tx.save_host(&host)?;
                    Ok(host)
                })
                .await;
            Ok(saved.unwrap())
        })
    }
    fn power_state(&self, _: HostId) -> BoxFuture<'_, Result<PowerAnswer, Refusal>> {
        let said = "Contoso 3500: the power is on".to_owned();
        Box::pin(std::future::ready(Ok(PowerAnswer {
            state: PowerState::On,
            said,
            untrusted: None,
        })))
    }
    fn switch_power(
        &self,
        _: HostId,
        _: Action,
        _: String,
    ) -> BoxFuture<'_, Result<PowerAnswer, Refusal>> {
        refused()
    }
    fn types(&self) -> &dyn TypeOperations {
        &self.1
    }
    fn cluster(&self, _: AskCluster) -> BoxFuture<'_, ClusterView> {
        Box::pin(async { world::cluster_view() })
    }
    fn member_public_key(&self) -> BoxFuture<'_, Result<String, Refusal>> {
        refused()
    }
    fn delete_image(&self, _: ImageId) -> BoxFuture<'_, Result<(), Refusal>> {
        refused()
    }
    fn set_sighting_ignored(&self, _: Mac, _: bool) -> BoxFuture<'_, Result<(), Refusal>> {
        refused()
    }
}

fn host(n: u8) -> Host {
    Host { state_since: now(), created: now(), ..ironhatch::fakes::sample::host(n) }
}

fn now() -> Timestamp {
    let passed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(passed.as_millis()).unwrap())
}

/// Starts the dashboard without apps on a free port of the loopback.
async fn dashboard(dir: &tempfile::TempDir) -> (Store, SocketAddr, CancellationToken) {
    dashboard_with(dir, |_| None).await
}

struct NoMeters;

impl web::metrics::Meters for NoMeters {
    fn read(&self) -> Vec<web::metrics::Family> {
        Vec::new()
    }
}

struct NoBundles;

impl web::Bundles for NoBundles {
    fn make(&self, _: u32) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// Finds one taken port as often as it is asked.
#[derive(Default)]
struct OneFinding(std::sync::Mutex<Option<Arc<Report>>>);

impl web::Doctor for OneFinding {
    fn last(&self) -> Option<Arc<Report>> {
        self.0.lock().unwrap().clone()
    }

    fn check(&self) -> BoxFuture<'_, Arc<Report>> {
        let holder = facts::Holder::Other(Some("dnsmasq (process 812)".to_owned()));
        let ports = vec![facts::Port { name: "UDP 67 (DHCP)", number: 67, holder }];
        let found = Arc::new(examine(&Facts { now: now(), ports, ..Facts::default() }));
        *self.0.lock().unwrap() = Some(Arc::clone(&found));
        Box::pin(std::future::ready(found))
    }

    fn simulate(&self, _: Firmware) -> BoxFuture<'_, Result<Rehearsal, Refusal>> {
        refused()
    }
}

/// Starts the dashboard with operations on guests, or without.
async fn dashboard_with(
    dir: &tempfile::TempDir,
    guests: impl FnOnce(&Store) -> Option<Arc<dyn GuestOperations>>,
) -> (Store, SocketAddr, CancellationToken) {
    let path = dir.path().join("db.redb");
    let store = Store::open(&path, MasterKey::from_bytes(&[7; 32]), Arc::new(now)).unwrap();
    let (_, types) = tokio::sync::watch::channel(Arc::new(ServerTypeList::default()));
    let cancel = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pages = web::router(WebState::new(WebParts {
        guests: guests(&store),
        operations: Arc::new(NoEngine(store.clone(), types::engine(dir.path(), &store))),
        store: store.clone(),
        types,
        version: "0.0.0-test",
        public_url: format!("http://{address}"),
        traffic: web::Traffic::new(ironhatch::limits::over::Overruns::new(Arc::new(|| 0))),
        doctor: Arc::new(OneFinding::default()),
        config: settings::config(),
        notifier: Arc::new(settings::Told),
        bundles: Arc::new(NoBundles),
        meters: Arc::new(NoMeters),
        proxy: None,
        cancel: cancel.clone(),
    }));
    let service =
        pages.fallback(web::not_found).into_make_service_with_connect_info::<SocketAddr>();
    let stop = cancel.clone();
    tokio::spawn(async move {
        let serving = axum::serve(listener, service);
        serving.with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
    });
    (store, address, cancel)
}

/// What the browser runs on.
pub(crate) enum Screen {
    Desk,
    Phone,
}

/// Width of a small phone, in CSS pixels.
const PHONE_WIDTH: u64 = 390;

/// Starts chromedriver on a port that it chooses, and a browser with an empty profile.
pub(crate) async fn browser(profile: &tempfile::TempDir, screen: Screen) -> (Child, Client) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver is installed (package chromium-driver)");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port: u16 = loop {
        let line = lines.next_line().await.unwrap().expect("chromedriver says its port");
        if let Some((_, rest)) = line.split_once("successfully on port ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            break digits.parse().unwrap();
        }
    };
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        &format!("--user-data-dir={}", profile.path().display()),
    ];
    let mut options = serde_json::json!({ "args": arguments });
    if let Screen::Phone = screen {
        let metrics = serde_json::json!({ "width": PHONE_WIDTH, "height": 844, "pixelRatio": 2 });
        options["mobileEmulation"] = serde_json::json!({ "deviceMetrics": metrics });
    }
    // Milliseconds; a busy machine takes its time.
    let timeouts = serde_json::json!({ "script": 120_000, "pageLoad": 120_000 });
    let capabilities = serde_json::json!({ "goog:chromeOptions": options, "timeouts": timeouts });
    let serde_json::Value::Object(capabilities) = capabilities else { unreachable!() };
    let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
        .capabilities(capabilities)
        .connect(&format!("http://127.0.0.1:{port}"))
        .await
        .unwrap();
    (driver, client)
}

/// Waits until the page has an element.
pub(crate) async fn see(client: &Client, css: &str) -> fantoccini::elements::Element {
    let wait = client.wait().at_most(Duration::from_secs(60));
    match wait.for_element(Locator::Css(css)).await {
        Ok(element) => element,
        Err(error) => panic!("{css}: {error}\n{}", client.source().await.unwrap()),
    }
}

/// Keeps a picture when `IRONHATCH_SHOTS` names a folder.
pub(crate) async fn picture(client: &Client, name: &str) {
    if let Some(folder) = std::env::var_os("IRONHATCH_SHOTS") {
        let file = std::path::Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(file, client.screenshot().await.unwrap()).unwrap();
    }
}

async fn move_host(store: &Store, n: u8, event: HostEvent) {
    let moved: Result<(), HostWriteError> = store
        .write(move |tx| {
            let mut host = tx.host(host(n).id)?.expect("the host is there");
            assert!(tx.move_host(&mut host, event, "moved by the test")?.is_ok());
            Ok(())
        })
        .await;
    moved.unwrap();
}

/// Sets the operator's password by the link of the console, which leads to the hosts.
async fn log_in(client: &Client, store: &Store, address: SocketAddr) {
    let link = setup_link(store, &format!("http://{address}")).await.unwrap().unwrap();
    client.goto(&link).await.unwrap();
    for field in ["#password", "#repeated"] {
        see(client, field).await.send_keys("correct horse battery").await.unwrap();
    }
    see(client, "form button").await.click().await.unwrap();
    see(client, "html[data-live=yes]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_the_password_and_watches_a_host_change_state() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    for n in 1..=6 {
        let saved: Result<(), HostWriteError> = store.write(move |tx| tx.save_host(&host(n))).await;
        saved.unwrap();
    }
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();

    log_in(&client, &store, address).await;
    see(&client, ".tile[data-state=registered]").await;
    let id = host(1).id;
    for (event, name) in [(HostEvent::Armed, "pxe_ready"), (HostEvent::ScriptFetched, "pxe_booted")]
    {
        move_host(&store, 1, event).await;
        see(&client, &format!("#tile-{id}[data-state={name}]")).await;
    }
    picture(&client, "live-desktop").await;

    // The host's page follows as well.
    client.goto(&format!("http://{address}/hosts/{id}")).await.unwrap();
    see(&client, "html[data-live=yes]").await;
    move_host(&store, 1, HostEvent::AnswerServed).await;
    see(&client, "#status .badge[data-state=installing]").await;

    // What is wrong with LAN and installation is asked for with one button.
    client.goto(&format!("http://{address}/health")).await.unwrap();
    see(&client, "section[aria-labelledby=doctor] button").await.click().await.unwrap();
    see(&client, "section[aria-labelledby=doctor] .badge.bad").await;
    picture(&client, "health-checked").await;

    // Logging out leads to the login, and it leads back.
    see(&client, ".logout button").await.click().await.unwrap();
    see(&client, "#password").await;
    client.goto(&format!("http://{address}/jobs")).await.unwrap();
    see(&client, "#password").await.send_keys("correct horse battery").await.unwrap();
    see(&client, "main form button").await.click().await.unwrap();
    see(&client, "section#jobs").await;

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}

/// Whether a page fits: it does not scroll sideways, and nothing that is filled in or read leaves its card.
const FITS: &str = "const within = e => e.getBoundingClientRect().right <= e.closest('.card').getBoundingClientRect().right;
    return document.documentElement.scrollWidth <= window.innerWidth
        && [...document.querySelectorAll('.card :is(input, select, textarea, .hint)')].every(within);";

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_nothing_is_wider_than_the_screen() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    let saved: Result<(), HostWriteError> = store
        .write(|tx| {
            let mut host = host(1);
            host.hostname =
                "a-host-with-quite-a-long-name-in-the-second-rack-from-the-left".parse().unwrap();
            host.state = HostState::Joining;
            tx.save_host(&host)?;
            let reason = format!("The node at {} did not answer.", "192.0.2.21:22/".repeat(12));
            assert!(tx.fail_host(&mut host, &reason, "Look at it.")?.is_ok());
            Ok(())
        })
        .await;
    saved.unwrap();
    let stranger = format!("/sightings/{}", boots::failed(&store).await);
    let (mut driver, client) = browser(&profile, Screen::Phone).await;
    log_in(&client, &store, address).await;
    see(&client, ".tile.bad").await;
    let host = format!("/hosts/{}", host(1).id);
    client.goto(&format!("http://{address}/health")).await.unwrap();
    see(&client, "section[aria-labelledby=doctor] button").await.click().await.unwrap();
    see(&client, "section[aria-labelledby=doctor] .badge.bad").await;
    for path in [
        "/",
        "/?state=failed&q=host",
        "/rebuild",
        "/rack",
        "/hosts/new",
        "/jobs",
        "/sightings",
        &stranger,
        "/images",
        "/health",
        "/access",
        "/audit",
        "/settings",
        &host,
        "/nowhere",
    ] {
        client.goto(&format!("http://{address}{path}")).await.unwrap();
        let script = "return document.documentElement.scrollWidth;";
        let width = client.execute(script, vec![]).await.unwrap();
        assert_eq!(width.as_u64(), Some(PHONE_WIDTH), "{path} scrolls sideways");
        assert_eq!(client.execute(FITS, vec![]).await.unwrap(), serde_json::json!(true), "{path}");
        picture(&client, &format!("phone{}", path.replace('/', "-"))).await;
    }
    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
