//! A removal that was refused leaves the guest as it was.

use super::Site;
use crate::domain::guest::GuestState;
use crate::domain::host::Failure;
use crate::domain::job::JobStatus;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::fakes::pve::POOL;
use crate::store::{GuestReads as _, OutboxReads as _};

#[tokio::test]
async fn a_removal_that_touched_nothing_leaves_the_guest_as_it_was() {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    // Somebody took it out of our pool: it is not ours to destroy any more.
    site.pve.remove_from_pool(POOL, guest.vmid);
    let name = guest.name.to_string();
    let job = site.engine.uninstall(guest.id, false, name.clone()).await.unwrap();
    site.wait(job, JobStatus::Failed).await;
    let told = site.engine.store().snapshot().unwrap().outbox(10).unwrap();
    assert_eq!((told.len(), told[0].event.as_str()), (1, "guest.failed"));
    assert_eq!(told[0].body["guest"]["name"], serde_json::json!(guest.name));
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

#[tokio::test]
async fn the_number_of_kept_volumes_is_free_when_the_operator_says_so() {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    let gone = crate::domain::guest::sample::guest(201);
    site.write(move |tx| {
        tx.hold_vmid(guest.vmid, guest.id)?;
        Ok(tx.hold_for_volumes(&gone, vec!["tank:201/vm-201-disk-0.raw".into()])?)
    })
    .await;
    let refused = async |number: u32, typed: &str| {
        let vmid = number.try_into().unwrap();
        site.engine.forget_volumes(vmid, typed.to_owned()).await.unwrap_err().kind
    };
    assert_eq!(refused(201, "200").await, RefusalKind::Unprocessable);
    assert_eq!(refused(200, "200").await, RefusalKind::NotFound, "a guest has it");
    assert_eq!(refused(202, "202").await, RefusalKind::NotFound);
    let held = || async {
        let read = site.engine.store().read::<_, Refusal, _>(|r| Ok(r.held_vmids()?));
        read.await.unwrap().iter().map(|h| h.vmid.get()).collect::<Vec<_>>()
    };
    assert_eq!(held().await, [200, 201]);
    site.engine.forget_volumes(201.try_into().unwrap(), " 201 ".to_owned()).await.unwrap();
    assert_eq!(held().await, [200]);
}
