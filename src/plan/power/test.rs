use super::*;
use crate::domain::host::{Failure, StaticNetwork};
use crate::domain::id::{HostId, JobId};
use crate::domain::job::{Rebuild, Step, StepClass};
use crate::domain::power::{Ipmi, Redfish, WakeOnLan};
use crate::domain::time::Timestamp;

fn redfish() -> Method {
    Method::Redfish(Redfish {
        address: "192.0.2.60:443".parse().unwrap(),
        user: "admin".into(),
        fingerprint: None,
        system: None,
        mode: BootMode::Keep,
    })
}

fn ipmi() -> Method {
    Method::Ipmi(Ipmi {
        address: "192.0.2.61".parse().unwrap(),
        port: 623,
        user: "admin".into(),
        mode: BootMode::Keep,
    })
}

fn host(state: HostState, method: Method) -> Host {
    Host { state, power: Power { method, boot_on_rebuild: None }, ..crate::fakes::sample::host(1) }
}

#[test]
fn a_node_and_a_machine_that_installs_lose_their_power_only_by_their_typed_name() {
    for state in HostState::ALL {
        for action in [Action::Shutdown, Action::Off, Action::Cycle] {
            let mut host = host(state, redfish());
            let needs = state.has_installed_system() || state == HostState::Failed;
            let plain = permit(&host, action, "");
            assert_eq!(plain.is_err(), needs, "{state} {action:?}");
            if let Err(refusal) = plain {
                assert_eq!(refusal.field, Some("power_confirm"));
            }
            assert!(permit(&host, action, " pve1 ").is_ok());
            assert_eq!(permit(&host, action, "pve2").is_err(), needs);
            // Off or on its way to a rebuild: it is a member until its answer has left.
            host.is_member = true;
            assert!(permit(&host, action, "").is_err(), "{state} {action:?}");
        }
        assert!(permit(&host(state, redfish()), Action::On, "").is_ok());
    }
}

#[test]
fn a_rebuild_that_failed_late_may_have_made_a_node() {
    for from in HostState::ALL {
        let mut failed = host(HostState::Failed, redfish());
        failed.failure =
            Some(Failure { from: Some(from), reason: "x".into(), hint: String::new() });
        let early =
            [HostState::Registered, HostState::PxeReady, HostState::PxeBooted].contains(&from);
        assert_eq!(permit(&failed, Action::Off, "").is_ok(), early, "{from}");
        assert!(permit(&failed, Action::Off, "pve1").is_ok());
    }
}

#[test]
fn two_hosts_do_not_share_what_switches_one_machine() {
    let (one, Method::Redfish(mut other)) = (redfish(), redfish()) else { panic!("redfish") };
    assert!(is_same_machine(&one, &one) && is_same_machine(&ipmi(), &ipmi()));
    other.system = Some("blade-2".into());
    assert!(!is_same_machine(&one, &Method::Redfish(other)));
    let wake = Method::WakeOnLan(WakeOnLan::default());
    assert!(!is_same_machine(&wake, &wake) && !is_same_machine(&Method::None, &Method::None));
    assert!(!is_same_machine(&one, &ipmi()));
}

#[test]
fn methods_do_what_they_can() {
    let none = host(HostState::Registered, Method::None);
    let wake = host(HostState::Registered, Method::WakeOnLan(WakeOnLan::default()));
    for action in Action::ALL {
        assert!(permit(&none, action, "pve1").is_err());
        assert_eq!(permit(&wake, action, "pve1").is_ok(), action == Action::On, "{action:?}");
    }
}

