//! What lies around a guest: GPUs of its node, the reverse proxy's repository, the enrolment itself, the host's stack.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::world::{World, catalogs, order, prepare, section, serve};
use crate::join::lab::{Node, story};
use crate::rebuild::story::World as Rebuild;

/// Puts one Intel GPU into a node: what the kernel shows of it, and its device node under this number. Behind it is what
/// can be opened on every machine.
fn plug_in(node: &Node, number: u32) {
    let done = node.sh(&format!(
        "pci=/run/sys/bus/pci/devices/0000:00:02.0; mkdir -p $pci /run/sys/bus/pci/drivers/i915 /run/sys/class/drm /run/dev/dri && \
         echo 0x030000 >$pci/class && echo 0x8086 >$pci/vendor && echo 0x4680 >$pci/device && \
         ln -sfn ../../drivers/i915 $pci/driver && rm -rf /run/sys/class/drm/* /run/dev/dri/* && \
         mkdir -p /run/sys/class/drm/renderD{number} && ln -s ../../../bus/pci/devices/0000:00:02.0 /run/sys/class/drm/renderD{number}/device && \
         for d in null zero random urandom tty; do [ -e /run/dev/$d ] || cp -a /dev/$d /run/dev/$d; done && \
         mknod /run/dev/dri/renderD{number} c 1 3 && \
         {{ mountpoint -q /sys/bus 2>/dev/null || mount --bind /run/sys /sys; }} && \
         {{ [ -e /dev/dri/renderD{number} ] || mount --bind /run/dev /dev; }} && echo plugged"
    ));
    assert_eq!(done, "plugged\n");
}

/// The step that looks into the guest.
fn inside(job: &serde_json::Value) -> serde_json::Value {
    let steps = job["steps"].as_array().unwrap();
    steps.iter().find(|s| s["id"] == "verify_gpu").unwrap().clone()
}

#[test]
fn a_gpu_is_attached_with_the_guests_own_group_and_found_again_under_another_number() {
    story(async |lab| {
        let world = World::start_with(&lab, "[apps.gpu]\npolicy = \"everybody\"\n");
        let without =
            world.try_post("/api/install", &order("web1", &[("app", "gpu"), ("gpu", "best")]));
        assert_eq!(without.status, 422, "there is no GPU: {without:?}");

        plug_in(&world.node, 128);
        // Enrolling again tells of it at once; otherwise the hourly look does.
        let job = world.post("/api/nodes/enroll", &json!({ "address": "192.0.2.20" }));
        world.wait(&job, "succeeded");
        std::thread::sleep(std::time::Duration::from_secs(16));
        let job = world.ask_for("web1", &[("app", "gpu"), ("gpu", "best")]);
        let done = world.wait(&job, "succeeded");
        assert_eq!(
            inside(&done)["detail"],
            "1 device nodes are there and can be opened by svc",
            "{done:#}"
        );
        let device = |world: &World| world.conf(0).unwrap().get("dev0").map(str::to_owned);
        let entry = device(&world).unwrap();
        assert!(entry.starts_with("/dev/dri/renderD128,"), "{entry}");
        assert!(entry.contains("gid=104"), "the guest's own group render: {entry}");

        world.act("web1", "power", &json!({ "action": "stop" }), "succeeded");
        plug_in(&world.node, 129);
        world.act("web1", "power", &json!({ "action": "start" }), "succeeded");
        let entry = device(&world).unwrap();
        assert!(entry.starts_with("/dev/dri/renderD129,"), "{entry}");

        // The service's user loses the group: the node is there, and is of no use.
        world.node.sh("sed -i s/:1000:104:/:1000:1000:/ /var/lib/lxc-double/200/etc/passwd");
        let done = world.act("web1", "power", &json!({ "action": "restart" }), "failed");
        let reason = done["failure"]["reason"].as_str().unwrap();
        assert!(reason.contains("opening /dev/dri/renderD129 as svc failed"), "{reason}");
        assert!(reason.contains("Permission denied"), "{reason}");
        assert_eq!(world.guest("web1")["state"], "ready");
        world.pve.assert_clean();
    });
}

/// Puts an NVIDIA GPU into a node, with a driver of this version.
fn drive(node: &Node, version: &str) {
    let done = node.sh(&format!(
        "pci=/run/sys/bus/pci/devices/0000:01:00.0; about=/run/driver/nvidia/gpus/0000:01:00.0; \
         mkdir -p $pci /run/sys/bus/pci/drivers/nvidia /run/sys/class/drm /run/dev $about && \
         echo 0x030000 >$pci/class && echo 0x10de >$pci/vendor && echo 0x1f02 >$pci/device && \
         ln -sfn ../../drivers/nvidia $pci/driver && printf 'Model: RTX\\nDevice Minor: 0\\n' >$about/information && \
         echo 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Thu' >/run/driver/nvidia/version && \
         for d in null zero random urandom tty; do [ -e /run/dev/$d ] || cp -a /dev/$d /run/dev/$d; done && \
         for d in 'nvidia0 c 1 3' 'nvidiactl c 1 3' 'nvidia-uvm c 1 3'; do \
           [ -e /run/dev/${{d%% *}} ] || mknod /run/dev/$d; done && \
         {{ [ -e /sys/bus/pci/drivers/nvidia ] || mount --bind /run/sys /sys; }} && \
         {{ [ -e /proc/driver/nvidia ] || mount --bind /run/driver /proc/driver; }} && \
         {{ [ -e /dev/nvidia0 ] || mount --bind /run/dev /dev; }} && echo driven"
    ));
    assert_eq!(done, "driven\n");
}

