//! What pages and API ask about apps, guests and nodes.

use std::sync::Arc;

use super::Answer;
use crate::domain::app::{AppId, Catalog};
use crate::domain::discovery::{Discovery, Review};
use crate::domain::form::{Declined, Submitted};
use crate::domain::guest::Guest;
use crate::domain::id::{GuestId, JobId, NodeName, StorageId};
use crate::domain::job::PowerAction;
use crate::domain::secret::Secret;
use crate::domain::vmid::Vmid;
pub use crate::jobs::{Archive, Archives, Site, Vitals};
use crate::jobs::{EnrollRequest, Guests};
use crate::plan::guest::journal::{Journal, JournalAsk};
use futures_util::future::BoxFuture;

type FormAnswer<'a, T> = BoxFuture<'a, Result<T, Declined>>;

/// Everything that an operator can ask of the app layer. Absent when apps are switched off.
///
/// Forms are taken as they were entered: the fields are `name`, `description`, `node`, `storage`, `cores`, `memory_mb`,
/// `swap_mb`, `disk_gb`, `onboot`, `start`, `bridge`, `vlan`, `ipv4` (`dhcp`, `static`), `address` (with prefix),
/// `gateway`, `expose` (`none`, `internal`, `public`), `domain`, `monitoring`, `gpu` (`none`, `best`, `pick`),
/// `gpu_devices` (PCI addresses, separated by commas), `volume.KEY` (GiB; empty leaves an optional one out) and
/// `input.KEY`. What is left out takes the app's or the site's default. Booleans are `true` or `false`.
pub trait GuestOperations: Send + Sync + 'static {
    /// What the configuration approves: the choices that forms offer, and the limits that they name.
    fn site(&self) -> Site;
    /// All apps as last read.
    fn catalog(&self) -> Arc<Catalog>;
    /// The icon of an app of the catalog, a PNG.
    fn icon(&self, app: AppId) -> Answer<'_, Option<Vec<u8>>>;
    /// Reads the sources again; `None`: all of them.
    fn refresh_catalog(&self, source: Option<String>) -> Answer<'_, Vec<JobId>>;
    /// Looks at the cluster; not older than some seconds.
    fn discovery(&self) -> Answer<'_, Arc<Discovery>>;
    /// The form of an app with its defaults filled in.
    fn defaults(&self, app: AppId) -> Answer<'_, Submitted>;
    /// Checks a form and tells everything that an installation would do.
    fn review(&self, app: AppId, form: Submitted) -> FormAnswer<'_, Review>;
    /// Queues an installation.
    fn install(&self, app: AppId, form: Submitted) -> FormAnswer<'_, JobId>;
    /// Tries a failed installation again.
    fn retry_install(&self, guest: GuestId) -> Answer<'_, JobId>;
    /// Takes a guest away; `confirm` is its name as it was typed. Also destroys the remains of a failed installation.
    fn uninstall(&self, guest: GuestId, keep_volumes: bool, confirm: String) -> Answer<'_, JobId>;
    /// Changes inputs (`input.KEY`), `cores`, `memory_mb`, `disk_gb`, `onboot`, `description`, `gpu`, `gpu_devices`.
    fn reconfigure(&self, guest: GuestId, form: Submitted) -> FormAnswer<'_, JobId>;
    /// Brings its app to the catalog's version, with a restore point first.
    fn upgrade(&self, guest: GuestId) -> Answer<'_, JobId>;
    /// Takes it back to its restore point.
    fn return_to_restore_point(&self, guest: GuestId) -> Answer<'_, JobId>;
    /// Starts, stops, restarts.
    fn power(&self, guest: GuestId, action: PowerAction) -> Answer<'_, JobId>;
    /// Backs it up; `None`: to the first approved storage.
    fn backup(&self, guest: GuestId, storage: Option<StorageId>) -> Answer<'_, JobId>;
    /// Archives of a guest, newest first.
    fn backups(&self, guest: GuestId) -> Answer<'_, Archives>;
    /// Puts a backup in a guest's place, on the same node or another.
    fn restore(
        &self,
        guest: GuestId,
        archive: String,
        node: Option<NodeName>,
        confirm: String,
    ) -> Answer<'_, JobId>;
    /// Records an existing container, read-only.
    fn observe(&self, node: NodeName, vmid: Vmid) -> Answer<'_, Guest>;
    /// Makes an observed container ours: pool and tag are set.
    fn adopt(&self, guest: GuestId, confirm: String) -> Answer<'_, JobId>;
    /// Forgets an observed container; nothing about it changes.
    fn forget(&self, guest: GuestId) -> Answer<'_, ()>;
    /// Frees a number that kept volumes hold; `confirm` is the number as it was typed. The volumes stay.
    fn forget_volumes(&self, vmid: Vmid, confirm: String) -> Answer<'_, ()>;
    /// Pushes its definition to the reverse proxy's repository again.
    fn publish(&self, guest: GuestId) -> Answer<'_, JobId>;
    /// How it is just now.
    fn vitals(&self, guest: GuestId) -> Answer<'_, Vitals>;
    /// Lines of its own journal, read in it now.
    fn journal(&self, guest: GuestId, ask: JournalAsk) -> Answer<'_, Journal>;
    /// A secret of a guest, shown once: it cannot be asked for again.
    fn reveal(&self, guest: GuestId, key: String) -> Answer<'_, Secret<String>>;
    /// Enrols a node with the password of its root user, or with the appliance's own key.
    fn enroll_node(&self, request: EnrollRequest) -> Answer<'_, JobId>;
    /// A one-line command that enrols the node it is pasted on; valid once, for some minutes.
    fn enroll_command(&self) -> Answer<'_, Secret<String>>;
    /// Takes everything that enrolment made off a node.
    fn revoke_node(&self, node: NodeName) -> Answer<'_, JobId>;
}

