//! Rule 3: SIGKILL at random times. What was acknowledged is there after the restart, and all moves are those of the table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::machine::{Machine, try_http};
use crate::support::wire::Noise;

const ROUNDS: usize = 20;

/// The states in their order, written down a second time on purpose.
const ORDER: [&str; 7] =
    ["pxe_ready", "pxe_booted", "installing", "installed", "first_boot", "joining", "ready"];

fn is_legal(from: &str, to: &str) -> bool {
    let rank = |state: &str| ORDER.iter().position(|s| *s == state);
    match (rank(from), to) {
        (Some(6) | None, "pxe_ready") => true,
        (Some(at), "failed") => at < 6,
        // The webhook may be lost.
        (Some(2), "first_boot") => true,
        (Some(at), to) => rank(to) == Some(at + 1),
        (None, _) => false,
    }
}

/// What the machine or the operator does next, and the least state that its acknowledgement promises.
fn act(world: &World, noise: &mut Noise, id: &str, token: &mut String, job: &mut String) -> Act {
    let host = settled(world);
    let state = host["state"].as_str().unwrap().to_owned();
    if !host["job"].is_null() {
        *job = host["job"].as_str().unwrap().to_owned();
    }
    let machine = Machine::new(1);
    match state.as_str() {
        "registered" | "failed" | "ready" if host["job"].is_null() => Act {
            method: "REBUILD",
            url: String::new(),
            body: json!({ "confirm": "pve1" }),
            promises: None,
            job: None,
        },
        "pxe_ready" => Act {
            method: "GET",
            url: format!("/ipxe/52-54-00-00-00-01?uuid={}&memory=16384", machine.uuid),
            body: Value::Null,
            promises: Some("pxe_booted"),
            job: None,
        },
        "pxe_booted" => {
            let script = machine.script().text();
            let base = script.split("/boot/").nth(1).expect("the installer's script");
            *token = base.split('/').next().unwrap().to_owned();
            Act {
                method: "POST",
                url: format!("/api/boot/answer/{token}"),
                body: machine.facts(),
                promises: Some("installing"),
                job: None,
            }
        }
        "installing" if noise.below(3) > 0 => Act {
            method: "POST",
            url: format!("/api/hosts/{id}/installed?token={token}"),
            body: json!({ "network-interfaces": [{ "name": "eno1", "mac": machine.mac }] }),
            promises: Some("installed"),
            job: None,
        },
        _ => Act {
            method: "CANCEL",
            url: String::new(),
            body: json!({}),
            promises: None,
            job: Some(job.clone()),
        },
    }
}

