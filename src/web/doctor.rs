//! What page and API want of the doctor.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::plan::doctor::Report;

/// Looks for what is wrong with the LAN and the installation.
pub trait Doctor: Send + Sync + 'static {
    /// The last report; `None`: nobody asked since the start.
    fn last(&self) -> Option<Arc<Report>>;

    /// Looks now. It takes some seconds, because some DHCP servers do.
    fn check(&self) -> BoxFuture<'_, Arc<Report>>;
}
