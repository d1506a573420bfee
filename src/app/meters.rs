//! Numbers of DHCP, TFTP and the database in the form that metrics have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::tally::{Stages, Tally};
use crate::boot::{dhcp, tftp};
use crate::store::Store;
use crate::web::metrics::{Family, Kind, Meters, float};

/// What is read at each scrape.
pub(super) struct Numbers {
    pub(super) store: Store,
    pub(super) dhcp: Option<dhcp::DhcpCounters>,
    pub(super) tftp: Option<Arc<tftp::Counters>>,
    pub(super) tally: Tally,
    pub(super) stages: Arc<Stages>,
}

impl Meters for Numbers {
    fn read(&self) -> Vec<Family> {
        let mut families = vec![of_build(), self.stages.family()];
        families.extend(self.tally.families());
        families.extend(of_store(&self.store));
        families.extend(self.dhcp.iter().flat_map(of_dhcp));
        families.extend(self.tftp.iter().flat_map(|counters| of_tftp(counters)));
        families
    }
}

fn of_build() -> Family {
    Family::labelled(
        "ironhatch_build",
        "Which version runs; always 1",
        Kind::Gauge,
        "version",
        [(env!("CARGO_PKG_VERSION"), 1.0)],
    )
}

fn of_store(store: &Store) -> Vec<Family> {
    let commits = store.commits();
    let counter = |name, help, value| Family::single(name, help, Kind::Counter, value);
    vec![
        Family::labelled(
            "ironhatch_store_commits",
            "Commits of the database by outcome",
            Kind::Counter,
            "outcome",
            [("kept", float(commits.count)), ("failed", float(commits.failed))],
        ),
        counter("ironhatch_store_writes", "Writes in these commits", float(commits.writes)),
        counter(
            "ironhatch_store_commit_seconds",
            "Time of all commits, fsync included",
            commits.took.as_secs_f64(),
        ),
        Family::single(
            "ironhatch_store_slowest_commit_seconds",
            "Time of the slowest commit since the start",
            Kind::Gauge,
            commits.slowest.as_secs_f64(),
        ),
    ]
    .into_iter()
    .chain(of_backups(store))
    .collect()
}

/// Nothing when the folder cannot be read: a missing number is what alerts look for.
fn of_backups(store: &Store) -> Vec<Family> {
    let Ok(state) = store.backup_state() else { return Vec::new() };
    let gauge = |name, help, value| Family::single(name, help, Kind::Gauge, value);
    let mut families = vec![
        gauge(
            "ironhatch_store_backups",
            "Regular backups of the database that are kept",
            float(u64::try_from(state.kept.len()).unwrap_or(u64::MAX)),
        ),
        Family::single(
            "ironhatch_store_backup_failures",
            "Regular backups that could not be made since the start",
            Kind::Counter,
            float(state.failures),
        ),
    ];
    if let Some(newest) = state.kept.first() {
        families.push(gauge(
            "ironhatch_store_newest_backup_timestamp_seconds",
            "When the newest regular backup was made",
            float(u64::try_from(newest.made.0 / 1000).unwrap_or(0)),
        ));
    }
    families
}

fn of_dhcp(counters: &dhcp::DhcpCounters) -> Vec<Family> {
    let counted = dhcp::Counted::ALL.iter().map(|what| (what.label(), float(counters.get(*what))));
    let silences = counters.silences().into_iter().map(|(reason, count)| (reason, float(count)));
    vec![
        Family::labelled(
            "ironhatch_dhcp",
            "What became of DHCP packets",
            Kind::Counter,
            "what",
            counted,
        ),
        Family::labelled(
            "ironhatch_dhcp_silent",
            "DHCP requests met with silence, by reason",
            Kind::Counter,
            "reason",
            silences,
        ),
    ]
}

fn of_tftp(counters: &tftp::Counters) -> Vec<Family> {
    let all = [
        ("started", &counters.started),
        ("finished", &counters.finished),
        ("probed", &counters.probed),
        ("aborted", &counters.aborted),
        ("lost", &counters.lost),
        ("not_found", &counters.not_found),
        ("refused", &counters.refused),
        ("malformed", &counters.malformed),
        ("stray", &counters.stray),
        ("rate_limited", &counters.rate_limited),
        ("repeated", &counters.repeated),
        ("send_errors", &counters.send_errors),
        ("datagrams", &counters.datagrams),
    ];
    let counted = all.map(|(what, count)| (what, float(count.load(Ordering::Relaxed))));
    let active = counters.active.load(Ordering::Relaxed);
    vec![
        Family::labelled(
            "ironhatch_tftp",
            "What became of TFTP transfers and datagrams",
            Kind::Counter,
            "what",
            counted,
        ),
        Family::single(
            "ironhatch_tftp_bytes",
            "Bytes sent by TFTP, headers included",
            Kind::Counter,
            float(counters.bytes.load(Ordering::Relaxed)),
        ),
        Family::single(
            "ironhatch_tftp_transfers",
            "TFTP transfers that are going on",
            Kind::Gauge,
            float(u64::try_from(active).unwrap_or(u64::MAX)),
        ),
    ]
}

