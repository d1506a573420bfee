//! Looking for other DHCP servers: a DISCOVER of our own, and what comes back.

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
    let mut out = Vec::with_capacity(300);
    out.extend([OP_REQUEST, HTYPE_ETHERNET, HLEN_ETHERNET, u8::from(relay.is_some())]);
    out.extend(xid.to_be_bytes());
    out.extend([0, 0, 0x80, 0]);
    out.extend([0; 12]);
    out.extend(relay.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    out.extend(mac.0);
    out.resize(236, 0);
    out.extend(COOKIE);
    out.extend([code::MESSAGE_TYPE, 1, 1]);
    out.extend([55, 3, code::SUBNET_MASK, code::ROUTER, code::LEASE_SECS]);
    out.push(code::END);
    out.resize(300, 0);
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
