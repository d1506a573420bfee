//! Guests in the words of pages. Pure.

use super::{duration, size};
use crate::domain::guest::{Guest, GuestSpec, GuestState, Ipv4Config, RestoreKind, RestorePoint};
use crate::web::Vitals;

/// A state in words.
pub(crate) fn state_label(state: GuestState) -> &'static str {
    match state {
        GuestState::Observed => "Observed",
        GuestState::Installing => "Installing",
        GuestState::Ready => "Ready",
        GuestState::Changing => "Changing",
        GuestState::Failed => "Failed",
        GuestState::Removing => "Removing",
    }
}

/// What a state means, for somebody who sees it for the first time.
pub(crate) fn state_meaning(state: GuestState) -> &'static str {
    match state {
        GuestState::Observed => "Seen only; nothing about it is changed before its adoption",
        GuestState::Installing => "Is being made",
        GuestState::Ready => "Made and verified",
        GuestState::Changing => "Is being changed",
        GuestState::Failed => "Stopped by an error; the reason is on this page",
        GuestState::Removing => "Is being taken away",
    }
}

/// The state's family, which chooses its colour.
pub(crate) fn state_tone(state: GuestState) -> &'static str {
    match state {
        GuestState::Observed => "idle",
        GuestState::Ready => "good",
        GuestState::Failed => "bad",
        GuestState::Installing | GuestState::Changing | GuestState::Removing => "busy",
    }
}

/// What a guest is made of, by name.
pub(crate) fn facts(guest: &Guest) -> Vec<(&'static str, String)> {
    let GuestSpec { network, .. } = &guest.spec;
    let spec = &guest.spec;
    let address = match &network.ipv4 {
        Ipv4Config::Dhcp => "DHCP".to_owned(),
        Ipv4Config::Static { address, prefix, gateway } => {
            let gateway = gateway.map(|g| format!(", gateway {g}")).unwrap_or_default();
            format!("{address}/{prefix}{gateway}")
        }
    };
    let vlan = network.vlan.map(|v| format!(", VLAN {v}")).unwrap_or_default();
    let features: Vec<&str> = spec.features.iter().map(|f| f.as_str()).collect();
    let volume = |v: &crate::domain::guest::Volume| {
        let backup = if v.backup { "" } else { ", not in backups" };
        format!("{} ({} GiB{backup})", v.path, v.size_gb)
    };
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    [
        ("Node", guest.node.to_string()),
        ("Number", guest.vmid.to_string()),
        ("Storage", spec.storage.to_string()),
        ("Cores", spec.cores.to_string()),
        ("Memory", size(u64::from(spec.memory_mb) << 20)),
        ("Swap", size(u64::from(spec.swap_mb) << 20)),
        ("Root disk", format!("{} GiB", spec.disk_gb)),
        ("Volumes", spec.volumes.iter().map(volume).collect::<Vec<_>>().join(", ")),
        ("Network", format!("{}{vlan}, {address}", network.bridge)),
        ("Unprivileged", yes(spec.unprivileged)),
        ("Features", features.join(", ")),
        ("Starts with its node", yes(spec.onboot)),
        ("Monitored", yes(spec.monitored)),
        ("OS template", spec.ostemplate.clone().unwrap_or_default()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

/// What a restore point is, in a few words.
pub(crate) fn restore_point(point: &RestorePoint) -> String {
    let kind = match &point.kind {
        RestoreKind::Snapshot { name } => format!("snapshot {name}"),
        RestoreKind::Backup { volid } => format!("backup {volid}"),
    };
    format!("before {}: {kind}", point.before)
}

/// One measured value with its share for a bar.
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    /// 0 to 100; `None`: no bar.
    pub(crate) percent: Option<u64>,
}

fn share(part: u64, whole: u64) -> u64 {
    let percent = u128::from(part) * 100 / u128::from(whole.max(1));
    u64::try_from(percent).unwrap_or(100).min(100)
}

/// How a guest is, as gauges.
pub(crate) fn gauges(vitals: &Vitals) -> Vec<Gauge> {
    let tenths = (vitals.cpu.clamp(0.0, 1.0) * 1000.0).round();
    let uptime = std::time::Duration::from_secs(vitals.uptime);
    let of = |part, whole| format!("{} of {}", size(part), size(whole));
    let gauge = |name, text, percent| Gauge { name, text, percent };
    vec![
        gauge(
            "Processor",
            format!("{} %", tenths / 10.0),
            Some(share(format!("{tenths}").parse().unwrap_or(0), 1000)),
        ),
        gauge(
            "Memory",
            of(vitals.memory, vitals.memory_max),
            Some(share(vitals.memory, vitals.memory_max)),
        ),
        gauge(
            "Root disk",
            of(vitals.disk, vitals.disk_max),
            Some(share(vitals.disk, vitals.disk_max)),
        ),
        gauge(
            "Network",
            format!("{} received, {} sent", size(vitals.network_in), size(vitals.network_out)),
            None,
        ),
        gauge("Running for", duration(uptime), None),
    ]
}

/// How it runs in one word, and that word's family.
pub(crate) fn power_tone(status: &str) -> &'static str {
    match status {
        "running" => "good",
        "stopped" => "idle",
        _ => "busy",
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn shares_stay_between_nothing_and_all() {
        assert_eq!((share(0, 0), share(5, 0), share(1, 3), share(9, 3)), (0, 100, 33, 100));
        assert_eq!(share(u64::MAX, u64::MAX), 100);
    }

    #[test]
    fn a_processor_that_cannot_be_read_is_no_load() {
        let vitals = Vitals {
            status: "running".into(),
            cpu: f64::NAN,
            memory: 1,
            memory_max: 2,
            disk: 0,
            disk_max: 0,
            network_in: 0,
            network_out: 0,
            uptime: 61,
            addresses: vec![],
            console: String::new(),
            problem: String::new(),
        };
        let shown = gauges(&vitals);
        assert_eq!(shown[0].percent, Some(0));
        assert_eq!(shown[4].text, "1 min 01 s");
    }

    #[test]
    fn facts_leave_out_what_is_not_there() {
        let facts = facts(&crate::domain::guest::sample::guest(101));
        assert!(facts.contains(&("Network", "vmbr0, DHCP".to_owned())), "{facts:?}");
        assert!(!facts.iter().any(|(name, _)| *name == "Volumes"));
    }
}
