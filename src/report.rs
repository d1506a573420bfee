//! Telling others what happened: the Infrastructure registry, and the notification targets (webhooks, chats, email).
//!
//! A report is written with the change it tells of ([`queue`]) and delivered afterwards, again and again with growing
//! pauses until the receiver takes it. [`Reporter::run`] is the one task that delivers; it is fed by the outbox table. A
//! notice waits there once, and is given to the targets that want it when it is its turn: they are configured while the
//! daemon runs.

mod mail;
pub mod queue;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use hyper::Method;
use rand::RngExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::live::ConfigView;
use crate::config::notify::{Receiver, Target};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::notice::NoticeKind;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::record::{REPORT_TRIES, REPORTS_PER_ROUND};
use crate::plan::notice::Place;
use crate::store::{
    Delivery, EVERYBODY, INFRASTRUCTURE, JobReads as _, NewEvent, OutboxReads as _, Outcome,
    Report, Store,
};
use crate::web::{Notifier, Tested};

/// Pauses double from the first to the longest; a receiver that is down for a night is told in the morning.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How often the outbox is looked at when nothing wakes it.
const IDLE: Duration = Duration::from_secs(1);

/// Delivers what is in the outbox, and tries targets out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    store: Store,
    config: watch::Receiver<Arc<ConfigView>>,
    /// One test at a time: each may take as long as its receiver.
    testing: Arc<tokio::sync::Mutex<()>>,
}

impl Reporter {
    /// A reporter over this store; [`Reporter::run`] delivers.
    #[must_use]
    pub fn new(store: Store, config: watch::Receiver<Arc<ConfigView>>) -> Self {
        Self { store, config, testing: Arc::default() }
    }

    fn config(&self) -> Arc<ConfigView> {
        Arc::clone(&self.config.borrow())
    }

