//! HTTP for operators: pages, the JSON API, the event stream, login.
//!
//! ```text
//!  browser ── cookie ──┐
//!                      ├─> auth::require_operator ─> page::* (HTML) | api::* (JSON) | stream (SSE)
//!  control socket ─────┘            │                     │ reads: snapshots of the store
//!   (ControlSocket marker)          └─ 401 or /login      └ changes: Operations (the job engine)
//! ```
//!
//! Nothing here decides what may happen to a host: requests are parsed into typed values, handed to [`Operations`], and
//! its refusals are shown with the same words in page, API and command line. Routes for machines are not in this router.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderName;
use axum::middleware;
use ipnet::IpNet;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::config::live::ConfigView;
use crate::domain::id::ServerTypeName;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::ServerType;
use crate::limits::operator::MOST_STREAMS;
use crate::store::Store;

mod api;
mod asset;
mod auth;
mod boot;
mod bundle;
mod doctor;
mod draft;
mod entry;
pub mod file;
mod form;
mod header;
pub mod machine;
mod markdown;
pub mod metrics;
mod notify;
mod once;
mod operation;
mod page;
mod power;
mod problem;
pub mod serve;
mod settings;
mod stream;
pub mod tls;
mod traffic;
mod view;

#[cfg(test)]
pub(crate) mod test;

pub use auth::{
    ControlSocket, LocalUser, TlsTransport, adopt_old_access, check_password, setup_link,
};
pub use bundle::Bundles;
pub use doctor::Doctor;
pub use notify::{Notifier, Tested};
pub use operation::{
    Archive, Archives, AskCluster, GuestOperations, Operations, Site, TypeOperations, Vitals,
};
pub use problem::not_found;
pub use traffic::{Traffic, counted};

/// Server types as the pages and the API need them.
#[derive(Debug, Clone, Default)]
pub struct ServerTypeList {
    /// The valid ones, by name.
    pub types: Vec<ServerType>,
    /// What is wrong with files that could not be used, one sentence each.
    pub errors: Vec<String>,
}

impl ServerTypeList {
    /// The type with this name.
    #[must_use]
    pub fn get(&self, name: &ServerTypeName) -> Option<&ServerType> {
        self.types.iter().find(|t| t.name == *name)
    }
}

/// What the operator's router is built from.
#[derive(Clone)]
pub struct WebParts {
    /// Carries out what operators ask for.
    pub operations: Arc<dyn Operations>,
    /// Carries out what concerns apps, guests and nodes; `None` when apps are switched off.
    pub guests: Option<Arc<dyn GuestOperations>>,
    /// The database, for reading and for sessions.
    pub store: Store,
    /// Server types, as they are reloaded.
    pub types: watch::Receiver<Arc<ServerTypeList>>,
    /// Version of this program.
    pub version: &'static str,
    /// Where machines and operators reach the appliance.
    pub public_url: String,
    /// What the listeners carry and which limits were met.
    pub traffic: Traffic,
    /// Looks for what is wrong with LAN and installation.
    pub doctor: Arc<dyn Doctor>,
    /// The configuration: what is in effect, and what the file says now.
    pub config: watch::Receiver<Arc<ConfigView>>,
    /// Tries notification targets out.
    pub notifier: Arc<dyn Notifier>,
    /// Gathers debug bundles.
    pub bundles: Arc<dyn Bundles>,
    /// Numbers of the other parts, for metrics.
    pub meters: Arc<dyn metrics::Meters>,
    /// A reverse proxy that says who somebody is; `None`: nobody is believed.
    pub proxy: Option<Arc<TrustedProxy>>,
    /// Ends event streams, so that a shutdown can drain.
    pub cancel: CancellationToken,
}

/// A reverse proxy that logs people in: in which header it names them, from where it asks, and whether its
/// `X-Forwarded-For` counts.
#[derive(Debug, Clone)]
pub struct TrustedProxy {
    header: HeaderName,
    from: Vec<IpNet>,
    forwarded_for: bool,
}

impl TrustedProxy {
    /// With `forwarded_for` it also tells for whose address it asks. `None` when `header` cannot be a header's name.
    #[must_use]
    pub fn new(header: &str, from: Vec<IpNet>, forwarded_for: bool) -> Option<Self> {
        Some(Self { header: header.parse().ok()?, from, forwarded_for })
    }

    fn sends_from(&self, address: IpAddr) -> bool {
        self.from.iter().any(|net| net.contains(&address))
    }
}

impl std::fmt::Debug for WebParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebParts").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub struct WebState {
    parts: WebParts,
    gate: Arc<auth::LoginGate>,
    streams: Arc<Semaphore>,
    drafts: Arc<draft::Drafts>,
    texts: Arc<stream::Texts>,
    /// Told whenever an account, a session or a token ends.
    access: Arc<watch::Sender<()>>,
    under_way: once::UnderWay,
    /// From which the form tokens of those follow whom a proxy names.
    proxy_key: Arc<str>,
}

impl std::fmt::Debug for WebState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebState").field("store", &self.parts.store).finish_non_exhaustive()
    }
}

impl WebState {
    /// Handlers' state with the usual limits.
    #[must_use]
    pub fn new(parts: WebParts) -> Self {
        let drafts = draft::Drafts::new(parts.traffic.over().clone());
        Self {
            parts,
            gate: Arc::new(auth::LoginGate::new()),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            drafts: Arc::new(drafts),
            texts: Arc::default(),
            access: Arc::new(watch::Sender::new(())),
            under_way: once::UnderWay::default(),
            proxy_key: auth::random_token().into(),
        }
    }

    /// Lets open streams look again whether they may go on.
    fn access_changed(&self) {
        self.access.send_replace(());
    }

    fn store(&self) -> &Store {
        &self.parts.store
    }

    fn operations(&self) -> &dyn Operations {
        &*self.parts.operations
    }

    /// What concerns apps, guests and nodes.
    fn guests(&self) -> Result<&dyn GuestOperations, Refusal> {
        self.parts.guests.as_deref().ok_or_else(|| {
            Refusal::new(
                RefusalKind::NotFound,
                "Apps are switched off.",
                "Set enabled = true in the section [apps] of the configuration, and restart the appliance.",
            )
        })
    }

    fn config(&self) -> Arc<ConfigView> {
        Arc::clone(&self.parts.config.borrow())
    }

    fn types(&self) -> Arc<ServerTypeList> {
        Arc::clone(&self.parts.types.borrow())
    }
}

/// The operators' router. It can be merged with other routers: its login applies to its own routes only, and it has no
/// fallback (use [`not_found`]).
///
/// Requests that carry the [`ControlSocket`] extension need no login; the peer's address for the login rate limit is
/// read from `axum::extract::ConnectInfo<SocketAddr>`, TLS from the [`TlsTransport`] extension.
pub fn router(state: WebState) -> Router {
    let guarded = page::router()
        .merge(api::router())
        .route_layer(middleware::from_fn_with_state(state.clone(), auth::require_operator));
    let open = auth::router().merge(asset::router()).merge(api::open_router());
    guarded
        .merge(open)
        .layer(middleware::from_fn_with_state(state.clone(), auth::note_client))
        .layer(middleware::from_fn(header::secure))
        .with_state(state)
}
