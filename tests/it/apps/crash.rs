//! kill -9 while a guest is being made, and while it is taken away.

use serde_json::json;

use super::world::World;
use crate::join::lab::story;

/// Every step of an installation that this guest needs.
const STEPS: [&str; 12] = [
    "validate_request",
    "validate_manifest",
    "validate_placement",
    "allocate_ctid",
    "create_container",
    "configure_container",
    "start_container",
    "wait_for_network",
    "push_assets",
    "provision",
    "healthcheck",
    "collect_outputs",
];

#[test]
fn kill_9_at_every_step_of_an_installation_still_ends_in_a_working_guest() {
    story(async |lab| {
        let mut world = World::start(&lab);
        world.pve.set_task_time(std::time::Duration::from_millis(300));
        for step in STEPS {
            let job = world.ask_for("web1", &[]);
            world.wait_for_step(&job, step);
            world.daemon.kill_and_restart();
            world.wait(&job, "succeeded");
            assert_eq!(world.guest("web1")["state"], "ready", "killed in {step}");
            assert_eq!(world.page("192.0.2.22"), "page one: a title\n", "killed in {step}");
            let made = world.node.sh("ls /etc/pve/local/lxc");
            assert_eq!(made, "200.conf\n", "killed in {step}: nothing half-made is left beside it");

            let guest = world.guest("web1");
            let gone = json!({ "guest": guest["id"], "keep_volumes": false, "confirm": "web1" });
            let job = world.post("/api/uninstall", &gone);
            if step == "create_container" {
                world.wait_for_step(&job, "destroy_container");
                world.daemon.kill_and_restart();
            }
            world.wait(&job, "succeeded");
            assert_eq!(world.node.sh("ls /etc/pve/local/lxc"), "", "killed in {step}");
        }
        world.pve.assert_clean();
    });
}