#[test]
fn a_rebuild_switches_only_a_machine_that_has_not_begun() {
    let table = [
        (HostState::PxeReady, PowerState::Off, Some(Action::On)),
        (HostState::PxeReady, PowerState::On, Some(Action::Cycle)),
        (HostState::PxeReady, PowerState::Unknown, Some(Action::Cycle)),
        (HostState::PxeReady, PowerState::PoweringOff, Some(Action::Cycle)),
        (HostState::PxeBooted, PowerState::On, None),
        (HostState::Installing, PowerState::On, None),
        (HostState::Installed, PowerState::Off, None),
        (HostState::FirstBoot, PowerState::On, None),
        (HostState::Joining, PowerState::On, None),
        (HostState::Ready, PowerState::Off, None),
        (HostState::Registered, PowerState::Off, None),
        (HostState::Failed, PowerState::On, None),
    ];
    for (state, power, expected) in table {
        let decided = for_rebuild(&host(state, ipmi()), power);
        match expected {
            Some(action) => assert_eq!(decided, Boot::Do(action), "{state} {power:?}"),
            None => assert!(matches!(decided, Boot::Leave(_)), "{state} {power:?}"),
        }
    }
    let wake = host(HostState::PxeReady, Method::WakeOnLan(WakeOnLan::default()));
    assert_eq!(for_rebuild(&wake, PowerState::Unknown), Boot::Do(Action::On));
}

#[test]
fn the_host_goes_over_its_server_type() {
    let mut server_type = None;
    let mut machine = host(HostState::Registered, redfish());
    assert!(!boots_by_itself(&machine, server_type));
    let text = "boot_disk = \"per-host\"\nboot_on_rebuild = true\n";
    let parsed = crate::config::server_type::parse(std::path::Path::new("lab.toml"), text).unwrap();
    server_type = Some(&parsed);
    assert!(boots_by_itself(&machine, server_type));
    machine.power.boot_on_rebuild = Some(false);
    assert!(!boots_by_itself(&machine, server_type));
    machine.power = Power { method: Method::None, boot_on_rebuild: Some(true) };
    assert!(!boots_by_itself(&machine, server_type));
}

#[test]
fn ipmi_names_uefi_unless_the_machine_was_seen_otherwise() {
    assert!(ipmi_efi(BootMode::Keep, None) && ipmi_efi(BootMode::Keep, Some(Firmware::Uefi)));
    assert!(!ipmi_efi(BootMode::Keep, Some(Firmware::Bios)));
    assert!(ipmi_efi(BootMode::Uefi, Some(Firmware::Bios)));
    assert!(!ipmi_efi(BootMode::Legacy, Some(Firmware::Uefi)));
}

#[test]
fn magic_packets_go_to_every_segment_that_is_known() {
    let own = "192.0.2.0/24".parse().ok();
    let mut machine = host(HostState::Registered, Method::None);
    assert_eq!(wake_targets(own, &machine, None), [Ipv4Addr::new(192, 0, 2, 255)]);
    assert_eq!(wake_targets(None, &machine, None), [Ipv4Addr::BROADCAST]);
    let network = |cidr: &str| StaticNetwork {
        cidr: cidr.into(),
        gateway: Ipv4Addr::new(198, 51, 100, 1),
        dns: Ipv4Addr::new(198, 51, 100, 1),
    };
    machine.overrides.network = Some(network("198.51.100.21/25"));
    let far = Ipv4Addr::new(198, 51, 100, 127);
    let named = Ipv4Addr::new(203, 0, 113, 255);
    assert_eq!(
        wake_targets(own, &machine, Some(named)),
        [Ipv4Addr::new(192, 0, 2, 255), far, named]
    );
    assert_eq!(wake_targets(own, &machine, Some(far)).len(), 2);
    machine.overrides.network = Some(network("192.0.2.21/24"));
    assert_eq!(wake_targets(own, &machine, None).len(), 1);
}

