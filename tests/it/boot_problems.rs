//! Each way in which a boot dies, by a client that misbehaves that way against the real daemon, and the verdict on it.
//!
//! Here a machine that is stuck starts again, which ends the boot before at once; in `late` its time runs out. What machines
//! make of offers is judged by the models of `fakes::firmware`.

pub(crate) mod client;
mod late;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use client::{Client, IPXE_WITH_HTTP, IPXE_WITHOUT_HTTP, Kind};
use ironhatch::fakes::firmware::Taken;
use serde_json::json;

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::appliance::ADDRESS;
use crate::support::machine::{Machine, http};
use crate::support::wire::{PXE, US, Wire};

#[test]
fn machines_that_give_up_before_their_script_are_told_apart() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        let client = |n, kind| Client::new(&wire, n, kind);

        // Takes the offer and asks nothing, in both forms; the daemon changes the form in between.
        let mut deaf = client(0x21, Kind::Uefi);
        assert_eq!(deaf.discovers(), Taken::Asks(US));
        deaf.takes_address(&world);
        deaf.starts_again(&world, "never-asked-4011");
        deaf.takes_address(&world);
        deaf.starts_again(&world, "never-asked-4011");
        deaf.until(&world, "the other form", |story| story["profile"]["form"] == "direct");
        assert_eq!(deaf.discovers(), Taken::Loads(US, "snponly.efi".into()));
        deaf.takes_address(&world);
        deaf.starts_again(&world, "offer-ignored");

        let mut bios = client(0x22, Kind::Bios);
        assert_eq!(bios.discovers(), Taken::Loads(US, "undionly.kpxe".into()));
        bios.takes_address(&world);
        bios.starts_again(&world, "never-asked-tftp");

        let mut asks = client(0x23, Kind::Uefi);
        asks.discovers();
        asks.takes_address(&world);
        assert_eq!(asks.asks_4011(), Taken::Loads(US, "snponly.efi".into()));
        asks.starts_again(&world, "no-file-asked");

        let mut http_boot = client(0x24, Kind::UefiHttp);
        let Taken::Fetches(url) = http_boot.discovers() else { panic!("no URL") };
        http_boot.takes_address(&world);
        http_boot.starts_again(&world, "never-fetched");
        // The daemon sees requests of this namespace come from its own address.
        http_boot.takes(&world, ADDRESS.parse().unwrap());
        let path = url.split_once(":8080").unwrap().1;
        assert_eq!(http("GET", path, &[], b"").status, 200);
        http_boot.until_told(&world, "fetched over HTTP");
        http_boot.starts_again(&world, "program-silent");

        let mut foreign = client(0x25, Kind::Bios);
        foreign.discovers();
        foreign.takes_address(&world);
        foreign.loads("pxelinux.0").unwrap_err();
        foreign.is_judged(&world, "foreign-file");

        let mut stops = client(0x26, Kind::Bios);
        stops.discovers();
        stops.takes_address(&world);
        stops.begins_and_aborts("undionly.kpxe");
        stops.is_judged(&world, "tftp-aborted");

        let mut stalls = client(0x27, Kind::Bios);
        stalls.discovers();
        stalls.takes_address(&world);
        let (socket, server) = stalls.begins("undionly.kpxe");
        stalls.until_told(&world, "sending undionly.kpxe");
        stalls.starts_again(&world, "tftp-stalled");
        // So that nothing is sent to it any more.
        socket.send_to(client::ABORT, server).unwrap();

        let mut elsewhere = client(0x28, Kind::Bios);
        elsewhere.discovers();
        elsewhere.takes_address(&world);
        elsewhere.runs_ipxe(IPXE_WITH_HTTP);
        elsewhere.until_told(&world, "offered the boot script");
        elsewhere.starts_again(&world, "other-server");

        let mut cut_off = client(0x29, Kind::Bios);
        cut_off.discovers();
        cut_off.takes_address(&world);
        assert!(!cut_off.loads("undionly.kpxe").unwrap().is_empty());
        cut_off.runs_ipxe(IPXE_WITH_HTTP);
        cut_off.until_told(&world, "offered the boot script");
        cut_off.starts_again(&world, "no-script");

        let mut old = client(0x2a, Kind::Bios);
        for _ in 0..4 {
            old.runs_ipxe(IPXE_WITHOUT_HTTP);
        }
        old.is_judged(&world, "ipxe-loop");

        // The request arrives, the answer does not: known after the ten seconds for which it is repeated.
        let mut one_way = client(0x2b, Kind::Bios);
        one_way.discovers();
        one_way.takes_address(&world);
        one_way.asks_and_hears_nothing("undionly.kpxe");
        one_way.is_judged(&world, "tftp-unanswered");

        let page = world.daemon.page(&format!("/sightings/{}", one_way.mac()));
        assert!(page.contains("data-verdict=\"tftp-unanswered\""), "{page}");
        assert!(page.contains("<svg") && page.contains("What to do"), "{page}");
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
    });
}

