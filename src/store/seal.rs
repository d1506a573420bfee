//! Sealing of secrets with a master key that lives outside the database.
//!
//! A sealed value is `version (1) · key id (8) · nonce (24) · ciphertext`, XChaCha20-Poly1305 with the record's name as
//! associated data, so that a value copied to another name does not open.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

const FORMAT: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;

/// The key that seals and opens secrets. Never stored in the database, never printed.
pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    id: [u8; KEY_ID_BYTES],
    digests: Hmac<Sha256>,
}

/// The master key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file could not be read or made.
    #[error("cannot read or create the master key {path}")]
    File {
        /// The key file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("the master key {path} can be read by others (mode {mode:04o}): run chmod 600 on it")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It has not the right length.
    #[error(
        "the master key {path} has {found} bytes, 32 are expected: restore it from where you keep it"
    )]
    Length {
        /// The key file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[master key]")
    }
}

impl MasterKey {
    /// A key from 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut id = [0; KEY_ID_BYTES];
        for (to, from) in
            id.iter_mut().zip(Sha256::digest([b"ironhatch key id", &bytes[..]].concat()))
        {
            *to = from;
        }
        let cipher = XChaCha20Poly1305::new(&Key::from(*bytes));
        let digests = Hmac::new(&Sha512::digest([b"ironhatch digest key", &bytes[..]].concat()));
        Self { cipher, id, digests }
    }

    /// HMAC-SHA-256 (hex) of parts whose borders count: what one loses at its end another cannot win at its beginning.
    /// Without the key nobody can try which parts give it, also when they hold a weak password.
    #[must_use]
    pub fn digest(&self, parts: &[&[u8]]) -> String {
        let mut mac = self.digests.clone();
        for part in parts {
            mac.update(&part.len().to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads the key, or creates one (mode 0600) when the file does not exist.
    ///
    /// # Errors
    /// When the file cannot be read or made, has not 32 bytes, or can be read by others.
    pub fn open_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        let file_error = |source| MasterKeyError::File { path: path.to_owned(), source };
        match fs::read(path) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let mode = fs::metadata(path).map_err(file_error)?.mode() & 0o777;
                if mode & 0o077 != 0 {
                    return Err(MasterKeyError::Exposed { path: path.to_owned(), mode });
                }
                Self::from_file(path, &bytes)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let mut key = [0u8; 32];
                rand::rng().fill_bytes(&mut key);
                // `create_new`: two daemons that start at once must not end up with different keys.
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(file_error)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(file_error)?;
                let created = Self::from_bytes(&key);
                key.zeroize();
                Ok(created)
            }
            Err(source) => Err(file_error(source)),
        }
    }

    /// Reads a key that the service manager hands over. Who may read it is the manager's matter: systemd grants it by an
    /// ACL, which shows as a group's permission (mode 0440).
    ///
    /// # Errors
    /// When the file cannot be read or has not 32 bytes.
    pub fn open_credential(path: &Path) -> Result<Self, MasterKeyError> {
        let bytes = fs::read(path)
            .map_err(|source| MasterKeyError::File { path: path.to_owned(), source })?;
        Self::from_file(path, &Zeroizing::new(bytes))
    }

    fn from_file(path: &Path, bytes: &[u8]) -> Result<Self, MasterKeyError> {
        let mut key: [u8; 32] = bytes
            .try_into()
            .map_err(|_| MasterKeyError::Length { path: path.to_owned(), found: bytes.len() })?;
        let opened = Self::from_bytes(&key);
        key.zeroize();
        Ok(opened)
    }

    /// Seals a value under a name.
    #[must_use]
    pub fn seal(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload { msg: plain, aad: name.as_bytes() };
        let cipher_text = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 fails only beyond 256 GiB");
        let mut sealed = vec![FORMAT];
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&cipher_text);
        sealed
    }

    /// Opens a sealed value; `None` when the key, the name or the bytes are not the ones it was sealed with.
    #[must_use]
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let rest = sealed.strip_prefix(&[FORMAT])?.strip_prefix(&self.id)?;
        let (nonce, cipher_text) = rest.split_at_checked(NONCE_BYTES)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().ok()?;
        let payload = Payload { msg: cipher_text, aad: name.as_bytes() };
        self.cipher.decrypt(&XNonce::from(nonce), payload).ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_and_name() {
        let key = MasterKey::from_bytes(&[1; 32]);
        let sealed = key.seal("a", b"hunter2");
        assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"hunter2");
        assert!(key.open("b", &sealed).is_none(), "another name");
        assert!(MasterKey::from_bytes(&[2; 32]).open("a", &sealed).is_none(), "another key");
        for i in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            assert!(key.open("a", &bad).is_none(), "bit flip at {i}");
            assert!(key.open("a", &sealed[..i]).is_none(), "cut at {i}");
        }
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
    }

    #[test]
    fn a_digest_needs_the_key_and_borders_between_parts_count() {
        let of = |key: u8, parts: &[&[u8]]| MasterKey::from_bytes(&[key; 32]).digest(parts);
        assert_eq!(of(1, &[b"ab", b"c"]), of(1, &[b"ab", b"c"]));
        assert_ne!(of(1, &[b"ab", b"c"]), of(1, &[b"a", b"bc"]));
        assert_ne!(of(1, &[b"ab", b"c"]), of(2, &[b"ab", b"c"]), "another key");
    }

    #[test]
    fn a_key_file_is_made_once_and_refused_when_others_can_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let first = MasterKey::open_or_create(&path).unwrap();
        let again = MasterKey::open_or_create(&path).unwrap();
        assert_eq!(first.id, again.id);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(MasterKey::open_or_create(&path), Err(MasterKeyError::Exposed { .. })));
        assert_eq!(MasterKey::open_credential(&path).unwrap().id, first.id, "systemd's ACL");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(matches!(
            MasterKey::open_or_create(&path),
            Err(MasterKeyError::Length { found: 5, .. })
        ));
    }
}
