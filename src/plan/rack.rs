//! Machines in the order in which they stand: by the part of their names before the number, as racks and rows are named,
//! and by that number inside. Hosts whose names are alone with their beginning stand together by server type.

use std::collections::BTreeMap;

use crate::domain::host::Host;

/// Machines that stand together.
#[derive(Debug, PartialEq)]
pub struct Row<'a> {
    /// The beginning of their names, or their server type.
    pub name: String,
    /// What each is called inside of the row, and the host.
    pub hosts: Vec<(&'a str, &'a Host)>,
}

/// A name as its beginning and its number; a name without a number at its end is all beginning.
#[must_use]
pub fn split(name: &str) -> (&str, &str) {
    name.split_at(name.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

/// All hosts in rows.
#[must_use]
pub fn rows<'a>(hosts: &[&'a Host]) -> Vec<Row<'a>> {
    let mut rows: BTreeMap<String, Vec<(&'a str, &'a Host)>> = BTreeMap::new();
    for host in hosts {
        let name = host.hostname.as_str();
        let (beginning, number) = split(name);
        let row = if number.is_empty() { name } else { beginning };
        let label = if number.is_empty() { name } else { number };
        rows.entry(row.to_owned()).or_default().push((label, host));
    }
    let mut singles: BTreeMap<String, Vec<(&'a str, &'a Host)>> = BTreeMap::new();
    rows.retain(|_, row| match row.as_slice() {
        [(_, host)] => {
            let name = host.hostname.as_str();
            singles.entry(host.server_type.to_string()).or_default().push((name, host));
            false
        }
        _ => true,
    });
    // A name without a number can be the beginning of others: `pve` beside `pve1`.
    let ordered = |name: String, mut hosts: Vec<(&'a str, &'a Host)>| {
        hosts.sort_by(|(a, first), (b, second)| {
            let number = |label: &str| label.parse::<u64>().ok();
            let length = |label: &str| label.len();
            (number(a), length(a), &first.hostname).cmp(&(number(b), length(b), &second.hostname))
        });
        Row { name, hosts }
    };
    rows.into_iter().chain(singles).map(|(name, hosts)| ordered(name, hosts)).collect()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::host::HostState;
    use crate::domain::id::HostId;
    use crate::domain::mac::Mac;
    use crate::domain::time::Timestamp;

    fn host(name: &str, server_type: &str) -> Host {
        Host {
            id: HostId(uuid::Uuid::from_u128(1)),
            hostname: name.parse().unwrap(),
            macs: vec![Mac([2; 6])],
            uuid: None,
            server_type: server_type.parse().unwrap(),
            overrides: Default::default(),
            state: HostState::Ready,
            state_since: Timestamp(0),
            failure: None,
            active_job: None,
            address: None,
            is_member: false,
            ssh_host_keys: vec![],
            inventory: Default::default(),
            boot: Default::default(),
            power: Default::default(),
            created: Timestamp(0),
        }
    }

    #[test]
    fn machines_stand_by_the_beginning_of_their_names_and_by_number() {
        let names = [
            "rack1-pve10",
            "rack1-pve2",
            "rack1-pve1",
            "rack2-pve1",
            "rack2-pve2",
            "alpha",
            "beta",
            "node7",
            "pve",
            "pve1",
            "pve003",
        ];
        let hosts: Vec<Host> =
            names.iter().map(|n| host(n, if *n == "beta" { "gpu" } else { "lab" })).collect();
        let all: Vec<&Host> = hosts.iter().collect();
        let told: Vec<(String, Vec<&str>)> = rows(&all)
            .into_iter()
            .map(|row| (row.name, row.hosts.into_iter().map(|(label, _)| label).collect()))
            .collect();
        let row = |name: &str, labels: &[&'static str]| (name.to_owned(), labels.to_vec());
        assert_eq!(
            told,
            [
                row("pve", &["pve", "1", "003"]),
                row("rack1-pve", &["1", "2", "10"]),
                row("rack2-pve", &["1", "2"]),
                row("gpu", &["beta"]),
                row("lab", &["alpha", "node7"]),
            ]
        );
    }

    #[test]
    fn every_host_stands_in_exactly_one_place() {
        let hosts: Vec<Host> = (0..1000).map(|n| host(&format!("r{}n{n}", n % 7), "lab")).collect();
        let all: Vec<&Host> = hosts.iter().collect();
        let found: usize = rows(&all).iter().map(|row| row.hosts.len()).sum();
        assert_eq!(found, 1000);
    }
}
