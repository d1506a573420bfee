//! What the HTTP listeners carry, counted: connections, requests by class, bytes of boot files, limits that were met.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;

use super::file::Way;
use super::metrics::Spread;
use crate::limits::over::{Over, Overruns};

/// Who asks, by the path.
const WHO: [&str; 4] = ["machine", "api", "page", "asset"];
/// How it ended, by the first digit of the status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Which way the bytes went.
const WAYS: [&str; 2] = ["hyper", "sendfile"];
/// Bounds of the times of requests, in seconds. Pages should be there within 0.05.
const TIMES: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Counters of the listeners. Clones share the same numbers.
#[derive(Debug, Clone)]
pub struct Traffic {
    numbers: Arc<Numbers>,
    over: Overruns,
}

#[derive(Debug, Default)]
struct Numbers {
    connections: AtomicUsize,
    // Held for a few additions.
    times: Mutex<[Option<Spread>; WHO.len()]>,
    requests: [[[AtomicU64; WAYS.len()]; CLASSES.len()]; WHO.len()],
    file_bytes: AtomicU64,
}

/// A living connection.
#[derive(Debug)]
pub(super) struct Living(Arc<Numbers>);

impl Drop for Living {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One number of requests with its labels: who asked, how it ended, which way it went.
pub(super) type Requests = ([(&'static str, &'static str); 3], u64);

impl Traffic {
    /// All zero.
    #[must_use]
    pub fn new(over: Overruns) -> Self {
        Self { numbers: Arc::default(), over }
    }

    /// What limits were met.
    #[must_use]
    pub fn over(&self) -> &Overruns {
        &self.over
    }

    pub(super) fn connected(&self) -> Living {
        self.numbers.connections.fetch_add(1, Ordering::Relaxed);
        Living(Arc::clone(&self.numbers))
    }

    pub(super) fn connections(&self) -> usize {
        self.numbers.connections.load(Ordering::Relaxed)
    }

    pub(super) fn sent_file(&self, bytes: u64) {
        self.numbers.file_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.numbers.file_bytes.load(Ordering::Relaxed)
    }

    /// How long answers took, by who asked.
    pub(super) fn times(&self) -> impl Iterator<Item = (&'static str, Spread)> {
        let times = self.numbers.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let none = || Spread::new(TIMES);
        WHO.into_iter().zip(times.map(|spread| spread.unwrap_or_else(none)))
    }

    /// All numbers of requests that are not zero.
    pub(super) fn requests(&self) -> Vec<Requests> {
        let mut found = Vec::new();
        for (who, classes) in WHO.iter().zip(&self.numbers.requests) {
            for (class, ways) in CLASSES.iter().zip(classes) {
                for (way, count) in WAYS.iter().zip(ways) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        found.push(([("who", *who), ("status", *class), ("way", *way)], count));
                    }
                }
            }
        }
        found
    }

    fn answered(&self, path: &str, way: Way, status: StatusCode, took: Duration) {
        let who = match path {
            p if is_of_machine(p) => 0,
            p if p.starts_with("/api/") || p == "/metrics" => 1,
            p if p.starts_with("/assets/") => 3,
            _ => 2,
        };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        let way = usize::from(way == Way::Handed);
        let ways = self.numbers.requests.get(who).and_then(|classes| classes.get(class));
        if let Some(count) = ways.and_then(|ways| ways.get(way)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut times = self.numbers.times.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spread) = times.get_mut(who) {
            spread.get_or_insert_with(|| Spread::new(TIMES)).add(took.as_secs_f64());
        }
        drop(times);
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => self.over.met(Over::Body),
            StatusCode::REQUEST_TIMEOUT => self.over.met(Over::BodyTime),
            StatusCode::TOO_MANY_REQUESTS => self.over.met(Over::Login),
            StatusCode::SERVICE_UNAVAILABLE if path == "/events" => self.over.met(Over::Streams),
            _ => {}
        }
    }
}

fn is_of_machine(path: &str) -> bool {
    let callbacks = ["/installed", "/phone-home", "/first-boot-script"];
    ["/boot/", "/ipxe/", "/api/boot/", "/api/nodes/enroll/"].iter().any(|p| path.starts_with(p))
        || (path.starts_with("/api/hosts/") && callbacks.iter().any(|end| path.ends_with(end)))
}

/// Counts what this router answers.
pub fn counted(router: Router, traffic: Traffic) -> Router {
    router.layer(middleware::from_fn_with_state(traffic, count))
}

async fn count(State(traffic): State<Traffic>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let way = request.extensions().get().copied().unwrap_or(Way::Body);
    let began = Instant::now();
    let response = next.run(request).await;
    traffic.answered(&path, way, response.status(), began.elapsed());
    response
}

#[cfg(test)]
mod test {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(7);

    fn traffic() -> Traffic {
        Traffic::new(Overruns::new(Arc::new(|| 7)))
    }

    #[test]
    fn requests_are_counted_by_who_status_and_way() {
        let traffic = traffic();
        traffic.answered("/boot/0/linux26", Way::Handed, StatusCode::OK, BRIEF);
        traffic.answered("/boot/0/linux26", Way::Handed, StatusCode::PARTIAL_CONTENT, BRIEF);
        traffic.answered("/api/hosts/1/phone-home", Way::Body, StatusCode::FORBIDDEN, BRIEF);
        traffic.answered("/api/hosts/1", Way::Body, StatusCode::OK, BRIEF);
        traffic.answered("/assets/1/x", Way::Body, StatusCode::NOT_MODIFIED, BRIEF);
        traffic.answered("/", Way::Body, StatusCode::INTERNAL_SERVER_ERROR, BRIEF);
        let (_, of_machines) = traffic.times().next().unwrap();
        assert_eq!(of_machines.count(), 3);
        assert_eq!(of_machines.buckets()[2], (0.01, 3));
        let label = |who, status, way| [("who", who), ("status", status), ("way", way)];
        assert_eq!(
            traffic.requests(),
            [
                (label("machine", "2xx", "sendfile"), 2),
                (label("machine", "4xx", "hyper"), 1),
                (label("api", "2xx", "hyper"), 1),
                (label("page", "5xx", "hyper"), 1),
                (label("asset", "3xx", "hyper"), 1),
            ]
        );
    }

    #[test]
    fn answers_that_name_a_limit_are_counted_at_the_limit() {
        let traffic = traffic();
        for (path, status, over) in [
            ("/api/boot/answer", 413, Over::Body),
            ("/api/boot/answer", 408, Over::BodyTime),
            ("/login", 429, Over::Login),
            ("/events", 503, Over::Streams),
        ] {
            assert_eq!(traffic.over().of(over).times, 0);
            traffic.answered(path, Way::Body, StatusCode::from_u16(status).unwrap(), BRIEF);
            assert_eq!(traffic.over().of(over).times, 1, "{status}");
        }
        traffic.answered("/", Way::Body, StatusCode::SERVICE_UNAVAILABLE, BRIEF);
        assert_eq!(traffic.over().of(Over::Streams).times, 1);
    }

    #[test]
    fn connections_are_counted_while_they_live() {
        let traffic = traffic();
        let one = traffic.connected();
        let two = traffic.connected();
        assert_eq!(traffic.connections(), 2);
        drop((one, two));
        assert_eq!(traffic.connections(), 0);
    }
}
