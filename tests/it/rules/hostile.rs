//! Rule 6: bytes that are no HTTP, or too much of it, on the TCP port and on the control socket.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::appliance::ADDRESS;
use crate::support::machine::{Machine, http, try_http};
use crate::support::wire::{Noise, PXE, Wire};

const PATHS: [&str; 12] = [
    "/",
    "/api/boot/answer",
    "/api/boot/answer/00000000000000000000000000000000",
    "/api/hosts/x/installed",
    "/api/hosts/018f0000-0000-7000-8000-000000000000/phone-home?token=%00",
    "/ipxe/52-54-00-00-00-09?uuid=%ff%fe&memory=99999999999999999999",
    "/ipxe/%2e%2e%2f",
    "/boot/..%2f..%2fetc%2fpasswd/linux26",
    "//////boot/ipxe//snponly.efi",
    "/boot/ipxe/..%2f..%2fmaster.key",
    "/login",
    "/events?after=18446744073709551615",
];

/// One thing that no browser and no firmware sends.
fn garbage(noise: &mut Noise) -> Vec<u8> {
    let path = PATHS[noise.below(PATHS.len())];
    let method = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "X", "get", "DELETE"][noise.below(8)];
    match noise.below(9) {
        0 => {
            let length = noise.below(4000);
            noise.bytes(length)
        }
        1 => format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551615\r\n\r\nx").into(),
        2 => format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n").into(),
        3 => {
            let mut out = format!("{method} {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
            out.extend(b"ffffffffffffffff\r\n");
            out.extend(noise.bytes(200));
            out
        }
        4 => {
            let mut out = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n").into_bytes();
            for n in 0..2000 {
                out.extend(format!("x-{n}: {n}\r\n").into_bytes());
            }
            out.extend(b"\r\n");
            out
        }
        5 => {
            let mut out = format!("{method} /").into_bytes();
            out.extend(vec![b'a'; 200_000]);
            out.extend(b" HTTP/1.1\r\n\r\n");
            out
        }
        6 => {
            let mut out = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nx: ").into_bytes();
            out.extend(noise.bytes(64));
            out.extend(b"\r\n\r\n");
            out
        }
        7 => {
            let length = noise.below(300);
            let body = noise.bytes(length);
            let mut out = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            )
            .into_bytes();
            out.extend(body);
            out
        }
        _ => format!("{method} {path} HTTP/1.1\r\nhost: x\r\nrange: bytes=9-1,-0,5-99999999999999999999999\r\nconnection: close\r\n\r\n").into(),
    }
}

fn feed(stream: &mut (impl std::io::Read + Write), bytes: &[u8], close: impl FnOnce()) {
    // The daemon may hang up in the middle; that is its right.
    let _ = stream.write_all(bytes);
    close();
    let mut sink = [0; 4096];
    for _ in 0..4 {
        if stream.read(&mut sink).unwrap_or(0) == 0 {
            return;
        }
    }
}

#[test]
fn garbage_on_the_http_port_and_the_control_socket_blocks_nobody() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        world.rebuild("pve1");
        let mut noise = Noise(0xBAD);
        // Heads that never end, held open the whole time.
        let slow: Vec<TcpStream> = (0..200)
            .map(|n| {
                let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
                let head = &b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "[..n % 33];
                stream.write_all(head).unwrap();
                stream
            })
            .collect();
        let before = world.daemon.resident_kib();
        for round in 0..400 {
            let bytes = garbage(&mut noise);
            if round % 4 == 0 {
                let mut stream = UnixStream::connect(world.daemon.socket()).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let other = stream.try_clone().unwrap();
                feed(&mut stream, &bytes, || drop(other.shutdown(Shutdown::Write)));
            } else {
                let mut stream = TcpStream::connect((ADDRESS, 8080)).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let other = stream.try_clone().unwrap();
                feed(&mut stream, &bytes, || drop(other.shutdown(Shutdown::Write)));
            }
            if round % 50 == 0 {
                assert_eq!(http("GET", "/api/health", &[], b"").status, 200);
                assert_eq!(world.daemon.get("/api/health")["status"], "ok");
            }
        }
        assert_eq!(http("GET", "/api/health", &[], b"").status, 200);
        let grown = world.daemon.resident_kib().saturating_sub(before);
        assert!(grown < 40 << 10, "{grown} KiB more memory after garbage");
        assert!(!world.daemon.log().contains("panicked"), "{}", world.daemon.log());
        world.daemon.wait_for_state("pve1", "pxe_ready");
        drop(slow);
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
    });
}

