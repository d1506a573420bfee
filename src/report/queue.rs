//! What is told, queued by the write that it tells of, so that none is lost and nothing is told that did not happen.

use serde_json::json;

use crate::config::Config;
use crate::domain::boot::BootLesson;
use crate::domain::host::Host;
use crate::domain::id::JobId;
use crate::domain::job::Job;
use crate::domain::notice::NoticeKind;
use crate::domain::refusal::Refusal;
use crate::domain::sighting::Sighting;
use crate::limits::record::SIGHTING_NOTICE_EVERY;
use crate::plan::diagnosis::{Case, Verdict, Who, diagnose};
use crate::plan::doctor::{Finding, Report as Checkup, Severity};
use crate::plan::notice::{Notice, Place};
use crate::plan::power::prompt;
use crate::store::{
    BootLogReads as _, EVERYBODY, INFRASTRUCTURE, SettingReads as _, SightingReads as _,
    StoreError, Tx,
};

/// Entries of a failed host's boot log that its diagnosis looks at: the newest boots.
const LOOKED_AT: usize = 160;
/// Setting: what the last checkup found that fails, by area and name.
const HEALTH_TOLD: &str = "health_told";
/// Setting: when a new machine was told last.
const SIGHTING_TOLD: &str = "sighting_told";

fn place<'a>(tx: &Tx<'_, '_>, public_url: &'a str) -> Place<'a> {
    Place { at: tx.now(), public_url }
}

fn queue(tx: &mut Tx<'_, '_>, notice: &Notice) -> Result<(), StoreError> {
    // A notice has nothing that JSON has not.
    let body = serde_json::to_value(notice).unwrap_or_default();
    tx.queue_report(EVERYBODY, &notice.event, notice.job, body)
}

/// Queues what is told of a ready host in the write that makes it ready; says who is told.
///
/// # Errors
/// When the database fails.
pub fn host_ready(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &Host,
    job: JobId,
) -> Result<&'static str, Refusal> {
    queue(tx, &place(tx, &config.server.public_url).host_ready(host, job))?;
    let Some(infrastructure) = &config.infrastructure else {
        return Ok("the notification targets");
    };
    let kind = host.server_type.as_str();
    let kind = infrastructure.server_type_map.get(kind).map_or(kind, String::as_str);
    let body = json!({
        "hostname": host.hostname,
        "mac": host.macs.first(),
        "ip": host.address,
        "server_type": kind,
        "hardware_id": host.uuid,
        "serial": host.inventory.serial,
        "status": "ready",
    });
    tx.queue_report(INFRASTRUCTURE, NoticeKind::HostReady.as_str(), Some(job), body)?;
    Ok("the infrastructure registry and the notification targets")
}

/// Queues what is told of a host that failed, with what its boots tell of it.
///
/// # Errors
/// When the database fails.
pub fn host_failed(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &Host,
    job: JobId,
) -> Result<(), Refusal> {
    // What its boots tell is a help. That it cannot be read must not keep a job from its end.
    let verdict = verdict(tx, host).unwrap_or_else(|error| {
        tracing::warn!(host = %host.hostname, %error, "the boot log cannot be read for the notice");
        None
    });
    let notice = place(tx, &config.server.public_url).host_failed(host, job, verdict.as_ref());
    Ok(queue(tx, &notice)?)
}

fn verdict(tx: &Tx<'_, '_>, host: &Host) -> Result<Option<Verdict>, StoreError> {
    let entries = tx.boot_log_of(&host.macs, LOOKED_AT)?;
    let lesson = match host.macs.first() {
        Some(mac) => tx.boot_lesson(*mac)?.unwrap_or_default(),
        None => BootLesson::default(),
    };
    let who = Who::Host { state: host.state, since: host.state_since };
    let case = Case { entries: &entries, who, settings: host.boot, lesson: Some(&lesson) };
    Ok(diagnose(&case, tx.now()).verdict)
}

/// Queues that somebody has to turn a host on, if that is so now.
///
/// # Errors
/// When the database fails.
pub fn host_waiting(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &Host,
    job: &Job,
) -> Result<(), Refusal> {
    let Some(prompt) = prompt(host, job) else { return Ok(()) };
    let notice = place(tx, &config.server.public_url).host_waiting(host, job.id, &prompt);
    Ok(queue(tx, &notice)?)
}

/// Queues that work on a guest failed.
///
/// # Errors
/// When the database fails.
pub fn guest_failed(tx: &mut Tx<'_, '_>, config: &Config, job: &Job) -> Result<(), Refusal> {
    Ok(queue(tx, &place(tx, &config.server.public_url).guest_failed(job))?)
}

