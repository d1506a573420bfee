//! `ironhatch doctor` on a real wire: beside the real daemon and without one, with real DHCP servers that misbehave.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::apps::world::World;
use crate::join::lab::story as in_namespace;
use crate::support::appliance;
use crate::support::daemon::Daemon;
use crate::support::dnsmasq::Dnsmasq;
use crate::support::machine;
use crate::support::wire::{PXE, Wire};

/// A DHCP server at the other end of the wire.
fn dnsmasq(wire: &Wire, more: &'static [&'static str]) -> Dnsmasq {
    wire.inside(move || Dnsmasq::start("them0", more))
}

/// Gives addresses without asking first whether they are free.
const QUICK: &[&str] = &["--dhcp-range=198.51.100.50,198.51.100.60,1h", "--no-ping"];

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("doctor-").tempdir_in("/tmp").unwrap()
}

fn pxe(unknown: &str) -> String {
    format!("{PXE}unknown = \"{unknown}\"\n")
}

/// Findings of the daemon by code, with their sentences.
fn look(daemon: &Daemon) -> Vec<(String, String)> {
    findings(&daemon.post("/api/doctor", &json!({})))
}

fn findings(report: &Value) -> Vec<(String, String)> {
    let text = |f: &Value, name: &str| f[name].as_str().unwrap().to_owned();
    let all = report["findings"].as_array().unwrap_or_else(|| panic!("{report}"));
    all.iter().map(|f| (text(f, "code"), text(f, "finding"))).collect()
}

#[track_caller]
fn has(found: &[(String, String)], code: &str, text: &str) {
    assert!(
        found.iter().any(|(c, s)| c == code && s.contains(text)),
        "{code} '{text}': {found:#?}"
    );
}

#[track_caller]
fn has_not(found: &[(String, String)], code: &str) {
    assert!(!found.iter().any(|(c, _)| c == code), "{code}: {found:#?}");
}

