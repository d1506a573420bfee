//! The address pool of `mode = "full"`: which machine has which address, and until when.
//!
//! ```text
//!            offer                commit                    expire / release
//!   free ----------> held (30 s) ----------> bound (lease) -----------------> free
//!                      |                       |  decline
//!                      +--- expire ---> free   +----------> declined (1 h) --> free
//! ```
//!
//! A machine is its MAC address, not its client identifier (option 61): firmware, iPXE, the installer and the installed
//! system identify themselves differently, and all four should get the same address. Pure: time comes in as an
//! argument, and what must be durable before an ACK goes out is returned as a [`Lease`].

mod range;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::limits::dhcp::DECLINED;
use crate::limits::machine::LEASE_HOLD;
pub use range::{InvalidPool, PoolConfig};

/// A durable fact about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose.
    pub mac: Mac,
    /// What became of it.
    pub state: LeaseState,
    /// Until when that holds.
    pub until: Timestamp,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Lent.
    Bound,
    /// Given back.
    Released,
    /// Found in use by a stranger; lent to nobody.
    Declined,
}

/// Why a machine does not get the address that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not an address of the pool, nor this machine's reservation.
    #[error("{address} is not for this machine to have")]
    NotLendable {
        /// What was asked for.
        address: Ipv4Addr,
    },
    /// Somebody else has it.
    #[error("{address} belongs to another machine")]
    Taken {
        /// What was asked for.
        address: Ipv4Addr,
    },
    /// The machine has another address.
    #[error("this machine's address is {own}, not {address}")]
    Moved {
        /// What was asked for.
        address: Ipv4Addr,
        /// What it has.
        own: Ipv4Addr,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Held,
    Bound,
    Declined,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    mac: Mac,
    used: Use,
    until: Timestamp,
}

/// Addresses and who has them. One owner; no locks inside.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    /// Addresses in use. Every one of these is also in `deadlines`.
    slots: BTreeMap<Ipv4Addr, Slot>,
    deadlines: BTreeSet<(Timestamp, Ipv4Addr)>,
    /// Which address a machine has, or had last; machines come back to theirs while nobody else needed it.
    homes: HashMap<Mac, Ipv4Addr>,
    last_owner: HashMap<Ipv4Addr, Mac>,
    /// Free dynamic addresses, longest unused first.
    free: BTreeMap<u64, Ipv4Addr>,
    free_at: HashMap<Ipv4Addr, u64>,
    next_turn: u64,
}

impl Pool {
    /// A pool with the leases that were durable when the process started; what does not fit the configuration any more
    /// is dropped.
    #[must_use]
    pub fn new(config: PoolConfig, leases: &[Lease], now: Timestamp) -> Self {
        let mut pool = Self {
            config,
            slots: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            homes: HashMap::new(),
            last_owner: HashMap::new(),
            free: BTreeMap::new(),
            free_at: HashMap::new(),
            next_turn: 0,
        };
        for address in pool.config.dynamic_addresses() {
            pool.set_free(address);
        }
        for lease in leases {
            pool.restore(lease, now);
        }
        pool
    }

    /// What the addresses are lent with.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// The live leases, by address.
    #[must_use]
    pub fn leases(&self, now: Timestamp) -> Vec<Lease> {
        let live = self.slots.iter().filter(|(_, s)| s.used == Use::Bound && s.until > now);
        live.map(|(&address, s)| Lease {
            address,
            mac: s.mac,
            state: LeaseState::Bound,
            until: s.until,
        })
        .collect()
    }

    /// Chooses an address for a DISCOVER and holds it for 30 seconds: the reservation, else the address that the
    /// machine has or had, else the one it asks for, else the longest unused. `None` when every address is taken.
    pub fn offer(
        &mut self,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        self.expire(now);
        let candidates = [self.config.reservation(mac), self.homes.get(&mac).copied(), wanted];
        let address = candidates
            .into_iter()
            .flatten()
            .find(|&address| self.may_have(mac, address).is_ok())
            .or_else(|| self.free.values().next().copied())?;
        let bound = self.slots.get(&address).is_some_and(|slot| slot.used == Use::Bound);
        if !bound {
            self.occupy(address, Slot { mac, used: Use::Held, until: now.after(LEASE_HOLD) });
        }
        Some(address)
    }

