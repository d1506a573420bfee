use super::*;
use crate::domain::host::HostState;
use crate::domain::id::JobId;
use crate::domain::job::JobStatus;
use crate::domain::time::Timestamp;

const UUID: &str = "4c4c4544-0042-3010-8054-b5c04f4e5932";
const OTHER_UUID: &str = "4c4c4544-0042-3010-8054-b5c04f4e5933";

fn host() -> Host {
    Host {
        uuid: Some(UUID.parse().unwrap()),
        state: HostState::PxeBooted,
        active_job: Some(JobId(uuid::Uuid::from_u128(2))),
        ..crate::fakes::sample::host(1)
    }
}

fn job() -> Job {
    Job {
        id: JobId(uuid::Uuid::from_u128(2)),
        work: Work::Rebuild(Rebuild {
            host: host().id,
            hostname: host().hostname,
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
        steps: vec![],
        failure: None,
        cancel_requested: false,
    }
}

fn image() -> Release {
    Release {
        product: "pve".into(),
        product_long: "Proxmox VE".into(),
        release: "9.2".into(),
        iso_release: "1".into(),
    }
}

fn facts() -> AnswerRequest {
    AnswerRequest {
        product: "pve".into(),
        release: "9.2".into(),
        iso_release: Some("1".into()),
        macs: vec!["52:54:00:00:00:99".parse().unwrap(), "52:54:00:00:00:01".parse().unwrap()],
        uuid: Some(UUID.parse().unwrap()),
        schema: None,
        inventory: Default::default(),
    }
}

fn rebuild(job: &mut Job) -> &mut Rebuild {
    let Work::Rebuild(rebuild) = &mut job.work else { panic!() };
    rebuild
}

#[test]
fn the_right_machine_of_an_armed_host_gets_its_answer() {
    assert_eq!(may_have_answer(&job(), &host(), &image(), &facts()), Ok(()));
    let mut fresh = host();
    fresh.uuid = None;
    assert_eq!(may_have_answer(&job(), &fresh, &image(), &facts()), Ok(()), "no UUID known yet");
}

/// Rule 1, one broken condition at a time.
#[test]
fn every_single_disagreement_keeps_the_answer_in_the_building() {
    type Break = fn(&mut Job, &mut Host, &mut AnswerRequest);
    let cases: &[(&str, RefusalKind, Break)] = &[
        ("served before", RefusalKind::Conflict, |j, _, _| {
            rebuild(j).answer_served = Some(Timestamp(1))
        }),
        ("job failed", RefusalKind::Forbidden, |j, _, _| j.status = JobStatus::Failed),
        ("job cancelled", RefusalKind::Forbidden, |j, _, _| j.status = JobStatus::Cancelled),
        ("job done", RefusalKind::Forbidden, |j, _, _| j.status = JobStatus::Succeeded),
        ("cancel asked for", RefusalKind::Forbidden, |j, _, _| j.cancel_requested = true),
        ("not armed", RefusalKind::Conflict, |_, h, _| h.state = HostState::Registered),
        ("script not fetched", RefusalKind::Conflict, |_, h, _| h.state = HostState::PxeReady),
        ("installing", RefusalKind::Conflict, |_, h, _| h.state = HostState::Installing),
        ("ready", RefusalKind::Conflict, |_, h, _| h.state = HostState::Ready),
        ("failed", RefusalKind::Conflict, |_, h, _| h.state = HostState::Failed),
        ("another job holds the host", RefusalKind::Forbidden, |_, h, _| {
            h.active_job = Some(JobId(uuid::Uuid::from_u128(3)));
        }),
        ("another host", RefusalKind::Forbidden, |_, h, _| h.id = HostId(uuid::Uuid::from_u128(9))),
        ("wrong product", RefusalKind::Forbidden, |_, _, f| f.product = "pbs".into()),
        ("wrong release", RefusalKind::Conflict, |_, _, f| f.release = "8.4".into()),
        ("wrong build", RefusalKind::Conflict, |_, _, f| f.iso_release = Some("2".into())),
        ("foreign MAC", RefusalKind::Forbidden, |_, _, f| f.macs.truncate(1)),
        ("no MAC", RefusalKind::Forbidden, |_, _, f| f.macs.clear()),
        ("foreign UUID", RefusalKind::Forbidden, |_, _, f| {
            f.uuid = Some(OTHER_UUID.parse().unwrap())
        }),
        ("not the machine that fetched the script", RefusalKind::Forbidden, |_, h, _| {
            h.uuid = None;
            h.inventory.uuid = Some(OTHER_UUID.parse().unwrap());
        }),
        ("UUID withheld", RefusalKind::Forbidden, |_, _, f| f.uuid = None),
    ];
    for (name, kind, break_it) in cases {
        let (mut j, mut h, mut f) = (job(), host(), facts());
        break_it(&mut j, &mut h, &mut f);
        let refused = may_have_answer(&j, &h, &image(), &f).expect_err(name);
        assert_eq!(refused.kind, *kind, "{name}: {refused}");
        assert!(!refused.detail.contains('\n'), "one line for the console: {name}");
    }
}

#[test]
fn the_installer_is_fetched_only_before_the_answer_has_left() {
    for state in HostState::ALL {
        let mut h = host();
        h.state = state;
        assert_eq!(may_fetch_installer(&job(), &h).is_ok(), state.is_armed(), "{state}");
    }
}

#[test]
fn a_machine_with_a_borrowed_mac_is_not_booted() {
    assert!(may_boot(&host(), Some(OTHER_UUID.parse().unwrap())).is_err());
    assert!(may_boot(&host(), Some(UUID.parse().unwrap())).is_ok());
    assert!(may_boot(&host(), None).is_ok(), "the answer decides; iPXE may not know the UUID");
}

#[test]
fn a_callback_needs_its_own_hosts_token() {
    assert!(may_call_back(&job(), host().id).is_ok());
    assert!(may_call_back(&job(), HostId(uuid::Uuid::from_u128(9))).is_err());
    let mut over = job();
    over.status = JobStatus::Succeeded;
    assert!(may_call_back(&over, host().id).is_err());
}
