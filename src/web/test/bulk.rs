//! The rebuild of many hosts on page and API: every step, and what is handed on.

use super::golden::without_hashes;
use super::sample::host;
use super::scene::{CSRF, Scene, json};
use crate::domain::host::{Host, HostState};
use crate::domain::id::{HostId, JobId};
use crate::domain::job::{BulkRebuild, Job, JobStatus, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::DiskSelection;
use crate::golden::assert_golden;
use crate::jobs::{BulkChoice, BulkReview, LeftOut};
use crate::plan::bulk as plan;

/// What the recorder's engine finds: pve2 is at work, and no other host is.
pub(crate) fn review(choice: &BulkChoice) -> BulkReview {
    let disk = || DiskSelection::Property {
        property: "ID_SERIAL_SHORT".into(),
        value: "S6B0NX0T1".into(),
    };
    let busy = host(2, |_| ()).id;
    let sample = |id: &HostId| -> Host {
        host(u8::try_from(id.0.as_u128()).unwrap(), |h| {
            if h.hostname.as_str() == "pve1" {
                (h.state, h.is_member) = (HostState::Ready, true);
            }
        })
    };
    let hosts: Vec<_> = choice
        .hosts
        .iter()
        .filter(|id| **id != busy)
        .map(|id| plan::reviewed(&sample(id), disk()))
        .collect();
    let why = Refusal::new(
        RefusalKind::Conflict,
        "cannot rebuild pve2: a rebuild is running (installing)",
        "wait for its end or cancel it",
    );
    let left = LeftOut { host: busy, hostname: "pve2".into(), why };
    let image = super::scene::image();
    BulkReview {
        phrase: plan::phrase(&hosts),
        seal: plan::seal(&hosts, &image, choice.replace_node),
        image,
        replace_node: choice.replace_node,
        hosts,
        left_out: if choice.hosts.contains(&busy) { vec![left] } else { Vec::new() },
    }
}

pub(crate) fn refusal(choice: &BulkChoice, seal: &str, confirm: &str) -> Option<Refusal> {
    let now = review(choice);
    let refuse = |kind, detail: &str, field| {
        Some(Refusal::new(kind, detail, "look at the list").about(field))
    };
    if now.seal != seal {
        let detail = "what was reviewed is not what is there now";
        return refuse(RefusalKind::Conflict, detail, "reviewed");
    }
    if !plan::is_confirmed(&now.hosts, confirm) {
        return refuse(RefusalKind::Unprocessable, "what was typed is not the phrase", "confirm");
    }
    None
}

fn id(n: u8) -> HostId {
    host(n, |_| ()).id
}

fn seal_in(page: &str) -> String {
    let rest = page.split("name=\"reviewed\" value=\"").nth(1).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_list_look_as_they_were_last_reviewed() {
    let scene = Scene::fleet();
    let choose = scene.get("/rebuild?q=pve").await;
    assert_golden("pages/rebuild-choose.html", &without_hashes(&choose.body));
    let form = |more: &str| format!("csrf={CSRF}&state=&type=&problem=&q=pve&{more}");
    let all = scene.post("/rebuild/review", &form("scope=all&at_once=2&stop_after=1")).await;
    assert_eq!(all.status, 200);
    assert_golden("pages/rebuild-review.html", &without_hashes(&all.body));
    let hosts = format!("host={}&host={}&host={}", id(1), id(3), id(4));
    let seal = seal_in(&all.body);
    let begin = |confirm: &str, seal: &str| {
        form(&format!("{hosts}&at_once=2&stop_after=1&reviewed={seal}&confirm={confirm}"))
    };
    let wrong = scene.post("/rebuild", &begin("erase+2+machines", &seal)).await;
    assert_eq!(wrong.status, 422);
    assert_golden("pages/rebuild-wrong.html", &without_hashes(&wrong.body));
    let other = scene.post("/rebuild", &begin("erase+2+machines", "00")).await;
    assert_eq!(other.status, 409);
    assert!(other.body.contains("not what is there now") && seal_in(&other.body) == seal);
    let typed = "erase+3+machines%2C+1+node+of+the+cluster";
    let begun = scene.post("/rebuild", &begin(typed, &seal)).await;
    assert!(begun.status.is_redirection(), "{}", begun.body);
    // The limits are checked before anything is asked for; nobody who is not ticked is taken along.
    for bad in ["at_once=many", "at_once=2&stop_after=-1"] {
        let refused = scene.post("/rebuild/review", &form(&format!("{hosts}&{bad}"))).await;
        assert_eq!(refused.status, 422, "{bad}");
        assert!(refused.body.contains(&format!("value=\"{}\" checked", id(3))), "{bad}");
    }
    let one = scene.post("/rebuild/review", &form(&format!("scope=ticked&host={}", id(4)))).await;
    assert!(one.body.contains("erase 1 machine</code>"), "{}", one.body);
    let asked = scene.asked.asked.lock().unwrap().clone();
    let last = format!("rebuild 3 hosts {seal} erase 3 machines, 1 node of the cluster 2 1");
    assert!(asked.contains(&last), "{asked:?}");
    assert!(scene.get("/rebuild?state=faild").await.status == 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_reviews_by_name_or_filter_and_begins_once_under_a_key() {
    let scene = Scene::fleet();
    let review = scene.send(json("POST", "/api/bulk-rebuilds/review", r#"{"matching":{}}"#)).await;
    assert_eq!(review.status, 200, "{}", review.body);
    let told: serde_json::Value = serde_json::from_str(&review.body).unwrap();
    assert_eq!(told["hosts"].as_array().unwrap().len(), 3);
    assert_eq!(told["left_out"][0]["hostname"], "pve2");
    let named = r#"{"hosts":["pve1","pve3","pve4"]}"#;
    let named = scene.send(json("POST", "/api/bulk-rebuilds/review", named)).await;
    let named: serde_json::Value = serde_json::from_str(&named.body).unwrap();
    assert_eq!(named["reviewed"], told["reviewed"], "the same hosts");
    let mut body = serde_json::json!({ "matching": {}, "at_once": 3 });
    body["reviewed"] = told["reviewed"].clone();
    body["confirm"] = told["confirm"].clone();
    let begun = scene.send(json("POST", "/api/bulk-rebuilds", &body.to_string())).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    for (wrong, status) in [
        (r#"{"hosts":["nobody"],"reviewed":"x","confirm":"y"}"#, 404),
        (r#"{"reviewed":"x","confirm":"y"}"#, 422),
        (r#"{"hosts":["pve1"],"matching":{},"reviewed":"x","confirm":"y"}"#, 422),
        (r#"{"matching":{"stat":"failed"},"reviewed":"x","confirm":"y"}"#, 400),
        (r#"{"matching":{"state":"faild"},"reviewed":"x","confirm":"y"}"#, 422),
        (r#"{"matching":{}}"#, 400),
    ] {
        let refused = scene.send(json("POST", "/api/bulk-rebuilds", wrong)).await;
        assert_eq!(refused.status, status, "{wrong}: {}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_of_a_list_shows_its_hosts_and_can_be_stopped() {
    let scene = Scene::fleet();
    let choice = BulkChoice { hosts: vec![id(1), id(3), id(4)], ..BulkChoice::default() };
    let seen = review(&choice);
    let mut bulk = BulkRebuild {
        image: seen.image.id,
        image_sha256: seen.image.sha256,
        replace_node: false,
        at_once: 2,
        stop_after: 1,
        confirmed_by: None,
        hosts: seen.hosts,
    };
    let steps = plan::steps(&bulk);
    bulk.hosts[0].job = Some(JobId(uuid::Uuid::from_u128(0x77)));
    let list = super::scene::job_id(0x60);
    let job = Job {
        id: list,
        work: Work::BulkRebuild(bulk),
        status: JobStatus::Pending,
        steps,
        ..super::scene::import_job()
    };
    scene.write(50, move |tx| {
        let mut job = job;
        tx.save_job(&job).unwrap();
        let first = job.steps[0].id.clone();
        tx.set_step(&mut job, first.as_str(), StepStatus::Running, "its rebuild runs").unwrap();
        let other = job.steps[1].id.clone();
        let why = "its state changed after the review: it was not touched";
        tx.set_step(&mut job, other.as_str(), StepStatus::Skipped, why).unwrap();
    });
    let page = scene.get(&format!("/jobs/{list}")).await;
    assert_golden("pages/job-list.html", &without_hashes(&page.body));
    let listed = scene.get("/api/jobs?kind=bulk_rebuild").await.body;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["jobs"][0]["id"], list.to_string());
    // The hosts are in the answer about that job alone.
    assert!(listed["jobs"][0]["bulk"].is_null());
    let shown = scene.get(&format!("/api/jobs/{list}")).await.body;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["bulk"]["at_once"], 2);
    assert_eq!(shown["bulk"]["hosts"][0]["hostname"], "pve1");
}
