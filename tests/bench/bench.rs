//! `make bench`: Ironhatch and its peers side by side, in network namespaces of their own, driven by one load generator.
//!
//! ```text
//!   bench [ONLY]        the supervisor: one child process per part, each with a time limit; writes the reports
//!     bench part NAME   one part: two namespaces joined by a veth pair, the servers in one, the generator in the other
//! ```
//!
//! A part prints its rows as lines of JSON, so that what it measured before a failure is kept. Namespaces and servers end
//! with the process that made them, however it ends. Needs root.

mod daemon;
mod dashboard;
mod dhcp;
mod fleet;
mod http;
mod idle;
mod iso;
mod place;
mod program;
mod report;
mod row;
mod tftp;
mod work;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use row::Row;

/// A part: its name, its code, and what it may take before it is ended and reported as failed.
struct Part {
    name: &'static str,
    title: &'static str,
    /// How it was measured, for the report.
    notes: &'static str,
    run: fn(&mut dyn FnMut(Row)) -> anyhow::Result<()>,
    limit: Duration,
}

const PARTS: &[Part] = &[
    Part {
        name: "dhcp",
        title: "DHCP",
        notes: dhcp::NOTES,
        run: dhcp::run,
        limit: Duration::from_secs(150),
    },
    Part {
        name: "tftp",
        title: "TFTP",
        notes: tftp::NOTES,
        run: tftp::run,
        limit: Duration::from_secs(300),
    },
    Part {
        name: "http",
        title: "ISO over HTTP",
        notes: http::NOTES,
        run: http::run,
        limit: Duration::from_secs(180),
    },
    Part {
        name: "iso",
        title: "Preparing the ISO of a rebuild",
        notes: iso::NOTES,
        run: iso::run,
        limit: Duration::from_secs(180),
    },
    Part {
        name: "idle",
        title: "The program",
        notes: idle::NOTES,
        run: idle::run,
        limit: Duration::from_secs(60),
    },
    Part {
        name: "fleet",
        title: "A fleet",
        notes: fleet::NOTES,
        run: fleet::run,
        limit: Duration::from_secs(600),
    },
    Part {
        name: "dashboard",
        title: "Dashboard",
        notes: dashboard::NOTES,
        run: dashboard::run,
        limit: Duration::from_secs(90),
    },
    Part {
        name: "store",
        title: "Database",
        notes: STORE_NOTES,
        run: |_| anyhow::bail!("the program bench-store does it"),
        limit: Duration::from_secs(120),
    },
];

const STORE_NOTES: &str = "One transition is the state of a host and its event in one transaction, on the disk (fsync) before it is \
confirmed. The plain figure beside it is what the disk gives: 4 KiB written and synced (fdatasync) one after another.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["part", name] => part(name),
        only => supervise(only),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn supervise(only: &[&str]) -> anyhow::Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root: use sudo");
    let unknown = only.iter().find(|name| !PARTS.iter().any(|p| p.name == **name));
    let names: Vec<&str> = PARTS.iter().map(|p| p.name).collect();
    anyhow::ensure!(unknown.is_none(), "ONLY takes parts of {}", names.join(", "));
    // Thousands of clients are thousands of sockets, on both sides; what we start inherits it.
    raise_open_files()?;
    let begun = Instant::now();
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    let mut ran = Vec::new();
    for part in PARTS.iter().filter(|p| only.is_empty() || only.contains(&p.name)) {
        println!("== {} ==", part.name);
        ran.push(part.name);
        let begun = Instant::now();
        if let Err(error) = supervise_part(part, &mut rows) {
            println!("{}: FAILED: {error:#}", part.name);
            failures.push(format!("{}: {error:#}", part.name));
        }
        println!("   ({} s)", begun.elapsed().as_secs());
    }
    report::write(&rows, &ran, &failures)?;
    println!("bench: {} rows in {} s", rows.len(), begun.elapsed().as_secs());
    anyhow::ensure!(failures.is_empty(), "parts failed: {}", failures.join("; "));
    Ok(())
}

/// As many open files as may be, for this process and what it starts.
fn raise_open_files() -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().nth(1)).context("no such limit")?;
    let me = std::process::id().to_string();
    let files = format!("--nofile={most}:{most}");
    let done = Command::new("prlimit").args(["--pid", &me, &files]).status();
    anyhow::ensure!(done.context("prlimit (util-linux)")?.success(), "{files} is refused");
    Ok(())
}

fn supervise_part(part: &Part, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let command = match part.name {
        "store" => vec![own.with_file_name("bench-store")],
        name => vec![own, "part".into(), name.into()],
    };
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("setpriv (package util-linux)")?;
    let output = child.stdout.take().context("its output")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let deadline = Instant::now() + part.limit;
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match serde_json::from_str::<Row>(&line) {
                Ok(row) => {
                    println!("   {row}");
                    rows.push(row);
                }
                Err(_) => println!("   {line}"),
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                anyhow::bail!("not done after {} s", part.limit.as_secs());
            }
        }
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "ended with {status}");
    Ok(())
}

fn part(name: &str) -> anyhow::Result<()> {
    let part = PARTS.iter().find(|p| p.name == name).context("no such part")?;
    (part.run)(&mut |row| println!("{}", serde_json::to_string(&row).expect("a row is plain data")))
}
