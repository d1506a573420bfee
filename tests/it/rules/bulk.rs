//! The rebuild of many hosts never erases what was not reviewed, nor more at a time than was said, nor anything twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::daemon::Answer;
use crate::support::machine::Machine;

const BUSY: [&str; 6] =
    ["pxe_ready", "pxe_booted", "installing", "installed", "first_boot", "joining"];

fn review(world: &World, body: &Value) -> Value {
    world.daemon.post("/api/bulk-rebuilds/review", body)
}

/// The request that confirms a review.
fn confirmed(body: &Value, review: &Value, at_once: u32, stop_after: u32) -> Value {
    let mut asked = body.clone();
    asked["reviewed"] = review["reviewed"].clone();
    asked["confirm"] = review["confirm"].clone();
    asked["at_once"] = json!(at_once);
    asked["stop_after"] = json!(stop_after);
    asked
}

fn begin(world: &World, asked: &Value) -> Answer {
    world.daemon.request("POST", "/api/bulk-rebuilds", Some(asked))
}

fn begun(world: &World, asked: &Value) -> String {
    let answer = begin(world, asked);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["job"].as_str().unwrap().to_owned()
}

fn states(world: &World) -> Vec<(String, String)> {
    let hosts = world.daemon.get("/api/hosts");
    let text = |host: &Value, name: &str| host[name].as_str().unwrap().to_owned();
    let hosts = hosts["hosts"].as_array().unwrap();
    hosts.iter().map(|h| (text(h, "hostname"), text(h, "state"))).collect()
}

/// Names of hosts that are being rebuilt, also those whose rebuild was only queued.
fn busy(world: &World) -> Vec<String> {
    let hosts = world.daemon.get("/api/hosts");
    let hosts = hosts["hosts"].as_array().unwrap().clone();
    let is_busy = |h: &&Value| !h["job"].is_null() || BUSY.contains(&h["state"].as_str().unwrap());
    hosts.iter().filter(is_busy).map(|h| h["hostname"].as_str().unwrap().to_owned()).collect()
}

/// What the list says of each host: status and detail.
fn list(world: &World, job: &str) -> Vec<(String, String, String)> {
    let job = world.daemon.get(&format!("/api/jobs/{job}"));
    let text = |step: &Value, name: &str| step[name].as_str().unwrap().to_owned();
    let steps = job["steps"].as_array().unwrap();
    steps.iter().map(|s| (text(s, "title"), text(s, "status"), text(s, "detail"))).collect()
}

