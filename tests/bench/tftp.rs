//! TFTP: many clients, block sizes, windows, lost and late packets. Peers dnsmasq, tftpd-hpa, atftpd and async-tftp.

pub mod client;
pub mod peer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::daemon::Daemon;
use super::dhcp::servers::{dnsmasq, started};
use super::place::{Namespace, Place, SERVER, Trouble};
use super::program::{Program, peer_command};
use super::row::{Better, Row, Side, Target, row};
use super::work::fresh_dir;
use client::{Figures, Load};

pub const NOTES: &str = "Each client has an address of its own, fetches a file of 1 MiB again and again, checks every byte and \
behaves as EDK2 does: a block out of order is answered with the last good one, and it repeats itself only after 4 s. The rate is what \
arrived in order, of all clients together. Servers without the option windowsize answer with a window of 1. Lost and late packets \
come from a relay in user space on the cable (not every kernel has netem): 1 % lost in both directions; 5 ms later towards the \
clients. In those cells the peers, which mostly wait, run at the same time, each on a cable of its own; Ironhatch runs alone.";

const RUNS: usize = 3;
/// The file that everybody fetches.
const FILE: &str = "bench.efi";
const FILE_BYTES: usize = 1 << 20;

const PEERS: [&str; 4] = ["dnsmasq", "tftpd-hpa", "atftpd", "async-tftp"];

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
    everybody_at_once(&ground, emit)?;
    for cell in cells() {
        emit(measure(&ground, cell)?);
    }
    Ok(())
}

fn cells() -> Vec<Cell> {
    let mut all = Vec::new();
    for clients in [1, 50, 200] {
        for (block, window) in [(512, 1), (1468, 1), (1468, 4), (1468, 16)] {
            let target = if clients == 200 { Target::RatioAtLeast(2.0) } else { Target::None };
            let length = Duration::from_millis(500);
            all.push(Cell { clients, block, window, trouble: Trouble::None, length, target });
        }
    }
    let length = Duration::from_secs(2);
    for (clients, block, window) in [(1, 1468, 1), (50, 1468, 1), (50, 1468, 4), (50, 512, 16)] {
        let (trouble, target) = (Trouble::OnePercentLost, Target::RatioAtLeast(10.0));
        all.push(Cell { clients, block, window, trouble, length, target });
    }
    let length = Duration::from_millis(800);
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

fn measure(ground: &Ground, cell: Cell) -> anyhow::Result<Row> {
    let mut ours = Side::new("ironhatch");
    let mut peers = PEERS.map(Side::new);
    for _ in 0..RUNS {
        if matches!(cell.trouble, Trouble::None) {
            let place = Place::new()?;
            for side in &mut peers {
                let figures = once(ground, &place, &side.name, cell);
                side.add(figures);
            }
            ours.add(once(ground, &place, "ironhatch", cell));
        } else {
            let place = Place::with_trouble(cell.trouble)?;
            ours.add(once(ground, &place, "ironhatch", cell));
            drop(place);
            std::thread::scope(|scope| {
                for side in &mut peers {
                    scope.spawn(|| {
                        let figures = Place::with_trouble(cell.trouble)
                            .and_then(|place| once(ground, &place, &side.name, cell));
                        side.add(figures);
                    });
                }
            });
        }
    }
    let Cell { clients, block, window, trouble, target, .. } = cell;
    let plural = if clients == 1 { "client" } else { "clients" };
    let name =
        format!("tftp: {clients} {plural}, blocks of {block}, window {window}{}", trouble.words());
    Ok(row(&name, "MB/s", Better::High, target, &ours, &peers))
}

/// Megabytes per second.
fn once(ground: &Ground, place: &Place, server: &str, cell: Cell) -> anyhow::Result<f64> {
    let running = start(server, &place.server, &ground.folder)?;
    let load = Load {
        clients: cell.clients,
        name: FILE,
        block: cell.block,
        window: cell.window,
        length: cell.length,
        transfers_each: usize::MAX,
        file: Arc::clone(&ground.file),
    };
    let figures = drive(place, load)?;
    anyhow::ensure!(figures.bytes > 0, "nothing arrived; its last words: {}", running.last_words());
    Ok(figures.bytes as f64 / figures.seconds / 1e6)
}

fn drive(place: &Place, load: Load) -> anyhow::Result<Figures> {
    place.client.run(move || client::drive(&load))?
}

/// 200 clients fetch the file once, all at the same moment; nobody may be left behind.
fn everybody_at_once(ground: &Ground, emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let mut ours = [Side::new("ironhatch"), Side::new("ironhatch"), Side::new("ironhatch")];
    let mut peers = [PEERS.map(Side::new), PEERS.map(Side::new), PEERS.map(Side::new)];
    let place = Place::new()?;
    for _ in 0..RUNS {
        for (n, name) in PEERS.iter().copied().chain(["ironhatch"]).enumerate() {
            let measured = fetch_once(ground, &place, name);
            for figure in 0..3 {
                let value = match &measured {
                    // Each of its transfers is a process that nobody waits for, so its time is in no sum.
                    Ok(_) if figure == 2 && name == "tftpd-hpa" => {
                        Err(anyhow::anyhow!("its processes' time cannot be read"))
                    }
                    Ok(figures) => Ok(figures[figure]),
                    Err(error) => Err(anyhow::anyhow!("{error:#}")),
                };
                match peers[figure].get_mut(n) {
                    Some(peer) => peer.add(value),
                    None => ours[figure].add(value),
                }
            }
        }
    }
    let what = "tftp: 200 clients fetch 1 MiB at once, blocks of 1468, window 4";
    let names = ["all together", "failed transfers", "processor time per MB"];
    let units = ["MB/s", "transfers", "ms"];
    let targets = [Target::RatioAtLeast(2.0), Target::Below(1.0), Target::None];
    for figure in 0..3 {
        let better = if figure == 0 { Better::High } else { Better::Low };
        let name = format!("{what}, {}", names[figure]);
        emit(row(&name, units[figure], better, targets[figure], &ours[figure], &peers[figure]));
    }
    Ok(())
}

/// Rate, failed transfers, and milliseconds of processor time per megabyte.
fn fetch_once(ground: &Ground, place: &Place, server: &str) -> anyhow::Result<[f64; 3]> {
    let running = start(server, &place.server, &ground.folder)?;
    let before = running.cpu_seconds();
    let load = Load {
        clients: 200,
        name: FILE,
        block: 1468,
        window: 4,
        length: Duration::from_secs(8),
        transfers_each: 1,
        file: Arc::clone(&ground.file),
    };
    let figures = drive(place, load)?;
    let megabytes = figures.bytes as f64 / 1e6;
    let cpu = (running.cpu_seconds() - before) * 1e3 / megabytes;
    Ok([megabytes / figures.seconds, 200.0 - figures.completed as f64, cpu])
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
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(std::env::current_exe()?);
            command.arg("async-tftp").arg(folder).arg(format!("{SERVER}:69"));
            started(Program::start(namespace, command, &log)?, 69)
        }
    }
}
