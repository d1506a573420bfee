//! What operators see of the daemon itself: its log, and the bundle for whoever helps them.

pub mod bundle;
pub mod logging;
