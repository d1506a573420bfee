//! The checker. It knows the daemon only by what it published (events, hosts, jobs), what machines and operators were told,
//! and what lies on the disk; its tables are its own, written down a second time on purpose.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::ledger::{Arming, Ledger};

/// Everything that is known of a life at its end.
#[derive(Debug, Default, Clone)]
pub(crate) struct Evidence {
    pub(crate) events: Vec<Value>,
    pub(crate) hosts: Vec<Value>,
    pub(crate) jobs: Vec<Value>,
    /// Names of sealed secrets in a backup.
    pub(crate) sealed: Vec<String>,
    /// How many install tokens the database knows.
    pub(crate) tokens: usize,
    /// Everything that was written to the disk and the log, as bytes.
    pub(crate) written: Vec<u8>,
    /// The log alone.
    pub(crate) log: String,
}

/// Where a host may go, and by what: nothing else is legal.
const ALLOWED: [(&str, &str); 16] = [
    ("registered", "pxe_ready"),
    ("failed", "pxe_ready"),
    ("ready", "pxe_ready"),
    ("pxe_ready", "pxe_booted"),
    ("pxe_booted", "installing"),
    ("installing", "installed"),
    // The report may be lost.
    ("installing", "first_boot"),
    ("installed", "first_boot"),
    ("first_boot", "joining"),
    ("joining", "ready"),
    ("pxe_ready", "failed"),
    ("pxe_booted", "failed"),
    ("installing", "failed"),
    ("installed", "failed"),
    ("first_boot", "failed"),
    ("joining", "failed"),
];

const OVER: [&str; 3] = ["succeeded", "failed", "cancelled"];

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Everything that breaks a rule.
pub(crate) fn judge(evidence: &Evidence, ledgers: &[&Ledger]) -> Vec<String> {
    let mut wrong = Vec::new();
    numbers(&evidence.events, &mut wrong);
    for host in &evidence.hosts {
        moves(evidence, host, &mut wrong);
    }
    for job in &evidence.jobs {
        job_and_its_end(evidence, job, &mut wrong);
    }
    for ledger in ledgers {
        wrong.extend(ledger.wrong.iter().map(|w| format!("{}: {w}", ledger.name)));
        promises(evidence, ledger, &mut wrong);
    }
    secrets(evidence, ledgers, &mut wrong);
    for bad in ["panicked", "ended by a defect"] {
        if evidence.log.contains(bad) {
            wrong.push(format!("rule 6: the log says '{bad}'"));
        }
    }
    wrong
}

/// Rule 3: event numbers follow each other without a gap.
fn numbers(events: &[Value], wrong: &mut Vec<String>) {
    for (index, event) in events.iter().enumerate() {
        if event["seq"].as_u64() != u64::try_from(index + 1).ok() {
            wrong.push(format!("rule 3: event {} stands at place {}", event["seq"], index + 1));
            return;
        }
    }
}

/// Rules 1, 3 and 4: a chain of allowed moves, each once per arming, that ends where the host is.
fn moves(evidence: &Evidence, host: &Value, wrong: &mut Vec<String>) {
    let (id, name) = (text(host, "id"), text(host, "hostname"));
    let mut state = "registered".to_owned();
    let mut seen: HashSet<String> = HashSet::new();
    let mut armed_by: HashSet<String> = HashSet::new();
    for event in evidence.events.iter().filter(|e| text(e, "host") == id) {
        if text(event, "type") != "state-changed" {
            continue;
        }
        let (from, to) = (text(event, "from"), text(event, "to"));
        let at = &event["seq"];
        if from != state {
            wrong.push(format!("rule 3: {name} left {from} at event {at}, but it was {state}"));
        }
        if !ALLOWED.contains(&(from, to)) {
            wrong.push(format!("rule 1: {name} went from {from} to {to} at event {at}"));
        }
        if to == "pxe_ready" {
            seen.clear();
            if !armed_by.insert(text(event, "job").to_owned()) {
                wrong.push(format!("rule 1: one rebuild armed {name} twice, at event {at}"));
            }
        }
        if !seen.insert(to.to_owned()) {
            wrong.push(format!("rule 4: {name} became {to} twice in one arming, at event {at}"));
        }
        to.clone_into(&mut state);
    }
    if state != text(host, "state") {
        wrong.push(format!("rule 3: {name} is {}, its events end in {state}", text(host, "state")));
    }
    if !host["job"].is_null() {
        let open = evidence.jobs.iter().any(|j| j["id"] == host["job"] && !is_over(j));
        if !open {
            wrong.push(format!("rule 3: {name} is held by a job that is over"));
        }
    }
}

fn is_over(job: &Value) -> bool {
    OVER.contains(&text(job, "status"))
}

