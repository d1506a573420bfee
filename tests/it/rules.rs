//! The six rules of the design, each with tests that try to break it through the daemon's outside interfaces.

mod bulk;
mod cancel;
mod crash;
mod hostile;
mod registered;
mod restored;
mod secrets;
mod types;

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::{Stage, World};
use crate::support::appliance::server_type;
use crate::support::machine::{Machine, Reply, http};
use crate::support::wire::{PXE, Wire};

/// Rule 1.
#[test]
fn of_many_machines_that_race_for_one_answer_exactly_one_gets_it() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        world.import_image();
        let id = world.add_host("pve1", 1);
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let mac = [0x52, 0x54, 0, 0, 0, 1];
        let stranger = [0x52, 0x54, 0, 0, 0, 9];
        wire.is_offered(mac, 1);
        let machine = Machine::new(1);
        let script = machine.boot(world.dir());
        let url = machine.answer_url(world.dir());

        // The machine itself, one that claims its MAC, and one with another MAC, all at once.
        let gate = std::sync::Barrier::new(32);
        let replies: Vec<Reply> = std::thread::scope(|scope| {
            let (gate, url, machine) = (&gate, &url, &machine);
            let racers: Vec<_> = (0..32)
                .map(|n| {
                    scope.spawn(move || {
                        let mut facts = machine.facts();
                        match n % 4 {
                            2 => facts["network_interfaces"][0]["mac"] = json!("52:54:00:00:00:09"),
                            3 => facts["dmi"]["system"]["uuid"] = json!(Machine::new(9).uuid),
                            _ => {}
                        }
                        gate.wait();
                        machine.ask(url, &facts)
                    })
                })
                .collect();
            racers.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let served: Vec<usize> = (0..32).filter(|n| replies[*n].status == 200).collect();
        assert_eq!(served.len(), 1, "{replies:?}");
        assert!(served[0] % 4 < 2, "a stranger got it");
        for reply in replies.iter().filter(|r| r.status != 200) {
            assert!([403, 409].contains(&reply.status), "{reply:?}");
            assert!(!reply.text().contains("ssh-ed25519"), "{reply:?}");
        }

        let nothing_leaves = |world: &World| {
            assert_eq!(machine.ask(&url, &machine.facts()).status, 409);
            for file in ["linux26", "initrd.img", "proxmox.iso"] {
                for method in ["GET", "HEAD"] {
                    let reply = http(method, &format!("{}/{file}", script.base), &[], b"");
                    assert_eq!(reply.status, 403, "{method} {file}");
                }
            }
            assert!(!machine.script().text().contains("proxmox-start-auto-installer"));
            assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "installing");
        };
        nothing_leaves(&world);
        wire.is_silent_towards(mac, stranger, 10);
        world.daemon.kill_and_restart();
        nothing_leaves(&world);
        wire.is_silent_towards(mac, stranger, 20);

        // The old token stays dead when the host is armed anew.
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        wire.is_silent_towards(mac, stranger, 30);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        assert_eq!(machine.ask(&url, &machine.facts()).status, 403);
        assert_eq!(http("GET", &format!("{}/linux26", script.base), &[], b"").status, 403);
        let old = url.rsplit('/').next().unwrap();
        assert_eq!(machine.phone_home(&id, old, "192.0.2.11", &[]).status, 403);
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_ready");
    });
}

/// Rule 1: two requests for one host, at once, make one rebuild.
#[test]
fn of_many_rebuilds_asked_for_at_once_one_begins() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let world = &world;
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..16)
                .map(|_| scope.spawn(move || world.try_rebuild("pve1", "pve1").status))
                .collect();
            asked.into_iter().map(|a| a.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|s| **s == 202).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|s| **s == 409).count(), 15, "{statuses:?}");
    });
}

