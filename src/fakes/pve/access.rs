//! Who may do what: `user.cfg` and `priv/token.cfg` in the cluster's folder, read anew for each request.
//!
//! ```text
//! user:svc@pve:1:0::::::
//! token:svc@pve!app:0:0:daemon:                    expire, privilege separation
//! role:Guests:VM.Allocate,VM.Audit:
//! acl:1:/pool/ironhatch:svc@pve:Guests:            propagate, path, users or tokens, roles
//! pool:ironhatch:managed:101,102:tank:             comment, guests, storages
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// Everything in `user.cfg`.
#[derive(Debug, Clone, Default)]
pub(super) struct Access {
    tokens: BTreeMap<String, bool>,
    roles: BTreeMap<String, BTreeSet<String>>,
    acls: Vec<Acl>,
    /// Pools by name.
    pub(super) pools: BTreeMap<String, Pool>,
}

#[derive(Debug, Clone)]
struct Acl {
    propagates: bool,
    path: String,
    holders: Vec<String>,
    roles: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) comment: String,
    pub(super) guests: BTreeSet<u32>,
    pub(super) storages: BTreeSet<String>,
}

/// Privileges of somebody on a path; the flag says whether they hold below it too.
type Held = BTreeMap<String, bool>;

/// What a token of `root@pam` may do: everything that the double asks for.
const ALL: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Pool.Allocate",
    "Pool.Audit",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

impl Access {
    /// Reads `user.cfg`. Lines of other kinds are left alone.
    pub(super) fn read(text: &str) -> Self {
        let mut access = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let list = |text: &str| -> Vec<String> {
                let parts = text.split([',', ';', ' ']).filter(|p| !p.is_empty());
                parts.map(str::to_owned).collect()
            };
            match fields.as_slice() {
                ["token", id, _, separated, ..] => {
                    access.tokens.insert((*id).to_owned(), *separated == "1");
                }
                ["role", name, privileges, ..] => {
                    let privileges = list(privileges).into_iter().collect();
                    access.roles.insert((*name).to_owned(), privileges);
                }
                ["acl", propagates, path, holders, roles, ..] => access.acls.push(Acl {
                    propagates: *propagates == "1",
                    path: (*path).to_owned(),
                    holders: list(holders),
                    roles: list(roles),
                }),
                ["pool", name, comment, guests, storages, ..] => {
                    let pool = Pool {
                        comment: (*comment).to_owned(),
                        guests: list(guests).iter().filter_map(|g| g.parse().ok()).collect(),
                        storages: list(storages).into_iter().collect(),
                    };
                    access.pools.insert((*name).to_owned(), pool);
                }
                _ => {}
            }
        }
        access
    }

    /// The file's text with this pool in place of the one of its name.
    pub(super) fn with_pool(text: &str, name: &str, pool: &Pool) -> String {
        let own = format!("pool:{name}:");
        let mut lines: Vec<String> =
            text.lines().filter(|l| !l.starts_with(&own)).map(str::to_owned).collect();
        let guests: Vec<String> = pool.guests.iter().map(ToString::to_string).collect();
        let storages: Vec<&str> = pool.storages.iter().map(String::as_str).collect();
        lines.push(format!(
            "pool:{name}:{}:{}:{}:",
            pool.comment,
            guests.join(","),
            storages.join(",")
        ));
        lines.join("\n") + "\n"
    }

    /// Whether the token exists.
    pub(super) fn knows(&self, token: &str) -> bool {
        self.tokens.contains_key(token)
    }

    /// The pool that a guest is in.
    pub(super) fn pool_of(&self, vmid: u32) -> Option<&str> {
        let pool = self.pools.iter().find(|(_, pool)| pool.guests.contains(&vmid));
        pool.map(|(name, _)| name.as_str())
    }

    /// Privileges of a token on a path. With privilege separation: what both the user and the token have.
    pub(super) fn held(&self, token: &str, path: &str) -> Held {
        let user = token.split('!').next().unwrap_or_default();
        let mut held = self.of_holder(user, path);
        if self.tokens.get(token) == Some(&true) {
            let own = self.of_holder(token, path);
            held.retain(|privilege, _| own.contains_key(privilege));
        }
        held
    }

    /// Whether a token has the privilege on the path.
    pub(super) fn allows(&self, token: &str, path: &str, privilege: &str) -> bool {
        self.held(token, path).contains_key(privilege)
    }

    /// What `GET /access/permissions` shows: all paths that entries name.
    pub(super) fn paths(&self, token: &str) -> BTreeMap<String, Held> {
        let mut paths: BTreeSet<&str> = self.acls.iter().map(|a| a.path.as_str()).collect();
        paths.insert("/");
        let shown = paths.into_iter().map(|path| (path.to_owned(), self.held(token, path)));
        shown.filter(|(_, held)| !held.is_empty()).collect()
    }

    fn of_holder(&self, holder: &str, path: &str) -> Held {
        if holder == "root@pam" {
            return ALL.iter().map(|p| ((*p).to_owned(), true)).collect();
        }
        let mut held = self.by_entries(holder, path);
        // Entries on a pool reach its members, and not what is below them.
        for (name, pool) in &self.pools {
            let member = match path.strip_prefix("/vms/") {
                Some(vmid) => vmid.parse().is_ok_and(|vmid: u32| pool.guests.contains(&vmid)),
                None => path.strip_prefix("/storage/").is_some_and(|s| pool.storages.contains(s)),
            };
            if member {
                let inherited = self.by_entries(holder, &format!("/pool/{name}"));
                held.extend(inherited.into_keys().map(|privilege| (privilege, false)));
            }
        }
        held
    }

    /// Entries nearest to the path replace those above it.
    fn by_entries(&self, holder: &str, path: &str) -> Held {
        let mut held = Held::new();
        for at in ancestors(path) {
            let here: Vec<&Acl> = self
                .acls
                .iter()
                .filter(|a| a.path == at && a.holders.iter().any(|h| h == holder))
                .filter(|a| a.propagates || at == path)
                .collect();
            if here.is_empty() {
                continue;
            }
            held.clear();
            for acl in here {
                let roles = acl.roles.iter().filter_map(|role| self.roles.get(role));
                held.extend(roles.flatten().map(|p| (p.clone(), acl.propagates)));
            }
        }
        held
    }
}