/// Queues that a machine was heard for the first time. One notice a minute: it says how many wait, and a flood of made-up
/// machines is no flood of messages.
///
/// # Errors
/// When the database fails.
pub fn sighting(
    tx: &mut Tx<'_, '_>,
    public_url: &str,
    sighting: &Sighting,
) -> Result<(), StoreError> {
    let now = tx.now();
    let last: Option<crate::domain::time::Timestamp> = tx.setting(SIGHTING_TOLD)?;
    if last.is_some_and(|last| last <= now && now.since(last) < SIGHTING_NOTICE_EVERY) {
        return Ok(());
    }
    tx.save_setting(SIGHTING_TOLD, &now)?;
    let waiting = tx.sightings()?.iter().filter(|s| !s.ignored).count();
    queue(tx, &place(tx, public_url).sighting(sighting, waiting))
}

/// Queues what a checkup found that fails now and did not at the checkup before.
///
/// # Errors
/// When the database fails.
pub fn health(tx: &mut Tx<'_, '_>, public_url: &str, checkup: &Checkup) -> Result<(), StoreError> {
    let name = |finding: &Finding| format!("{}/{}", finding.area.title(), finding.code());
    let failing: Vec<&Finding> =
        checkup.findings.iter().filter(|f| f.severity() == Severity::Error).collect();
    let told: Vec<String> = tx.setting(HEALTH_TOLD)?.unwrap_or_default();
    let names: Vec<String> = failing.iter().map(|finding| name(finding)).collect();
    if names == told {
        return Ok(());
    }
    tx.save_setting(HEALTH_TOLD, &names)?;
    let new: Vec<&Finding> =
        failing.into_iter().filter(|finding| !told.contains(&name(finding))).collect();
    if new.is_empty() {
        return Ok(());
    }
    queue(tx, &place(tx, public_url).health_error(&new))
}

#[cfg(test)]
mod test {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::domain::mac::Mac;
    use crate::domain::time::Timestamp;
    use crate::plan::doctor::{examine, facts};
    use crate::store::{MasterKey, OutboxReads as _, Store};

    const URL: &str = "http://192.0.2.10:8080";

    fn store(dir: &tempfile::TempDir) -> (Store, Arc<AtomicI64>) {
        let clock = Arc::new(AtomicI64::new(1_000_000));
        let read = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp(read.load(Ordering::SeqCst)));
        let path = dir.path().join("db.redb");
        (Store::open(&path, MasterKey::from_bytes(&[1; 32]), now).unwrap(), clock)
    }

    fn titles(store: &Store) -> Vec<String> {
        let waiting = store.snapshot().unwrap().outbox(100).unwrap();
        assert!(waiting.iter().all(|report| report.reporter == EVERYBODY));
        let title = |body: &serde_json::Value| body["title"].as_str().unwrap().to_owned();
        waiting.iter().map(|report| title(&report.body)).collect()
    }

    fn checkup(taken: &[(&'static str, u16)]) -> Checkup {
        let port = |(name, number): &(&'static str, u16)| facts::Port {
            name,
            number: *number,
            holder: facts::Holder::Other(Some("dnsmasq".to_owned())),
        };
        examine(&facts::Facts { ports: taken.iter().map(port).collect(), ..Default::default() })
    }

    #[test]
    fn a_problem_is_told_when_it_begins_and_again_when_it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store(&dir);
        let tell = |checkup: Checkup| {
            store
                .write_blocking(move |tx| -> Result<(), StoreError> { health(tx, URL, &checkup) })
                .unwrap();
            titles(&store).len()
        };
        // An appliance without server types and images has its own problems.
        let before = tell(checkup(&[]));
        let taken = [("UDP 67 (DHCP)", 67)];
        assert_eq!(tell(checkup(&taken)), before + 1);
        assert_eq!(tell(checkup(&taken)), before + 1, "told once");
        assert_eq!(tell(checkup(&[])), before + 1);
        assert_eq!(tell(checkup(&taken)), before + 2, "it is back");
    }

    #[test]
    fn a_flood_of_new_machines_is_one_message_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = store(&dir);
        let hear = |n: u8| {
            store
                .write_blocking(move |tx| -> Result<(), StoreError> {
                    let seen = Sighting::first_heard(Mac([0x52, 0x54, 0, 0, 0, n]), tx.now());
                    tx.save_sighting(&seen)?;
                    sighting(tx, URL, &seen)
                })
                .unwrap();
        };
        (1..=20).for_each(hear);
        assert_eq!(titles(&store), ["New machine 52:54:00:00:00:01"]);
        clock.fetch_add(60_000, Ordering::SeqCst);
        hear(21);
        let waiting = store.snapshot().unwrap().outbox(100).unwrap();
        let text = waiting[1].body["text"].as_str().unwrap();
        assert!(text.contains("21 machines are there"), "{text}");
        // A clock that was put back does not silence it.
        clock.store(0, Ordering::SeqCst);
        hear(22);
        assert_eq!(titles(&store).len(), 3);
    }
}
