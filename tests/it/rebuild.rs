//! Stories of whole rebuilds: the real daemon, a machine that speaks the installer's protocol, real OpenSSH nodes.

pub(crate) mod story;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::join::lab::{Lab, Node, Story, story as in_namespace, whole};
use crate::support::machine::{Machine, http};
use story::{Stage, World};

const STATES: [&str; 8] = [
    "registered",
    "pxe_ready",
    "pxe_booted",
    "installing",
    "installed",
    "first_boot",
    "joining",
    "ready",
];

#[test]
fn a_blank_machine_becomes_the_founding_node_and_a_second_one_joins_it() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let first = world.rebuild_to_ready("pve1", 11, |_, _| {});
        assert!(first.sh("pvecm status").contains("Quorate:          Yes"));
        let second = world.rebuild_to_ready("pve2", 12, |_, _| {});
        let nodes = first.sh("pvecm nodes");
        assert!(nodes.contains(" pve1") && nodes.contains(" pve2"), "{nodes}");
        // Seen over SSH from a host of ours: no node is enrolled, since apps are switched off.
        world.cluster_until(|cluster| {
            let fits = |(node, name): (&Value, &str)| {
                let (member, fine) = (&node["member"], node["disagrees"] == json!([]));
                fine && node["name"] == name && member["version"] == "9.2.11"
            };
            let nodes = cluster["nodes"].as_array().unwrap();
            cluster["error"].is_null()
                && cluster["quorate"] == true
                && nodes.len() == 2
                && nodes.iter().zip(["pve1", "pve2"]).all(fits)
        });
        for host in ["pve1", "pve2"] {
            world.assert_no_secret_left(host, &[&first, &second]);
        }
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
    });
}

/// A world whose configuration names this member, which lets the appliance in.
fn beside<'a>(lab: &'a Lab, member: &Node) -> World<'a> {
    let pinned = &member.target().host_keys[0];
    let words: Vec<&str> = pinned.split(' ').take(2).collect();
    let mut world = World::start(
        lab,
        &format!(
            "[proxmox]\nexisting_node = \"192.0.2.21\"\nmember_host_key = \"{}\"\n",
            words.join(" ")
        ),
    );
    world.import_image();
    let key = world.daemon.get("/api/cluster/key")["public_key"].as_str().unwrap().to_owned();
    member.sh(&format!("echo '{key}' >> /etc/pve/priv/authorized_keys"));
    world
}

#[test]
fn a_join_lets_the_rebuild_of_a_half_joined_host_go_first() {
    in_namespace(async |lab| {
        let member = lab.cluster("old1", 21);
        // What a rebuild of pve1 leaves that ends in the middle: the cluster counts it, and it never came.
        let half = lab.fresh("pve1", 11);
        half.sh("echo quorum >/var/lib/pve-cluster/.double/die-at");
        whole(half.joining(&member), &Story::default()).await.unwrap_err();
        half.power_off(&member);
        member.sh("pvecm expected 1");
        let status = member.sh("cat /etc/pve/corosync.conf; pvecm status");
        assert!(
            status.contains("name: pve1") && status.contains("Quorate:          Yes"),
            "{status}"
        );
        let mut world = beside(&lab, &member);
        world.replace_node = true;
        world.add_host("pve1", 11);
        // The other one is in the middle of its join and cannot go on, and would not for many minutes.
        let mut first = None;
        let second = world.rebuild_to_ready("pve2", 12, |world, state| {
            if state == "joining" && first.is_none() {
                first = Some(world.rebuild_to_ready("pve1", 11, |_, _| {}));
            }
        });
        let nodes = member.sh("pvecm nodes");
        assert!(nodes.contains(" pve1") && nodes.contains(" pve2"), "{nodes}");
        for (host, node) in [("pve1", first.as_ref().unwrap()), ("pve2", &second)] {
            world.assert_no_secret_left(host, &[node, &member]);
        }
        let job = world.last_job("pve2")["id"].as_str().unwrap().to_owned();
        let log = world.daemon.get(&format!("/api/jobs/{job}/logs")).to_string();
        assert!(log.contains("'pve1' was left half joined"), "{log}");
    });
}

