//! Requests that change, move or remove a guest that is there.

use super::super::answer::Archives;
use super::super::{archive, discovery, place, reveal, unavailable};
use super::{confirmed, draw, gone, no_such_guest, sealed};
use crate::domain::event::Level;
use crate::domain::form::{Declined, Submitted};
use crate::domain::guest::{GuestEvent, GuestState};
use crate::domain::id::{GuestId, JobId, NodeName, StorageId};
use crate::domain::job::{AppVersion, GuestTask, PowerAction};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::vmid::Vmid;
use crate::jobs::{Engine, record};
use crate::plan::guest::order::reorder;
use crate::plan::guest::whereabouts;
use crate::store::GuestReads as _;

impl Engine {
    /// Takes a guest away.
    ///
    /// # Errors
    /// No such guest, its name not typed right, observed, busy.
    pub async fn uninstall(
        &self,
        id: GuestId,
        keep_volumes: bool,
        confirm: String,
    ) -> Result<JobId, Refusal> {
        self.begin(id, Some(GuestEvent::RemovalStarted), move |guest| {
            confirmed(guest, &confirm, "its container is destroyed")?;
            let destroy_failed = guest.state == GuestState::Failed;
            Ok(GuestTask::Uninstall { keep_volumes, destroy_failed })
        })
        .await
    }

    /// Changes a guest's inputs and resources.
    ///
    /// # Errors
    /// Fields to correct; no such guest, observed, busy.
    pub async fn reconfigure(&self, id: GuestId, form: &Submitted) -> Result<JobId, Declined> {
        let guest = self.known_guest(id).await?;
        let app = match &guest.app {
            Some(installed) => Some(self.installed_app(installed).await?),
            None => None,
        };
        let seen = discovery::fresh(self)
            .await
            .map_err(|f| Refusal::new(RefusalKind::Unavailable, f.reason, f.hint))?;
        let site = self.site(app.as_ref(), &seen)?;
        let stored = self.stored_secrets(id).await?;
        let change = reorder::read(app.as_ref(), &guest, &site, form, &stored, &mut draw)
            .map_err(Declined::Fields)?;
        let secrets = sealed(&change.secrets);
        let warnings = change.warnings.into_iter().map(|text| (Level::Warn, text)).collect();
        let mut wanted = change.reconfigure;
        if change.provisions && wanted.inputs.is_none() {
            // Only secrets change: the script runs again all the same.
            wanted.inputs = guest.app.as_ref().map(|a| a.inputs.clone());
        }
        let job = self
            .begin_with(id, Some(GuestEvent::ChangeStarted), move |tx, guest| {
                reveal::seal(tx, guest.id, &secrets, &[]);
                Ok(GuestTask::Reconfigure(wanted))
            })
            .await?;
        record::log_all(self, job, None, warnings).await?;
        Ok(job)
    }

