//! The least rights with which guests of one pool can be managed (tested on Proxmox VE 9.2), and the commands that grant
//! and withdraw them.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::boundary::Boundary;
use crate::domain::id::{BridgeName, NodeName, PoolId, StorageId, ZoneId};

use super::{USER, UserCfg};

/// A release of Proxmox VE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// `9` in 9.2.
    pub major: u32,
    /// `2` in 9.2.
    pub minor: u32,
}

impl Release {
    /// The oldest that is supported: `dev[n]` in the API, pool paths, `Sys.AccessNetwork`.
    pub const FIRST: Self = Self { major: 8, minor: 2 };

    /// From `pve-manager/9.2.11/14a2… (running kernel: …)`.
    #[must_use]
    pub fn parse(pveversion: &str) -> Option<Self> {
        let version = pveversion.split('/').nth(1)?;
        let mut numbers = version.split(['.', '-', '~']);
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Where our user may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Pool of our guests.
    pub pool: PoolId,
    /// Storages for disks and backups.
    pub storages: Vec<StorageId>,
    /// Storage for OS templates.
    pub template_storage: StorageId,
    /// Bridges.
    pub bridges: Vec<BridgeName>,
    /// Zones of those that are VNets.
    pub zones: BTreeMap<BridgeName, ZoneId>,
    /// VLAN tags on them.
    pub vlans: Vec<u16>,
}

impl Rights {
    /// What the approved places need.
    #[must_use]
    pub fn of(boundary: &Boundary) -> Self {
        let mut storages = boundary.storages.clone();
        storages.extend(boundary.backup_storages.iter().cloned());
        storages.sort();
        storages.dedup();
        Self {
            pool: boundary.pool.clone(),
            storages,
            template_storage: boundary.template_storage.clone(),
            bridges: boundary.bridges.clone(),
            zones: boundary.zones.clone(),
            vlans: boundary.vlans.clone(),
        }
    }

    /// What is needed and not allowed, as path and privilege, in order of paths.
    #[must_use]
    pub fn missing(&self, allows: impl Fn(&str, &str) -> bool) -> Vec<(String, &'static str)> {
        let mut missing = Vec::new();
        for (path, role, _) in self.grants() {
            let privileges = ROLES.iter().find(|(name, _)| *name == role).map_or(&[][..], |r| r.1);
            let lacking = privileges.iter().filter(|privilege| !allows(&path, privilege));
            missing.extend(lacking.map(|privilege| (path.clone(), *privilege)));
        }
        missing
    }

