//! Doubles of the outside world with owners: strict, recording what they saw. Only tests use them.

pub mod clock;
pub mod firmware;
pub mod pve;
pub mod redfish;
