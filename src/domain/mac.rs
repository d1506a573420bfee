//! Ethernet hardware address, parsed once at the edge and compared in one form.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A 48-bit Ethernet address. Displays as lower-case hex with colons (`52:54:00:aa:bb:01`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline)]
pub struct Mac(pub [u8; 6]);

/// The text is not a unicast Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a MAC address: {reason}")]
pub struct InvalidMac {
    /// What was given, cut to a printable length.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

impl Mac {
    /// Whether a machine can own this address: neither all zero nor multicast.
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }

    /// The form iPXE prints for `${mac:hexhyp}` and that our URLs use: `52-54-00-aa-bb-01`.
    #[must_use]
    pub fn hyphenated(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Accepts `:` or `-` between pairs, or twelve bare hex digits, in any case.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let fail = |reason| InvalidMac { text: text.chars().take(40).collect(), reason };
        let digits: String = text.trim().chars().filter(|c| !matches!(c, ':' | '-')).collect();
        if digits.len() != 12 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fail("six pairs of hex digits are expected, as in 52:54:00:aa:bb:01"));
        }
        let mut mac = [0u8; 6];
        for (byte, pair) in mac.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).unwrap_or("00");
            *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
        }
        let mac = Self(mac);
        if !mac.is_unicast() {
            return Err(fail("all-zero and multicast addresses belong to no machine"));
        }
        Ok(mac)
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidMac;
    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_common_spelling_is_the_same_address() {
        let want = Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1]);
        for text in
            ["52:54:00:aa:bb:01", "52-54-00-AA-BB-01", "525400aabb01", " 52:54:00:AA:bb:01 "]
        {
            assert_eq!(text.parse::<Mac>(), Ok(want), "{text}");
        }
        assert_eq!(want.hyphenated(), "52-54-00-aa-bb-01");
    }

    #[test]
    fn what_no_machine_can_own_is_refused() {
        for text in [
            "",
            "52:54:00:aa:bb",
            "52:54:00:aa:bb:0g",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "é2:54:00:aa:bb:01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
