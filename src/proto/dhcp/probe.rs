//! Questions of our own, as a client asks them, and what comes back: looking for other servers, and playing a machine.

use std::net::Ipv4Addr;

use super::option::code;
use super::{COOKIE, HEADER_BYTES, HLEN_ETHERNET, HTYPE_ETHERNET, OP_REPLY, OP_REQUEST};
use crate::domain::mac::Mac;

/// A DISCOVER that any DHCP server on the segment answers.
///
/// With `relay` set to our own address the server answers to that address on the server port, as it would to a relay;
/// without it by broadcast to the client port. Both are worth asking: the client port may be held by the machine's own
/// DHCP client.
#[must_use]
pub fn discover(xid: u32, mac: Mac, relay: Option<Ipv4Addr>) -> Vec<u8> {
    let mut out = header(xid, mac, None, relay);
    out.extend([code::MESSAGE_TYPE, 1, 1]);
    out.extend([55, 3, code::SUBNET_MASK, code::ROUTER, code::LEASE_SECS]);
    out.push(code::END);
    out.resize(300, 0);
    out
}

/// The fixed part of a question, up to the options: from a client that has an address (ciaddr), or by way of a relay.
fn header(xid: u32, mac: Mac, client: Option<Ipv4Addr>, relay: Option<Ipv4Addr>) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    out.extend([OP_REQUEST, HTYPE_ETHERNET, HLEN_ETHERNET, u8::from(relay.is_some())]);
    out.extend(xid.to_be_bytes());
    // Broadcast flag: nobody here has an address that could be answered.
    out.extend([0, 0, if client.is_some() { 0 } else { 0x80 }, 0]);
    out.extend(client.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    out.extend([0; 8]);
    out.extend(relay.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    out.extend(mac.0);
    out.resize(236, 0);
    out.extend(COOKIE);
    out
}

/// Whether `datagram` is a server's OFFER to our own DISCOVER `xid`, and what address it offers. A boot server beside a
/// DHCP server offers none and is not counted.
#[must_use]
pub fn offered_address(datagram: &[u8], xid: u32) -> Option<Ipv4Addr> {
    let header = datagram.get(..HEADER_BYTES)?;
    let is_reply = header.first() == Some(&OP_REPLY)
        && header.get(4..8) == Some(&xid.to_be_bytes())
        && header.get(236..) == Some(&COOKIE);
    let octets: [u8; 4] = header.get(16..20)?.try_into().ok()?;
    let address = Ipv4Addr::from(octets);
    (is_reply && !address.is_unspecified()).then_some(address)
}

/// Who a DISCOVER says it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A BIOS ROM: architecture 0.
    Bios,
    /// UEFI x64 firmware in PXE mode: architecture 7.
    Uefi,
    /// UEFI x64 firmware in HTTP mode: architecture 16.
    UefiHttp,
    /// iPXE with HTTP, started by UEFI firmware.
    Ipxe,
}

impl Asker {
    /// Option 60.
    fn vendor_class(self) -> &'static [u8] {
        match self {
            Self::Bios => b"PXEClient:Arch:00000:UNDI:002001",
            Self::Uefi | Self::Ipxe => b"PXEClient:Arch:00007:UNDI:003016",
            Self::UefiHttp => b"HTTPClient:Arch:00016:UNDI:003016",
        }
    }

    /// Option 93.
    fn architecture(self) -> [u8; 2] {
        match self {
            Self::Bios => [0, 0],
            Self::Uefi | Self::Ipxe => [0, 7],
            Self::UefiHttp => [0, 16],
        }
    }
}

/// A boot client's DISCOVER, or with `address` its question to a boot server on UDP 4011 (a REQUEST from a client that
/// has that address).
#[must_use]
pub fn boot_request(xid: u32, mac: Mac, asker: Asker, address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut out = header(xid, mac, address, None);
    let message = if address.is_some() { 3 } else { 1 };
    let mut option = |tag: u8, value: &[u8]| {
        out.push(tag);
        out.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        out.extend(value.iter().take(usize::from(u8::MAX)));
    };
    option(code::MESSAGE_TYPE, &[message]);
    option(code::MAX_MESSAGE, &1472_u16.to_be_bytes());
    option(55, &[1, 3, 6, 43, 51, 54, 60, 66, 67, 97]);
    option(code::MACHINE_ID, &[0; 17]);
    option(code::ARCHITECTURE, &asker.architecture());
    option(94, &[1, 3, 16]);
    option(code::VENDOR_CLASS, asker.vendor_class());
    if asker == Asker::Ipxe {
        option(code::USER_CLASS, b"iPXE");
        // Features: HTTP, EFI (`pxe-netboot` 2.4).
        option(code::IPXE, &[0x13, 1, 1, 0x24, 1, 1]);
    }
    out.push(code::END);
    out.resize(out.len().max(300), 0);
    out
}

/// Longest text of a reply that is kept: the `file` field has 128 bytes.
const TEXT_BYTES: usize = 128;

