//! Replies in bytes, laid out as firmware wants them.

use std::net::Ipv4Addr;

use super::option::code;
use super::{BootRequest, COOKIE, HLEN_ETHERNET, HTYPE_ETHERNET, MessageType, OP_REPLY};
use crate::proto::pxe::VendorClass;

/// Shortest reply: the size of a BOOTP packet, below which ROMs and snooping switches drop it (RFC 1542 section 2.1).
const SHORTEST: usize = 300;

/// Longest reply to a client that did not say more: a 576-byte IP datagram (RFC 2131 section 2).
const LONGEST_BY_DEFAULT: usize = 548;

/// Longest reply ever: what EDK2 takes, and what fits an Ethernet frame.
const LONGEST: usize = 1472;

/// IP and UDP headers, which option 57 includes.
const IP_UDP_HEADERS: usize = 28;

/// What to boot, as told in a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// Option 60.
    pub class: VendorClass,
    /// Path on our TFTP server, or URL; in option 67 and, below 128 bytes, in `file`.
    pub name: String,
    /// Whether the TFTP server is named in `sname` and option 66.
    pub tftp: bool,
    /// Option 43, when the client wants one.
    pub vendor_options: Option<Vec<u8>>,
    /// iPXE's sub-option 1 of option 175: our offer wins over another boot server's.
    pub ipxe_priority: bool,
}

/// What an address is lent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTerms {
    /// The client's address.
    pub address: Ipv4Addr,
    /// Netmask of the segment.
    pub netmask: Ipv4Addr,
    /// Gateway, if the segment has one.
    pub router: Option<Ipv4Addr>,
    /// Name servers; at most eight are sent.
    pub dns: Vec<Ipv4Addr>,
    /// How long it is lent; renewal at a half and rebinding at seven eighths (RFC 2131 section 4.4.5). `None` answers
    /// an INFORM, which must not name a time.
    pub secs: Option<u32>,
}

/// A reply to one request. Fields that belong to the client are copied by [`Reply::to`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Option 53.
    pub message: MessageType,
    /// Our address on the wire that the request came from: `siaddr`, option 54, option 66.
    pub server: Ipv4Addr,
    /// What to boot; without it the reply says nothing about booting.
    pub boot: Option<BootFile>,
    /// The address that is lent; without it `yiaddr` is 0.
    pub lease: Option<LeaseTerms>,
    ciaddr: Ipv4Addr,
    xid: u32,
    flags: u16,
    giaddr: Ipv4Addr,
    chaddr: [u8; 16],
    client_id: Option<Vec<u8>>,
    machine_id: Option<Vec<u8>>,
    relay_info: Option<Vec<u8>>,
    longest: usize,
}

impl Reply {
    /// An empty reply to `request` from `server`.
    #[must_use]
    pub fn to(request: &BootRequest, message: MessageType, server: Ipv4Addr) -> Self {
        let longest = request
            .max_message_bytes
            .map_or(LONGEST_BY_DEFAULT, |most| usize::from(most).saturating_sub(IP_UDP_HEADERS))
            .clamp(LONGEST_BY_DEFAULT, LONGEST);
        Self {
            message,
            server,
            boot: None,
            lease: None,
            // RFC 2131 table 3: an ACK repeats it, an OFFER and a NAK have 0.
            ciaddr: match message {
                MessageType::Ack => request.ciaddr,
                _ => Ipv4Addr::UNSPECIFIED,
            },
            xid: request.xid,
            flags: request.flags,
            giaddr: request.giaddr,
            chaddr: request.chaddr,
            client_id: request.client_id.clone(),
            machine_id: request.machine_id.clone(),
            relay_info: request.relay_info.clone(),
            longest,
        }
    }

    /// The same with boot data.
    #[must_use]
    pub fn with_boot(mut self, boot: BootFile) -> Self {
        self.boot = Some(boot);
        self
    }