impl GuestOperations for Guests {
    fn site(&self) -> Site {
        Self::site(self)
    }
    fn catalog(&self) -> Arc<Catalog> {
        Self::catalog(self)
    }
    fn icon(&self, app: AppId) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async move { self.app_icon(&app).await })
    }
    fn refresh_catalog(&self, source: Option<String>) -> Answer<'_, Vec<JobId>> {
        Box::pin(self.engine().refresh_catalog(source))
    }
    fn discovery(&self) -> Answer<'_, Arc<Discovery>> {
        Box::pin(self.engine().discovery())
    }
    fn defaults(&self, app: AppId) -> Answer<'_, Submitted> {
        Box::pin(async move { self.engine().app_defaults(&app).await })
    }
    fn review(&self, app: AppId, form: Submitted) -> FormAnswer<'_, Review> {
        Box::pin(async move { self.engine().review(&app, &form).await })
    }
    fn install(&self, app: AppId, form: Submitted) -> FormAnswer<'_, JobId> {
        Box::pin(async move { self.engine().install(&app, &form).await })
    }
    fn retry_install(&self, guest: GuestId) -> Answer<'_, JobId> {
        Box::pin(self.engine().retry_install(guest))
    }
    fn uninstall(&self, guest: GuestId, keep_volumes: bool, confirm: String) -> Answer<'_, JobId> {
        Box::pin(self.engine().uninstall(guest, keep_volumes, confirm))
    }
    fn reconfigure(&self, guest: GuestId, form: Submitted) -> FormAnswer<'_, JobId> {
        Box::pin(async move { self.engine().reconfigure(guest, &form).await })
    }
    fn upgrade(&self, guest: GuestId) -> Answer<'_, JobId> {
        Box::pin(self.engine().upgrade(guest))
    }
    fn return_to_restore_point(&self, guest: GuestId) -> Answer<'_, JobId> {
        Box::pin(self.engine().return_guest(guest))
    }
    fn power(&self, guest: GuestId, action: PowerAction) -> Answer<'_, JobId> {
        Box::pin(self.engine().power_guest(guest, action))
    }
    fn backup(&self, guest: GuestId, storage: Option<StorageId>) -> Answer<'_, JobId> {
        Box::pin(self.engine().back_up_guest(guest, storage))
    }
    fn backups(&self, guest: GuestId) -> Answer<'_, Archives> {
        Box::pin(self.engine().guest_backups(guest))
    }
    fn restore(
        &self,
        guest: GuestId,
        archive: String,
        node: Option<NodeName>,
        confirm: String,
    ) -> Answer<'_, JobId> {
        Box::pin(self.engine().restore_guest(guest, archive, node, confirm))
    }
    fn observe(&self, node: NodeName, vmid: Vmid) -> Answer<'_, Guest> {
        Box::pin(self.engine().observe_guest(node, vmid))
    }
    fn adopt(&self, guest: GuestId, confirm: String) -> Answer<'_, JobId> {
        Box::pin(self.engine().adopt_guest(guest, confirm))
    }
    fn forget(&self, guest: GuestId) -> Answer<'_, ()> {
        Box::pin(self.engine().forget_guest(guest))
    }
    fn forget_volumes(&self, vmid: Vmid, confirm: String) -> Answer<'_, ()> {
        Box::pin(self.engine().forget_volumes(vmid, confirm))
    }
    fn publish(&self, guest: GuestId) -> Answer<'_, JobId> {
        Box::pin(self.engine().publish_guest(guest))
    }
    fn vitals(&self, guest: GuestId) -> Answer<'_, Vitals> {
        Box::pin(self.engine().vitals(guest))
    }
    fn journal(&self, guest: GuestId, ask: JournalAsk) -> Answer<'_, Journal> {
        Box::pin(self.engine().journal(guest, ask))
    }
    fn reveal(&self, guest: GuestId, key: String) -> Answer<'_, Secret<String>> {
        Box::pin(self.engine().reveal(guest, key))
    }
    fn enroll_node(&self, request: EnrollRequest) -> Answer<'_, JobId> {
        Box::pin(self.engine().enroll_node(request))
    }
    fn enroll_command(&self) -> Answer<'_, Secret<String>> {
        Box::pin(self.engine().enroll_command())
    }
    fn revoke_node(&self, node: NodeName) -> Answer<'_, JobId> {
        Box::pin(self.engine().revoke_node(node))
    }
}
