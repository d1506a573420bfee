//! One program with every fuzz target; `FUZZ_TARGET` names the one that runs, `FUZZ_SEEDS` a folder that gets the seeds of
//! all of them instead. `tests/fuzz/run.sh` builds and calls it.

#![no_main]

mod budget;
mod input;
mod target;

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use target::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

fn choose() {
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        write_seeds(Path::new(&folder));
        std::process::exit(0);
    }
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("fuzz: FUZZ_TARGET must be one of {}", names.join(", "));
        std::process::exit(64);
    };
    // What a target needs only once is not charged to its first input.
    (target.run)(&[]);
    let _ = CHOSEN.set(target);
}

fn write_seeds(folder: &Path) {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        for (name, bytes) in (target.seeds)() {
            std::fs::write(folder.join(name), bytes).expect("a seed");
        }
    }
}

fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        budget::within(target, data);
    }
});