/// `/`, `/a`, `/a/b` of `/a/b`.
fn ancestors(path: &str) -> Vec<String> {
    let mut found = vec!["/".to_owned()];
    let mut at = String::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        at = format!("{at}/{part}");
        found.push(at.clone());
    }
    found
}

#[cfg(test)]
mod test {
    use super::*;

    const FILE: &str = "user:svc@pve:1:0::::::\ntoken:svc@pve!app:0:0::\ntoken:svc@pve!sep:0:1::\n\
        role:Guests:VM.Audit,VM.Allocate:\nrole:Node:Sys.Audit:\nacl:1:/pool/p:svc@pve:Guests:\n\
        acl:1:/nodes:svc@pve,svc@pve!sep:Node:\nacl:0:/:svc@pve:Node:\npool:p::101:tank:\n";

    #[test]
    fn rights_on_a_pool_are_rights_on_its_members() {
        let access = Access::read(FILE);
        assert!(access.allows("svc@pve!app", "/vms/101", "VM.Audit"));
        assert!(!access.allows("svc@pve!app", "/vms/102", "VM.Audit"));
        assert!(access.allows("svc@pve!app", "/nodes/n", "Sys.Audit"));
        assert!(access.allows("svc@pve!app", "/", "Sys.Audit"));
        assert!(!access.allows("svc@pve!app", "/storage/x", "Sys.Audit"));
        assert!(access.allows("root@pam!x", "/anything", "Sys.Modify"));
    }

    #[test]
    fn a_separated_token_has_what_both_have() {
        let access = Access::read(FILE);
        assert!(access.allows("svc@pve!sep", "/nodes/n", "Sys.Audit"));
        assert!(!access.allows("svc@pve!sep", "/pool/p", "VM.Audit"));
    }

    #[test]
    fn a_pool_is_written_without_touching_the_rest() {
        let mut pool = Access::read(FILE).pools["p"].clone();
        pool.guests.insert(102);
        let text = Access::with_pool(FILE, "p", &pool);
        assert!(text.contains("pool:p::101,102:tank:\n") && text.contains("role:Node:Sys.Audit:"));
        assert_eq!(Access::read(&text).pool_of(102), Some("p"));
    }
}
