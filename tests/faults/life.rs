//! One life: one daemon, one cluster, some machines that are rebuilt at the same time, bystanders, and the judgement at
//! the end.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::air::Air;
use crate::daemon::{Daemon, Strike};
use crate::dice::Dice;
use crate::http::{Request, Trouble};
use crate::judge::{Evidence, judge};
use crate::ledger::Ledger;
use crate::node::{Sshd, host_key};
use crate::place::Place;
use crate::run::{INSTALLER, Run, Stage, mac_bytes};
use crate::support::appliance::configure;
use crate::support::machine::Machine;
use crate::support::wire::PXE;

/// The member that is there before a life begins.
const MEMBER: &str = "192.0.2.70";
const FIRST_MACHINE: u8 = 11;
/// A registered machine that nobody rebuilds, and one that nobody registered.
const BYSTANDER: u8 = 201;
const UNKNOWN: u8 = 202;

/// How long one run may take, whatever happens to it.
const LONGEST_RUN: Duration = Duration::from_secs(600);

/// What came of a life.
pub(crate) struct Outcome {
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) wrong: Vec<String>,
    pub(crate) strikes: [usize; Strike::ALL.len()],
    pub(crate) events: usize,
    pub(crate) took: Duration,
}

/// Lives it on the calling thread, which is in namespaces of its own afterwards.
pub(crate) fn live(seed: u64, machines: u8, iso: &Path) -> Outcome {
    let begun = Instant::now();
    let place = Rc::new(Place::enter("330m"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let mut outcome = local.block_on(&runtime, whole(Rc::clone(&place), seed, machines, iso));
    drop(local);
    drop(runtime);
    outcome.took = begun.elapsed();
    outcome
}

async fn whole(place: Rc<Place>, seed: u64, machines: u8, iso: &Path) -> Outcome {
    let mut dice = Dice::new(seed);
    let air = Rc::new(Air::plug());
    let (strikes, mut wanted) = mpsc::unbounded_channel();
    let sshd = Sshd::new(strikes);
    let founds = dice.percent(30);
    let (member_private, member_public) = host_key();
    let proxmox = if founds {
        String::new()
    } else {
        format!("[proxmox]\nexisting_node = \"{MEMBER}\"\nmember_host_key = \"{member_public}\"\n")
    };
    configure(place.path(), &format!("{PXE}unknown = \"enroll\"\n"), &proxmox);
    let daemon = Rc::new(Daemon::new(Rc::clone(&place)));
    if !daemon.start().await {
        daemon.complain(format!("the daemon does not start:\n{}", daemon.log_end()));
    }
    // An import wants 256 MiB to stay free; a disk that is to be filled again and again is small.
    import(&daemon, iso).await;
    place.resize("40m");
    if founds {
        sshd.set_member(&format!("192.0.2.{FIRST_MACHINE}"));
    } else {
        let key = daemon.get("/api/cluster/key").await;
        let key = key["public_key"].as_str().unwrap_or_default().to_owned();
        sshd.world().found("old1", MEMBER, &member_public, &key);
        sshd.serve(MEMBER, member_private).await;
        sshd.set_member(MEMBER);
    }
    // Strikes that the nodes ask for, in the middle of a command.
    let (struck, mut strike_dice) = (Rc::clone(&daemon), dice.fork());
    tokio::task::spawn_local(async move {
        while wanted.recv().await.is_some() {
            let strike = *strike_dice.pick(&[Strike::Kill, Strike::Kill, Strike::Term]);
            struck.strike_later(strike, Duration::ZERO, strike_dice.fork());
        }
    });
    let stage = Rc::new(Stage { daemon: Rc::clone(&daemon), air, sshd });
    refuse_ourselves(&stage).await;
    let watching = tokio::task::spawn_local(bystanders(Rc::clone(&stage), dice.fork()));
    let mut runs = Vec::new();
    for n in 0..machines {
        let run = Run::new(Rc::clone(&stage), FIRST_MACHINE + n, dice.fork());
        let delay = dice.up_to(Duration::from_millis(1500));
        runs.push(tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            tokio::time::timeout(LONGEST_RUN, run.story()).await
        }));
    }
    let mut ledgers = Vec::new();
    for run in runs {
        match run.await {
            Ok(Ok(ledger)) => ledgers.push(ledger),
            Ok(Err(_)) => {
                let jobs = daemon.get("/api/jobs").await;
                let open = jobs["jobs"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|j| j["finished"].is_null());
                let open: Vec<String> = open.map(|j| format!("{j:#}")).collect();
                daemon.complain(format!(
                    "a run does not come to its end: {}\n{}",
                    open.join("\n"),
                    daemon.log_end()
                ));
            }
            Err(error) => daemon.complain(format!("the harness failed: {error}")),
        }
    }
    watching.abort();
    daemon.quiet().await;
    let evidence = collect(&daemon, &place).await;
    let refs: Vec<&Ledger> = ledgers.iter().collect();
    let mut wrong = judge(&evidence, &refs);
    wrong.append(&mut daemon.wrong.borrow_mut());
    if !wrong.is_empty() {
        keep(&place, seed, &evidence);
    }
    let strikes = *daemon.strikes.borrow();
    Outcome { ledgers, wrong, strikes, events: evidence.events.len(), took: Duration::ZERO }
}

