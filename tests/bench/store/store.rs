//! The database alone: durable transitions, and the start on a long history. A program of its own, since only it has the
//! daemon's library in it.

#[allow(dead_code)] // the other program uses more of it
#[path = "../row.rs"]
mod row;
#[path = "../work.rs"]
mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironhatch::domain::event::{EventKind, Level, Subject};
use ironhatch::domain::host::{Host, HostEvent, HostState};
use ironhatch::domain::id::HostId;
use ironhatch::domain::mac::Mac;
use ironhatch::domain::time::Timestamp;
use ironhatch::store::{HostWriteError, MasterKey, NewEvent, Store, StoreError};

use row::{Better, Side, Target, alone, row};
use work::fresh_dir;

const RUNS: usize = 3;
const LENGTH: Duration = Duration::from_secs(2);
const EVENTS: usize = 1_000_000;

fn main() -> anyhow::Result<()> {
    let emit =
        |row: row::Row| println!("{}", serde_json::to_string(&row).expect("a row is plain data"));
    let dir = fresh_dir("store")?;
    for writers in [1, 64] {
        let (mut ours, mut disk) = (Side::new("ironhatch"), Side::new("fdatasync of 4 KiB"));
        for run in 0..RUNS {
            disk.add(syncs(&dir.join("plain")));
            ours.add(transitions(&dir.join(format!("{writers}-{run}.redb")), writers));
        }
        let who = if writers == 1 { "one writer" } else { "64 writers" };
        emit(row(
            &format!("store: durable transitions, {who}"),
            "1/s",
            Better::High,
            Target::None,
            &ours,
            &[disk],
        ));
    }
    let path = dir.join("long.redb");
    fill(&path)?;
    let mut start = Side::new("ironhatch");
    for _ in 0..RUNS {
        let begun = Instant::now();
        let store = open(&path)?;
        start.add(Ok(begun.elapsed().as_secs_f64() * 1e3));
        drop(store);
    }
    emit(row("store: reopen with a million events", "ms", Better::Low, Target::None, &start, &[]));
    let size = std::fs::metadata(&path)?.len() as f64 / 1_048_576.0;
    emit(alone("store: size of a million events", "MiB", Target::None, size));
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

fn open(path: &Path) -> Result<Store, StoreError> {
    let clock = Arc::new(|| Timestamp(jiff::Timestamp::now().as_millisecond()));
    Store::open(path, MasterKey::from_bytes(&[7; 32]), clock)
}

fn host(n: u32) -> anyhow::Result<Host> {
    let [a, b, c, d] = n.to_be_bytes();
    let id: HostId = serde_json::from_value(format!("00000000-0000-0000-0000-{n:012}").into())?;
    Ok(Host::new(
        id,
        format!("pve{n}").parse()?,
        vec![Mac([0x52, 0x54, a, b, c, d])],
        "lab".parse()?,
        Timestamp(0),
    ))
}

/// Transitions per second of so many threads, each with a host of its own.
fn transitions(path: &Path, writers: u32) -> anyhow::Result<f64> {
    let store = open(path)?;
    let begun = Instant::now();
    let done = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|n| {
                let store = store.clone();
                scope.spawn(move || write(&store, host(n)?, begun + LENGTH))
            })
            .collect();
        let mut done = 0;
        for thread in threads {
            done += thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok::<_, anyhow::Error>(done)
    })?;
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// Moves a host to and fro: armed, failed, armed again.
fn write(store: &Store, mut host: Host, deadline: Instant) -> anyhow::Result<u64> {
    let mut done = 0;
    while Instant::now() < deadline {
        let event = match host.state {
            HostState::Registered | HostState::Failed => HostEvent::Armed,
            _ => HostEvent::Stopped,
        };
        host = store.write_blocking::<_, HostWriteError, _>(move |tx| {
            let _ = tx.move_host(&mut host, event, "moved by the benchmark")?;
            Ok(host)
        })?;
        done += 1;
    }
    anyhow::ensure!(host.state_since > Timestamp(0), "the host did not move");
    Ok(done)
}

/// Syncs per second of the disk itself.
fn syncs(path: &Path) -> anyhow::Result<f64> {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(path)?;
    let block = [7; 4096];
    let begun = Instant::now();
    let mut done = 0u64;
    while begun.elapsed() < LENGTH / 4 {
        file.write_all_at(&block, done % 256 * 4096)?;
        file.sync_data()?;
        done += 1;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

/// A history of a million events of a thousand hosts.
fn fill(path: &Path) -> anyhow::Result<()> {
    let store = open(path)?;
    let hosts: Vec<Host> = (0..1000).map(host).collect::<Result<_, _>>()?;
    for host in hosts.clone() {
        store.write_blocking(move |tx| tx.save_host(&host))?;
    }
    let ids: Vec<HostId> = hosts.iter().map(|h| h.id).collect();
    for batch in 0..EVENTS / 5000 {
        let ids = ids.clone();
        store.write_blocking::<_, StoreError, _>(move |tx| {
            for n in 0..5000 {
                let host = ids.get((batch * 5000 + n) % ids.len()).copied();
                tx.emit(NewEvent {
                    level: Level::Info,
                    subject: Subject { host, ..Subject::default() },
                    kind: EventKind::HostChanged,
                    message:
                        "an event as long as most of them are: the installer fetched its answer"
                            .to_owned(),
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
