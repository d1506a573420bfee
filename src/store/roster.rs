//! Which hosts are being joined and which are members, kept in memory: a join among thousands asks about these few alone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::error::StoreError;
use super::host::HostReads as _;
use super::read::Read;
use crate::domain::host::{Host, HostState};
use crate::domain::id::{HostId, Hostname};

/// Hosts that may have moved in a write.
pub(super) type Moved = HashSet<HostId>;

/// The hosts that joins are about. Follows the commits, as the directory does.
#[derive(Debug, Default)]
pub(super) struct Roster(RwLock<Lists>);

#[derive(Debug, Default)]
struct Lists {
    joining: HashSet<HostId>,
    members: BTreeMap<Hostname, HostId>,
    /// Under which name each member stands.
    names: HashMap<HostId, Hostname>,
}

/// Where a host belongs now. `None`: it is gone.
pub(super) type Change = (HostId, Option<Place>);

/// What the lists need to know of one host.
#[derive(Debug, Clone)]
pub(super) struct Place {
    name: Hostname,
    is_joining: bool,
    is_member: bool,
}

impl Place {
    fn of(host: &Host) -> Self {
        Self {
            name: host.hostname.clone(),
            is_joining: host.state == HostState::Joining,
            is_member: host.is_member,
        }
    }
}

impl Lists {
    fn put(&mut self, id: HostId, place: Option<&Place>) {
        self.joining.remove(&id);
        if let Some(name) = self.names.remove(&id)
            // Two hosts may have exchanged names in one commit.
            && self.members.get(&name) == Some(&id)
        {
            self.members.remove(&name);
        }
        let Some(place) = place else { return };
        if place.is_joining {
            self.joining.insert(id);
        }
        if place.is_member {
            self.members.insert(place.name.clone(), id);
            self.names.insert(id, place.name.clone());
        }
    }
}

impl Roster {
    /// Takes over what was read at the start.
    pub(super) fn load(&self, hosts: &[Host]) {
        let mut lists = Lists::default();
        for host in hosts {
            lists.put(host.id, Some(&Place::of(host)));
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = lists;
    }

    /// Works out where moved hosts belong. Called inside the transaction that moved them.
    pub(super) fn changes(from: &impl Read, moved: &Moved) -> Result<Vec<Change>, StoreError> {
        moved.iter().map(|id| Ok((*id, from.host(*id)?.as_ref().map(Place::of)))).collect()
    }

    /// Publishes changes that are durable now.
    pub(super) fn publish(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let mut lists = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (id, place) in changes {
            lists.put(*id, place.as_ref());
        }
    }

    /// Hosts in the state `joining`.
    pub(super) fn joining(&self) -> HashSet<HostId> {
        self.lists().joining.clone()
    }

    /// Hosts that are members of the cluster, by name.
    pub(super) fn members(&self) -> Vec<HostId> {
        self.lists().members.values().copied().collect()
    }

    fn lists(&self) -> RwLockReadGuard<'_, Lists> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}
