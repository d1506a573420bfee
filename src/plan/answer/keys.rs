//! The keys that templates, server types and hosts may set, and those that they must leave to Ironhatch.

use super::dialect::Feature;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    /// A whole number.
    Count,
    /// GiB, with a fraction if wanted.
    Size,
}

/// One key that lower layers may set.
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) feature: Option<Feature>,
}

const fn key(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, feature: None }
}

const fn gated(path: &'static str, kind: Kind, feature: Feature) -> Key {
    Key { path, kind, feature: Some(feature) }
}

/// Reference 3.2 to 3.4.
pub(super) const KEYS: [Key; 23] = [
    key("global.country", Kind::Text),
    key("global.keyboard", Kind::Text),
    key("global.timezone", Kind::Text),
    key("global.mailto", Kind::Text),
    key("global.reboot-on-error", Kind::Flag),
    gated("global.subscription-key", Kind::Text, Feature::SubscriptionKey),
    gated("network.interface-name-pinning.enabled", Kind::Flag, Feature::NamePinning),
    key("disk-setup.filesystem", Kind::Text),
    key("disk-setup.zfs.raid", Kind::Text),
    key("disk-setup.zfs.ashift", Kind::Count),
    key("disk-setup.zfs.arc-max", Kind::Count),
    key("disk-setup.zfs.checksum", Kind::Text),
    key("disk-setup.zfs.compress", Kind::Text),
    key("disk-setup.zfs.copies", Kind::Count),
    key("disk-setup.zfs.hdsize", Kind::Size),
    key("disk-setup.lvm.hdsize", Kind::Size),
    key("disk-setup.lvm.swapsize", Kind::Size),
    key("disk-setup.lvm.maxroot", Kind::Size),
    key("disk-setup.lvm.maxvz", Kind::Size),
    key("disk-setup.lvm.minfree", Kind::Size),
    key("disk-setup.btrfs.raid", Kind::Text),
    key("disk-setup.btrfs.hdsize", Kind::Size),
    gated("disk-setup.btrfs.compress", Kind::Text, Feature::BtrfsCompress),
];

/// Keys below this prefix are MAC addresses.
pub(super) const PINNING_MAP: &str = "network.interface-name-pinning.mapping.";

/// Keys that Ironhatch sets itself, with the place where the operator can influence them. A prefix covers what is below.
pub(super) const ENFORCED: [(&str, &str); 15] = [
    ("global.fqdn", "it is made of the host's name and the server type's domain"),
    ("global.root-password", "set credentials.root_password_hash in the configuration"),
    ("global.root-password-hashed", "set credentials.root_password_hash in the configuration"),
    ("global.root-ssh-keys", "set credentials.ssh_keys in the configuration"),
    ("global.reboot-mode", "the machine must reboot into its new system to call back"),
    ("network.source", "set the host's network: a fixed address, or none for DHCP"),
    ("network.cidr", "set the host's network"),
    ("network.gateway", "set the host's network"),
    ("network.dns", "set the host's network"),
    ("network.filter", "set management_nic of the server type"),
    ("disk-setup.filter", "set boot_disk of the server type or the host"),
    (
        "disk-setup.filter-match",
        "it is never used: with it, disks that nobody named could be wiped",
    ),
    ("disk-setup.disk-list", "set boot_disk of the server type or the host"),
    ("post-installation-webhook", "each rebuild gets its own address"),
    ("first-boot", "each rebuild gets its own script"),
];

/// Why a key must not be set, if it must not.
pub(super) fn enforced(path: &str) -> Option<&'static str> {
    ENFORCED.iter().find_map(|(name, why)| {
        let below = path.strip_prefix(name)?;
        (below.is_empty() || below.starts_with('.')).then_some(*why)
    })
}

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.path == path)
}

/// The newest spelling of a path: hyphens instead of underscores in every part that is a key of the format.
pub(super) fn canonical(path: &str) -> String {
    for free in [PINNING_MAP, "network.filter.", "disk-setup.filter."] {
        let Some((head, tail)) = path.split_at_checked(free.len()) else { continue };
        if head.replace('_', "-") == free {
            return format!("{free}{tail}");
        }
    }
    path.replace('_', "-")
}
