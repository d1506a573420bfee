//! Values that must never be printed, and the token that belongs to one rebuild.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A value that has no `Display`, prints a placeholder in `Debug` and is wiped when dropped.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Each caller is a place to look at in a review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The secret of one rebuild: 128 random bits, 32 lower-case hex digits in URLs.
///
/// Comparison is constant-time; the store keeps only [`TokenHash`] as a key and the token itself sealed.
#[derive(Clone)]
pub struct InstallToken([u8; 16]);

/// SHA-256 of an install token: what may be stored, indexed and logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenHash(pub [u8; 32]);

/// The text is not 32 hex digits. Carries nothing: the text may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an install token: 32 hex digits are expected")]
pub struct InvalidToken;

impl InstallToken {
    /// A token from bytes that the caller drew from a cryptographic generator.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The token as it appears in URLs. A secret: never log it.
    #[must_use]
    pub fn reveal(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The form that may be stored and indexed.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0).into())
    }
}

impl PartialEq for InstallToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for InstallToken {}

impl Drop for InstallToken {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for InstallToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[install token]")
    }
}

impl FromStr for InstallToken {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(InvalidToken);
        }
        let nibble = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let mut bytes = [0u8; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return Err(InvalidToken) };
            *byte = nibble(*high).ok_or(InvalidToken)? << 4 | nibble(*low).ok_or(InvalidToken)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        let token = InstallToken::from_random([0xab; 16]);
        assert!(!format!("{token:?}").contains("abab"));
    }

    #[test]
    fn a_token_survives_its_text_form() {
        let token = InstallToken::from_random([7; 16]);
        assert_eq!(token.reveal().parse::<InstallToken>(), Ok(token.clone()));
        for bad in ["", "07", &"z".repeat(32), &"0".repeat(33), "é0000000000000000000000000000000"]
        {
            assert!(bad.parse::<InstallToken>().is_err(), "{bad}");
        }
    }
}
