//! Bytes to types and back, and protocol state machines. Pure: no sockets, no clock.

pub mod dhcp;
pub mod installer;
pub mod iso9660;
pub mod pve;
pub mod pxe;
pub mod tftp;
pub mod verb;
