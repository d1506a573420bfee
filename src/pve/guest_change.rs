//! Changing containers: making, setting, powering, saving and removing them. Everything that takes long is a task.

use std::collections::BTreeMap;

use super::call::{Ask, container, number};
use super::{Cluster, PveError, Upid};
use crate::domain::guest::{GuestNetwork, Ipv4Config, Volume};
use crate::domain::id::{Hostname, NodeName, PoolId, StorageId};
use crate::domain::vmid::{Tag, Vmid};
use crate::proto::pve::property_string::{InvalidProperty, PropertyString};

/// A container that is to be made. Features other than nesting, devices and tags come later: a token may not set them, and
/// tags only once the container is in its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContainer {
    /// Its number; free in the whole cluster.
    pub vmid: Vmid,
    /// The pool that it joins at the end of the task. Until then the token may not look at it.
    pub pool: PoolId,
    /// Volume id of its OS template.
    pub ostemplate: String,
    /// Its name.
    pub hostname: Hostname,
    /// Storage of its root disk and of its volumes.
    pub storage: StorageId,
    /// Root disk, GiB.
    pub disk_gb: u32,
    /// Cores.
    pub cores: u32,
    /// MiB.
    pub memory_mb: u32,
    /// MiB.
    pub swap_mb: u32,
    /// Unprivileged; cannot be changed later.
    pub unprivileged: bool,
    /// The feature `nesting`.
    pub nesting: bool,
    /// Its interface `eth0`.
    pub network: GuestNetwork,
    /// Volumes beside the root disk; those with a volume id are taken as they are, others are made.
    pub volumes: Vec<Volume>,
    /// Started with the node.
    pub onboot: bool,
    /// Description; empty: none.
    pub description: String,
}

/// A container that is to be made from a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreContainer {
    /// Its number.
    pub vmid: Vmid,
    /// The pool that it joins; `None`: it replaces a container and stays where that one is.
    pub pool: Option<PoolId>,
    /// Volume id of the backup.
    pub archive: String,
    /// Storage for its volumes.
    pub storage: StorageId,
    /// Unprivileged; sent always, because the default depends on the release.
    pub unprivileged: bool,
    /// Another name than the backup's.
    pub hostname: Option<Hostname>,
    /// Replaces the stopped container of that number.
    pub force: bool,
    /// New hardware addresses, for a copy beside the original.
    pub unique: bool,
}

/// A change of a container's configuration. Applied at once where that is possible, else at the next start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigChange {
    /// Properties to set.
    pub set: BTreeMap<String, String>,
    /// Properties to remove.
    pub delete: Vec<String>,
    /// The digest of the configuration that the change was made for; with another one it is refused as
    /// [`PveError::Modified`].
    pub digest: Option<String>,
}

impl ConfigChange {
    /// Sets a property by its name in the API.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.set.insert(key.to_owned(), value.to_string());
        self
    }
    /// Sets a boolean property.
    #[must_use]
    pub fn flag(self, key: &str, value: bool) -> Self {
        self.set(key, u8::from(value))
    }
    /// Sets exactly these tags; none removes the property.
    #[must_use]
    pub fn tags(self, tags: &[Tag]) -> Self {
        if tags.is_empty() {
            return self.delete("tags");
        }
        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        self.set("tags", tags.join(";"))
    }
    /// Sets the interface `netN`. An existing hardware address must be given again, or a new one is drawn.
    #[must_use]
    pub fn net(self, index: u8, network: &GuestNetwork, mac: Option<&str>) -> Self {
        self.set(&format!("net{index}"), net(network, mac))
    }
    /// Removes a property.
    #[must_use]
    pub fn delete(mut self, key: &str) -> Self {
        self.delete.push(key.to_owned());
        self
    }
    /// Only when the configuration is still the one with this digest.
    #[must_use]
    pub fn digest(mut self, digest: &str) -> Self {
        self.digest = Some(digest.to_owned());
        self
    }
    /// Whether it changes nothing; the cluster refuses such a change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.delete.is_empty()
    }
}

