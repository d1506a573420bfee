//! Numbers of DHCP, TFTP and the database in the form that metrics have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::boot::{dhcp, tftp};
use crate::store::Store;
use crate::web::metrics::{Family, Kind, Meters, float};

/// What is read at each scrape.
pub(super) struct Numbers {
    pub(super) store: Store,
    pub(super) dhcp: Option<dhcp::DhcpCounters>,
    pub(super) tftp: Option<Arc<tftp::Counters>>,
}

impl Meters for Numbers {
    fn read(&self) -> Vec<Family> {
        let mut families = of_store(&self.store);
        families.extend(self.dhcp.iter().flat_map(of_dhcp));
        families.extend(self.tftp.iter().flat_map(|counters| of_tftp(counters)));
        families
    }
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
