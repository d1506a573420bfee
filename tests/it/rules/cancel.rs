//! A rebuild can be stopped at any point, also while it waits for a machine that does not answer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::machine::Machine;

/// Brings a rebuild to the join of a node at whose address nobody listens; returns its job.
fn join_of_nobody(world: &mut World) -> String {
    world.import_image();
    let id = world.add_host("pve1", 1);
    let machine = Machine::new(1);
    let job = world.rebuild("pve1");
    world.daemon.wait_for_state("pve1", "pxe_ready");
    machine.boot(world.dir());
    let taken = machine.install(&machine.answer_url(world.dir()));
    let key = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
        .to_owned()];
    assert_eq!(machine.phone_home(&id, &taken.token, "192.0.2.29", &key).status, 200);
    world.daemon.wait_for_state("pve1", "joining");
    job
}

#[test]
fn a_join_that_waits_for_its_node_is_cancelled_within_seconds() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        let job = join_of_nobody(&mut world);
        world.daemon.post(&format!("/api/jobs/{job}/cancel"), &json!({}));
        let begun = Instant::now();
        world.daemon.wait_for_job(&job, "cancelled");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_join_that_waits_for_its_node_does_not_hold_up_a_stop() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        join_of_nobody(&mut world);
        let begun = Instant::now();
        assert!(world.daemon.terminate().success(), "{}", world.daemon.log());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    });
}