pub(crate) async fn import(daemon: &Daemon, iso: &Path) {
    let job = daemon.ask("POST", "/api/images", Some(&json!({ "source": iso }))).await;
    let Some(job) = job.and_then(|r| r.json()["job"].as_str().map(str::to_owned)) else {
        daemon.complain("the image cannot be imported".to_owned());
        return;
    };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let job = daemon.get(&format!("/api/jobs/{job}")).await;
        match job["status"].as_str() {
            Some("succeeded") => return,
            Some("failed") => break,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    daemon.complain("the image is not imported".to_owned());
}

/// Rule 2: a host that is the appliance itself is never rebuilt.
async fn refuse_ourselves(stage: &Stage) {
    let interfaces = nix::ifaddrs::getifaddrs().unwrap();
    let own = interfaces
        .filter(|i| i.interface_name == "us0")
        .find_map(|i| i.address.as_ref()?.as_link_addr()?.addr());
    let Some(own) = own else {
        stage.daemon.complain("us0 has no address".to_owned());
        return;
    };
    let mac: Vec<String> = own.iter().map(|b| format!("{b:02x}")).collect();
    let body = json!({ "hostname": "myself", "macs": [mac.join(":")], "server_type": "lab" });
    stage.daemon.ask("POST", "/api/hosts", Some(&body)).await;
    let body = json!({ "confirm": "myself" });
    let reply = stage.daemon.ask("POST", "/api/hosts/myself/rebuild", Some(&body)).await;
    if reply.is_none_or(|r| r.status < 400) {
        stage.daemon.complain("rule 2: the appliance would rebuild itself".to_owned());
    }
}

/// Rule 1: machines that nobody rebuilds are offered no installer, whatever else goes on.
async fn bystanders(stage: Rc<Stage>, mut dice: Dice) {
    let machine = Machine::new(BYSTANDER);
    let body = json!({ "hostname": "bystander", "macs": [machine.mac], "server_type": "lab" });
    while stage.daemon.ask("POST", "/api/hosts", Some(&body)).await.is_none_or(|r| r.status >= 500)
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        for n in [BYSTANDER, UNKNOWN] {
            let machine = Machine::new(n);
            let path = format!(
                "/ipxe/{}?uuid={}&memory=16384",
                machine.mac.replace(':', "-"),
                machine.uuid
            );
            let script = Request { method: "GET", path: &path, headers: &[], body: b"" };
            let sent = script.send(Trouble::None).await;
            let token: String = dice.bytes(16).iter().map(|b| format!("{b:02x}")).collect();
            let path = format!("/api/boot/answer/{token}");
            let facts = machine.facts().to_string();
            let headers = [("content-type", "application/json")];
            let answer =
                Request { method: "POST", path: &path, headers: &headers, body: facts.as_bytes() };
            let answered = answer.send(Trouble::None).await;
            if sent.left.iter().any(|r| r.text().contains(INSTALLER))
                || answered.left.iter().any(|r| r.status == 200)
            {
                stage
                    .daemon
                    .complain("rule 1: an unarmed machine was given an installer".to_owned());
            }
        }
        if stage.air.is_answered(mac_bytes(BYSTANDER), mac_bytes(UNKNOWN), &mut dice).await {
            stage.daemon.complain("rule 1: an unarmed machine was offered a boot".to_owned());
        }
        // Rule 6: what nobody sends.
        let noise = dice.bytes(300);
        let path = format!("/api/hosts/{}/phone-home", dice.next());
        let odd = Request {
            method: "POST",
            path: &path,
            headers: &[("content-type", "application/json")],
            body: &noise,
        };
        odd.send(Trouble::None).await;
        tokio::time::sleep(dice.up_to(Duration::from_millis(800))).await;
    }
}

