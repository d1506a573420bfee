//! Settings of the DHCP service, what it needs of others, and why it may not start.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;

use super::Interfaces;
use crate::boot::port_owner::PortOwner;
use crate::plan::lease::{Lease, PoolConfig};
use crate::plan::offer::OfferPolicy;

/// UDP ports. Others than the standard ones make sense behind a port-forwarding rule, and where the process may not
/// bind low ports; firmware itself only knows the standard ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where requests arrive and relays listen.
    pub server: u16,
    /// Where clients listen.
    pub client: u16,
    /// The boot server port.
    pub boot_server: u16,
}

impl Default for Ports {
    /// 67, 68 and 4011.
    fn default() -> Self {
        Self { server: 67, client: 68, boot_server: 4011 }
    }
}

/// What to do when another DHCP server answers on a segment where we shall be the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RivalPolicy {
    /// Do not start.
    Refuse,
    /// Start, and say so.
    Warn,
}

/// How addresses come to the machines.
pub enum Mode {
    /// Another DHCP server gives them; we only name boot files.
    Beside,
    /// We give them, on an isolated segment.
    Full {
        /// The addresses and their terms.
        pool: PoolConfig,
        /// Leases that were durable when the process started.
        leases: Vec<Lease>,
        /// Makes leases durable before they are confirmed.
        store: Arc<dyn LeaseStore>,
        /// What to do about another DHCP server.
        rival: RivalPolicy,
    },
}

/// Settings of the DHCP service.
#[derive(Debug, Clone)]
pub struct DhcpConfig {
    /// On which interfaces requests are answered.
    pub interfaces: Interfaces,
    /// Who is offered what.
    pub policy: OfferPolicy,
    /// UDP ports.
    pub ports: Ports,
    /// Announced instead of the interface's own address, behind NAT or in a container.
    pub advertised_address: Option<Ipv4Addr>,
}

/// Makes leases durable. One call per batch of packets, so that an implementation can group its commits.
pub trait LeaseStore: Send + Sync + 'static {
    /// Resolves when all of `leases` are durable. A later record of the same address replaces an earlier one.
    ///
    /// # Errors
    /// When they are not: the ACKs of the batch are not sent, and the clients ask again.
    fn persist<'a>(
        &'a self,
        leases: &'a [Lease],
    ) -> Pin<Box<dyn Future<Output = Result<(), LeaseStoreError>> + Send + 'a>>;
}

/// A lease could not be made durable.
#[derive(Debug, thiserror::Error)]
#[error("the lease could not be stored")]
pub struct LeaseStoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error(
        "UDP port {port} is taken by {}; stop it, or let Ironhatch run on another machine of this network",
        holder(.owner.as_ref())
    )]
    PortTaken {
        /// Which port.
        port: u16,
        /// Who has it, where `/proc` tells.
        owner: Option<PortOwner>,
    },
    /// The process may not bind low ports.
    #[error(
        "no permission to bind UDP port {port}: root or the capability CAP_NET_BIND_SERVICE is needed"
    )]
    Permission {
        /// Which port.
        port: u16,
    },
    /// An interface of the configuration does not exist.
    #[error("there is no network interface '{name}'; this machine has {}", .known.join(", "))]
    NoInterface {
        /// What the configuration names.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The interfaces could not be listed.
    #[error("the network interfaces could not be listed")]
    Interfaces(#[source] io::Error),
    /// Any other refusal by the operating system.
    #[error("UDP port {port} could not be opened")]
    Socket {
        /// Which port.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Full mode: somebody else gives addresses here.
    #[error(
        "DHCP server {server} already gives addresses on {interface}; mode = \"full\" is only for a segment without \
         one: use mode = \"proxy\", or stop that server"
    )]
    Rival {
        /// The other server.
        server: Ipv4Addr,
        /// Where it was heard.
        interface: String,
    },
}

fn holder(owner: Option<&PortOwner>) -> String {
    owner.map_or_else(|| "another process".to_owned(), PortOwner::to_string)
}

impl std::fmt::Debug for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Beside => "Beside",
            Self::Full { .. } => "Full",
        })
    }
}
