//! Each kind of DHCP client: what it does with an offer, an ACK, and an answer on port 4011.

use std::net::Ipv4Addr;

use super::{Asked, Dropped, Edk2Class, Reply, rule};

const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// Who is asking, by what it says of itself (options 60, 77, 93, 175).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// An ordinary machine.
    Laptop,
    /// A BIOS ROM.
    Rom,
    /// UEFI firmware in PXE mode.
    Edk2,
    /// UEFI firmware in HTTP mode.
    Edk2Http,
    /// iPXE with HTTP.
    Ipxe,
    /// iPXE that can load by TFTP only.
    IpxeWithoutHttp,
}

/// What a client does with a reply that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// Takes the address, and boots nothing from us.
    Address(Ipv4Addr),
    /// Gives up the address that it had.
    Restarts,
    /// Asks this server on port 4011.
    Asks(Ipv4Addr),
    /// Loads this file from this TFTP server.
    Loads(Ipv4Addr, String),
    /// Loads this URL.
    Fetches(String),
    /// Has its answer to an INFORM, which boots nothing.
    Informed,
}

impl Client {
    /// Recognises the sender of a packet.
    #[must_use]
    pub fn of(asked: &Asked) -> Self {
        let class = asked.option(60).unwrap_or_default();
        if class.starts_with(b"HTTPClient") {
            return Self::Edk2Http;
        }
        let pxe = class.starts_with(b"PXEClient");
        let architectures = asked.option(93).unwrap_or_default();
        if !pxe && architectures.len() < 2 {
            return Self::Laptop;
        }
        let features = asked.option(175);
        let user = asked.option(77).unwrap_or_default();
        let says = |name: &[u8]| user_classes(&user).iter().any(|class| class == name);
        // `set user-class` in a script of ours, which such an iPXE fetched by HTTP.
        if says(b"ironhatch") && !says_before(&user, b"iPXE", b"ironhatch") {
            return Self::Ipxe;
        }
        if says(b"iPXE") || says(b"gPXE") || features.is_some() {
            return match features {
                Some(list) if !has_feature(&list, 0x13) => Self::IpxeWithoutHttp,
                _ => Self::Ipxe,
            };
        }
        if !pxe {
            // Boot loaders send option 93 and do not speak PXE.
            return Self::Laptop;
        }
        if architecture(asked) == Some(0) { Self::Rom } else { Self::Edk2 }
    }

    /// What this client does with a reply to port 68 that came from port 67.
    ///
    /// # Errors
    /// [`Dropped`]: it ignores the reply, or fails with it.
    pub fn take(self, asked: &Asked, reply: &Reply) -> Result<Taken, Dropped> {
        reply.answers(asked)?;
        match (asked.message(), reply.message()) {
            (Some(1), Some(OFFER)) => self.take_offer(reply),
            (Some(3), Some(ACK)) => self.take_ack(asked, reply),
            (Some(3), Some(NAK)) => take_nak(reply),
            (Some(8), Some(ACK)) => {
                // RFC 2131 section 4.3.5: no address, no lease time.
                rule(reply.yiaddr().is_unspecified() && reply.option(51).is_none(), "lends")?;
                Ok(self.boots(reply)?.unwrap_or(Taken::Informed))
            }
            (asked, told) => Err(Dropped(format!("message {told:?} does not answer {asked:?}"))),
        }
    }

    /// What this client does with a reply that came from port 4011 to the port that it asked from.
    ///
    /// EDK2 takes an ACK with the transaction's xid and a boot file (`PxeBcDhcp4.c`, `PxeBcDhcp4Discover`); iPXE takes an
    /// ACK or OFFER of the server that it asked (`dhcp_proxy_rx`).
    ///
    /// # Errors
    /// [`Dropped`]: it ignores the reply, or fails with it (PXE-E16, PXE-E53).
    pub fn take_on_4011(self, asked: &Asked, reply: &Reply) -> Result<Taken, Dropped> {
        reply.answers(asked)?;
        rule(reply.message() == Some(ACK), "not an ACK")?;
        rule(reply.yiaddr().is_unspecified() && reply.option(51).is_none(), "lends an address")?;
        match self.boots(reply)? {
            // Nobody asks a second time.
            Some(Taken::Asks(_)) => {
                let (server, file) = reply.boot_file()?;
                Ok(Taken::Loads(server, file))
            }
            Some(taken) => Ok(taken),
            None => Err("no boot file: PXE-E16".into()),
        }
    }

    fn take_offer(self, reply: &Reply) -> Result<Taken, Dropped> {
        if let Some(boots) = self.boots(reply)? {
            return Ok(boots);
        }
        rule(!reply.yiaddr().is_unspecified(), "no address and nothing to boot: dropped")?;
        rule(reply.option(51).is_some(), "an address without a lease time")?;
        Ok(Taken::Address(reply.yiaddr()))
    }

