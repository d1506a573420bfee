//! TFTP as boot firmware speaks it: read-only, binary, from a map in memory (RFC 1350, 2347, 2348, 2349, 7440).
//!
//! Owns the wire format ([`packet`]), the cleaning of file names that ROMs garble ([`name`]), one transfer as a machine
//! ([`transfer`]), and the table of all transfers of one socket with its limits ([`transfers`]). Called by `boot::tftp`,
//! which owns the socket and the clock. Knows neither; time comes in as a [`std::time::Duration`] since the service
//! started.
//!
//! The reference for the odd behaviour named here is `pxe-netboot`, section 10: each rule there has a test in this
//! folder.

pub mod limits;
pub mod name;
pub mod packet;
pub mod transfer;
pub mod transfers;

pub use limits::Limits;
pub use packet::{Datagram, ErrorCode};
pub use transfers::{File, FileSource, Transfers};
