//! TFTP: many clients, block sizes, windows, lost and late packets. Peers dnsmasq, tftpd-hpa, atftpd and async-tftp.

pub mod client;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::daemon::Daemon;
use super::dhcp::servers::{dnsmasq, started};
use super::place::{Namespace, Place, SERVER, Trouble};
use super::program::{Program, peer_command};
use super::row::{Better, Row, Side, Target, row};
use super::work::fresh_dir;
use client::Load;
use client::crowd::{self, Figures};

pub const NOTES: &str = "Each client has an address of its own, fetches a file of 1 MiB again and again, checks every byte and \
behaves as EDK2 does: a block out of order is answered with the last good one, and it repeats itself only after 4 s. The rate is what \
arrived in order, of all clients together. Servers without the option windowsize answer with a window of 1. Lost and late packets \
come from a relay in user space on the cable (not every kernel has netem): 1 % lost in both directions; 5 ms later towards the \
clients. In those cells the peers, which mostly wait, run at the same time, each on a cable of its own; Ironhatch runs alone.";

/// Runs of a field of the matrix; the median counts.
const RUNS: usize = 3;
/// Runs of a field with a target and without loss: what a virtual machine's neighbours do may spoil two of five, and the
/// median still holds. With loss the ratios are far from the target.
const JUDGED_RUNS: usize = 5;
/// The file that everybody fetches.
const FILE: &str = "bench.efi";
const FILE_BYTES: usize = 1 << 20;

/// Ours is the last.
const SERVERS: [&str; 5] = ["dnsmasq", "tftpd-hpa", "atftpd", "async-tftp", "ironhatch"];

/// One field of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    clients: usize,
    block: u16,
    window: u16,
    trouble: Trouble,
    length: Duration,
    target: Target,
}

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let folder = fresh_dir("tftp-files")?;
    let file: Vec<u8> = (0..FILE_BYTES).map(|_| rand::random()).collect();
    fs::write(folder.join(FILE), &file)?;
    let ground = Ground { folder, file: file.into() };
    let stands: Vec<Stand> =
        SERVERS.iter().map(|name| Stand::new(&ground, name, Trouble::None)).collect();
    everybody_at_once(&ground, &stands, emit);
    for cell in cells() {
        measure(&ground, &stands, cell, emit);
    }
    Ok(())
}

/// A server in a place of its own, where it waits for its turn.
struct Stand {
    running: anyhow::Result<(Place, Program)>,
}

impl Stand {
    fn new(ground: &Ground, name: &'static str, trouble: Trouble) -> Self {
        let start = || {
            let place = match trouble {
                Trouble::None => Place::new()?,
                trouble => Place::with_trouble(trouble)?,
            };
            let program = start(name, &place.server, &ground.folder)?;
            Ok((place, program))
        };
        Self { running: start() }
    }
}

impl Cell {
    fn is_judged_undisturbed(&self) -> bool {
        matches!((self.target, self.trouble), (Target::RatioAtLeast(_), Trouble::None))
    }
}

fn cells() -> Vec<Cell> {
    let mut all = Vec::new();
    for clients in [1, 50, 200] {
        for (block, window) in [(512, 1), (1468, 1), (1468, 4), (1468, 16)] {
            let is_judged = clients == 200;
            let target = if is_judged { Target::RatioAtLeast(2.0) } else { Target::None };
            let length = Duration::from_millis(if is_judged { 500 } else { 350 });
            all.push(Cell { clients, block, window, trouble: Trouble::None, length, target });
        }
    }
    let length = Duration::from_millis(1500); // a peer that waits a second for a lost block is seen to do so
    for (clients, block, window) in [(1, 1468, 1), (50, 1468, 1), (50, 1468, 4), (50, 512, 16)] {
        let (trouble, target) = (Trouble::OnePercentLost, Target::RatioAtLeast(10.0));
        all.push(Cell { clients, block, window, trouble, length, target });
    }
    let length = Duration::from_millis(600);
    for (clients, block, window) in [(1, 1468, 1), (1, 1468, 16), (50, 1468, 4)] {
        let (trouble, target) = (Trouble::FiveMillisecondsLate, Target::None);
        all.push(Cell { clients, block, window, trouble, length, target });
    }
    all
}

