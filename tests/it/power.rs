//! Power with peers of other people: a packet on a real wire, OpenIPMI's simulator, OpenStack's Redfish service; and our
//! own strict double where those do not go.

mod peer;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::daemon::{Answer, Daemon};
use crate::support::machine::Machine;
use crate::support::wire::{PXE, Wire};
use peer::{Controller, DOUBLE, PASSWORD, Simulator, Sushy};

fn put(daemon: &Daemon, host: &str, settings: &Value) -> Answer {
    daemon.request("PUT", &format!("/api/hosts/{host}/power"), Some(settings))
}

fn ask(daemon: &Daemon, host: &str, action: &str) -> Answer {
    let body = json!({ "action": action });
    daemon.request("POST", &format!("/api/hosts/{host}/power"), Some(&body))
}

#[track_caller]
fn said(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Nothing that the appliance shows or writes has the password.
fn assert_sealed(daemon: &Daemon, dir: &std::path::Path, host: &str) {
    for path in
        [format!("/api/hosts/{host}"), format!("/api/hosts/{host}/power"), "/api/hosts".into()]
    {
        assert!(!daemon.get(&path).to_string().contains(PASSWORD), "{path}");
    }
    assert!(!daemon.page(&format!("/hosts/{host}")).contains(PASSWORD));
    assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
    let copy = dir.join("sealed.redb");
    daemon.post("/api/db/backup", &json!({ "path": copy }));
    let bytes = std::fs::read(&copy).unwrap();
    assert!(!bytes.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes()), "the backup has it");
}

/// The state of a job's step.
fn step(daemon: &Daemon, job: &str, id: &str) -> Value {
    let job = daemon.get(&format!("/api/jobs/{job}"));
    let all = job["steps"].as_array().unwrap();
    all.iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("no step {id}: {job}")).clone()
}

fn wait_for_step(daemon: &Daemon, job: &str, id: &str, status: &str) -> Value {
    let begun = Instant::now();
    loop {
        let step = step(daemon, job, id);
        if step["status"] == status {
            return step;
        }
        assert!(begun.elapsed() < Duration::from_secs(150), "{step}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_magic_packet_arrives_on_the_wire() {
    in_namespace(async |_lab| {
        let wire = Wire::plug();
        let dir = tempfile::Builder::new().prefix("power-").tempdir_in("/tmp").unwrap();
        let daemon = Daemon::start_with(dir.path(), PXE, "");
        let mac = Machine::new(5).mac;
        daemon.post(
            "/api/hosts",
            &json!({ "hostname": "pve5", "macs": [mac], "server_type": "lab" }),
        );
        let settings = json!({ "method": "wake-on-lan", "password": "00:11:22:33:44:55" });
        said(put(&daemon, "pve5", &settings));
        let nic = wire.socket(9);
        said(ask(&daemon, "pve5", "on"));
        let mut bytes = [0; 200];
        let begun = Instant::now();
        let length = loop {
            match nic.recv(&mut bytes) {
                Ok(length) => break length,
                Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "no packet arrived"),
            }
        };
        let address: Vec<u8> = mac.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        assert_eq!(length, 108);
        assert_eq!(bytes[..6], [0xff; 6]);
        assert!(bytes[6..102].chunks(6).all(|part| part == address), "{bytes:x?}");
        assert_eq!(bytes[102..108], [0, 0x11, 0x22, 0x33, 0x44, 0x55]);
        // It only switches on, and says so.
        let off = ask(&daemon, "pve5", "off");
        assert_eq!(off.status, 422, "{off:?}");
    });
}

#[test]
fn an_ipmi_controller_is_asked_and_switched_and_boots_a_rebuild() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 11);
        let controller = Simulator::start(world.dir());
        let mut settings = json!({ "method": "ipmi", "boot": "yes", "mode": "uefi",
            "address": controller.address(), "user": "admin", "password": PASSWORD });
        let daemon = &world.daemon;
        said(put(daemon, "pve1", &settings));
        assert_eq!(said(ask(daemon, "pve1", "look"))["state"], "off");
        // The right password goes nowhere else: with another user it has to be given again.
        settings["user"] = json!("somebody");
        settings.as_object_mut().unwrap().remove("password");
        assert_eq!(put(daemon, "pve1", &settings).body["field"], "power_password");
        let job = world.rebuild("pve1");
        wait_for_step(daemon, &job, "power", "succeeded");
        assert_eq!(controller.switched(), ["boot pxe", "power 1"]);
        assert_eq!(said(ask(daemon, "pve1", "look"))["state"], "on");
        // It is armed and on: the machine does the rest.
        assert_eq!(daemon.get("/api/hosts/pve1")["state"], "pxe_ready");
        assert_sealed(daemon, world.dir(), "pve1");
        assert!(Machine::new(11).script().text().contains("proxmox-start-auto-installer"));
    });
}