/// What a server's OFFER or ACK says, read as tolerantly as the most tolerant client does. All of it is the sender's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardOffer {
    /// Where the datagram came from.
    pub source: Ipv4Addr,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// The address that is lent; 0.0.0.0 from a boot server.
    pub address: Ipv4Addr,
    /// siaddr: where files are.
    pub next_server: Ipv4Addr,
    /// The relay in between; 0.0.0.0 without one.
    pub relay: Ipv4Addr,
    /// Option 60.
    pub vendor_class: Vec<u8>,
    /// Option 67, else the `file` field, printable characters only; empty without one.
    pub boot_file: String,
    /// Option 66, printable characters only; empty without one.
    pub tftp_name: String,
    /// Tags of option 43 with the first byte of each value.
    pub vendor_tags: Vec<(u8, Option<u8>)>,
}

impl HeardOffer {
    /// Reads a datagram; `None`: it is no OFFER or ACK for this transaction and machine.
    #[must_use]
    pub fn read(datagram: &[u8], source: Ipv4Addr, xid: u32, mac: Mac) -> Option<Self> {
        let header = datagram.get(..HEADER_BYTES)?;
        let is_reply = header.first() == Some(&OP_REPLY)
            && header.get(4..8) == Some(&xid.to_be_bytes())
            && header.get(28..34) == Some(&mac.0)
            && header.get(236..) == Some(&COOKIE);
        if !is_reply {
            return None;
        }
        let options = Found::walk(datagram.get(HEADER_BYTES..).unwrap_or(&[]));
        if !matches!(options.first(code::MESSAGE_TYPE), Some([2 | 5])) {
            return None;
        }
        let field = |from: usize| -> Option<Ipv4Addr> {
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(header.get(from..from + 4)?).ok()?))
        };
        // With option 52 the field holds options, no name.
        let overloaded = options.first(code::OVERLOAD).is_some();
        let in_field = header.get(108..236).filter(|_| !overloaded).unwrap_or(&[]);
        let boot_file = match options.joined(code::BOOT_FILE) {
            named if named.is_empty() => text(in_field),
            named => text(&named),
        };
        let server_id = options.first(code::SERVER_ID).and_then(|v| <[u8; 4]>::try_from(v).ok());
        Some(Self {
            source,
            server_id: server_id.map(Ipv4Addr::from).filter(|a| !a.is_unspecified()),
            address: field(16)?,
            next_server: field(20)?,
            relay: field(24)?,
            vendor_class: options.joined(code::VENDOR_CLASS),
            boot_file,
            tftp_name: text(&options.joined(code::TFTP_SERVER)),
            vendor_tags: vendor_tags(&options.joined(code::VENDOR_OPTIONS)),
        })
    }

    /// The server, by its own word.
    #[must_use]
    pub fn server(&self) -> Ipv4Addr {
        self.server_id.unwrap_or(self.source)
    }

    /// It gives an address.
    #[must_use]
    pub fn lends(&self) -> bool {
        !self.address.is_unspecified()
    }

    /// Option 60 begins with `PXEClient`.
    #[must_use]
    pub fn claims_pxe(&self) -> bool {
        self.vendor_class.starts_with(b"PXEClient")
    }

    /// It gives boot data and no address: a proxy.
    #[must_use]
    pub fn is_boot_server(&self) -> bool {
        !self.lends() && (self.claims_pxe() || self.vendor_class.starts_with(b"HTTPClient"))
    }

    /// Where the boot file is, when it is said.
    #[must_use]
    pub fn tftp_server(&self) -> Option<String> {
        if !self.next_server.is_unspecified() {
            return Some(self.next_server.to_string());
        }
        (!self.tftp_name.is_empty()).then(|| self.tftp_name.clone())
    }
}

/// Options of a reply in the order in which they stand.
struct Found<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Found<'a> {
    fn walk(mut field: &'a [u8]) -> Self {
        let mut found = Vec::new();
        while let [tag, rest @ ..] = field {
            match (*tag, rest) {
                (code::PAD, _) => field = rest,
                (code::END, _) => break,
                (tag, [length, rest @ ..]) => {
                    let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else {
                        break;
                    };
                    found.push((tag, value));
                    field = rest;
                }
                _ => break,
            }
        }
        Self(found)
    }

    fn first(&self, tag: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value)
    }

    /// The pieces of an option in order (RFC 3396).
    fn joined(&self, tag: u8) -> Vec<u8> {
        self.0
            .iter()
            .filter(|(t, _)| *t == tag)
            .flat_map(|(_, value)| value.iter().copied())
            .collect()
    }
}

/// Text up to the first NUL, printable ASCII only, cut.
fn text(bytes: &[u8]) -> String {
    let until_nul = bytes.iter().copied().take_while(|b| *b != 0).take(TEXT_BYTES);
    until_nul.filter(|b| (0x20..0x7f).contains(b)).map(char::from).collect()
}

fn vendor_tags(mut field: &[u8]) -> Vec<(u8, Option<u8>)> {
    let mut tags = Vec::new();
    while let [tag, length, rest @ ..] = field {
        if *tag == code::END {
            break;
        }
        if *tag == code::PAD {
            field = field.get(1..).unwrap_or(&[]);
            continue;
        }
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        tags.push((*tag, value.first().copied()));
        field = rest;
    }
    tags
}