    /// The same with a lease.
    #[must_use]
    pub fn with_lease(mut self, lease: LeaseTerms) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The datagram: 300 to 548 bytes, up to 1,472 when a relay's information or the client's own limit needs it.
    ///
    /// When it would not fit, the copies that nobody depends on (option 66, then 61) are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let full = self.encode_with(Extras { tftp_name: true, client_id: true });
        if full.len() <= self.longest {
            return full;
        }
        let shorter = self.encode_with(Extras { tftp_name: false, client_id: true });
        if shorter.len() <= self.longest {
            return shorter;
        }
        self.encode_with(Extras { tftp_name: false, client_id: false })
    }

    fn encode_with(&self, extras: Extras) -> Vec<u8> {
        let mut out = self.header();
        put(&mut out, code::MESSAGE_TYPE, &[self.message.code()]);
        put(&mut out, code::SERVER_ID, &self.server.octets());
        if let Some(lease) = &self.lease {
            put_lease(&mut out, lease);
        }
        if let Some(boot) = &self.boot {
            put(&mut out, code::VENDOR_CLASS, boot.class.as_bytes());
        }
        if let Some(id) = &self.machine_id {
            put(&mut out, code::MACHINE_ID, id);
        }
        if let Some(id) = self.client_id.as_ref().filter(|_| extras.client_id) {
            put(&mut out, code::CLIENT_ID, id);
        }
        if let Some(boot) = &self.boot {
            if boot.ipxe_priority {
                put(&mut out, code::IPXE, &[1, 1, 1]);
            }
            if boot.tftp && extras.tftp_name {
                put(&mut out, code::TFTP_SERVER, self.server.to_string().as_bytes());
            }
            if let Some(value) = &boot.vendor_options {
                put(&mut out, code::VENDOR_OPTIONS, value);
            }
            // EDK2 writes a NUL behind the name, over the next option's tag if the name does not bring its own; so the
            // NUL is inside the option and the option is the last one before the relay's.
            let mut name = boot.name.as_bytes().to_vec();
            name.push(0);
            put(&mut out, code::BOOT_FILE, &name);
        }
        if let Some(info) = &self.relay_info {
            put(&mut out, code::RELAY_INFO, info);
        }
        out.push(code::END);
        if out.len() < SHORTEST {
            out.resize(SHORTEST, 0);
        }
        out
    }

    fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LONGEST_BY_DEFAULT);
        out.extend([OP_REPLY, HTYPE_ETHERNET, HLEN_ETHERNET, 0]);
        out.extend(self.xid.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.flags.to_be_bytes());
        out.extend(self.ciaddr.octets());
        out.extend(self.lease.as_ref().map_or([0; 4], |l| l.yiaddr().octets()));
        out.extend(self.boot.as_ref().map_or([0; 4], |_| self.server.octets()));
        out.extend(self.giaddr.octets());
        out.extend(self.chaddr);
        let sname = match &self.boot {
            Some(boot) if boot.tftp => self.server.to_string(),
            _ => String::new(),
        };
        put_text(&mut out, &sname, 64);
        let file = self.boot.as_ref().map_or("", |boot| boot.name.as_str());
        put_text(&mut out, file, 128);
        out.extend(COOKIE);
        out
    }
}

impl LeaseTerms {
    /// An INFORM's answer lends nothing and names no address.
    fn yiaddr(&self) -> Ipv4Addr {
        if self.secs.is_some() { self.address } else { Ipv4Addr::UNSPECIFIED }
    }
}

#[derive(Clone, Copy)]
struct Extras {
    tftp_name: bool,
    client_id: bool,
}

fn put_lease(out: &mut Vec<u8>, lease: &LeaseTerms) {
    if let Some(secs) = lease.secs {
        put(out, code::LEASE_SECS, &secs.to_be_bytes());
        put(out, code::RENEWAL_SECS, &(secs / 2).to_be_bytes());
        put(out, code::REBINDING_SECS, &(secs - secs / 8).to_be_bytes());
    }
    put(out, code::SUBNET_MASK, &lease.netmask.octets());
    if let Some(router) = lease.router {
        put(out, code::ROUTER, &router.octets());
    }
    if !lease.dns.is_empty() {
        let list: Vec<u8> = lease.dns.iter().take(8).flat_map(Ipv4Addr::octets).collect();
        put(out, code::DNS, &list);
    }
}

/// Writes an option; a value over 255 bytes is split (RFC 3396).
fn put(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    for part in value.chunks(255) {
        out.push(tag);
        out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(part);
    }
}

/// Writes a NUL-terminated text field; a text that does not fit leaves the field empty, never cut.
fn put_text(out: &mut Vec<u8>, text: &str, field: usize) {
    let end = out.len() + field;
    if text.len() < field {
        out.extend_from_slice(text.as_bytes());
    }
    out.resize(end, 0);
}
