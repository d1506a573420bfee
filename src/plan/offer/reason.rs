//! Why a packet is met with silence, in plain words.

use std::fmt;
use std::net::Ipv4Addr;

use crate::domain::boot::{BootFact, Silence};
use crate::domain::id::Hostname;
use crate::proto::dhcp::MessageType;
use crate::proto::pxe::{Architecture, Protocol};

/// Why a packet is met with silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An ordinary DHCP client.
    NotNetboot,
    /// No message type: BOOTP, older than DHCP.
    Bootp,
    /// A message that asks nothing of a boot server.
    NotForUs(MessageType),
    /// The client took the address that another DHCP server offered.
    TookLease {
        /// That server.
        server: Ipv4Addr,
        /// The address, when the client repeated it.
        address: Option<Ipv4Addr>,
    },
    /// The client asks for an address that it had before.
    Renewal,
    /// Nobody registered the machine and the configuration ignores such machines.
    UnknownIgnored,
    /// The operator dismissed the machine.
    Dismissed,
    /// Registered, and no rebuild is waiting.
    Idle {
        /// The host's name.
        host: Hostname,
    },
    /// Firmware for which we have no boot program.
    Unserved {
        /// What it said it is.
        architecture: Architecture,
        /// How it wanted to fetch the program.
        protocol: Protocol,
    },
    /// A boot client that did not say its architecture.
    NoArchitecture,
    /// The firmware wants boot files signed by the boot integrity services.
    SignedBoot,
    /// The same machine came back too often for the program that should have replaced it.
    Loop,
    /// Full mode: the request came from a network for which there is no pool.
    OtherNetwork,
    /// Full mode: every address is lent.
    PoolExhausted,
    /// Full mode: the client gave an address back.
    Released {
        /// The address.
        address: Ipv4Addr,
    },
    /// Full mode: the client found the address in use by somebody else.
    Declined {
        /// The address.
        address: Ipv4Addr,
    },
}

impl Reason {
    /// Whether the operator should read it. What ordinary machines say to their DHCP server is only counted.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        !matches!(self, Self::NotNetboot | Self::Bootp)
    }

    /// What it means for the machine's boot; `None` when nothing follows from it.
    #[must_use]
    pub fn fact(&self) -> Option<BootFact> {
        let cause = match self {
            Self::TookLease { server, .. } => {
                return Some(BootFact::TookAddress { server: *server });
            }
            Self::Idle { .. } => Silence::Idle,
            Self::Dismissed => Silence::Dismissed,
            Self::UnknownIgnored => Silence::Ignored,
            Self::Unserved { .. } | Self::NoArchitecture => Silence::Unserved,
            Self::SignedBoot => Silence::SignedBoot,
            Self::Loop => Silence::Loop,
            Self::OtherNetwork | Self::PoolExhausted => Silence::NoAddress,
            Self::NotNetboot
            | Self::Bootp
            | Self::NotForUs(_)
            | Self::Renewal
            | Self::Released { .. }
            | Self::Declined { .. } => return None,
        };
        Some(BootFact::Silent { cause })
    }

    /// Short name for metrics. A contract with dashboards: never renamed.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotNetboot => "not_netboot",
            Self::Bootp => "bootp",
            Self::NotForUs(_) => "not_for_us",
            Self::TookLease { .. } => "took_lease",
            Self::Renewal => "renewal",
            Self::UnknownIgnored => "unknown_ignored",
            Self::Dismissed => "dismissed",
            Self::Idle { .. } => "idle",
            Self::Unserved { .. } => "unserved_architecture",
            Self::NoArchitecture => "no_architecture",
            Self::SignedBoot => "signed_boot",
            Self::Loop => "loop",
            Self::OtherNetwork => "other_network",
            Self::PoolExhausted => "pool_exhausted",
            Self::Released { .. } => "released",
            Self::Declined { .. } => "declined",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNetboot => f.write_str("silent: not a network boot request"),
            Self::Bootp => f.write_str("silent: a BOOTP request, not DHCP"),
            Self::NotForUs(message) => {
                write!(f, "silent: a {message} asks nothing of a boot server")
            }
            Self::TookLease { server, address: Some(address) } => {
                write!(f, "silent: the machine took address {address} from DHCP server {server}")
            }
            Self::TookLease { server, address: None } => {
                write!(f, "silent: the machine chose DHCP server {server}")
            }
            Self::Renewal => f.write_str(
                "silent: the machine asks its DHCP server for the address it had before",
            ),
            Self::UnknownIgnored => f.write_str(
                "silent: the machine is not registered and pxe.unknown is \"ignore\"; \
                 register it, or set \"enroll\"",
            ),
            Self::Dismissed => {
                f.write_str("silent: the operator dismissed this machine from the sightings")
            }
            Self::Idle { host } => {
                write!(f, "silent: no rebuild of {host} is waiting, so it boots from its own disk")
            }
            Self::Unserved { architecture, protocol: Protocol::Pxe } => write!(
                f,
                "refused: {architecture} (architecture {}) cannot run Proxmox VE; \
                 BIOS and UEFI x64 machines are served",
                architecture.code()
            ),
            Self::Unserved { architecture, protocol: Protocol::Http } => write!(
                f,
                "refused: HTTP boot of {architecture} (architecture {}) is not served; \
                 UEFI x64 machines are",
                architecture.code()
            ),
            Self::NoArchitecture => f.write_str(
                "refused: the boot request names no architecture, neither in option 93 nor in 60",
            ),
            Self::SignedBoot => f.write_str(
                "silent: the firmware wants signed boot files (boot integrity services), \
                 which do not exist here",
            ),
            Self::Loop => f.write_str(
                "silent: this iPXE cannot load by HTTP, was given a newer one several times and \
                 came back; it boots from its next device. Try another boot program for this host",
            ),
            Self::OtherNetwork => {
                f.write_str("silent: the request came from a network that the pool is not for")
            }
            Self::PoolExhausted => f.write_str(
                "silent: every address of the pool is lent; enlarge it or shorten the lease time",
            ),
            Self::Released { address } => write!(f, "the machine gave {address} back"),
            Self::Declined { address } => write!(
                f,
                "the machine found {address} in use by somebody else; it is not lent for an hour"
            ),
        }
    }
}
