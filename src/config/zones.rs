//! The time zones of this machine's zone.tab: the same list that the installer checks against.

use std::collections::BTreeSet;
use std::path::Path;

/// Where Debian's tzdata keeps the list.
pub const ZONE_TAB: &str = "/usr/share/zoneinfo/zone.tab";

/// Zones of a zone.tab file; `None` when this machine has none, then only the form of a zone can be checked.
#[must_use]
pub fn load(path: &Path) -> Option<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).ok()?;
    let zones: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('\t').nth(2))
        .map(|zone| zone.trim().to_owned())
        .collect();
    (!zones.is_empty()).then_some(zones)
}