#[test]
fn a_machine_joins_the_existing_cluster_of_the_configuration() {
    in_namespace(async |lab| {
        let member = lab.cluster("old1", 21);
        let mut world = beside(&lab, &member);
        let node = world.rebuild_to_ready("pve1", 11, |_, _| {});
        assert!(member.sh("pvecm nodes").contains(" pve1"));
        world.assert_no_secret_left("pve1", &[&node, &member]);
    });
}

#[test]
fn kill_9_in_every_state_still_ends_in_ready() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let mut killed = Vec::new();
        let node = world.rebuild_to_ready("pve1", 11, |world, state| {
            if !killed.contains(&state.to_owned()) {
                killed.push(state.to_owned());
                world.daemon.kill_and_restart();
            }
        });
        for state in &STATES[1..] {
            assert!(killed.iter().any(|k| k == state), "never killed in {state}: {killed:?}");
        }
        world.assert_no_secret_left("pve1", &[&node]);
    });
}

#[test]
fn nothing_is_released_to_a_machine_that_is_not_the_armed_host() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let host = world.add_host("pve1", 1);
        let machine = Machine::new(1);

        // Not armed: local boot, whatever it asks.
        assert!(!machine.script().text().contains("proxmox-start-auto-installer"));
        let unarmed = machine.ask("/api/boot/answer", &machine.facts());
        assert_eq!(unarmed.status, 403, "{}", unarmed.text());
        let guessed =
            machine.ask(&format!("/api/boot/answer/{}", "0".repeat(32)), &machine.facts());
        assert_eq!(guessed.status, 403, "{}", guessed.text());

        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let script = machine.boot(world.dir());
        world.daemon.wait_for_state("pve1", "pxe_booted");
        let url = machine.answer_url(world.dir());

        let stranger = Machine::new(9);
        assert_eq!(stranger.ask(&url, &stranger.facts()).status, 403, "another machine's MAC");
        let mut facts = machine.facts();
        facts["product"]["product"] = json!("pbs");
        assert_eq!(machine.ask(&url, &facts).status, 403, "another product");
        let mut facts = machine.facts();
        facts["iso"]["release"] = json!("8.4");
        assert_eq!(machine.ask(&url, &facts).status, 409, "another release");
        let mut facts = machine.facts();
        facts["dmi"]["system"]["uuid"] = json!("4c4c4544-0042-3010-8054-b5c04f4effff");
        assert_eq!(machine.ask(&url, &facts).status, 403, "another mainboard");
        for (body, status) in [
            (&b"not json"[..], 400),
            (b"[]", 400),
            (br#"{"product":7}"#, 400),
            (&vec![b' '; 10 << 20][..], 413),
        ] {
            let reply = http("POST", &url, &[("content-type", "application/json")], body);
            assert_eq!(reply.status, status, "{}", reply.text());
            assert_eq!(reply.text().trim_end().lines().count(), 1, "one line: {}", reply.text());
        }
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_booted", "nothing moved");

        // The right machine gets it once; the ISO is closed from then on.
        let installed = machine.install(&url);
        world.daemon.wait_for_state("pve1", "installing");
        let again = machine.ask(&url, &machine.facts());
        assert_eq!(again.status, 409, "{}", again.text());
        assert_eq!(http("GET", &format!("{}/proxmox.iso", script.base), &[], b"").status, 403);
        assert!(!machine.script().text().contains("proxmox-start-auto-installer"));

        // Callbacks of strangers change nothing.
        let other = world.add_host("pve2", 2);
        let key =
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
                .to_owned()];
        assert_eq!(machine.phone_home(&other, &installed.token, "192.0.2.11", &key).status, 403);
        assert_eq!(machine.phone_home(&host, &"1".repeat(32), "192.0.2.11", &key).status, 403);
        assert_eq!(machine.phone_home(&host, "", "192.0.2.11", &key).status, 403);
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "installing");

        // Cancelled: the token opens nothing any more, the host is free, the story is on record.
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        assert_eq!(machine.phone_home(&host, &installed.token, "192.0.2.11", &key).status, 403);
        let host = world.daemon.get("/api/hosts/pve1");
        assert_eq!(host["state"], "failed");
        assert_eq!(host["failure"]["from"], "installing");
        assert_eq!(host["job"], json!(null));
        world.assert_no_secret_left("pve1", &[]);
    });
}

