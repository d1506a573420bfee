use proptest::prelude::*;

use super::*;
use crate::domain::host::{Transition, transition};
use crate::domain::id::{HostId, JobId};
use crate::domain::job::{JobStatus, Rebuild, Work};

fn host(state: HostState) -> Host {
    Host { state, ..crate::fakes::sample::host(1) }
}

fn job() -> Job {
    let join = vec![("join.add".parse().unwrap(), "Join".to_owned(), StepClass::Inspect)];
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
        steps: steps(join, Extras::default()),
        failure: None,
        cancel_requested: false,
    }
}

fn finish(job: &mut Job, upto: &str) {
    for s in &mut job.steps {
        if s.id.as_str() == upto {
            return;
        }
        s.status = StepStatus::Succeeded;
    }
}

#[test]
fn steps_run_in_order_and_waits_are_not_run() {
    let mut j = job();
    let h = host(HostState::PxeReady);
    assert_eq!(next(&j, &h, Timestamp(0)), Next::Run("preflight".parse().unwrap()));
    finish(&mut j, step::BOOT);
    let twelve_hours = Timestamp(12 * 3600 * 1000);
    assert_eq!(next(&j, &h, Timestamp(0)), Next::Wait { step: step::BOOT, until: twelve_hours });
    finish(&mut j, "join.add");
    assert_eq!(next(&j, &h, Timestamp(0)), Next::Run("join.add".parse().unwrap()));
    finish(&mut j, "no such step");
    assert_eq!(next(&j, &h, Timestamp(0)), Next::Finished);
}

#[test]
fn a_wait_ends_exactly_at_its_limit_with_a_reason_and_a_hint() {
    let mut j = job();
    finish(&mut j, step::INSTALL);
    let h = host(HostState::Installing);
    let limit = 60 * 60 * 1000;
    assert!(matches!(next(&j, &h, Timestamp(limit - 1)), Next::Wait { .. }));
    let Next::TimedOut { reason, hint, step } = next(&j, &h, Timestamp(limit)) else { panic!() };
    assert_eq!(step, step::INSTALL);
    assert!(reason.contains("60 minutes"), "{reason}");
    assert!(!hint.is_empty());
}

#[test]
fn every_state_that_waits_for_the_machine_has_a_limit() {
    for state in
        [HostState::PxeReady, HostState::PxeBooted, HostState::Installing, HostState::Installed]
    {
        assert!(timeout(state).is_some(), "{state}");
    }
}

#[test]
fn a_host_that_left_the_path_is_noticed() {
    let mut j = job();
    finish(&mut j, step::BOOT);
    assert!(matches!(next(&j, &host(HostState::Ready), Timestamp(0)), Next::Lost(_)));
}

#[test]
fn the_memory_model_fits_what_was_reported() {
    let (iso, initrd) = (1628 << 20, 56 << 20);
    let bios = memory_needed_mib(iso, initrd, Firmware::Bios);
    let uefi = memory_needed_mib(iso, initrd, Firmware::Uefi);
    assert!(
        (5 * 1024 + 512..=6 * 1024).contains(&bios),
        "9.2 boots with 6 GiB on BIOS, not with 5.5: {bios}"
    );
    assert!((7 * 1024..=8 * 1024).contains(&uefi), "9.2 fails with 7 GiB on UEFI: {uefi}");
    let older = memory_needed_mib(1495 << 20, 34 << 20, Firmware::Bios);
    assert!((4 * 1024 + 512..=5 * 1024 + 512).contains(&older), "8.4 boots with 5.5 GiB: {older}");
}

proptest! {
    /// Whatever the machine sends in whatever order, the steps that waited agree with the host's state.
    #[test]
    fn waiting_steps_follow_the_host(events in prop::collection::vec(0usize..4, 0..40)) {
        const MACHINE: [HostEvent; 4] = [
            HostEvent::ScriptFetched, HostEvent::AnswerServed, HostEvent::InstalledReported, HostEvent::PhonedHome,
        ];
        let mut j = job();
        finish(&mut j, step::BOOT);
        let mut h = host(HostState::PxeReady);
        for event in events.into_iter().map(|i| MACHINE[i]) {
            let Ok(Transition::To(to)) = transition(h.state, event) else { continue };
            h.state = to;
            for (id, status) in steps_after(event) {
                let s = j.step_mut(id).unwrap();
                if *status == StepStatus::Skipped && s.status == StepStatus::Succeeded { continue; }
                s.status = *status;
            }
            match (h.state, next(&j, &h, Timestamp(0))) {
                (HostState::PxeReady, Next::Wait { step, .. }) => prop_assert_eq!(step, step::BOOT),
                (HostState::PxeBooted, Next::Wait { step, .. }) => prop_assert_eq!(step, step::ANSWER),
                (HostState::Installing, Next::Wait { step, .. }) => prop_assert_eq!(step, step::INSTALL),
                (HostState::Installed, Next::Wait { step, .. }) => prop_assert_eq!(step, step::FIRST_BOOT),
                (HostState::FirstBoot, Next::Run(step)) => prop_assert_eq!(step.as_str(), "join.add"),
                (state, other) => prop_assert!(false, "{} {:?}", state, other),
            }
        }
    }
}