#[test]
fn settings_that_cannot_work_are_refused_beside_their_field() {
    let with = |method| check(&Power { method, boot_on_rebuild: None });
    assert!(with(Method::None).is_ok() && with(redfish()).is_ok() && with(ipmi()).is_ok());
    let spoiled = |field: &str, method| {
        assert_eq!(with(method).unwrap_err().field, Some(field));
    };
    for directed in [[0, 0, 0, 0], [127, 255, 255, 255], [224, 0, 0, 1]] {
        spoiled(
            "power_directed",
            Method::WakeOnLan(WakeOnLan { mac: None, directed: Some(directed.into()) }),
        );
    }
    for user in ["", "a b", "a:b", "müller", &"x".repeat(65)] {
        let Method::Redfish(mut r) = redfish() else { panic!() };
        r.user = user.to_owned();
        spoiled("power_user", Method::Redfish(r));
    }
    let Method::Ipmi(mut long) = ipmi() else { panic!() };
    long.user = "x".repeat(17);
    spoiled("power_user", Method::Ipmi(long.clone()));
    long.port = 0;
    spoiled("power_address", Method::Ipmi(long));
}

#[test]
fn passwords_that_cannot_be_sent_are_refused_without_repeating_them() {
    let refused =
        |method: &Method, text: &str| check_password(method, &Secret::new(text.to_owned())).err();
    let wake = Method::WakeOnLan(WakeOnLan::default());
    assert!(refused(&ipmi(), "S3cret").is_none() && refused(&wake, "00:11:22:33:44:55").is_none());
    for (method, bad) in [
        (ipmi(), "S3cret-S3cret-S3cret-"),
        (redfish(), "S3cret\n"),
        (redfish(), ""),
        (wake, "S3cret"),
    ] {
        let refusal = refused(&method, bad).unwrap();
        assert!(!refusal.to_string().contains("S3cret"), "{refusal}");
    }
}

fn job(power: Option<StepStatus>) -> Job {
    let mut steps = vec![Step::pending("boot".parse().unwrap(), "Boot".into(), StepClass::Wait)];
    if let Some(status) = power {
        let mut step =
            Step::pending(step::POWER.parse().unwrap(), "Power".into(), StepClass::Inspect);
        (step.status, step.detail) = (status, "It could not be booted.".into());
        steps.insert(0, step);
    }
    Job {
        id: JobId(uuid::Uuid::from_u128(2)),
        work: Work::Rebuild(Rebuild {
            host: HostId(uuid::Uuid::from_u128(1)),
            hostname: "pve1".parse().unwrap(),
            image: "proxmox-ve-9.2-1".parse().unwrap(),
            disk: None,
            replace_node: false,
            token_hash: None,
            public_key: None,
            answer_served: None,
            join_started: false,
            part_of: None,
        }),
        status: JobStatus::Running,
        created: Timestamp(0),
        started: None,
        finished: None,
        steps,
        failure: None,
        cancel_requested: false,
    }
}

#[test]
fn a_hand_is_asked_for_exactly_while_nothing_else_boots_the_machine() {
    let waits = |method| host(HostState::PxeReady, method);
    let title = |host: &Host, job: &Job| prompt(host, job).map(|p| p.title).unwrap_or_default();
    assert!(title(&waits(Method::None), &job(None)).contains("Turn it on now"));
    assert!(title(&waits(redfish()), &job(None)).contains("Turn it on now"));
    assert_eq!(title(&waits(redfish()), &job(Some(StepStatus::Pending))), "");
    assert_eq!(title(&waits(redfish()), &job(Some(StepStatus::Running))), "");
    assert_eq!(title(&waits(redfish()), &job(Some(StepStatus::Succeeded))), "");
    let failed = prompt(&waits(redfish()), &job(Some(StepStatus::Skipped))).unwrap();
    assert!(failed.text.contains("could not be booted"), "{failed:?}");
    let wake = waits(Method::WakeOnLan(WakeOnLan::default()));
    assert!(title(&wake, &job(Some(StepStatus::Succeeded))).contains("wake up"));
    for state in HostState::ALL.into_iter().filter(|s| *s != HostState::PxeReady) {
        assert_eq!(prompt(&host(state, Method::None), &job(None)), None, "{state}");
    }
    let mut over = job(None);
    over.status = JobStatus::Cancelled;
    assert_eq!(prompt(&waits(Method::None), &over), None);
}
