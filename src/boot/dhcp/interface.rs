//! The machine's interfaces: which are served, and which address is ours on each.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use crate::domain::mac::Mac;
use crate::plan::offer::LocalAddress;

/// On which interfaces requests are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// On all but the loopback, those included that appear later.
    All,
    /// On these, by name. The loopback can be named.
    Named(Vec<String>),
}

/// A reading of the kernel's interfaces.
#[derive(Debug, Default)]
pub(super) struct InterfaceTable {
    by_index: BTreeMap<u32, Interface>,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    is_loopback: bool,
    mac: Option<Mac>,
    /// In the kernel's order: the primary address first.
    addresses: Vec<LocalAddress>,
}

impl InterfaceTable {
    pub(super) fn read() -> io::Result<Self> {
        let mut table = Self::default();
        for entry in getifaddrs()? {
            // Address labels like eth0:1 belong to the interface in front of the colon.
            let name = entry.interface_name.split(':').next().unwrap_or_default().to_owned();
            let Ok(index) = if_nametoindex(name.as_str()) else { continue };
            let interface = table.by_index.entry(index).or_insert_with(|| Interface {
                name,
                is_loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
                mac: None,
                addresses: Vec::new(),
            });
            let Some(address) = entry.address else { continue };
            if let Some(link) = address.as_link_addr() {
                interface.mac = link.addr().map(Mac);
            }
            if let Some(address) = ipv4(&address) {
                let mask = entry.netmask.as_ref().and_then(ipv4).unwrap_or(Ipv4Addr::BROADCAST);
                let ones = mask.to_bits().leading_ones();
                let prefix_len = u8::try_from(ones).unwrap_or(32);
                interface.addresses.push(LocalAddress { address, prefix_len });
            }
        }
        Ok(table)
    }

    /// The first configured name that does not exist.
    pub(super) fn missing(&self, wanted: &Interfaces) -> Option<String> {
        let Interfaces::Named(names) = wanted else { return None };
        names.iter().find(|name| !self.by_index.values().any(|i| i.name == **name)).cloned()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.by_index.values().map(|i| i.name.clone()).collect()
    }

    /// Names of served interfaces that cannot be answered on yet.
    pub(super) fn without_address(&self, wanted: &Interfaces) -> Vec<String> {
        let Interfaces::Named(names) = wanted else { return Vec::new() };
        let bare = self.by_index.values().filter(|i| i.addresses.is_empty());
        bare.filter(|i| names.contains(&i.name)).map(|i| i.name.clone()).collect()
    }

    /// Served interfaces with their first address.
    pub(super) fn served(
        &self,
        wanted: &Interfaces,
    ) -> impl Iterator<Item = (u32, &Interface, LocalAddress)> {
        self.by_index
            .iter()
            .filter(|(index, _)| self.is_allowed(**index, wanted))
            .filter_map(|(&index, i)| Some((index, i, *i.addresses.first()?)))
    }

    pub(super) fn is_allowed(&self, index: u32, wanted: &Interfaces) -> bool {
        match (self.by_index.get(&index), wanted) {
            (Some(interface), Interfaces::Named(names)) => names.contains(&interface.name),
            (Some(interface), Interfaces::All) => !interface.is_loopback,
            (None, _) => false,
        }
    }

    /// Whether a request comes from this very machine.
    pub(super) fn is_own(&self, mac: Mac) -> bool {
        self.by_index.values().any(|i| i.mac == Some(mac))
    }

    /// `address` with its prefix when it is ours.
    pub(super) fn local(&self, address: Ipv4Addr) -> Option<LocalAddress> {
        let mut all = self.by_index.values().flat_map(|i| &i.addresses);
        all.find(|own| own.address == address).copied()
    }

    /// Our address for a request that came in on `index` and was sent to `destination`: that one when it is ours, else
    /// the interface's primary one.
    pub(super) fn address_for(&self, index: u32, destination: Ipv4Addr) -> Option<LocalAddress> {
        self.local(destination).or_else(|| self.by_index.get(&index)?.addresses.first().copied())
    }

    pub(super) fn prefix_len(&self, index: u32) -> Option<u8> {
        Some(self.by_index.get(&index)?.addresses.first()?.prefix_len)
    }

    /// Whether `other` is in a network of this interface.
    pub(super) fn is_neighbour(&self, index: u32, other: Ipv4Addr) -> bool {
        let addresses = self.by_index.get(&index).map_or(&[][..], |i| &i.addresses);
        addresses.iter().any(|own| own.is_neighbour(other))
    }
}

fn ipv4(address: &SockaddrStorage) -> Option<Ipv4Addr> {
    address.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip)
}

/// The source address that the kernel would use towards `target`. Connecting a UDP socket sends nothing.
pub(super) fn address_towards(target: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((target, 67)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
}