/// Rule 3: every job came to one end, and nothing happened in its name afterwards.
fn job_and_its_end(evidence: &Evidence, job: &Value, wrong: &mut Vec<String>) {
    let id = text(job, "id");
    if !is_over(job) {
        wrong.push(format!(
            "rule 3: the job '{}' is still {}",
            text(job, "title"),
            text(job, "status")
        ));
    }
    let mut ended: Option<&Value> = None;
    for event in evidence.events.iter().filter(|e| text(e, "job") == id) {
        let kind = text(event, "type");
        match (kind, ended) {
            ("job-finished", Some(_)) => wrong.push(format!("rule 4: {id} ended twice")),
            ("job-finished", None) => ended = Some(event),
            ("state-changed" | "step-changed", Some(end)) => {
                wrong.push(format!(
                    "rule 3: {kind} of {id} at {} after its end at {}",
                    event["seq"], end["seq"]
                ));
            }
            _ => {}
        }
    }
    match ended {
        Some(event) if event["status"] != job["status"] => {
            wrong.push(format!(
                "rule 3: {id} is {}, its event says {}",
                job["status"], event["status"]
            ));
        }
        None if is_over(job) => wrong.push(format!("rule 3: {id} is over and no event says so")),
        _ => {}
    }
    let open = |step: &&Value| !["succeeded", "skipped"].contains(&text(step, "status"));
    if job["status"] == "succeeded"
        && let Some(step) = job["steps"].as_array().into_iter().flatten().find(open)
    {
        wrong.push(format!(
            "rule 3: {id} succeeded with its step {} {}",
            step["id"], step["status"]
        ));
    }
}

/// Rules 1 and 3: what was acknowledged is recorded, and what left the building left it once.
fn promises(evidence: &Evidence, ledger: &Ledger, wrong: &mut Vec<String>) {
    let name = &ledger.name;
    let Some(host) = evidence.hosts.iter().find(|h| text(h, "id") == ledger.id) else {
        wrong.push(format!("rule 3: {name} was registered and is gone"));
        return;
    };
    if text(host, "hostname") != name {
        wrong.push(format!("rule 3: {name} is called {}", text(host, "hostname")));
    }
    for arming in &ledger.armings {
        let reached: HashSet<&str> = evidence
            .events
            .iter()
            .filter(|e| text(e, "type") == "state-changed" && text(e, "job") == arming.job)
            .map(|e| text(e, "to"))
            .collect();
        let Some(job) = evidence.jobs.iter().find(|j| text(j, "id") == arming.job) else {
            wrong.push(format!(
                "rule 3: the rebuild {} of {name} was accepted and is gone",
                arming.job
            ));
            continue;
        };
        for promised in &arming.promised {
            if !reached.contains(promised) {
                wrong.push(format!(
                    "rule 3: {name} was told {promised}, no event of {} says so",
                    arming.job
                ));
            }
        }
        if arming.answers > 1 {
            wrong.push(format!("rule 1: {} answers left for one arming of {name}", arming.answers));
        }
        if arming.answers > 0 && !reached.contains("installing") {
            wrong.push(format!("rule 1: an answer left for {name} and nothing records it"));
        }
        for what in &arming.granted_after {
            wrong.push(format!("rule 1: {name} was given {what} after its answer had left"));
        }
        if arming.cancelled && job["cancel_requested"] != true {
            wrong.push(format!("rule 3: the cancel of {} was accepted and is gone", arming.job));
        }
        if arming.ended.as_deref().is_some_and(|e| e != text(job, "status")) {
            wrong.push(format!(
                "rule 3: {} was {:?}, now it is {}",
                arming.job, arming.ended, job["status"]
            ));
        }
    }
}

/// Rule 5: nothing secret of a job is left after its end, and none was ever readable.
fn secrets(evidence: &Evidence, ledgers: &[&Ledger], wrong: &mut Vec<String>) {
    for job in evidence.jobs.iter().filter(|j| is_over(j)) {
        for name in evidence.sealed.iter().filter(|n| n.contains(text(job, "id"))) {
            wrong.push(format!("rule 5: the secret {name} outlived its job"));
        }
    }
    if evidence.jobs.iter().all(is_over) && evidence.tokens > 0 {
        wrong.push(format!("rule 5: {} install tokens outlived their jobs", evidence.tokens));
    }
    let tokens: HashMap<&[u8], &str> = ledgers
        .iter()
        .flat_map(|l| l.armings.iter().map(move |a| (l, a)))
        .filter_map(|(l, a): (&&Ledger, &Arming)| {
            Some((a.token.as_deref()?.as_bytes(), l.name.as_str()))
        })
        .collect();
    let published = Value::from(evidence.events.clone()).to_string()
        + &Value::from(evidence.hosts.clone()).to_string()
        + &Value::from(evidence.jobs.clone()).to_string();
    for (place, bytes) in
        [("what it wrote", &evidence.written[..]), ("what it published", published.as_bytes())]
    {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        for run in bytes.split(|b| !hex(*b)).filter(|run| run.len() >= 32) {
            for window in run.windows(32) {
                if let Some(name) = tokens.get(window) {
                    wrong.push(format!("rule 5: the token of {name} is readable in {place}"));
                }
            }
        }
        let all = String::from_utf8_lossy(bytes);
        for sign in ["PRIVATE KEY", "b3BlbnNzaC1rZXktdjE"] {
            if all.contains(sign) {
                wrong.push(format!("rule 5: '{sign}' is readable in {place}"));
            }
        }
    }
}

