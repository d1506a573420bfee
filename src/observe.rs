//! What operators and their tools see of the daemon itself.

pub mod logging;
