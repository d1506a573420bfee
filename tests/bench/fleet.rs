//! Whole rebuilds of many machines at once: 100, 1,000 and 10,000.

mod machine;
mod node;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::daemon::{self, Daemon};
use super::dhcp::mac_text;
use super::http::{self, client::Source};
use super::iso::bytes_below;
use super::place::{CLIENT, Place};
use super::row::{Better, Row, Side, Target, alone, figure as figure_of, row};
use super::work::fresh_dir;
use machine::Machine;
use node::Cluster;

pub const NOTES: &str = "Every machine is asked to be rebuilt at the same moment and goes through all of it against the real daemon: boot \
server (port 4011), boot program over TFTP, boot script, kernel, initrd and its own ISO over HTTP, answer, first-boot script, \
installation report, phone-home, then preflight, join, proof and removal of the key over SSH to a real SSH server of its own. The \
stand-in for `pvecm` behind it answers at once (the vendor's takes 18 to 25 s), so that the time is the daemon's and the generator's, \
which share the processors. Joins run one after another, as a cluster needs it. The cluster shows the first member and the newest \
node, because no real one has thousands. 10,000 machines go as far \
as their call back, since joins follow one another, and do not load the boot program, kernel and initrd.";

/// A fleet, and how far it goes.
struct Fleet {
    machines: usize,
    limit: Duration,
    goal: Goal,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Every machine is a node.
    Ready,
    /// Every machine has called back; what all machines load alike is left out.
    CalledBack,
}

const FLEETS: [Fleet; 3] = [
    Fleet { machines: 100, limit: Duration::from_secs(90), goal: Goal::Ready },
    Fleet { machines: 1_000, limit: Duration::from_secs(240), goal: Goal::Ready },
    Fleet { machines: 10_000, limit: Duration::from_secs(240), goal: Goal::CalledBack },
];

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let mut small = None;
    for fleet in FLEETS {
        let machines = fleet.machines as f64;
        let what = |figure: &str| format!("fleet: {} machines, {figure}", figure_of(machines));
        let figures = match rebuild(&fleet) {
            Ok(figures) => figures,
            Err(error) => {
                let mut failed = Side::new("ironhatch");
                failed.add(Err(error));
                let limit = Target::Below(fleet.limit.as_secs_f64());
                emit(row(&what("the whole run"), "s", Better::Low, limit, &failed, &[]));
                continue;
            }
        };
        let is_judged = fleet.machines == 1_000;
        let judged = |target| if is_judged { target } else { Target::None };
        emit(alone(&what("that failed"), "machines", Target::Below(1.0), figures.failed as f64));
        emit(alone(&what("until all have called back"), "s", Target::None, figures.called_back));
        if fleet.goal == Goal::Ready {
            emit(alone(&what("until all are ready"), "s", Target::None, figures.seconds));
            let each = figures.seconds * 1e3 / machines;
            let before = *small.get_or_insert(each);
            let (mut ours, mut less) = (Side::new("ironhatch"), Side::new("the same with 100"));
            ours.add(Ok(each));
            less.add(Ok(before));
            let name = what("time until ready, for each");
            let linear = judged(Target::RatioAtMost(1.25));
            emit(row(&name, "ms", Better::Low, linear, &ours, &[less]));
        }
        let cpu = figures.cpu * 1e3 / machines;
        emit(alone(&what("processor time for each"), "ms", Target::None, cpu));
        let most = judged(Target::Below(100.0));
        emit(alone(&what("memory at its peak"), "MiB", most, figures.memory));
        emit(alone(&what("database"), "MiB", Target::None, figures.database));
    }
    Ok(())
}

struct Figures {
    seconds: f64,
    called_back: f64,
    failed: usize,
    cpu: f64,
    memory: f64,
    database: f64,
}

