//! A backup comes back on another node while the old one is down.

use super::Site;
use crate::domain::guest::GuestState;
use crate::domain::id::JobId;
use crate::domain::job::JobStatus;
use crate::domain::refusal::{Refusal, RefusalKind};

/// A guest with one archive on a shared storage, whose node has died.
async fn story() -> (Site, crate::domain::guest::Guest, String) {
    let site = Site::start().await;
    let guest = site.adopted(200).await;
    let job = site.engine.back_up_guest(guest.id, None).await.unwrap();
    site.wait(job, JobStatus::Succeeded).await;
    let listed = site.engine.guest_backups(guest.id).await.unwrap();
    assert_eq!(listed.found[0].node, guest.node, "its own node is asked first");
    let archive = listed.found[0].volid.clone();
    site.pve.set_down("pve1");
    (site, guest, archive)
}

async fn restore(
    site: &Site,
    guest: &crate::domain::guest::Guest,
    archive: &str,
) -> Result<JobId, Refusal> {
    let target = Some("pve2".parse().unwrap());
    let name = guest.name.to_string();
    site.engine.restore_guest(guest.id, archive.to_owned(), target, name).await
}

#[tokio::test]
async fn archives_are_listed_through_another_node_when_their_own_is_down() {
    let (site, guest, archive) = story().await;
    let listed = site.engine.guest_backups(guest.id).await.unwrap();
    assert_eq!(listed.found[0].volid, archive);
    assert_eq!(listed.found[0].node.as_str(), "pve2");
    assert_eq!(listed.problems, Vec::<String>::new());
    // What only the dead node has cannot be seen, and that is said instead of "there is none".
    let mut own = super::shared("tank");
    own.shared = false;
    site.pve.set_storage(own);
    let refused = site.engine.guest_backups(guest.id).await.unwrap_err();
    assert!(refused.detail.contains("pve1 is down"), "{refused}");
    site.pve.assert_clean();
}

#[tokio::test]
async fn a_number_that_a_dead_node_still_holds_is_not_made_on_another_one() {
    let (site, guest, archive) = story().await;
    let refused = restore(&site, &guest, &archive).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Conflict);
    assert!(refused.hint.contains("pvecm delnode pve1"), "{refused}");
    // It goes down between the question and the work.
    site.pve.set_up("pve1");
    let job = restore(&site, &guest, &archive).await.unwrap();
    site.pve.set_down("pve1");
    let failed = site.wait(job, JobStatus::Failed).await.failure.unwrap();
    assert!(failed.hint.contains("mv /etc/pve/nodes/pve1/lxc/200.conf"), "{failed:?}");
    assert!(site.conf("pve1", guest.vmid).exists() && !site.conf("pve2", guest.vmid).exists());
    site.pve.assert_clean();
}

#[tokio::test]
async fn a_backup_comes_back_while_its_old_node_is_down() {
    // Somebody moved the container's file, as the vendor says; or removed it with the node.
    for moved in [true, false] {
        let (site, guest, archive) = story().await;
        site.pve.set_stopped(guest.vmid);
        let (from, to) = (site.conf("pve1", guest.vmid), site.conf("pve2", guest.vmid));
        if moved {
            std::fs::rename(from, to).unwrap();
        } else {
            std::fs::remove_file(from).unwrap();
        }
        let job = restore(&site, &guest, &archive).await.unwrap();
        site.wait(job, JobStatus::Succeeded).await;
        let now = site.guest(guest.id).await;
        assert_eq!((now.node.as_str(), now.state), ("pve2", GuestState::Ready), "moved: {moved}");
        assert!(site.pve.is_running(guest.vmid), "moved: {moved}");
        assert!(site.conf("pve2", guest.vmid).exists() && !site.conf("pve1", guest.vmid).exists());
        site.pve.assert_clean();
    }
}
