//! A node that Ironhatch may work on: enrolled, with the least rights that its guests need.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::gpu::GpuReport;
use super::id::{HostId, NodeName};
use super::time::Timestamp;

/// One enrolled node. The API token and the channel's private key are sealed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledNode {
    /// Its name in the cluster.
    pub name: NodeName,
    /// Where API (8006) and SSH (22) answer.
    pub address: IpAddr,
    /// SHA-256 over the DER of the certificate that port 8006 shows, lower-case hex.
    pub api_fingerprint: String,
    /// SSH host keys as `type base64`.
    pub ssh_host_keys: Vec<String>,
    /// Release from `/version`: `9.2`.
    pub release: String,
    /// API token id `USER@REALM!TOKEN`, without its secret.
    pub token_id: String,
    /// The host of ours that it is, when it is one.
    pub host: Option<HostId>,
    /// When it was enrolled or last re-enrolled.
    pub enrolled: Timestamp,
    /// Its GPUs, as last reported.
    pub gpu: GpuReport,
    /// When that was.
    pub gpu_seen: Option<Timestamp>,
    /// Why it cannot be used just now: token revoked, certificate changed, key refused. Empty: usable.
    pub problem: String,
}
