//! The pool's leases in the database.

use crate::boot::dhcp;
use crate::plan::lease::Lease;
use crate::store::{Store, StoreError};

/// Leases, durable before the acknowledgement leaves.
pub(super) struct Leases(pub(super) Store);

impl dhcp::LeaseStore for Leases {
    fn persist<'a>(
        &'a self,
        leases: &'a [Lease],
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), dhcp::LeaseStoreError>> + Send + 'a>>
    {
        let leases = leases.to_vec();
        Box::pin(async move {
            self.0
                .write::<_, StoreError, _>(move |tx| {
                    for lease in &leases {
                        tx.save_lease(lease.address, lease)?;
                    }
                    Ok(())
                })
                .await
                .map_err(|e| dhcp::LeaseStoreError(Box::new(e)))
        })
    }
}
