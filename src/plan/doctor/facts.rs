//! What was looked at, as it was seen. What could not be looked at is `None` or says why.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::domain::time::Timestamp;
use crate::proto::dhcp::probe::HeardOffer;

/// Everything that one look saw.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// When the look began, by this machine's clock.
    pub now: Timestamp,
    /// Whether the daemon runs.
    pub daemon: Daemon,
    /// Configuration, server types and templates.
    pub configuration: Configuration,
    /// Ports that the configuration needs.
    pub ports: Vec<Port>,
    /// Network boot; `None`: switched off, or the configuration cannot be read.
    pub network_boot: Option<NetworkBoot>,
    /// The address that machines are told; `None`: the configuration cannot be read.
    pub public_url: Option<PublicUrl>,
    /// The data directory; `None`: as above.
    pub storage: Option<Storage>,
    /// Images; `None`: no daemon runs, and its database is not opened without it.
    pub images: Option<Vec<ImageFacts>>,
    /// This machine's clock.
    pub clock: ClockFacts,
    /// The certificate; `None`: HTTPS is off.
    pub certificate: Option<CertificateFacts>,
    /// The cluster; `None`: the configuration cannot be read.
    pub cluster: Option<ClusterFacts>,
}

/// Whether the daemon runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Daemon {
    /// It is the one that looks.
    #[default]
    Runs,
    /// Nobody answers on the control socket, for this reason.
    Absent(String),
}

/// Configuration, server types and templates.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// What stops the start or a rebuild, one sentence each.
    pub errors: Vec<String>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
    /// How many server types can be used.
    pub server_types: usize,
}

/// A port that the configuration needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// What it is for, with protocol and number: `UDP 67 (DHCP)`.
    pub name: &'static str,
    /// The number where it is not fixed: HTTP.
    pub number: u16,
    /// Who has it.
    pub holder: Holder,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The daemon that looks.
    Us,
    /// Nobody: the daemon could take it.
    Free,
    /// Another program; its name where `/proc` tells.
    Other(Option<String>),
    /// It could not be tried.
    Unknown(String),
}

/// Network boot.
#[derive(Debug, Clone)]
pub struct NetworkBoot {
    /// The one DHCP server of the segment is this daemon (`mode = "full"`).
    pub full: bool,
    /// The segment that is served.
    pub subnet: Ipv4Net,
    /// Each configured interface.
    pub segments: Vec<Segment>,
    /// Requests that came through a relay since the start; `None`: no daemon runs.
    pub relayed: Option<u64>,
}

/// One interface that machines boot from.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    /// Its name.
    pub interface: String,
    /// `None`: there is no such interface.
    pub link: Option<Link>,
    /// What was heard after a question of our own.
    pub heard: Heard,
}

/// An interface as the kernel has it.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// It is up and its cable carries.
    pub carries: bool,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Largest packet in bytes; `None`: not known.
    pub mtu: Option<u32>,
}

/// What was heard after a DISCOVER of our own.
#[derive(Debug, Clone, Default)]
pub enum Heard {
    /// Nobody was asked, for this reason.
    NotAsked(String),
    /// Nothing needs to be asked: the interface cannot carry it.
    #[default]
    Nothing,
    /// These answers came.
    Answers {
        /// How long was listened.
        listened: Duration,
        /// The first offer of each server.
        offers: Vec<TimedOffer>,
        /// What the daemon heard of our own questions; `None`: no daemon runs.
        own: Option<OwnEars>,
    },
}

/// One offer, and when it came.
#[derive(Debug, Clone)]
pub struct TimedOffer {
    /// Time from the first question.
    pub after: Duration,
    /// It came from this machine.
    pub ours: bool,
    /// What it says.
    pub offer: HeardOffer,
}

/// Which of our own questions reached the daemon through the interface, as a machine's would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnEars {
    /// A DISCOVER to UDP 67.
    pub dhcp: bool,
    /// A request to UDP 4011.
    pub boot_server: bool,
    /// A read request to UDP 69, answered.
    pub tftp: bool,
}