#[test]
fn a_program_that_never_speaks_is_replaced_and_this_is_remembered_but_arms_nobody() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        let mut silent = Client::new(&wire, 0x31, Kind::Uefi);
        let boots = |silent: &mut Client<'_>, world: &World<'_>, program: &str| {
            silent.takes_address(world);
            assert_eq!(silent.asks_4011(), Taken::Loads(US, program.into()));
            assert!(!silent.loads(program).unwrap().is_empty());
            silent.until_told(world, &format!("sent {program}"));
        };
        silent.discovers();
        boots(&mut silent, &world, "snponly.efi");
        silent.starts_again(&world, "program-silent");
        boots(&mut silent, &world, "snponly.efi");
        silent.starts_again(&world, "program-silent");
        let story = silent
            .until(&world, "the other program", |story| story["profile"]["program"] == "ipxe-efi");
        assert_eq!(
            story["earlier"][0]["verdict"]["what"],
            "Loaded snponly.efi twice, and iPXE never spoke."
        );
        assert_eq!(story["earlier"][0]["verdict"]["next"], "Trying ipxe.efi next.");

        // Remembered over kill -9, and by the host that the machine becomes.
        world.daemon.kill_and_restart();
        silent.discovers();
        boots(&mut silent, &world, "ipxe.efi");
        silent.starts_again(&world, "secure-boot");
        let body = json!({ "hostname": "pve1", "macs": [silent.mac()], "server_type": "lab" });
        world.daemon.post("/api/hosts", &body);
        let story = world.daemon.get("/api/hosts/pve1/boot");
        assert_eq!(story["profile"]["program"], "ipxe-efi", "{story:#}");
        // Not armed: whatever was learned, it is met with silence.
        wire.is_silent_towards(silent.address(), [0x52, 0x54, 0, 0, 0, 0x32], 0x70);
        // Its page says what is done differently, and forgetting its hardware forgets this.
        let page = world.daemon.page("/hosts/pve1");
        assert!(page.contains("It gets ipxe.efi since"), "{page}");
        let forget = json!({ "forget_uuid": true });
        let changed = world.daemon.request("PATCH", "/api/hosts/pve1", Some(&forget));
        assert_eq!(changed.status, 200, "{changed:?}");
        let story = world.daemon.get("/api/hosts/pve1/boot");
        assert_eq!(story["profile"], json!({ "form": null, "program": null }), "{story:#}");
    });
}

