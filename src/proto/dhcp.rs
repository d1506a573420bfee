//! DHCPv4 as far as network boot needs it: requests in, replies out.
//!
//! [`parse`] is the only way in for bytes from the wire and nothing else touches the `dhcproto` crate's decoder. The
//! crate reads the fixed header, behind a guard, because it slices by the sender's `hlen` and does not check the magic
//! cookie (0.15). Options are walked by [`option`](self): the crate neither reads overloaded fields (option 52) nor
//! joins split options that are not adjacent (RFC 3396 section 5). Replies are encoded by [`Reply`], because the
//! crate's encoder sorts options by code and does not pad, and both matter to firmware.

pub mod probe;

mod option;
mod reply;

use std::fmt;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::Message;

use crate::domain::mac::Mac;
pub use reply::{BootFile, LeaseTerms, Reply};

/// Fixed header plus magic cookie; a shorter datagram has no room for the first option (RFC 2131 section 2).
const HEADER_BYTES: usize = 240;

/// Longest relay agent information that is carried back. RFC 3046 makes one option (255 bytes) the usual size.
const RELAY_INFO_BYTES: usize = 512;

/// Longest machine id that is carried back; RFC 4578 defines 17 bytes.
const MACHINE_ID_BYTES: usize = 64;

/// Longest client identifier that is carried back: one option.
const CLIENT_ID_BYTES: usize = 255;

const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const OP_REQUEST: u8 = 1;
const OP_REPLY: u8 = 2;
const HTYPE_ETHERNET: u8 = 1;
const HLEN_ETHERNET: u8 = 6;

/// DHCP message types (option 53, RFC 2132 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum MessageType {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
    /// Any other number, lease query and the like.
    Other(u8),
}

impl MessageType {
    /// From the number on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Discover => 1,
            Self::Offer => 2,
            Self::Request => 3,
            Self::Decline => 4,
            Self::Ack => 5,
            Self::Nak => 6,
            Self::Release => 7,
            Self::Inform => 8,
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover => f.write_str("DISCOVER"),
            Self::Offer => f.write_str("OFFER"),
            Self::Request => f.write_str("REQUEST"),
            Self::Decline => f.write_str("DECLINE"),
            Self::Ack => f.write_str("ACK"),
            Self::Nak => f.write_str("NAK"),
            Self::Release => f.write_str("RELEASE"),
            Self::Inform => f.write_str("INFORM"),
            Self::Other(code) => write!(f, "DHCP message type {code}"),
        }
    }
}

/// Why a datagram is not a request that anybody could answer. It is counted, never answered and never logged above
/// debug level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    /// Shorter than the fixed header and the cookie.
    #[error("shorter than 240 bytes")]
    TooShort,
    /// Not op 1: a server's reply, or noise.
    #[error("not a request")]
    NotARequest,
    /// Not Ethernet with a six-byte address. UEFI can be set to send its 16-byte GUID as hardware address; it names no
    /// host that we could look up.
    #[error("hardware address is not a six-byte Ethernet address")]
    HardwareAddress,
    /// Zero, broadcast or multicast as the client's own address.
    #[error("hardware address belongs to no machine")]
    NotUnicast,
    /// The magic cookie is absent: plain BOOTP or noise.
    #[error("no DHCP magic cookie")]
    NoCookie,
    /// Relay agent information that would not fit into a reply unmodified.
    #[error("relay agent information longer than 512 bytes")]
    RelayInfo,
}