/// Judges a good story and then the same one spoiled in every way the judge is there for; the number of spoiled ones.
///
/// # Errors
/// The story that was judged wrongly.
pub(crate) fn judge_the_judge() -> Result<usize, String> {
    let (evidence, ledger) = good_story();
    let found = judge(&evidence, &[&ledger]);
    if !found.is_empty() {
        return Err(format!("a good story was blamed: {found:?}"));
    }
    type Spoil = fn(&mut Evidence, &mut Ledger);
    let spoiled: [(&str, Spoil); 19] = [
        ("a gap", |e, _| drop(e.events.remove(3))),
        ("a number twice", |e, _| e.events[4]["seq"] = json!(4)),
        ("a move that is not allowed", |e, _| e.events[3]["to"] = json!("ready")),
        ("a chain that breaks", |e, _| e.events[4]["from"] = json!("registered")),
        ("a host that is elsewhere", |e, _| e.hosts[0]["state"] = json!("failed")),
        ("a lock that nobody holds", |e, _| e.hosts[0]["job"] = json!("j1")),
        ("a job without an end", |e, _| e.jobs[0]["status"] = json!("running")),
        ("an end that is not told", |e, _| e.events[8]["type"] = json!("job-log")),
        ("another end than told", |e, _| e.events[8]["status"] = json!("failed")),
        ("a step that is open at the end", |e, _| {
            e.jobs[0]["steps"][0]["status"] = json!("pending")
        }),
        ("two answers", |_, l| l.armings[0].answers = 2),
        ("an installer after the answer", |_, l| l.armings[0].granted_after.push("x".to_owned())),
        ("a promise that is not recorded", |_, l| l.armings[0].promised.push("installed")),
        ("a rebuild that is gone", |_, l| l.armings[0].job = "j2".to_owned()),
        ("a host that is gone", |_, l| l.id = "h2".to_owned()),
        ("a cancel that is gone", |_, l| l.armings[0].cancelled = true),
        ("a sealed secret that is left", |e, _| e.sealed.push("job/j1/ssh-key".to_owned())),
        ("a token in a file", |e, _| {
            e.written = format!("xx0{}9yy", "ab".repeat(16)).into_bytes();
        }),
        ("a panic", |e, _| e.log = "thread 'main' panicked at".to_owned()),
    ];
    for (what, spoil) in &spoiled {
        let (mut evidence, mut ledger) = good_story();
        spoil(&mut evidence, &mut ledger);
        if judge(&evidence, &[&ledger]).is_empty() {
            return Err(format!("the judge does not see {what}"));
        }
    }
    Ok(spoiled.len())
}

fn good_story() -> (Evidence, Ledger) {
    let moved = |seq: u64, from: &str, to: &str| json!({ "seq": seq, "type": "state-changed", "host": "h1", "job": "j1", "from": from, "to": to });
    let events = vec![
        json!({ "seq": 1, "type": "host-registered", "host": "h1" }),
        json!({ "seq": 2, "type": "job-queued", "host": "h1", "job": "j1" }),
        moved(3, "registered", "pxe_ready"),
        moved(4, "pxe_ready", "pxe_booted"),
        moved(5, "pxe_booted", "installing"),
        moved(6, "installing", "first_boot"),
        moved(7, "first_boot", "joining"),
        moved(8, "joining", "ready"),
        json!({ "seq": 9, "type": "job-finished", "host": "h1", "job": "j1", "status": "succeeded" }),
    ];
    let evidence = Evidence {
        events,
        hosts: vec![json!({ "id": "h1", "hostname": "pve1", "state": "ready", "job": null })],
        jobs: vec![
            json!({ "id": "j1", "title": "Rebuild pve1", "status": "succeeded", "cancel_requested": false,
            "steps": [{ "id": "arm", "status": "succeeded" }] }),
        ],
        ..Evidence::default()
    };
    let arming = Arming {
        job: "j1".to_owned(),
        token: Some("ab".repeat(16)),
        answers: 1,
        promised: vec!["pxe_booted", "installing", "first_boot"],
        ended: Some("succeeded".to_owned()),
        ..Arming::default()
    };
    let ledger = Ledger {
        name: "pve1".to_owned(),
        id: "h1".to_owned(),
        armings: vec![arming],
        ..Ledger::default()
    };
    (evidence, ledger)
}
