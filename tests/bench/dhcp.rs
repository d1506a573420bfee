//! DHCP: offers to armed machines beside another server (peer dnsmasq in proxy mode), and whole leases in full mode
//! (peers Kea and dnsmasq).

mod client;
pub mod servers;

use std::time::Duration;

use anyhow::Context as _;

use super::daemon::{self, Daemon};
use super::place::Place;
use super::program::Program;
use super::row::{Better, Row, Side, Target, row};
use super::work::fresh_dir;
use client::{Figures, Load};

pub const NOTES: &str = "Offers: 128 registered machines that are armed for an installation ask as UEFI firmware does; dnsmasq answers \
everybody with a fixed file name. The latency under load is that of dnsmasq with 32 requests in flight, and ours when we are asked \
as many times per second. Leases: every exchange is of a machine that was never seen; Ironhatch has each lease on the disk \
(fsync) before it confirms it, Kea and dnsmasq write their files without fsync.";

/// Runs of each measurement; the median counts.
const RUNS: usize = 3;
/// Machines that take part in the measurement of offers.
const MACHINES: usize = 128;
/// Requests in flight at the sustained rate: the first machines of a rack that is switched on.
const WINDOW: usize = 32;
/// Length of one measurement.
const LENGTH: Duration = Duration::from_secs(2);
/// Length of a measurement of leases: each takes an address that does not come back.
const LEASES_LENGTH: Duration = Duration::from_millis(500);
/// Addresses of the servers' pools, 198.18.16.1 to 198.18.127.254. A run that came near their end would measure it.
const POOL: usize = 112 * 256 - 2;

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let place = Place::new()?;
    offers(&place, emit)?;
    leases(&place, emit)
}

/// The MAC of a machine, locally administered.
pub fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

pub fn mac_text(n: u32) -> String {
    mac(n).map(|b| format!("{b:02x}")).join(":")
}

fn offers(place: &Place, emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let dir = fresh_dir("dhcp-proxy")?;
    let daemon = Daemon::start(&place.server, &dir, "unknown = \"ignore\"\n", "")?;
    daemon.import(&daemon::iso(&dir, 0)?)?;
    let macs: Vec<String> = (0..MACHINES as u32).map(mac_text).collect();
    daemon.arm("pve", &macs)?;
    // Its state stays; only one program at a time can have the port.
    drop(daemon);

    let names = ["rate", "p50", "p99", "cpu", "busy"];
    let mut ours = names.map(|_| Side::new("ironhatch"));
    let mut peer = names.map(|_| Side::new("dnsmasq proxy mode"));
    for _ in 0..RUNS {
        let peer_rate = {
            let measured = servers::dnsmasq_proxy(&place.server).and_then(|p| measure(place, &p));
            note(&mut peer, measured.as_ref())
        };
        let daemon = Daemon::start(&place.server, &dir, "unknown = \"ignore\"\n", "");
        match daemon {
            Ok(daemon) => {
                let measured = measure(place, &daemon.program);
                note(&mut ours, measured.as_ref());
                ours[4].add(at_peers_rate(place, peer_rate));
            }
            Err(error) => drop(note(&mut ours, Err(&error))),
        }
    }
    let [rate, p50, p99, cpu, busy] = [0, 1, 2, 3, 4];
    let mut tell = |at: usize, name: &str, unit: &str, better, target| {
        let peers = std::slice::from_ref(&peer[at]);
        emit(row(&format!("dhcp: PXE offer, {name}"), unit, better, target, &ours[at], peers));
    };
    let low = Better::Low;
    tell(rate, "sustained rate, 32 in flight", "offers/s", Better::High, Target::RatioAtLeast(2.0));
    tell(p50, "latency p50, one at a time", "µs", low, Target::None);
    tell(p99, "latency p99, one at a time", "µs", low, Target::None);
    tell(busy, "latency p99 at the peer's best rate", "µs", low, Target::RatioAtMost(1.0));
    tell(cpu, "processor time per offer", "µs", low, Target::RatioAtMost(1.0));
    Ok(())
}

/// What one server reaches: alone, and with a window.
struct Offers {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
    busy_p99: f64,
}

fn note(sides: &mut [Side; 5], measured: Result<&Offers, &anyhow::Error>) -> Option<f64> {
    match measured {
        Ok(o) => {
            let all = [o.rate, o.p50, o.p99, o.cpu, o.busy_p99];
            // Ours is driven at the peer's rate for the last figure, by the caller.
            let count = if sides[0].name == "ironhatch" { 4 } else { 5 };
            for (side, value) in sides.iter_mut().zip(all).take(count) {
                side.add(Ok(value));
            }
            Some(o.rate)
        }
        Err(error) => {
            for side in sides {
                side.add(Err(anyhow::anyhow!("{error:#}")));
            }
            None
        }
    }
}