/// What all servers serve.
struct Ground {
    folder: PathBuf,
    file: Arc<[u8]>,
}

/// What one run of a cell gives: the rate, the server's processor time, and how busy the clients were.
const FIGURES: [Figure; 3] = [
    Figure { suffix: "", unit: "MB/s", better: Better::High },
    Figure { suffix: ", processor time per MB", unit: "ms", better: Better::Low },
    Figure { suffix: ", the clients' share of one processor", unit: "%", better: Better::High },
];

struct Figure {
    suffix: &'static str,
    unit: &'static str,
    better: Better,
}

fn measure(ground: &Ground, stands: &[Stand], cell: Cell, emit: &mut dyn FnMut(Row)) {
    let mut tallies = SERVERS.map(Tally::new);
    let runs = if cell.is_judged_undisturbed() { JUDGED_RUNS } else { RUNS };
    for _ in 0..runs {
        if matches!(cell.trouble, Trouble::None) {
            for (tally, stand) in tallies.iter_mut().zip(stands) {
                tally.add(once(ground, stand, cell));
            }
            continue;
        }
        let once = |tally: &mut Tally| {
            let stand = Stand::new(ground, tally.name, cell.trouble);
            tally.add(once(ground, &stand, cell));
        };
        let [peers @ .., ours] = &mut tallies;
        once(ours);
        std::thread::scope(|scope| {
            for peer in peers {
                scope.spawn(|| once(peer));
            }
        });
    }
    let [peers @ .., ours] = &tallies;
    let Cell { clients, block, window, trouble, target, .. } = cell;
    let plural = if clients == 1 { "client" } else { "clients" };
    let name =
        format!("tftp: {clients} {plural}, blocks of {block}, window {window}{}", trouble.words());
    // Who is the limit matters where a target is, and is not told by processors that wait for late packets.
    let told = if cell.is_judged_undisturbed() { FIGURES.len() } else { 1 };
    for (n, figure) in FIGURES.iter().enumerate().take(told) {
        let target = if n == 0 { target } else { Target::None };
        let others: Vec<Side> = peers.iter().map(|p| p.sides[n].clone()).collect();
        let name = format!("{name}{}", figure.suffix);
        emit(row(&name, figure.unit, figure.better, target, &ours.sides[n], &others));
    }
}

/// One server's figures over the runs.
struct Tally {
    name: &'static str,
    sides: [Side; FIGURES.len()],
}

impl Tally {
    fn new(name: &'static str) -> Self {
        Self { name, sides: std::array::from_fn(|_| Side::new(name)) }
    }

    fn add(&mut self, run: anyhow::Result<[f64; FIGURES.len()]>) {
        for (n, side) in self.sides.iter_mut().enumerate() {
            side.add(match &run {
                // Each of its transfers is a process that nobody waits for, so its time is in no sum.
                Ok(_) if n == 1 && self.name == "tftpd-hpa" => {
                    Err(anyhow::anyhow!("its processes' time cannot be read"))
                }
                Ok(figures) => Ok(figures[n]),
                Err(error) => Err(anyhow::anyhow!("{error:#}")),
            });
        }
    }
}

fn once(ground: &Ground, stand: &Stand, cell: Cell) -> anyhow::Result<[f64; FIGURES.len()]> {
    let load = Load {
        clients: cell.clients,
        name: FILE,
        block: cell.block,
        window: cell.window,
        length: cell.length,
        transfers_each: usize::MAX,
        file: Arc::clone(&ground.file),
    };
    let (figures, cpu) = drive(stand, load)?;
    let megabytes = figures.bytes as f64 / 1e6;
    Ok([megabytes / figures.seconds, cpu * 1e3 / megabytes, figures.cpu / figures.seconds * 100.0])
}

