//! Storages of a node and what is on them: templates, backups, volumes.

use serde_json::Value;

use super::call::{Ask, upid};
use super::{Cluster, PveError, Upid};
use crate::domain::discovery::StorageFacts;
use crate::domain::id::{NodeName, StorageId};
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;
use crate::proto::pve::value::{flag_of, number_of, text_of};

/// A storage as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageStatus {
    /// Its name.
    pub id: StorageId,
    /// `zfspool`, `lvmthin`, `dir`, …
    pub kind: String,
    /// What it may hold, sorted: `backup`, `rootdir`, `vztmpl`, …
    pub content: Vec<String>,
    /// It works just now.
    pub active: bool,
    /// Shared by all nodes.
    pub shared: bool,
    /// Bytes in all.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that are free.
    pub available: u64,
}

impl StorageStatus {
    /// The same in GiB, as discovery keeps it.
    #[must_use]
    pub fn facts(&self) -> StorageFacts {
        StorageFacts {
            id: self.id.clone(),
            kind: self.kind.clone(),
            content: self.content.clone(),
            shared: self.shared,
            free_gb: self.available >> 30,
            total_gb: self.total >> 30,
        }
    }
}

/// Kinds of content that are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// OS templates of containers.
    Template,
    /// Backups.
    Backup,
    /// Volumes of containers.
    RootDir,
}

impl Content {
    fn word(self) -> &'static str {
        match self {
            Self::Template => "vztmpl",
            Self::Backup => "backup",
            Self::RootDir => "rootdir",
        }
    }
}

/// Something on a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its id: `local:vztmpl/debian-12-….tar.zst`.
    pub volid: String,
    /// `tzst`, `tar.zst`, `raw`, `subvol`, …
    pub format: String,
    /// Bytes.
    pub size: u64,
    /// When it was made; `None`: the storage does not say.
    pub made: Option<Timestamp>,
    /// The guest that it belongs to.
    pub vmid: Option<Vmid>,
    /// Notes of a backup.
    pub notes: String,
    /// A backup that cannot be deleted until that is taken back.
    pub protected: bool,
}

/// An OS template that a node could download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appliance {
    /// File name, which is also what the download is asked for by.
    pub template: String,
    /// SHA-512 in lower-case hex; the node checks it.
    pub sha512: String,
    /// `debian-12`, …
    pub os: String,
    /// Its version.
    pub version: String,
    /// `system`, `turnkeylinux`, …
    pub section: String,
    /// For people.
    pub headline: String,
}

impl Cluster {
    /// Storages that are enabled on a node and that the token may use. Scanning a slow one takes long.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn storages(&self, node: &NodeName) -> Result<Vec<StorageStatus>, PveError> {
        let ask = Ask::get(&["nodes", node.as_str(), "storage"]).flag("enabled", true);
        let mut rows = self.ask_rows(ask, read_storage).await?;
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(rows)
    }

    /// What is on a storage, of one kind and, when it is said, of one guest; sorted by id.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn content(
        &self,
        node: &NodeName,
        storage: &StorageId,
        content: Content,
        vmid: Option<Vmid>,
    ) -> Result<Vec<Volume>, PveError> {
        let path = ["nodes", node.as_str(), "storage", storage.as_str(), "content"];
        let ask = Ask::get(&path).with("content", content.word()).with_some("vmid", vmid);
        let mut rows = self.ask_rows(ask, read_volume).await?;
        rows.sort_by(|a, b| a.volid.cmp(&b.volid));
        Ok(rows)
    }

    /// OS templates that a node could download.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn appliance_index(&self, node: &NodeName) -> Result<Vec<Appliance>, PveError> {
        self.ask_rows(Ask::get(&["nodes", node.as_str(), "aplinfo"]), read_appliance).await
    }

    /// Starts the download of an OS template.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::Invalid`] for a name that the node's index does not have.
    pub async fn download_template(
        &self,
        node: &NodeName,
        storage: &StorageId,
        template: &str,
    ) -> Result<Upid, PveError> {
        let ask = Ask::post(&["nodes", node.as_str(), "aplinfo"]);
        self.ask_task(ask.with("storage", storage).with("template", template)).await
    }

    /// Deletes a volume: a backup, an unused disk. A volume that is not there counts as deleted. `None`: it was deleted at once.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn delete_volume(
        &self,
        node: &NodeName,
        storage: &StorageId,
        volid: &str,
    ) -> Result<Option<Upid>, PveError> {
        let path = ["nodes", node.as_str(), "storage", storage.as_str(), "content", volid];
        let data = self.ask(Ask::delete(&path)).await?;
        Ok(upid(&data))
    }
}

pub(super) fn read_storage(row: &Value) -> Option<StorageStatus> {
    let mut content: Vec<String> =
        text_of(row, "content").split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
    // The cluster lists them in random order.
    content.sort();
    Some(StorageStatus {
        id: text_of(row, "storage").parse().ok()?,
        kind: text_of(row, "type"),
        content,
        active: flag_of(row, "active"),
        shared: flag_of(row, "shared"),
        total: number_of(row, "total"),
        used: number_of(row, "used"),
        available: number_of(row, "avail"),
    })
}

pub(super) fn read_volume(row: &Value) -> Option<Volume> {
    let volid = text_of(row, "volid");
    if volid.is_empty() {
        return None;
    }
    let seconds = i64::try_from(number_of(row, "ctime")).unwrap_or(0);
    Some(Volume {
        volid,
        format: text_of(row, "format"),
        size: number_of(row, "size"),
        made: Some(Timestamp(seconds.saturating_mul(1000))).filter(|t| t.0 != 0),
        vmid: text_of(row, "vmid").parse().ok(),
        notes: text_of(row, "notes"),
        protected: flag_of(row, "protected"),
    })
}

pub(super) fn read_appliance(row: &Value) -> Option<Appliance> {
    let template = text_of(row, "template");
    if template.is_empty() {
        return None;
    }
    Some(Appliance {
        template,
        sha512: text_of(row, "sha512sum"),
        os: text_of(row, "os"),
        version: text_of(row, "version"),
        section: text_of(row, "section"),
        headline: text_of(row, "headline"),
    })
}
