use proptest::prelude::*;

use super::*;
use crate::domain::host::HostState;
use crate::domain::id::JobId;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::fakes::sample;

fn host(n: u8) -> Host {
    Host { state_since: Timestamp(1_000), ..sample::host(n) }
}

fn disk(value: &str) -> DiskSelection {
    DiskSelection::Property { property: "ID_SERIAL_SHORT".into(), value: value.into() }
}

fn seen(n: u8) -> Reviewed {
    reviewed(&host(n), disk("DISK1"))
}

fn image(sha256: &str) -> Image {
    Image { sha256: sha256.into(), ..sample::image() }
}

fn list(hosts: u8, at_once: u32, stop_after: u32) -> Job {
    let bulk = BulkRebuild {
        image: image("aa").id,
        image_sha256: "aa".into(),
        replace_node: false,
        at_once,
        stop_after,
        confirmed_by: None,
        hosts: (1..=hosts).map(seen).collect(),
    };
    Job {
        id: JobId(uuid::Uuid::from_u128(99)),
        steps: steps(&bulk),
        work: Work::BulkRebuild(bulk),
        status: JobStatus::Running,
        created: Timestamp(0),
        started: None,
        finished: None,
        failure: None,
        cancel_requested: false,
    }
}

fn decide(job: &Job) -> Next {
    let Work::BulkRebuild(bulk) = &job.work else { unreachable!() };
    next(job, bulk)
}

fn set(job: &mut Job, host: HostId, status: StepStatus) {
    job.step_mut(step_of(host).as_str()).unwrap().status = status;
}

/// What the shell does in the write that begins a rebuild.
fn begin(job: &mut Job, host: HostId) {
    set(job, host, StepStatus::Running);
    let Work::BulkRebuild(bulk) = &mut job.work else { unreachable!() };
    let reviewed = bulk.hosts.iter_mut().find(|r| r.host == host).unwrap();
    reviewed.job = Some(JobId(uuid::Uuid::from_u128(7)));
}

fn running(job: &Job) -> Vec<HostId> {
    let Work::BulkRebuild(bulk) = &job.work else { unreachable!() };
    let is_running = |id: HostId| {
        job.step(step_of(id).as_str()).is_some_and(|s| s.status == StepStatus::Running)
    };
    bulk.hosts.iter().map(|r| r.host).filter(|id| is_running(*id)).collect()
}

/// Plays a list to its end; `ends` tells how the rebuilds end, one after the other. Returns who was begun, in order.
fn play(job: &mut Job, mut ends: impl FnMut(&mut Job) -> Option<JobStatus>) -> Vec<HostId> {
    let mut begun = Vec::new();
    for _ in 0..10_000 {
        match decide(job) {
            Next::Begin(host) => {
                assert!(may_begin(job, host).is_ok());
                begin(job, host);
                begun.push(host);
            }
            Next::LeaveOut(why) => {
                assert!(!why.is_empty());
                for step in job.steps.iter_mut().filter(|s| s.status == StepStatus::Pending) {
                    step.status = StepStatus::Skipped;
                }
            }
            Next::Wait => {
                let Some(status) = ends(job) else { continue };
                let first = *running(job).first().expect("it waits for nobody");
                let rebuild = Job { status, steps: Vec::new(), ..job.clone() };
                set(job, first, ended(&rebuild).0);
            }
            Next::Over(status, failure) => {
                (job.status, job.failure) = (status, failure);
                return begun;
            }
        }
    }
    panic!("the list has no end: {job:#?}");
}

#[test]
fn hosts_are_begun_in_the_order_of_the_list_and_not_more_than_the_limit_at_a_time() {
    let mut job = list(10, 3, 1);
    let begun = play(&mut job, |job| {
        assert!(running(job).len() <= 3);
        Some(JobStatus::Succeeded)
    });
    assert_eq!(begun, (1..=10).map(|n| host(n).id).collect::<Vec<_>>());
    assert_eq!((job.status, job.failure), (JobStatus::Succeeded, None));
}

