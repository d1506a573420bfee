//! Bytes to types and back, and protocol state machines. Pure: no sockets, no clock.

pub mod dhcp;
pub mod installer;
pub mod ipmi;
pub mod iso9660;
pub mod pve;
pub mod pxe;
pub mod redfish;
pub mod tftp;
pub mod verb;
pub mod wake;
