//! The cluster's user database `/etc/pve/user.cfg`, as far as it concerns us. Its form is the same from 8.2 to 9.2.

use std::collections::{BTreeMap, BTreeSet};

use super::USER;

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserCfg {
    /// Pools with the number of guests and storages in them.
    pub pools: BTreeMap<String, usize>,
    /// Our user exists.
    pub has_user: bool,
    /// Names of our user's tokens, without the user.
    pub tokens: BTreeSet<String>,
    /// Roles with their privileges.
    pub roles: BTreeMap<String, BTreeSet<String>>,
    /// Our user's entries in access lists: path, role, whether it reaches below the path.
    pub grants: BTreeSet<(String, String, bool)>,
}

impl UserCfg {
    /// Reads the text. Lines that are not understood are left alone.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let field = |n: usize| fields.get(n).copied().unwrap_or_default();
            let list = |n: usize| field(n).split(',').map(str::trim).filter(|w| !w.is_empty());
            match field(0) {
                "pool" => {
                    found.pools.insert(field(1).to_owned(), list(3).count() + list(4).count());
                }
                "user" if field(1) == USER => found.has_user = true,
                "token" => {
                    if let Some((USER, token)) = field(1).split_once('!') {
                        found.tokens.insert(token.to_owned());
                    }
                }
                "role" => {
                    found.roles.insert(field(1).to_owned(), list(2).map(str::to_owned).collect());
                }
                "acl" if list(3).any(|who| who == USER) => {
                    for role in list(4) {
                        let grant = (field(2).to_owned(), role.to_owned(), field(1) == "1");
                        found.grants.insert(grant);
                    }
                }
                _ => {}
            }
        }
        found
    }
}
