//! The stack of a host that was installed anew under its old name: the configurations of its guests came back with it.

use super::Site;
use crate::domain::guest::{Guest, GuestState};
use crate::domain::host::{Host, HostState};
use crate::domain::id::JobId;
use crate::domain::job::{CatalogWork, GuestTask, JobStatus, StepStatus, Work};
use crate::domain::time::Timestamp;
use crate::fakes::pve::{POOL, Storage};
use crate::jobs::guest::{request, stack};
use crate::jobs::runner::{StepDone, StepFailure};

const PARENT: JobId = JobId(uuid::Uuid::from_u128(999));
const STACK: &str = "[[apps.stack]]\nserver_type = \"lab\"\napp = \"static-website\"\nfields = { name = \"web200\" }\n";

fn host() -> Host {
    Host { state: HostState::Ready, is_member: true, ..crate::fakes::sample::host(1) }
}

/// The stack's guest of the host's earlier life; its record says that it is ready.
async fn story() -> (Site, Guest) {
    let site = Site::start_with(STACK).await;
    let mut guest = site.installed(200).await;
    guest.stack_of = Some(host().id);
    let saved = guest.clone();
    // Stands for the rebuild whose last step this is.
    let mut parent = site.newest(guest.id).await.unwrap();
    let work = CatalogWork { source: String::new() };
    (parent.id, parent.work, parent.status) = (PARENT, Work::Catalog(work), JobStatus::Running);
    site.write(move |tx| {
        tx.save_job(&parent)?;
        Ok(tx.save_guest(&saved, "of the stack")?)
    })
    .await;
    (site, guest)
}

async fn install(site: &Site) -> Result<StepDone, StepFailure> {
    stack::install(&site.engine, PARENT, &host()).await
}

/// Waits until the newest job of a guest has made its container.
async fn wait_until_made(site: &Site, guest: &Guest) -> JobId {
    loop {
        let job = site.newest(guest.id).await.unwrap();
        assert!(!job.status.is_terminal() || job.created == Timestamp(0), "{:?}", job.failure);
        if job.step("create_container").is_some_and(|s| s.status == StepStatus::Succeeded) {
            return job.id;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_configuration_without_volumes_is_made_anew() {
    let (site, guest) = story().await;
    let made = tokio::select! {
        ended = install(&site) => panic!("{ended:?}"),
        made = tokio::time::timeout(super::PATIENCE, wait_until_made(&site, &guest)) => made.unwrap(),
    };
    let now = site.guest(guest.id).await;
    assert_eq!(
        (now.state, now.vmid, now.active_job),
        (GuestState::Installing, guest.vmid, Some(made))
    );
    let config = site.pve.config("pve1", guest.vmid).unwrap();
    assert!(config.description().contains(&format!("job {made})")), "{}", config.description());
    assert!(site.pve.volumes().contains(&"local-zfs:subvol-200-disk-0".to_owned()));
    let destroyed = site.pve.requests().into_iter().filter(|r| r.method == "DELETE").count();
    assert_eq!(destroyed, 1, "what was left was removed first");
    site.pve.assert_clean();
}

#[tokio::test]
async fn a_guest_whose_volumes_came_back_is_started_and_nothing_of_it_is_made_anew() {
    let (site, guest) = story().await;
    site.pve.add_volume("local-zfs", guest.vmid);
    install(&site).await.unwrap();
    let job = site.newest(guest.id).await.unwrap();
    assert!(matches!(&job.work, Work::Guest(w) if matches!(w.task, GuestTask::Power { .. })));
    assert!(site.pve.is_running(guest.vmid));
    assert_eq!(site.guest(guest.id).await.state, GuestState::Ready);
    assert!(site.pve.requests().iter().all(|r| r.method != "DELETE"));
    site.pve.assert_clean();
}

#[tokio::test]
async fn what_cannot_be_seen_now_is_asked_again_and_never_taken_for_gone() {
    let (site, guest) = story().await;
    // The storage of its volumes is not back yet.
    let gone = Storage {
        nodes: vec!["pve2".to_owned()],
        kind: "zfspool".to_owned(),
        ..super::shared("local-zfs")
    };
    site.pve.set_storage(gone);
    let failure = install(&site).await.unwrap_err();
    assert!(failure.is_transient && failure.reason.contains("local-zfs"), "{failure:?}");
    // Or the node itself does not answer in its first minute.
    site.pve.set_down("pve1");
    assert!(install(&site).await.unwrap_err().is_transient);
    assert_eq!(site.guest(guest.id).await.state, GuestState::Ready);
    assert!(site.conf("pve1", guest.vmid).exists());
    // Without a guest to look at, the form is refused because of the node: that may pass too.
    let record = guest.clone();
    site.write(move |tx| Ok(tx.delete_guest(&record, "forgotten")?)).await;
    let failure = install(&site).await.unwrap_err();
    assert!(failure.is_transient, "{failure:?}");
    site.pve.assert_clean();
}

#[tokio::test]
async fn what_is_not_ours_or_has_volumes_is_not_destroyed() {
    let (site, guest) = story().await;
    let volume = site.pve.add_volume("local-zfs", guest.vmid);
    let mut lost = guest.clone();
    lost.state = GuestState::Failed;
    site.write(move |tx| Ok(tx.save_guest(&lost, "lost")?)).await;
    // It is whole, but a job to make it anew was queued all the same.
    let app = guest.app.clone().unwrap().id;
    let job = site
        .engine
        .start_work(guest.id, move |tx, guest| request::install_again(tx, guest, app, None))
        .await
        .unwrap();
    let failure = site.wait(job, JobStatus::Failed).await.failure.unwrap();
    assert!(failure.reason.contains(&volume), "{failure:?}");
    assert!(site.pve.volumes().contains(&volume) && site.conf("pve1", guest.vmid).exists());
    let failure = install(&site).await.unwrap_err();
    assert!(!failure.is_transient, "{failure:?}");

    site.pve.remove_volume(&volume);
    site.pve.remove_from_pool(POOL, guest.vmid);
    assert!(!install(&site).await.unwrap_err().is_transient);
    assert!(site.conf("pve1", guest.vmid).exists());
    site.pve.assert_clean();
}
