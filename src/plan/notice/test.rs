//! The text of each kind of notice, and its form for each kind of receiver, as golden files.

use std::net::Ipv4Addr;

use serde_json::Value;
use uuid::Uuid;

use super::preset::{discord, letter, matrix, ntfy, slack};
use super::*;
use crate::domain::host::{Failure, HostState};
use crate::domain::id::{GuestId, HostId};
use crate::domain::job::{GuestTask, GuestWork, JobStatus, Work};
use crate::domain::mac::Mac;
use crate::golden::assert_golden;
use crate::plan::doctor::{examine, facts};

const PLACE: Place<'static> =
    Place { at: Timestamp(1_764_201_600_000), public_url: "http://192.0.2.10:8080" };
const JOB: JobId = JobId(Uuid::from_u128(7));

fn host() -> Host {
    Host {
        id: HostId(Uuid::from_u128(1)),
        hostname: "pve1".parse().unwrap(),
        macs: vec![Mac([0x52, 0x54, 0, 0, 0, 1])],
        uuid: None,
        server_type: "lab".parse().unwrap(),
        overrides: Default::default(),
        state: HostState::Ready,
        state_since: Timestamp(0),
        failure: None,
        active_job: None,
        address: Some(Ipv4Addr::new(192, 0, 2, 11)),
        is_member: true,
        ssh_host_keys: vec![],
        inventory: Default::default(),
        boot: Default::default(),
        power: Default::default(),
        created: Timestamp(0),
    }
}

/// A host that failed with words that a machine chose.
fn failed() -> Notice {
    let mut host = host();
    host.state = HostState::Failed;
    host.failure = Some(Failure {
        from: Some(HostState::Installing),
        reason: "the installer said: <b>no</b> disk *here* & [there](http://192.0.2.66) @everyone"
            .to_owned(),
        hint: "compare the disk's serial number with the server type".to_owned(),
    });
    PLACE.host_failed(&host, JOB, None)
}

fn guest_job(reason: &str) -> Job {
    let work = GuestWork {
        guest: GuestId(Uuid::from_u128(9)),
        name: "club".parse().unwrap(),
        task: GuestTask::Install { app: "static-website".parse().unwrap() },
        parent: None,
        pending: None,
    };
    Job {
        id: JOB,
        work: Work::Guest(work),
        status: JobStatus::Failed,
        created: Timestamp(0),
        started: None,
        finished: None,
        steps: vec![],
        failure: Some(Failure { from: None, reason: reason.to_owned(), hint: "try again".into() }),
        cancel_requested: false,
    }
}

fn notices() -> Vec<(&'static str, Notice)> {
    let prompt = Prompt {
        title: "pve1: Turn it on now".to_owned(),
        text: "It has no power method. It has to boot from the network.".to_owned(),
    };
    let found = examine(&facts::Facts {
        ports: vec![facts::Port {
            name: "UDP 67 (DHCP)",
            number: 67,
            holder: facts::Holder::Other(Some("dnsmasq (process 812)".to_owned())),
        }],
        ..Default::default()
    });
    let error = found.findings.iter().find(|f| f.code() == "port-taken").unwrap();
    let mut sighting = Sighting::first_heard(Mac([0x52, 0x54, 0, 0, 0, 9]), Timestamp(0));
    sighting.address = Some(Ipv4Addr::new(192, 0, 2, 99));
    vec![
        ("host-ready", PLACE.host_ready(&host(), JOB)),
        ("host-failed", failed()),
        ("host-waiting", PLACE.host_waiting(&host(), JOB, &prompt)),
        ("guest-failed", PLACE.guest_failed(&guest_job("the archive is gone"))),
        ("health-error", PLACE.health_error(&[error])),
        ("sighting-new", PLACE.sighting(&sighting, 3)),
        ("test", PLACE.test()),
    ]
}

fn pretty(value: &impl Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn every_kind_of_notice_has_its_text() {
    let mut seen = Vec::new();
    for (name, notice) in notices() {
        assert_golden(&format!("notices/webhook/{name}.json"), &pretty(&notice));
        seen.push(notice.event);
    }
    let all = NoticeKind::ALL.iter().map(ToString::to_string).chain(["test".to_owned()]);
    assert_eq!(seen, all.collect::<Vec<_>>());
}

#[test]
fn every_receiver_gets_its_own_form() {
    for (name, notice) in notices() {
        let forms: [(&str, Value); 4] = [
            ("ntfy", ntfy(&notice, "rack")),
            ("slack", slack(&notice)),
            ("discord", discord(&notice)),
            ("matrix", matrix(&notice)),
        ];
        for (receiver, form) in forms {
            assert_golden(&format!("notices/{receiver}/{name}.json"), &pretty(&form));
        }
        assert_golden(&format!("notices/letter/{name}.txt"), &letter(&notice));
    }
}

#[test]
fn what_machines_say_is_text_for_every_receiver() {
    let notice = failed();
    let of = |form: &Value, key: &str| form[key].as_str().unwrap().to_owned();
    assert!(of(&slack(&notice), "text").contains("&lt;b&gt;no&lt;/b&gt; disk *here* &amp;"));
    let discord = discord(&notice);
    assert!(of(&discord, "content").contains(r"\<b\>no\</b\> disk \*here\* & \[there\]"));
    assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    assert!(of(&matrix(&notice), "formatted_body").contains("&lt;b&gt;no&lt;/b&gt;"));
}

#[test]
fn an_endless_reason_stays_within_what_receivers_take() {
    let notice = PLACE.guest_failed(&guest_job(&"*\u{1}\u{10ffff}\n".repeat(100_000)));
    let content = discord(&notice)["content"].as_str().unwrap().chars().count();
    assert!(content <= 2000, "{content} characters");
    let message = ntfy(&notice, "rack")["message"].as_str().unwrap().len();
    assert!(message <= 4096, "{message} bytes");
}

#[test]
fn a_notice_of_another_version_is_still_read() {
    let mut told = serde_json::to_value(PLACE.test()).unwrap();
    told["new"] = json!(1);
    assert_eq!(serde_json::from_value::<Notice>(told).unwrap(), PLACE.test());
}