    /// Delivers until the stop. A receiver that does not answer holds up nobody but the next round, for one timeout.
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
        let config = self.config();
        // All of them: what waits for a receiver that is down must not hide what others are waiting for.
        let mut all = self.outbox().await?;
        if all.iter().any(is_new) {
            self.hand_out(&config, all).await?;
            all = self.outbox().await?;
        }
        let now = self.store.now();
        let due = all.into_iter().filter(|report| report.next_try <= now).take(REPORTS_PER_ROUND);
        let mut by_reporter: BTreeMap<String, Vec<Report>> = BTreeMap::new();
        for report in due {
            by_reporter.entry(report.reporter.clone()).or_default().push(report);
        }
        let rounds = by_reporter.into_values().map(|reports| self.deliver_all(&config, reports));
        join_all(rounds).await.into_iter().collect()
    }

    /// What waits for one reporter, in order. When it does not take one, the others wait too.
    async fn deliver_all(&self, config: &ConfigView, reports: Vec<Report>) -> Result<(), Refusal> {
        let mut is_failing = false;
        for report in reports {
            if is_failing {
                self.postpone(report).await?;
                continue;
            }
            let tried = deliver(config, &report).await;
            is_failing = matches!(tried, Tried::Failed(_));
            self.record(report, tried).await?;
        }
        Ok(())
    }

    async fn outbox(&self) -> Result<Vec<Report>, Refusal> {
        self.store.read::<_, Refusal, _>(|read| Ok(read.outbox(usize::MAX)?)).await
    }

    /// Gives new notices to the targets that want them; those that nobody wants are gone.
    async fn hand_out(&self, config: &ConfigView, all: Vec<Report>) -> Result<(), Refusal> {
        let handed: Vec<(Report, Vec<String>)> = all
            .into_iter()
            .filter(is_new)
            .map(|notice| {
                let wants = |target: &&Target| {
                    target.events.iter().any(|kind| kind.as_str() == notice.event)
                };
                let to = config.targets().iter().filter(wants).map(|t| t.name.clone()).collect();
                (notice, to)
            })
            .collect();
        self.store
            .write(move |tx| {
                for (notice, to) in &handed {
                    tx.hand_out(notice, to)?;
                }
                Ok(())
            })
            .await
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

    async fn record(&self, report: Report, tried: Tried) -> Result<(), Refusal> {
        self.store
            .write(move |tx| {
                let mut report = report;
                let (reporter, event) = (report.reporter.clone(), report.event.clone());
                report.attempts = report.attempts.saturating_add(1);
                let is_last = report.attempts >= REPORT_TRIES;
                let outcome = match &tried {
                    Tried::Told => Some(Outcome::Delivered),
                    Tried::NoTarget => None,
                    Tried::Failed(reason) if is_last => {
                        Some(Outcome::GivenUp { reason: reason.clone() })
                    }
                    Tried::Failed(reason) => Some(Outcome::Retried { reason: reason.clone() }),
                };
                if let Some(outcome) = outcome {
                    let delivery = Delivery { at: tx.now(), event: event.clone(), outcome };
                    tx.save_delivery(&reporter, &delivery)?;
                }
                let (level, text) = match tried {
                    Tried::Told => {
                        tx.delete_report(&report);
                        (Level::Info, format!("{reporter} was told {event}"))
                    }
                    Tried::NoTarget => {
                        tx.delete_report(&report);
                        let why = "it is not in the configuration any more";
                        (Level::Warn, format!("{reporter} was not told {event}: {why}"))
                    }
                    Tried::Failed(reason) if is_last => {
                        tx.delete_report(&report);
                        let text = format!("{reporter} was not told {event}: {reason}; given up");
                        (Level::Error, text)
                    }
                    Tried::Failed(reason) => {
                        let pause = pause_after(report.attempts);
                        report.next_try = tx.now().after(pause);
                        tx.save_report(&report)?;
                        // The first failure and every tenth: the log must stay readable.
                        if report.attempts != 1 && !report.attempts.is_multiple_of(10) {
                            return Ok(());
                        }
                        let text = format!(
                            "{reporter} was not told {event}: {reason}; trying again in {} s",
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

/// How one try of one report ended.
enum Tried {
    /// The receiver took it.
    Told,
    /// Why it was not taken.
    Failed(String),
    /// Whom it is for is not configured any more.
    NoTarget,
}

impl From<Result<(), String>> for Tried {
    fn from(sent: Result<(), String>) -> Self {
        match sent {
            Ok(()) => Self::Told,
            Err(reason) => Self::Failed(reason),
        }
    }
}

/// Not given to any target yet.
fn is_new(report: &Report) -> bool {
    report.reporter == EVERYBODY
}

/// One try of one report.
async fn deliver(config: &ConfigView, report: &Report) -> Tried {
    let key = idempotency_key(report);
    if report.reporter == INFRASTRUCTURE {
        let Some(infrastructure) = &config.running.infrastructure else {
            return Tried::NoTarget;
        };
        let url = format!("{}/api/hosts", infrastructure.base_url);
        return send::document(Method::POST, &url, None, &report.body, &key).await.into();
    }
    // An older version named webhooks by their address.
    let is_meant = |target: &&Target| {
        target.name == report.reporter
            || matches!(&target.receiver, Receiver::Webhook { url, .. } if *url.expose() == report.reporter)
    };
    match config.targets().iter().find(is_meant) {
        Some(target) => send::notice(target, &report.body, &key).await.into(),
        None => Tried::NoTarget,
    }
}

impl Notifier for Reporter {
    fn test(&self, name: String) -> BoxFuture<'_, Result<Tested, Refusal>> {
        Box::pin(async move {
            let config = self.config();
            let target = config.targets().iter().find(|target| target.name == name);
            let Some(target) = target else {
                let shown: String = name.chars().take(80).collect();
                let detail = format!("There is no notification target '{shown}'.");
                let hint =
                    "The page Settings lists those of the configuration; add one as [[notify]].";
                return Err(Refusal::new(RefusalKind::NotFound, detail, hint));
            };
            let Ok(_turn) = self.testing.try_lock() else {
                let detail = "A test of a notification target is under way.";
                return Err(Refusal::new(RefusalKind::Conflict, detail, "Wait for its result."));
            };
            let place =
                Place { at: self.store.now(), public_url: &config.running.server.public_url };
            let body = serde_json::to_value(place.test()).unwrap_or_default();
            let key = format!("ironhatch-test-{:032x}", rand::rng().random::<u128>());
            let sent = send::notice(target, &body, &key).await;
            let tested = Tested { name: target.name.clone(), failure: sent.err() };
            self.record_test(tested.clone()).await?;
            Ok(tested)
        })
    }
}

impl Reporter {
    async fn record_test(&self, tested: Tested) -> Result<(), Refusal> {
        self.store
            .write(move |tx| {
                let (level, told, outcome) = match &tested.failure {
                    None => (Level::Info, "delivered".to_owned(), Outcome::Delivered),
                    Some(reason) => {
                        let outcome = Outcome::GivenUp { reason: reason.clone() };
                        (Level::Warn, format!("not delivered: {reason}"), outcome)
                    }
                };
                let event = NoticeKind::Test.as_str().to_owned();
                tx.save_delivery(&tested.name, &Delivery { at: tx.now(), event, outcome })?;
                tx.emit(NewEvent {
                    level,
                    subject: Subject::default(),
                    kind: EventKind::System,
                    message: format!("test of the notification target {}: {told}", tested.name),
                })?;
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
    use crate::domain::id::JobId;

    #[test]
    fn a_new_report_never_has_the_key_of_a_delivered_one() {
        let report = |job: u128| Report {
            seq: 1,
            reporter: "http://192.0.2.9/".to_owned(),
            event: NoticeKind::HostReady.as_str().to_owned(),
            body: serde_json::json!({}),
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
    fn pauses_grow_from_seconds_to_a_quarter_of_an_hour() {
        assert_eq!(pause_after(1), Duration::from_secs(2));
        assert_eq!(pause_after(2), Duration::from_secs(4));
        assert_eq!(pause_after(50), LONGEST_PAUSE);
    }
}