    /// Brings a guest's app to the catalog's version, with a restore point first.
    ///
    /// # Errors
    /// No such guest, nothing newer, observed, busy.
    pub async fn upgrade(&self, id: GuestId) -> Result<JobId, Refusal> {
        let guest = self.known_guest(id).await?;
        let Some(installed) = &guest.app else {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                "no app of the catalog runs in it",
                "",
            ));
        };
        let app = self.app(&installed.id)?;
        if app.provenance.hash == installed.hash {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!("{} already runs the catalog's version {}", guest.name, installed.version),
                "refresh the catalog to look for a newer one",
            ));
        }
        if app.manifest.provision.upgrade.is_none() && !app.manifest.provision.retry_safe {
            return Err(Refusal::new(
                RefusalKind::Unprocessable,
                format!("version {} has no way to upgrade an installed one", app.manifest.version),
                "back the guest up, install the new version beside it and move the data",
            ));
        }
        self.layer()?.library.keep(&app.provenance.hash).await.map_err(|e| gone(&e))?;
        let to = AppVersion {
            id: app.manifest.id,
            version: app.manifest.version,
            source: app.provenance.source,
            hash: app.provenance.hash,
        };
        self.begin(id, Some(GuestEvent::ChangeStarted), move |_| Ok(GuestTask::Upgrade { to }))
            .await
    }

    /// Takes a guest back to its restore point.
    ///
    /// # Errors
    /// No such guest, no restore point, busy.
    pub async fn return_guest(&self, id: GuestId) -> Result<JobId, Refusal> {
        self.begin(id, Some(GuestEvent::ChangeStarted), |guest| {
            if guest.restore_point.is_some() {
                return Ok(GuestTask::Return);
            }
            let text = format!("{} has no restore point", guest.name);
            Err(Refusal::new(RefusalKind::Conflict, text, "restore a backup instead"))
        })
        .await
    }

    /// Turns a guest on or off.
    ///
    /// # Errors
    /// No such guest, observed, busy.
    pub async fn power_guest(&self, id: GuestId, action: PowerAction) -> Result<JobId, Refusal> {
        self.begin(id, None, move |_| Ok(GuestTask::Power { action })).await
    }

    /// Backs a guest up.
    ///
    /// # Errors
    /// No such guest, no approved storage, busy.
    pub async fn back_up_guest(
        &self,
        id: GuestId,
        storage: Option<StorageId>,
    ) -> Result<JobId, Refusal> {
        let storage = self.backup_storage(storage)?;
        self.begin(id, None, move |_| Ok(GuestTask::Backup { storage, scheduled: false })).await
    }

    fn backup_storage(&self, wanted: Option<StorageId>) -> Result<StorageId, Refusal> {
        let approved = &self.layer()?.apps.boundary.backup_storages;
        let found = match wanted {
            Some(wanted) => approved.iter().find(|s| **s == wanted),
            None => approved.first(),
        };
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = approved.iter().map(StorageId::as_str).collect();
            let text = if names.is_empty() {
                "no storage is approved for backups".to_owned()
            } else {
                format!("approved for backups: {}", names.join(", "))
            };
            Refusal::new(RefusalKind::Unprocessable, text, "see apps.backup_storages")
                .about("storage")
        })
    }

    /// Archives of a guest, newest first.
    ///
    /// # Errors
    /// No such guest; the cluster does not answer.
    pub async fn guest_backups(&self, id: GuestId) -> Result<Archives, Refusal> {
        let guest = self.known_guest(id).await?;
        archive::list(self, &guest).await
    }

    /// Puts a backup in a guest's place.
    ///
    /// # Errors
    /// No such guest or archive, its name not typed right, a node that is not approved or cannot read the archive, a
    /// container that could run twice, busy.
    pub async fn restore_guest(
        &self,
        id: GuestId,
        archive: String,
        node: Option<NodeName>,
        confirm: String,
    ) -> Result<JobId, Refusal> {
        let guest = self.known_guest(id).await?;
        let apps = &self.layer()?.apps;
        let node = node.unwrap_or_else(|| guest.node.clone());
        if !apps.boundary.allows_node(&node) {
            let text = format!("{node} is not one of the approved nodes");
            return Err(
                Refusal::new(RefusalKind::Unprocessable, text, "see apps.nodes").about("node")
            );
        }
        self.enrolled(&node).await.map_err(|r| r.about("node"))?;
        let known = archive::list(self, &guest).await?;
        let Some(found) = known.found.into_iter().find(|a| a.volid == archive) else {
            let text = format!("'{archive}' is no backup of {}", guest.name);
            return Err(Refusal::new(RefusalKind::NotFound, text, "choose one of the list")
                .about("archive"));
        };
        if node != found.node {
            let place = &found.storage;
            let seen = discovery::recent(self).await?;
            let there = seen.node(&node).and_then(|n| n.storage(place));
            if !there.is_some_and(|s| s.shared) {
                return Err(Refusal::new(
                    RefusalKind::Unprocessable,
                    format!("{place} is not shared: {node} cannot read this archive"),
                    "keep backups on a storage that all nodes share to restore them elsewhere",
                )
                .about("node"));
            }
        }
        let at = place::find(&self.cluster().await?, guest.vmid).await.map_err(unavailable)?;
        whereabouts::replace(guest.vmid, &guest.node, &node, &at).map_err(|stuck| {
            Refusal::new(RefusalKind::Conflict, stuck.reason, stuck.hint).about("node")
        })?;
        let storage = guest.spec.storage.clone();
        self.begin(id, Some(GuestEvent::ChangeStarted), move |guest| {
            confirmed(guest, &confirm, "what is in it now is replaced")?;
            Ok(GuestTask::Restore { archive, node, storage })
        })
        .await
    }

    /// Makes an observed container ours.
    ///
    /// # Errors
    /// No such guest, its name not typed right, not observed.
    pub async fn adopt_guest(&self, id: GuestId, confirm: String) -> Result<JobId, Refusal> {
        self.begin_observed(id, move |guest| {
            confirmed(guest, &confirm, "Ironhatch may change it from then on")?;
            Ok(GuestTask::Adopt)
        })
        .await
    }

    /// Forgets an observed container; nothing about it changes.
    ///
    /// # Errors
    /// No such guest, or it is ours.
    pub async fn forget_guest(&self, id: GuestId) -> Result<(), Refusal> {
        self.store()
            .write(move |tx| {
                let guest = tx.guest(id)?.ok_or_else(no_such_guest)?;
                if guest.is_ours() || guest.active_job.is_some() {
                    return Err(Refusal::new(
                        RefusalKind::Conflict,
                        format!("{} is not only observed", guest.name),
                        "uninstall it instead",
                    ));
                }
                Ok(tx.delete_guest(&guest, &format!("{} is not observed any more", guest.name))?)
            })
            .await
    }

    /// Frees a number that is held for volumes of a guest that is gone. The volumes themselves stay where they are.
    ///
    /// # Errors
    /// The number is not typed right, is not held for that, or belongs to a guest.
    pub async fn forget_volumes(&self, vmid: Vmid, confirm: String) -> Result<(), Refusal> {
        self.store()
            .write(move |tx| {
                let held = tx.kept_vmids()?.into_iter().find(|held| held.vmid == vmid);
                let Some(held) = held else {
                    let text = format!("no kept volumes hold the number {vmid}");
                    let hint = "look at the list of kept volumes; the number of a guest is its own";
                    return Err(Refusal::new(RefusalKind::NotFound, text, hint));
                };
                if confirm.trim() != vmid.to_string() {
                    let text = format!("what was typed is not '{vmid}'");
                    let hint = "another guest may get the number: type it to confirm";
                    let refusal = Refusal::new(RefusalKind::Unprocessable, text, hint);
                    return Err(refusal.about("confirm"));
                }
                Ok(tx.forget_volumes(&held)?)
            })
            .await
    }

    /// Pushes a guest's definition to the reverse proxy's repository again.
    ///
    /// # Errors
    /// No such guest, not exposed, busy.
    pub async fn publish_guest(&self, id: GuestId) -> Result<JobId, Refusal> {
        self.begin(id, None, |guest| {
            if guest.service.is_some() {
                return Ok(GuestTask::Publish);
            }
            let text = format!("{} is not exposed", guest.name);
            Err(Refusal::new(RefusalKind::Conflict, text, "install it with a domain"))
        })
        .await
    }
}
