//! What page and API want of the debug bundle.

use futures_util::future::BoxFuture;

use crate::domain::refusal::Refusal;

/// Gathers what somebody who helps needs to see, without secrets.
pub trait Bundles: Send + Sync + 'static {
    /// A gzipped tar archive with the jobs, events and boot logs of so many hours.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn make(&self, hours: u32) -> BoxFuture<'_, Result<Vec<u8>, Refusal>>;
}