/// The address that machines are told.
#[derive(Debug, Clone)]
pub struct PublicUrl {
    /// The URL.
    pub url: String,
    /// Its host.
    pub address: IpAddr,
    /// Whether this machine has that address.
    pub is_here: bool,
    /// What answered there; `None`: nobody was asked, because no daemon runs.
    pub answer: Option<Answer>,
}

/// What answered under the public URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This daemon.
    Us,
    /// Something else.
    Other,
    /// Nothing, for this reason.
    Silence(String),
}

/// The data directory.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Where it is.
    pub path: String,
    /// Why it cannot be used; `None`: it can.
    pub unusable: Option<String>,
    /// Bytes that are free on its disk; `None`: not known.
    pub free: Option<u64>,
}

/// One image.
#[derive(Debug, Clone)]
pub struct ImageFacts {
    /// Its id.
    pub id: String,
    /// Major and minor release.
    pub release: Option<(u32, u32)>,
    /// Why it cannot be served; `None`: it can.
    pub unusable: Option<String>,
}

/// This machine's clock.
#[derive(Debug, Clone, Default)]
pub struct ClockFacts {
    /// The newest time that is written down, which cannot be later than now; `None`: none was read.
    pub newest_record: Option<Timestamp>,
    /// What keeps it right.
    pub keeper: ClockKeeper,
}

/// What keeps a clock right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClockKeeper {
    /// This time service says that it is synchronised, or runs.
    Service(&'static str),
    /// A container has the clock of its host.
    Host,
    /// None was found.
    #[default]
    Nobody,
}

/// The certificate of the TLS listener.
#[derive(Debug, Clone)]
pub enum CertificateFacts {
    /// It cannot be read, for this reason.
    Unreadable(String),
    /// None was made yet: the daemon makes one at its start.
    Missing,
    /// What it says.
    Seen {
        /// It may not be used before.
        not_before: Timestamp,
        /// It may not be used after.
        not_after: Timestamp,
        /// Names and addresses that it is for.
        names: Vec<String>,
    },
}

/// The cluster.
#[derive(Debug, Clone)]
pub struct ClusterFacts {
    /// The member that hosts are joined through, and whether its ports answer; `None`: none is configured.
    pub member: Option<MemberFacts>,
    /// What the API tells; `None`: apps are off, or no daemon runs, and there is no token.
    pub api: Option<Api>,
}

/// The configured member.
#[derive(Debug, Clone)]
pub struct MemberFacts {
    /// Its address as configured.
    pub name: String,
    /// Why SSH (22) cannot be reached; `None`: it can.
    pub ssh: Option<String>,
    /// Why the API (8006) cannot be reached; `None`: it can.
    pub api: Option<String>,
}

/// What came of asking the API with our token.
#[derive(Debug, Clone)]
pub enum Api {
    /// Apps are on, and no node is enrolled yet.
    NoNode,
    /// It could not be asked, for this reason.
    Failed(String),
    /// The cluster does not take the token, for this reason.
    Refused(String),
    /// It answered.
    Told(Box<ApiFacts>),
}

/// What the API told.
#[derive(Debug, Clone, Default)]
pub struct ApiFacts {
    /// Major and minor release of the member that answered, and its text.
    pub release: Option<((u32, u32), String)>,
    /// Whether that release is supported.
    pub supported: bool,
    /// Whether the cluster can decide; `None`: it is a node without a cluster, or it was not told.
    pub quorate: Option<bool>,
    /// Names of nodes that are offline.
    pub offline: Vec<String>,
    /// How many nodes there are.
    pub nodes: usize,
    /// Rights that the token should have and has not, as `PATH PRIVILEGE`.
    pub missing_rights: Vec<String>,
    /// Enrolled nodes that cannot be used, as a sentence each.
    pub problems: Vec<String>,
    /// Milliseconds by which a node's clock is ahead of ours, by name.
    pub clocks: Vec<(String, i64)>,
}
