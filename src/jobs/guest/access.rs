//! How drivers reach the cluster: the API through any enrolled node, the root channel of one node, and the three marks
//! that every change needs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::apps::Library;
use crate::apps::publish::Publisher;
use crate::config::apps::Apps;
use crate::domain::boundary;
use crate::domain::discovery::Discovery;
use crate::domain::fault::ErrorClass;
use crate::domain::guest::Guest;
use crate::domain::id::NodeName;
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::secret::Secret;
use crate::jobs::engine::Engine;
use crate::jobs::enroll::Waiting;
use crate::jobs::reach::{API_PORT, SSH_PORT};
use crate::jobs::runner::StepFailure;
use crate::limits::operator::JOURNALS;
use crate::node::EphemeralKey;
use crate::node::channel::Channel;
use crate::node::ssh::Target;
use crate::plan::guest::marks::{self, Seen};
use crate::proto::pve::ContainerConfig;
use crate::pve::{self, ApiToken, Cluster, Member, PveError};
use crate::store::{GuestReads as _, NodeReads as _, SecretReads as _, of_node};

/// Sealed secret of a node: the API token's value.
pub(in crate::jobs) const TOKEN_SECRET: &str = "api-token";
/// Sealed secret of a node: the private key of its root channel.
pub(in crate::jobs) const CHANNEL_SECRET: &str = "channel-key";

/// What a login on the LAN gets.
const LOGIN: Duration = Duration::from_secs(15);

/// The app layer's part of the engine. Absent when apps are switched off.
#[derive(Debug)]
pub struct Layer {
    /// The configured app layer.
    pub apps: Apps,
    /// The catalog, and the folders of what is installed.
    pub library: Library,
    /// Writes service definitions; `None`: nothing is published.
    pub(super) publisher: Option<Publisher>,
    /// Work on guests at a time.
    pub(in crate::jobs) places: Semaphore,
    /// Journals of guests that are read at a time: each is a login at a node.
    readings: Semaphore,
    /// Enrolment commands that were handed out.
    pub(in crate::jobs) pasted: Waiting,
    pub(super) discovery: tokio::sync::Mutex<Option<Arc<Discovery>>>,
    pub(super) cluster: Mutex<Option<(Vec<EnrolledNode>, Cluster)>>,
}

impl Layer {
    /// The layer of a configuration.
    #[must_use]
    pub fn new(apps: Apps, library: Library, publisher: Option<Publisher>) -> Self {
        let places = Semaphore::new(apps.jobs_at_once.max(1));
        Self {
            apps,
            library,
            publisher,
            places,
            readings: Semaphore::new(JOURNALS),
            pasted: Waiting::default(),
            discovery: tokio::sync::Mutex::new(None),
            cluster: Mutex::new(None),
        }
    }
}

impl Layer {
    /// A place for reading a guest's journal, for as long as it is held.
    ///
    /// # Errors
    /// Too many are being read.
    pub(super) fn reading(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.readings.try_acquire().map_err(|_| {
            Refusal::new(
                RefusalKind::TooMany,
                format!("{JOURNALS} journals are being read already."),
                "Try again in some seconds.",
            )
        })
    }
}

impl Engine {
    /// The app layer.
    ///
    /// # Errors
    /// When it is switched off.
    pub(in crate::jobs) fn layer(&self) -> Result<&Layer, Refusal> {
        self.inner.context.apps.as_deref().ok_or_else(|| {
            Refusal::new(
                RefusalKind::Unavailable,
                "apps are switched off",
                "set enabled = true in the section [apps] of the configuration and restart",
            )
        })
    }

