//! Doubles of the outside world with owners: strict, recording what they saw; and samples of our own records. Only tests
//! use them.

pub mod clock;
pub mod firmware;
pub mod pve;
pub mod redfish;
pub mod sample;