#[test]
fn rebuilds_that_die_between_script_and_call_back_are_told_apart() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        // Large enough that a download cannot hide in the buffers of a connection.
        std::fs::create_dir_all(world.dir().join("iso-tree")).unwrap();
        std::fs::write(world.dir().join("iso-tree/filler"), vec![0x46; 48 << 20]).unwrap();
        world.import_image();
        let id = world.add_host("pve1", 1);
        let machine = Machine::new(1);
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let mut client = Client::of_host(&wire, 1, "pve1");
        client.is_judged(&world, "waiting");

        client.asks_as(11);
        client.is_judged(&world, "wrong-architecture");

        client.discovers();
        client.until_told(&world, "offered");
        machine.script();
        client.until_told(&world, "boot script: install");
        client.starts_again(&world, "no-kernel");

        let script = machine.script().text();
        let iso = script.split_whitespace().find(|w| w.ends_with("/proxmox.iso")).unwrap();
        let base = iso.trim_end_matches("/proxmox.iso").to_owned();
        assert_eq!(http("GET", &format!("{base}/linux26"), &[], b"").status, 200);
        client.until_told(&world, "linux26 fetched");
        client.starts_again(&world, "download-stopped");

        machine.script();
        break_off(iso);
        client.until_told(&world, "proxmox.iso broke off");
        client.is_judged(&world, "download-broken");
        client.starts_again(&world, "download-broken");

        machine.boot(world.dir());
        client.until_told(&world, "proxmox.iso fetched");
        client.starts_again(&world, "no-answer-request");

        machine.boot(world.dir());
        let url = machine.answer_url(world.dir());
        let mut facts = machine.facts();
        facts["dmi"]["system"]["uuid"] = json!("4c4c4544-0042-3010-8054-b5c04f4effff");
        assert_eq!(machine.ask(&url, &facts).status, 403);
        client.is_judged(&world, "answer-refused");

        // The right machine takes it, and from then on the network has nothing for it.
        let installed = machine.install(&url);
        client.is_judged(&world, "under-way");
        for _ in 0..3 {
            client.asks_in_vain();
        }
        client.is_judged(&world, "boots-network-again");
        assert_eq!(http("GET", iso, &[], b"").status, 403);
        client.is_judged(&world, "installer-refused");

        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        let keys: [String; 0] = [];
        assert_eq!(machine.report(&installed, "192.0.2.11", &keys).status, 403);
        client.is_judged(&world, "report-refused");
        assert_eq!(machine.phone_home(&id, &installed.token, "192.0.2.11", &keys).status, 403);
        client.is_judged(&world, "call-back-refused");

        // A machine that was seen, was registered, and has another mainboard all of a sudden.
        Machine::new(2).script();
        Client::new(&wire, 2, Kind::Uefi).is_judged(&world, "notice");
        world.add_host("pve2", 2);
        let second = Client::of_host(&wire, 2, "pve2");
        let uuid = "4c4c4544-0042-3010-8054-b5c04f4effff".into();
        Machine { uuid, ..Machine::new(2) }.script();
        second.is_judged(&world, "script-refused");
        Machine::new(2).script();
        second.is_judged(&world, "own-disk");

        let shown = std::process::Command::new(env!("CARGO_BIN_EXE_ironhatch"))
            .arg("--config")
            .arg(world.dir().join("ironhatch.toml"))
            .args(["host", "boot", "pve1"])
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("phone-home refused: "), "{shown}");
        assert!(shown.contains("EARLIER BOOT") && shown.contains("no-answer-request"), "{shown}");
    });
}

#[test]
fn every_verdict_is_produced_by_a_machine() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let text = read("boot_problems.rs") + &read("boot_problems/late.rs");
    let calls: Vec<&str> = ["is_judged", "starts_again"]
        .into_iter()
        .flat_map(|call| text.split(call).skip(1))
        .filter_map(|rest| rest.split(';').next())
        .collect();
    for kind in ironhatch::plan::diagnosis::Kind::ALL {
        let name = format!("\"{}\"", kind.slug());
        assert!(calls.iter().any(|call| call.contains(&name)), "no machine here ends in {name}");
    }
}

/// Begins a download and resets the connection.
fn break_off(url: &str) {
    let path = url.strip_prefix(&format!("http://{ADDRESS}:8080")).unwrap();
    let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    let mut some = [0; 4096];
    stream.read_exact(&mut some).unwrap();
}
