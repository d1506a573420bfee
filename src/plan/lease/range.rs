//! Which addresses a pool may lend, checked once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::domain::mac::Mac;
use crate::limits::machine::LEASE_RANGE;

/// Shortest lease: two retries of a client must fit between renewal and rebinding.
const SHORTEST_LEASE_SECS: u32 = 120;

/// The checked settings of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    subnet: Ipv4Net,
    first: Ipv4Addr,
    last: Ipv4Addr,
    router: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    lease_secs: u32,
    reserved: BTreeMap<Mac, Ipv4Addr>,
    kept_back: BTreeSet<Ipv4Addr>,
}

/// The settings of a pool contradict themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPool {
    /// The range has no address.
    #[error("the range {first} - {last} is empty; its first address must not be above its last")]
    Empty {
        /// First address.
        first: Ipv4Addr,
        /// Last address.
        last: Ipv4Addr,
    },
    /// The range has too many addresses.
    #[error("the range {first} - {last} has more than 65536 addresses")]
    TooLarge {
        /// First address.
        first: Ipv4Addr,
        /// Last address.
        last: Ipv4Addr,
    },
    /// An address that no machine of this network can have.
    #[error("{address} ({what}) is not a machine's address in {subnet}")]
    OutsideSubnet {
        /// What was given.
        address: Ipv4Addr,
        /// Which setting.
        what: &'static str,
        /// The network.
        subnet: Ipv4Net,
    },
    /// One address for two machines.
    #[error("{address} is reserved for two machines, {first} and {second}")]
    ReservedTwice {
        /// The address.
        address: Ipv4Addr,
        /// One machine.
        first: Mac,
        /// The other.
        second: Mac,
    },
    /// A machine would get our own or the router's address.
    #[error("{address} is reserved for {mac}, but it is the {owner}'s own address")]
    ReservedOwn {
        /// The address.
        address: Ipv4Addr,
        /// The machine.
        mac: Mac,
        /// Who has it.
        owner: &'static str,
    },
    /// The lease time is too short.
    #[error("a lease of {secs} s is too short; 120 s is the least")]
    ShortLease {
        /// What was given.
        secs: u32,
    },
}

impl PoolConfig {
    /// A pool of the addresses from `first` to `last` in `subnet`, lent for `lease_secs` seconds. `server` is our own
    /// address: it and the router's are never lent.
    ///
    /// # Errors
    /// [`InvalidPool`] with the rule that is broken.
    pub fn new(
        subnet: Ipv4Net,
        (first, last): (Ipv4Addr, Ipv4Addr),
        server: Ipv4Addr,
        lease_secs: u32,
    ) -> Result<Self, InvalidPool> {
        let subnet = subnet.trunc();
        for (address, what) in
            [(first, "first address"), (last, "last address"), (server, "our own address")]
        {
            inside(subnet, address, what)?;
        }
        if first > last {
            return Err(InvalidPool::Empty { first, last });
        }
        if last.to_bits() - first.to_bits() >= LEASE_RANGE {
            return Err(InvalidPool::TooLarge { first, last });
        }
        if lease_secs < SHORTEST_LEASE_SECS {
            return Err(InvalidPool::ShortLease { secs: lease_secs });
        }
        Ok(Self {
            subnet,
            first,
            last,
            router: None,
            dns: Vec::new(),
            lease_secs,
            reserved: BTreeMap::new(),
            kept_back: BTreeSet::from([server]),
        })
    }

    /// The same with a gateway and name servers, as told to machines.
    ///
    /// # Errors
    /// [`InvalidPool::OutsideSubnet`] when the gateway is not in the network.
    pub fn with_routing(
        mut self,
        router: Option<Ipv4Addr>,
        dns: Vec<Ipv4Addr>,
    ) -> Result<Self, InvalidPool> {
        if let Some(router) = router {
            inside(self.subnet, router, "router")?;
            self.kept_back.insert(router);
        }
        self.router = router;
        self.dns = dns;
        Ok(self)
    }

    /// The same with fixed addresses for some machines, inside or outside the dynamic range. Comes after
    /// [`PoolConfig::with_routing`].
    ///
    /// # Errors
    /// [`InvalidPool`] when an address is outside the network, taken, or reserved twice.
    pub fn with_reservations(
        mut self,
        reservations: impl IntoIterator<Item = (Mac, Ipv4Addr)>,
    ) -> Result<Self, InvalidPool> {
        for (mac, address) in reservations {
            inside(self.subnet, address, "reservation")?;
            if self.kept_back.contains(&address) {
                let owner = if self.router == Some(address) { "router" } else { "server" };
                return Err(InvalidPool::ReservedOwn { address, mac, owner });
            }
            if let Some((&first, _)) = self.reserved.iter().find(|(_, a)| **a == address) {
                return Err(InvalidPool::ReservedTwice { address, first, second: mac });
            }
            self.reserved.insert(mac, address);
        }
        self.kept_back.extend(self.reserved.values());
        Ok(self)
    }

    /// The network of the pool.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The gateway that is told to machines.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.router
    }

    /// The name servers that are told to machines.
    #[must_use]
    pub fn dns(&self) -> &[Ipv4Addr] {
        &self.dns
    }

    /// For how many seconds an address is lent.
    #[must_use]
    pub fn lease_secs(&self) -> u32 {
        self.lease_secs
    }

    pub(super) fn lease_time(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_secs))
    }

    pub(super) fn reservation(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.reserved.get(&mac).copied()
    }

    /// Whether `address` may be lent to anybody who comes.
    pub(super) fn is_dynamic(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address) && !self.kept_back.contains(&address)
    }

    /// Whether `address` may be lent to this machine.
    pub(super) fn may_lend(&self, mac: Mac, address: Ipv4Addr) -> bool {
        self.is_dynamic(address) || self.reservation(mac) == Some(address)
    }

    pub(super) fn dynamic_addresses(&self) -> Vec<Ipv4Addr> {
        (self.first.to_bits()..=self.last.to_bits())
            .map(Ipv4Addr::from_bits)
            .filter(|&address| self.is_dynamic(address))
            .collect()
    }
}

fn inside(subnet: Ipv4Net, address: Ipv4Addr, what: &'static str) -> Result<(), InvalidPool> {
    // A /31 or /32 has no network and broadcast address to spare; such a segment needs no pool either.
    let ends = [subnet.network(), subnet.broadcast()];
    if subnet.contains(&address) && !ends.contains(&address) {
        Ok(())
    } else {
        Err(InvalidPool::OutsideSubnet { address, what, subnet })
    }
}
