//! Bad input against the real daemon: each case is refused in plain words, and the next good request is served.

mod disk_full;
mod start;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::machine::{self, Machine, http};
use crate::support::wire::{self, Noise, PXE, US, Wire};

const HOST: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 9];

fn enroll() -> String {
    format!("{PXE}unknown = \"enroll\"\n")
}

/// One datagram that no server wants.
fn junk(noise: &mut Noise) -> Vec<u8> {
    let mut packet = wire::discover([2, 0, 0, 0, 1, noise.bytes(1)[0]], noise.bytes(1)[0]);
    match noise.below(8) {
        0 => {
            let length = noise.below(1400);
            noise.bytes(length)
        }
        1 => {
            packet.truncate(noise.below(packet.len()));
            packet
        }
        2 => {
            packet[2] = 255;
            packet
        }
        3 => {
            packet.pop();
            packet
        }
        4 => {
            // The last option claims more bytes than there are.
            packet.pop();
            packet.extend([43, 255, 1]);
            packet
        }
        5 => {
            let (at, value) = (noise.below(packet.len()), noise.bytes(1)[0]);
            packet[at] = value;
            packet[2] = 16;
            packet
        }
        6 => {
            // Looks like TFTP: any opcode, a name without its end, options that never end.
            let length = noise.below(500);
            let mut out = vec![0, noise.bytes(1)[0] % 8];
            out.extend(noise.bytes(length));
            out
        }
        _ => {
            packet[236..240].copy_from_slice(&noise.bytes(4));
            packet
        }
    }
}

fn throw(socket: &UdpSocket, noise: &mut Noise, rounds: usize) {
    for round in 0..rounds {
        let bytes = match round % 100 {
            99 => noise.bytes(65_507),
            98 => {
                let mut big = wire::discover(STRANGER, 3);
                big.resize(65_507, 0);
                big
            }
            _ => junk(noise),
        };
        for port in [67, 69, 4011] {
            // A full queue on our side is no reason to stop.
            let _ = socket.send_to(&bytes, (US, port));
        }
    }
}

#[test]
fn junk_on_every_port_is_dropped_and_the_next_good_packet_is_answered() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &enroll(), "");
        world.import_image();
        world.add_host("pve1", 1);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        wire.is_offered(HOST, 1);
        let mut noise = Noise(0x1dea);
        let socket = wire.socket(0);
        throw(&socket, &mut noise, 200);
        let before = world.daemon.resident_kib();
        throw(&socket, &mut noise, 1500);
        // Transfers that are begun and never acknowledged, each by a client of its own.
        for _ in 0..300 {
            let client = wire.socket(0);
            client.send_to(b"\0\x01snponly.efi\0octet\0blksize\x001400\0", (US, 69)).unwrap();
        }
        let offer = wire.is_offered(HOST, 2);
        assert_eq!(&offer[108..119], b"snponly.efi");
        let grown = world.daemon.resident_kib().saturating_sub(before);
        assert!(grown < 20 << 10, "{grown} KiB more memory after junk");
        assert_eq!(world.daemon.get("/api/health")["status"], "ok");
        let program = http("GET", "/boot/ipxe/snponly.efi", &[], b"");
        let fetched = wire::tftp(&wire.socket(0), b"snponly.efi").unwrap();
        assert_eq!(fetched, program.body);
        assert!(!world.daemon.log().contains("panicked"), "{}", world.daemon.log());
    });
}

#[test]
fn only_armed_and_unknown_machines_are_offered_something() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &enroll(), "");
        world.import_image();
        world.add_host("pve1", 1);
        let idle = [0x52, 0x54, 0, 0, 0, 2];
        world.add_host("pve2", 2);
        wire.is_silent_towards(idle, STRANGER, 10);
        let begun = std::time::Instant::now();
        loop {
            let seen = world.daemon.get("/api/sightings").to_string();
            if seen.contains("52:54:00:00:00:09") {
                assert!(!seen.contains("52:54:00:00:00:02"), "{seen}");
                break;
            }
            assert!(begun.elapsed().as_secs() < 15, "no sighting: {seen}");
        }
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        wire.is_offered(HOST, 20);
        wire.is_silent_towards(idle, HOST, 30);
    });
}