    fn take_ack(self, asked: &Asked, reply: &Reply) -> Result<Taken, Dropped> {
        let wanted = asked.named_address(50).unwrap_or(asked.ciaddr());
        if !reply.yiaddr().is_unspecified() {
            // EDK2 `Dhcp4Io.c`, `DhcpHandleRequest`: another address or another server's ACK is dropped.
            rule(reply.yiaddr() == wanted, "lends another address than the one asked for")?;
            rule(reply.option(51).is_some(), "an address without a lease time")?;
            if let Some(server) = asked.named_address(54) {
                rule(reply.option(54) == Some(&server.octets()[..]), "another server's ACK")?;
            }
            return Ok(self.boots(reply)?.unwrap_or(Taken::Address(reply.yiaddr())));
        }
        self.boots(reply)?.ok_or_else(|| "an ACK without address and boot data".into())
    }

    /// What is booted because of this reply; `None`: it has no boot data at all, which must then be consistent.
    fn boots(self, reply: &Reply) -> Result<Option<Taken>, Dropped> {
        let class = reply.option(60);
        if class.is_none() {
            let silent = reply.option(67).is_none()
                && reply.option(43).is_none()
                && reply.option(66).is_none()
                && reply.siaddr().is_unspecified()
                && reply.file()?.is_empty();
            // Firmware drops a proxy's offer without option 60, and takes half of a server's.
            rule(silent, "boot data without option 60")?;
            return Ok(None);
        }
        match self {
            Self::Laptop => Err("boot data for a machine that did not ask".into()),
            Self::Edk2Http => fetch_program(reply).map(Some),
            Self::Edk2 => match edk2_class(reply)? {
                Edk2Class::ProxyBinl | Edk2Class::DhcpBinl => {
                    // The first address of 43.8 needs an option 43; else siaddr, else option 54.
                    let server = match reply.siaddr() {
                        a if a.is_unspecified() => reply.server_id()?,
                        a => a,
                    };
                    Ok(Some(Taken::Asks(server)))
                }
                Edk2Class::DhcpOnly => Err("option 60 is not PXEClient".into()),
                Edk2Class::DhcpPxe10 | Edk2Class::ProxyPxe10 => {
                    rule(boots_directly(reply)?, "shows a menu or looks for boot servers")?;
                    load(reply).map(Some)
                }
            },
            Self::Rom => {
                rule(class == Some(b"PXEClient"), "option 60 is not PXEClient")?;
                // ROM: siaddr and `file` are read, not all read option 67.
                rule(!reply.siaddr().is_unspecified(), "no siaddr")?;
                if reply.option(43).is_none() {
                    return Ok(Some(Taken::Asks(reply.siaddr())));
                }
                rule(boots_directly(reply)?, "shows a menu or looks for boot servers")?;
                rule(!reply.file()?.is_empty(), "no file field: PXE-E53")?;
                load(reply).map(Some)
            }
            Self::Ipxe | Self::IpxeWithoutHttp => self.ipxe(reply).map(Some),
        }
    }

    /// iPXE: option 60 makes it a boot offer (`dhcp_rx_offer`), a menu is shown, server and file end the search.
    fn ipxe(self, reply: &Reply) -> Result<Taken, Dropped> {
        rule(reply.option(60).is_some_and(|v| v.starts_with(b"PXEClient")), "not PXEClient")?;
        rule(!reply.vendor_options()?.iter().any(|(tag, _)| *tag == 9), "shows a menu")?;
        rule(!reply.siaddr().is_unspecified(), "without siaddr it asks 4011 and waits 2 s")?;
        let (server, name) = reply.boot_file()?;
        let is_url = name.starts_with("http://");
        match self {
            Self::Ipxe => {
                rule(is_url, "a program instead of a script: it would load itself for ever")?;
                Ok(Taken::Fetches(literal(&name)?))
            }
            _ => {
                rule(!name.contains("://"), "a URL for an iPXE that knows no HTTP")?;
                Ok(Taken::Loads(server, name))
            }
        }
    }
}

/// EDK2's check of option 60 and class of an offer (`PxeBcParseDhcp4Packet`).
///
/// # Errors
/// [`Dropped`]: no address and no `PXEClient`, or multicast TFTP.
pub fn edk2_class(reply: &Reply) -> Result<Edk2Class, Dropped> {
    let pxe = reply.option(60).is_some_and(|v| v.starts_with(b"PXEClient"));
    let tags = reply.vendor_options()?;
    let class = Edk2Class::of(!reply.yiaddr().is_unspecified(), pxe, tags.iter().map(|(t, _)| *t));
    let class = class.ok_or("no address and no PXEClient")?;
    rule(!tags.iter().any(|(tag, _)| (1..=5).contains(tag)), "multicast TFTP")?;
    Ok(class)
}