/// How a container is asked to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// Seconds it may take.
    pub timeout_secs: u32,
    /// Stop it when it does not; else the task fails.
    pub force: bool,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destroy {
    /// Take it out of backup jobs, replication and high availability too.
    pub purge: bool,
    /// Even when it runs.
    pub force: bool,
    /// Delete volumes with its number that its configuration does not name.
    pub unreferenced_volumes: bool,
}

/// What state a backup is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupMode {
    /// While it runs, from a snapshot, or suspended where the storage has none.
    Snapshot,
    /// Suspended while it is copied.
    Suspend,
    /// Stopped meanwhile, and started again.
    Stop,
}

/// A backup that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where to.
    pub storage: StorageId,
    /// Of which state.
    pub mode: BackupMode,
    /// Notes; empty: none.
    pub notes: String,
    /// Let the storage's own retention remove older backups of this guest.
    pub remove_older: bool,
}

impl Cluster {
    /// Starts making a container. It stays stopped: a start as part of it would be a task of its own whose failure the first
    /// task does not show.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::AlreadyExists`]: somebody else has the number, take the next.
    pub async fn create_container(
        &self,
        node: &NodeName,
        new: &NewContainer,
    ) -> Result<Upid, PveError> {
        let mut ask = Ask::post(&["nodes", node.as_str(), "lxc"])
            .with("vmid", new.vmid)
            .with("pool", &new.pool)
            .with("ostemplate", &new.ostemplate)
            .with("hostname", &new.hostname)
            .with("rootfs", format!("{}:{}", new.storage, new.disk_gb))
            .with("cores", new.cores)
            .with("memory", new.memory_mb)
            .with("swap", new.swap_mb)
            .flag("unprivileged", new.unprivileged)
            .with("net0", net(&new.network, None))
            .flag("onboot", new.onboot);
        if new.nesting {
            ask = ask.with("features", "nesting=1");
        }
        if !new.description.is_empty() {
            ask = ask.with("description", &new.description);
        }
        for volume in &new.volumes {
            let property = mount(volume, &new.storage).map_err(|error| PveError::Unsendable {
                message: format!("volume '{}': {error}", volume.key),
            })?;
            ask = ask.with(&format!("mp{}", volume.slot), property);
        }
        self.ask_task(ask).await
    }

