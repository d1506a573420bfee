//! The fleet in a real browser: it is filtered by keyboard, keeps its place while events arrive, and many hosts are
//! rebuilt after a review.

use fantoccini::Client;
use fantoccini::key::Key;
use futures_util::future::BoxFuture;
use ironhatch::domain::host::{Host, HostEvent, HostState};
use ironhatch::domain::id::JobId;
use ironhatch::domain::image::Image;
use ironhatch::domain::job::{BulkRebuild, Job, JobStatus, StepStatus, Work};
use ironhatch::domain::refusal::{Refusal, RefusalKind};
use ironhatch::domain::server_type::DiskSelection;
use ironhatch::jobs::{BulkChoice, BulkRequest, BulkReview, LeftOut};
use ironhatch::plan::bulk as plan;
use ironhatch::store::{HostReads as _, HostWriteError, JobReads as _, Store, StoreError};

use super::{Screen, browser, dashboard, host, log_in, move_host, now, picture, see};

fn image() -> Image {
    Image { imported_at: now(), ..ironhatch::fakes::sample::image() }
}

fn list_id() -> JobId {
    JobId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0b01))
}

/// As an engine would, but that every host has a disk and only those at work are refused.
async fn look(store: &Store, choice: BulkChoice) -> BulkReview {
    let disk = || DiskSelection::Property {
        property: "ID_SERIAL_SHORT".into(),
        value: "S6B0NX0T1".into(),
    };
    let (mut hosts, mut left_out) = (Vec::new(), Vec::new());
    for id in choice.hosts {
        let found: Result<Option<Host>, StoreError> = store.read(move |r| r.host(id)).await;
        let found = found.unwrap().expect("the host is there");
        if found.state.is_busy() {
            let detail = format!("cannot rebuild {}: a rebuild is running", found.hostname);
            let why = Refusal::new(RefusalKind::Conflict, detail, "wait for its end or cancel it");
            left_out.push(LeftOut { host: id, hostname: found.hostname.to_string(), why });
        } else {
            hosts.push(plan::reviewed(&found, disk()));
        }
    }
    BulkReview {
        phrase: plan::phrase(&hosts),
        seal: plan::seal(&hosts, &image(), choice.replace_node),
        image: image(),
        replace_node: choice.replace_node,
        hosts,
        left_out,
    }
}

pub(super) fn review(
    store: &Store,
    choice: BulkChoice,
) -> BoxFuture<'_, Result<BulkReview, Refusal>> {
    Box::pin(async move { Ok(look(store, choice).await) })
}

pub(super) fn rebuild_many(
    store: &Store,
    request: BulkRequest,
) -> BoxFuture<'_, Result<JobId, Refusal>> {
    Box::pin(async move {
        let seen = look(store, request.choice).await;
        if seen.seal != request.seal || !plan::is_confirmed(&seen.hosts, &request.confirm) {
            let detail = format!("what was typed is not '{}'", seen.phrase);
            let refusal = Refusal::new(RefusalKind::Unprocessable, detail, "type it exactly");
            return Err(refusal.about("confirm"));
        }
        let bulk = BulkRebuild {
            image: seen.image.id,
            image_sha256: seen.image.sha256,
            replace_node: seen.replace_node,
            at_once: request.at_once,
            stop_after: request.stop_after,
            confirmed_by: None,
            hosts: seen.hosts,
        };
        let job = Job {
            id: list_id(),
            steps: plan::steps(&bulk),
            work: Work::BulkRebuild(bulk),
            status: JobStatus::Pending,
            created: now(),
            started: None,
            finished: None,
            failure: None,
            cancel_requested: false,
        };
        let saved: Result<(), StoreError> = store.write(move |tx| tx.save_job(&job)).await;
        saved.unwrap();
        Ok(list_id())
    })
}

async fn fill(store: &Store, hosts: u8) {
    let saved: Result<(), HostWriteError> = store
        .write(move |tx| {
            tx.save_image(&image())?;
            for n in 1..=hosts {
                let mut host = host(n);
                host.state = match n % 6 {
                    0 => HostState::Failed,
                    1..=3 => HostState::Ready,
                    _ => HostState::Registered,
                };
                tx.save_host(&host)?;
            }
            Ok(())
        })
        .await;
    saved.unwrap();
}