    /// Entries of access lists: path, role, whether it reaches below the path.
    fn grants(&self) -> BTreeSet<(String, String, bool)> {
        let mut grants = BTreeSet::new();
        let mut grant = |path: String, role: &str, below: bool| {
            grants.insert((path, role.to_owned(), below));
        };
        grant(format!("/pool/{}", self.pool), GUESTS, true);
        for storage in &self.storages {
            grant(format!("/storage/{storage}"), STORAGE, true);
        }
        grant(format!("/storage/{}", self.template_storage), TEMPLATES, true);
        grant("/nodes".to_owned(), NODE, true);
        for bridge in &self.bridges {
            // Plain bridges are in the pseudo zone; a tagged NIC is checked on a path below its bridge.
            let zone = self.zones.get(bridge).map_or("localnetwork", ZoneId::as_str);
            let path = format!("/sdn/zones/{zone}/{bridge}");
            for vlan in &self.vlans {
                grant(format!("{path}/{vlan}"), NETWORK, false);
            }
            grant(path, NETWORK, false);
        }
        // `/cluster/status` and other members' tasks; nothing below the root path.
        grant("/".to_owned(), CLUSTER, false);
        grants
    }
}

const GUESTS: &str = "IronhatchGuests";
const STORAGE: &str = "IronhatchStorage";
const TEMPLATES: &str = "IronhatchTemplates";
const NODE: &str = "IronhatchNode";
const NETWORK: &str = "IronhatchNetwork";
const CLUSTER: &str = "IronhatchCluster";

/// Our roles with their privileges. All of these exist in each release from 8.2 to 9.2; `VM.Monitor` (gone in 9.0) and
/// `VM.GuestAgent.*` (new there) are for virtual machines and not needed.
const ROLES: [(&str, &[&str]); 6] = [
    (
        GUESTS,
        &[
            "Pool.Audit",
            "VM.Allocate",
            "VM.Audit",
            "VM.Backup",
            "VM.Clone",
            "VM.Config.CPU",
            "VM.Config.Disk",
            "VM.Config.Memory",
            "VM.Config.Network",
            "VM.Config.Options",
            "VM.PowerMgmt",
            "VM.Snapshot",
        ],
    ),
    (STORAGE, &["Datastore.AllocateSpace", "Datastore.Audit"]),
    (TEMPLATES, &["Datastore.AllocateTemplate", "Datastore.Audit"]),
    (NODE, &["Sys.Audit"]),
    (NETWORK, &["SDN.Audit", "SDN.Use"]),
    (CLUSTER, &["Sys.Audit"]),
];

/// A command of a node: program and arguments.
pub type Command = Vec<String>;

fn pveum(words: &[&str]) -> Command {
    std::iter::once("pveum").chain(words.iter().copied()).map(str::to_owned).collect()
}

/// Commands that bring pool, roles, user and access lists to exactly what is wanted. Empty when they are.
#[must_use]
pub fn grant(rights: &Rights, found: &UserCfg) -> Vec<Command> {
    let mut commands = Vec::new();
    if !found.pools.contains_key(rights.pool.as_str()) {
        let comment = "Guests of Ironhatch";
        commands.push(pveum(&["pool", "add", rights.pool.as_str(), "--comment", comment]));
    }
    for (role, privileges) in ROLES {
        let wanted: BTreeSet<String> = privileges.iter().map(|p| (*p).to_owned()).collect();
        let action = match found.roles.get(role) {
            None => "add",
            Some(present) if *present != wanted => "modify",
            Some(_) => continue,
        };
        commands.push(pveum(&["role", action, role, "--privs", &privileges.join(" ")]));
    }
    if !found.has_user {
        commands.push(pveum(&["user", "add", USER, "--comment", "Ironhatch"]));
    }
    let wanted = rights.grants();
    for (path, role, below) in wanted.difference(&found.grants) {
        let below = if *below { "1" } else { "0" };
        commands.push(pveum(&[
            "acl",
            "modify",
            path,
            "--users",
            USER,
            "--roles",
            role,
            "--propagate",
            below,
        ]));
    }
    // What an earlier configuration approved; an entry that only reached further or less far was written over above.
    for (path, role, _) in &found.grants {
        if !wanted.iter().any(|(p, r, _)| p == path && r == role) {
            commands.push(pveum(&["acl", "delete", path, "--users", USER, "--roles", role]));
        }
    }
    commands
}

/// Name of a node's token, without the user.
#[must_use]
pub fn token_of(node: &NodeName) -> String {
    format!("node-{node}")
}

/// Makes a node's token. Without privilege separation: it has the user's rights, and the user has no other purpose.
#[must_use]
pub fn token_add(node: &NodeName) -> Command {
    pveum(&[
        "user",
        "token",
        "add",
        USER,
        &token_of(node),
        "--privsep",
        "0",
        "--output-format",
        "json",
    ])
}

/// Removes a node's token, if it is there. An existing token never tells its secret again, and only 9.2 can give it a new one.
#[must_use]
pub fn token_remove(node: &NodeName, found: &UserCfg) -> Option<Command> {
    let token = token_of(node);
    found.tokens.contains(&token).then(|| pveum(&["user", "token", "remove", USER, &token]))
}

/// Commands that take user, roles and the empty pool away when no other node's token is left.
#[must_use]
pub fn revoke_last(node: &NodeName, pool: &PoolId, found: &UserCfg) -> Vec<Command> {
    if found.tokens.iter().any(|token| *token != token_of(node)) {
        return Vec::new();
    }
    let mut commands = Vec::new();
    for (path, role, _) in &found.grants {
        commands.push(pveum(&["acl", "delete", path, "--users", USER, "--roles", role]));
    }
    if found.has_user {
        commands.push(pveum(&["user", "delete", USER]));
    }
    for (role, _) in ROLES {
        if found.roles.contains_key(role) {
            commands.push(pveum(&["role", "delete", role]));
        }
    }
    if found.pools.get(pool.as_str()) == Some(&0) {
        commands.push(pveum(&["pool", "delete", pool.as_str()]));
    }
    commands
}

/// Whether a command that failed found what it wanted: somebody else was faster, or an earlier attempt did it (texts of
/// `pveum`, 9.2).
#[must_use]
pub fn was_done_already(command: &[String], complaint: &str) -> bool {
    let is = |word: &str| command.iter().any(|w| w == word);
    (is("add") && complaint.contains("already exists"))
        || ((is("delete") || is("remove"))
            && (complaint.contains("does not exist") || complaint.contains("no such")))
}