fn wait(world: &World, what: &str, done: impl Fn(&World) -> bool) {
    let begun = Instant::now();
    while !done(world) {
        let shown = (states(world), world.daemon.log());
        assert!(begun.elapsed() < Duration::from_secs(60), "{what} never came: {shown:?}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

fn armed(world: &World) -> Vec<String> {
    let is_armed = |(_, state): &&(String, String)| state == "pxe_ready";
    states(world).iter().filter(is_armed).map(|(name, _)| name.clone()).collect()
}

fn cancel_rebuild_of(world: &World, host: &str) {
    let host = world.daemon.get(&format!("/api/hosts/{host}"));
    let job = host["job"].as_str().unwrap_or_else(|| panic!("{host:#}")).to_owned();
    world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
    world.daemon.wait_for_job(&job, "cancelled");
}

/// Five hosts that can be rebuilt.
fn fleet(world: &mut World) {
    world.import_image();
    for n in 1..=5 {
        world.add_host(&format!("pve{n}"), n);
    }
}

#[test]
fn a_list_keeps_to_its_limit_stops_after_failures_and_outlives_kill_9() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        fleet(&mut world);
        let all = json!({ "matching": {} });
        let seen = review(&world, &all);
        assert_eq!(seen["hosts"].as_array().unwrap().len(), 5);
        assert_eq!(seen["confirm"], "erase 5 machines");
        let asked = confirmed(&all, &seen, 2, 2);
        let job = begun(&world, &asked);
        wait(&world, "two armed hosts", |w| armed(w).len() == 2);
        assert_eq!(busy(&world), ["pve1", "pve2"]);

        // The same request again, and another list, find the first one.
        for again in [&asked, &confirmed(&json!({ "hosts": ["pve5"] }), &seen, 1, 1)] {
            assert_eq!(begin(&world, again).status, 409, "{again:#}");
        }

        // Killed in the middle: the list goes on where it was, with nobody begun twice.
        world.daemon.kill_and_restart();
        assert_eq!(busy(&world), ["pve1", "pve2"]);
        cancel_rebuild_of(&world, "pve1");
        wait(&world, "the next turn", |w| armed(w).contains(&"pve3".to_owned()));
        assert_eq!(busy(&world), ["pve2", "pve3"]);
        world.daemon.kill_and_restart();
        wait(&world, "both hosts as they were", |w| armed(w).len() == 2);
        assert_eq!(busy(&world), ["pve2", "pve3"]);

        // The second failure is the last: the others stay as they are.
        cancel_rebuild_of(&world, "pve2");
        wait(&world, "the end of the turns", |w| {
            list(w, &job).iter().filter(|(_, status, _)| status == "skipped").count() == 2
        });
        cancel_rebuild_of(&world, "pve3");
        let over = world.daemon.wait_for_job(&job, "failed");
        let told = over["failure"]["reason"].as_str().unwrap();
        assert!(told.contains("2 were left out and not touched"), "{told}");
        for host in ["pve4", "pve5"] {
            let host = world.daemon.get(&format!("/api/hosts/{host}"));
            assert_eq!((&host["state"], &host["job"]), (&json!("registered"), &Value::Null));
        }
        let jobs = world.daemon.get("/api/jobs?kind=rebuild");
        let rebuilt = jobs["jobs"].as_array().unwrap();
        assert_eq!(rebuilt.len(), 3, "one rebuild of each host that was begun");
        assert!(rebuilt.iter().all(|r| r["parent"] == over["id"]), "{rebuilt:#?}");
        // Who confirmed the list stands at each of them.
        let audit = world.daemon.get("/api/audit");
        let audit = audit["entries"].as_array().unwrap();
        let turns = audit.iter().filter(|e| e["action"].as_str().unwrap().ends_with("its turn"));
        assert_eq!(turns.count(), 3, "{audit:#?}");
        // Such a list is not taken up again as it was.
        let path = format!("/api/jobs/{job}/retry");
        assert_eq!(world.daemon.request("POST", &path, Some(&json!({}))).status, 409);
    });
}

