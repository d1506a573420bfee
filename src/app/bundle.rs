//! Gathers the debug bundle: version, configuration, findings of the doctor, records, jobs with their logs, events, boot logs,
//! metrics, the newest log lines. Each part that cannot be had is named in it instead.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use crate::config::effective::effective;
use crate::config::live::ConfigView;
use crate::config::{Config, SecretSource};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;
use crate::observe::bundle::{Bundle, file_name};
use crate::observe::logging::Recent;
use crate::plan::doctor::Report;
use crate::store::{
    BootLogReads as _, EventReads as _, GuestReads as _, HostReads as _, ImageReads as _,
    JobReads as _, NodeReads as _, OutboxReads as _, SecretReads as _, SightingReads as _,
    Snapshot, Store, StoreError,
};
use crate::web::metrics::{Meters, exposed};
use crate::web::{Bundles, Doctor, Traffic};

/// Jobs with their logs, lines of each, events, and entries of each boot log: together some 20 MiB of text at most.
const JOBS: usize = 100;
const LINES: usize = 2_000;
const EVENTS: usize = 10_000;
const BOOTS: usize = 100;
const MACHINES: usize = 500;
/// A report of the doctor that is not older is taken as it is.
const FRESH: Duration = Duration::from_mins(10);
/// Most of a file of a server type or answer template that is read.
const FILE_BYTES: u64 = 64 * 1024;

/// Makes bundles, one at a time.
pub(super) struct Gatherer {
    pub(super) store: Store,
    pub(super) config: watch::Receiver<Arc<ConfigView>>,
    pub(super) doctor: Arc<dyn Doctor>,
    pub(super) traffic: Traffic,
    pub(super) meters: Arc<dyn Meters>,
    pub(super) log: Recent,
    pub(super) turn: Mutex<()>,
}

impl Bundles for Gatherer {
    fn make(&self, hours: u32) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        Box::pin(async move {
            let _turn = self.turn.lock().await;
            let metrics = exposed(&self.store, &self.traffic, &self.meters).await;
            let report = match self.doctor.last() {
                Some(last) if self.store.now().since(last.at) < FRESH => last,
                _ => self.doctor.check().await,
            };
            let (view, log) = (Arc::clone(&self.config.borrow()), self.log.lines());
            let key = self.store.master_key();
            let now = self.store.now();
            let packed = self.store.read(move |read| {
                let sealed = read.all_secrets(&key)?;
                let mut bundle = for_configuration(&view.running, Some(&view.file), &sealed);
                about(&mut bundle, now, hours, None);
                bundle.add_json("doctor.json", findings(&report));
                bundle.add("metrics.txt", &metrics.unwrap_or_else(|refusal| refusal.to_string()));
                bundle.add("log.txt", &log.concat());
                let since = Timestamp(now.0.saturating_sub(i64::from(hours) * 3_600_000));
                records(&mut bundle, read, since)?;
                Ok::<_, StoreError>(bundle.pack(seconds(now)))
            });
            let internal = |error: &dyn std::error::Error| {
                Refusal::new(RefusalKind::Internal, super::chain(error), "See the daemon's log.")
            };
            packed.await.map_err(|e| internal(&e))?.map_err(|e| internal(&e))
        })
    }
}

/// What can be gathered without the daemon: configuration and findings of the doctor. `why` it is alone is told in it.
///
/// # Errors
/// When the archive cannot be made.
pub async fn bundle_alone(
    config: &Path,
    secrets: &(dyn SecretSource + Sync),
    why: &str,
) -> std::io::Result<Vec<u8>> {
    let now = super::wall_clock();
    let report = crate::doctor::alone(config, secrets, why).await;
    let mut bundle = match Config::load(config, secrets) {
        Ok((config, _)) => for_configuration(&config, None, &[]),
        Err(_) => Bundle::new([]),
    };
    about(&mut bundle, now, 0, Some(why));
    bundle.add_json("doctor.json", findings(&report));
    bundle.pack(seconds(now))
}

fn findings(report: &Report) -> Value {
    json!({ "at": report.at.to_string(), "worst": report.worst(), "findings": report.findings })
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.0 / 1000).unwrap_or(0)
}