/// RFC 2131 table 3: a NAK has no address and no boot data.
fn take_nak(reply: &Reply) -> Result<Taken, Dropped> {
    rule(reply.yiaddr().is_unspecified(), "a NAK with an address")?;
    for tag in [1, 3, 6, 51, 58, 59, 60, 66, 67, 43] {
        rule(reply.option(tag).is_none(), &format!("a NAK with option {tag}"))?;
    }
    rule(reply.siaddr().is_unspecified() && reply.file()?.is_empty(), "a NAK with boot data")?;
    Ok(Taken::Restarts)
}

/// Bit 3 of discovery control (PXE table 2-1): the file of this packet is booted, no menu, no search.
fn boots_directly(reply: &Reply) -> Result<bool, Dropped> {
    let tags = reply.vendor_options()?;
    let control = tags.iter().find(|(tag, _)| *tag == 6).and_then(|(_, v)| v.first().copied());
    Ok(control.is_some_and(|bits| bits & 8 != 0))
}

fn load(reply: &Reply) -> Result<Taken, Dropped> {
    let (server, file) = reply.boot_file()?;
    // PXE-E99: firmware in PXE mode loads by TFTP only.
    rule(!file.contains("://"), "a URL for firmware in PXE mode")?;
    Ok(Taken::Loads(server, file))
}

/// EDK2 `HttpBootDhcp4.c`: option 60 makes an offer one for HTTP boot, and there is no second question.
fn fetch_program(reply: &Reply) -> Result<Taken, Dropped> {
    rule(reply.option(60).is_some_and(|v| v.starts_with(b"HTTPClient")), "not HTTPClient")?;
    let (_, uri) = reply.boot_file()?;
    // Without a type in the answer the extension says what it is (`HttpBootCheckImageType`).
    rule(uri.ends_with(".efi"), "the URI does not say that it is a program")?;
    Ok(Taken::Fetches(literal(&uri)?))
}

/// A host name would need DNS servers in a DHCP offer, and a query; an address needs nothing.
fn literal(uri: &str) -> Result<String, Dropped> {
    let host = uri.strip_prefix("http://").and_then(|rest| rest.split(['/', ':']).next());
    rule(host.is_some_and(|h| h.parse::<Ipv4Addr>().is_ok()), "no address literal in the URI")?;
    Ok(uri.to_owned())
}

/// The architecture of this attempt (IANA "Processor Architecture Types"; those over HTTP are left out): the first of option 93 that fits PXE, else the first, else what option 60 says.
fn architecture(asked: &Asked) -> Option<u16> {
    const HTTP: [u16; 13] = [15, 16, 17, 18, 19, 20, 23, 24, 26, 28, 30, 38, 40];
    let list = asked.option(93).unwrap_or_default();
    let listed: Vec<u16> =
        list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let in_pxe = listed.iter().find(|code| !HTTP.contains(code)).or(listed.first()).copied();
    in_pxe.or_else(|| {
        let class = String::from_utf8_lossy(&asked.option(60)?).into_owned();
        let digits = class.split(":Arch:").nth(1)?.get(..5)?.to_owned();
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    })
}

/// Option 77 as iPXE sends it, raw, and as RFC 3004 has it, a list with lengths. Some builds end the text with a NUL.
fn user_classes(value: &[u8]) -> Vec<Vec<u8>> {
    let plain = |text: &[u8]| text.strip_suffix(&[0]).unwrap_or(text).to_vec();
    let mut classes = vec![plain(value)];
    let mut at = 0;
    while let Some(&length) = value.get(at) {
        let Some(text) = value.get(at + 1..at + 1 + usize::from(length)) else { break };
        classes.push(plain(text));
        at += 1 + usize::from(length);
    }
    classes
}

/// Whether `one` comes before `other` in the list.
fn says_before(value: &[u8], one: &[u8], other: &[u8]) -> bool {
    let classes = user_classes(value);
    let place = |name: &[u8]| classes.iter().position(|class| class == name);
    match (place(one).or_else(|| place(b"gPXE")), place(other)) {
        (Some(first), Some(second)) => first < second,
        (Some(_), None) => true,
        _ => false,
    }
}

/// Whether a feature of option 175 is there and on.
fn has_feature(list: &[u8], feature: u8) -> bool {
    let mut at = 0;
    while let Some(&tag) = list.get(at) {
        at += 1;
        match tag {
            0 => continue,
            255 => return false,
            _ => {}
        }
        let Some(&length) = list.get(at) else { return false };
        let Some(value) = list.get(at + 1..at + 1 + usize::from(length)) else { return false };
        if tag == feature && value.first().is_some_and(|&on| on != 0) {
            return true;
        }
        at += 1 + usize::from(length);
    }
    false
}