    /// Starts making a container from a backup.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn restore_container(
        &self,
        node: &NodeName,
        restore: &RestoreContainer,
    ) -> Result<Upid, PveError> {
        let mut ask = Ask::post(&["nodes", node.as_str(), "lxc"])
            .with("vmid", restore.vmid)
            .with("ostemplate", &restore.archive)
            .flag("restore", true)
            .with("storage", &restore.storage)
            .flag("unprivileged", restore.unprivileged)
            .with_some("pool", restore.pool.as_ref())
            .with_some("hostname", restore.hostname.as_ref());
        if restore.force {
            ask = ask.flag("force", true);
        }
        if restore.unique {
            ask = ask.flag("unique", true);
        }
        self.ask_task(ask).await
    }

    /// Changes a container's configuration. It may have been stored although applying it failed: read it after an error.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::Modified`]: its digest is another one by now.
    pub async fn set_config(
        &self,
        node: &NodeName,
        vmid: Vmid,
        change: &ConfigChange,
    ) -> Result<(), PveError> {
        let mut ask = Ask::put(&container(node, &number(vmid), &["config"]));
        for (key, value) in &change.set {
            ask = ask.with(key, value);
        }
        if !change.delete.is_empty() {
            ask = ask.with("delete", change.delete.join(","));
        }
        self.ask(ask.with_some("digest", change.digest.as_ref())).await.map(|_| ())
    }

    /// Grows `rootfs` or `mpN` to this many GiB. Read its size first: a smaller or equal one is refused.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn resize(
        &self,
        node: &NodeName,
        vmid: Vmid,
        disk: &str,
        size_gb: u32,
    ) -> Result<Upid, PveError> {
        let ask = Ask::put(&container(node, &number(vmid), &["resize"]));
        self.ask_task(ask.with("disk", disk).with("size", format!("{size_gb}G"))).await
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::PowerState`]: it runs.
    pub async fn start(&self, node: &NodeName, vmid: Vmid) -> Result<Upid, PveError> {
        self.power(node, vmid, "start").await
    }

    /// Stops it at once.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::PowerState`]: it does not run.
    pub async fn stop(&self, node: &NodeName, vmid: Vmid) -> Result<Upid, PveError> {
        self.power(node, vmid, "stop").await
    }

    /// Shuts it down and starts it.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::PowerState`]: it does not run.
    pub async fn reboot(&self, node: &NodeName, vmid: Vmid) -> Result<Upid, PveError> {
        self.power(node, vmid, "reboot").await
    }

    async fn power(&self, node: &NodeName, vmid: Vmid, verb: &str) -> Result<Upid, PveError> {
        self.ask_task(Ask::post(&container(node, &number(vmid), &["status", verb]))).await
    }

    /// Asks it to shut down.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::PowerState`]: it does not run.
    pub async fn shutdown(
        &self,
        node: &NodeName,
        vmid: Vmid,
        how: Shutdown,
    ) -> Result<Upid, PveError> {
        let ask = Ask::post(&container(node, &number(vmid), &["status", "shutdown"]));
        self.ask_task(ask.with("timeout", how.timeout_secs).flag("forceStop", how.force)).await
    }

    /// Removes it with its volumes.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::NotFound`] when it is gone, which a token with rights on a pool only is told as
    /// [`PveError::Forbidden`]: ask [`Cluster::is_free`].
    pub async fn destroy(
        &self,
        node: &NodeName,
        vmid: Vmid,
        how: Destroy,
    ) -> Result<Upid, PveError> {
        let ask = Ask::delete(&container(node, &number(vmid), &[]))
            .flag("purge", how.purge)
            .flag("force", how.force)
            .flag("destroy-unreferenced-disks", how.unreferenced_volumes);
        self.ask_task(ask).await
    }

    /// Makes a snapshot. Whether the storage can shows in the task.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn snapshot(
        &self,
        node: &NodeName,
        vmid: Vmid,
        name: &str,
        description: &str,
    ) -> Result<Upid, PveError> {
        let ask = Ask::post(&container(node, &number(vmid), &["snapshot"])).with("snapname", name);
        let description = Some(description).filter(|d| !d.is_empty());
        self.ask_task(ask.with_some("description", description)).await
    }

    /// Takes it back to a snapshot. It is stopped for that and stays stopped.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn rollback(
        &self,
        node: &NodeName,
        vmid: Vmid,
        name: &str,
    ) -> Result<Upid, PveError> {
        let path = ["snapshot", name, "rollback"];
        self.ask_task(Ask::post(&container(node, &number(vmid), &path))).await
    }

    /// Deletes a snapshot. That there is none shows in the task.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn delete_snapshot(
        &self,
        node: &NodeName,
        vmid: Vmid,
        name: &str,
    ) -> Result<Upid, PveError> {
        self.ask_task(Ask::delete(&container(node, &number(vmid), &["snapshot", name]))).await
    }

    /// Makes a backup.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn backup(
        &self,
        node: &NodeName,
        vmid: Vmid,
        backup: &Backup,
    ) -> Result<Upid, PveError> {
        let mode = match backup.mode {
            BackupMode::Snapshot => "snapshot",
            BackupMode::Suspend => "suspend",
            BackupMode::Stop => "stop",
        };
        let notes = Some(notes_template(&backup.notes)).filter(|n| !n.is_empty());
        let ask = Ask::post(&["nodes", node.as_str(), "vzdump"])
            .with("vmid", vmid)
            .with("storage", &backup.storage)
            .with("mode", mode)
            .with("compress", "zstd")
            .flag("remove", backup.remove_older)
            .with_some("notes-template", notes);
        self.ask_task(ask).await
    }
}

