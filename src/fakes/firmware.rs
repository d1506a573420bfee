//! Models of the clients that boot from us: by which rules EDK2, iPXE and PXE ROMs take a reply or drop it.
//!
//! An oracle over everything that the daemon can send, shared by property tests and fuzz targets. It reads raw bytes with
//! code of its own, so that a mistake of our codec cannot hide in a shared decoder, and it knows nothing of what the daemon
//! decided. Sources, by short names used below:
//!
//! | name | what |
//! |---|---|
//! | EDK2 | `NetworkPkg` of tianocore/edk2, 2026: `Dhcp4Dxe`, `UefiPxeBcDxe`, `HttpBootDxe`, `Mtftp4Dxe` |
//! | iPXE | `net/udp/dhcp.c`, `net/udp/tftp.c` of ipxe/ipxe, 2.0 line |
//! | PXE | Intel, Preboot Execution Environment 2.1 |
//! | ROM | what is known of BIOS ROMs from PXE and from reports of PXE servers' users |
//!
//! Where a rule is stricter than the clients' own, because strictness costs nothing and some client somewhere needs it,
//! it is in [`Reply::keeps_house_rules`]. What the daemon itself needs of this, when it plays a machine, is in
//! `plan::firmware`.

mod client;
pub mod desk;
mod reply;
mod request;
#[cfg(test)]
mod test;

pub use crate::plan::firmware::{Dropped, Edk2Class, http, tftp};
pub use client::{Client, Taken, edk2_class};
pub use reply::Reply;
pub use request::Asked;

use crate::plan::firmware::rule;
