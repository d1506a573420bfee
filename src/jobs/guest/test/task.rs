//! A task whose start was not confirmed is told from those that were there before.

use super::Site;
use crate::domain::guest::Guest;
use crate::domain::job::{JobStatus, PowerAction};

async fn power(site: &Site, guest: &Guest, action: PowerAction) {
    let job = site.engine.power_guest(guest.id, action).await.unwrap();
    site.wait(job, JobStatus::Succeeded).await;
}

fn starts(site: &Site) -> usize {
    let all = site.pve.requests();
    all.iter().filter(|r| r.method == "POST" && r.path.ends_with("/status/start")).count()
}

#[tokio::test]
async fn a_lost_answer_is_found_as_its_task_and_no_second_one_is_started() {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    power(&site, &guest, PowerAction::Stop).await;
    site.pve.drop_next("POST", "/status/start");
    power(&site, &guest, PowerAction::Start).await;
    assert!(site.pve.is_running(guest.vmid));
    assert_eq!(starts(&site), 1);
    site.pve.assert_clean();
}

#[tokio::test]
async fn a_task_that_ended_before_the_request_is_not_taken_for_the_one_that_was_lost() {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    power(&site, &guest, PowerAction::Stop).await;
    power(&site, &guest, PowerAction::Start).await;
    power(&site, &guest, PowerAction::Stop).await;
    // Not carried out, and nobody can tell from the answer: the start of some seconds ago is not this one.
    site.pve.answer_next("POST", "/status/start", 596, "Connection timed out");
    power(&site, &guest, PowerAction::Start).await;
    assert!(site.pve.is_running(guest.vmid));
    assert_eq!(starts(&site), 3);
    site.pve.assert_clean();
}