/// Where each tile is on the page: left, top, width, height.
async fn places(client: &Client) -> Vec<serde_json::Value> {
    let script = "return [...document.querySelectorAll('.tile')].map((t) => { const r = t.getBoundingClientRect(); return [t.id, r.left, r.top + scrollY, r.width, r.height]; });";
    client.execute(script, vec![]).await.unwrap().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_filtered_by_keyboard_and_keeps_its_place_while_events_arrive() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    fill(&store, 20).await;
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();
    log_in(&client, &store, address).await;
    see(&client, ".tile").await;
    picture(&client, "fleet-desktop").await;

    // Everything happens at once: hosts move, fail, come; no tile moves.
    let before = places(&client).await;
    assert_eq!(before.len(), 20);
    for event in [HostEvent::Armed, HostEvent::ScriptFetched, HostEvent::AnswerServed] {
        move_host(&store, 4, event).await;
        move_host(&store, 5, event).await;
    }
    let failed: Result<(), HostWriteError> = store
        .write(|tx| {
            let mut failed = tx.host(host(5).id)?.unwrap();
            let reason = "The installer took its answer but did not report within 60 minutes, and \
                          nobody knows why, which takes many words to say. ";
            assert!(tx.fail_host(&mut failed, &reason.repeat(5), "Look at it.")?.is_ok());
            tx.save_host(&host(21))
        })
        .await;
    failed.unwrap();
    let id = |n: u8| host(n).id;
    see(&client, &format!("#tile-{}[data-state=installing]", id(4))).await;
    see(&client, &format!("#tile-{}[data-state=failed]", id(5))).await;
    emit_registered(&store).await;
    see(&client, "#list-line a").await;
    assert_eq!(places(&client).await, before, "a tile moved");
    picture(&client, "fleet-changed").await;
    // What was announced is shown when somebody asks for it.
    see(&client, "#list-line a").await.click().await.unwrap();
    see(&client, &format!("#tile-{}", id(21))).await;

    // By keyboard alone.
    see(&client, "#q").await.send_keys("pve4").await.unwrap();
    see(&client, "#q").await.send_keys(&Key::Enter).await.unwrap();
    client
        .wait()
        .for_url(&format!("http://{address}/?q=pve4&type=").parse().unwrap())
        .await
        .unwrap();
    assert_eq!(places(&client).await.len(), 1);
    client.goto(&format!("http://{address}/?state=failed")).await.unwrap();
    see(&client, "#counts a[aria-current]").await;
    picture(&client, "fleet-failed").await;
    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}

/// The event of a registration, as the engine writes it.
async fn emit_registered(store: &Store) {
    use ironhatch::domain::event::{EventKind, Level, Subject};
    use ironhatch::store::NewEvent;
    let told: Result<u64, StoreError> = store
        .write(|tx| {
            tx.emit(NewEvent {
                level: Level::Info,
                subject: Subject { host: Some(host(21).id), ..Subject::default() },
                kind: EventKind::HostRegistered,
                message: "pve21 was registered".into(),
            })
        })
        .await;
    told.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_are_ticked_reviewed_confirmed_and_watched() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    fill(&store, 12).await;
    move_host(&store, 4, HostEvent::Armed).await;
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1280, 900).await.unwrap();
    log_in(&client, &store, address).await;
    see(&client, "a[href^='/rebuild']").await.click().await.unwrap();
    see(&client, "#choose").await;
    for n in [1, 6, 12] {
        // A label ticks its box.
        see(&client, &format!("label[for='h-{}']", host(n).id)).await.click().await.unwrap();
    }
    picture(&client, "rebuild-choose").await;
    see(&client, "button[value=ticked]").await.click().await.unwrap();
    see(&client, "#begin").await;
    picture(&client, "rebuild-review").await;
    let phrase = see(&client, "#begin code").await.text().await.unwrap();
    assert_eq!(phrase, "erase 3 machines");
    see(&client, "#confirm").await.send_keys("erase 2 machines").await.unwrap();
    see(&client, "#begin button").await.click().await.unwrap();
    see(&client, "#confirm-wrong").await;
    see(&client, "#confirm").await.send_keys(&phrase).await.unwrap();
    see(&client, "#begin button").await.click().await.unwrap();
    see(&client, ".steps li.todo").await;
    see(&client, "html[data-live=yes]").await;
    let moved: Result<(), StoreError> = store
        .write(|tx| {
            let mut job = tx.job(list_id())?.unwrap();
            let step = |n| plan::step_of(host(n).id);
            tx.set_step(&mut job, step(1).as_str(), StepStatus::Running, "its rebuild runs")?;
            let why = "the disk to be erased changed after the review: it was not touched";
            tx.set_step(&mut job, step(12).as_str(), StepStatus::Skipped, why)
        })
        .await;
    moved.unwrap();
    see(&client, ".steps li.busy").await;
    picture(&client, "rebuild-list").await;

    // All that match, across pages, from the list itself.
    client.goto(&format!("http://{address}/rebuild?state=ready")).await.unwrap();
    see(&client, "button[value=all]").await.click().await.unwrap();
    assert_eq!(see(&client, "#begin code").await.text().await.unwrap(), "erase 6 machines");
    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
