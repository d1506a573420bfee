//! After a restore nothing of yesterday runs again.

use super::Site;
use crate::domain::account::AccountName;
use crate::domain::event::EventKind;
use crate::domain::guest::GuestState;
use crate::domain::job::{GuestTask, JobStatus, PowerAction};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::{
    EventReads as _, LAST_RESTORE, LastRestore, RESTORED, Session, SessionReads as _,
    SettingReads as _,
};

#[tokio::test]
async fn after_a_restore_unfinished_work_is_over_and_nobody_is_logged_in() {
    let site = Site::start().await;
    let mut guest = site.adopted(200).await;
    let task = GuestTask::Power { action: PowerAction::Stop };
    let job = super::job(9, &guest, task, JobStatus::Running);
    let id = job.id;
    guest.active_job = Some(id);
    let saved = guest.clone();
    site.write(move |tx| {
        tx.save_job(&job)?;
        tx.save_guest(&saved, "stopping")?;
        tx.save_session(&Session {
            id_hash: "ab".repeat(32),
            csrf: "c".to_owned(),
            created: tx.now(),
            expires: Timestamp(i64::MAX),
            account: AccountName::first(),
            address: None,
            agent: String::new(),
        })?;
        // As an older program wrote it.
        Ok(tx.save_setting(RESTORED, &true)?)
    })
    .await;
    let asked = site.pve.requests().len();
    site.engine.settle_after_restore().await.unwrap();
    let job = site.job(id).await;
    assert_eq!(job.status, JobStatus::Failed);
    assert!(job.failure.unwrap().reason.contains("restored from a backup"));
    let after = site.guest(guest.id).await;
    assert_eq!((after.active_job, after.state), (None, GuestState::Ready));
    let (session, last, told) = site
        .engine
        .store()
        .read::<_, Refusal, _>(|r| {
            let events = r.events_after(0, 1000)?;
            let told = events.into_iter().filter(|e| {
                e.kind == EventKind::System && e.message.contains("1 unfinished jobs were ended")
            });
            Ok((
                r.session(&"ab".repeat(32))?,
                r.setting::<LastRestore>(LAST_RESTORE)?,
                told.count(),
            ))
        })
        .await
        .unwrap();
    assert_eq!(session, None);
    assert_eq!(last.map(|l| l.ended), Some(1));
    assert_eq!(told, 1);
    // The next start finds nothing to do.
    site.engine.settle_after_restore().await.unwrap();
    assert_eq!(site.pve.requests().len(), asked, "nothing was asked of the cluster");
}
