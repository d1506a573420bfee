//! What Prometheus is told about the guests: the answer of an HTTP service discovery (`http_sd_configs`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::app::Manifest;
use crate::domain::guest::{Guest, GuestState, InstalledApp};

/// Port of the node exporter.
pub const NODE_EXPORTER_PORT: u16 = 9100;

/// Targets with the same labels, in the form that Prometheus reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TargetGroup {
    /// `address:port`.
    pub targets: Vec<String>,
    /// Labels; `__metrics_path__` is where the metrics are.
    pub labels: BTreeMap<String, String>,
}

/// All targets of the guests: the node exporter of monitored ones, and what their apps offer. Guests without an address,
/// failed ones and those that are only observed are left out. `manifest` finds what is installed.
#[must_use]
pub fn targets<'a>(
    guests: impl IntoIterator<Item = &'a Guest>,
    manifest: &dyn Fn(&InstalledApp) -> Option<&'a Manifest>,
) -> Vec<TargetGroup> {
    let mut groups = Vec::new();
    for guest in guests {
        let Some(address) = guest.address else { continue };
        if !matches!(guest.state, GuestState::Ready | GuestState::Changing) {
            continue;
        }
        let mut add = |port: u16, path: &str, exporter: &str| {
            groups.push(TargetGroup {
                targets: vec![match address {
                    IpAddr::V4(v4) => format!("{v4}:{port}"),
                    IpAddr::V6(v6) => format!("[{v6}]:{port}"),
                }],
                labels: labels(guest, path, exporter),
            });
        };
        if guest.spec.monitored {
            add(NODE_EXPORTER_PORT, "/metrics", "node");
        }
        let installed = guest.app.as_ref();
        for metrics in installed.and_then(manifest).into_iter().flat_map(|m| &m.metrics) {
            add(metrics.port, &metrics.path, "app");
        }
    }
    groups
}

fn labels(guest: &Guest, path: &str, exporter: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("__metrics_path__".to_owned(), path.to_owned()),
        ("exporter".to_owned(), exporter.to_owned()),
        ("guest".to_owned(), guest.name.to_string()),
        ("node".to_owned(), guest.node.to_string()),
        ("vmid".to_owned(), guest.vmid.to_string()),
    ]);
    if let Some(app) = &guest.app {
        labels.insert("app".to_owned(), app.id.to_string());
    }
    labels
}

#[cfg(test)]
mod test {
    use super::super::sample;
    use super::*;
    use crate::domain::app::MetricsPort;

    #[test]
    fn prometheus_gets_the_guests_that_can_be_scraped() {
        let mut manifest = sample::app().manifest;
        manifest.metrics = vec![MetricsPort { port: 3000, path: "/app/metrics".to_owned() }];
        let guest = sample::addressed_guest();
        let v6 = Guest { address: Some("2001:db8::7".parse().unwrap()), ..guest.clone() };
        let silent = Guest { address: None, ..guest.clone() };
        let failed = Guest { state: GuestState::Failed, ..guest.clone() };
        let observed = Guest { state: GuestState::Observed, ..guest.clone() };
        let mut plain = guest.clone();
        plain.spec.monitored = false;
        plain.app = None;
        let all = [guest, v6, silent, failed, observed, plain];
        let found = targets(&all, &|_| Some(&manifest));
        let json = serde_json::to_string_pretty(&found).unwrap() + "\n";
        crate::golden::assert_golden("guest/prometheus.json", &json);
    }
}
