//! Files of `/etc/pve` that say whose a guest is. They are read anew for each request, and only read.

use std::io::{self, Read as _};
use std::path::Path;

use crate::domain::id::PoolId;
use crate::domain::vmid::Vmid;
use crate::limits::channel::CONFIGURATION_BYTES;
use crate::proto::verb::{DeviceEntry, FileMode};

/// Reads a file of the cluster file system.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(CONFIGURATION_BYTES).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether `user.cfg` has the guest in the pool: `pool:ID:COMMENT:GUESTS:STORAGES:`, guests separated by commas. The
/// comment cannot hold a colon (it is percent-encoded).
pub(super) fn pool_has(users: &str, pool: &PoolId, vmid: Vmid) -> bool {
    users.lines().any(|line| {
        let mut fields = line.trim().split(':');
        fields.next() == Some("pool")
            && fields.next() == Some(pool.as_str())
            && fields
                .nth(1)
                .is_some_and(|guests| guests.split(',').any(|g| g.trim().parse() == Ok(vmid)))
    })
}

/// A container's current configuration: `key: value` lines before the first snapshot or pending section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GuestConf {
    entries: Vec<(String, String)>,
}

impl GuestConf {
    /// Reads the text of `ID.conf`. Descriptions are `#` lines and never entries.
    pub(super) fn parse(text: &str) -> Self {
        let current = text.lines().take_while(|line| !line.starts_with('['));
        let entries = current
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Self { entries }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether it is a template.
    pub(super) fn is_template(&self) -> bool {
        self.get("template") == Some("1")
    }

    /// Its `dev[n]` entries with their numbers.
    pub(super) fn devices(&self) -> Vec<(u16, &str)> {
        self.entries
            .iter()
            .filter_map(|(key, value)| {
                Some((key.strip_prefix("dev")?.parse().ok()?, value.as_str()))
            })
            .collect()
    }
}

/// The text of a configuration without its current `mp[n]` entry; snapshots keep theirs.
pub(super) fn without(text: &str, slot: u8) -> String {
    let key = format!("mp{slot}:");
    let mut current = true;
    text.split_inclusive('\n')
        .filter(|line| {
            current &= !line.starts_with('[');
            !(current && line.starts_with(&key))
        })
        .collect()
}

/// The value of a `dev[n]` property, every part spelled out.
pub(super) fn device_value(entry: &DeviceEntry) -> String {
    let DeviceEntry { path, uid, gid, mode } = entry;
    format!("{path},gid={gid},mode={:04o},uid={uid}", mode.bits())
}

/// Reads a `dev[n]` property; what is left out has Proxmox VE's default. `None` for one that has more than we know.
pub(super) fn read_device(value: &str) -> Option<DeviceEntry> {
    let mut parts = value.split(',');
    let path = parts.next()?;
    let path = path.strip_prefix("path=").unwrap_or(path).to_owned();
    let mode = FileMode::try_from("0660".to_owned()).ok()?;
    let mut entry = DeviceEntry { path, uid: 0, gid: 0, mode };
    for part in parts {
        match part.split_once('=')? {
            ("uid", uid) => entry.uid = uid.parse().ok()?,
            ("gid", gid) => entry.gid = gid.parse().ok()?,
            ("mode", mode) => entry.mode = FileMode::try_from(mode.to_owned()).ok()?,
            ("deny-write", "0") => {}
            _ => return None,
        }
    }
    Some(entry)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn only_the_named_pool_counts_and_only_whole_numbers() {
        let users = "user:root@pam:1:0::::::\npool:other::101:local:\npool:ironhatch:managed:1010,102,103::\n\
                     pool:ironhatch/nested::104::\nrole:pool:ironhatch:x:105:\npool:empty:\n";
        let pool: PoolId = "ironhatch".parse().unwrap();
        let has = |n: u32| pool_has(users, &pool, Vmid::try_from(n).unwrap());
        assert!(has(102) && has(103) && has(1010));
        for foreign in [101, 104, 105, 100] {
            assert!(!has(foreign), "{foreign}");
        }
        assert!(!pool_has(users, &"empty".parse().unwrap(), Vmid::MIN));
    }

    #[test]
    fn descriptions_snapshots_and_pending_changes_are_not_the_configuration() {
        let text = "#tags: ironhatch\n#template: 1\narch: amd64\ndev0: /dev/kfd,gid=1\nlock: backup\n\n\
                    [snap]\ntags: ironhatch\n[pve:pending]\ntags: ironhatch\n";
        let conf = GuestConf::parse(text);
        assert_eq!(conf.get("tags"), None);
        assert_eq!(conf.get("lock"), Some("backup"));
        assert!(!conf.is_template());
        assert_eq!(conf.devices(), [(0, "/dev/kfd,gid=1")]);
    }

    #[test]
    fn one_mount_point_goes_and_snapshots_keep_theirs() {
        let text = "#mp0: x\nmp0: a:b,mp=/x\nmp01: y\nmp1: a:c\n[s]\nmp0: a:b,mp=/x\n";
        assert_eq!(without(text, 0), "#mp0: x\nmp01: y\nmp1: a:c\n[s]\nmp0: a:b,mp=/x\n");
    }

    #[test]
    fn device_properties_are_compared_by_meaning() {
        let entry = DeviceEntry {
            path: "/dev/dri/renderD128".to_owned(),
            uid: 0,
            gid: 104,
            mode: FileMode::try_from("0660".to_owned()).unwrap(),
        };
        for same in [
            device_value(&entry).as_str(),
            "/dev/dri/renderD128,gid=104",
            "/dev/dri/renderD128,mode=0660,gid=104,uid=0",
            "path=/dev/dri/renderD128,gid=104,deny-write=0",
        ] {
            assert_eq!(read_device(same).as_ref(), Some(&entry), "{same}");
        }
        for other in [
            "/dev/dri/renderD128",
            "/dev/dri/renderD129,gid=104",
            "",
            "/dev/x,deny-write=1,gid=104",
        ] {
            assert_ne!(read_device(other).as_ref(), Some(&entry), "{other}");
        }
    }
}
