//! What clients accept, modelled from their own source and specifications, to judge everything that we can send.
//!
//! The models are stricter than the clients where strictness costs nothing. They read bytes with a walk of their own, so
//! that a mistake of the encoder cannot hide in a shared decoder.

use std::net::Ipv4Addr;

use crate::proto::dhcp::BootRequest;

/// A reply as a client sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

/// How EDK2 sorts an acceptable offer (`PxeBcDhcp4.c`).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Edk2Class {
    /// Address and boot data from one server, option 43 with discovery control.
    DhcpPxe10,
    /// Address from this server, which is to be asked again on 4011.
    DhcpBinl,
    /// Boot data in the offer itself.
    ProxyPxe10,
    /// The server is to be asked on 4011.
    ProxyBinl,
    /// An ordinary lease.
    DhcpOnly,
}

impl Seen {
    /// Walks a reply strictly: every option whole, one END, only zeros behind it, nothing twice.
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() < 300 {
            return Err(format!("{} bytes: ROMs drop less than 300", bytes.len()));
        }
        let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut at = 240;
        loop {
            let tag = *bytes.get(at).ok_or("no END option")?;
            if tag == 255 {
                break;
            }
            if tag == 0 {
                return Err("padding between options confuses the Raspberry Pi's parser".into());
            }
            let length = usize::from(*bytes.get(at + 1).ok_or("option without length")?);
            let value = bytes.get(at + 2..at + 2 + length).ok_or("option past the end")?;
            let continues =
                options.last().is_some_and(|(t, v)| *t == tag && v.len().is_multiple_of(255));
            if continues {
                options.last_mut().expect("just seen").1.extend_from_slice(value);
            } else if options.iter().any(|(t, _)| *t == tag) {
                return Err(format!("option {tag} twice"));
            } else {
                options.push((tag, value.to_vec()));
            }
            at += 2 + length;
        }
        if bytes[at + 1..].iter().any(|&b| b != 0) {
            return Err("bytes behind END".into());
        }
        Ok(Self { bytes, options })
    }

    pub(super) fn option(&self, tag: u8) -> Option<&[u8]> {
        self.options.iter().find(|(t, _)| *t == tag).map(|(_, v)| v.as_slice())
    }

    pub(super) fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(t, _)| *t).collect()
    }

    pub(super) fn address(&self, at: usize) -> Ipv4Addr {
        let octets: [u8; 4] = self.bytes[at..at + 4].try_into().expect("four bytes");
        octets.into()
    }

    pub(super) fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    pub(super) fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    /// The `file` field, which must be NUL-terminated.
    pub(super) fn file(&self) -> Result<String, String> {
        let field = &self.bytes[108..236];
        let end = field.iter().position(|&b| b == 0).ok_or("file field without NUL")?;
        String::from_utf8(field[..end].to_vec()).map_err(|e| e.to_string())
    }

    fn message(&self) -> Option<u8> {
        self.option(53).and_then(|v| v.first().copied())
    }

    fn server_id(&self) -> Result<Ipv4Addr, String> {
        let value: [u8; 4] =
            self.option(54).and_then(|v| v.try_into().ok()).ok_or("option 54 missing")?;
        let address = Ipv4Addr::from(value);
        if address.is_unspecified() { Err("option 54 is 0.0.0.0".into()) } else { Ok(address) }
    }

    /// What every client and relay checks before it looks at a reply's content.
    pub(super) fn accept_envelope(&self, request: &BootRequest) -> Result<(), String> {
        let b = &self.bytes;
        let check = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        check(b[..4] == [2, 1, 6, 0], "op, htype, hlen, hops")?;
        check(b[4..8] == request.xid.to_be_bytes(), "xid")?;
        check(b[10..12] == request.flags.to_be_bytes(), "flags")?;
        check(self.address(24) == request.giaddr, "giaddr")?;
        check(b[28..44] == request.chaddr, "chaddr")?;
        check(b[236..240] == [0x63, 0x82, 0x53, 0x63], "cookie")?;
        check(b.len() <= 1472, "longer than EDK2 takes")?;
        for (tag, value) in &self.options {
            let ok = match tag {
                53 => value.len() == 1,
                1 | 51 | 54 | 58 | 59 => value.len() == 4,
                3 | 6 => !value.is_empty() && value.len() % 4 == 0,
                _ => !value.is_empty(),
            };
            check(ok, &format!("length of option {tag}"))?;
        }
        check(self.option(97) == request.machine_id.as_deref(), "option 97 is echoed exactly")?;
        check(self.option(82) == request.relay_info.as_deref(), "option 82 is echoed exactly")?;
        if request.relay_info.is_some() {
            check(self.codes().last() == Some(&82), "option 82 is the last")?;
        }
        if let Some(name) = self.option(67) {
            check(name.last() == Some(&0), "NUL inside option 67")?;
            let after = self.codes().into_iter().rev().find(|&c| c != 82);
            check(after == Some(67), "option 67 is last but for the relay's")?;
        }
        check(self.option(52).is_none() && self.option(17).is_none(), "never send 52 and 17")?;
        self.server_id().map(|_| ())
    }

    /// The sub-options of option 43, which must be whole and ended.
    fn vendor_tags(&self) -> Result<Vec<(u8, Vec<u8>)>, String> {
        let Some(mut rest) = self.option(43) else { return Ok(Vec::new()) };
        let mut tags = Vec::new();
        loop {
            match rest {
                [255] => return Ok(tags),
                [tag, length, tail @ ..] if tail.len() >= usize::from(*length) => {
                    let (value, tail) = tail.split_at(usize::from(*length));
                    tags.push((*tag, value.to_vec()));
                    rest = tail;
                }
                _ => return Err("option 43 is malformed".into()),
            }
        }
    }

    fn discovery_control(&self) -> Result<Option<u8>, String> {
        let tags = self.vendor_tags()?;
        Ok(tags.iter().find(|(t, _)| *t == 6).and_then(|(_, v)| v.first().copied()))
    }

    /// EDK2's checks of an OFFER, and the class that it gives it (`pxe-netboot` 3.2).
    pub(super) fn edk2_offer(&self) -> Result<Edk2Class, String> {
        if self.message() != Some(2) {
            return Err("not an OFFER".into());
        }
        let pxe = self.option(60).is_some_and(|v| v.starts_with(b"PXEClient"));
        let proxy = self.yiaddr().is_unspecified();
        if proxy && !pxe {
            return Err("no address and no PXEClient: dropped".into());
        }
        let tags = self.vendor_tags()?;
        if tags.iter().any(|(t, _)| (1..=5).contains(t)) {
            return Err("multicast TFTP sub-options: dropped".into());
        }
        let pxe10 = tags.iter().any(|(t, _)| (6..=10).contains(t));
        Ok(match (proxy, pxe, pxe10) {
            (true, _, true) => Edk2Class::ProxyPxe10,
            (true, _, false) => Edk2Class::ProxyBinl,
            (false, true, true) => Edk2Class::DhcpPxe10,
            (false, true, false) => Edk2Class::DhcpBinl,
            (false, false, _) => Edk2Class::DhcpOnly,
        })
    }

    /// Server and file that PXE firmware loads from this packet.
    pub(super) fn boot_from(&self) -> Result<(Ipv4Addr, String), String> {
        let server = match self.siaddr() {
            a if a.is_unspecified() => self.server_id()?,
            a => a,
        };
        let file = match self.option(67) {
            Some(name) => {
                String::from_utf8(name[..name.len() - 1].to_vec()).map_err(|e| e.to_string())?
            }
            None => self.file()?,
        };
        if file.is_empty() || file != self.file()? && !self.file()?.is_empty() {
            return Err(format!("file '{file}' does not agree with the file field"));
        }
        Ok((server, file))
    }

    /// EDK2's checks of the answer on port 4011.
    pub(super) fn edk2_boot_reply(&self) -> Result<(Ipv4Addr, String), String> {
        if self.message() != Some(5) {
            return Err("not an ACK".into());
        }
        self.boot_from()
    }

    /// A BIOS ROM boots from the offer itself only with bit 3 of discovery control.
    pub(super) fn bios_offer(&self) -> Result<(Ipv4Addr, String), String> {
        if self.option(60) != Some(b"PXEClient") {
            return Err("option 60 is not PXEClient".into());
        }
        match self.discovery_control()? {
            Some(bits) if bits & 8 != 0 => {}
            other => return Err(format!("discovery control {other:?}: waits for boot servers")),
        }
        if self.file()?.is_empty() || self.siaddr().is_unspecified() {
            return Err("ROMs read file and siaddr".into());
        }
        self.boot_from()
    }

    /// iPXE takes the script from the offer when it has both server and file name, and shows no menu (3.4, 2.4).
    pub(super) fn ipxe_offer(&self) -> Result<String, String> {
        if !self.option(60).is_some_and(|v| v.starts_with(b"PXEClient")) {
            return Err("option 60 is not PXEClient".into());
        }
        if self.vendor_tags()?.iter().any(|(t, _)| *t == 9) {
            return Err("iPXE would show a menu".into());
        }
        if self.siaddr().is_unspecified() {
            return Err("without siaddr iPXE asks 4011".into());
        }
        self.boot_from().map(|(_, file)| file)
    }

    /// UEFI HTTP boot: everything in the offer, an address literal in the URI (3.3).
    pub(super) fn http_boot_offer(&self) -> Result<String, String> {
        if self.option(60) != Some(b"HTTPClient") {
            return Err("option 60 is not HTTPClient".into());
        }
        let (_, uri) = self.boot_from()?;
        let host = uri.strip_prefix("http://").and_then(|r| r.split(['/', ':']).next());
        if host.is_none_or(|h| h.parse::<Ipv4Addr>().is_err()) {
            return Err(format!("{uri} has no address literal"));
        }
        if !uri.ends_with(".efi") {
            return Err(format!("{uri} has no extension that says what it is"));
        }
        Ok(uri)
    }
}
