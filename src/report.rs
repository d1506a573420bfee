//! Telling other services what happened: the Infrastructure registry and generic outgoing webhooks.
//!
//! A report is written with the change it tells of and delivered afterwards, again and again with growing pauses until
//! the receiver takes it. [`Reporter::run`] is the one task that delivers; it is fed by the outbox table.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Webhook};
use crate::domain::event::Level;
use crate::domain::host::Host;
use crate::domain::id::JobId;
use crate::domain::refusal::Refusal;
use crate::limits::record::{REPORT_TRIES, REPORTS_PER_ROUND};
use crate::outbound;
use crate::store::{JobReads as _, OutboxReads as _, Report, Store, Tx};

/// The event of a host that became ready.
pub const HOST_READY: &str = "host.ready";
/// The event of a host that failed.
pub const HOST_FAILED: &str = "host.failed";

const INFRASTRUCTURE: &str = "infrastructure";
/// Lets a receiver drop a report that it got twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// One delivery, connect and answer together.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Pauses double from the first to the longest; a receiver that is down for a night is told in the morning.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How often the outbox is looked at when nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);

/// Queues the reports of a ready host in the write that makes it ready; returns the names of the reporters.
///
/// # Errors
/// When the database fails.
pub fn queue_host_ready(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &Host,
    job: JobId,
) -> Result<Vec<String>, Refusal> {
    let mut told = Vec::new();
    if let Some(infrastructure) = &config.infrastructure {
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
        tx.queue_report(INFRASTRUCTURE, HOST_READY, Some(job), body)?;
        told.push(INFRASTRUCTURE.to_owned());
    }
    told.extend(queue_webhooks(tx, config, host, job, HOST_READY)?);
    Ok(told)
}

/// Queues the reports of a host that failed.
///
/// # Errors
/// When the database fails.
pub fn queue_host_failed(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &Host,
    job: JobId,
) -> Result<(), Refusal> {
    queue_webhooks(tx, config, host, job, HOST_FAILED).map(drop)
}

fn queue_webhooks(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &Host,
    job: JobId,
    event: &str,
) -> Result<Vec<String>, Refusal> {
    let mut told = Vec::new();
    for webhook in config.webhooks.iter().filter(|w| wants(w, event)) {
        let body = json!({
            "event": event,
            "at": tx.now().to_string(),
            "job": job,
            "host": {
                "id": host.id,
                "hostname": host.hostname,
                "macs": host.macs,
                "address": host.address,
                "server_type": host.server_type,
                "state": host.state,
                "failure": host.failure,
            },
        });
        tx.queue_report(&webhook.url, event, Some(job), body)?;
        told.push(webhook.url.clone());
    }
    Ok(told)
}

fn wants(webhook: &Webhook, event: &str) -> bool {
    webhook.events.is_empty() || webhook.events.iter().any(|e| e == event)
}

/// Delivers what is in the outbox.
#[derive(Debug)]
pub struct Reporter {
    store: Store,
    config: Arc<Config>,
}

impl Reporter {
    /// A reporter over this store; [`Reporter::run`] delivers.
    #[must_use]
    pub fn new(store: Store, config: Arc<Config>) -> Self {
        Self { store, config }
    }

