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
//! it is in [`Reply::keeps_house_rules`].

mod client;
pub mod desk;
pub mod http;
mod reply;
mod request;
#[cfg(test)]
mod test;
pub mod tftp;

pub use client::{Client, Edk2Class, Taken, edk2_class};
pub use reply::Reply;
pub use request::Asked;

/// Why a client would drop a reply, or fail with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Dropped(pub String);

impl From<&str> for Dropped {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<String> for Dropped {
    fn from(why: String) -> Self {
        Self(why)
    }
}

/// `Ok` when a rule is kept.
fn rule(kept: bool, what: &str) -> Result<(), Dropped> {
    if kept { Ok(()) } else { Err(Dropped(what.to_owned())) }
}