fn assert_no_rebuild(world: &World, why: &str) {
    let refused = world.try_rebuild("pve1", "pve1");
    assert_eq!(refused.status, 422, "{why}: {refused:?}");
    let host = world.daemon.get("/api/hosts/pve1");
    assert_eq!((&host["state"], &host["job"]), (&json!("registered"), &Value::Null), "{why}");
}

/// Rule 2.
#[test]
fn a_disk_selection_that_could_match_more_than_one_disk_is_refused() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let patch = |world: &World, body: Value| {
            world.daemon.request("PATCH", "/api/hosts/pve1", Some(&body))
        };
        let by = |property: &str, value: &str| json!({ "boot_disk": { "by": "property", "property": property, "value": value } });
        let devices = |names: &[&str]| json!({ "boot_disk": { "by": "devices", "names": names } });
        let answer = |value: Value| json!({ "boot_disk": null, "answer": value });
        for body in [
            by("ID_SERIAL_SHORT", "DISK*"),
            by("ID_SERIAL_SHORT", "DISK?"),
            by("ID_SERIAL_SHORT", "[A-Z]*"),
            by("ID_SERIAL_SHORT", ""),
            by("ID_SERIAL_SHORT", "0000000000"),
            by("ID_MODEL", "QEMU_HARDDISK"),
            by("ID_BUS", "ata"),
            by("DEVNAME", "/dev/sda"),
            by("NO_SUCH_PROPERTY", "x"),
            devices(&[]),
            devices(&["sda", "sdb"]),
            devices(&["sda", "sda"]),
            devices(&["sd"]),
            devices(&["a"]),
            devices(&["../sda"]),
            json!({ "boot_disk": { "by": "per-host" } }),
            answer(json!({ "disk-setup": { "filter": { "ID_SERIAL": "*" } } })),
            answer(json!({ "disk-setup": { "disk-list": ["sda", "sdb"] } })),
            answer(json!({ "disk-setup": { "filter-match": "any" } })),
            answer(json!({ "disk_setup": { "filter": { "ID_SERIAL": "*" } } })),
        ] {
            let why = body.to_string();
            let changed = patch(&world, body);
            assert!([200, 400, 422].contains(&changed.status), "{why}: {changed:?}");
            if changed.status == 200 {
                assert_no_rebuild(&world, &why);
                let reset = patch(&world, json!({ "boot_disk": null, "answer": {} }));
                assert_eq!(reset.status, 200, "{reset:?}");
            }
        }
        // Server types that select by kind never become valid.
        for (name, disk) in [
            ("glob", "{ property = \"ID_SERIAL_SHORT\", value = \"*\" }"),
            ("model", "{ property = \"ID_MODEL\", value = \"QEMU_HARDDISK\" }"),
            ("tail", "{ devices = [\"a\"] }"),
        ] {
            let file = world.dir().join(format!("server-types/{name}.toml"));
            fs::write(file, server_type(disk)).unwrap();
        }
        wait(&world, "/api/server-types", |text| {
            ["glob", "model", "tail"].iter().all(|n| text.contains(&format!("{n}.toml")))
        });
        for name in ["glob", "model", "tail"] {
            let refused = patch(&world, json!({ "server_type": name }));
            assert_eq!(refused.status, 422, "{refused:?}");
        }

        // While armed nothing of the host can be changed, and the type's edit is looked at before the answer leaves.
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let machine = Machine::new(1);
        machine.boot(world.dir());
        let url = machine.answer_url(world.dir());
        assert_eq!(patch(&world, by("ID_SERIAL_SHORT", "DISK2")).status, 409);
        assert_eq!(patch(&world, json!({ "macs": [Machine::new(9).mac] })).status, 409);
        let file = world.dir().join("server-types/lab.toml");
        fs::write(&file, server_type("\"per-host\"")).unwrap();
        wait(&world, "/api/server-types", |text| text.contains("per-host"));
        let refused = machine.ask(&url, &machine.facts());
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_booted");
        // A broken file keeps the last good one, which is the one above.
        fs::write(&file, server_type("{ property = \"ID_SERIAL_SHORT\", value = \"*\" }")).unwrap();
        wait(&world, "/api/server-types", |text| text.contains("lab.toml"));
        assert_eq!(machine.ask(&url, &machine.facts()).status, 422);
        let disk = "{ property = \"ID_SERIAL_SHORT\", value = \"DISK1\" }";
        fs::write(&file, server_type(disk)).unwrap();
        wait(&world, "/api/server-types", |text| !text.contains("lab.toml"));
        let taken = machine.install(&url);
        let filter = taken.answer["disk-setup"]["filter"].as_table().unwrap();
        assert_eq!(filter.len(), 1);
        assert_eq!(filter["ID_SERIAL_SHORT"].as_str(), Some("DISK1"));
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
    });
}

