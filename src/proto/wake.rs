//! The magic packet of Wake-on-LAN (AMD publication 20213, "Magic Packet Technology").

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroize as _;

use crate::domain::mac::Mac;

/// Where it is sent: "discard", which nothing answers. The NIC finds the pattern anywhere in a frame.
pub const PORT: u16 = 9;
/// Six bytes of all ones, the address sixteen times.
const LENGTH: usize = 6 + 16 * 6;

/// The six bytes that some NICs want behind the pattern ("SecureOn"). A secret, though it travels in the clear.
#[derive(Clone, PartialEq, Eq)]
pub struct SecureOn([u8; 6]);

/// The text is not such a password. Carries nothing: the text is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SecureOn password is six pairs of hex digits, as in 00:11:22:33:44:55")]
pub struct InvalidSecureOn;

impl fmt::Debug for SecureOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Drop for SecureOn {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl FromStr for SecureOn {
    type Err = InvalidSecureOn;
    fn from_str(text: &str) -> Result<Self, InvalidSecureOn> {
        let mut bytes = [0; 6];
        let mut pairs = text.trim().split([':', '-']);
        for byte in &mut bytes {
            let pair = pairs.next().filter(|p| p.len() == 2).ok_or(InvalidSecureOn)?;
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(InvalidSecureOn);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| InvalidSecureOn)?;
        }
        if pairs.next().is_some() { Err(InvalidSecureOn) } else { Ok(Self(bytes)) }
    }
}

/// The payload that wakes the machine with this address.
#[must_use]
pub fn packet(mac: Mac, password: Option<&SecureOn>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH + 6);
    bytes.extend_from_slice(&[0xff; 6]);
    for _ in 0..16 {
        bytes.extend_from_slice(&mac.0);
    }
    if let Some(password) = password {
        bytes.extend_from_slice(&password.0);
    }
    bytes
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_pattern_is_six_ones_and_sixteen_times_the_address() {
        let mac: Mac = "52:54:00:aa:bb:01".parse().unwrap();
        let plain = packet(mac, None);
        assert_eq!(plain.len(), 102);
        assert_eq!(plain[..6], [0xff; 6]);
        assert!(plain[6..].chunks(6).all(|part| part == mac.0));
        let password = "00:11:22:33:44:ff".parse().unwrap();
        let secured = packet(mac, Some(&password));
        assert_eq!(secured[..102], plain[..]);
        assert_eq!(secured[102..], [0, 0x11, 0x22, 0x33, 0x44, 0xff]);
        assert_eq!(format!("{password:?}"), "[secret]");
    }

    #[test]
    fn other_passwords_are_refused_without_repeating_them() {
        for bad in [
            "",
            "00:11:22:33:44",
            "00:11:22:33:44:55:66",
            "0:1:2:3:4:5",
            "zz:11:22:33:44:55",
            "+1:11:22:33:44:55",
        ] {
            assert_eq!(bad.parse::<SecureOn>(), Err(InvalidSecureOn), "{bad}");
        }
    }
}
