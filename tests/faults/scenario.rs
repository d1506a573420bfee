//! Scenarios that are too dear for each life: floods, thousands of connections, damaged files. Each has one daemon and a seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::air::{Air, Link};
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::http::{Request, Trouble};
use crate::judge::judge;
use crate::life::{collect, import};
use crate::node::Sshd;
use crate::place::Place;
use crate::plan::Plan;
use crate::run::{INSTALLER, Run, Stage};
use crate::support::appliance::{ADDRESS, configure};
use crate::support::machine::Machine;
use crate::support::wire::{PXE, discover};

/// What a scenario showed.
pub(crate) struct Shown {
    pub(crate) wrong: Vec<String>,
    /// One line of figures.
    pub(crate) said: String,
}

/// A scenario by its name.
pub(crate) type Scenario = (&'static str, fn(u64, &Path) -> Shown);

pub(crate) const ALL: [Scenario; 5] = [
    ("flood", |seed, iso| inside(iso, async move |world| flood(world, seed).await)),
    ("connections", |seed, iso| inside(iso, async move |world| connections(world, seed).await)),
    ("slow-loris", |seed, iso| inside(iso, async move |world| slow_loris(world, seed).await)),
    ("damage", |seed, iso| inside(iso, async move |world| damage(world, seed).await)),
    ("restore", |seed, iso| inside(iso, async move |world| restore(world, seed).await)),
];

struct World {
    place: Rc<Place>,
    stage: Rc<Stage>,
    /// Keeps the nodes' wishes for strikes from failing; nobody has any here.
    _strikes: mpsc::UnboundedReceiver<()>,
}

impl World {
    fn daemon(&self) -> &Daemon {
        &self.stage.daemon
    }

    /// A machine is rebuilt from its first packet to the end, with nothing else going wrong.
    async fn rebuild(&self, n: u8, seed: u64) -> (crate::ledger::Ledger, Duration) {
        let begun = Instant::now();
        let run = Run::with(Rc::clone(&self.stage), n, Dice::new(seed), Plan::calm());
        let ledger = run.story().await;
        (ledger, begun.elapsed())
    }

    /// Resident memory in MiB, and the most it ever was.
    fn memory(&self) -> (u64, u64) {
        let status = self.daemon().pid().map(|pid| format!("/proc/{pid}/status"));
        let text = status.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = text.lines().find(|l| l.starts_with(name));
            let kib =
                line.and_then(|l| l.split_whitespace().nth(1)).and_then(|n| n.parse::<u64>().ok());
            kib.unwrap_or(0) >> 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// How many files the daemon has open, sockets among them.
    fn open_files(&self) -> usize {
        let list = self.daemon().pid().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")));
        list.and_then(Result::ok).map_or(0, Iterator::count)
    }

    async fn verdict(&self, ledgers: &[&crate::ledger::Ledger]) -> Vec<String> {
        let evidence = collect(self.daemon(), &self.place).await;
        judge(&evidence, ledgers)
    }
}

fn inside(iso: &Path, story: impl AsyncFnOnce(&World) -> (Vec<String>, String)) -> Shown {
    let place = Rc::new(Place::enter("330m"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let air = Rc::new(Air::plug());
        let (strikes, _strikes) = mpsc::unbounded_channel();
        configure(place.path(), &format!("{PXE}unknown = \"enroll\"\n"), "");
        let daemon = Rc::new(Daemon::new(Rc::clone(&place)));
        if !daemon.start().await {
            daemon.complain(format!("the daemon does not start:\n{}", daemon.log_end()));
        }
        import(&daemon, iso).await;
        let stage = Rc::new(Stage { daemon, air, sshd: Sshd::new(strikes) });
        let world = World { place: Rc::clone(&place), stage, _strikes };
        let (mut wrong, said) = story(&world).await;
        wrong.append(&mut world.daemon().wrong.borrow_mut());
        Shown { wrong, said }
    })
}

/// 50,000 DISCOVERs a second from made-up machines: a real one boots all the same, and memory stays what it is.
async fn flood(world: &World, seed: u64) -> (Vec<String>, String) {
    const RATE: u64 = 50_000;
    let before = world.memory().0;
    let socket = world.stage.air.wire.socket(0);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let mut dice = Dice::new(seed);
    let flooding = std::thread::spawn(move || {
        let begun = Instant::now();
        let mut sent = 0u64;
        let mut packet = discover([2, 0, 0, 0, 0, 0], 7);
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let due = u64::try_from(begun.elapsed().as_micros()).unwrap() * RATE / 1_000_000;
            for _ in 0..due.saturating_sub(sent).min(500) {
                packet[29..34].copy_from_slice(&dice.next().to_be_bytes()[..5]);
                let _ = socket.send_to(&packet, ("255.255.255.255", 67));
                sent += 1;
            }
            if sent >= due {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        (sent, begun.elapsed())
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (ledger, took) = world.rebuild(11, seed).await;
    let at_least = Duration::from_secs(5).saturating_sub(took);
    tokio::time::sleep(at_least).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (sent, lasted) = flooding.join().unwrap();
    let (_, most) = world.memory();
    let sightings = world.daemon().get("/api/sightings").await;
    let kept = sightings["sightings"].as_array().map_or(0, Vec::len);
    let mut wrong = world.verdict(&[&ledger]).await;
    if most > before + 100 {
        wrong.push(format!("memory rose from {before} to {most} MiB"));
    }
    if kept > 2000 {
        wrong.push(format!("{kept} sightings of machines that do not exist"));
    }
    let rate = sent * 1000 / u64::try_from(lasted.as_millis()).unwrap().max(1);
    let said = format!(
        "{sent} packets, {rate}/s; the real machine was ready after {:.1} s; memory {before} MiB, at most {most} MiB; {kept} sightings",
        took.as_secs_f64()
    );
    (wrong, said)
}

/// Opens connections that say nothing, until there are so many or no more can be had.
async fn open(many: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(many);
    while held.len() < many {
        let connecting = TcpStream::connect((ADDRESS, 8080));
        match tokio::time::timeout(Duration::from_millis(1500), connecting).await {
            Ok(Ok(mut stream)) => {
                let _ = stream.write_all(first).await;
                held.push(stream);
            }
            // The queue of the listener is full: from here on they wait outside.
            _ => break,
        }
    }
    held
}

/// 10,000 connections that say nothing, all wanted at once: the operator is served at once, a machine as soon as the first of
/// them are thrown out.
async fn connections(world: &World, seed: u64) -> (Vec<String>, String) {
    const MANY: usize = 10_000;
    let begun = Instant::now();
    let count = Rc::new(std::cell::Cell::new((0usize, 0usize)));
    let mut held = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        let count = Rc::clone(&count);
        held.push(tokio::task::spawn_local(async move {
            let Ok(stream) = TcpStream::connect((ADDRESS, 8080)).await else { return };
            let (open, gone) = count.get();
            count.set((open + 1, gone));
            // Until the daemon throws it out.
            let _ = stream.readable().await;
            let (open, gone) = count.get();
            count.set((open, gone + 1));
        }));
    }
    while count.get().0 < 4_000 && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = Instant::now();
    world.daemon().get("/api/hosts").await;
    let operator = asked.elapsed();
    let (ledger, took) = world.rebuild(11, seed).await;
    // What a client takes for a connection may never have come through the listener's queue: the daemon's side counts.
    let mut files = world.open_files();
    while files > 500 && begun.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        files = world.open_files();
    }
    let (open, gone) = count.get();
    for task in held {
        task.abort();
    }
    let (now, most) = world.memory();
    let mut wrong = world.verdict(&[&ledger]).await;
    if open < 4_000 {
        wrong.push(format!("only {open} connections could be opened"));
    }
    if files > 500 {
        wrong.push(format!("{files} files are open: silent connections are not thrown out"));
    }
    if operator > Duration::from_secs(5) {
        wrong.push(format!("the operator waited {operator:?}"));
    }
    if took > Duration::from_secs(120) {
        wrong.push(format!("the machine was ready only after {took:?}"));
    }
    if most > 300 {
        wrong.push(format!("memory rose to {most} MiB"));
    }
    let said = format!(
        "{open} of {MANY} silent connections got in, {gone} were thrown out again; the operator waited {} ms; the machine was ready \
         after {:.1} s; memory {now} MiB, at most {most} MiB",
        operator.as_millis(),
        took.as_secs_f64()
    );
    (wrong, said)
}

/// 1,000 requests whose heads never end, a byte at a time.
async fn slow_loris(world: &World, seed: u64) -> (Vec<String>, String) {
    let mut held = open(1_000, b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    let begun = Instant::now();
    let feeding = tokio::task::spawn_local(async move {
        let opened = held.len();
        let mut alive = opened;
        while alive > 0 && begun.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let mut still = Vec::with_capacity(held.len());
            for mut stream in held {
                let mut byte = [0];
                let gone =
                    stream.try_read(&mut byte).is_ok() || stream.write_all(b"a").await.is_err();
                if !gone {
                    still.push(stream);
                }
            }
            held = still;
            alive = held.len();
        }
        (opened, alive, begun.elapsed())
    });
    let (ledger, took) = world.rebuild(11, seed).await;
    let (opened, alive, lasted) = feeding.await.unwrap();
    let mut wrong = world.verdict(&[&ledger]).await;
    if alive > 0 || opened < 900 {
        wrong.push(format!(
            "{alive} of {opened} heads that never end are still held after {lasted:?}"
        ));
    }
    let said = format!(
        "{opened} slow heads, all thrown out after {:.1} s; the machine was ready after {:.1} s",
        lasted.as_secs_f64(),
        took.as_secs_f64()
    );
    (wrong, said)
}

/// Registers some hosts and arms one; what a damaged database must not lose without a word.
async fn fill(world: &World) -> Vec<String> {
    for n in 100..130 {
        let body = json!({ "hostname": format!("pve{n}"), "macs": [Machine::new(n).mac], "server_type": "lab" });
        world.daemon().ask("POST", "/api/hosts", Some(&body)).await;
    }
    arm(world, 100).await;
    names(world).await
}

async fn names(world: &World) -> Vec<String> {
    let hosts = world.daemon().get("/api/hosts").await;
    let hosts = hosts["hosts"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        hosts.filter_map(|h| h["hostname"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

async fn arm(world: &World, n: u8) -> Option<String> {
    let name = format!("pve{n}");
    let body = json!({ "confirm": name });
    world.daemon().ask("POST", &format!("/api/hosts/{name}/rebuild"), Some(&body)).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let host = world.daemon().get(&format!("/api/hosts/{name}")).await;
        if host["state"] == "pxe_ready" {
            return host["job"].as_str().map(str::to_owned);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.daemon().complain(format!("{name} is not armed"));
    None
}

/// The database is cut, zeroed or flipped while the daemon is down. It has everything, or the newest whole backup takes the
/// place of the damaged file: then nothing that the backup shows armed may be armed, and the judge finds every rule kept.
async fn damage(world: &World, seed: u64) -> (Vec<String>, String) {
    const TRIES: usize = 16;
    let mut dice = Dice::new(seed);
    let expected = fill(world).await;
    // A backup with an armed host, whose answer leaves afterwards.
    let regular = regular_backup(world).await;
    let machine = Armed::new(100).await;
    if machine.ask().await != 200 {
        world.daemon().complain("the machine does not get its answer".to_owned());
    }
    world.daemon().terminate().await;
    let database = world.place.data().join("ironhatch.redb");
    let good = fs::read(&database).unwrap();
    let (mut restored, mut whole) = (0, 0);
    for attempt in 0..TRIES {
        let (bytes, what) = damaged(&good, attempt, &mut dice);
        fs::write(&database, &bytes).unwrap();
        let log_before = world.daemon().log().len();
        if !world.daemon().start().await {
            world.daemon().complain(format!("after {what}:\n{}", world.daemon().log_end()));
            continue;
        }
        let log = world.daemon().log();
        if log[log_before.min(log.len())..].contains("the database was damaged") {
            restored += 1;
            disarmed(world, &machine, &what, &mut dice).await;
            let kept = aside(world);
            let is_kept = kept.len() == 1
                && fs::metadata(&kept[0]).is_ok_and(|file| file.len() == bytes.len() as u64);
            if !is_kept {
                world
                    .daemon()
                    .complain(format!("after {what} the damaged file is not kept: {kept:?}"));
            }
            for file in kept {
                fs::remove_file(file).unwrap();
            }
        } else {
            whole += 1;
            let hosts = world.daemon().ask("GET", "/api/hosts", None).await;
            let state = world.daemon().get("/api/hosts/pve100").await["state"].clone();
            if hosts.is_some_and(|r| r.status == 200) && state != "installing" {
                world.daemon().complain(format!("after {what} it starts with pve100 {state}"));
            }
        }
        // What it answers is everything, or an error: never less without a word.
        if names(world).await != expected {
            world.daemon().complain(format!("after {what} it starts and hosts are missing"));
        }
        if attempt % 4 == 0 {
            let mut evidence = collect(world.daemon(), &world.place).await;
            // The database library may panic over a page that it did not write; that is caught.
            evidence.log.clear();
            for wrong in judge(&evidence, &[]) {
                world.daemon().complain(format!("after {what}: {wrong}"));
            }
        }
        world.daemon().kill();
    }
    older_and_none(world, &regular, &good, &expected).await;
    (
        Vec::new(),
        format!(
            "{restored} damaged files were replaced by the newest backup with nothing armed, {whole} opened whole; an older \
             backup was taken when the newest was damaged, and nothing when all were"
        ),
    )
}

/// One way of damaging a file, with its name.
fn damaged(good: &[u8], attempt: usize, dice: &mut Dice) -> (Vec<u8>, String) {
    let mut bytes = good.to_vec();
    let what = match attempt % 4 {
        0 => {
            let length = if attempt == 0 { 0 } else { dice.below(bytes.len()) };
            bytes.truncate(length);
            format!("a cut to {length} bytes")
        }
        1 => {
            let at = dice.below(bytes.len() / 4096) * 4096;
            bytes[at..at + 4096].fill(0);
            format!("zeros at {at}")
        }
        2 => {
            let at = dice.below(64);
            bytes[at] ^= 1 << dice.below(8);
            format!("a flipped bit in the head at {at}")
        }
        _ => {
            let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(4096) + 1;
            for _ in 0..64 {
                let at = dice.below(used);
                bytes[at] ^= 0xFF;
            }
            "64 flipped bytes".to_owned()
        }
    };
    (bytes, what)
}

/// The newest backup that the daemon made by itself; its first look comes some seconds after a start.
async fn regular_backup(world: &World) -> PathBuf {
    world.daemon().terminate().await;
    if !world.daemon().start().await {
        world.daemon().complain(format!("it does not start again:\n{}", world.daemon().log_end()));
    }
    let folder = world.place.data().join("backups");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path());
        let mut files: Vec<PathBuf> =
            files.filter(|f| f.extension().is_some_and(|e| e == "redb")).collect();
        files.sort();
        if let Some(newest) = files.pop() {
            return newest;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.daemon().complain("no regular backup is made".to_owned());
    folder.join("none")
}

/// Damaged databases that were put aside.
fn aside(world: &World) -> Vec<PathBuf> {
    let files = fs::read_dir(world.place.data()).unwrap().flatten().map(|e| e.path());
    files.filter(|f| f.to_string_lossy().contains(".redb.damaged")).collect()
}

/// The newest backup is damaged as well; then all of them are.
async fn older_and_none(world: &World, regular: &Path, good: &[u8], expected: &[String]) {
    let daemon = world.daemon();
    let database = world.place.data().join("ironhatch.redb");
    let backup = world.place.path().join("good.redb");
    fs::copy(regular, &backup).unwrap();
    let half = |path: &Path, bytes: &[u8]| fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
    let content = fs::read(regular).unwrap();
    let name = regular.file_name().unwrap().to_string_lossy().into_owned();
    let newer = regular.with_file_name(format!("999999{}", &name[6..]));
    half(&newer, &content);
    half(&database, good);
    if !daemon.start().await {
        daemon.complain(format!("an older backup is not taken:\n{}", daemon.log_end()));
    } else if names(world).await != *expected
        || !daemon.log().contains("the next older one is tried")
    {
        daemon.complain("an older backup does not bring everything back".to_owned());
    }
    daemon.kill();
    for file in fs::read_dir(regular.parent().unwrap()).unwrap().flatten() {
        half(&file.path(), &content);
    }
    half(&database, good);
    let before = fs::read(&database).unwrap();
    if daemon.start().await {
        daemon.complain("it starts without a whole backup".to_owned());
    }
    let log = daemon.log();
    // The library's own complaint may come before it; the last line is for the operator.
    let last = log.trim_end().lines().next_back().unwrap_or_default();
    if !last.contains("ironhatch: not started") || !last.contains("db restore") {
        daemon.complain(format!("without a whole backup it says: {}", daemon.log_end()));
    }
    if fs::read(&database).unwrap() != before {
        daemon.complain("without a whole backup the damaged file was changed".to_owned());
    }
    // That is what a backup in another place is for.
    if let Err(said) = daemon.offline(&["db", "restore", backup.to_str().unwrap()]) {
        daemon.complain(format!("a damaged database cannot be replaced by a backup: {said}"));
    }
    if !daemon.start().await {
        daemon.complain(format!("it does not start from a backup:\n{}", daemon.log_end()));
    } else if names(world).await != *expected {
        daemon.complain("hosts are missing after the restore".to_owned());
    }
    daemon.terminate().await;
}

/// A machine that was armed, with what it needs for its answer.
struct Armed {
    machine: Machine,
    script: String,
    url: String,
}

impl Armed {
    async fn new(n: u8) -> Self {
        let machine = Machine::new(n);
        let script =
            format!("/ipxe/{}?uuid={}&memory=16384", machine.mac.replace(':', "-"), machine.uuid);
        let mut armed = Self { machine, script, url: String::new() };
        let text = armed.script().await;
        let token = text
            .split_whitespace()
            .find_map(|w| w.strip_suffix("/proxmox.iso"))
            .and_then(|b| b.rsplit('/').next());
        armed.url = format!("/api/boot/answer/{}", token.unwrap_or_default());
        armed
    }

    async fn script(&self) -> String {
        let request = Request { method: "GET", path: &self.script, headers: &[], body: b"" };
        request.send(Trouble::None).await.got.map(|r| r.text()).unwrap_or_default()
    }

    /// Asks for the answer with the token of its first arming; the status.
    async fn ask(&self) -> u16 {
        let facts = self.machine.facts().to_string();
        let headers = [("content-type", "application/json"), ("accept", "application/toml")];
        let request =
            Request { method: "POST", path: &self.url, headers: &headers, body: facts.as_bytes() };
        request.send(Trouble::None).await.got.map_or(0, |r| r.status)
    }
}

/// Rule 1: what a backup shows armed is not armed any more.
async fn disarmed(world: &World, machine: &Armed, after: &str, dice: &mut Dice) {
    let daemon = world.daemon();
    if machine.script().await.contains(INSTALLER) || machine.ask().await == 200 {
        daemon.complain(format!(
            "rule 1: one click would wipe the machine a second time after {after}"
        ));
    }
    let mac = [0x52, 0x54, 0, 0, 0, 100];
    if world.stage.air.is_answered(mac, [0x52, 0x54, 0, 0, 0, 203], dice).await {
        daemon.complain(format!("rule 1: the machine is offered a boot after {after}"));
    }
    let host = daemon.get("/api/hosts/pve100").await;
    if host["state"] != "failed" || host["job"] != Value::Null {
        daemon.complain(format!("after {after} the host is {}", host["state"]));
    }
}

/// Rule 1 across a restore: the backup shows a host armed whose answer has left since.
async fn restore(world: &World, seed: u64) -> (Vec<String>, String) {
    let mut wrong = Vec::new();
    let mut dice = Dice::new(seed);
    fill(world).await;
    let backup = world.place.path().join("armed.redb");
    world.daemon().ask("POST", "/api/db/backup", Some(&json!({ "path": backup }))).await;
    let machine = Armed::new(100).await;
    if machine.ask().await != 200 {
        wrong.push("the machine does not get its answer".to_owned());
    }
    world.daemon().terminate().await;
    if let Err(said) = world.daemon().offline(&["db", "restore", backup.to_str().unwrap()]) {
        wrong.push(format!("the backup cannot be restored: {said}"));
    }
    if !world.daemon().start().await {
        wrong.push(format!("it does not start from a backup:\n{}", world.daemon().log_end()));
    }
    disarmed(world, &machine, "a restore", &mut dice).await;
    // And an operator can rebuild it again.
    let mac = [0x52, 0x54, 0, 0, 0, 100];
    if arm(world, 100).await.is_none()
        || !world.stage.air.is_offered(mac, Link::GOOD, &mut dice).await
    {
        wrong.push("it cannot be rebuilt after the restore".to_owned());
    }
    world.daemon().terminate().await;
    (wrong, "an armed host is not armed any more after a restore, and can be rebuilt".to_owned())
}