#[test]
fn unknown_machines_get_silence_when_the_configuration_ignores_them() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &format!("{PXE}unknown = \"ignore\"\n"), "");
        world.import_image();
        world.add_host("pve1", 1);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        wire.is_silent_towards(STRANGER, HOST, 40);
        // Nor over HTTP, should it find its way there.
        let script = Machine::new(9).script();
        assert!(!script.text().contains("proxmox"), "{}", script.text());
        assert_eq!(world.daemon.get("/api/sightings")["sightings"], json!([]));
    });
}

#[test]
fn tftp_serves_the_boot_programs_and_nothing_else() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let world = World::start_with(&lab, &enroll(), "");
        let socket = wire.socket(0);
        let data = world.dir().join("data/master.key");
        let data = data.to_str().unwrap();
        for name in [
            "../../../../etc/passwd",
            "/etc/passwd",
            "..\\..\\..\\etc\\passwd",
            "%2e%2e/%2e%2e/etc/passwd",
            "snponly.efi/../../../etc/passwd",
            "tftp://198.51.100.10/../etc/passwd",
            "/proc/self/environ",
            data,
            "master.key",
            "../master.key",
            "/",
            ".",
        ] {
            let refused = wire::tftp(&socket, name.as_bytes());
            assert!(refused.is_err(), "{name} was served: {refused:?}");
        }
        for name in ["snponly.efi", "undionly.kpxe", "ipxe.efi"] {
            let program = http("GET", &format!("/boot/ipxe/{name}"), &[], b"");
            assert_eq!(program.status, 200);
            assert!(program.body.len() > 50_000, "{name} has {} bytes", program.body.len());
            let fetched = wire::tftp(&socket, name.as_bytes()).unwrap();
            assert!(fetched == program.body, "{name} differs over TFTP");
        }
    });
}

#[test]
fn refused_callbacks_change_nothing_and_can_be_read_on_the_hosts_page() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let (one, two) = (world.add_host("pve1", 1), world.add_host("pve2", 2));
        let (machine, other) = (Machine::new(1), Machine::new(2));
        let key =
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
                .to_owned()];

        // Not armed at all.
        assert_eq!(machine.ask("/api/boot/answer", &machine.facts()).status, 403);
        world.daemon.wait_for_page("/hosts/pve1", "answer request refused");

        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        machine.boot(world.dir());
        let url = machine.answer_url(world.dir());
        assert_eq!(other.ask(&url, &other.facts()).status, 403);
        world.daemon.wait_for_page("/hosts/pve2", "answer request refused");
        let installed = machine.install(&url);
        assert_eq!(machine.ask(&url, &machine.facts()).status, 409);
        world.daemon.wait_for_page("/hosts/pve1", "already served");

        // The token of one host for another, in both directions.
        for (machine, host) in [(&machine, &two), (&other, &two)] {
            let reply = machine.phone_home(host, &installed.token, "192.0.2.11", &key);
            assert_eq!(reply.status, 403, "{}", reply.text());
            assert_eq!(reply.text().trim_end().lines().count(), 1);
        }
        world.daemon.wait_for_page("/hosts/pve2", "belongs to another host");
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "installing");
        assert_eq!(world.daemon.get("/api/hosts/pve2")["state"], "registered");

        // Reports as big as those of the biggest machines are taken, bigger ones are not.
        let big = machine.report_with(&installed, "192.0.2.11", &key, 17 << 20);
        assert_eq!(big.status, 413, "{}", big.text());
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "installing");
        let fits = machine.report_with(&installed, "192.0.2.11", &key, 9 << 20);
        assert_eq!(fits.status, 200, "{}", fits.text());
        world.daemon.wait_for_state("pve1", "installed");
        for (body, status) in [(&b"not json"[..], 400), (b"[]", 400), (&[b' '; 70_000], 413)] {
            let path = format!("/api/hosts/{one}/phone-home?token={}", installed.token);
            let reply = http("POST", &path, &[("content-type", "application/json")], body);
            assert_eq!(reply.status, status, "{}", reply.text());
        }

        // Expired: its rebuild is over.
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        for host in [&one, &two] {
            let reply = machine.phone_home(host, &installed.token, "192.0.2.11", &key);
            assert_eq!(reply.status, 403, "{}", reply.text());
        }
        world.daemon.wait_for_page("/hosts/pve1", "phone-home refused");
        assert_eq!(machine.report(&installed, "192.0.2.11", &key).status, 403);
        world.daemon.wait_for_page("/hosts/pve1", "installation report refused");
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "failed");
    });
}

