//! Installs the built-in apps for real.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod case;
mod container;
mod mirror;
mod root;
mod subject;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("provision");
    std::fs::create_dir_all(&cache)?;
    let mirror = Arc::new(mirror::Mirror::find(root::SUITE, &cache.join("mirror"))?);
    let root = root::Root::prepare(&cache, &mirror)?;
    let mut cases = Vec::new();
    for entry in
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provision/cases"))?
    {
        let path = entry?.path();
        let mut case: case::Case = toml::from_str(&std::fs::read_to_string(&path)?)
            .with_context(|| path.display().to_string())?;
        case.name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if wanted.is_empty() || wanted.contains(&case.name) || wanted.contains(&case.app) {
            cases.push(case);
        }
    }
    cases.sort_by(|a, b| b.name.cmp(&a.name));
    let queue = Mutex::new(cases);
    let tally = Mutex::new((0, 0));
    std::fs::create_dir_all(cache.join("logs"))?;
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (queue, tally, root, mirror, cache) = (&queue, &tally, &root, &mirror, &cache);
            scope.spawn(move || {
                loop {
                    let Some(case) = queue.lock().unwrap().pop() else { return };
                    let started = Instant::now();
                    let log = cache.join("logs").join(format!("{}.log", case.name));
                    let _ = std::fs::remove_file(&log);
                    let place = case::Place {
                        cache,
                        log: log.clone(),
                        machine: format!("ih{}-{worker}", std::process::id() % 100_000),
                    };
                    match case::run(&case, root, mirror, &place) {
                        Ok(()) => {
                            println!("{} ok ({:.0} s)", case.name, started.elapsed().as_secs_f32());
                            tally.lock().unwrap().0 += 1;
                        }
                        Err(e) => {
                            let text = std::fs::read_to_string(&log).unwrap_or_default();
                            let lines: Vec<&str> = text.lines().collect();
                            println!(
                                "{} FAILED ({:.0} s): {e:#}\n    {}",
                                case.name,
                                started.elapsed().as_secs_f32(),
                                lines[lines.len().saturating_sub(25)..].join("\n    ")
                            );
                            tally.lock().unwrap().1 += 1;
                        }
                    }
                }
            });
        }
    });
    let (p, f) = *tally.lock().unwrap();
    println!("{p} passed, {f} failed");
    Ok(())
}