#[cfg(test)]
mod test {
    use std::collections::{BTreeMap, BTreeSet};

    use tower::ServiceExt as _;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::limits::over::Overruns;
    use crate::plan::offer::{Decision, Reason};
    use crate::store::MasterKey;
    use crate::web::metrics::exposed;

    /// Names of samples as the text form has them, with the names of their labels.
    fn names(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut names = BTreeMap::<String, BTreeSet<String>>::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap();
            let labels = names.entry(line[..end].to_owned()).or_default();
            let inside = line[end..].strip_prefix('{').and_then(|l| l.split_once('}'));
            let pairs = inside.map_or("", |(pairs, _)| pairs).split("\",");
            labels.extend(pairs.filter_map(|p| Some(p.split_once("=\"")?.0.to_owned())));
        }
        names
    }

    /// Words of a PromQL expression that name a metric, each with the labels that stand in its braces, and the labels of
    /// all `by (...)`.
    fn asked(expression: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let mut metrics = Vec::new();
        for (at, _) in expression.match_indices("ironhatch_") {
            let rest = &expression[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let braces = rest.strip_prefix('{').and_then(|r| r.split_once('}'));
            let labels = braces.map_or("", |(inside, _)| inside).split(',');
            let labels =
                labels.filter_map(|l| l.find(['=', '!']).map(|end| l[..end].trim().into()));
            metrics.push((name.to_owned(), labels.collect()));
        }
        let groups = expression.split("by (").skip(1).filter_map(|r| r.split_once(')'));
        let by = groups.flat_map(|(names, _)| names.split(',')).map(|n| n.trim().to_owned());
        (metrics, by.collect())
    }

    fn expressions(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    match value.as_str() {
                        Some(text) if key == "expr" => found.push(text.to_owned()),
                        _ => expressions(value, found),
                    }
                }
            }
            serde_json::Value::Array(list) => list.iter().for_each(|v| expressions(v, found)),
            _ => {}
        }
    }

    #[tokio::test]
    async fn grafanas_dashboard_asks_only_for_what_is_exposed_and_the_manual_lists_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::from_bytes(&[1; 32]);
        let now = Arc::new(|| Timestamp(1_760_000_000_000));
        let store = Store::open(&dir.path().join("db.redb"), key, now).unwrap();
        let host = crate::web::test::sample::host(1, |_| {});
        store.write(move |tx| tx.save_host(&host)).await.unwrap();
        store.back_up_when_due().unwrap().unwrap();
        let over = Overruns::new(Arc::new(|| 7));
        let dhcp = dhcp::DhcpCounters::telling(over.clone());
        dhcp.count_decision(&Decision::Silent(Reason::Bootp));
        let tally = Tally::default();
        tally.ended(&super::super::tally::test::rebuild());
        let numbers = Numbers {
            store: store.clone(),
            dhcp: Some(dhcp),
            tftp: Some(Arc::default()),
            tally,
            stages: Arc::default(),
        };
        let traffic = crate::web::Traffic::new(over);
        let router = crate::web::counted(axum::Router::new(), traffic.clone());
        let request = axum::http::Request::get("/").body(axum::body::Body::empty()).unwrap();
        router.oneshot(request).await.unwrap();
        let meters: Arc<dyn Meters> = Arc::new(numbers);
        let text = exposed(&store, &traffic, &meters).await.unwrap();
        let there = names(&text);

        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let dashboard = std::fs::read_to_string(root.join("docs/grafana.json")).unwrap();
        let mut expressions_found = Vec::new();
        expressions(&serde_json::from_str(&dashboard).unwrap(), &mut expressions_found);
        assert!(expressions_found.len() > 12, "{expressions_found:?}");
        for expression in &expressions_found {
            let (metrics, by) = asked(expression);
            assert!(!metrics.is_empty(), "{expression} asks for nothing of ours");
            for (name, labels) in &metrics {
                let real = there
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is not exposed: {expression}"));
                for label in labels.iter().chain(&by) {
                    assert!(real.contains(label), "{name} has no label {label}: {expression}");
                }
            }
        }
        let manual = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
        for family in text.lines().filter_map(|l| l.strip_prefix("# TYPE ironhatch_")) {
            let (name, kind) = family.split_once(' ').unwrap();
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            assert!(
                manual.contains(&format!("`{name}`")),
                "docs/operations.md does not list {name}"
            );
        }
    }
}