fn files_below(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_file_that_is_no_installer_is_refused_with_the_reason_and_leaves_nothing() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let dir = world.dir().to_owned();
        let good = machine::iso(&dir);
        let whole = fs::read(&good).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let mut damaged = whole.clone();
        // The root directory's extent in the primary volume descriptor points beyond the end of the file.
        damaged[16 * 2048 + 156 + 2..][..4].copy_from_slice(&0x7fff_fff0_u32.to_le_bytes());
        let cases = [
            (write("half.iso", &whole[..whole.len() / 2]), "truncated"),
            (write("short.iso", &whole[..17 * 2048]), "truncated"),
            (write("empty.iso", b""), "not an ISO 9660"),
            (write("text.iso", &b"hello world\n".repeat(20_000)), "not an ISO 9660"),
            (write("damaged.iso", &damaged), ""),
            (machine::iso_of(&dir, "plain.iso", "pve", "--norock"), "Rock Ridge"),
            (machine::iso_of(&dir, "pbs.iso", "pbs", "-R"), "only Proxmox VE"),
            (dir.join("absent.iso"), "cannot read"),
            (dir.clone(), "not a regular file"),
        ];
        for (path, word) in cases {
            let job = world.daemon.post("/api/images", &json!({ "source": path }));
            let job = world.daemon.wait_for_job(job["job"].as_str().unwrap(), "failed");
            let reason = job["failure"]["reason"].as_str().unwrap();
            assert!(reason.contains(word), "{}: '{reason}' does not say '{word}'", path.display());
            assert!(!reason.contains("Error"), "plain words: {reason}");
            assert_eq!(files_below(&dir.join("data/images")), [""; 0], "{}", path.display());
            world.daemon.wait_for_page(&format!("/jobs/{}", job["id"].as_str().unwrap()), "failed");
        }
        let wrong = json!({ "source": good, "sha256": "ab".repeat(32) });
        let job = world.daemon.post("/api/images", &wrong);
        let job = world.daemon.wait_for_job(job["job"].as_str().unwrap(), "failed");
        let reason = job["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("SHA-256") && reason.contains(&"ab".repeat(32)), "{reason}");
        assert_eq!(files_below(&dir.join("data/images")), [""; 0]);
        let odd = json!({ "source": good, "sha256": "abc" });
        assert_eq!(world.daemon.request("POST", "/api/images", Some(&odd)).status, 422);
        assert_eq!(world.daemon.get("/api/images")["images"], json!([]));

        world.import_image();
        assert_eq!(files_below(&dir.join("data/images")), ["proxmox-ve-9.2-1.iso"]);
        // The same release from another file does not replace it.
        fs::write(dir.join("iso-tree/more"), "x").unwrap();
        let other = machine::iso_of(&dir, "other.iso", "pve", "-R");
        let job = world.daemon.post("/api/images", &json!({ "source": other }));
        let job = world.daemon.wait_for_job(job["job"].as_str().unwrap(), "failed");
        assert!(job["failure"]["reason"].as_str().unwrap().contains("already imported"), "{job:#}");
        assert_eq!(files_below(&dir.join("data/images")), ["proxmox-ve-9.2-1.iso"]);
        let images: Value = world.daemon.get("/api/images");
        assert_eq!(images["images"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_relay_that_lies_about_its_address_stops_nothing() {
    in_namespace(async |lab| {
        let wire = Wire::plug();
        let mut world = World::start_with(&lab, &enroll(), "");
        world.import_image();
        world.add_host("pve1", 1);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let socket = wire.socket(67);
        for giaddr in [Ipv4Addr::BROADCAST, Ipv4Addr::LOCALHOST, Ipv4Addr::new(224, 0, 0, 1), US] {
            let mut packet = wire::discover(HOST, 50);
            packet[24..28].copy_from_slice(&giaddr.octets());
            socket.send_to(&packet, (US, 67)).unwrap();
        }
        drop(socket);
        wire.is_offered(HOST, 51);
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_ready");
    });
}
