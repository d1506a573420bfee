//! What the pages and the API ask of the job engine, as a trait: handlers are tested without a running engine.

mod guest;
mod server_type;

use futures_util::future::BoxFuture;

use crate::domain::discovery::ClusterView;
use crate::domain::form::Declined;
use crate::domain::host::Host;
use crate::domain::id::{HostId, ImageId, JobId};
use crate::domain::mac::Mac;
use crate::domain::power::Action;
use crate::domain::refusal::Refusal;
use crate::jobs::{
    BulkChoice, BulkRequest, BulkReview, Engine, HostChange, ImportMode, ImportRequest, NewHost,
    PowerAnswer, PowerChange, RebuildRequest,
};
use crate::plan::roster::{Change, Format};

pub use guest::{Archive, Archives, GuestOperations, Site, Vitals};
pub use server_type::TypeOperations;

type Answer<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// Whether the cluster is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskCluster {
    /// Unless it was some seconds ago.
    Now,
    /// What was seen last is enough; nobody waits.
    Never,
}

/// Everything that an operator can change. Each method is the [`Engine`]'s of the same name.
pub trait Operations: Send + Sync + 'static {
    /// Registers a host.
    fn register_host(&self, new: NewHost) -> Answer<'_, Host>;
    /// All hosts as a file.
    fn export_hosts(&self, format: Format) -> Answer<'_, String>;
    /// Registers and changes hosts as a file says: all of it or nothing.
    fn import_hosts(
        &self,
        text: String,
        format: Format,
        mode: ImportMode,
    ) -> BoxFuture<'_, Result<Vec<Change>, Declined>>;
    /// Changes a host that no rebuild is running for.
    fn change_host(&self, host: HostId, change: HostChange) -> Answer<'_, Host>;
    /// Forgets a host that no rebuild is running for.
    fn delete_host(&self, host: HostId) -> Answer<'_, ()>;
    /// Queues a rebuild: the host's disk will be wiped.
    fn rebuild(&self, host: HostId, request: RebuildRequest) -> Answer<'_, JobId>;
    /// What the rebuild of many hosts would do; changes nothing.
    fn review_rebuilds(&self, choice: BulkChoice) -> Answer<'_, BulkReview>;
    /// Queues the rebuild of all hosts of a review: their disks will be wiped, some at a time.
    fn rebuild_many(&self, request: BulkRequest) -> Answer<'_, JobId>;
    /// Asks a job to stop.
    fn cancel(&self, job: JobId) -> Answer<'_, ()>;
    /// Queues the same work again after a failure.
    fn retry(&self, job: JobId, confirm: String) -> Answer<'_, JobId>;
    /// Queues an image import.
    fn import_image(&self, request: ImportRequest) -> Answer<'_, JobId>;
    /// Removes an image.
    fn delete_image(&self, image: ImageId) -> Answer<'_, ()>;
    /// Hides a sighting, or shows it again.
    fn set_sighting_ignored(&self, mac: Mac, ignored: bool) -> Answer<'_, ()>;
    /// Changes how a host is switched on and off.
    fn set_power(&self, host: HostId, change: PowerChange) -> Answer<'_, Host>;
    /// Asks whether a host's machine runs.
    fn power_state(&self, host: HostId) -> Answer<'_, PowerAnswer>;
    /// Switches a host's machine.
    fn switch_power(
        &self,
        host: HostId,
        action: Action,
        confirm: String,
    ) -> Answer<'_, PowerAnswer>;
    /// Answers and server types.
    fn types(&self) -> &dyn TypeOperations;
    /// The cluster's members: what was seen last, and unless that is wanted alone, as it is now.
    fn cluster(&self, ask: AskCluster) -> BoxFuture<'_, ClusterView>;
    /// The public key that opens the cluster's members.
    fn member_public_key(&self) -> Answer<'_, String>;
}

impl Operations for Engine {
    fn register_host(&self, new: NewHost) -> Answer<'_, Host> {
        Box::pin(self.register_host(new))
    }
    fn export_hosts(&self, format: Format) -> Answer<'_, String> {
        Box::pin(self.export_hosts(format))
    }
    fn import_hosts(
        &self,
        text: String,
        format: Format,
        mode: ImportMode,
    ) -> BoxFuture<'_, Result<Vec<Change>, Declined>> {
        Box::pin(async move { self.import_hosts(&text, format, mode).await })
    }
    fn change_host(&self, host: HostId, change: HostChange) -> Answer<'_, Host> {
        Box::pin(self.change_host(host, change))
    }
    fn delete_host(&self, host: HostId) -> Answer<'_, ()> {
        Box::pin(self.delete_host(host))
    }
    fn rebuild(&self, host: HostId, request: RebuildRequest) -> Answer<'_, JobId> {
        Box::pin(self.rebuild(host, request))
    }
    fn review_rebuilds(&self, choice: BulkChoice) -> Answer<'_, BulkReview> {
        Box::pin(self.review_rebuilds(choice))
    }
    fn rebuild_many(&self, request: BulkRequest) -> Answer<'_, JobId> {
        Box::pin(self.rebuild_many(request))
    }
    fn cancel(&self, job: JobId) -> Answer<'_, ()> {
        Box::pin(self.cancel(job))
    }
    fn retry(&self, job: JobId, confirm: String) -> Answer<'_, JobId> {
        Box::pin(async move { self.retry(job, &confirm).await })
    }
    fn import_image(&self, request: ImportRequest) -> Answer<'_, JobId> {
        Box::pin(self.import_image(request))
    }
    fn delete_image(&self, image: ImageId) -> Answer<'_, ()> {
        Box::pin(async move { self.delete_image(&image).await })
    }
    fn set_sighting_ignored(&self, mac: Mac, ignored: bool) -> Answer<'_, ()> {
        Box::pin(self.set_sighting_ignored(mac, ignored))
    }
    fn set_power(&self, host: HostId, change: PowerChange) -> Answer<'_, Host> {
        Box::pin(self.set_power(host, change))
    }
    fn power_state(&self, host: HostId) -> Answer<'_, PowerAnswer> {
        Box::pin(self.power_state(host))
    }
    fn switch_power(
        &self,
        host: HostId,
        action: Action,
        confirm: String,
    ) -> Answer<'_, PowerAnswer> {
        Box::pin(async move { self.switch_power(host, action, &confirm).await })
    }
    fn types(&self) -> &dyn TypeOperations {
        self
    }
    fn cluster(&self, ask: AskCluster) -> BoxFuture<'_, ClusterView> {
        match ask {
            AskCluster::Now => Box::pin(self.cluster_view()),
            AskCluster::Never => Box::pin(std::future::ready(self.last_cluster_view())),
        }
    }
    fn member_public_key(&self) -> Answer<'_, String> {
        Box::pin(self.member_public_key())
    }
}
