//! Rule 1 across a damaged database: the backup that takes its place shows a host armed whose answer has left since.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::machine::Machine;

/// Waits for a backup that the daemon makes by itself: its first look comes some seconds after a start.
fn regular_backup(data: &Path) -> PathBuf {
    let begun = Instant::now();
    loop {
        let files = fs::read_dir(data.join("backups")).into_iter().flatten().flatten();
        let whole = files.map(|f| f.path()).find(|f| f.extension().is_some_and(|e| e == "redb"));
        if let Some(file) = whole {
            return file;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "no backup is made");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_restored_state_arms_nothing() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        world.add_host("pve1", 1);
        let job = world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
        world.daemon.kill_and_restart();
        let data = world.dir().join("data");
        let backup = regular_backup(&data);
        let machine = Machine::new(1);
        machine.boot(world.dir());
        let url = machine.answer_url(world.dir());
        assert_eq!(machine.ask(&url, &machine.facts()).status, 200);

        assert!(world.daemon.terminate().success());
        let database = data.join("ironhatch.redb");
        let bytes = fs::read(&database).unwrap();
        fs::write(&database, &bytes[..bytes.len() / 2]).unwrap();
        world.daemon.kill_and_restart();

        let log = world.daemon.log();
        let told = log.lines().find(|l| l.contains("the database was damaged")).expect(&log);
        assert!(told.contains(&backup.display().to_string()), "{told}");
        assert!(told.contains("ironhatch.redb.damaged"), "{told}");
        let host = world.daemon.get("/api/hosts/pve1");
        assert_eq!((&host["state"], &host["job"]), (&Value::from("failed"), &Value::Null));
        world.daemon.wait_for_job(&job, "failed");
        assert!(!machine.script().text().contains("proxmox-start-auto-installer"));
        assert_ne!(machine.ask(&url, &machine.facts()).status, 200, "a second answer left");
        let page = world.daemon.page("/health");
        assert!(page.contains("An old state of the database is in use"), "{page}");
        // The next click is a new one.
        world.rebuild("pve1");
        world.daemon.wait_for_state("pve1", "pxe_ready");
    });
}