#[test]
fn after_so_many_failures_nothing_more_begins() {
    let mut job = list(10, 2, 2);
    let mut count = 0;
    let begun = play(&mut job, |_| {
        count += 1;
        Some(if count == 1 { JobStatus::Succeeded } else { JobStatus::Failed })
    });
    // Two run, one becomes ready, a third begins; one fails, a fourth begins; the next failure is the second.
    assert_eq!(begun.len(), 4);
    assert_eq!(job.status, JobStatus::Failed);
    let told = job.failure.unwrap().reason;
    assert_eq!(
        told,
        "1 of 10 hosts are ready, 3 did not become ready, 6 were left out and not touched"
    );
}

#[test]
fn a_stop_leaves_out_what_waits_and_sees_the_others_to_their_end() {
    let mut job = list(6, 2, 1);
    let begun = play(&mut job, |job| {
        job.cancel_requested = true;
        // The next decision leaves out those that wait; what runs goes on.
        Some(JobStatus::Succeeded)
    });
    assert_eq!(begun.len(), 2);
    assert_eq!(job.status, JobStatus::Cancelled);
    let tally = Tally::of(&job);
    assert_eq!((tally.ready, tally.left_out, tally.failed), (2, 4, 0));
}

#[test]
fn what_is_not_on_the_list_or_had_its_turn_never_begins() {
    let mut job = list(3, 2, 1);
    assert!(may_begin(&job, host(4).id).unwrap_err().contains("not on the list"));
    begin(&mut job, host(1).id);
    assert!(may_begin(&job, host(1).id).unwrap_err().contains("had its turn"));
    // Not even when its step is made to wait again: the rebuild is noted with the host.
    set(&mut job, host(1).id, StepStatus::Pending);
    assert!(may_begin(&job, host(1).id).unwrap_err().contains("had its turn"));
    set(&mut job, host(1).id, StepStatus::Running);
    begin(&mut job, host(2).id);
    assert!(may_begin(&job, host(3).id).unwrap_err().contains("2 rebuilds run already"));
    set(&mut job, host(1).id, StepStatus::Failed);
    assert!(may_begin(&job, host(3).id).unwrap_err().contains("failed"));
    let mut stopped = list(3, 2, 1);
    stopped.cancel_requested = true;
    assert!(may_begin(&stopped, host(1).id).is_err());
    let mut over = list(3, 2, 1);
    over.status = JobStatus::Failed;
    assert!(may_begin(&over, host(1).id).is_err());
    let other = Work::Catalog(crate::domain::job::CatalogWork { source: "own".into() });
    assert!(may_begin(&Job { work: other, ..list(3, 2, 1) }, host(1).id).is_err());
}

#[test]
fn a_host_that_is_different_in_anything_is_left_out() {
    let same = host(1);
    assert_eq!(changed(&seen(1), &same, &disk("DISK1")), None);
    let differs = |what: &str, with: &dyn Fn(&mut Host)| {
        let mut host = host(1);
        with(&mut host);
        let told = changed(&seen(1), &host, &disk("DISK1")).unwrap_or_else(|| panic!("{what}"));
        assert!(told.contains(what), "{told}");
    };
    differs("name", &|h| h.hostname = "pve9".parse().unwrap());
    differs("MAC", &|h| h.macs.push(Mac([2; 6])));
    differs("UUID", &|h| h.uuid = "4c4c4544-0042-3010-8054-b5c04f4e5901".parse().ok());
    differs("server type", &|h| h.server_type = "other".parse().unwrap());
    differs("disk", &|h| h.overrides.boot_disk = Some(disk("DISK2")));
    differs("membership", &|h| h.is_member = true);
    differs("state", &|h| h.state = HostState::Ready);
    // Rebuilt in between, and registered again.
    differs("state", &|h| h.state_since = Timestamp(2_000));
    assert!(changed(&seen(1), &same, &disk("DISK2")).unwrap().contains("disk"));
}

#[test]
fn the_phrase_tells_how_many_machines_and_how_many_nodes() {
    let member = |n| Reviewed { is_member: true, ..seen(n) };
    assert_eq!(phrase(&[seen(1)]), "erase 1 machine");
    assert_eq!(phrase(&[seen(1), seen(2)]), "erase 2 machines");
    assert_eq!(phrase(&[seen(1), member(2)]), "erase 2 machines, 1 node of the cluster");
    assert_eq!(phrase(&[member(1), member(2)]), "erase 2 machines, 2 nodes of the cluster");
    let hosts = [seen(1), seen(2)];
    assert!(is_confirmed(&hosts, " Erase  2 machines\n"));
    for wrong in ["", "erase", "erase 1 machine", "erase 22 machines", "2", "yes"] {
        assert!(!is_confirmed(&hosts, wrong), "{wrong}");
    }
    assert!(!is_confirmed(&[], "erase 0 machines"));
}