/// What the clients got, and the server's processor time in seconds.
fn drive(stand: &Stand, load: Load) -> anyhow::Result<(Figures, f64)> {
    let (place, program) = stand.running.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let before = program.cpu_seconds();
    let figures = place.client.run(move || crowd::drive(&load))??;
    anyhow::ensure!(figures.bytes > 0, "nothing arrived; its last words: {}", program.last_words());
    Ok((figures, program.cpu_seconds() - before))
}

/// 200 clients fetch the file once, all at the same moment; nobody may be left behind.
fn everybody_at_once(ground: &Ground, stands: &[Stand], emit: &mut dyn FnMut(Row)) {
    let mut tallies = SERVERS.map(Tally::new);
    for _ in 0..JUDGED_RUNS {
        for (tally, stand) in tallies.iter_mut().zip(stands) {
            tally.add(fetch_once(ground, stand));
        }
    }
    let [peers @ .., ours] = &tallies;
    let what = "tftp: 200 clients fetch 1 MiB at once, blocks of 1468, window 4";
    let names = ["all together", "processor time per MB", "failed transfers"];
    let units = ["MB/s", "ms", "transfers"];
    let targets = [Target::RatioAtLeast(2.0), Target::None, Target::Below(1.0)];
    for figure in 0..3 {
        let better = if figure == 0 { Better::High } else { Better::Low };
        let name = format!("{what}, {}", names[figure]);
        let others: Vec<Side> = peers.iter().map(|p| p.sides[figure].clone()).collect();
        emit(row(&name, units[figure], better, targets[figure], &ours.sides[figure], &others));
    }
}

/// Rate, milliseconds of processor time per megabyte, and failed transfers.
fn fetch_once(ground: &Ground, stand: &Stand) -> anyhow::Result<[f64; FIGURES.len()]> {
    let load = Load {
        clients: 200,
        name: FILE,
        block: 1468,
        window: 4,
        length: Duration::from_secs(8),
        transfers_each: 1,
        file: Arc::clone(&ground.file),
    };
    let (figures, cpu) = drive(stand, load)?;
    let megabytes = figures.bytes as f64 / 1e6;
    Ok([megabytes / figures.seconds, cpu * 1e3 / megabytes, 200.0 - figures.completed as f64])
}

/// Starts a server by its name, with `folder` as what it serves.
fn start(name: &str, namespace: &Namespace, folder: &Path) -> anyhow::Result<Program> {
    let dir = fresh_dir(&format!("tftp-{name}"))?;
    let log = dir.join("log");
    match name {
        "ironhatch" => {
            let pxe = format!("unknown = \"ignore\"\nboot_files_dir = \"{}\"\n", folder.display());
            let daemon = Daemon::start(namespace, &dir, &pxe, "")?;
            started(daemon.program, 69)
        }
        "dnsmasq" => {
            let root = format!("--tftp-root={}", folder.display());
            let more = ["--enable-tftp", &root, "--tftp-max=1000"];
            started(dnsmasq(namespace, &more)?, 69)
        }
        "tftpd-hpa" => {
            let mut command = peer_command("in.tftpd")?;
            command.args(["-L", "--user", "root", "--secure", "--address"]);
            command.arg(format!("{SERVER}:69")).arg(folder);
            started(Program::start(namespace, command, &log)?, 69)
        }
        "atftpd" => {
            let mut command = peer_command("atftpd")?;
            command.args(["--daemon", "--no-fork", "--user", "root.root", "--logfile", "-"]);
            command
                .args(["--maxthread", "1000", "--bind-address", &SERVER.to_string()])
                .arg(folder);
            started(Program::start(namespace, command, &log)?, 69)
        }
        _ => {
            let mut command = peer_command("async-tftp")?;
            command.arg(folder).arg(format!("{SERVER}:69"));
            started(Program::start(namespace, command, &log)?, 69)
        }
    }
}