/// A request that passed the guard. Everything in it is the sender's claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRequest {
    /// Transaction id, copied into replies.
    pub xid: u32,
    /// Seconds since the client began; iPXE puts other things here.
    pub secs: u16,
    /// Flags; bit 15 asks for broadcast replies.
    pub flags: u16,
    /// The client's address when it has one, else 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// The relay's address, else 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The client's Ethernet address, unicast.
    pub mac: Mac,
    /// The hardware address field as it was sent, copied into replies.
    pub chaddr: [u8; 16],
    /// Option 53; `None` is BOOTP.
    pub message: Option<MessageType>,
    /// Option 50: the address that the client asks for.
    pub requested_address: Option<Ipv4Addr>,
    /// Option 54: the server that the client talks to.
    pub server_id: Option<Ipv4Addr>,
    /// Option 57: largest DHCP message that the client takes, in bytes with IP and UDP headers.
    pub max_message_bytes: Option<u16>,
    /// Option 60, raw; empty when absent.
    pub vendor_class: Vec<u8>,
    /// Option 77, raw; empty when absent.
    pub user_class: Vec<u8>,
    /// Option 93, all architectures in the order sent.
    pub architectures: Vec<u16>,
    /// Option 43, raw; empty when absent.
    pub vendor_options: Vec<u8>,
    /// Option 61, to be copied back (RFC 6842).
    pub client_id: Option<Vec<u8>>,
    /// Option 82, to be copied back unmodified (RFC 3046).
    pub relay_info: Option<Vec<u8>>,
    /// Option 97 as sent: type byte and GUID in SMBIOS byte order; to be copied back (RFC 4578 section 2.3).
    pub machine_id: Option<Vec<u8>>,
    /// Option 175, iPXE's encapsulated features.
    pub ipxe: Option<Vec<u8>>,
}

impl BootRequest {
    /// Whether the request came through a relay.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }

    /// The 16 GUID bytes of option 97, in SMBIOS byte order, when it has RFC 4578's form.
    #[must_use]
    pub fn machine_guid(&self) -> Option<[u8; 16]> {
        match self.machine_id.as_deref()?.split_first()? {
            (0, guid) => guid.try_into().ok(),
            _ => None,
        }
    }
}

/// Reads a datagram that arrived on a DHCP port.
///
/// Allocation is bounded by the datagram's own length. An option that cannot be read is skipped and never hides a later
/// one; an option whose length runs past the end of its field ends that field.
///
/// # Errors
/// [`Ignored`] when the datagram is not a DHCP request of an Ethernet client.
pub fn parse(datagram: &[u8]) -> Result<BootRequest, Ignored> {
    let header = datagram.get(..HEADER_BYTES).ok_or(Ignored::TooShort)?;
    let &[op, htype, hlen, ..] = header else { return Err(Ignored::TooShort) };
    if op != OP_REQUEST {
        return Err(Ignored::NotARequest);
    }
    if htype != HTYPE_ETHERNET || hlen != HLEN_ETHERNET {
        return Err(Ignored::HardwareAddress);
    }
    if header.get(236..) != Some(&COOKIE) {
        return Err(Ignored::NoCookie);
    }
    let chaddr: [u8; 16] =
        header.get(28..44).and_then(|c| c.try_into().ok()).ok_or(Ignored::TooShort)?;
    let [a, b, c, d, e, f, ..] = chaddr;
    let mac = Mac([a, b, c, d, e, f]);
    if !mac.is_unicast() {
        return Err(Ignored::NotUnicast);
    }
    let message = Message::new(datagram).map_err(|_| Ignored::TooShort)?;
    let options = option::Options::collect(datagram);
    if options.relay_info.len() > RELAY_INFO_BYTES {
        return Err(Ignored::RelayInfo);
    }
    let echo = |value: Vec<u8>, most: usize| (1..=most).contains(&value.len()).then_some(value);
    Ok(BootRequest {
        xid: message.xid(),
        secs: message.secs(),
        flags: u16::from(message.flags()),
        ciaddr: message.ciaddr(),
        giaddr: message.giaddr(),
        mac,
        chaddr,
        message: options.message.map(MessageType::from_code),
        requested_address: options.requested_address,
        server_id: options.server_id,
        max_message_bytes: options.max_message_bytes,
        vendor_class: options.vendor_class,
        user_class: options.user_class,
        architectures: options
            .architectures
            .chunks_exact(2)
            .filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes))
            .collect(),
        vendor_options: options.vendor_options,
        client_id: echo(options.client_id, CLIENT_ID_BYTES),
        relay_info: echo(options.relay_info, RELAY_INFO_BYTES),
        machine_id: echo(options.machine_id, MACHINE_ID_BYTES),
        ipxe: options.ipxe,
    })
}

#[cfg(any(test, feature = "fakes"))]
pub mod sample;
#[cfg(test)]
mod test;