#[test]
fn another_list_has_another_seal() {
    let hosts = [seen(1), seen(2)];
    let first = seal(&hosts, &image("aa"), false);
    assert_eq!(first, seal(&hosts, &image("aa"), false));
    let mut all = vec![first, seal(&hosts, &image("bb"), false), seal(&hosts, &image("aa"), true)];
    all.push(seal(&hosts[..1], &image("aa"), false));
    all.push(seal(&[seen(2), seen(1)], &image("aa"), false));
    for with in [
        |r: &mut Reviewed| r.disk = disk("DISK2"),
        |r: &mut Reviewed| r.macs.push(Mac([2; 6])),
        |r: &mut Reviewed| r.is_member = true,
        |r: &mut Reviewed| r.since = Timestamp(2_000),
    ] {
        let mut hosts = hosts.clone();
        with(&mut hosts[1]);
        all.push(seal(&hosts, &image("aa"), false));
    }
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

proptest! {
    /// Whatever happens to rebuilds, hosts and operator, in whatever order.
    #[test]
    fn no_order_of_events_begins_too_many_or_one_twice(
        hosts in 1u8..20,
        at_once in 0u32..6,
        stop_after in 0u32..5,
        events in prop::collection::vec(0u8..8, 0..200),
    ) {
        let mut job = list(hosts, at_once, stop_after);
        let mut events = events.into_iter();
        let mut begun = Vec::new();
        let most = at_once.max(1) as usize;
        loop {
            match decide(&job) {
                Next::Begin(host) => {
                    prop_assert!(!job.cancel_requested);
                    prop_assert!(Tally::of(&job).failed < stop_after.max(1) as usize);
                    prop_assert!(!begun.contains(&host), "twice");
                    prop_assert!(may_begin(&job, host).is_ok());
                    match events.next() {
                        // A check at its turn says no.
                        Some(0) => set(&mut job, host, StepStatus::Skipped),
                        _ => {
                            begin(&mut job, host);
                            begun.push(host);
                        }
                    }
                    prop_assert!(running(&job).len() <= most);
                }
                Next::LeaveOut(_) => {
                    for step in job.steps.iter_mut().filter(|s| s.status == StepStatus::Pending) {
                        step.status = StepStatus::Skipped;
                    }
                }
                Next::Wait => {
                    prop_assert!(!running(&job).is_empty());
                    let at = running(&job);
                    match events.next() {
                        Some(1) => job.cancel_requested = true,
                        Some(2 | 3) => set(&mut job, at[at.len() - 1], StepStatus::Failed),
                        // A restart: the same records, the same decision.
                        Some(4) => prop_assert_eq!(decide(&job.clone()), Next::Wait),
                        _ => set(&mut job, at[0], StepStatus::Succeeded),
                    }
                }
                Next::Over(status, failure) => {
                    prop_assert!(status.is_terminal());
                    let tally = Tally::of(&job);
                    prop_assert_eq!(tally.waiting + tally.running, 0);
                    prop_assert_eq!(failure.is_none(), tally.ready == usize::from(hosts));
                    break;
                }
            }
        }
    }
}

#[test]
fn a_node_whose_app_failed_is_ready_and_stops_nothing() {
    let mut job = list(1, 1, 1);
    job.status = JobStatus::Failed;
    job.failure =
        Some(Failure { from: None, reason: "its app failed".to_owned(), hint: String::new() });
    job.steps = vec![Step::pending(
        crate::plan::rebuild::step::REPORT.parse().unwrap(),
        "Report".to_owned(),
        StepClass::Wait,
    )];
    assert_eq!(ended(&job), (StepStatus::Failed, "its app failed".to_owned()));
    job.steps[0].status = StepStatus::Succeeded;
    assert_eq!(ended(&job), (StepStatus::Succeeded, "its app failed".to_owned()));
}
