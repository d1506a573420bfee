use super::*;
use crate::domain::host::{Failure, StaticNetwork};
use crate::domain::inventory::{Disk, Inventory};
use crate::domain::mac::Mac;

fn host(name: &str, state: HostState) -> Host {
    Host {
        hostname: name.parse().unwrap(),
        macs: vec![Mac([0x52, 0x54, 0, 0xaa, 0xbb, 0x01])],
        state,
        address: Some([192, 0, 2, 21].into()),
        inventory: Inventory {
            serial: Some("CZJ0000001".into()),
            product: Some("ProLiant DL360".into()),
            disks: vec![Disk {
                device: "/dev/sda".into(),
                serial: Some("S6B0NX0T1".into()),
                model: None,
                wwn: None,
                is_boot_disk: true,
            }],
            ..Inventory::default()
        },
        ..crate::fakes::sample::host(1)
    }
}

fn known() -> Problems {
    Problems { types: BTreeSet::from(["lab".parse().unwrap()]), nodes: BTreeMap::new() }
}

fn asked(state: &str, server_type: &str, problem: &str, q: &str) -> Asked {
    let [state, server_type, problem, q] = [state, server_type, problem, q].map(str::to_owned);
    Asked { state, server_type, problem, q }
}

fn filter(state: &str, server_type: &str, problem: &str, q: &str) -> Filter {
    Filter::parse(&asked(state, server_type, problem, q)).unwrap()
}

#[test]
fn a_host_is_found_by_name_address_and_serial_in_any_spelling() {
    let mut host = host("rack1-pve07", HostState::Ready);
    host.overrides.network = Some(StaticNetwork {
        cidr: "198.51.100.7/24".into(),
        gateway: [198, 51, 100, 1].into(),
        dns: [198, 51, 100, 1].into(),
    });
    for found in [
        "",
        "  ",
        "rack1",
        "PVE07",
        "52:54:00:aa:bb:01",
        "52-54-00-AA",
        "525400aabb01",
        "czj0000001",
        "s6b0nx0t1",
        "192.0.2.21",
        "198.51.100.7",
        "dl360 rack1",
        "lab",
    ] {
        assert!(filter("", "", "", found).admits(&host, &known()), "{found}");
    }
    for other in ["rack2", "52:54:00:aa:bb:02", "rack1 rack2", "192.0.2.22"] {
        assert!(!filter("", "", "", other).admits(&host, &known()), "{other}");
    }
}

#[test]
fn states_are_wanted_one_by_one_or_all_that_are_under_way() {
    for state in HostState::ALL {
        let host = host("pve1", state);
        assert!(filter("", "", "", "").admits(&host, &known()));
        assert_eq!(filter("busy", "", "", "").admits(&host, &known()), state.is_busy());
        for wanted in HostState::ALL {
            let filter = filter(wanted.as_str(), "", "", "");
            assert_eq!(filter.admits(&host, &known()), state == wanted);
            assert!(filter.admits_in_any_state(&host, &known()));
        }
    }
}

#[test]
fn a_problem_is_a_failure_an_unusable_type_or_an_unusable_node() {
    let wants = filter("", "", "yes", "");
    let good = host("pve1", HostState::Ready);
    assert!(!wants.admits(&good, &known()));
    let mut failed = host("pve2", HostState::Failed);
    assert!(wants.admits(&failed, &known()));
    let reason = "The installer did not report.".to_owned();
    failed.failure = Some(Failure { from: None, reason: reason.clone(), hint: String::new() });
    assert_eq!(known().of(&failed), Some(reason));
    assert!(wants.admits(&good, &Problems::default()), "no type can be used");
    let mut node = known();
    node.nodes.insert(good.id, "its token was revoked".into());
    assert_eq!(node.of(&good).unwrap(), "its node cannot be used: its token was revoked");
}

#[test]
fn a_filter_with_a_typing_error_is_refused_and_never_wants_all() {
    for (wrong, field) in [
        (asked("faild", "", "", ""), "state"),
        (asked("", "La b", "", ""), "type"),
        (asked("", "", "perhaps", ""), "problem"),
    ] {
        let refused = Filter::parse(&wrong).unwrap_err();
        assert_eq!(refused.field, Some(field), "{wrong:?}");
    }
    assert!(Filter::parse(&Asked::default()).unwrap().is_all());
}

#[test]
fn an_address_leads_to_the_same_filter_again() {
    for wanted in [
        filter("", "", "", ""),
        filter("busy", "lab", "yes", "rack 1"),
        filter("pxe_ready", "", "", "a&b=c #1"),
    ] {
        let query = wanted.query();
        let parts: BTreeMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let part = |name: &str| parts.get(name).cloned().unwrap_or_default();
        let read = Asked {
            state: part("state"),
            server_type: part("type"),
            problem: part("problem"),
            q: part("q"),
        };
        assert_eq!(Filter::parse(&read).unwrap(), wanted, "{query}");
    }
    assert_eq!(filter("", "", "", "").query(), "");
    assert_eq!(filter("failed", "lab", "", "x y").in_words(), "failed, of type lab, with “x y”");
}
