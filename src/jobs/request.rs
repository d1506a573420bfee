//! What an operator can ask for. Each request is validated, written in one transaction, and answered at once; the work
//! itself is a job.

use crate::domain::boot::BootProfile;
use crate::domain::host::{Host, HostOverrides};
use crate::domain::id::{HostId, Hostname, ImageId, JobId, ServerTypeName};
use crate::domain::mac::Mac;
use crate::domain::refusal::Refusal;
use crate::store::Store;

/// A host to be registered.
#[derive(Debug, Clone)]
pub struct NewHost {
    /// Short name, unique.
    pub hostname: Hostname,
    /// Hardware addresses, the one it boots from first.
    pub macs: Vec<Mac>,
    /// Its kind; must exist.
    pub server_type: ServerTypeName,
    /// What goes over the server type.
    pub overrides: HostOverrides,
}

/// Changes to a registered host; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct HostChange {
    /// New addresses.
    pub macs: Option<Vec<Mac>>,
    /// New kind.
    pub server_type: Option<ServerTypeName>,
    /// New overrides.
    pub overrides: Option<HostOverrides>,
    /// New boot profile.
    pub boot: Option<BootProfile>,
    /// Forget the system UUID (the mainboard was replaced); the next boot tells the new one.
    pub forget_uuid: bool,
}

/// The one request that wipes a disk.
#[derive(Debug, Clone)]
pub struct RebuildRequest {
    /// Which image; `None`: the newest imported one.
    pub image: Option<ImageId>,
    /// The host's name as the operator typed it; must equal the host's name.
    pub confirm: String,
    /// A dead node of the same name may be removed from the cluster.
    pub replace_node: bool,
}

/// An image to be imported.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Path on the appliance or http(s) URL.
    pub source: String,
    /// SHA-256 (hex) it must have.
    pub sha256: Option<String>,
}

/// The job engine's handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    store: Store,
}

impl Engine {
    /// The database it works on.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Registers a host; a sighting of one of its MACs becomes part of it.
    ///
    /// # Errors
    /// Name or MAC taken, unknown server type, no MAC.
    pub async fn register_host(&self, _new: NewHost) -> Result<Host, Refusal> {
        unimplemented!("being written")
    }

    /// Changes a host that no rebuild is running for.
    ///
    /// # Errors
    /// Unknown host, busy host, taken MAC, unknown server type.
    pub async fn change_host(&self, _host: HostId, _change: HostChange) -> Result<Host, Refusal> {
        unimplemented!("being written")
    }

    /// Forgets a host that no rebuild is running for.
    ///
    /// # Errors
    /// Unknown host, busy host.
    pub async fn delete_host(&self, _host: HostId) -> Result<(), Refusal> {
        unimplemented!("being written")
    }

    /// Queues a rebuild: the host's disk will be wiped.
    ///
    /// # Errors
    /// Name not typed right, busy host (with its job), no image, the appliance itself.
    pub async fn rebuild(&self, _host: HostId, _request: RebuildRequest) -> Result<JobId, Refusal> {
        unimplemented!("being written")
    }

    /// Asks a job to stop. Repeating it changes nothing.
    ///
    /// # Errors
    /// Unknown job, or it is over.
    pub async fn cancel(&self, _job: JobId) -> Result<(), Refusal> {
        unimplemented!("being written")
    }

    /// Queues the same work again after a failure; for a rebuild the name must be typed again.
    ///
    /// # Errors
    /// Unknown job, not failed, busy host.
    pub async fn retry(&self, _job: JobId, _confirm: &str) -> Result<JobId, Refusal> {
        unimplemented!("being written")
    }

    /// Queues an image import.
    ///
    /// # Errors
    /// Source not usable at first sight, the same import is running.
    pub async fn import_image(&self, _request: ImportRequest) -> Result<JobId, Refusal> {
        unimplemented!("being written")
    }

    /// Removes an image that no running rebuild needs.
    ///
    /// # Errors
    /// Unknown image, in use.
    pub async fn delete_image(&self, _image: &ImageId) -> Result<(), Refusal> {
        unimplemented!("being written")
    }

    /// Hides a sighting and stays silent towards the machine, or shows it again.
    ///
    /// # Errors
    /// Unknown sighting.
    pub async fn set_sighting_ignored(&self, _mac: Mac, _ignored: bool) -> Result<(), Refusal> {
        unimplemented!("being written")
    }
}