/// The command as an operator types it, in this thread's network.
fn command(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironhatch"))
        .arg("--config")
        .arg(dir.join("ironhatch.toml"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn run(program: &str, arguments: &str) {
    let done = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(done.status.success(), "{program} {arguments}: {done:?}");
}

#[test]
fn a_good_segment_is_found_good_and_no_sighting_stays() {
    in_namespace(async |_lab| {
        let wire = Wire::plug();
        let dir = folder();
        let _dnsmasq = dnsmasq(&wire, QUICK);
        let daemon = Daemon::start_with(dir.path(), &pxe("enroll"), "");
        let found = look(&daemon);
        // On a busy machine it may also be found slow.
        assert!(
            found.iter().any(|(_, s)| s.contains("The DHCP server 198.51.100.77")),
            "{found:#?}"
        );
        has(&found, "ok", "Questions on us0 reach the daemon on UDP 67, 4011 and 69.");
        has(&found, "ok", "us0 is up with the address 198.51.100.10.");
        has(&found, "ok", "http://192.0.2.10:8080 leads to this daemon.");
        has(&found, "ok", "UDP 4011 (boot server) is served.");
        has(&found, "public-url-elsewhere", "is not in 198.51.100.0/24");
        has(&found, "no-image", "");
        for code in ["not-checked", "second-boot-server", "dhcp-server-names-boot-file"] {
            has_not(&found, code);
        }
        assert_eq!(daemon.get("/api/sightings")["sightings"], json!([]));
        assert_eq!(findings(&daemon.get("/api/doctor")), found, "the last report is kept");
        daemon.wait_for_page("/health", "The DHCP server 198.51.100.77");

        // The command asks the daemon.
        let typed = command(dir.path(), &["doctor", "--all"]);
        let told = String::from_utf8_lossy(&typed.stdout);
        assert!(told.contains("dhcp: The DHCP server 198.51.100.77"), "{typed:?}");
        assert!(told.contains("(no-image)"), "{typed:?}");
    });
}

#[test]
fn a_dhcp_server_that_plays_pxe_a_second_boot_server_and_a_closed_port_are_found() {
    in_namespace(async |_lab| {
        let wire = Wire::plug();
        let dir = folder();
        // Option 60, and a boot file that nobody cleaned up; it also asks for three seconds whether an address is free.
        let dhcp = dnsmasq(
            &wire,
            &[
                "--dhcp-range=198.51.100.50,198.51.100.60,1h",
                "--dhcp-option-force=60,PXEClient",
                "--dhcp-boot=pxelinux.0,old,198.51.100.200",
            ],
        );
        // What a firewall does, without one: the kernel drops what comes in for this port.
        run("ip", "xfrm policy add dir in proto udp dport 4011 action block");
        let daemon = Daemon::start_with(dir.path(), &pxe("ignore"), "");
        let found = look(&daemon);
        has(&found, "dhcp-server-claims-pxe", "The DHCP server 198.51.100.77");
        has(&found, "dhcp-server-names-boot-file", "'pxelinux.0' on 198.51.100.200");
        has(&found, "slow-dhcp-server", "took ");
        has(&found, "not-heard-boot-server", "us0");
        has_not(&found, "not-heard-dhcp");
        has_not(&found, "no-tftp");
        // Silence that is meant is no fault.
        let (played, _) = play(dir.path(), "uefi", 0);
        assert!(played["verdict"].as_str().unwrap().contains("pxe.unknown"), "{played}");
        drop(dhcp);

        let _proxy = dnsmasq(
            &wire,
            &[
                "--dhcp-range=198.51.100.0,proxy",
                "--dhcp-boot=lpxelinux.0",
                "--pxe-service=x86-64_EFI,boot,other.efi",
            ],
        );
        run("ip", "xfrm policy flush");
        run("ip", "xfrm policy add dir in proto udp dport 67 action block");
        let found = look(&daemon);
        has(&found, "second-boot-server", "198.51.100.77 is a second boot server on us0");
        has(&found, "no-dhcp-server", "us0");
        has(&found, "not-heard-dhcp", "us0");
        has_not(&found, "not-heard-boot-server");
        assert_eq!(daemon.get("/api/sightings")["sightings"], json!([]));
    });
}

#[test]
fn without_a_daemon_the_command_looks_alone_and_says_what_keeps_it_from_starting() {
    in_namespace(async |_lab| {
        let wire = Wire::plug();
        let dir = folder();
        let _dnsmasq = dnsmasq(&wire, QUICK);
        appliance::configure(dir.path(), &pxe("enroll"), "");
        let _udp = UdpSocket::bind("0.0.0.0:69").unwrap();
        let _tcp = TcpListener::bind("192.0.2.10:8080").unwrap();
        let typed = command(dir.path(), &["doctor", "--json"]);
        assert_eq!(typed.status.code(), Some(1), "{typed:?}");
        let report: Value = serde_json::from_slice(&typed.stdout).unwrap();
        assert_eq!(report["worst"], "error");
        let found = findings(&report);
        let pid = std::process::id();
        has(&found, "not-running", "control.sock");
        has(&found, "port-taken", "UDP 69 (TFTP) is taken by it-");
        has(&found, "port-taken", "The HTTP port 8080 is taken by it-");
        has(&found, "port-taken", &format!("(process {pid})"));
        has(&found, "ok", "UDP 67 (DHCP) is free for the daemon.");
        assert!(
            found.iter().any(|(_, s)| s.contains("The DHCP server 198.51.100.77")),
            "{found:#?}"
        );

        // A configuration that does not even parse.
        std::fs::write(dir.path().join("ironhatch.toml"), "[serwer]\n").unwrap();
        let typed = command(dir.path(), &["doctor"]);
        assert_eq!(typed.status.code(), Some(1), "{typed:?}");
        let told = String::from_utf8_lossy(&typed.stdout);
        assert!(told.contains("ERROR    configuration:") && told.contains("serwer"), "{told}");
        assert!(told.contains("(not-running)"), "{told}");
    });
}

/// The texts of a played boot's timeline.
fn play(dir: &Path, firmware: &str, code: i32) -> (Value, String) {
    let typed = command(dir, &["doctor", "--simulate", firmware, "--json"]);
    assert_eq!(typed.status.code(), Some(code), "{typed:?}");
    let played: Value = serde_json::from_slice(&typed.stdout).unwrap();
    let lines = played["lines"].as_array().unwrap().iter();
    let text: Vec<&str> = lines.map(|line| line["text"].as_str().unwrap()).collect();
    let text = text.join("\n");
    (played, text)
}

#[test]
fn a_played_machine_of_each_firmware_reaches_its_boot_script_and_leaves_no_trace() {
    in_namespace(async |_lab| {
        let wire = Wire::plug();
        let dir = folder();
        let lan = dnsmasq(&wire, QUICK);
        let daemon = Daemon::start_with(dir.path(), &pxe("enroll"), "");
        let program = "http://192.0.2.10:8080/boot/ipxe/snponly.efi";
        for (firmware, told) in [
            ("bios", &["loads undionly.kpxe from 198.51.100.10 by TFTP", "TFTP tells"][..]),
            ("uefi", &["asks 198.51.100.10 on UDP 4011", "loads snponly.efi from 198.51.100.10"]),
            ("http", &[&format!("loads {program}"), "HTTP tells application/efi"]),
        ] {
            let (played, text) = play(dir.path(), firmware, 0);
            let always = [
                "198.51.100.77 offers the address 198.51.100.",
                "as they should be",
                "http://192.0.2.10:8080/boot/start.ipxe",
                "boot script: notice for an unregistered machine",
                "then boots its own disk",
            ];
            for line in told.iter().copied().chain(always) {
                assert!(text.contains(line), "{firmware}: '{line}' in\n{text}\n{played}");
            }
            assert_eq!(played["worst"], "ok");
        }
        assert_eq!(daemon.get("/api/sightings")["sightings"], json!([]));
        drop(lan);

        // The same machine beside a DHCP server that says that it is a boot server.
        let more = &[
            "--dhcp-range=198.51.100.50,198.51.100.60,1h",
            "--no-ping",
            "--dhcp-option-force=60,PXEClient",
        ];
        let _dnsmasq = dnsmasq(&wire, more);
        let (played, text) = play(dir.path(), "uefi", 1);
        assert!(text.contains("takes an address and asks 198.51.100.77 on UDP 4011"), "{text}");
        assert_eq!(played["verdict"], "The machine follows 198.51.100.77 and not Ironhatch.");
    });
}

#[test]
fn on_a_segment_of_its_own_the_played_machine_is_served_by_the_daemon_alone() {
    in_namespace(async |_lab| {
        let _wire = Wire::plug();
        let dir = folder();
        let full = "mode = \"full\"\npool = \"198.51.100.100-198.51.100.109\"\n";
        let daemon = Daemon::start_with(dir.path(), &(pxe("enroll") + full), "");
        for (firmware, told) in [
            ("bios", "loads undionly.kpxe from 198.51.100.10 by TFTP"),
            ("uefi", "loads snponly.efi from 198.51.100.10"),
            ("http", "HTTP tells application/efi"),
        ] {
            let (played, text) = play(dir.path(), firmware, 0);
            for line in [
                "Ironhatch offers the address 198.51.100.10",
                told,
                "boot script: notice for an unregistered machine",
            ] {
                assert!(text.contains(line), "{firmware}: '{line}' in\n{text}\n{played}");
            }
            assert_eq!(played["worst"], "ok", "{played}");
        }
        assert_eq!(daemon.get("/api/sightings")["sightings"], json!([]));
        let found = look(&daemon);
        has_not(&found, "no-dhcp-server");
        has_not(&found, "rival-dhcp-server");
    });
}

#[test]
fn the_cluster_is_looked_at_with_the_token_of_an_enrolled_node() {
    in_namespace(async |lab| {
        let world = World::start_among(&lab, &[19], "");
        let job = world.post("/api/images", &json!({ "source": machine::iso(world.dir()) }));
        world.wait(&job, "succeeded");
        let found = look(&world.daemon);
        for sentence in [
            "The cluster's member 192.0.2.20 answers on SSH and on its API.",
            "The cluster of 2 nodes is quorate.",
            "The cluster runs Proxmox VE 9.2",
            "and an image fits it.",
            "The API token has all rights that it needs.",
        ] {
            has(&found, "ok", sentence);
        }

        world.pve.set_down("pve2");
        world.pve.set_quorate(false);
        world.pve.set_release("8.4.1");
        let found = look(&world.daemon);
        has(&found, "node-offline", "The node pve2 is offline.");
        has(&found, "not-quorate", "no quorum");
        has(&found, "image-ahead", "is newer than the cluster (8.4");
        world.pve.set_release("8.1.3");
        has(&look(&world.daemon), "release-unsupported", "Proxmox VE 8.1");
        world.pve.set_quorate(true);
        world.pve.set_release("9.2.1");

        let nodes = world.daemon.get("/api/nodes");
        let token = nodes["nodes"][0]["token_id"].as_str().unwrap_or_else(|| panic!("{nodes}"));
        world.pve.revoke_token(token);
        has(&look(&world.daemon), "token-refused", "");

        world.pve.set_down("pve1");
        has(&look(&world.daemon), "cluster-unreachable", "no member of the cluster answers");
    });
}