#[test]
fn a_controller_that_is_gone_gives_a_prompt_and_no_failed_rebuild() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 11);
        let settings = json!({ "method": "redfish", "boot": "yes", "address": "192.0.2.10:9",
            "user": "admin", "password": PASSWORD, "fingerprint": "ab".repeat(32) });
        said(put(&world.daemon, "pve1", &settings));
        let job = world.rebuild("pve1");
        let step = wait_for_step(&world.daemon, &job, "power", "skipped");
        assert!(step["detail"].as_str().unwrap().contains("could not be booted"), "{step}");
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_ready");
        for page in ["/hosts/pve1".to_owned(), format!("/jobs/{job}")] {
            world.daemon.wait_for_page(&page, "pve1: Turn it on now");
        }
        // A hand presses the button; the rebuild goes on.
        assert!(Machine::new(11).script().text().contains("proxmox-start-auto-installer"));
        world.daemon.wait_for_state("pve1", "pxe_booted");
        assert!(!world.daemon.page("/hosts/pve1").contains("Turn it on now"));
    });
}

/// A certificate is compared and trusted, then the machine is asked and switched.
fn trust_and_switch(daemon: &Daemon, at: &str, system: &str) {
    let mut settings = json!({ "method": "redfish", "address": at, "user": "admin", "password": PASSWORD,
        "system": system });
    said(put(daemon, "pve1", &settings));
    let shown = said(ask(daemon, "pve1", "look"));
    let fingerprint = shown["untrusted"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned();
    // A rebuild or an operator's click does not trust by itself.
    assert_eq!(ask(daemon, "pve1", "on").status, 422);
    settings["fingerprint"] = json!("ab".repeat(32));
    said(put(daemon, "pve1", &settings));
    let other = ask(daemon, "pve1", "look");
    assert!(other.status == 422 && other.body.to_string().contains(&fingerprint), "{other:?}");
    settings["fingerprint"] = json!(fingerprint);
    settings["password"] = json!("wrong");
    said(put(daemon, "pve1", &settings));
    let wrong = ask(daemon, "pve1", "look");
    assert!(
        wrong.body["detail"].as_str().unwrap().contains("does not accept the login"),
        "{wrong:?}"
    );
    settings["password"] = json!(PASSWORD);
    said(put(daemon, "pve1", &settings));
    assert_eq!(said(ask(daemon, "pve1", "look"))["state"], "off");
    said(ask(daemon, "pve1", "on"));
    wait_for_power(daemon, "on");
    said(ask(daemon, "pve1", "off"));
    wait_for_power(daemon, "off");
}

fn wait_for_power(daemon: &Daemon, state: &str) {
    let begun = Instant::now();
    while said(ask(daemon, "pve1", "look"))["state"] != state {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never was {state}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn openstacks_redfish_service_is_trusted_asked_and_switched() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 11);
        let controller = Sushy::start(world.dir());
        trust_and_switch(&world.daemon, &controller.address(), "");
        let boots = json!({ "method": "redfish", "boot": "yes", "address": controller.address(), "user": "admin",
            "fingerprint": world.daemon.get("/api/hosts/pve1/power")["power"]["method"]["fingerprint"] });
        said(put(&world.daemon, "pve1", &boots));
        let job = world.rebuild("pve1");
        wait_for_step(&world.daemon, &job, "power", "succeeded");
        wait_for_power(&world.daemon, "on");
        assert_sealed(&world.daemon, world.dir(), "pve1");

        // Nobody else is switched by it, and neither is a machine that turns out to be another one.
        world.add_host("pve2", 12);
        let twice = json!({ "method": "redfish", "address": controller.address(), "user": "admin", "password": PASSWORD });
        let refused = put(&world.daemon, "pve2", &twice);
        assert_eq!(
            (refused.status, &refused.body["field"]),
            (409, &json!("power_address")),
            "{refused:?}"
        );
        assert!(Machine::new(11).script().text().contains("proxmox-start-auto-installer"));
        for action in ["look", "on"] {
            let other = ask(&world.daemon, "pve1", action);
            assert_eq!(other.status, 422, "{other:?}");
            assert!(
                other.body["detail"].as_str().unwrap().contains("belongs to another machine"),
                "{other:?}"
            );
        }
    });
}

#[test]
fn a_controller_that_wants_sessions_and_versions_gets_them() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 11);
        let controller = Controller::start(DOUBLE);
        trust_and_switch(&world.daemon, &controller.address(), "437XR1138R2");
        let fingerprint =
            world.daemon.get("/api/hosts/pve1/power")["power"]["method"]["fingerprint"].clone();
        let boots = json!({ "method": "redfish", "boot": "yes", "address": controller.address(), "user": "admin",
            "fingerprint": fingerprint, "system": "437XR1138R2", "mode": "uefi" });
        said(put(&world.daemon, "pve1", &boots));
        said(ask(&world.daemon, "pve1", "on"));
        controller.forget();
        let job = world.rebuild("pve1");
        wait_for_step(&world.daemon, &job, "power", "succeeded");
        // Once, from the network, by UEFI; and restarted, because it ran.
        assert_eq!(controller.changes(), ["Once Pxe UEFI", "ForceRestart"]);
        assert_eq!(controller.open_sessions(), 0, "a session was left open");
        assert_sealed(&world.daemon, world.dir(), "pve1");
    });
}