fn measure(place: &Place, server: &Program) -> anyhow::Result<Offers> {
    let load = |load| run_load(place, load);
    load(Load::Offers { window: 1, length: Duration::from_millis(300) })?;
    let alone = load(Load::Offers { window: 1, length: LENGTH / 2 })?;
    let before = server.cpu_seconds();
    let busy = load(Load::Offers { window: WINDOW, length: LENGTH })?;
    let cpu = server.cpu_seconds() - before;
    let done = busy.done as f64;
    Ok(Offers {
        rate: busy.rate,
        p50: alone.p50,
        p99: alone.p99,
        cpu: cpu / done * 1e6,
        busy_p99: busy.p99,
    })
}

/// Our p99 when we are asked as often as the peer can answer at most.
fn at_peers_rate(place: &Place, rate: Option<f64>) -> anyhow::Result<f64> {
    let rate = rate.context("the peer's rate is not known")?;
    Ok(run_load(place, Load::Paced { rate, length: LENGTH })?.p99)
}

fn run_load(place: &Place, load: Load) -> anyhow::Result<Figures> {
    place.client.run(move || client::drive(load, MACHINES as u32))?
}

fn leases(place: &Place, emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let mut ours = [Side::new("ironhatch"), Side::new("ironhatch")];
    let mut kea = [Side::new("Kea"), Side::new("Kea")];
    let mut dnsmasq = [Side::new("dnsmasq"), Side::new("dnsmasq")];
    // A full mode that starts asks five seconds for other servers; keep it, only its clients are new in each run.
    for run in 0..RUNS {
        let first = (run as u32 + 1) * 100_000;
        add(&mut kea, lease_figures(place, servers::kea(&place.server), first));
        add(&mut dnsmasq, lease_figures(place, servers::dnsmasq_full(&place.server), first));
        let dir = fresh_dir("dhcp-full")?;
        let pxe = "unknown = \"enroll\"\nmode = \"full\"\npool = \"198.18.16.1-198.18.127.254\"\nlease_secs = 3600\n";
        let daemon = Daemon::start(&place.server, &dir, pxe, "").map(|d| d.program);
        add(&mut ours, lease_figures(place, daemon, first));
    }
    let [rate, cpu] = ours;
    let [kea_rate, kea_cpu] = kea;
    let [dnsmasq_rate, dnsmasq_cpu] = dnsmasq;
    emit(row(
        "dhcp: full mode, whole exchanges (DORA), 128 in flight",
        "leases/s",
        Better::High,
        Target::RatioAtLeast(2.0),
        &rate,
        &[kea_rate, dnsmasq_rate],
    ));
    emit(row(
        "dhcp: full mode, processor time per lease",
        "µs",
        Better::Low,
        Target::None,
        &cpu,
        &[kea_cpu, dnsmasq_cpu],
    ));
    Ok(())
}

fn add(sides: &mut [Side; 2], measured: anyhow::Result<(f64, f64)>) {
    match measured {
        Ok((rate, cpu)) => {
            sides[0].add(Ok(rate));
            sides[1].add(Ok(cpu));
        }
        Err(error) => {
            sides[1].add(Err(anyhow::anyhow!("{error:#}")));
            sides[0].add(Err(error));
        }
    }
}

/// Leases per second, and microseconds of processor time for each.
fn lease_figures(
    place: &Place,
    server: anyhow::Result<Program>,
    first: u32,
) -> anyhow::Result<(f64, f64)> {
    let server = server?;
    // A server that holds its port need not hear yet (Kea opens its raw socket later), and a lost question costs seconds.
    let length = Duration::from_millis(250);
    let heard = |n: u32| {
        let warm_up = Load::Leases { window: 1, length, first: first + 90_000 + n * 100 };
        run_load(place, warm_up).is_ok()
    };
    let hears = (0..20).any(heard);
    anyhow::ensure!(hears, "it does not answer; its last words: {}", server.last_words());
    let before = server.cpu_seconds();
    let load = Load::Leases { window: 128, length: LEASES_LENGTH, first };
    let figures = run_load(place, load)
        .with_context(|| format!("its last words: {}", server.last_words()))?;
    let cpu = (server.cpu_seconds() - before) / figures.done as f64;
    anyhow::ensure!(figures.done < POOL * 9 / 10, "{} leases nearly empty the pool", figures.done);
    Ok((figures.rate, cpu * 1e6))
}