fn about(bundle: &mut Bundle, now: Timestamp, hours: u32, alone: Option<&str>) {
    let what = match alone {
        None => format!("Jobs, events and boot logs of the last {hours} hours."),
        Some(why) => format!("Made without the daemon ({why}): no records, metrics or log lines."),
    };
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    bundle.add(
        "about.txt",
        &format!(
            "Ironhatch {}\nmade {now}\nsystem {system}\nkernel {}\n\n{what}\n\
             Passwords, keys, tokens and hashes were taken out; names, addresses, serial numbers and URLs of the network were \
             not: look through it before you pass it on.\n",
            env!("CARGO_PKG_VERSION"),
            kernel.trim(),
        ),
    );
}

/// A bundle that knows the secrets of configuration and database, with the configuration in it. `file` is what the
/// configuration was changed to while the daemon runs.
fn for_configuration(
    config: &Config,
    file: Option<&Config>,
    sealed: &[Zeroizing<String>],
) -> Bundle {
    let configs = std::iter::once(config).chain(file);
    let known = configs.flat_map(|c| &c.known_secrets).map(|secret| secret.expose().as_str());
    let mut bundle = Bundle::new(known.chain(sealed.iter().map(|s| s.as_str())));
    bundle.add("configuration.toml", &effective(config));
    let types = config.server_types.path();
    if types.is_dir() {
        folder(&mut bundle, types, "server-types");
    }
    folder(&mut bundle, &config.answer_templates_dir, "answer-templates");
    bundle
}

/// TOML files, as JSON: so that values with a telling name can be blanked.
fn folder(bundle: &mut Bundle, dir: &Path, name: &str) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml"));
    for path in paths.take(MACHINES) {
        let file = file_name(&path.file_stem().unwrap_or_default().to_string_lossy());
        let read = std::fs::metadata(&path).and_then(|meta| match meta.len() {
            0..=FILE_BYTES => std::fs::read_to_string(&path),
            more => Err(std::io::Error::other(format!("{more} bytes"))),
        });
        let value = match read {
            // The message of the parser shows the line.
            Ok(text) => toml::from_str::<Value>(&text)
                .unwrap_or_else(|e| json!({ "not valid": e.message() })),
            Err(error) => json!({ "not read": error.to_string() }),
        };
        bundle.add_json(format!("{name}/{file}.json"), value);
    }
}

fn records(bundle: &mut Bundle, read: &Snapshot, since: Timestamp) -> Result<(), StoreError> {
    let hosts = read.hosts()?;
    let sightings = read.sightings()?;
    let macs: Vec<_> = hosts
        .iter()
        .flat_map(|host| host.macs.iter().copied())
        .chain(sightings.iter().map(|sighting| sighting.mac))
        .take(MACHINES)
        .collect();
    bundle.add_json("hosts.json", as_json(&hosts));
    bundle.add_json("sightings.json", as_json(&sightings));
    bundle.add_json("images.json", as_json(&read.images()?));
    bundle.add_json("guests.json", as_json(&read.guests()?));
    bundle.add_json("nodes.json", as_json(&read.enrolled_nodes()?));
    bundle.add_json("outbox.json", as_json(&read.outbox(LINES)?));
    for mac in macs {
        let log = read.boot_log(mac, BOOTS)?.into_iter().filter(|entry| entry.last >= since);
        let lines: Vec<Value> = log.map(|entry| as_json(&entry)).collect();
        if !lines.is_empty() {
            bundle.add_lines(format!("boot-logs/{}.jsonl", file_name(&mac.to_string())), lines);
        }
    }
    for job in read.jobs(None, JOBS)? {
        if job.finished.is_some_and(|finished| finished < since) {
            continue;
        }
        bundle.add_json(format!("jobs/{}.json", job.id), as_json(&job));
        let log = read.job_log(job.id, 0, LINES)?;
        bundle.add_lines(format!("jobs/{}.log.jsonl", job.id), log.iter().map(as_json));
    }
    let mut events = read.latest_events(EVENTS)?;
    events.retain(|event| event.at >= since);
    events.reverse();
    bundle.add_lines("events.jsonl", events.iter().map(as_json));
    Ok(())
}

fn as_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|e| json!({ "not shown": e.to_string() }))
}