#[test]
fn a_disk_that_was_changed_after_the_confirmation_is_not_erased() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let machine = Machine::new(1);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let file = world.dir().join("server-types/lab.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("DISK1", "DISK2")).unwrap();
        let begun = Instant::now();
        while !world.daemon.get("/api/server-types").to_string().contains("DISK2") {
            assert!(begun.elapsed().as_secs() < 20, "the server type was not read again");
            std::thread::sleep(Duration::from_millis(50));
        }
        machine.boot(world.dir());
        let reply = machine.ask(&machine.answer_url(world.dir()), &machine.facts());
        assert_eq!(reply.status, 409, "{}", reply.text());
        assert!(
            reply.text().contains("changed after the rebuild was confirmed"),
            "{}",
            reply.text()
        );
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_booted");
    });
}

#[test]
fn a_busy_host_refuses_a_second_rebuild_and_its_deletion_with_the_jobs_link() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let wrong = world.try_rebuild("pve1", "pve2");
        assert_eq!(wrong.status, 422, "{wrong:?}");
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        for (method, path, body) in [
            ("POST", "/api/hosts/pve1/rebuild", Some(json!({ "confirm": "pve1" }))),
            ("DELETE", "/api/hosts/pve1", None),
        ] {
            let refused = world.daemon.request(method, path, body.as_ref());
            assert_eq!(refused.status, 409, "{refused:?}");
            assert!(refused.body.to_string().contains(&job), "{refused:?}");
        }
    });
}

#[test]
fn a_lost_webhook_is_survived_and_late_or_doubled_messages_change_nothing() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let node = world.rebuild_through(
            "pve1",
            11,
            &[Stage::Boot, Stage::Answer, Stage::PhoneHome],
            |_, _| {},
        );
        assert!(node.sh("pvecm status").contains("Quorate:          Yes"));
        let job = world.last_job("pve1");
        let step = |id: &str| {
            job["steps"].as_array().unwrap().iter().find(|s| s["id"] == id).unwrap()["status"]
                .clone()
        };
        assert_eq!(step("install"), "skipped");
        assert_eq!(step("report"), "succeeded");

        let doubled = world.rebuild_through(
            "pve2",
            12,
            &[
                Stage::Boot,
                Stage::Boot,
                Stage::Answer,
                Stage::Webhook,
                Stage::Webhook,
                Stage::PhoneHome,
                Stage::PhoneHome,
                Stage::Webhook,
            ],
            |_, _| {},
        );
        assert!(doubled.sh("pvecm nodes").contains(" pve2"));
    });
}

#[test]
fn with_tls_the_answer_and_the_call_back_travel_over_a_pinned_certificate() {
    in_namespace(async |lab| {
        let mut world =
            World::start_serving(&lab, "tls = \"auto\"\ntls_listen = \"192.0.2.10:8443\"\n");
        world.import_image();
        world.add_host("pve1", 1);
        let machine = Machine::new(1);
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        machine.boot(world.dir());
        let url = machine.answer_url(world.dir());
        assert!(url.starts_with("https://192.0.2.10:8443/api/boot/answer/"), "{url}");
        let certificate = world.dir().join("data/tls.crt");
        let mode = std::fs::read_to_string(world.dir().join("mode.toml")).unwrap();
        assert!(mode.contains(&fingerprint(&certificate)), "{mode}");

        let curl = |arguments: &[&str]| {
            let mut command = std::process::Command::new("curl");
            command.args(["--silent", "--fail", "--noproxy", "*", "--cacert"]).arg(&certificate);
            let done = command.args(arguments).output().expect("these tests need curl");
            assert!(done.status.success(), "{done:?}");
            String::from_utf8(done.stdout).unwrap()
        };
        let facts = machine.facts().to_string();
        let answer: toml::Table =
            curl(&["--data-binary", &facts, "--header", "accept: application/toml", &url])
                .parse()
                .unwrap();
        for section in ["post-installation-webhook", "first-boot"] {
            assert_eq!(
                answer[section]["cert-fingerprint"]
                    .as_str()
                    .unwrap()
                    .replace(':', "")
                    .to_lowercase(),
                fingerprint(&certificate).replace(':', "").to_lowercase()
            );
        }
        let script = curl(&[answer["first-boot"]["url"].as_str().unwrap()]);
        let file = world.dir().join("first-boot");
        std::fs::write(&file, script).unwrap();
        let done = std::process::Command::new("sh").arg(&file).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(!file.exists(), "the script holds the token and removes itself");
        let host = world.daemon.get("/api/hosts/pve1");
        assert!(
            ["first_boot", "joining", "failed"].contains(&host["state"].as_str().unwrap()),
            "{host}"
        );
    });
}

