//! A reply in bytes, and what holds for every reply whoever gets it.

use std::net::Ipv4Addr;

use super::{Asked, Dropped, rule};

/// Longest machine id (option 97) that must come back. RFC 4578 section 2.3 defines 17 bytes; nobody sends more.
const MOST_MACHINE_ID: usize = 64;

/// A reply that was walked strictly.
#[derive(Debug, Clone)]
pub struct Reply {
    bytes: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Reply {
    /// Walks a reply: every option whole, one END, only zeros behind it, nothing twice but the pieces of one long option.
    ///
    /// EDK2 drops a packet whose options do not end with END (`Dhcp4Option.c`, `DhcpIterateOptions`).
    ///
    /// # Errors
    /// With the first thing that is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, Dropped> {
        // RFC 1542 section 2.1; ROMs and snooping switches drop less.
        rule(bytes.len() >= 300, "shorter than 300 bytes")?;
        let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut at = 240;
        loop {
            let tag = *bytes.get(at).ok_or("no END option")?;
            if tag == 255 {
                break;
            }
            rule(tag != 0, "padding between options confuses the Raspberry Pi's parser")?;
            let length = usize::from(*bytes.get(at + 1).ok_or("option without length")?);
            let value = bytes.get(at + 2..at + 2 + length).ok_or("option past the end")?;
            let continues =
                options.last().is_some_and(|(t, v)| *t == tag && v.len().is_multiple_of(255));
            if continues {
                if let Some((_, whole)) = options.last_mut() {
                    whole.extend_from_slice(value);
                }
            } else if options.iter().any(|(t, _)| *t == tag) {
                return Err(Dropped(format!("option {tag} twice")));
            } else {
                options.push((tag, value.to_vec()));
            }
            at += 2 + length;
        }
        rule(bytes[at + 1..].iter().all(|&b| b == 0), "bytes behind END")?;
        Ok(Self { bytes: bytes.to_vec(), options })
    }

    /// The value of an option.
    #[must_use]
    pub fn option(&self, tag: u8) -> Option<&[u8]> {
        self.options.iter().find(|(t, _)| *t == tag).map(|(_, v)| v.as_slice())
    }

    /// Length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Option 53.
    #[must_use]
    pub fn message(&self) -> Option<u8> {
        self.option(53).and_then(|v| v.first().copied())
    }

    /// The client's address as repeated.
    #[must_use]
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// The address that is lent; 0.0.0.0 from a proxy.
    #[must_use]
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// The TFTP server.
    #[must_use]
    pub fn siaddr(&self) -> Ipv4Addr {
        self.address(20)
    }

    /// The `file` field.
    ///
    /// # Errors
    /// Not NUL-terminated, or not text.
    pub fn file(&self) -> Result<String, Dropped> {
        let field = &self.bytes[108..236];
        let end = field.iter().position(|&b| b == 0).ok_or("file field without NUL")?;
        String::from_utf8(field[..end].to_vec()).map_err(|e| Dropped(e.to_string()))
    }

    /// Option 54, which EDK2 wants other than 0.0.0.0 (`Dhcp4Io.c`, `DhcpHandleSelect`).
    ///
    /// # Errors
    /// Missing, or no address.
    pub fn server_id(&self) -> Result<Ipv4Addr, Dropped> {
        let value: [u8; 4] =
            self.option(54).and_then(|v| v.try_into().ok()).ok_or("option 54 missing")?;
        let address = Ipv4Addr::from(value);
        rule(!address.is_unspecified(), "option 54 is 0.0.0.0")?;
        Ok(address)
    }

    /// Server and file that PXE firmware loads from this packet: option 67 before `file`, siaddr before option 54
    /// (EDK2 `PxeBcBoot.c`, `PxeBcDhcp4BootInfo`).
    ///
    /// # Errors
    /// No file name, or the two places disagree: which one counts depends on the firmware.
    pub fn boot_file(&self) -> Result<(Ipv4Addr, String), Dropped> {
        let server = if self.siaddr().is_unspecified() { self.server_id()? } else { self.siaddr() };
        let in_field = self.file()?;
        let name = match self.option(67) {
            Some(value) => {
                let end = value.iter().position(|&b| b == 0).unwrap_or(value.len());
                String::from_utf8(value[..end].to_vec()).map_err(|e| Dropped(e.to_string()))?
            }
            None => in_field.clone(),
        };
        rule(!name.is_empty(), "no boot file name")?;
        rule(in_field.is_empty() || in_field == name, "option 67 and the file field disagree")?;
        Ok((server, name))
    }