    /// Lends an address, new or again. The result must be durable before the ACK is sent.
    ///
    /// # Errors
    /// [`Refusal`] when the machine cannot have it: the answer is a NAK.
    pub fn commit(
        &mut self,
        mac: Mac,
        address: Ipv4Addr,
        now: Timestamp,
    ) -> Result<Lease, Refusal> {
        self.expire(now);
        self.may_have(mac, address)?;
        if let Some(own) = self.config.reservation(mac).filter(|&own| own != address)
            && self.may_have(mac, own).is_ok()
        {
            return Err(Refusal::Moved { address, own });
        }
        let old = self.homes.get(&mac).copied().filter(|&home| home != address);
        if let Some(own) = old
            && self.slots.get(&own).is_some_and(|s| s.mac == mac && s.used != Use::Declined)
        {
            if self.slots.get(&own).is_some_and(|s| s.used == Use::Bound) {
                return Err(Refusal::Moved { address, own });
            }
            self.vacate(own);
        }
        let until = now.after(self.config.lease_time());
        self.occupy(address, Slot { mac, used: Use::Bound, until });
        Ok(Lease { address, mac, state: LeaseState::Bound, until })
    }

    /// Takes back an address that was offered when the machine chose another server.
    pub fn withdraw(&mut self, mac: Mac) {
        if let Some(&home) = self.homes.get(&mac)
            && self.slots.get(&home).is_some_and(|s| s.mac == mac && s.used == Use::Held)
        {
            self.vacate(home);
        }
    }

    /// The machine gives its address back; `None` when it never had it.
    pub fn release(&mut self, mac: Mac, address: Ipv4Addr, now: Timestamp) -> Option<Lease> {
        let slot = self.slots.get(&address)?;
        if slot.mac != mac || slot.used == Use::Declined {
            return None;
        }
        self.vacate(address);
        Some(Lease { address, mac, state: LeaseState::Released, until: now })
    }

    /// The machine found its address in use; it is lent to nobody for an hour. `None` when the machine never had it.
    pub fn decline(&mut self, mac: Mac, address: Ipv4Addr, now: Timestamp) -> Option<Lease> {
        let slot = self.slots.get(&address)?;
        if slot.mac != mac || slot.used == Use::Declined {
            return None;
        }
        let until = now.after(DECLINED);
        self.occupy(address, Slot { mac, used: Use::Declined, until });
        self.homes.remove(&mac);
        Some(Lease { address, mac, state: LeaseState::Declined, until })
    }

    /// Frees what ran out. Called by every operation; the cost is that of what ran out.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(&(until, address)) = self.deadlines.first() {
            if until > now {
                break;
            }
            self.vacate(address);
        }
    }

    fn restore(&mut self, lease: &Lease, now: Timestamp) {
        let fits = self.config.may_lend(lease.mac, lease.address);
        if !fits || self.slots.contains_key(&lease.address) {
            return;
        }
        let used = match lease.state {
            LeaseState::Bound => Use::Bound,
            LeaseState::Declined => Use::Declined,
            LeaseState::Released => return,
        };
        let moved = self.homes.contains_key(&lease.mac) && used == Use::Bound;
        if lease.until > now && !moved {
            self.occupy(lease.address, Slot { mac: lease.mac, used, until: lease.until });
        }
    }

    fn may_have(&self, mac: Mac, address: Ipv4Addr) -> Result<(), Refusal> {
        if !self.config.may_lend(mac, address) {
            return Err(Refusal::NotLendable { address });
        }
        match self.slots.get(&address) {
            Some(slot) if slot.mac != mac || slot.used == Use::Declined => {
                Err(Refusal::Taken { address })
            }
            _ => Ok(()),
        }
    }

    fn occupy(&mut self, address: Ipv4Addr, slot: Slot) {
        if let Some(turn) = self.free_at.remove(&address) {
            self.free.remove(&turn);
        }
        if let Some(old) = self.slots.insert(address, slot) {
            self.deadlines.remove(&(old.until, address));
        }
        self.deadlines.insert((slot.until, address));
        if let Some(previous) = self.last_owner.insert(address, slot.mac)
            && previous != slot.mac
            && self.homes.get(&previous) == Some(&address)
        {
            self.homes.remove(&previous);
        }
        if slot.used != Use::Declined {
            self.homes.insert(slot.mac, address);
        }
    }

    fn vacate(&mut self, address: Ipv4Addr) {
        if let Some(old) = self.slots.remove(&address) {
            self.deadlines.remove(&(old.until, address));
            self.set_free(address);
        }
    }

    fn set_free(&mut self, address: Ipv4Addr) {
        if self.config.is_dynamic(address) {
            self.free.insert(self.next_turn, address);
            self.free_at.insert(address, self.next_turn);
            self.next_turn += 1;
        }
    }
}

#[cfg(test)]
mod test;