/// Reads everything at the end of a life, and ends the daemon in order.
pub(crate) async fn collect(daemon: &Daemon, place: &Place) -> Evidence {
    let list = |value: Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let events = daemon.events().await;
    let hosts = list(daemon.get("/api/hosts").await, "hosts");
    let jobs = list(daemon.get("/api/jobs?limit=1000").await, "jobs");
    let backup = place.path().join("check.redb");
    let _ = fs::remove_file(&backup);
    let asked = daemon.ask("POST", "/api/db/backup", Some(&json!({ "path": backup }))).await;
    if asked.is_none_or(|r| r.status != 200) {
        daemon.complain("no backup can be made".to_owned());
    }
    let (sealed, tokens) = sealed_and_tokens(&backup);
    daemon.terminate().await;
    let log = daemon.log();
    let mut written = log.clone().into_bytes();
    let regular = fs::read_dir(place.data().join("backups")).into_iter().flatten().flatten();
    let regular = regular.map(|entry| entry.path());
    for file in regular.chain([place.data().join("ironhatch.redb"), backup]) {
        written.push(b'\n');
        written.extend(fs::read(file).unwrap_or_default());
    }
    Evidence { events, hosts, jobs, sealed, tokens, written, log }
}

fn sealed_and_tokens(backup: &Path) -> (Vec<String>, usize) {
    let names = |table: &str| -> Vec<String> {
        let Ok(database) = redb::Database::open(backup) else { return Vec::new() };
        let read = redb::ReadableDatabase::begin_read(&database).unwrap();
        let table: redb::ReadOnlyTable<&[u8], &[u8]> =
            read.open_table(redb::TableDefinition::new(table)).unwrap();
        redb::ReadableTable::iter(&table)
            .unwrap()
            .map(|entry| String::from_utf8_lossy(entry.unwrap().0.value()).into_owned())
            .collect()
    };
    (names("secrets"), names("tokens").len())
}

/// Leaves what a failure needs to be understood.
fn keep(place: &Place, seed: u64, evidence: &Evidence) {
    let dir = Path::new("/tmp").join(format!("ironhatch-faults-{seed:016x}"));
    let _ = fs::create_dir_all(&dir);
    let _ = fs::write(dir.join("daemon.log"), &evidence.log);
    let _ = fs::copy(place.path().join("check.redb"), dir.join("check.redb"));
    let lines: Vec<String> = evidence.events.iter().map(Value::to_string).collect();
    let _ = fs::write(dir.join("events.jsonl"), lines.join("\n"));
    let jobs = serde_json::to_string_pretty(&evidence.jobs).unwrap_or_default();
    let _ = fs::write(dir.join("jobs.json"), jobs);
    println!("  evidence is kept in {}", dir.display());
}