    /// Sub-options of option 43; none without it.
    ///
    /// # Errors
    /// A sub-option that does not fit, or no end.
    pub fn vendor_options(&self) -> Result<Vec<(u8, Vec<u8>)>, Dropped> {
        let Some(mut rest) = self.option(43) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        loop {
            match rest {
                [255] => return Ok(found),
                [tag, length, tail @ ..] if tail.len() >= usize::from(*length) => {
                    let (value, tail) = tail.split_at(usize::from(*length));
                    found.push((*tag, value.to_vec()));
                    rest = tail;
                }
                _ => return Err("option 43 is malformed".into()),
            }
        }
    }

    /// What every client and every relay checks before it looks at the content: EDK2 `Dhcp4Io.c` (`DhcpInput`) and
    /// `Dhcp4Option.c` (`DhcpValidateOptions`), iPXE `dhcp_deliver`, RFC 2131 table 3, RFC 3046 section 2.2.
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn answers(&self, asked: &Asked) -> Result<(), Dropped> {
        let b = &self.bytes;
        rule(b[..4] == [2, 1, 6, 0], "op, htype, hlen, hops")?;
        rule(b[4..8] == *asked.header(4..8), "xid")?;
        rule(b[10..12] == *asked.header(10..12), "flags")?;
        rule(b[24..28] == *asked.header(24..28), "giaddr")?;
        rule(b[28..44] == *asked.header(28..44), "chaddr")?;
        rule(b[236..240] == [0x63, 0x82, 0x53, 0x63], "cookie")?;
        for (tag, value) in &self.options {
            let kept = match tag {
                53 => value.len() == 1,
                1 | 51 | 54 | 58 | 59 => value.len() == 4,
                3 | 6 => !value.is_empty() && value.len().is_multiple_of(4),
                _ => !value.is_empty(),
            };
            rule(kept, &format!("length of option {tag}"))?;
        }
        let message = self.message().ok_or("no message type")?;
        rule(matches!(message, 2 | 5 | 6), "not what a server says")?;
        // RFC 2131 table 3: an ACK repeats ciaddr, an OFFER and a NAK have 0.
        let ciaddr = if message == 5 { asked.ciaddr() } else { Ipv4Addr::UNSPECIFIED };
        rule(self.ciaddr() == ciaddr, "ciaddr")?;
        let relay = asked.option(82).filter(|v| !v.is_empty());
        rule(self.option(82) == relay.as_deref(), "option 82 is not echoed as it came")?;
        let most = if relay.is_some() { 1472 } else { asked.most_bytes() };
        rule(self.length() <= most, "longer than the client takes")?;
        self.server_id().map(|_| ())
    }

    /// Rules beyond what most clients check. Each has a client or a relay somewhere that needs it.
    ///
    /// # Errors
    /// With the first rule that is broken.
    pub fn keeps_house_rules(&self, asked: &Asked) -> Result<(), Dropped> {
        let codes: Vec<u8> = self.options.iter().map(|(t, _)| *t).collect();
        // RFC 4578 section 2.3: exactly as it was sent, and only if it was.
        let machine = asked.option(97).filter(|v| (1..=MOST_MACHINE_ID).contains(&v.len()));
        rule(self.option(97) == machine.as_deref(), "option 97 is not echoed as it came")?;
        // RFC 6842: may be left out only where there is no room for it.
        if let Some(id) = self.option(61) {
            rule(asked.option(61).as_deref() == Some(id), "option 61 is not the client's")?;
        } else if let Some(id) = asked.option(61).filter(|v| (1..=255).contains(&v.len())) {
            let grown = self.length().max(300) + id.len() + 2;
            rule(grown > 548, "option 61 is left out though there is room")?;
        }
        // RFC 3046 section 2.2.
        rule(!codes.contains(&82) || codes.last() == Some(&82), "option 82 is not the last")?;
        if let Some(name) = self.option(67) {
            // EDK2 writes a NUL behind the value, over the next option's tag, unless the value brings its own; a later
            // loader that reads the cached packet then loses all options behind it.
            rule(name.last() == Some(&0), "no NUL inside option 67")?;
            let last = codes.iter().rev().find(|&&code| code != 82);
            rule(last == Some(&67), "option 67 is not the last but for the relay's")?;
        }
        // Allowed, but not understood by all; a root path makes iPXE try a SAN boot.
        rule(self.option(52).is_none() && self.option(17).is_none(), "options 52 and 17")?;
        let tags = self.vendor_options()?;
        // PXE 2.1 table 2-1: multicast TFTP; EDK2 drops an offer that has all of them. 9 is a menu, 10 a prompt.
        let menu = tags.iter().any(|(tag, _)| matches!(tag, 1..=5 | 9 | 10));
        rule(!menu, "multicast TFTP, menu or prompt in option 43")
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let b = &self.bytes;
        Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3])
    }
}
