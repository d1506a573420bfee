//! Requests as real clients send them, for tests of every layer.

use std::net::Ipv4Addr;

use super::{BootRequest, parse};
use crate::domain::mac::Mac;

/// The machine's address.
pub const MAC: Mac = Mac([0x52, 0x54, 0x00, 0xaa, 0xbb, 0x01]);
/// The transaction.
pub const XID: u32 = 0x1234_5678;

/// Option 97 of a machine whose UUID dmidecode shows as 4c4c4544-0042-3010-8054-b5c04f4e5932.
pub const MACHINE_ID: [u8; 17] = [
    0, 0x44, 0x45, 0x4c, 0x4c, 0x42, 0x00, 0x10, 0x30, 0x80, 0x54, 0xb5, 0xc0, 0x4f, 0x4e, 0x59,
    0x32,
];

/// iPXE's features with HTTP among them, as a 1.21 build lists them.
pub const IPXE_WITH_HTTP: &[u8] = &[
    0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0x00, 0x18, 1, 1, 0x23, 1, 1, 0x22, 1, 1, 0x13, 1, 1, 0x14, 1, 1,
    0xeb, 3, 1, 21, 1,
];
/// The same list without HTTP.
pub const IPXE_WITHOUT_HTTP: &[u8] = &[0x15, 1, 1, 0x21, 1, 1, 0xeb, 3, 1, 0, 0];

/// A request under construction.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The client's address.
    pub ciaddr: Ipv4Addr,
    /// The relay's address.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: Mac,
    /// The transaction.
    pub xid: u32,
    /// Code and value, in the order sent.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Packet {
    /// With message type and nothing else.
    #[must_use]
    pub fn new(message: u8) -> Self {
        Self {
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            mac: MAC,
            xid: XID,
            options: vec![(53, vec![message])],
        }
    }

    /// Firmware or iPXE with the usual options of a network boot.
    #[must_use]
    pub fn netboot(message: u8, class: &str, architecture: u16) -> Self {
        Self::new(message)
            .with(57, &1472u16.to_be_bytes())
            .with(55, &[1, 2, 3, 43, 54, 60, 66, 67, 97, 128])
            .with(97, &MACHINE_ID)
            .with(94, &[1, 3, 16])
            .with(93, &architecture.to_be_bytes())
            .with(60, format!("{class}:Arch:{architecture:05}:UNDI:003016").as_bytes())
    }

    /// Firmware in PXE mode.
    #[must_use]
    pub fn pxe(message: u8, architecture: u16) -> Self {
        Self::netboot(message, "PXEClient", architecture)
    }

    /// Firmware in HTTP mode.
    #[must_use]
    pub fn http(message: u8, architecture: u16) -> Self {
        Self::netboot(message, "HTTPClient", architecture)
    }

    /// iPXE with these features.
    #[must_use]
    pub fn ipxe(message: u8, architecture: u16, features: &[u8]) -> Self {
        Self::pxe(message, architecture).with(77, b"iPXE").with(175, features)
    }

    /// A laptop.
    #[must_use]
    pub fn laptop(message: u8) -> Self {
        Self::new(message).with(12, b"laptop").with(60, b"MSFT 5.0").with(55, &[1, 3, 6, 15])
    }

    /// The same with one more option.
    #[must_use]
    pub fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    /// The same without an option.
    #[must_use]
    pub fn without(mut self, code: u8) -> Self {
        self.options.retain(|(c, _)| *c != code);
        self
    }

    /// The packet.
    ///
    /// # Panics
    /// On an option over 255 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = header(self.mac, self.xid);
        out[12..16].copy_from_slice(&self.ciaddr.octets());
        out[24..28].copy_from_slice(&self.giaddr.octets());
        for (code, value) in &self.options {
            out.push(*code);
            out.push(u8::try_from(value.len()).expect("samples have short options"));
            out.extend(value);
        }
        out.push(255);
        out
    }

    /// The packet as the daemon reads it.
    ///
    /// # Panics
    /// On a packet that it would ignore.
    #[must_use]
    pub fn parsed(&self) -> BootRequest {
        parse(&self.bytes()).expect("samples are valid")
    }
}

/// Header and cookie of a client's packet.
#[must_use]
pub fn header(mac: Mac, xid: u32) -> Vec<u8> {
    let mut out = vec![0; 240];
    out[..3].copy_from_slice(&[1, 1, 6]);
    out[4..8].copy_from_slice(&xid.to_be_bytes());
    out[10] = 0x80;
    out[28..34].copy_from_slice(&mac.0);
    out[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    out
}