#[test]
fn nothing_is_begun_that_is_not_exactly_what_was_reviewed() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        fleet(&mut world);
        let all = json!({ "matching": {} });
        let seen = review(&world, &all);
        let good = confirmed(&all, &seen, 1, 1);
        let refused = |world: &World, asked: &Value, status: u16| {
            let answer = begin(world, asked);
            assert_eq!(answer.status, status, "{asked:#}: {answer:?}");
            assert!(busy(world).is_empty(), "{asked:#}");
        };
        let with = |name: &str, value: Value| {
            let mut asked = good.clone();
            asked[name] = value;
            asked
        };
        for (wrong, status) in [
            (with("confirm", json!("")), 422),
            (with("confirm", json!("erase 4 machines")), 422),
            (with("confirm", json!("yes")), 422),
            (with("reviewed", json!("")), 409),
            (with("reviewed", json!("00".repeat(16))), 409),
            (with("replace_node", json!(true)), 409),
            (with("at_once", json!(0)), 422),
            (with("at_once", json!(100_000)), 422),
            (with("stop_after", json!(0)), 422),
            (with("matching", json!({ "q": "pve1" })), 409),
            (with("matching", json!({ "state": "registerd" })), 422),
            (with("matching", Value::Null), 422),
            (with("hosts", json!(["pve1"])), 422),
            (with("hots", json!(["pve1"])), 400),
        ] {
            refused(&world, &wrong, status);
        }
        // A host that came, one that went, one whose disk is another, one that was rebuilt meanwhile.
        world.add_host("pve6", 6);
        refused(&world, &good, 409);
        world.daemon.request("DELETE", "/api/hosts/pve6", None);
        let disk = json!({ "boot_disk": { "by": "property", "property": "ID_SERIAL_SHORT", "value": "OTHER" } });
        assert_eq!(world.daemon.request("PATCH", "/api/hosts/pve2", Some(&disk)).status, 200);
        refused(&world, &good, 409);
        let back = json!({ "boot_disk": null });
        assert_eq!(world.daemon.request("PATCH", "/api/hosts/pve2", Some(&back)).status, 200);
        let job = world.rebuild("pve3");
        world.daemon.wait_for_state("pve3", "pxe_ready");
        assert_eq!(begin(&world, &good).status, 409);
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        refused(&world, &good, 409);
        // What a rebuild of one host refuses, the review leaves out with the same words.
        let none = json!({ "boot_disk": { "by": "per-host" } });
        assert_eq!(world.daemon.request("PATCH", "/api/hosts/pve4", Some(&none)).status, 200);
        let again = review(&world, &all);
        let left = again["left_out"].as_array().unwrap();
        assert_eq!(left.len(), 1, "{left:#?}");
        let alone = world.try_rebuild("pve4", "pve4");
        assert_eq!((left[0]["hostname"].as_str(), alone.status), (Some("pve4"), 422));
        assert_eq!(left[0]["reason"], alone.body["detail"]);
        assert_eq!(again["confirm"], "erase 4 machines");
        let job = begun(&world, &confirmed(&all, &again, 1, 1));
        wait(&world, "the first turn", |w| !armed(w).is_empty());
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        wait(&world, "the rest left out", |w| {
            list(w, &job).iter().filter(|(_, status, _)| status == "skipped").count() == 3
        });
        // What was begun goes on, what waited was never touched, and the list ends with it.
        assert_eq!(busy(&world), ["pve1"]);
        cancel_rebuild_of(&world, "pve1");
        world.daemon.wait_for_job(&job, "cancelled");
        let untouched = states(&world);
        let of = |name: &str| untouched.iter().find(|(n, _)| n == name).unwrap().1.clone();
        assert_eq!([of("pve2"), of("pve4"), of("pve5")], ["registered"; 3].map(str::to_owned));
    });
}

#[test]
fn a_host_that_changed_while_it_waited_is_left_out_at_its_turn() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        fleet(&mut world);
        let all = json!({ "hosts": ["pve1", "pve2", "pve3", "pve4", "pve5"] });
        let seen = review(&world, &all);
        let job = begun(&world, &confirmed(&all, &seen, 1, 5));
        wait(&world, "the first turn", |w| armed(w) == ["pve1"]);
        // Another disk, another address, gone, rebuilt alone.
        let patch = |name: &str, body: Value| {
            let path = format!("/api/hosts/{name}");
            assert_eq!(world.daemon.request("PATCH", &path, Some(&body)).status, 200);
        };
        patch("pve2", json!({ "boot_disk": { "by": "devices", "names": ["sda"] } }));
        patch("pve3", json!({ "macs": [Machine::new(3).mac, Machine::new(33).mac] }));
        assert_eq!(world.daemon.request("DELETE", "/api/hosts/pve4", None).status, 204);
        let alone = world.rebuild("pve5");
        world.daemon.wait_for_state("pve5", "pxe_ready");
        cancel_rebuild_of(&world, "pve1");
        let over = world.daemon.wait_for_job(&job, "failed");
        let told = list(&world, &job);
        for (name, why) in [
            ("pve2", "the disk to be erased changed after the review"),
            ("pve3", "its MAC addresses changed after the review"),
            ("pve4", "there is no such host"),
            ("pve5", "a rebuild is running"),
        ] {
            let (_, status, detail) = told.iter().find(|(n, ..)| n == name).unwrap();
            assert_eq!(status, "skipped", "{told:#?}");
            assert!(detail.contains(why), "{told:#?}");
        }
        assert_eq!(busy(&world), ["pve5"], "{over:#}");
        // Its own rebuild is no concern of the list.
        world.daemon.post(&format!("/api/jobs/{alone}/cancel"), &json!({}));
        world.daemon.wait_for_job(&alone, "cancelled");
        assert_eq!(world.daemon.get(&format!("/api/jobs/{job}"))["status"], "failed");
    });
}
