//! The cluster as an appliance without apps sees it: over SSH, from a member that runs a real OpenSSH server.

use std::time::Duration;

use serde_json::{Value, json};

use crate::join::lab::{Node, story as in_namespace};
use crate::rebuild::story::World;

/// Everything that a look could have changed on the member.
fn files(member: &Node) -> String {
    member.sh("find /etc /root /var/lib/pve-cluster -type f -exec sha256sum {} + | sort")
}

fn names(cluster: &Value) -> Vec<&str> {
    cluster["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect()
}

#[test]
fn without_apps_the_cluster_is_seen_over_ssh_and_no_look_changes_it() {
    in_namespace(async |lab| {
        let member = lab.cluster("old1", 21);
        member.sh("touch /etc/pve/nodes/old1/lxc/101.conf");
        let pinned = &member.host_keys()[0];
        let proxmox =
            format!("[proxmox]\nexisting_node = \"192.0.2.21\"\nmember_host_key = \"{pinned}\"\n");
        let mut world = World::start(&lab, &proxmox);

        // A look makes no key.
        let keyless = world.daemon.get("/api/cluster");
        let detail = keyless["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("no key yet"), "{keyless}");
        let key = world.daemon.get("/api/cluster/key")["public_key"].as_str().unwrap().to_owned();
        let shut = world.daemon.get("/api/cluster");
        let detail = shut["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("does not let us in"), "{shut}");
        assert_eq!((&shut["seen"], names(&shut).len()), (&Value::Null, 0), "{shut}");

        member.sh(&format!("echo '{key}' >> /etc/pve/priv/authorized_keys"));
        let before = files(&member);
        assert!(before.contains("/etc/pve/priv/authorized_keys"), "{before}");
        let seen = world.cluster_until(|seen| seen["nodes"][0]["member"]["version"] == "9.2.11");
        assert_eq!((&seen["error"], &seen["quorate"]), (&Value::Null, &json!(true)), "{seen}");
        let told = json!({
            "name": "old1",
            "member": {
                "name": "old1", "online": true, "version": "9.2.11", "cores": 4, "memory_mb": 8192,
                "used_memory_mb": 2048, "uptime_secs": 3600, "guests": 1, "running": 0,
            },
            "host": null, "host_state": null, "enrolled": false, "disagrees": [],
        });
        assert_eq!(seen["nodes"], json!([told]));
        assert_eq!(files(&member), before, "looking changes nothing");

        // A node that never came takes the majority away.
        member.sh("pvecm addnode pve2 --link0 192.0.2.22");
        world.daemon.set_clock_ahead(Duration::from_mins(1));
        let halved = world.cluster_until(|seen| seen["error"].is_null() && names(seen).len() == 2);
        assert_eq!((&halved["quorate"], names(&halved)), (&json!(false), vec!["old1", "pve2"]));
        let away = &halved["nodes"][1];
        assert_eq!(away["member"]["online"], false, "{away}");
        assert_eq!(away["disagrees"], json!(["the cluster says that it is offline"]));

        // What was seen stays, with the reason why nothing newer is.
        drop(member);
        world.daemon.set_clock_ahead(Duration::from_mins(2));
        let gone = world.daemon.get("/api/cluster");
        assert!(gone["error"]["detail"].as_str().unwrap().contains("192.0.2.21"), "{gone}");
        assert_eq!((&gone["seen"], names(&gone)), (&halved["seen"], vec!["old1", "pve2"]));
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
    });
}
