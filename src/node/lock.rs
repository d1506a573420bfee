//! One join at a time for a whole cluster.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::domain::id::{HostId, Hostname};

/// Locks by cluster, held by whoever joins a node from `join.look-member` to `join.verify`.
///
/// Two joins at once leave one node hanging for ever (`pve-api` 13.7, seen on 9.2). The lock lives in memory: after a
/// restart of the daemon the look at the member finds a join that is still in flight.
#[derive(Debug, Clone, Default)]
pub struct ClusterLocks {
    by_cluster: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
    /// Whose join waits for the rebuild of another host.
    behind: Arc<Mutex<HashMap<HostId, Hostname>>>,
}

/// While it lives a host's join lets another host's go first.
#[derive(Debug)]
pub struct Behind {
    who: HostId,
    behind: Arc<Mutex<HashMap<HostId, Hostname>>>,
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.who);
    }
}

/// The right to join a node to one cluster; ends when dropped.
#[derive(Debug)]
pub struct ClusterGuard {
    _guard: OwnedMutexGuard<()>,
}

impl ClusterLocks {
    /// Waits until no other join of this cluster is under way. `cluster` is any text that is the same for all joins of
    /// one cluster: the configured member's address, or the name of the cluster to be founded.
    pub async fn acquire(&self, cluster: &str) -> ClusterGuard {
        ClusterGuard { _guard: self.lock_of(cluster).lock_owned().await }
    }

    /// The right to join if it is free at this moment.
    #[must_use]
    pub fn try_acquire(&self, cluster: &str) -> Option<ClusterGuard> {
        self.lock_of(cluster).try_lock_owned().ok().map(|guard| ClusterGuard { _guard: guard })
    }

    /// Lets the join of `first` go before that of `who`, until the guard is dropped. In memory only: after a restart the
    /// look at the member finds the same again.
    #[must_use]
    pub fn stand_behind(&self, who: HostId, first: Hostname) -> Behind {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).insert(who, first);
        Behind { who, behind: Arc::clone(&self.behind) }
    }

    /// Whether the join of `who` lets that of `first` go before it.
    #[must_use]
    pub fn is_behind(&self, who: HostId, first: &str) -> bool {
        let behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        behind.get(&who).is_some_and(|host| host.as_str() == first)
    }

    fn lock_of(&self, cluster: &str) -> Arc<AsyncMutex<()>> {
        let mut locks = self.by_cluster.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(cluster.to_owned()).or_default())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_join_stands_behind_one_host_until_it_is_let_go() {
        let locks = ClusterLocks::default();
        let (who, other) = (HostId(uuid::Uuid::from_u128(1)), HostId(uuid::Uuid::from_u128(2)));
        let behind = locks.clone().stand_behind(who, "pve1".parse().unwrap());
        assert!(locks.is_behind(who, "pve1"));
        assert!(!locks.is_behind(who, "pve3") && !locks.is_behind(other, "pve1"));
        drop(behind);
        assert!(!locks.is_behind(who, "pve1"));
    }

    #[tokio::test]
    async fn one_cluster_has_one_join_and_another_cluster_does_not_wait() {
        let locks = ClusterLocks::default();
        let first = locks.acquire("192.0.2.5").await;
        assert!(locks.clone().try_acquire("192.0.2.5").is_none());
        assert!(locks.try_acquire("192.0.2.6").is_some());
        drop(first);
        assert!(locks.try_acquire("192.0.2.5").is_some());
    }
}
