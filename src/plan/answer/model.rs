//! The whole answer as types. A value of [`Answer`] passed every rule; rendering cannot fail.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::domain::mac::Mac;
use crate::domain::secret::Secret;

use super::disk::DiskChoice;

/// A complete answer for one host in one dialect.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `[global]`.
    pub global: Global,
    /// `[network]`.
    pub network: Network,
    /// `[disk-setup]`.
    pub disk_setup: DiskSetup,
    /// `[post-installation-webhook]`; `None` where the dialect has none.
    pub webhook: Option<super::Callback>,
    /// `[first-boot]`; `None` where the dialect has none.
    pub first_boot: Option<FirstBoot>,
}

/// `[global]`, reference 3.2.
#[derive(Debug, Clone)]
pub struct Global {
    /// Lower-case ISO 3166-1 alpha-2.
    pub country: String,
    /// One of the installer's layouts.
    pub keyboard: String,
    /// Zone of zone.tab or `UTC`.
    pub timezone: String,
    /// Full name.
    pub fqdn: String,
    /// Where the node's mail goes.
    pub mailto: String,
    /// Root's password.
    pub password: Password,
    /// Lines of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// Reboot instead of a shell after a failure; `None`: the installer's default (`false`).
    pub reboot_on_error: Option<bool>,
    /// Write `reboot-mode = "reboot"`; the older dialects have no such key and always reboot.
    pub says_reboot_mode: bool,
    /// Subscription key.
    pub subscription_key: Option<String>,
}

/// Root's password as the dialect takes it.
#[derive(Debug, Clone)]
pub enum Password {
    /// crypt(3) string.
    Hashed(Secret<String>),
    /// The password itself (ISO 8.2 only).
    Plain(Secret<String>),
}

/// `[network]`, reference 3.3.
#[derive(Debug, Clone)]
pub struct Network {
    /// Where the address comes from.
    pub source: Source,
    /// Names for NICs; `None`: the table is left out, because its mere presence pins every NIC (9.2).
    pub pinning: Option<BTreeMap<Mac, String>>,
}

/// Where the installed node's address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The lease of the installation is frozen.
    Dhcp,
    /// A fixed address on the NIC that the property selects.
    Fixed {
        /// Address with prefix.
        cidr: String,
        /// Default gateway.
        gateway: Ipv4Addr,
        /// The one DNS server.
        dns: IpAddr,
        /// udev property and its exact value.
        nic: (String, String),
    },
}

/// `[disk-setup]`, reference 3.4.
#[derive(Debug, Clone)]
pub struct DiskSetup {
    /// File system with its options.
    pub file_system: FileSystem,
    /// The disks that may be wiped.
    pub disks: DiskChoice,
}

/// File system and its options; absent options are left to the installer.
#[derive(Debug, Clone, PartialEq)]
pub enum FileSystem {
    /// ext4 on LVM.
    Ext4(Lvm),
    /// XFS on LVM.
    Xfs(Lvm),
    /// ZFS root pool.
    Zfs(Zfs),
    /// Btrfs.
    Btrfs(Btrfs),
}

/// LVM sizes in GiB.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lvm {
    /// Part of the disk that is used.
    pub hdsize: Option<f64>,
    /// Swap; 0: none.
    pub swapsize: Option<f64>,
    /// Upper limit of the root volume.
    pub maxroot: Option<f64>,
    /// Upper limit of the thin pool; 0: none.
    pub maxvz: Option<f64>,
    /// Left free in the volume group.
    pub minfree: Option<f64>,
}

/// ZFS options.
#[derive(Debug, Clone, PartialEq)]
pub struct Zfs {
    /// RAID level in the installer's word.
    pub raid: &'static str,
    /// log2 of the sector size.
    pub ashift: Option<u64>,
    /// Upper limit of the ARC in MiB.
    pub arc_max: Option<u64>,
    /// Checksum.
    pub checksum: Option<String>,
    /// Compression.
    pub compress: Option<String>,
    /// Copies of each block.
    pub copies: Option<u64>,
    /// Part of each disk that is used, GiB.
    pub hdsize: Option<f64>,
}

/// Btrfs options.
#[derive(Debug, Clone, PartialEq)]
pub struct Btrfs {
    /// RAID level in the installer's word.
    pub raid: &'static str,
    /// Compression.
    pub compress: Option<String>,
    /// Part of each disk that is used, GiB.
    pub hdsize: Option<f64>,
}

/// `[first-boot]`, reference 3.5 and 5.
#[derive(Debug, Clone)]
pub struct FirstBoot {
    /// Where the script is fetched during the installation.
    pub callback: super::Callback,
    /// When it runs.
    pub ordering: Ordering,
}

/// When the first-boot script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordering {
    /// After network-online.target: enough for a phone-home.
    NetworkOnline,
    /// After the PVE services are up.
    FullyUp,
}

impl Ordering {
    /// The installer's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkOnline => "network-online",
            Self::FullyUp => "fully-up",
        }
    }
}
