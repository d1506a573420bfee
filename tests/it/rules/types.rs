//! Server types that are edited while a machine waits: what is previewed is what is sent, and a disk that was not
//! confirmed is not erased.

use std::fs;

use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::appliance::server_type;
use crate::support::daemon::Answer;
use crate::support::machine::Machine;

/// Puts a text in place over the one that is there.
fn put(world: &World<'_>, text: &str) -> Answer {
    let hash = world.daemon.get("/api/server-types/lab")["hash"].clone();
    let body = json!({ "text": text, "replaces": hash });
    world.daemon.request("PUT", "/api/server-types/lab", Some(&body))
}

fn rule<'a>(preview: &'a Value, words: &str) -> &'a Value {
    let checks = preview["checks"].as_array().unwrap();
    checks.iter().find(|c| c["rule"].as_str().unwrap().contains(words)).unwrap()
}

/// Rules 1 and 2.
#[test]
fn an_edited_type_arms_nobody_and_its_new_disk_is_not_erased_by_a_confirmed_rebuild() {
    in_namespace(async |lab| {
        let more = "[credentials]\nssh_keys = [\"ssh-ed25519 \
                    AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f you@desk\"]\n";
        let mut world = World::start(&lab, more);
        world.import_image();
        world.add_host("pve1", 1);
        world.add_host("pve2", 2);
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        let machine = Machine::new(1);
        machine.boot(world.dir());
        let url = machine.answer_url(world.dir());

        // Another disk: the machine that waits gets no answer, and the look at the edit says so before.
        let disk = |serial: &str| {
            let disk = format!("{{ property = \"ID_SERIAL_SHORT\", value = \"{serial}\" }}");
            format!("# of the rack\n{}", server_type(&disk))
        };
        let body = json!({ "text": disk("DISK2") });
        let looked = world.daemon.post("/api/server-types/lab/preview", &body);
        assert_eq!(looked["other_disk"], json!(["pve1"]), "{looked:#}");
        assert_eq!(looked["after"]["disk"]["disks"], "the disk whose ID_SERIAL_SHORT is “DISK2”");
        assert!(looked["difference"].to_string().contains("DISK2"), "{looked:#}");
        let saved = put(&world, &disk("DISK2"));
        assert_eq!(saved.status, 200, "{saved:?}");
        let preview = world.daemon.get("/api/hosts/pve1/answer");
        assert_eq!(preview["is_sendable"], false);
        assert_eq!(rule(&preview, "confirmed")["outcome"], "failed", "{preview:#}");
        let refused = machine.ask(&url, &machine.facts());
        assert_eq!(refused.status, 409, "{}", refused.text());
        assert!(!refused.text().contains("DISK2"), "{}", refused.text());
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], "pxe_booted");
        let other = world.daemon.get("/api/hosts/pve2");
        assert_eq!((&other["state"], &other["job"]), (&json!("registered"), &Value::Null));

        // The file is as it was written, readable as before, and nothing lies beside it.
        let file = world.dir().join("server-types/lab.toml");
        assert_eq!(fs::read_to_string(&file).unwrap(), disk("DISK2"));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
        // A file that is changed by hand meanwhile is not overwritten.
        let hash = world.daemon.get("/api/server-types/lab")["hash"].clone();
        fs::write(&file, disk("DISK3")).unwrap();
        let body = json!({ "text": disk("DISK1"), "replaces": hash });
        let stale = world.daemon.request("PUT", "/api/server-types/lab", Some(&body));
        assert_eq!(stale.status, 409, "{stale:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), disk("DISK3"));

        // With the confirmed disk again the machine is answered, with what the look showed, but for its secrets.
        let edited = disk("DISK1") + "[answer.global]\ncountry = \"at\"\n";
        assert_eq!(put(&world, &edited).status, 200);
        let preview = world.daemon.get("/api/hosts/pve1/answer");
        assert_eq!(preview["is_sendable"], true, "{preview:#}");
        let shown = preview["text"].as_str().unwrap();
        let served = machine.ask(&url, &machine.facts());
        assert_eq!(served.status, 200, "{}", served.text());
        let served = served.text();
        let answer: toml::Table = served.parse().unwrap();
        let global = answer["global"].as_table().unwrap();
        let token = url.rsplit('/').next().unwrap();
        let secrets = [
            ("(password hash)", global["root-password-hashed"].as_str().unwrap()),
            ("(public key of the rebuild)", global["root-ssh-keys"][0].as_str().unwrap()),
            ("(install token)", token),
        ];
        let filled = secrets.iter().fold(shown.to_owned(), |text, (blank, secret)| {
            assert!(!shown.contains(secret), "{secret} is shown");
            assert!(shown.contains(blank), "{blank} in {shown}");
            text.replace(blank, secret)
        });
        assert_eq!(filled, served);
        assert_eq!(global["country"].as_str(), Some("at"));
        assert_eq!(global["root-ssh-keys"].as_array().unwrap().len(), 2);
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
    });
}