/// SHA-256 over the DER certificate, as hex pairs with colons.
fn fingerprint(certificate: &std::path::Path) -> String {
    use rustls::pki_types::pem::PemObject as _;
    use sha2::Digest as _;
    let der = rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap();
    let pairs: Vec<String> =
        sha2::Sha256::digest(&der).iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}

#[test]
fn two_daemons_never_share_a_data_directory() {
    in_namespace(async |lab| {
        let world = World::start(&lab, "");
        let second = std::process::Command::new(env!("CARGO_BIN_EXE_ironhatch"))
            .arg("--config")
            .arg(world.dir().join("ironhatch.toml"))
            .arg("serve")
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        let text = String::from_utf8_lossy(&second.stderr);
        assert!(text.contains("ironhatch.redb"), "{text}");
        world.daemon.get("/api/hosts");
    });
}

#[test]
fn a_cancel_while_the_member_is_down_takes_the_key_off_the_node_and_tells_the_reporters() {
    in_namespace(async |lab| {
        let member = lab.cluster("old1", 21);
        let pinned = member.target().host_keys[0].clone();
        let words: Vec<&str> = pinned.split(' ').take(2).collect();
        let receiver = TcpListener::bind("192.0.2.10:9009").unwrap();
        let mut world = World::start(
            &lab,
            &format!(
                "[proxmox]\nexisting_node = \"192.0.2.21\"\nmember_host_key = \"{}\"\n\
                 [[webhook]]\nurl = \"http://192.0.2.10:9009/hook\"\nevents = [\"host.failed\"]\n",
                words.join(" ")
            ),
        );
        world.import_image();
        let key = world.daemon.get("/api/cluster/key")["public_key"].as_str().unwrap().to_owned();
        member.sh(&format!("echo '{key}' >> /etc/pve/priv/authorized_keys"));
        let host = world.add_host("pve1", 11);
        let machine = Machine::new(11);
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        machine.boot(world.dir());
        let taken = machine.install(&machine.answer_url(world.dir()));
        let line = taken.answer["global"]["root-ssh-keys"][0].as_str().unwrap().to_owned();
        let node = lab.installed("pve1", 11, &line);
        drop(member);
        let called = machine.phone_home(&host, &taken.token, "192.0.2.11", &node.host_keys());
        assert_eq!(called.status, 200, "{}", called.text());
        world.daemon.wait_for_state("pve1", "joining");

        // Whoever claims the MAC now does not move the node.
        machine.script();
        assert_eq!(world.daemon.get("/api/hosts/pve1")["address"], "192.0.2.11");

        let begun = Instant::now();
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
        world.assert_no_secret_left("pve1", &[&node]);

        let (mut stream, _) = receiver.accept().unwrap();
        let mut told = String::new();
        while !told.contains("cancelled by the operator") {
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "{told}");
            told += &String::from_utf8_lossy(&buffer[..n]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(told.contains(&format!("idempotency-key: ironhatch-{job}-host.failed")), "{told}");
        assert!(told.contains("\"state\":\"failed\"") && told.contains("pve1"), "{told}");
    });
}
