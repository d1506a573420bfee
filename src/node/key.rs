//! The ephemeral key of one rebuild: made, sealed by the caller, used, destroyed.

use std::fmt;
use std::sync::Arc;

use rand::CryptoRng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey};

use crate::domain::secret::Secret;

/// The text or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not an OpenSSH private key without passphrase. Carries nothing of the text.
    #[error("not an Ed25519 private key in OpenSSH form without a passphrase")]
    Unusable,
    /// The key could not be made or written.
    #[error("the SSH key could not be made")]
    Make(#[source] russh::keys::ssh_key::Error),
}

/// An Ed25519 key that opens a node. The private part is wiped when the last clone is dropped.
#[derive(Clone)]
pub struct EphemeralKey {
    key: Arc<PrivateKey>,
    line: String,
}

impl EphemeralKey {
    /// Makes a key. `comment` ends up in the node's files: it should say what the key is for.
    ///
    /// # Errors
    /// [`KeyError::Make`].
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R, comment: &str) -> Result<Self, KeyError> {
        let mut key = PrivateKey::random(rng, Algorithm::Ed25519).map_err(KeyError::Make)?;
        // One line of an authorized_keys file, whatever the caller passes.
        key.set_comment(comment.replace(|c: char| c.is_control(), " "));
        Self::from_key(key)
    }

    /// Reads a key that [`private_pem`](Self::private_pem) wrote.
    ///
    /// # Errors
    /// [`KeyError::Unusable`].
    pub fn from_pem(pem: &Secret<String>) -> Result<Self, KeyError> {
        let key = PrivateKey::from_openssh(pem.expose()).map_err(|_| KeyError::Unusable)?;
        if key.is_encrypted() || key.algorithm() != Algorithm::Ed25519 {
            return Err(KeyError::Unusable);
        }
        Self::from_key(key)
    }

    fn from_key(key: PrivateKey) -> Result<Self, KeyError> {
        let line = key.public_key().to_openssh().map_err(KeyError::Make)?;
        Ok(Self { key: Arc::new(key), line: line.trim().to_owned() })
    }

    /// The private part in OpenSSH form, for sealing.
    ///
    /// # Errors
    /// [`KeyError::Make`].
    pub fn private_pem(&self) -> Result<Secret<String>, KeyError> {
        let pem = self.key.to_openssh(LineEnding::LF).map_err(KeyError::Make)?;
        Ok(Secret::new(pem.as_str().to_owned()))
    }

    /// The public part as one authorized_keys line (`ssh-ed25519 BODY COMMENT`), without line end.
    #[must_use]
    pub fn public_line(&self) -> &str {
        &self.line
    }

    /// The base64 body of the public line: by it the key is found whatever comment or options stand around it.
    #[must_use]
    pub fn public_body(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// SHA-256 fingerprint as `ssh-keygen -l` shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(super) fn private(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.key)
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EphemeralKey({})", self.fingerprint())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_key_survives_sealing_and_does_not_print_its_private_part() {
        let key = EphemeralKey::generate(&mut rand::rng(), "ironhatch rebuild\n7f3a").unwrap();
        assert!(key.public_line().starts_with("ssh-ed25519 AAAA"), "{}", key.public_line());
        assert!(key.public_line().ends_with(" ironhatch rebuild 7f3a"), "{}", key.public_line());
        assert!(key.public_line().contains(key.public_body()));
        let pem = key.private_pem().unwrap();
        let again = EphemeralKey::from_pem(&pem).unwrap();
        assert_eq!(again.public_line(), key.public_line());
        assert!(!format!("{again:?}").contains("PRIVATE"));
    }

    #[test]
    fn anything_else_is_not_a_key() {
        for text in ["", "ssh-ed25519 AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"] {
            assert!(EphemeralKey::from_pem(&Secret::new(text.to_owned())).is_err(), "{text}");
        }
    }
}
