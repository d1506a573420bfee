//! The built-in apps, installed for real: each case boots an unprivileged Debian container with systemd and takes an app
//! through its life with the product's own planning, and the Debian package is installed in one. What is only linted and planned here is an app whose software does not
//! come from Debian's mirror.
//!
//! `cargo test --test provision -- [APP, CASE, library, package…]`, as root; `make provision` installs what it needs first.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod bench;
mod case;
mod container;
mod mirror;
mod package;
mod root;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ironhatch::plan::guest::outputs::collect;
use ironhatch::plan::guest::provision::Phase;

use crate::app::{App, built_in};
use crate::bench::Bench;
use crate::case::Case;

/// Containers at a time: the machines that run this have two cores.
const AT_ONCE: usize = 2;
/// Lines of a failed case's log that are printed.
const TAIL: usize = 60;

fn main() -> ExitCode {
    match whole() {
        Ok(tally) => {
            let (passed, failed) = tally.counts();
            println!("{passed} passed, {failed} failed");
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("provision: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What needs a container.
enum Work {
    Case(Case),
    Library,
    Package,
}

impl Work {
    fn name(&self) -> &str {
        match self {
            Self::Case(case) => &case.name,
            Self::Library => "library",
            Self::Package => "package",
        }
    }
}

/// Results so far.
#[derive(Default)]
struct Tally {
    passed: AtomicUsize,
    failed: AtomicUsize,
}

impl Tally {
    fn note(&self, name: &str, started: Instant, result: Result<()>, log: Option<&Path>) {
        let seconds = started.elapsed().as_secs();
        match result {
            Ok(()) => {
                self.passed.fetch_add(1, Ordering::Relaxed);
                println!("{name} ... ok ({seconds} s)");
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let text =
                    log.and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
                println!("{name} ... FAILED ({seconds} s): {error:#}\n    {tail}");
            }
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.passed.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

fn whole() -> Result<Tally> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let asked =
        |names: &[&str]| wanted.is_empty() || wanted.iter().any(|w| names.contains(&w.as_str()));
    let tally = Tally::default();
    let mut cases =
        Case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provision/cases"))?;
    if wanted.is_empty() {
        tally.note("the list of exercised apps", Instant::now(), exercised(&cases), None);
    }
    for id in ids()?.iter().filter(|id| asked(&[id])) {
        tally.note(&format!("dry run of {id}"), Instant::now(), dry_run(id), None);
    }
    cases.retain(|case| asked(&[&case.app, &case.name]));
    if !nix::unistd::geteuid().is_root() {
        bail!("system containers need root: run this as root, or with sudo");
    }
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("provision");
    std::fs::create_dir_all(cache.join("logs")).context("cache")?;
    let mirror = Arc::new(mirror::Mirror::find(root::SUITE, &cache.join("mirror"))?);
    let root = root::Root::prepare(&cache, &mirror)?;
    clear(&cache.join("trees"))?;
    let mut work: Vec<Work> = cases.into_iter().map(Work::Case).collect();
    if asked(&["library"]) {
        work.push(Work::Library);
    }
    if asked(&["package"]) {
        work.push(Work::Package);
    }
    let queue = Mutex::new(work);
    std::thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let (queue, tally, root, mirror, cache) = (&queue, &tally, &root, &mirror, &cache);
            scope.spawn(move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(work) = next else { return };
                    let machine = format!("ironhatch-{}-{worker}", std::process::id());
                    let bench = Bench {
                        root,
                        mirror,
                        tree: cache.join("trees").join(&machine),
                        log: cache.join("logs").join(format!("{}.log", work.name())),
                        machine,
                        started: Instant::now(),
                    };
                    let result = match &work {
                        Work::Case(case) => case.run(&bench),
                        Work::Library => bench.library(),
                        Work::Package => bench.package(),
                    };
                    tally.note(work.name(), bench.started, result, Some(&bench.log));
                }
            });
        }
    });
    Ok(tally)
}

/// Removes what runs left behind that were killed.
fn clear(trees: &Path) -> Result<()> {
    std::fs::create_dir_all(trees)?;
    for entry in std::fs::read_dir(trees)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split('-').nth(1).unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            container::forget(&name);
            root::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The built-in apps.
fn ids() -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir(built_in())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            ids.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(ids)
}

/// `apps/exercised`, which the catalog shows, names exactly the apps that have a case here.
fn exercised(cases: &[Case]) -> Result<()> {
    let text = std::fs::read_to_string(built_in().join("exercised"))?;
    let listed: BTreeSet<&str> = text.lines().collect();
    let real: BTreeSet<&str> = cases.iter().map(|case| case.app.as_str()).collect();
    if listed != real {
        bail!("apps/exercised lists {listed:?}, and there are cases for {real:?}");
    }
    Ok(())
}

/// Everything short of a container: lint without a finding, inputs, files, programs, outputs, and bash reads each script.
fn dry_run(id: &str) -> Result<()> {
    let app = App::read(id, &std::collections::BTreeMap::new())?;
    let manifest = &app.folder.manifest;
    let mut phases = vec![Phase::Install, Phase::Upgrade, Phase::Check];
    if manifest.provision.uninstall.is_some() {
        phases.push(Phase::Uninstall);
    }
    for phase in phases {
        app.runs(phase)?;
        for file in app.files(phase)?.iter().filter(|file| file.path.ends_with(".sh")) {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn()?;
            let mut script = bash.stdin.take().context("standard input")?;
            script.write_all(app.bytes(&file.content)?)?;
            drop(script);
            if !bash.wait()?.success() {
                bail!("bash does not understand {}", file.path);
            }
        }
    }
    // Facts are only known after an installation: each output may name any.
    let facts = manifest.outputs.iter().flat_map(|output| {
        output.value.split("facts.").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            (rest[..end.unwrap_or(rest.len())].to_owned(), "found".to_owned())
        })
    });
    collect(&app.subject(), &app.secrets, &facts.collect())?;
    Ok(())
}