    /// The cluster's API through the enrolled nodes. Connections are kept as long as the set of nodes is the same.
    ///
    /// # Errors
    /// When no node is enrolled, or the database fails.
    pub(in crate::jobs) async fn cluster(&self) -> Result<Cluster, Refusal> {
        let layer = self.layer()?;
        let key = self.store().master_key();
        let (nodes, token) = self
            .store()
            .read::<_, Refusal, _>(move |r| {
                let mut nodes = r.enrolled_nodes()?;
                // A node with a problem is tried last: its problem may be over.
                nodes.sort_by_key(|n| !n.problem.is_empty());
                let mut token = None;
                if let Some(first) = nodes.first() {
                    let value = r.secret(&key, &of_node(&first.name, TOKEN_SECRET))?;
                    token = value.map(|v| (first.token_id.clone(), Secret::new(v.to_string())));
                }
                Ok((nodes, token))
            })
            .await?;
        let Some((id, secret)) = token else {
            return Err(Refusal::new(
                RefusalKind::Unprocessable,
                "no node is enrolled",
                "enrol one on the page Nodes, or with: ironhatch node enroll ADDRESS",
            ));
        };
        let mut cached = layer.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, cluster)) = &*cached
            && known.iter().map(identity).eq(nodes.iter().map(identity))
        {
            return Ok(cluster.clone());
        }
        let members = nodes.iter().filter_map(member).collect();
        let cluster = Cluster::new(members, ApiToken { id, secret }, pve::Limits::default());
        *cached = Some((nodes, cluster.clone()));
        Ok(cluster)
    }

    /// One enrolled node.
    ///
    /// # Errors
    /// When it is not enrolled.
    pub(in crate::jobs) async fn enrolled(&self, name: &NodeName) -> Result<EnrolledNode, Refusal> {
        let wanted = name.clone();
        self.store()
            .read::<_, Refusal, _>(move |r| Ok(r.enrolled_node(&wanted)?))
            .await?
            .ok_or_else(|| {
                Refusal::new(
                    RefusalKind::Unprocessable,
                    format!("the node {name} is not enrolled"),
                    format!("enrol it: ironhatch node enroll ADDRESS-OF-{name}"),
                )
            })
    }

    /// A fresh connection to a node's root channel.
    ///
    /// # Errors
    /// When the node is not enrolled or does not let us in.
    pub(in crate::jobs) async fn channel(&self, name: &NodeName) -> Result<Channel, StepFailure> {
        let node = self.enrolled(name).await?;
        let key = self.store().master_key();
        let secret = of_node(name, CHANNEL_SECRET);
        let pem = self
            .store()
            .read::<_, Refusal, _>(move |r| Ok(r.secret(&key, &secret)?))
            .await?
            .ok_or_else(|| {
                StepFailure::for_good(
                    format!("the key of {name}'s root channel is gone from the database"),
                    "enrol the node again",
                )
            })?;
        let key = EphemeralKey::from_pem(&Secret::new(pem.to_string()))
            .map_err(|e| StepFailure::for_good(e.to_string(), "enrol the node again"))?;
        let target = Target {
            address: SocketAddr::new(node.address, SSH_PORT),
            user: "root".to_owned(),
            host_keys: node.ssh_host_keys,
        };
        Channel::connect(&target, &key, LOGIN).await.map_err(|error| {
            let reason = format!("the root channel of {name}: {}", with_causes(&error));
            let hint = "see that the node is up; after a reinstallation enrol it again";
            StepFailure::of(error.class(), reason, hint)
        })
    }

    /// Whether a guest may be changed: pool, tag and database, all three, seen now. Returns its configuration.
    ///
    /// # Errors
    /// The mark that is missing, or why the cluster cannot be asked.
    pub(in crate::jobs) async fn ours(
        &self,
        guest: &Guest,
    ) -> Result<ContainerConfig, StepFailure> {
        let cluster = self.cluster().await?;
        let pool = &self.layer()?.apps.boundary.pool;
        let config = cluster.config(&guest.node, guest.vmid).await.map_err(failed)?;
        let members = cluster.pool_members(pool).await.map_err(failed)?;
        let in_pool = members.is_some_and(|m| m.guests.contains(&guest.vmid));
        let id = guest.id;
        let recorded = self.store().read::<_, Refusal, _>(move |r| Ok(r.guest(id)?)).await?;
        let seen = Seen {
            vmid: guest.vmid,
            node: guest.node.clone(),
            pool: in_pool.then(|| pool.clone()),
            tags: config.get("tags").unwrap_or_default().to_owned(),
        };
        marks::may_change(recorded.as_ref(), &seen, pool).map_err(outside)?;
        Ok(config)
    }
}

fn outside(outside: boundary::Outside) -> StepFailure {
    StepFailure::for_good(
        format!("{outside}: nothing about it is changed"),
        "somebody changed its pool or tags; put both back, as root on the node",
    )
}

/// What makes a node another one for a connection.
fn identity(node: &EnrolledNode) -> (&NodeName, std::net::IpAddr, &str, &str, i64) {
    // The time of enrolment stands for the token's value, which enrolment renews.
    (&node.name, node.address, &node.api_fingerprint, &node.token_id, node.enrolled.0)
}

fn member(node: &EnrolledNode) -> Option<Member> {
    Some(Member {
        name: node.name.clone(),
        address: SocketAddr::new(node.address, API_PORT),
        fingerprint: fingerprint(&node.api_fingerprint)?,
    })
}

fn fingerprint(hex: &str) -> Option<[u8; 32]> {
    crate::plan::answer::access::fingerprint(hex)
}

/// An error of the API as a step's failure.
pub(in crate::jobs) fn failed(error: PveError) -> StepFailure {
    StepFailure::of(error.class(), with_causes(&error), hint(&error))
}

/// An error of the API as a refusal of a request.
pub(in crate::jobs) fn unavailable(error: PveError) -> Refusal {
    let kind = match error.class() {
        ErrorClass::Transient => RefusalKind::Unavailable,
        ErrorClass::Denied => RefusalKind::Unprocessable,
        ErrorClass::Broken => RefusalKind::Internal,
    };
    let hint = hint(&error);
    Refusal::new(kind, with_causes(&error), hint)
}

/// What an operator can do about an error of the API.
fn hint(error: &PveError) -> &'static str {
    match error {
        PveError::Unreachable { .. } | PveError::NotConnected { .. } => {
            "see that the node is up and that port 8006 answers"
        }
        PveError::Certificate { .. } => {
            "the node was reinstalled or joined another cluster: enrol it again, after a look at who it is"
        }
        PveError::Unauthenticated { .. } => "the token was revoked: enrol the node again",
        PveError::Forbidden { .. } => {
            "the token lacks this right; enrol the node again to renew its roles and access lists"
        }
        PveError::NoQuorum { .. } => "bring the cluster's other nodes back first",
        PveError::Locked { .. } => {
            "a task is at work on the guest; wait for it, or remove a stale lock on the node"
        }
        PveError::Unknown { .. } | PveError::Interrupted { .. } | PveError::StillRunning { .. } => {
            "look at the guest in the node's own pages, then try again"
        }
        _ => "correct the cause on the node, then try again",
    }
}