/// A network interface `eth0` as a property string. The types of its parts have no room for a comma.
fn net(network: &GuestNetwork, mac: Option<&str>) -> String {
    let mut parts = vec![format!("name=eth0,bridge={}", network.bridge)];
    match &network.ipv4 {
        Ipv4Config::Dhcp => parts.push("ip=dhcp".to_owned()),
        Ipv4Config::Static { address, prefix, gateway } => {
            parts.push(format!("ip={address}/{prefix}"));
            parts.extend(gateway.map(|gateway| format!("gw={gateway}")));
        }
    }
    parts.extend(network.vlan.map(|vlan| format!("tag={vlan}")));
    parts.extend(mac.map(|mac| format!("hwaddr={mac}")));
    parts.join(",")
}

/// A volume as a property string: one that is to be made, or one that exists.
fn mount(volume: &Volume, storage: &StorageId) -> Result<PropertyString, InvalidProperty> {
    let source = volume.volid.clone().unwrap_or_else(|| format!("{storage}:{}", volume.size_gb));
    let backup = if volume.backup { "1" } else { "0" };
    PropertyString::of(&source)?.with("mp", &volume.path)?.with("backup", backup)
}

/// Notes as vzdump's template reads them: backslash and newline are escaped.
fn notes_template(notes: &str) -> String {
    notes.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod test {
    use super::*;

    fn network(ipv4: Ipv4Config, vlan: Option<u16>) -> GuestNetwork {
        GuestNetwork { bridge: "vmbr0".parse().unwrap(), vlan, ipv4 }
    }

    #[test]
    fn interfaces_become_property_strings() {
        assert_eq!(net(&network(Ipv4Config::Dhcp, None), None), "name=eth0,bridge=vmbr0,ip=dhcp");
        let fixed = Ipv4Config::Static {
            address: "192.0.2.50".parse().unwrap(),
            prefix: 24,
            gateway: Some("192.0.2.1".parse().unwrap()),
        };
        let text = net(&network(fixed, Some(20)), Some("BC:24:11:00:00:01"));
        let read = PropertyString::parse(&text).unwrap();
        assert_eq!(read.get("ip"), Some("192.0.2.50/24"));
        assert_eq!((read.get("gw"), read.get("tag")), (Some("192.0.2.1"), Some("20")));
        assert_eq!(read.get("hwaddr"), Some("BC:24:11:00:00:01"));
    }

    #[test]
    fn a_volume_is_made_once_and_then_kept() {
        let mut volume = Volume {
            key: "data".to_owned(),
            slot: 0,
            path: "/srv".to_owned(),
            size_gb: 8,
            backup: true,
            volid: None,
        };
        let storage: StorageId = "tank".parse().unwrap();
        let text = |volume: &Volume| mount(volume, &storage).unwrap().to_string();
        assert_eq!(text(&volume), "tank:8,backup=1,mp=/srv");
        volume.volid = Some("tank:101/vm-101-disk-1.raw".to_owned());
        assert_eq!(text(&volume), "tank:101/vm-101-disk-1.raw,backup=1,mp=/srv");
        volume.path = "/srv,shared=1".to_owned();
        assert!(mount(&volume, &storage).is_err());
    }

    #[test]
    fn no_tags_at_all_means_that_the_property_goes() {
        let change = ConfigChange::default().tags(&[]);
        assert_eq!(change.delete, ["tags"]);
        let change = ConfigChange::default().tags(&[Tag::managed(), Tag::failed()]);
        assert_eq!(change.set["tags"], "ironhatch;ironhatch-failed");
        assert!(ConfigChange::default().is_empty() && !change.is_empty());
    }

    #[test]
    fn notes_keep_their_lines() {
        assert_eq!(notes_template("a\nb\\c"), "a\\nb\\\\c");
    }
}
