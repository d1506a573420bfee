//! What a client sent, as far as its judgement of replies depends on it.

use std::net::Ipv4Addr;

/// A client's DHCP packet, read tolerantly: the client knows what it meant.
#[derive(Debug, Clone)]
pub struct Asked {
    bytes: Vec<u8>,
    /// Each piece as it was found, in the order of RFC 3396 section 5.
    pieces: Vec<(u8, Vec<u8>)>,
}

impl Asked {
    /// Reads a packet; `None` when it has no room for header and cookie.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < 240 {
            return None;
        }
        let mut pieces = Vec::new();
        collect(&bytes[240..], &mut pieces);
        let overload = pieces
            .iter()
            .find_map(|(tag, value)| if *tag == 52 { value.first().copied() } else { None })
            .unwrap_or(0);
        if overload & 1 != 0 {
            collect(&bytes[108..236], &mut pieces);
        }
        if overload & 2 != 0 {
            collect(&bytes[44..108], &mut pieces);
        }
        Some(Self { bytes: bytes.to_vec(), pieces })
    }

    /// An option with its pieces joined (RFC 3396).
    #[must_use]
    pub fn option(&self, tag: u8) -> Option<Vec<u8>> {
        let mut found = self.pieces.iter().filter(|(t, _)| *t == tag).peekable();
        found.peek()?;
        Some(found.flat_map(|(_, value)| value.iter().copied()).collect())
    }

    /// An option that holds one address: the first that can be read. A repeated one is no client's, so nothing says that
    /// its parts belong together.
    #[must_use]
    pub fn named_address(&self, tag: u8) -> Option<Ipv4Addr> {
        let mut found = self.pieces.iter().filter(|(t, _)| *t == tag);
        found.find_map(|(_, value)| <[u8; 4]>::try_from(value.as_slice()).ok()).map(Ipv4Addr::from)
    }

    /// Option 53; a second one means nothing.
    #[must_use]
    pub fn message(&self) -> Option<u8> {
        self.pieces.iter().find_map(|(t, v)| if *t == 53 { v.first().copied() } else { None })
    }

    /// The largest packet that the client takes, UDP payload in bytes: option 57 counts IP and UDP headers (RFC 2132
    /// section 9.10), 576 is what everybody takes (RFC 2131 section 2), and EDK2 takes 1,472 at the most.
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        let said = self.pieces.iter().find_map(|(tag, value)| match (tag, value.as_slice()) {
            (57, &[a, b]) => Some(usize::from(u16::from_be_bytes([a, b]))),
            _ => None,
        });
        said.unwrap_or(576).saturating_sub(28).clamp(548, 1472)
    }

    /// The client's own address, when it has one.
    #[must_use]
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// The relay's address, 0.0.0.0 without one.
    #[must_use]
    pub fn giaddr(&self) -> Ipv4Addr {
        self.address(24)
    }

    /// Bytes of the fixed header.
    pub(super) fn header(&self, at: std::ops::Range<usize>) -> &[u8] {
        &self.bytes[at]
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        Ipv4Addr::new(self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3])
    }
}

/// Tag, length, value until END or the first that does not fit.
fn collect(field: &[u8], pieces: &mut Vec<(u8, Vec<u8>)>) {
    let mut at = 0;
    while let Some(&tag) = field.get(at) {
        at += 1;
        if tag == 0 {
            continue;
        }
        if tag == 255 {
            return;
        }
        let Some(&length) = field.get(at) else { return };
        at += 1;
        let Some(value) = field.get(at..at + usize::from(length)) else { return };
        pieces.push((tag, value.to_vec()));
        at += usize::from(length);
    }
}
