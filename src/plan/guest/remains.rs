//! What is left of a container after its node was installed anew.
//!
//! The cluster keeps `/etc/pve/nodes/NODE`, so after a rebuild under the same name the configuration is there again. Volumes
//! on the old disk are not, and those on a pool that was imported again are. Such a configuration without any volume is
//! hollow: it can be destroyed without a loss. One of which a volume is left never is.

use std::collections::BTreeSet;

use crate::domain::id::StorageId;
use crate::proto::pve::ContainerConfig;

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remains {
    /// No guest has the number.
    Nothing,
    /// Its configuration, and not one of the volumes that it names.
    Hollow,
    /// Volumes that exist, by their ids. A root disk among them or not: they may hold data.
    Volumes(Vec<String>),
}

/// Ids of all volumes that a configuration names. Folders and devices of the node are none.
#[must_use]
pub fn volumes(config: &ContainerConfig) -> Vec<String> {
    let mounts = config.mounts();
    let disks = config.rootfs().into_iter().chain(mounts.into_values());
    let named = disks.filter_map(|disk| Some(disk.bare().or(disk.get("volume"))?.to_owned()));
    named.chain(config.unused().into_values()).filter(|v| storage(v).is_some()).collect()
}

/// The storage that a volume is on.
#[must_use]
pub fn storage(volid: &str) -> Option<StorageId> {
    volid.split_once(':')?.0.parse().ok()
}

/// Decides it. `present`: ids of all volumes of this number on all storages that the configuration names.
///
/// A configuration that names no volume at all tells nothing and is left alone.
#[must_use]
pub fn judge(config: &ContainerConfig, present: &BTreeSet<String>) -> Option<Remains> {
    let named = volumes(config);
    if named.is_empty() {
        return None;
    }
    // Also what is there and not named: somebody may have detached it.
    Some(if present.is_empty() {
        Remains::Hollow
    } else {
        Remains::Volumes(present.iter().cloned().collect())
    })
}

#[cfg(test)]
mod test {
    use super::*;

    const FILE: &str = "hostname: a\nmp0: tank:200/vm-200-disk-0.raw,mp=/srv,size=1G\n\
        mp1: /mnt/share,mp=/share\nrootfs: local-zfs:subvol-200-disk-0,size=4G\nunused0: tank:200/vm-200-disk-1.raw\n";

    fn present(volumes: &[&str]) -> BTreeSet<String> {
        volumes.iter().map(|v| (*v).to_owned()).collect()
    }

    #[test]
    fn volumes_are_disks_and_what_was_detached_and_no_folders() {
        let config = ContainerConfig::read_file(FILE);
        let all = volumes(&config);
        assert_eq!(
            all,
            [
                "local-zfs:subvol-200-disk-0",
                "tank:200/vm-200-disk-0.raw",
                "tank:200/vm-200-disk-1.raw"
            ]
        );
        assert_eq!(storage(&all[1]), Some("tank".parse().unwrap()));
    }

    #[test]
    fn only_a_configuration_without_any_volume_is_hollow() {
        let config = ContainerConfig::read_file(FILE);
        assert_eq!(judge(&config, &present(&[])), Some(Remains::Hollow));
        for left in volumes(&config) {
            let found = judge(&config, &present(&[&left]));
            assert_eq!(found, Some(Remains::Volumes(vec![left])));
        }
        let stray = judge(&config, &present(&["tank:200/vm-200-disk-7.raw"]));
        assert!(matches!(stray, Some(Remains::Volumes(_))));
        let creating = ContainerConfig::read_file("lock: create\n");
        assert_eq!(judge(&creating, &present(&[])), None);
    }
}
