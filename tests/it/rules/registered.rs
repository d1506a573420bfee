//! Rule 1 against rules of server types: who is registered by itself is never armed by it.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::machine::{Machine, http};
use crate::support::wire::{PXE, Wire};

const RACK: &str = "boot_disk = { property = \"ID_SERIAL_SHORT\", value = \"DISK1\" }\nhostname_prefix = \"rk\"\n\
                    boot_on_rebuild = true\n\
                    [match]\nvendor = \"qemu\"\nproduct = \"Lab*\"\noui = [\"52:54:00\"]\nmin_memory_mib = 8192\nregister = true\n";
const INSTALLER: &str = "proxmox-start-auto-installer";

fn wait_for_type(world: &World<'_>, name: &str) {
    let begun = Instant::now();
    while !world.daemon.get("/api/server-types").to_string().contains(&format!("\"{name}\"")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the type {name} is not read");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_machine_that_a_rule_registers_is_never_armed_by_it() {
    in_namespace(async |lab| {
        let _wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        world.import_image();
        fs::write(world.dir().join("server-types/rack.toml"), RACK).unwrap();
        wait_for_type(&world, "rack");
        let machine = Machine::new(7);
        assert!(!machine.script().text().contains(INSTALLER));
        let host = world.daemon.get("/api/hosts/rk1");
        assert_eq!((&host["state"], &host["job"]), (&json!("registered"), &json!(null)));
        assert_eq!(host["inventory"]["product"], "Lab PC");

        // Whatever it asks, as often as it asks, also of a daemon that was killed: nothing is released.
        for round in 0..3 {
            for _ in 0..5 {
                assert!(!machine.script().text().contains(INSTALLER));
                let plain = machine.ask("/api/boot/answer", &machine.facts());
                let guessed =
                    machine.ask(&format!("/api/boot/answer/{}", "0".repeat(32)), &machine.facts());
                assert_eq!((plain.status, guessed.status), (403, 403));
            }
            let now = world.daemon.get("/api/hosts/rk1");
            assert_eq!(
                (&now["state"], &now["id"]),
                (&json!("registered"), &host["id"]),
                "round {round}"
            );
            world.daemon.kill_and_restart();
        }
        // Twins get names of their own, others stay strangers, and so do all once somebody said so.
        assert!(!Machine::new(8).script().text().contains(INSTALLER));
        assert_eq!(world.daemon.get("/api/hosts/rk2")["macs"], json!([Machine::new(8).mac]));
        let other = "/ipxe/52-54-00-00-00-09?vendor=Other&product=Lab%20PC&memory=16384";
        let small = "/ipxe/52-54-00-00-00-0a?vendor=QEMU&product=Lab%20PC&memory=4096";
        for path in [other, small] {
            assert!(!http("GET", path, &[], b"").text().contains(INSTALLER));
        }
        let sightings = world.daemon.get("/api/sightings").to_string();
        assert!(sightings.contains("52:54:00:00:00:09") && sightings.contains("52:54:00:00:00:0a"));
        world.daemon.post("/api/sightings/52-54-00-00-00-0a/ignore", &json!({ "ignored": true }));
        let grown = "/ipxe/52-54-00-00-00-0a?vendor=QEMU&product=Lab%20PC&memory=16384";
        assert!(!http("GET", grown, &[], b"").text().contains(INSTALLER));
        // A host that boots from another of its NICs is no second host, which nothing would protect.
        let nic = format!(
            "/ipxe/52-54-00-00-00-0b?uuid={}&vendor=QEMU&product=Lab%20PC&memory=16384",
            machine.uuid
        );
        assert!(!http("GET", &nic, &[], b"").text().contains(INSTALLER));
        assert!(world.daemon.get("/api/sightings").to_string().contains("52:54:00:00:00:0b"));
        let hosts = world.daemon.get("/api/hosts");
        assert_eq!(hosts["hosts"].as_array().unwrap().len(), 2, "{hosts}");
        let jobs = world.daemon.get("/api/jobs").to_string();
        assert!(!jobs.contains("rk1") && !jobs.contains("rk2"), "{jobs}");

        // Who is deleted stays away, however often it asks, until an operator registers it.
        let deleted = world.daemon.request("DELETE", "/api/hosts/rk2", None);
        assert!(deleted.status < 300, "{deleted:?}");
        for _ in 0..2 {
            assert!(!Machine::new(8).script().text().contains(INSTALLER));
            world.daemon.kill_and_restart();
        }
        let hosts = world.daemon.get("/api/hosts");
        assert_eq!(hosts["hosts"].as_array().unwrap().len(), 1, "{hosts}");
        let page = world.daemon.page("/sightings/52-54-00-00-00-08");
        assert!(page.contains("no rule registers it again"), "{page}");
        let body =
            json!({ "hostname": "rk2", "macs": [Machine::new(8).mac], "server_type": "rack" });
        world.daemon.post("/api/hosts", &body);
        assert_eq!(world.daemon.get("/api/hosts/rk2")["state"], "registered");

        // A rebuild is asked for as for every host: with its name.
        assert_eq!(world.try_rebuild("rk1", "").status, 422);
        world.rebuild("rk1");
        world.daemon.wait_for_state("rk1", "pxe_ready");
        assert!(machine.script().text().contains(INSTALLER));
    });
}

#[test]
fn a_file_of_hosts_is_taken_whole_or_not_at_all_and_arms_nobody() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let file = |rows: &str| format!("hostname,macs,server_type\n{rows}");
        let post = |text: &str, dry_run: bool| {
            let body = json!({ "format": "csv", "text": text, "dry_run": dry_run });
            world.daemon.request("POST", "/api/host-file", Some(&body))
        };
        let good =
            file("pve1,52:54:00:00:00:01 52:54:00:00:00:11,lab\npve2,52:54:00:00:00:02,lab\n");
        let looked = post(&good, true);
        assert_eq!(looked.body["hosts"][0]["becomes"], "changed", "{looked:?}");
        assert_eq!(looked.body["hosts"][1]["becomes"], "new");
        let hosts = || world.daemon.get("/api/hosts")["hosts"].as_array().unwrap().len();
        assert_eq!(hosts(), 1, "a look wrote something");
        // The last row is wrong: nothing of the rows before it is written.
        let bad = post(&format!("{good}pve3,52:54:00:00:00:02,nonsense\n"), false);
        assert_eq!(bad.status, 422, "{bad:?}");
        assert!(bad.body["errors"].to_string().contains("row 3"), "{bad:?}");
        assert_eq!(hosts(), 1);
        assert_eq!(post(&good, false).status, 200);
        assert_eq!(hosts(), 2);
        for n in [1, 2] {
            assert_eq!(world.daemon.get(&format!("/api/hosts/pve{n}"))["state"], "registered");
            assert!(!Machine::new(n).script().text().contains(INSTALLER));
        }
        // What is taken out is what there is.
        for format in ["csv", "toml"] {
            let text = world.daemon.get(&format!("/api/host-file?format={format}"))["text"].clone();
            let again = json!({ "format": format, "text": text, "dry_run": true });
            let again = world.daemon.post("/api/host-file", &again);
            let same = again["hosts"].as_array().unwrap().iter().all(|h| h["becomes"] == "same");
            assert!(same && again["hosts"].as_array().unwrap().len() == 2, "{again}");
        }
        let page = world.daemon.page("/host-file/hosts.csv");
        assert!(page.starts_with("hostname,macs,server_type,"), "{page}");
    });
}
