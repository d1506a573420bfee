//! Verdicts that wait for a time, and those on machines that are not served. The daemon's clock is set ahead while the
//! machine stands still, and back again.

use std::collections::BTreeMap;
use std::time::Duration;

use ironhatch::fakes::firmware::Taken;
use ironhatch::limits::tftp::TRANSFERS_PER_PEER;
use serde_json::json;

use super::client::{ABORT, Client, IPXE_WITH_HTTP, Kind};
use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::machine::Machine;
use crate::support::wire::{self, PXE, US, Wire};

/// Waits for the verdict on a machine that does nothing more for so long.
fn is_judged_after(world: &World<'_>, minutes: u64, judged: &[(&Client<'_>, &str)]) {
    for (client, _) in judged {
        client.is_judged(world, "under-way");
    }
    world.daemon.set_clock_ahead(Duration::from_mins(minutes));
    for (client, verdict) in judged {
        client.is_judged(world, verdict);
    }
    world.daemon.set_clock_ahead(Duration::ZERO);
}

#[test]
fn machines_that_stand_still_before_their_script_are_judged_after_a_minute() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        let client = |n, kind| Client::new(&wire, n, kind);

        let mut homeless = client(0x41, Kind::Bios);
        homeless.discovers();
        is_judged_after(&world, 2, &[(&homeless, "no-address")]);

        let mut deaf = client(0x42, Kind::Uefi);
        deaf.discovers();
        deaf.takes_address(&world);
        is_judged_after(&world, 2, &[(&deaf, "never-asked-4011")]);

        let mut bios = client(0x43, Kind::Bios);
        bios.discovers();
        bios.takes_address(&world);
        is_judged_after(&world, 2, &[(&bios, "never-asked-tftp")]);

        let mut told = client(0x44, Kind::Uefi);
        told.discovers();
        told.takes_address(&world);
        assert_eq!(told.asks_4011(), Taken::Loads(US, "snponly.efi".into()));
        told.until_told(&world, "4011");
        is_judged_after(&world, 2, &[(&told, "no-file-asked")]);

        let mut silent = client(0x45, Kind::Bios);
        silent.discovers();
        silent.takes_address(&world);
        assert!(!silent.loads("undionly.kpxe").unwrap().is_empty());
        silent.until_told(&world, "sent undionly.kpxe");
        is_judged_after(&world, 2, &[(&silent, "program-silent")]);

        silent.runs_ipxe(IPXE_WITH_HTTP);
        silent.until_told(&world, "offered the boot script");
        is_judged_after(&world, 2, &[(&silent, "no-script")]);
    });
}

#[test]
fn what_does_not_come_in_time_in_a_rebuild_is_told() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let wire = Wire::plug();
        world.import_image();
        let id = world.add_host("pve1", 1);
        let machine = Machine::new(1);
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let client = Client::of_host(&wire, 1, "pve1");
        client.is_judged(&world, "waiting");
        world.daemon.set_clock_ahead(Duration::from_mins(6));
        client.is_judged(&world, "nothing-heard");
        world.daemon.set_clock_ahead(Duration::ZERO);

        machine.boot(world.dir());
        client.until_told(&world, "proxmox.iso fetched");
        is_judged_after(&world, 4, &[(&client, "no-answer-request")]);

        let installed = machine.install(&machine.answer_url(world.dir()));
        world.daemon.wait_for_state("pve1", "installing");
        is_judged_after(&world, 21, &[(&client, "no-report")]);

        let keys =
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
                .to_owned()];
        assert_eq!(machine.report(&installed, "192.0.2.11", &keys).status, 200);
        world.daemon.wait_for_state("pve1", "installed");
        is_judged_after(&world, 11, &[(&client, "no-call-back")]);

        assert_eq!(machine.phone_home(&id, &installed.token, "192.0.2.11", &keys).status, 200);
        client.is_judged(&world, "called-back");
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
    });
}

#[test]
fn machines_that_get_nothing_are_told_apart() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"enroll\"\n"), "");
        let client = |n, kind| Client::new(&wire, n, kind);

        let mut signed = client(0x51, Kind::Bios);
        signed.discovers();
        signed.takes_address(&world);
        signed.asks_for_signatures();
        signed.is_judged(&world, "signed-boot");

        let mut dismissed = client(0x52, Kind::Bios);
        dismissed.discovers();
        dismissed.until_told(&world, "offered undionly.kpxe");
        let path = format!("/api/sightings/{}/ignore", dismissed.mac());
        world.daemon.post(&path, &json!({ "ignored": true }));
        dismissed.asks_in_vain();
        dismissed.is_judged(&world, "dismissed");

        // Begins one download after the other and ends none.
        let mut greedy = client(0x53, Kind::Bios);
        greedy.discovers();
        greedy.takes_address(&world);
        // The system may give a port twice, and a second request from one port is the same transfer.
        let mut open = BTreeMap::new();
        while open.len() < TRANSFERS_PER_PEER {
            let (socket, server) = greedy.begins("undionly.kpxe");
            open.insert(socket.local_addr().unwrap().port(), (socket, server));
        }
        let socket = loop {
            let socket = wire.socket(0);
            if !open.contains_key(&socket.local_addr().unwrap().port()) {
                break socket;
            }
        };
        let refused = wire::tftp(&socket, b"undionly.kpxe").unwrap_err();
        assert!(refused.contains("too many transfers"), "{refused}");
        greedy.is_judged(&world, "tftp-limited");
        for (socket, server) in open.into_values() {
            socket.send_to(ABORT, server).unwrap();
        }

        let mut known = client(0x54, Kind::Bios);
        known.discovers();
        known.until_told(&world, "offered undionly.kpxe");
        let file = world.dir().join("ironhatch.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\"enroll\"", "\"ignore\"")).unwrap();
        world.daemon.kill_and_restart();
        known.asks_in_vain();
        known.is_judged(&world, "ignored");
    });
}

#[test]
fn a_host_for_which_the_pool_has_no_address_is_told_so() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let pxe = format!(
            "{PXE}unknown = \"enroll\"\nmode = \"full\"\npool = \"198.51.100.100-198.51.100.100\"\n"
        );
        let mut world = World::start_with(&lab, &pxe, "");
        world.import_image();
        world.add_host("pve1", 1);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        // The one address is set aside for another machine.
        let mut first = Client::new(&wire, 0x61, Kind::Uefi);
        first.discovers();
        let mut second = Client::of_host(&wire, 1, "pve1");
        second.asks_in_vain();
        second.is_judged(&world, "no-lease");
    });
}
