//! The pool that our guests are in.

use serde_json::Value;

use super::call::Ask;
use super::{Cluster, Missing, PveError};
use crate::domain::id::{PoolId, StorageId};
use crate::domain::vmid::Vmid;
use crate::proto::pve::value::text_of;

/// What is in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolMembers {
    /// Its guests, containers and virtual machines.
    pub guests: Vec<Vmid>,
    /// Its storages.
    pub storages: Vec<StorageId>,
}

impl Cluster {
    /// The members of a pool. `None`: there is no such pool. A token without rights on it is told
    /// [`PveError::Forbidden`] in both cases.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn pool_members(&self, pool: &PoolId) -> Result<Option<PoolMembers>, PveError> {
        // `/pools/{poolid}` would be deprecated since 8.1.
        let ask = Ask::get(&["pools"]).with("poolid", pool);
        match self.ask_one(ask, |data| read_members(data.get(0)?)).await {
            Ok(members) => Ok(Some(members)),
            Err(PveError::NotFound { missing: Missing::Pool, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a guest into a pool. Being in it already is success. Needs `Pool.Allocate` on the pool, which the least rights do
    /// not include.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::AlreadyExists`]: it is in another pool.
    pub async fn add_to_pool(&self, pool: &PoolId, vmid: Vmid) -> Result<(), PveError> {
        let ask = Ask::put(&["pools"]).with("poolid", pool).with("vms", vmid);
        match self.ask(ask).await {
            Ok(_) => Ok(()),
            // The text is the same for this pool and for another one.
            Err(error @ PveError::AlreadyExists { .. }) => {
                let members = self.pool_members(pool).await?.unwrap_or_default();
                if members.guests.contains(&vmid) { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn read_members(pool: &Value) -> Option<PoolMembers> {
    let mut members = PoolMembers::default();
    for row in pool.get("members")?.as_array()? {
        match text_of(row, "type").as_str() {
            "lxc" | "qemu" => members.guests.extend(text_of(row, "vmid").parse::<Vmid>()),
            "storage" => members.storages.extend(text_of(row, "storage").parse::<StorageId>()),
            _ => {}
        }
    }
    members.guests.sort();
    Some(members)
}
