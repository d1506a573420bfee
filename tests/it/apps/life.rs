//! The life of a guest: installed, changed, upgraded, taken back, backed up, removed.

use serde_json::json;

use super::world::{PLANTED, World, order};
use crate::join::lab::story;

#[test]
fn an_app_is_installed_verified_and_uninstalled() {
    story(async |lab| {
        let world = World::start(&lab);
        let job = world.ask_for("web1", &[("volume.data", "3"), ("description", "for the team")]);
        let done = world.wait(&job, "succeeded");
        let names: Vec<&str> =
            done["steps"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
        assert_eq!(names.first(), Some(&"validate_request"));
        assert!(names.contains(&"collect_outputs"), "{names:?}");

        let conf = world.conf(0).unwrap();
        assert_eq!(conf.get("tags"), Some("ironhatch;ironhatch-app-hello"));
        assert_eq!(conf.get("hostname"), Some("web1"));
        assert!(conf.unprivileged());
        assert_eq!(conf.mounts()[&0].get("mp"), Some("/srv/data"));
        let users = world.node.sh("cat /etc/pve/user.cfg");
        assert!(users.contains("pool:ironhatch:") && users.contains("200"), "{users}");
        assert_eq!(world.page("192.0.2.22"), "page one: a title\n");
        let log = world.log(&job);
        assert!(log.contains("installing page one"), "{log}");
        assert!(log.contains("the password is [secret]"), "{log}");
        assert!(!log.contains(PLANTED), "{log}");
        // What was staged is gone from the container.
        assert_eq!(world.node.sh("ls /var/lib/lxc-double/200/opt"), "");

        let guest = world.guest("web1");
        assert_eq!(guest["state"], "ready");
        assert_eq!(guest["outputs"][0]["value"], "http://192.0.2.22:8080/");
        assert_eq!(guest["outputs"][1]["value"], "by hand");
        assert_eq!(guest["outputs"][2]["value"], json!(null));

        // Its own journal: there is none at first, then one that a program in the guest tells.
        let logs = format!("/api/guests/{}/logs?lines=7", guest["id"].as_str().unwrap());
        let none = world.daemon.request("GET", &logs, None);
        assert_eq!(none.status, 422, "{none:?}");
        assert!(none.body["detail"].as_str().unwrap().contains("no systemd journal"), "{none:?}");
        world.node.sh(&format!(
            "printf '#!/bin/sh\\necho \"$@\"; echo \"password {PLANTED} typed\"\\n' \
             >/var/lib/lxc-double/200/usr/bin/journalctl; chmod 755 /var/lib/lxc-double/200/usr/bin/journalctl"
        ));
        let told = world.daemon.get(&format!("{logs}&unit=web"));
        let lines = [
            "--no-pager --quiet --output=short-iso --lines=7 --unit=web",
            "password [secret] typed",
        ];
        assert_eq!(told["lines"], json!(lines));

        world.act("web1", "power", &json!({ "action": "stop" }), "succeeded");
        assert!(!world.pve.is_running(world.vmid(0)));
        assert_eq!(world.daemon.request("GET", &logs, None).status, 409);
        world.act("web1", "power", &json!({ "action": "start" }), "succeeded");
        assert!(world.pve.is_running(world.vmid(0)));

        let wrong = json!({ "guest": guest["id"], "keep_volumes": false, "confirm": "web2" });
        assert_eq!(world.try_post("/api/uninstall", &wrong).status, 422);
        let right = json!({ "guest": guest["id"], "keep_volumes": true, "confirm": "web1" });
        let volume = world.conf(0).unwrap().mounts()[&0].bare().unwrap().to_owned();
        let job = world.post("/api/uninstall", &right);
        world.wait(&job, "succeeded");
        assert!(world.conf(0).is_none());
        assert!(world.find("web1").is_none());
        // What was kept holds the number until the operator forgets it.
        let kept = || world.daemon.get("/api/kept-volumes")["kept"].clone();
        assert_eq!(kept()[0]["volumes"], json!([volume]));
        let forget = "/api/kept-volumes/200/forget";
        assert_eq!(world.try_post(forget, &json!({ "confirm": "web1" })).status, 422);
        assert_eq!(world.try_post(forget, &json!({ "confirm": "200" })).status, 204);
        assert_eq!(kept(), json!([]));
        world.pve.assert_clean();
    });
}

#[test]
fn an_upgrade_has_a_way_back() {
    story(async |lab| {
        let world = World::start(&lab);
        world.install("web1");
        world.publish_version("2.0.0");
        world.act("web1", "upgrade", &json!({}), "succeeded");
        let guest = world.guest("web1");
        assert_eq!(guest["app"]["version"], "2.0.0");
        assert_eq!(
            guest["outputs"][1]["value"], "by hand",
            "an upgrade keeps what it does not know"
        );
        assert_eq!(world.page("192.0.2.22"), "page two: a title\n");
        let again = world.try_post(
            &format!("/api/guests/{}/upgrade", guest["id"].as_str().unwrap()),
            &json!({}),
        );
        assert_eq!(again.status, 409, "{again:?}");

        world.act("web1", "return", &json!({}), "succeeded");
        let guest = world.guest("web1");
        assert_eq!((&guest["app"]["version"], &guest["state"]), (&json!("1.0.0"), &json!("ready")));
        let seen = world.pve.requests();
        assert!(seen.iter().any(|r| r.path.ends_with("/rollback")), "no snapshot was gone back to");
        world.pve.assert_clean();
    });
}

#[test]
fn resources_and_inputs_are_changed_and_a_backup_comes_back() {
    story(async |lab| {
        let world = World::start(&lab);
        world.install("web1");
        // Resources alone run no script of the app, and a secret that was shown is not offered again.
        let id = world.guest("web1")["id"].as_str().unwrap().to_owned();
        let reveal =
            || world.try_post(&format!("/api/guests/{id}/reveal"), &json!({ "key": "login" }));
        assert_eq!(reveal().status, 200);
        world.act("web1", "reconfigure", &json!({ "cores": "2" }), "succeeded");
        assert_eq!(world.conf(0).unwrap().get("cores"), Some("2"));
        assert_eq!(world.guest("web1")["outputs"][1]["value"], "by hand");
        assert_eq!(reveal().status, 404);

        let change = json!({ "memory_mb": "512", "disk_gb": "3", "input.title": "another title" });
        world.act("web1", "reconfigure", &change, "succeeded");
        let conf = world.conf(0).unwrap();
        assert_eq!(conf.get("memory"), Some("512"));
        assert_eq!(conf.rootfs().unwrap().get("size"), Some("3G"));
        assert_eq!(world.page("192.0.2.22"), "page one: another title\n");

        world.act("web1", "backup", &json!({}), "succeeded");
        let id = world.guest("web1")["id"].as_str().unwrap().to_owned();
        let backups = world.daemon.get(&format!("/api/guests/{id}/backups"));
        let archive = backups["backups"][0]["volid"].as_str().unwrap().to_owned();
        let restore = json!({ "archive": archive, "confirm": "web1" });
        world.act("web1", "restore", &restore, "succeeded");
        assert_eq!(world.guest("web1")["state"], "ready");
        assert!(world.pve.is_running(world.vmid(0)));
        world.pve.assert_clean();
    });
}

#[test]
fn several_instances_of_one_app_stand_beside_each_other() {
    story(async |lab| {
        let world = World::start(&lab);
        let jobs = ["web1", "web2", "web3"].map(|name| world.ask_for(name, &[]));
        for job in &jobs {
            world.wait(job, "succeeded");
        }
        let mut numbers: Vec<u64> =
            ["web1", "web2", "web3"].map(|n| world.guest(n)["vmid"].as_u64().unwrap()).into();
        numbers.sort_unstable();
        assert_eq!(numbers, [200, 201, 202]);
        let taken = world.try_post("/api/install", &order("web2", &[]));
        assert_eq!(taken.status, 422, "{taken:?}");
        assert!(taken.body["errors"]["name"].is_string(), "{taken:?}");
        world.pve.assert_clean();
    });
}

#[test]
fn an_existing_container_is_read_only_until_it_is_adopted() {
    story(async |lab| {
        let world = World::start(&lab);
        let file = "arch: amd64\ncores: 1\nhostname: old1\nmemory: 512\nnet0: name=eth0,bridge=vmbr0,ip=dhcp\n\
                    ostype: debian\nrootfs: local-zfs:subvol-150-disk-0,size=4G\nunprivileged: 1\n";
        let vmid = ironhatch::domain::vmid::Vmid::try_from(150).unwrap();
        world.pve.add_container("pve1", vmid, file);
        let foreign = json!({ "node": "pve1", "vmid": 150 });
        let refused = world.try_post("/api/guests/observe", &foreign);
        assert_eq!(refused.status, 422, "{refused:?}");
        let hint = refused.body["hint"].as_str().unwrap().to_owned();
        assert!(hint.contains("pveum pool modify ironhatch --vms 150"), "{hint}");

        world.pve.add_to_pool("ironhatch", vmid);
        let seen = world.try_post("/api/guests/observe", &foreign);
        assert!(seen.status < 300, "{seen:?}");
        let id = world.guest("old1")["id"].as_str().unwrap().to_owned();
        let power =
            world.try_post(&format!("/api/guests/{id}/power"), &json!({ "action": "start" }));
        assert_eq!(power.status, 409, "{power:?}");
        assert_eq!(world.pve.config("pve1", vmid).unwrap().get("tags"), None);

        world.act("old1", "adopt", &json!({ "confirm": "old1" }), "succeeded");
        assert_eq!(world.pve.config("pve1", vmid).unwrap().get("tags"), Some("ironhatch"));
        world.pve.assert_clean();
    });
}

#[test]
fn a_guest_whose_container_is_gone_can_still_be_removed() {
    story(async |lab| {
        let world = World::start(&lab);
        world.install("web1");
        let id = world.guest("web1")["id"].clone();
        // Somebody moves the container out of our pool: it is there, and must not be taken for gone.
        let out =
            "sed -i 's/^pool:ironhatch:\\(.*\\):200:/pool:ironhatch:\\1::/' /etc/pve/user.cfg";
        let users = world.node.sh("cat /etc/pve/user.cfg");
        world.node.sh(out);
        assert_ne!(world.node.sh("cat /etc/pve/user.cfg"), users, "it was in the pool: {users}");
        let order = json!({ "guest": id, "keep_volumes": false, "confirm": "web1" });
        let job = world.post("/api/uninstall", &order);
        world.wait(&job, "failed");
        assert!(world.find("web1").is_some() && world.conf(0).is_some());

        // Somebody destroys it: what is left is the record.
        world.node.sh("rm /etc/pve/nodes/pve1/lxc/200.conf");
        let job = world.post("/api/uninstall", &order);
        world.wait(&job, "succeeded");
        assert!(world.find("web1").is_none());
    });
}