#[test]
fn an_upgrade_takes_a_guest_to_the_driver_that_its_node_has_now() {
    story(async |lab| {
        let world = World::start_with(&lab, "[apps.gpu]\npolicy = \"everybody\"\n");
        drive(&world.node, "550.163.01");
        // Enrolling again tells of it at once; otherwise the hourly look does.
        let job = world.post("/api/nodes/enroll", &json!({ "address": "192.0.2.20" }));
        world.wait(&job, "succeeded");
        let job = world.ask_for("web1", &[("app", "gpu"), ("gpu", "best")]);
        world.wait(&job, "succeeded");
        let devices = world.conf(0).unwrap().devices();
        assert_eq!(devices.len(), 3, "{devices:?}");

        world.act("web1", "power", &json!({ "action": "stop" }), "succeeded");
        drive(&world.node, "570.86.15");
        let start = json!({ "action": "start" });
        let refused = world.act("web1", "power", &start, "failed");
        let reason = refused["failure"]["reason"].as_str().unwrap_or_default().to_owned();
        assert!(reason.contains("570.86.15") && reason.contains("550.163.01"), "{refused:#}");

        world.publish_version("2.0.0");
        world.act("web1", "upgrade", &json!({}), "succeeded");
        assert_eq!(world.page("192.0.2.22"), "page two: a title\n");
        world.act("web1", "power", &json!({ "action": "stop" }), "succeeded");
        world.act("web1", "power", &start, "succeeded");
        world.pve.assert_clean();
    });
}

