//! The rebuild of many hosts: its parameters as they are stored with the job. Each host is one step of the job; what the
//! operator saw of it at the review is kept, and nothing else is ever erased by the job.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::audit::Who;
use crate::domain::host::HostState;
use crate::domain::id::{HostId, Hostname, ImageId, JobId, ServerTypeName};
use crate::domain::identity::DmiUuid;
use crate::domain::mac::Mac;
use crate::domain::server_type::DiskSelection;
use crate::domain::time::Timestamp;

/// The rebuild of many hosts, some of them at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BulkRebuild {
    /// Which image.
    pub image: ImageId,
    /// SHA-256 (hex) of the image at the review: another file under the same name is not installed.
    pub image_sha256: String,
    /// Dead nodes of the same names may be removed from the cluster first.
    pub replace_node: bool,
    /// Most rebuilds of this job at a time.
    pub at_once: u32,
    /// After so many rebuilds that failed no other one is begun.
    pub stop_after: u32,
    /// Who confirmed it: each rebuild stands under this name in the audit log.
    pub confirmed_by: Option<ConfirmedBy>,
    /// The hosts as they were reviewed, in the order in which they are begun.
    pub hosts: Vec<Reviewed>,
}

/// Who confirmed the list, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmedBy {
    /// Who.
    pub who: Who,
    /// From which address; `None` on the control socket.
    pub address: Option<IpAddr>,
}

/// One host as the operator saw it when the list was confirmed. A host that is different when its turn comes is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReviewedHost")]
pub struct Reviewed {
    /// Which host.
    pub host: HostId,
    /// Its name.
    pub hostname: Hostname,
    /// Its addresses.
    pub macs: Vec<Mac>,
    /// Its system UUID.
    pub uuid: Option<DmiUuid>,
    /// Its kind.
    pub server_type: ServerTypeName,
    /// The disk that is erased.
    pub disk: DiskSelection,
    /// It is, or was, a node of the cluster.
    pub is_member: bool,
    /// Where it stood.
    pub state: HostState,
    /// Since when: a host that was rebuilt in between stands in the same state again, but not since then.
    pub since: Timestamp,
    /// Its rebuild, once it was begun.
    #[serde(default)]
    pub job: Option<JobId>,
}

impl BulkRebuild {
    /// A host of the list.
    #[must_use]
    pub fn reviewed(&self, host: HostId) -> Option<&Reviewed> {
        self.hosts.iter().find(|reviewed| reviewed.host == host)
    }
}
