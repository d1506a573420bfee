//! Notification targets as page and API show them, and what they want of the reporter.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;

use super::api::{Moment, time};
use crate::config::live::ConfigView;
use crate::domain::refusal::Refusal;
use crate::store::{Delivery, INFRASTRUCTURE, OutboxReads as _, Outcome, Snapshot, StoreError};

/// Tries notification targets out.
pub trait Notifier: Send + Sync + 'static {
    /// Sends a test to a target of the configuration, once, and tells how that went.
    ///
    /// # Errors
    /// There is no such target, or the database fails.
    fn test(&self, name: String) -> BoxFuture<'_, Result<Tested, Refusal>>;
}

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The target.
    pub name: String,
    /// Why it did not arrive; `None`: the receiver took it.
    pub failure: Option<String>,
}

/// A target, or the registry, with how its last delivery went.
#[derive(Debug, Clone)]
pub(super) struct TargetView {
    pub(super) name: String,
    /// Its kind, as in the configuration.
    pub(super) kind: &'static str,
    /// Where it is, without secrets.
    pub(super) place: String,
    /// What it gets.
    pub(super) events: Vec<&'static str>,
    /// It can be tried out.
    pub(super) can_test: bool,
    pub(super) last: Option<Delivery>,
    /// Reports that wait for it.
    pub(super) waiting: usize,
}

/// All of them, in the order of the file, the registry last.
pub(super) fn targets(read: &Snapshot, config: &ConfigView) -> Result<Vec<TargetView>, StoreError> {
    let waiting = read.outbox(usize::MAX)?;
    let mut views = Vec::new();
    for target in config.targets() {
        views.push(TargetView {
            name: target.name.clone(),
            kind: target.receiver.kind(),
            place: target.receiver.place(),
            events: target.events.iter().map(|kind| kind.as_str()).collect(),
            can_test: true,
            last: None,
            waiting: 0,
        });
    }
    if let Some(registry) = &config.running.infrastructure {
        views.push(TargetView {
            name: INFRASTRUCTURE.to_owned(),
            kind: "registry",
            place: registry.base_url.clone(),
            events: vec!["host.ready"],
            // A test would register a host that does not exist.
            can_test: false,
            last: None,
            waiting: 0,
        });
    }
    for view in &mut views {
        view.last = read.last_delivery(&view.name)?;
        view.waiting = waiting.iter().filter(|report| report.reporter == view.name).count();
    }
    Ok(views)
}

impl TargetView {
    /// Why the last delivery did not arrive.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.last.as_ref()?.outcome {
            Outcome::Delivered => None,
            Outcome::Retried { reason } | Outcome::GivenUp { reason } => Some(reason),
        }
    }
}

/// A target as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Target")]
pub(super) struct TargetBody<'a> {
    name: &'a str,
    /// As in the configuration; `registry` for the registry of machines.
    kind: &'static str,
    /// Where it is, without secrets.
    place: &'a str,
    /// What it gets.
    events: &'a [&'static str],
    /// It can be tried out.
    can_test: bool,
    /// Reports that wait for it.
    waiting: usize,
    last: Option<DeliveryBody<'a>>,
}

/// How the last delivery to a target went.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
struct DeliveryBody<'a> {
    at: Moment,
    event: &'a str,
    /// The receiver took it.
    delivered: bool,
    /// Why it did not arrive.
    reason: Option<&'a str>,
}

impl<'a> TargetBody<'a> {
    pub(super) fn new(view: &'a TargetView) -> Self {
        Self {
            name: &view.name,
            kind: view.kind,
            place: &view.place,
            events: &view.events,
            can_test: view.can_test,
            waiting: view.waiting,
            last: view.last.as_ref().map(|last| DeliveryBody {
                at: time(last.at),
                event: &last.event,
                delivered: last.outcome == Outcome::Delivered,
                reason: view.failure(),
            }),
        }
    }
}
