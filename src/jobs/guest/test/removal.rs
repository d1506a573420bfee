//! A removal that was refused leaves the guest as it was.

use super::Site;
use crate::domain::guest::GuestState;
use crate::domain::host::Failure;
use crate::domain::job::JobStatus;
use crate::fakes::pve::POOL;

#[tokio::test]
async fn a_removal_that_touched_nothing_leaves_the_guest_as_it_was() {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    // Somebody took it out of our pool: it is not ours to destroy any more.
    site.pve.remove_from_pool(POOL, guest.vmid);
    let name = guest.name.to_string();
    let job = site.engine.uninstall(guest.id, false, name.clone()).await.unwrap();
    site.wait(job, JobStatus::Failed).await;
    let now = site.guest(guest.id).await;
    assert_eq!((now.state, &now.failure, now.active_job), (GuestState::Ready, &None, None));
    assert!(site.conf("pve1", guest.vmid).exists() && site.pve.is_running(guest.vmid));

    let earlier =
        Failure { from: None, reason: "its upgrade failed".into(), hint: "go back".into() };
    let mut failed = now;
    (failed.state, failed.failure) = (GuestState::Failed, Some(earlier.clone()));
    site.write(move |tx| Ok(tx.save_guest(&failed, "failed")?)).await;
    let job = site.engine.uninstall(guest.id, false, name).await.unwrap();
    site.wait(job, JobStatus::Failed).await;
    let now = site.guest(guest.id).await;
    assert_eq!((now.state, now.failure), (GuestState::Failed, Some(earlier)));
    site.pve.assert_clean();
}