    /// Delivers until the stop. A receiver that does not answer holds up the others for one timeout per round.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // A delivery that the stop cuts short is made again; its key tells the receiver.
            tokio::select! {
                done = self.deliver_due() => {
                    if let Err(error) = done {
                        tracing::error!(%error, "the outbox cannot be read or written");
                    }
                }
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(IDLE) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn deliver_due(&self) -> Result<(), Refusal> {
        let now = self.store.now();
        let due = self
            .store
            .read::<_, Refusal, _>(move |r| {
                // All of them: what waits for a receiver that is down must not hide what others are waiting for.
                let all = r.outbox(usize::MAX)?;
                let due = all.into_iter().filter(|report| report.next_try <= now);
                Ok(due.take(REPORTS_PER_ROUND).collect::<Vec<_>>())
            })
            .await?;
        let mut failing: Vec<String> = Vec::new();
        for report in due {
            if failing.contains(&report.reporter) {
                self.postpone(report).await?;
                continue;
            }
            let outcome = self.deliver(&report).await;
            if outcome.is_err() {
                failing.push(report.reporter.clone());
            }
            self.record(report, outcome).await?;
        }
        Ok(())
    }

    async fn deliver(&self, report: &Report) -> Result<(), String> {
        let mut headers = Vec::new();
        if let Ok(key) = HeaderValue::from_str(&idempotency_key(report)) {
            headers.push((IDEMPOTENCY_KEY, key));
        }
        let url = if report.reporter == INFRASTRUCTURE {
            let Some(infrastructure) = &self.config.infrastructure else { return Ok(()) };
            format!("{}/api/hosts", infrastructure.base_url)
        } else {
            let Some(webhook) = self.config.webhooks.iter().find(|w| w.url == report.reporter)
            else {
                return Ok(());
            };
            if let Some(secret) = &webhook.secret {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
                    .map_err(|_| "its secret has characters that no header can carry".to_owned())?;
                value.set_sensitive(true);
                headers.push((AUTHORIZATION, value));
            }
            webhook.url.clone()
        };
        let body = serde_json::to_vec(&report.body).map_err(|e| e.to_string())?;
        outbound::send_json(Method::POST, &url, headers, body, TIMEOUT)
            .await
            .map_err(|e| e.to_string())
    }

    /// Leaves a report for later without a try: its receiver just failed to take another one.
    async fn postpone(&self, mut report: Report) -> Result<(), Refusal> {
        self.store
            .write(move |tx| {
                report.next_try = tx.now().after(pause_after(report.attempts.max(3)));
                Ok(tx.save_report(&report)?)
            })
            .await
    }

    async fn record(&self, report: Report, outcome: Result<(), String>) -> Result<(), Refusal> {
        self.store
            .write(move |tx| {
                let mut report = report;
                report.attempts = report.attempts.saturating_add(1);
                let (level, text) = match outcome {
                    Ok(()) => {
                        tx.delete_report(&report);
                        (Level::Info, format!("{} was told {}", report.reporter, report.event))
                    }
                    Err(reason) if report.attempts >= REPORT_TRIES => {
                        tx.delete_report(&report);
                        let text = format!(
                            "{} was not told {}: {reason}; given up",
                            report.reporter, report.event
                        );
                        (Level::Error, text)
                    }
                    Err(reason) => {
                        let pause = pause_after(report.attempts);
                        report.next_try = tx.now().after(pause);
                        tx.save_report(&report)?;
                        // The first failure and every tenth: the log must stay readable.
                        if report.attempts != 1 && !report.attempts.is_multiple_of(10) {
                            return Ok(());
                        }
                        let text = format!(
                            "{} was not told {}: {reason}; trying again in {} s",
                            report.reporter,
                            report.event,
                            pause.as_secs()
                        );
                        (Level::Warn, text)
                    }
                };
                if let Some(job) = report.job.map(|id| tx.job(id)).transpose()?.flatten() {
                    tx.log(&job, None, level, &text)?;
                }
                Ok(())
            })
            .await
    }
}

/// The same for each try of a report, and never used again: numbers of the outbox begin anew when it was empty.
fn idempotency_key(report: &Report) -> String {
    match report.job {
        Some(job) => format!("ironhatch-{job}-{}", report.event),
        None => format!("ironhatch-{}-{}", report.created.0, report.seq),
    }
}

fn pause_after(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (FIRST_PAUSE * 2u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_new_report_never_has_the_key_of_a_delivered_one() {
        let report = |job: u128| Report {
            seq: 1,
            reporter: "http://192.0.2.9/".to_owned(),
            event: HOST_READY.to_owned(),
            body: json!({}),
            job: Some(JobId(uuid::Uuid::from_u128(job))),
            created: crate::domain::time::Timestamp(5),
            attempts: 0,
            next_try: crate::domain::time::Timestamp(5),
        };
        assert_eq!(
            idempotency_key(&report(1)),
            idempotency_key(&Report { attempts: 3, ..report(1) })
        );
        assert_ne!(idempotency_key(&report(1)), idempotency_key(&report(2)));
    }

    #[test]
    fn every_event_that_is_told_can_be_asked_for() {
        assert_eq!(crate::config::EVENTS, [HOST_READY, HOST_FAILED]);
    }

    #[test]
    fn pauses_grow_from_seconds_to_a_quarter_of_an_hour() {
        assert_eq!(pause_after(1), Duration::from_secs(2));
        assert_eq!(pause_after(2), Duration::from_secs(4));
        assert_eq!(pause_after(50), LONGEST_PAUSE);
    }
}
