//! What is answered about guests: types that pages and API show.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Layer;
use crate::apps::Library;
use crate::domain::app::{AppId, Catalog};
use crate::domain::boundary::Boundary;
use crate::domain::id::{NodeName, StorageId};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::domain::time::Timestamp;
use crate::jobs::Engine;

/// The engine with its app layer. There is none when apps are switched off.
#[derive(Clone, Debug)]
pub struct Guests {
    engine: Engine,
    layer: Arc<Layer>,
}

impl Engine {
    /// The app layer's operations; `None`: switched off.
    #[must_use]
    pub fn guests(&self) -> Option<Guests> {
        let layer = self.context().apps.as_ref()?;
        Some(Guests { engine: self.clone(), layer: Arc::clone(layer) })
    }
}

impl Guests {
    /// The engine that carries everything out.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the configuration approves, as far as pages name it.
    #[must_use]
    pub fn site(&self) -> Site {
        let apps = &self.layer.apps;
        Site {
            boundary: apps.boundary.clone(),
            jobs_at_once: apps.jobs_at_once,
            publishes: apps.services.is_some(),
        }
    }

    /// The catalog's owner, to be run.
    #[must_use]
    pub fn library(&self) -> Library {
        self.layer.library.clone()
    }

    /// Does what is due without anybody asking, until the stop.
    pub async fn keep_house(self, stop: CancellationToken) {
        super::schedule::keep_house(self.engine, stop).await;
    }

    /// All apps as last read.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        self.layer.library.catalog()
    }
}

impl Guests {
    /// The icon of an app of the catalog, a PNG; `None`: it has none.
    ///
    /// # Errors
    /// Its files are gone since the catalog was read.
    pub async fn app_icon(&self, id: &AppId) -> Result<Option<Vec<u8>>, Refusal> {
        let catalog = self.catalog();
        let Some(app) = catalog.get(id).filter(|app| app.provenance.icon) else { return Ok(None) };
        let folder = self.layer.library.files(&app.provenance.hash).await.map_err(|error| {
            Refusal::new(RefusalKind::NotFound, with_causes(&error), "refresh the catalog")
        })?;
        Ok(folder.icon().map(<[u8]>::to_vec))
    }
}

/// The configured app layer, as far as pages name it.
#[derive(Debug, Clone)]
pub struct Site {
    /// Approved places and sizes.
    pub boundary: Boundary,
    /// Work on guests at a time; of one guest it is always one.
    pub jobs_at_once: usize,
    /// A reverse proxy's repository is configured: services can be exposed.
    pub publishes: bool,
}

/// A backup of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archive {
    /// Volume id.
    pub volid: String,
    /// Where it is.
    pub storage: StorageId,
    /// The node that reported it.
    pub node: NodeName,
    /// Bytes.
    pub size: u64,
    /// When it was made.
    pub made: Timestamp,
}

/// The backups of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Archives {
    /// Newest first.
    pub found: Vec<Archive>,
    /// Storages that could not be looked at, one sentence each.
    pub problems: Vec<String>,
}

/// How a guest is just now, as its node reports it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Vitals {
    /// `running`, `stopped`, or `unknown` when the node does not answer.
    pub status: String,
    /// Share of its cores in use, 0 to 1.
    pub cpu: f64,
    /// Bytes of memory in use.
    pub memory: u64,
    /// Bytes of memory it may use.
    pub memory_max: u64,
    /// Bytes of its root disk in use.
    pub disk: u64,
    /// Bytes of its root disk.
    pub disk_max: u64,
    /// Bytes received since its start.
    pub network_in: u64,
    /// Bytes sent since its start.
    pub network_out: u64,
    /// Seconds since its start.
    pub uptime: u64,
    /// Addresses it has.
    pub addresses: Vec<IpAddr>,
    /// Link to its console in the node's own pages.
    pub console: String,
    /// Why the node did not answer.
    pub problem: String,
}
