//! Decisions as pure functions: what to offer to a packet, which answer in which dialect, which steps make a rebuild.

pub mod answer;
pub mod authority;
pub mod join;
pub mod lease;
pub mod offer;
pub mod rebuild;
pub mod script;
