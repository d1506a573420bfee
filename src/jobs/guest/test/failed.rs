//! A step that failed for good is over, also for a daemon that died before the job was.

use super::Site;
use crate::domain::guest::GuestState;
use crate::domain::host::Failure;
use crate::domain::job::{GuestTask, Job, JobStatus, PowerAction, StepClass, StepStatus};
use crate::domain::time::Timestamp;
use crate::plan::guest::steps;

#[tokio::test]
async fn a_step_that_failed_for_good_is_not_run_again_after_a_restart() {
    let site = Site::start().await;
    let mut guest = site.adopted(200).await;
    let task = GuestTask::Power { action: PowerAction::Stop };
    let mut planned = steps::steps(&task);
    let place = planned.iter().position(|step| step.class != StepClass::Pure).unwrap();
    let (failed, before) = planned[..=place].split_last_mut().unwrap();
    before.iter_mut().for_each(|step| step.status = StepStatus::Succeeded);
    (failed.status, failed.attempts) = (StepStatus::Failed, 1);
    let failure =
        Failure { from: None, reason: "the cluster said no".to_owned(), hint: "ask it".to_owned() };
    let job = Job {
        started: Some(Timestamp(0)),
        steps: planned,
        failure: Some(failure.clone()),
        ..super::job(9, &guest, task, JobStatus::Running)
    };
    let id = job.id;
    guest.active_job = Some(id);
    let saved = guest.clone();
    site.write(move |tx| {
        tx.save_job(&job)?;
        Ok(tx.save_guest(&saved, "stopping")?)
    })
    .await;
    tokio::spawn(site.engine.clone().run());
    let job = site.wait(id, JobStatus::Failed).await;
    assert_eq!(job.failure, Some(failure));
    assert_eq!(job.steps[place].attempts, 1);
    assert!(site.pve.is_running(guest.vmid), "it was stopped all the same");
    let after = site.guest(guest.id).await;
    assert_eq!((after.active_job, after.state), (None, GuestState::Ready));
}
