//! Leases of the full DHCP mode: durable before the acknowledgement leaves.

use std::net::Ipv4Addr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::read::{Order, Read, records};
use super::schema::Table;
use super::tx::Tx;

/// Typed reads of leases.
pub trait LeaseReads: Read {
    /// All leases.
    ///
    /// # Errors
    /// When the database or a record cannot be read.
    fn leases<T: DeserializeOwned>(&self) -> Result<Vec<T>, StoreError> {
        records(self, Table::Leases, &[], Order::Ascending, usize::MAX)
    }
}

impl<T: Read + ?Sized> LeaseReads for T {}

impl Tx<'_, '_> {
    /// Writes the lease of an address.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_lease(
        &mut self,
        address: Ipv4Addr,
        lease: &impl Serialize,
    ) -> Result<(), StoreError> {
        self.put_record(Table::Leases, address.octets().to_vec(), lease)
    }

    /// Removes the lease of an address.
    pub fn delete_lease(&mut self, address: Ipv4Addr) {
        self.remove(Table::Leases, address.octets().to_vec());
    }
}