fn rebuild(order_of: &Fleet) -> anyhow::Result<Figures> {
    let Fleet { machines, limit, goal } = *order_of;
    let place = Place::new()?;
    let dir = fresh_dir("fleet")?;
    let cluster = Arc::new(Cluster::default());
    let member_key = cluster.install(node::MEMBER, CLIENT, None)?;
    let more =
        format!("[proxmox]\nexisting_node = \"{CLIENT}\"\nmember_host_key = \"{member_key}\"\n");
    let daemon = Daemon::start(&place.server, &dir, "unknown = \"ignore\"\n", &more)?;
    daemon.import(&daemon::iso(&dir, 0)?)?;
    let mut fleet = Vec::new();
    for number in 0..machines {
        let name = format!("pve{number}");
        let id = daemon.register(&name, &mac_text(number as u32))?;
        fleet.push(Machine { number, name, id });
    }
    let before = daemon.program.cpu_seconds();
    let (states, told) = mpsc::unbounded_channel();
    let stream = UnixStream::connect(daemon.socket())?;
    std::thread::spawn(move || watch(&stream, &states));
    let source = Source { port: 8080, path: "/boot/ipxe/snponly.efi".to_owned() };
    let program = place.client.run(move || http::client::get(&source, None))?;
    let program: Arc<[u8]> = program.context("the boot program")?.into();
    let begun = Instant::now();
    let socket = daemon.socket();
    let orders: Vec<String> = fleet.iter().map(|m| m.name.clone()).collect();
    std::thread::spawn(move || orders.iter().try_for_each(|name| order(&socket, name)));
    let deadline = begun + limit;
    let outcome = place.client.run(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(live(fleet, cluster, program, told, deadline, goal))
    })??;
    let seconds = begun.elapsed().as_secs_f64();
    for failure in outcome.failures.iter().take(3) {
        println!("{failure}");
    }
    let done = if goal == Goal::Ready { outcome.ready } else { outcome.called_back };
    let missing = machines - done;
    let is_over = missing == outcome.failures.len();
    anyhow::ensure!(is_over, "{missing} were not done after {seconds:.0} s");
    Ok(Figures {
        seconds,
        called_back: outcome.at.map_or(seconds, |at| (at - begun).as_secs_f64()),
        failed: missing,
        cpu: daemon.program.cpu_seconds() - before,
        memory: daemon.program.memory_mib("VmHWM")?,
        database: bytes_below(&dir.join("data"))? / 1_048_576.0 - image_mib(&dir)?,
    })
}

/// What else is in the data directory.
fn image_mib(dir: &std::path::Path) -> anyhow::Result<f64> {
    Ok(bytes_below(&dir.join("data/images"))? / 1_048_576.0)
}

/// Asks for a rebuild.
fn order(socket: &std::path::Path, name: &str) -> anyhow::Result<()> {
    let body = json!({ "confirm": name }).to_string();
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "POST /api/hosts/{name}/rebuild HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    anyhow::ensure!(answer.starts_with("HTTP/1.1 2"), "{name}: {answer}");
    Ok(())
}

/// Reads the event stream; tells which host came to which state.
fn watch(stream: &UnixStream, states: &mpsc::UnboundedSender<(String, String, String)>) {
    let request = b"GET /events?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    if (&mut &*stream).write_all(request).is_err() {
        return;
    }
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        if event["type"] == "state-changed"
            && states.send((text("host"), text("to"), text("message"))).is_err()
        {
            return;
        }
    }
}

#[derive(Default)]
struct Outcome {
    ready: usize,
    called_back: usize,
    /// When the last machine called back.
    at: Option<Instant>,
    failures: Vec<String>,
}

async fn live(
    fleet: Vec<Machine>,
    cluster: Arc<Cluster>,
    program: Arc<[u8]>,
    mut told: mpsc::UnboundedReceiver<(String, String, String)>,
    deadline: Instant,
    goal: Goal,
) -> anyhow::Result<Outcome> {
    let servers = tokio::spawn(Arc::clone(&cluster).serve());
    let machines = fleet.len();
    let by_id: HashMap<String, Machine> = fleet.into_iter().map(|m| (m.id.clone(), m)).collect();
    let (fail, mut failed) = mpsc::unbounded_channel();
    let mut outcome = Outcome::default();
    let done = |o: &Outcome| if goal == Goal::Ready { o.ready } else { o.called_back };
    while done(&outcome) + outcome.failures.len() < machines {
        tokio::select! {
            event = told.recv() => {
                let (host, to, message) = event.context("the event stream ended")?;
                match (to.as_str(), by_id.get(&host)) {
                    ("pxe_ready", Some(machine)) => {
                        let (machine, cluster) = (machine.clone(), Arc::clone(&cluster));
                        let (program, fail) = (Arc::clone(&program), fail.clone());
                        tokio::spawn(async move {
                            if let Err(error) = machine.live(&cluster, &program, goal).await {
                                let _ = fail.send(format!("{}: {error:#}", machine.name));
                            }
                        });
                    }
                    ("first_boot", Some(_)) => {
                        outcome.called_back += 1;
                        outcome.at = Some(Instant::now());
                    }
                    ("ready", Some(_)) => outcome.ready += 1,
                    ("failed", Some(machine)) => outcome.failures.push(format!("{}: {message}", machine.name)),
                    _ => {}
                }
            }
            Some(failure) = failed.recv() => outcome.failures.push(failure),
            () = tokio::time::sleep_until(deadline.into()) => break,
        }
    }
    servers.abort();
    Ok(outcome)
}
