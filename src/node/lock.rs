//! One join at a time for a whole cluster.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::domain::id::HostId;

/// Locks by cluster, held by whoever joins a node from `join.look-member` to `join.verify`.
///
/// Two joins at once leave one node hanging for ever (`pve-api` 13.7, seen on 9.2). The lock lives in memory: after a
/// restart of the daemon the look at the member finds a join that is still in flight.
#[derive(Debug, Clone, Default)]
pub struct ClusterLocks {
    by_cluster: Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>,
    /// Whose join waits for the rebuild of another host.
    behind: Arc<Mutex<HashSet<HostId>>>,
}

/// While it lives a host's join lets others go first.
#[derive(Debug)]
pub struct Behind {
    who: HostId,
    behind: Arc<Mutex<HashSet<HostId>>>,
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

    /// Lets other joins go before that of `who`, until the guard is dropped; one guard per host at a time. In memory only:
    /// after a restart the look at the member finds the same again.
    #[must_use]
    pub fn stand_behind(&self, who: HostId) -> Behind {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).insert(who);
        Behind { who, behind: Arc::clone(&self.behind) }
    }

    /// Whether the join of `who` lets others go before it.
    #[must_use]
    pub fn is_behind(&self, who: HostId) -> bool {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).contains(&who)
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
    fn a_join_stands_behind_until_it_is_let_go() {
        let locks = ClusterLocks::default();
        let (who, other) = (HostId(uuid::Uuid::from_u128(1)), HostId(uuid::Uuid::from_u128(2)));
        let behind = locks.clone().stand_behind(who);
        assert!(locks.is_behind(who) && !locks.is_behind(other));
        drop(behind);
        assert!(!locks.is_behind(who));
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
