//! The Proxmox VE API: every call that Ironhatch makes, over TLS with pinned certificates.
//!
//! ```text
//!  caller ── one function per call (guest, storage, task, cluster, pool, access)
//!               └─ call: parameters into query or form, which member, retry, meaning of errors
//!                    └─ wire: one TLS connection per request, limits, reason phrase
//! ```
//!
//! A read is repeated and falls over to another member. A change is sent at most once: it goes to another member only when it
//! was certainly not sent, and when its fate is not known the caller gets [`PveError::Unknown`] and looks. Nothing is
//! decided here and nothing is kept: long work is a task of the cluster, whose name the caller stores.

mod access;
mod call;
mod cluster;
mod error;
mod guest;
mod guest_change;
mod pool;
mod storage;
mod task;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::crypto::CryptoProvider;

pub use access::Permissions;
pub use error::{Call, PveError};
pub use guest::{ContainerStatus, Interface, Snapshot};
pub use guest_change::{
    Backup, BackupMode, ConfigChange, Destroy, NewContainer, RestoreContainer, Shutdown,
};
pub use pool::PoolMembers;
pub use storage::{Appliance, Content, StorageStatus, Volume};

pub use crate::proto::pve::{
    ContainerConfig, GuestKind, GuestRow, Missing, NodeStatus, PropertyString, PveVersion, TaskEnd,
    TaskState, Upid,
};

use crate::domain::id::NodeName;
use crate::domain::secret::Secret;

/// One member of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// Where its API answers; port 8006.
    pub address: SocketAddr,
    /// SHA-256 of the DER of the only certificate that it may show.
    pub fingerprint: [u8; 32],
}

/// A token of a user of the cluster. All members know it.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// `USER@REALM!TOKEN`.
    pub id: String,
    /// Its UUID.
    pub secret: Secret<String>,
}

/// How long and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection with TLS stands.
    pub connect: Duration,
    /// From the request to the end of its answer. Never below [`Limits::SHORTEST_CALL`].
    pub call: Duration,
    /// Longest answer in bytes.
    pub answer_bytes: usize,
    /// How often all members are tried for a read, at least once.
    pub rounds: u32,
    /// Pause before the second round; it doubles with each.
    pub pause: Duration,
    /// Pause between two looks at a task.
    pub poll: Duration,
}

impl Limits {
    /// Proxmox VE delays a refused token by 3 s (PVE 8.2 to 9.2); with less time than this it would look like a dead node.
    pub const SHORTEST_CALL: Duration = Duration::from_secs(5);
}

impl Default for Limits {
    /// The server gives up on a call for another node after 30 s; the call's limit is a little longer, so that the
    /// server's reason is seen. The list of downloadable templates is the longest answer, some 200 KiB.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(35),
            answer_bytes: 8 * 1024 * 1024,
            rounds: 2,
            pause: Duration::from_secs(1),
            poll: Duration::from_secs(1),
        }
    }
}

/// A cluster as one token sees it. Clones share everything.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    members: Vec<Member>,
    token: ApiToken,
    limits: Limits,
    provider: Arc<CryptoProvider>,
    /// Index of the member that answered last.
    answered: AtomicUsize,
}

impl Cluster {
    /// A client. Connects to nothing yet.
    #[must_use]
    pub fn new(members: Vec<Member>, token: ApiToken, limits: Limits) -> Self {
        let limits = Limits {
            call: limits.call.max(Limits::SHORTEST_CALL),
            rounds: limits.rounds.max(1),
            ..limits
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let answered = AtomicUsize::new(0);
        Self { inner: Arc::new(Inner { members, token, limits, provider, answered }) }
    }

    /// The members that it was made with.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.inner.members
    }

    /// The token's id, without its secret.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.inner.token.id
    }

    /// Members in the order in which they are tried: the node that the call is about, since it needs no forwarding, then the
    /// one that answered last, then the others.
    fn order(&self, node: Option<&str>) -> Vec<usize> {
        let members = &self.inner.members;
        let last = self.inner.answered.load(Ordering::Relaxed);
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&n| (Some(members[n].name.as_str()) != node, n != last, n));
        order
    }
}

#[cfg(test)]
mod test;
