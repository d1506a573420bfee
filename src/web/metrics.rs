//! `GET /metrics` for Prometheus, in the OpenMetrics text form. Names are a contract with dashboards: they are listed in
//! `docs/operations.md` and never renamed. Each scrape reads the counters and one snapshot of the store.
//! `docs/grafana.json` draws them; a test compares the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::problem::Problem;
use super::{Traffic, WebState};
use crate::domain::host::HostState;
use crate::domain::job::JobStatus;
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::limits::over::Over;
use crate::store::{HostReads as _, JobReads as _, SightingReads as _, Store, StoreError};

mod spread;

pub use spread::Spread;

/// Content type of the text form (OpenMetrics 1.0, 4.1).
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a number does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name gets `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Observations sorted into buckets, with their sum.
    Histogram,
}

/// Numbers that share a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// With the prefix `ironhatch_`, without `_total`.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// What they do over time.
    pub kind: Kind,
    /// Labels and values.
    pub samples: Vec<(Labels, Sample)>,
}

/// Names and values of the labels of one sample.
pub type Labels = Vec<(&'static str, String)>;

/// What stands behind one set of labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// A counter's or a gauge's number.
    Number(f64),
    /// Observations of a histogram.
    Spread(Spread),
}

impl Family {
    /// One number without labels.
    #[must_use]
    pub fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Self {
        Self { name, help, kind, samples: vec![(Vec::new(), Sample::Number(value))] }
    }

    /// Numbers that one label tells apart.
    pub fn labelled<L: Into<String>>(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        label: &'static str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> Self {
        let sample = |(of, value): (L, f64)| (vec![(label, of.into())], Sample::Number(value));
        Self { name, help, kind, samples: values.into_iter().map(sample).collect() }
    }

    /// Observations, with their labels.
    pub fn spread(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, Spread)>,
    ) -> Self {
        let samples = samples.into_iter().map(|(labels, spread)| (labels, Sample::Spread(spread)));
        Self { name, help, kind: Kind::Histogram, samples: samples.collect() }
    }
}

/// Numbers of parts that the router does not know: DHCP, TFTP, the database.
pub trait Meters: Send + Sync {
    /// All of them, now.
    fn read(&self) -> Vec<Family>;
}

/// As a float, exact up to 2^53.
#[must_use]
pub fn float(count: u64) -> f64 {
    // Counters of this program stay far below.
    #[allow(clippy::cast_precision_loss)]
    let float = count as f64;
    float
}

pub(super) async fn show(State(web): State<WebState>) -> Result<Response, Problem> {
    let text = exposed(&web.parts.store, &web.parts.traffic, &web.parts.meters).await?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}

/// All metrics in the text form.
///
/// # Errors
/// When the database cannot be read.
pub async fn exposed(
    store: &Store,
    traffic: &Traffic,
    meters: &Arc<dyn Meters>,
) -> Result<String, Refusal> {
    let internal = |text| Refusal::new(RefusalKind::Internal, text, "See the daemon's log.");
    let mut families = of_store(store).await.map_err(|e| internal(with_causes(&e)))?;
    families.extend(of_traffic(traffic));
    // One of them looks into a folder.
    let meters = Arc::clone(meters);
    families.extend(tokio::task::spawn_blocking(move || meters.read()).await.unwrap_or_default());
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .map_err(|e| internal(e.to_string()))?;
    Ok(text)
}

async fn of_store(store: &Store) -> Result<Vec<Family>, StoreError> {
    store
        .read(|read| {
            let mut hosts: BTreeMap<String, u64> =
                HostState::ALL.iter().map(|s| (s.to_string(), 0)).collect();
            for host in read.hosts()? {
                *hosts.entry(host.state.to_string()).or_default() += 1;
            }
            let (mut waiting, mut running) = (0, 0);
            for job in read.active_jobs()? {
                *(if job.status == JobStatus::Pending { &mut waiting } else { &mut running }) += 1;
            }
            let sightings = u64::try_from(read.sightings()?.len()).unwrap_or(u64::MAX);
            Ok(vec![
                Family::labelled(
                    "ironhatch_hosts",
                    "Hosts by state: the way of a rebuild from registered to ready",
                    Kind::Gauge,
                    "state",
                    hosts.into_iter().map(|(of, count)| (of, float(count))),
                ),
                Family::labelled(
                    "ironhatch_jobs",
                    "Jobs that are not over, by status",
                    Kind::Gauge,
                    "status",
                    [("pending", float(waiting)), ("running", float(running))],
                ),
                Family::single(
                    "ironhatch_sightings",
                    "Machines that were heard and are not registered",
                    Kind::Gauge,
                    float(sightings),
                ),
            ])
        })
        .await
}

fn of_traffic(traffic: &Traffic) -> Vec<Family> {
    let requests = traffic.requests().into_iter().map(|(labels, count)| {
        let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned()));
        (labels.collect(), Sample::Number(float(count)))
    });
    let times = traffic.times().map(|(who, spread)| (vec![("who", who.to_owned())], spread));
    let connections = u64::try_from(traffic.connections()).unwrap_or(u64::MAX);
    let over = Over::ALL.iter().map(|o| (o.label(), float(traffic.over().of(*o).times)));
    vec![
        Family {
            name: "ironhatch_http_requests",
            help: "HTTP requests answered, by who asked, class of status and way of the bytes",
            kind: Kind::Counter,
            samples: requests.collect(),
        },
        Family::spread(
            "ironhatch_http_request_seconds",
            "Time from the head of a request to the head of its answer, by who asked",
            times,
        ),
        Family::single(
            "ironhatch_http_connections",
            "HTTP connections that are open",
            Kind::Gauge,
            float(connections),
        ),
        Family::single(
            "ironhatch_http_file_bytes",
            "Bytes of boot files that left by sendfile",
            Kind::Counter,
            float(traffic.file_bytes()),
        ),
        Family::labelled(
            "ironhatch_limit_met",
            "How often a limit was met; what it means is on the page Limits",
            Kind::Counter,
            "limit",
            over,
        ),
    ]
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, sample) in &family.samples {
                if labels.is_empty() {
                    encode(&mut metric, family.kind, sample)?;
                } else {
                    encode(&mut metric.encode_family(labels)?, family.kind, sample)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(
    metric: &mut MetricEncoder<'_>,
    kind: Kind,
    sample: &Sample,
) -> Result<(), std::fmt::Error> {
    match (kind, sample) {
        (Kind::Gauge, Sample::Number(value)) => metric.encode_gauge(value),
        (_, Sample::Number(value)) => metric.encode_counter::<NoLabelSet, f64, f64>(value, None),
        (_, Sample::Spread(spread)) => metric.encode_histogram::<NoLabelSet>(
            spread.seconds(),
            spread.count(),
            &spread.buckets(),
            None,
        ),
    }
}
