//! A change of resources.

use super::Site;
use crate::domain::form::Submitted;
use crate::domain::job::JobStatus;
use crate::domain::refusal::Refusal;
use crate::store::JobReads as _;

#[tokio::test]
async fn what_an_operator_should_know_of_a_change_is_in_its_log() {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    let mut form = Submitted::default();
    form.set("memory_mb", "256");
    let job = site.engine.reconfigure(guest.id, &form).await.unwrap();
    site.wait(job, JobStatus::Succeeded).await;
    assert_eq!(site.pve.config("pve1", guest.vmid).unwrap().get("memory"), Some("256"));
    let read = site.engine.store().read::<_, Refusal, _>(move |r| Ok(r.job_log(job, 0, 100)?));
    let lines = read.await.unwrap();
    assert!(lines.iter().any(|l| l.message.contains("with less memory")), "{lines:?}");
    site.pve.assert_clean();
}