/// The host once its rebuild was armed, or has ended: between those there is nothing for the machine to do.
fn settled(world: &World) -> Value {
    let begun = Instant::now();
    loop {
        let host = world.daemon.get("/api/hosts/pve1");
        let waits = ["registered", "failed"].iter().any(|s| host["state"] == *s);
        if !waits || host["job"].is_null() {
            return host;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "stuck: {host:#}\n{}",
            world.daemon.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends what the last round began: only of a host at rest does the log tell the whole story.
fn come_to_rest(world: &World) {
    let begun = Instant::now();
    loop {
        let host = settled(world);
        let Some(job) = host["job"].as_str() else { return };
        // Refused if a request from before the kill already cancels it.
        world.daemon.try_request("POST", &format!("/api/jobs/{job}/cancel"), Some(&json!({})));
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "stuck: {host:#}\n{}",
            world.daemon.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Act {
    method: &'static str,
    url: String,
    body: Value,
    promises: Option<&'static str>,
    job: Option<String>,
}

#[test]
fn kill_9_at_random_times_loses_nothing_that_was_acknowledged() {
    in_namespace(async |lab| {
        let mut world = World::start(&lab, "");
        world.import_image();
        let id = world.add_host("pve1", 1);
        let mut noise = Noise(0xC0FFEE);
        let (mut token, mut job) = (String::new(), String::new());
        let mut acknowledged = Vec::new();
        let mut cancelled = Vec::new();
        for round in 0..ROUNDS {
            // Most rounds strike in the middle of a rebuild.
            let quiet = noise.below(3);
            for step in 0..=quiet {
                let act = act(&world, &mut noise, &id, &mut token, &mut job);
                let pid = Pid::from_raw(i32::try_from(world.daemon.pid()).unwrap());
                let delay = Duration::from_micros(u64::try_from(noise.below(25_000)).unwrap());
                let strikes = step == quiet;
                let done = std::thread::scope(|scope| {
                    if strikes {
                        scope.spawn(move || {
                            std::thread::sleep(delay);
                            kill(pid, Signal::SIGKILL).unwrap();
                        });
                    }
                    perform(&world, &act)
                });
                if strikes {
                    world.daemon.kill_and_restart();
                }
                let host = world.daemon.get("/api/hosts/pve1");
                let state = host["state"].as_str().unwrap();
                if done && let Some(promised) = act.promises {
                    let rank = |s: &str| ORDER.iter().position(|o| *o == s);
                    assert!(
                        rank(state) >= rank(promised),
                        "round {round}: {promised} was acknowledged, now {state}"
                    );
                    acknowledged.push(promised);
                }
                if done && let Some(job) = act.job {
                    world.daemon.wait_for_job(&job, "cancelled");
                    cancelled.push(job);
                }
            }
        }
        assert!(acknowledged.len() > 5, "too little happened: {acknowledged:?}");
        assert!(!cancelled.is_empty(), "no rebuild got that far: {acknowledged:?}");

        come_to_rest(&world);
        world.add_host("marker", 99);
        let events = world.daemon.events_to("marker was registered");
        let mut last_seq = 0;
        let mut state = "registered".to_owned();
        let mut moves: HashMap<String, usize> = HashMap::new();
        for event in &events {
            let seq = event["seq"].as_u64().unwrap();
            assert_eq!(seq, last_seq + 1, "a gap or a number used twice");
            last_seq = seq;
            if event["type"] != "state-changed" {
                continue;
            }
            let (from, to) = (event["from"].as_str().unwrap(), event["to"].as_str().unwrap());
            assert_eq!(from, state, "the chain is broken at {event:#}");
            assert!(is_legal(from, to), "{from} -> {to}: {event:#}");
            to.clone_into(&mut state);
            *moves.entry(to.to_owned()).or_default() += 1;
        }
        assert_eq!(world.daemon.get("/api/hosts/pve1")["state"], state.as_str());
        for state in ORDER {
            let promised = acknowledged.iter().filter(|s| **s == state).count();
            let recorded = moves.get(state).copied().unwrap_or(0);
            assert!(recorded >= promised, "{state}: {promised} acknowledged, {recorded} recorded");
        }
        // Each job and its host agree.
        for job in world.daemon.get("/api/jobs")["jobs"].as_array().unwrap() {
            let open = job["status"] == "running" || job["status"] == "pending";
            let held = world.daemon.get("/api/hosts/pve1")["job"] == job["id"];
            assert!(open == held || job["kind"] != "rebuild", "{job:#}");
        }
        assert!(!world.daemon.log().contains("panicked"), "{}", world.daemon.log());
    });
}

/// Whether it was acknowledged.
fn perform(world: &World, act: &Act) -> bool {
    let control = |path: &str| {
        world.daemon.try_request("POST", path, Some(&act.body)).is_some_and(|a| a.status == 202)
    };
    match act.method {
        "REBUILD" => control("/api/hosts/pve1/rebuild"),
        "CANCEL" => match &act.job {
            Some(job) => control(&format!("/api/jobs/{job}/cancel")),
            None => false,
        },
        method => {
            let body = if act.body.is_null() { String::new() } else { act.body.to_string() };
            let headers = [("content-type", "application/json")];
            let reply = try_http(method, &act.url, &headers, body.as_bytes());
            reply.is_some_and(|r| {
                r.status == 200 && (method != "GET" || r.text().contains("/boot/"))
            })
        }
    }
}
