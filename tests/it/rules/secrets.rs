//! Rule 5: a rebuild's token and private key are in no file, log, reply or page, and nothing sealed is left at its end.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::bundle::bundle;
use crate::join::lab::story as in_namespace;
use crate::rebuild::story::{Stage, World};
use crate::support::machine::{Machine, http};

/// Every file below the directory that holds this text.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// The beginning of an OpenSSH private key, as text and in base64, and of other forms.
const PRIVATE: [&str; 4] = ["PRIVATE KEY", "openssh-key-v1", "b3BlbnNzaC1rZXktdjE", "b3BlbnNza"];

fn assert_told_nowhere(world: &World, job: &str, token: &str) {
    let dir = world.dir();
    let mut replies = world.daemon.log();
    for path in [
        "/api/hosts",
        "/api/hosts/pve1",
        "/api/jobs",
        "/api/images",
        "/api/sightings",
        &format!("/api/jobs/{job}"),
        &format!("/api/jobs/{job}/logs?limit=1000"),
        "/",
        "/hosts/pve1",
        "/images",
        &format!("/jobs/{job}"),
    ] {
        replies += &world.daemon.page(path);
    }
    for (name, text) in bundle(&world.daemon.socket(), &dir.join("bundle.tar.gz")) {
        replies += &format!("{name}\n{text}");
    }
    for text in PRIVATE.into_iter().chain([token]) {
        assert!(!replies.contains(text), "'{text}' is told");
        let found = files_with(&dir.join("data"), text);
        assert!(found.is_empty(), "'{text}' is in {found:?}");
    }
    let host = world.daemon.get("/api/hosts/pve1");
    let marker = format!("marker-{}", host["state"].as_str().unwrap().replace('_', "-"));
    world.daemon.post(
        "/api/hosts",
        &json!({ "hostname": marker, "macs": [Machine::new(200 + marker_number(&marker)).mac], "server_type": "lab" }),
    );
    let events = serde_json::Value::from(world.daemon.events_to(&marker)).to_string();
    for text in PRIVATE.into_iter().chain([token]) {
        assert!(!events.contains(text), "'{text}' is in the events");
    }
}

fn marker_number(marker: &str) -> u8 {
    u8::try_from(marker.bytes().map(usize::from).sum::<usize>() % 50).unwrap()
}

#[test]
fn token_and_key_are_gone_when_the_host_is_ready() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let mut token = String::new();
        let all = [Stage::Boot, Stage::Answer, Stage::Webhook, Stage::PhoneHome];
        let node = world.rebuild_through("pve1", 11, &all, |world, state| {
            if state == "pxe_booted" {
                let script = Machine::new(11).script().text();
                let base = script.split("/boot/").nth(1).unwrap();
                base.split('/').next().unwrap().clone_into(&mut token);
                // Sealed while it is needed.
                let found = files_with(&world.dir().join("data"), &token);
                assert!(found.is_empty(), "the token is readable in {found:?}");
            }
        });
        assert_eq!(token.len(), 32, "{token}");
        world.assert_no_secret_left("pve1", &[&node]);
        let job = world.last_job("pve1")["id"].as_str().unwrap().to_owned();
        assert_told_nowhere(&world, &job, &token);
    });
}

#[test]
fn token_and_key_are_gone_when_a_rebuild_is_cancelled_or_fails() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let machine = Machine::new(1);

        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        machine.boot(world.dir());
        let taken = machine.install(&machine.answer_url(world.dir()));
        // A stranger's attempt with the token is refused without repeating it.
        assert_eq!(Machine::new(9).phone_home("x", &taken.token, "192.0.2.9", &[]).status, 400);
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        world.daemon.wait_for_job(&job, "cancelled");
        world.assert_no_secret_left("pve1", &[]);
        assert_eq!(machine.phone_home("x", &taken.token, "192.0.2.9", &[]).status, 400);
        let spoken = http("GET", &format!("/boot/{}/linux26", taken.token), &[], b"");
        assert!(!spoken.text().contains(&taken.token), "{}", spoken.text());
        assert_told_nowhere(&world, &job, &taken.token);

        // It turns out to have too little memory: the rebuild fails with its keys already made.
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let script = machine.script().text();
        let token = script.split("/boot/").nth(1).unwrap().split('/').next().unwrap().to_owned();
        let small = format!("/ipxe/52-54-00-00-00-01?uuid={}&memory=64", machine.uuid);
        let refused = http("GET", &small, &[], b"");
        assert!(refused.text().contains("memory"), "{}", refused.text());
        world.daemon.wait_for_job(&job, "failed");
        world.assert_no_secret_left("pve1", &[]);
        let dir = world.dir().join("data");
        for text in PRIVATE.into_iter().chain([token.as_str()]) {
            assert!(files_with(&dir, text).is_empty(), "'{text}' is on the disk");
        }
    });
}