fn wait(world: &World, path: &str, done: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    loop {
        let text = world.daemon.get(path).to_string();
        if done(&text) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{path}: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Rule 2.
#[test]
fn the_appliance_never_rebuilds_itself() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start(&lab, "");
        world.import_image();
        let own = fs::read_to_string("/sys/class/dmi/id/product_uuid").unwrap_or_default();
        let show = std::process::Command::new("ip").args(["-j", "link", "show", "us0"]).output();
        let links: Value = serde_json::from_slice(&show.unwrap().stdout).unwrap();
        let mac = links[0]["address"].as_str().unwrap();
        let body =
            json!({ "hostname": "pve1", "macs": ["52:54:00:00:00:01", mac], "server_type": "lab" });
        assert_eq!(world.daemon.request("POST", "/api/hosts", Some(&body)).status, 201);
        let refused = world.try_rebuild("pve1", "pve1");
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(refused.body.to_string().contains("runs on"), "{refused:?}");
        // Known by its mainboard only.
        if own.trim().len() == 36 {
            world.add_host("pve2", 2);
            let path = format!("/ipxe/52-54-00-00-00-02?uuid={}&memory=16384", own.trim());
            http("GET", &path, &[], b"");
            let refused = world.try_rebuild("pve2", "pve2");
            assert_eq!(refused.status, 422, "{refused:?}");
        }
        drop(wire);
    });
}

/// Rule 4.
#[test]
fn every_message_may_come_three_times() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let stages = [
            Stage::Boot,
            Stage::Boot,
            Stage::Boot,
            Stage::Answer,
            Stage::Webhook,
            Stage::Webhook,
            Stage::Webhook,
            Stage::PhoneHome,
            Stage::PhoneHome,
            Stage::PhoneHome,
        ];
        let _node = world.rebuild_through("pve1", 11, &stages, |_, _| {});
        world.add_host("marker", 99);
        let events = world.daemon.events_to("marker was registered");
        let moves: Vec<&str> = events
            .iter()
            .filter(|e| e["type"] == "state-changed")
            .map(|e| e["to"].as_str().unwrap())
            .collect();
        let once = [
            "pxe_ready",
            "pxe_booted",
            "installing",
            "installed",
            "first_boot",
            "joining",
            "ready",
        ];
        assert_eq!(moves, once);
        let finished = events.iter().filter(|e| e["type"] == "job-finished").count();
        assert_eq!(finished, 2, "the import's and the rebuild's");
        let job = world.last_job("pve1");
        for step in job["steps"].as_array().unwrap() {
            assert_eq!(step["status"], "succeeded", "{step:#}");
        }

        // A cancel is as patient.
        world.add_host("pve2", 12);
        let job = world.rebuild("pve2");
        world.daemon.wait_for_state("pve2", "pxe_ready");
        let path = format!("/api/jobs/{job}/cancel");
        for _ in 0..3 {
            let again = world.daemon.request("POST", &path, Some(&json!({})));
            assert!([202, 409].contains(&again.status), "{again:?}");
        }
        world.daemon.wait_for_job(&job, "cancelled");
        assert_eq!(world.daemon.get("/api/hosts/pve2")["failure"]["from"], "pxe_ready");
    });
}
