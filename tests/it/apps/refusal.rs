//! What does not work out: refused before the job starts, or ended with the reason and a named leftover.

use serde_json::json;

use super::world::{PLANTED, World, order};
use crate::join::lab::story;

#[test]
fn what_lies_outside_the_boundary_is_refused_beside_its_field() {
    story(async |lab| {
        let world = World::start(&lab);
        for (field, value) in [
            ("name", "Not A Name"),
            ("node", "pve9"),
            ("storage", "local"),
            ("bridge", "vmbr9"),
            ("cores", "9999"),
            ("memory_mb", "1"),
            ("disk_gb", "100000"),
            ("vlan", "7"),
            ("gpu", "best"),
            ("input.title2", "x"),
        ] {
            let answer = world.try_post("/api/install", &order("web1", &[(field, value)]));
            assert_eq!(answer.status, 422, "{field}: {answer:?}");
            assert!(answer.body["errors"][field].is_string(), "{field}: {answer:?}");
        }
        let fixed = [("ipv4", "static"), ("address", "192.0.2.20/24")];
        let answer = world.try_post("/api/install", &order("web1", &fixed));
        assert!(answer.body["errors"]["address"].is_string(), "the node's own address: {answer:?}");
        assert!(world.daemon.get("/api/guests")["guests"].as_array().unwrap().is_empty());
        let apps = world.daemon.get("/api/apps").to_string();
        assert!(apps.contains("broken") && apps.contains("hello"), "{apps}");
        world.pve.assert_clean();
    });
}

#[test]
fn a_failed_installation_is_kept_stopped_and_tagged_until_it_is_destroyed() {
    story(async |lab| {
        let world = World::start(&lab);
        let job = world.ask_for("web1", &[("app", "fails")]);
        let ended = world.wait(&job, "failed");
        let reason = ended["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("ended with status 7"), "{reason}");
        let log = world.log(&job);
        assert!(log.contains("about to fail") && log.contains("[secret]"), "{log}");
        assert!(!log.contains(PLANTED), "{log}");
        let conf = world.conf(0).unwrap();
        assert!(conf.get("tags").unwrap().contains("ironhatch-failed"), "{conf:?}");
        assert!(!world.pve.is_running(world.vmid(0)));
        let guest = world.guest("web1");
        assert_eq!(guest["state"], "failed");

        // Its script may not run twice: another try begins with a fresh container.
        let retried = world.act("web1", "retry", &json!({}), "failed");
        assert!(retried["failure"]["reason"].as_str().unwrap().contains("status 7"), "{retried}");
        let destroy = json!({ "guest": guest["id"], "keep_volumes": false, "confirm": "web1" });
        let job = world.post("/api/uninstall", &destroy);
        world.wait(&job, "succeeded");
        assert!(world.conf(0).is_none());
        assert!(world.find("web1").is_none());
        world.pve.assert_clean();
    });
}

#[test]
fn a_guest_whose_marks_were_taken_away_is_not_touched() {
    story(async |lab| {
        let world = World::start(&lab);
        world.install("web1");
        // Somebody takes the tag off.
        world.node.sh("sed -i '/^tags:/d' /etc/pve/local/lxc/200.conf");
        let ended = world.act("web1", "power", &json!({ "action": "stop" }), "failed");
        let reason = ended["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("does not carry the tag 'ironhatch'"), "{reason}");
        assert!(world.pve.is_running(world.vmid(0)));
        let id = world.guest("web1")["id"].clone();
        let gone = json!({ "guest": id, "keep_volumes": false, "confirm": "web1" });
        let job = world.post("/api/uninstall", &gone);
        world.wait(&job, "failed");
        assert!(world.conf(0).is_some());
        world.pve.assert_clean();
    });
}

#[test]
fn trouble_in_the_cluster_ends_with_its_reason_and_nothing_is_forgotten() {
    story(async |lab| {
        let world = World::start(&lab);
        world.pve.fail_next_task("vzcreate", "unable to create CT 200 - no space left");
        let job = world.ask_for("web1", &[]);
        let ended = world.wait(&job, "failed");
        let reason = ended["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("no space left"), "{reason}");
        assert_eq!(world.guest("web1")["state"], "failed");
        world.act("web1", "retry", &json!({}), "succeeded");
        // The answer to the request that starts it is lost; the task is found again.
        world.pve.drop_next("POST", "/status/stop");
        world.act("web1", "power", &json!({ "action": "stop" }), "succeeded");
        assert!(!world.pve.is_running(world.vmid(0)));
        world.pve.assert_clean();
    });
}

#[test]
fn a_planted_secret_is_in_no_log_page_record_or_dump() {
    story(async |lab| {
        let mut world = World::start(&lab);
        let job = world.ask_for("web1", &[]);
        world.wait(&job, "succeeded");
        let id = world.guest("web1")["id"].as_str().unwrap().to_owned();
        for path in ["/api/guests", "/api/jobs", "/api/apps", "/api/nodes", "/api/system/discovery"]
        {
            assert!(!world.daemon.get(path).to_string().contains(PLANTED), "{path}");
        }
        for path in [
            format!("/api/guests/{id}"),
            format!("/api/jobs/{job}"),
            format!("/api/jobs/{job}/logs"),
        ] {
            assert!(!world.daemon.get(&path).to_string().contains(PLANTED), "{path}");
        }
        let shown =
            world.daemon.post(&format!("/api/guests/{id}/reveal"), &json!({ "key": "login" }));
        assert_eq!(shown["value"], PLANTED);
        let again = world.try_post(&format!("/api/guests/{id}/reveal"), &json!({ "key": "login" }));
        assert_eq!(again.status, 404, "{again:?}");
        assert!(!world.daemon.log().contains(PLANTED));
        assert!(world.daemon.terminate().success());
        let data = std::fs::read(world.dir().join("data/ironhatch.redb")).unwrap();
        let found = data.windows(PLANTED.len()).any(|w| w == PLANTED.as_bytes());
        assert!(!found, "the secret is in the database in the clear");
        world.pve.assert_clean();
    });
}