#[test]
fn no_operators_route_is_open_to_the_network() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let id = world.add_host("pve1", 1);
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/hosts/pve1"),
            ("GET", "/events"),
            ("GET", "/api/hosts"),
            ("GET", "/api/jobs"),
            ("POST", "/api/hosts"),
            ("POST", "/api/hosts/pve1/rebuild"),
            ("POST", "//api//hosts/pve1/rebuild"),
            ("POST", "/api/images"),
            ("POST", "/api/db/backup"),
            ("DELETE", "/api/hosts/pve1"),
            ("PATCH", "/api/hosts/pve1"),
        ] {
            let body = json!({ "confirm": "pve1" }).to_string();
            let reply =
                http(method, path, &[("content-type", "application/json")], body.as_bytes());
            assert!([303, 401, 403].contains(&reply.status), "{method} {path}: {}", reply.status);
            assert!(!reply.text().contains(&id), "{method} {path}");
        }
    });
}

/// A stranger asks for boot scripts with one made-up MAC after the other.
#[test]
fn a_flood_of_made_up_macs_over_http_costs_a_bounded_number_of_records() {
    in_namespace(async |lab| {
        let pxe = format!("{PXE}unknown = \"enroll\"\n");
        let _wire = Wire::plug();
        let world = World::start_with(&lab, &pxe, "");
        std::thread::scope(|scope| {
            for thread in 0..16u8 {
                scope.spawn(move || {
                    for n in 0..80u8 {
                        let path =
                            format!("/ipxe/52-54-00-77-{thread:02x}-{n:02x}?uuid=&memory={n}");
                        http("GET", &path, &[], b"");
                    }
                });
            }
        });
        let sightings = world.daemon.get("/api/sightings");
        let kept = sightings["sightings"].as_array().unwrap().len();
        assert!(kept <= 1000, "{kept} sightings of 1280 machines that do not exist");
        let backup = world.dir().join("check.redb");
        world.daemon.post("/api/db/backup", &json!({ "path": backup }));
        let database = redb::Database::open(&backup).unwrap();
        let read = redb::ReadableDatabase::begin_read(&database).unwrap();
        let table: redb::ReadOnlyTable<&[u8], &[u8]> =
            read.open_table(redb::TableDefinition::new("boot_log")).unwrap();
        let lines = redb::ReadableTableMetadata::len(&table).unwrap();
        assert!(lines <= 1100, "{lines} lines about machines that nobody keeps");
    });
}

/// A stranger sends the biggest bodies that are read, made of as many values as fit.
#[test]
fn bodies_of_strangers_do_not_take_many_times_their_size() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let id = world.add_host("pve1", 1);
        let body = format!("{{\"disks\":[{}0]}}", "0,".repeat((15 << 20) / 2));
        for _ in 0..3 {
            let path = format!("/api/hosts/{id}/installed?token={}", "0".repeat(32));
            let headers = [("content-type", "application/json")];
            let reply = try_http("POST", &path, &headers, body.as_bytes()).unwrap();
            assert!([400, 403, 413].contains(&reply.status), "{}", reply.text());
        }
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", world.daemon.pid())).unwrap();
        let peak = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
        let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(peak < 160 << 10, "{} MiB at its peak for bodies of 15 MiB", peak >> 10);
        assert_eq!(Machine::new(1).ask("/api/boot/answer", &Machine::new(1).facts()).status, 403);
    });
}
