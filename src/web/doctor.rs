//! What page and API want of the doctor.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::refusal::Refusal;
use crate::plan::doctor::Report;
use crate::plan::doctor::rehearsal::{Firmware, Rehearsal};

/// Looks for what is wrong with the LAN and the installation.
pub trait Doctor: Send + Sync + 'static {
    /// The last report; `None`: nobody asked since the start.
    fn last(&self) -> Option<Arc<Report>>;

    /// Looks now. It takes some seconds, because some DHCP servers do.
    fn check(&self) -> BoxFuture<'_, Arc<Report>>;

    /// Plays a machine that boots from the network, as far as its boot script.
    ///
    /// # Errors
    /// When none can be played: network boot is off, or the interface is down.
    fn simulate(&self, firmware: Firmware) -> BoxFuture<'_, Result<Rehearsal, Refusal>>;
}
