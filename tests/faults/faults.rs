//! `make faults`: rebuilds against the real daemon while everything around it breaks. See docs/faults.md.

mod air;
mod clock;
mod daemon;
mod dice;
mod http;
mod judge;
mod ledger;
mod life;
mod node;
mod place;
mod plan;
mod run;
mod scenario;
#[allow(dead_code)] // shared with the integration tests, which use all of it
#[path = "../it/support"]
mod support {
    pub(crate) mod appliance;
    pub(crate) mod machine;
    pub(crate) mod wire;
}

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use daemon::Strike;

/// Machines of one life.
const MACHINES: u8 = 8;
/// Runs of `make faults`.
const RUNS: u64 = 1000;
/// Lives at a time: joins wait for each other and for time to pass, so more than there are cores.
const AT_ONCE: usize = 24;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|t| !t.is_empty())?;
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn main() -> ExitCode {
    let judged = match judge::judge_the_judge() {
        Ok(stories) => stories,
        Err(error) => {
            println!("{error}\nfaults: 0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    println!("the judge saw through {judged} spoiled stories");
    let begun = Instant::now();
    let dir = tempfile::Builder::new().prefix("faults-iso-").tempdir_in("/tmp").unwrap();
    let iso = support::machine::iso(dir.path());
    let chosen = std::env::var("SCENARIO").ok().filter(|name| !name.is_empty());
    let seeds: Vec<u64> = match number("SEED") {
        _ if chosen.is_some() => Vec::new(),
        Some(seed) => vec![seed],
        None => {
            let lives = number("FAULT_RUNS").unwrap_or(RUNS).div_ceil(u64::from(MACHINES));
            // The same lives in each run of the short suite: a discovery by chance would stop work that has nothing to do
            // with it.
            let mut dice = dice::Dice::new(number("FAULT_SEED").unwrap_or_else(rand::random));
            (0..lives).map(|_| dice.next()).collect()
        }
    };
    let at_once = number("FAULT_LIVES").map_or(AT_ONCE, |n| usize::try_from(n).unwrap());
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(seeds.len()) {
            scope.spawn(|| {
                loop {
                    let index = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(seed) = seeds.get(index) else { return };
                    // A thread of its own: it goes into namespaces and does not come back.
                    let lived = std::thread::scope(|inner| {
                        inner.spawn(|| life::live(*seed, MACHINES, &iso)).join()
                    });
                    totals.lock().unwrap().add(*seed, lived.ok());
                }
            });
        }
    });
    let mut totals = totals.into_inner().unwrap();
    if chosen.is_some() || number("SEED").is_none() {
        scenarios(chosen.as_deref(), &iso, &mut totals);
    }
    totals.print(begun);
    if totals.failed == 0 && totals.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the named scenarios, or the one that was chosen, one after the other: they measure memory and time.
fn scenarios(chosen: Option<&str>, iso: &std::path::Path, totals: &mut Totals) {
    // Thousands of connections on both sides; the daemon inherits it. The scenario says how many it could open.
    let me = std::process::id().to_string();
    let _ = std::process::Command::new("prlimit").args(["--pid", &me, "--nofile=16384:"]).status();
    let listed = std::env::var("FAULT_SCENARIOS").ok().filter(|names| !names.is_empty());
    for (name, scenario) in scenario::ALL {
        let is_listed = listed.as_ref().is_none_or(|all| all.split(' ').any(|n| n == name));
        if chosen.map_or(!is_listed, |c| c != name) {
            continue;
        }
        let seed = number("SEED").or_else(|| number("FAULT_SEED")).unwrap_or_else(rand::random);
        let begun = Instant::now();
        let shown = std::thread::scope(|scope| scope.spawn(|| scenario(seed, iso)).join());
        let took = begun.elapsed().as_secs_f64();
        match shown {
            Ok(shown) if shown.wrong.is_empty() => {
                println!("SCENARIO={name} SEED=0x{seed:016x}  {} ({took:.1} s)", shown.said);
                totals.passed += 1;
            }
            Ok(shown) => {
                println!("SCENARIO={name} SEED=0x{seed:016x}  {} ({took:.1} s)  WRONG", shown.said);
                for wrong in shown.wrong {
                    println!("  {wrong}");
                }
                totals.failed += 1;
            }
            Err(_) => {
                println!("SCENARIO={name} SEED=0x{seed:016x}  the harness itself failed");
                totals.failed += 1;
            }
        }
    }
}

#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    armings: usize,
    events: usize,
    answers: usize,
    strikes: [usize; Strike::ALL.len()],
    reasons: BTreeMap<String, usize>,
    slowest: Vec<u128>,
}

impl Totals {
    fn add(&mut self, seed: u64, lived: Option<life::Outcome>) {
        let Some(outcome) = lived else {
            println!("SEED=0x{seed:016x}  the harness itself failed");
            self.failed += usize::from(MACHINES);
            return;
        };
        let runs = outcome.ledgers.len();
        let armings: usize = outcome.ledgers.iter().map(|l| l.armings.len()).sum();
        println!(
            "SEED=0x{seed:016x}  {runs} runs, {armings} armings, {} strikes, {} events, {:.1} s{}",
            outcome.strikes.iter().sum::<usize>(),
            outcome.events,
            outcome.took.as_secs_f64(),
            if outcome.wrong.is_empty() { "" } else { "  WRONG" }
        );
        for wrong in &outcome.wrong {
            println!("  {wrong}");
        }
        if outcome.wrong.is_empty() {
            self.passed += runs;
        } else {
            for ledger in &outcome.ledgers {
                println!("  {}: {} ms, {}", ledger.name, ledger.took_ms, ledger.plan);
            }
            // What is wrong may concern one run; none of this life is counted as good.
            self.failed += runs.max(1);
        }
        self.armings += armings;
        self.events += outcome.events;
        for (total, n) in self.strikes.iter_mut().zip(outcome.strikes) {
            *total += n;
        }
        for ledger in &outcome.ledgers {
            self.answers += ledger.armings.iter().map(|a| a.answers).sum::<usize>();
            self.slowest.push(ledger.took_ms);
            for reason in &ledger.reasons {
                *self.reasons.entry(kind_of(reason)).or_default() += 1;
            }
        }
    }

    fn print(&self, begun: Instant) {
        let mut times = self.slowest.clone();
        times.sort_unstable();
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0);
        println!("\nrebuilds that ended without success, by reason:");
        for (reason, n) in &self.reasons {
            println!("{n:6}  {reason}");
        }
        println!("strikes:");
        for (strike, n) in Strike::ALL.iter().zip(self.strikes) {
            println!("{n:6}  {strike:?}");
        }
        println!(
            "{} armings, {} answers, {} events; a run took {} ms at the median, {} ms at most; {:.0} s in all",
            self.armings,
            self.answers,
            self.events,
            at(50),
            times.last().copied().unwrap_or(0),
            begun.elapsed().as_secs_f64()
        );
        println!("faults: {} passed, {} failed", self.passed, self.failed);
    }
}

/// A reason without digits and fingerprints, which are those of its one rebuild, short enough for a line.
fn kind_of(reason: &str) -> String {
    let general = |word: &str| {
        if word.starts_with("SHA256:") {
            "SHA256:…".to_owned()
        } else {
            word.replace(|c: char| c.is_ascii_digit(), "")
        }
    };
    let words: Vec<String> = reason.split(' ').map(general).collect();
    words.join(" ").chars().take(70).collect()
}