/// A bare repository with one commit on `main`.
fn first_commit(path: &str) {
    let made = std::process::Command::new("sh")
        .args([
            "-c",
            &format!(
                "cd {path} && git init -q --bare -b main . && blob=$(echo sites | git hash-object -w --stdin) && \
                 tree=$(printf '100644 blob %s\\tREADME\\n' $blob | git mktree) && \
                 commit=$(git -c user.name=x -c user.email=x@example.net commit-tree $tree -m first) && \
                 git update-ref refs/heads/main $commit"
            ),
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn an_exposed_guest_is_in_the_proxys_repository_until_it_is_uninstalled() {
    story(async |lab| {
        let repository = tempfile::Builder::new().prefix("services-").tempdir_in("/tmp").unwrap();
        let path = repository.path().display().to_string();
        let git = |arguments: &str| {
            let done = std::process::Command::new("sh")
                .args(["-c", &format!("cd {path} && git {arguments}")])
                .output()
                .unwrap();
            assert!(done.status.success(), "{arguments}: {done:?}");
            String::from_utf8(done.stdout).unwrap()
        };
        first_commit(&path);
        let config = format!("[apps.services]\nrepository = \"{path}\"\npath = \"sites\"\n");
        let world = World::start_with(&lab, &config);
        let exposed = [("expose", "public"), ("domain", "web.example.net")];
        let review = world.try_post("/api/install/review", &order("web1", &exposed));
        assert!(review.status < 300, "{review:?}");
        assert!(review.body.to_string().contains("web.example.net"), "{review:?}");

        let job = world.ask_for("web1", &exposed);
        world.wait(&job, "succeeded");
        let file = git("show main:sites/web1.yaml");
        assert!(file.contains("domain: \"web.example.net\""), "{file}");
        assert!(
            file.contains("backend: \"192.0.2.22:8080\""),
            "the container's own address: {file}"
        );

        std::thread::sleep(std::time::Duration::from_secs(16));
        let again = world.try_post("/api/install", &order("web2", &exposed));
        assert_eq!(again.status, 422, "{again:?}");
        assert!(again.body["errors"]["domain"].is_string(), "{again:?}");

        let id = world.guest("web1")["id"].clone();
        let gone = json!({ "guest": id, "keep_volumes": false, "confirm": "web1" });
        let job = world.post("/api/uninstall", &gone);
        world.wait(&job, "succeeded");
        assert_eq!(git("ls-tree -r --name-only main"), "README\n");
    });
}

#[test]
fn a_push_that_fails_leaves_a_working_guest_that_can_be_published_again() {
    story(async |lab| {
        let repository = tempfile::Builder::new().prefix("services-").tempdir_in("/tmp").unwrap();
        let path = repository.path().display().to_string();
        let sh = |text: &str| {
            let done = std::process::Command::new("sh").args(["-c", text]).output().unwrap();
            assert!(done.status.success(), "{text}: {done:?}");
        };
        first_commit(&path);
        let config = format!("[apps.services]\nrepository = \"{path}\"\npath = \"sites\"\n");
        let world = World::start_with(&lab, &config);
        sh(&format!(
            "printf '#!/bin/sh\\nexit 1\\n' >{path}/hooks/pre-receive; chmod 755 {path}/hooks/pre-receive"
        ));
        let job = world.ask_for("web1", &[("expose", "internal"), ("domain", "web.example.net")]);
        world.wait(&job, "failed");
        assert_eq!(world.guest("web1")["state"], "ready", "the guest itself works");
        assert!(world.pve.is_running(world.vmid(0)));
        sh(&format!("rm {path}/hooks/pre-receive"));
        let job = world.post(&format!("/api/jobs/{job}/retry"), &json!({}));
        let done = world.wait(&job, "succeeded");
        assert_eq!(done["kind"], "publish");
    });
}

#[test]
fn a_node_enrols_itself_by_a_pasted_command_and_is_revoked() {
    story(async |lab| {
        let world = World::start(&lab);
        let job = world.post("/api/nodes/pve1/revoke", &json!({}));
        world.wait(&job, "succeeded");
        assert!(world.daemon.get("/api/nodes")["nodes"].as_array().unwrap().is_empty());
        let left =
            world.node.sh("grep -il ironhatch@pve /etc/pve/user.cfg /etc/pve/priv/token.cfg; \
             grep -c ironhatch-node /etc/pve/priv/authorized_keys; ls /usr/local/lib");
        assert_eq!(left, "0\n", "nothing of the enrolment is left");
        let refused = world.try_post("/api/install", &order("web1", &[]));
        assert_eq!(refused.status, 503, "{refused:?}");

        let answer = world.daemon.post("/api/nodes/enroll-command", &json!({}));
        let command = answer["command"].as_str().unwrap().to_owned();
        // All machines of the story share one network: the node's requests must come from its own address.
        world.node.sh(&format!("echo 'interface = \"{}\"' >/root/.curlrc", world.node.address));
        let said = world.node.sh(&format!("{command} 2>&1"));
        let job =
            said.lines().find_map(|l| l.split_once("/jobs/")).map(|(_, id)| id.trim().to_owned());
        let job = job.unwrap_or_else(|| panic!("{said}"));
        world.wait(&job, "succeeded");
        world.install("web1");
        assert_eq!(
            world.node.sh("cat /root/.ssh/authorized_keys2 2>/dev/null"),
            "",
            "the short-lived key is gone"
        );
        // The command works once.
        let again = world.node.sh(&format!("{command} 2>&1"));
        assert!(!again.contains("/jobs/"), "{again}");
        world.pve.assert_clean();
    });
}

#[test]
fn a_rebuild_ends_with_the_apps_of_its_server_type_running() {
    story(async |lab| {
        let dir = tempfile::Builder::new().prefix("stack-").tempdir_in("/tmp").unwrap();
        catalogs(dir.path());
        let config = format!(
            "{}[[apps.stack]]\nserver_type = \"lab\"\napp = \"hello\"\nfields = {{ name = \"web-{{{{ host }}}}\", \"input.title\" = \"born\" }}\n",
            section(dir.path())
        );
        let mut world = Rebuild::start(&lab, &config);
        world.import_image();
        let pve = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&pve);
        world.on_node = Some(Box::new(move |node: &Node| {
            let api = serve(node.root().join("etc/pve"), vec![node.address]);
            prepare(node, &api);
            *keep.lock().unwrap() = Some(api);
        }));
        let node = world.rebuild_to_ready("pve1", 12, |_, _| ());
        let jobs = world.daemon.get("/api/jobs");
        let jobs = jobs["jobs"].as_array().unwrap().clone();
        let rebuild = jobs.iter().find(|j| j["kind"] == "rebuild").unwrap()["id"].clone();
        let job = world.daemon.get(&format!("/api/jobs/{}", rebuild.as_str().unwrap()));
        let steps = job["steps"].as_array().unwrap();
        let last = steps.last().unwrap();
        assert_eq!(
            (&last["id"], &last["status"]),
            (&json!("stack"), &json!("succeeded")),
            "{job:#}"
        );
        let guests = world.daemon.get("/api/guests");
        assert_eq!(guests["guests"][0]["name"], "web-pve1");
        assert_eq!(guests["guests"][0]["state"], "ready");
        let page = node.sh("busybox wget -q -O - http://192.0.2.22:8080/");
        assert_eq!(page, "page one: born\n");
        pve.lock().unwrap().as_ref().unwrap().assert_clean();
    });
}
