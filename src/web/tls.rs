//! The appliance's own certificate: made once, kept beside the database, pinned by installers and first-boot scripts.
//!
//! Nobody trusts it by a chain: whoever connects was told its SHA-256 (the installer) or has a copy of it (the
//! first-boot script), over a URL that only its own rebuild knows.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

mod own;

pub use own::{LOOK_EVERY, OwnCertificate};

/// The certificate with what others pin.
#[derive(Clone)]
pub struct Identity {
    /// The certificate in PEM form.
    pub certificate_pem: String,
    /// SHA-256 over the DER certificate: what installers compare (installer 8.2 to 9.2).
    pub fingerprint: [u8; 32],
    key: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.fingerprint_text())
    }
}

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot read or create {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operator's own certificate cannot be used.
    #[error(
        "{path} and its key cannot be used ({reason}): put a certificate chain and the key that belongs to it there"
    )]
    NotOurs {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is in the files is no certificate with its key.
    #[error("{path} and its key cannot be used ({reason}): remove both to have new ones made")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Identity {
    /// Reads `tls.crt` and `tls.key` of the data directory; makes them (ECDSA P-256, self-signed, for this address) when
    /// they do not exist.
    ///
    /// # Errors
    /// When the files cannot be read, written or used.
    pub fn load_or_create(data_dir: &Path, address: IpAddr) -> Result<Self, IdentityError> {
        let path = data_dir.join("tls.crt");
        let unusable = |reason: String| IdentityError::Unusable { path: path.clone(), reason };
        let certificate_pem = match fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(e) if e.kind() == ErrorKind::NotFound => create(data_dir, address)?,
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| unusable(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(data_dir.join("tls.key"))
            .map_err(|e| unusable(e.to_string()))?;
        let fingerprint = Sha256::digest(&certificate).into();
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(vec![certificate], key, &provider)
            .map_err(|e| unusable(e.to_string()))?;
        Ok(Self { certificate_pem, fingerprint, key: Arc::new(key) })
    }

    /// What accepts connections: with the operator's own certificate for who asks by a name, else with this one.
    ///
    /// # Errors
    /// When the crypto library refuses its own defaults.
    pub fn acceptor(&self, own: Option<&OwnCertificate>) -> Result<TlsAcceptor, IdentityError> {
        let chosen =
            Chosen { pinned: Arc::clone(&self.key), own: own.map(OwnCertificate::current) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| IdentityError::Unusable { path: "tls".into(), reason: e.to_string() })?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(chosen));
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Base64 of the DER certificate in one line.
    #[must_use]
    pub fn base64(&self) -> String {
        self.certificate_pem
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .map(str::trim)
            .collect()
    }

    /// The fingerprint as people and installers write it: hex pairs with colons.
    #[must_use]
    pub fn fingerprint_text(&self) -> String {
        let pairs: Vec<String> = self.fingerprint.iter().map(|b| format!("{b:02X}")).collect();
        pairs.join(":")
    }
}

/// Chooses the certificate by how somebody asks. Machines ask by an address, which is never in the hello (RFC 6066, 3).
#[derive(Debug)]
struct Chosen {
    pinned: Arc<CertifiedKey>,
    own: Option<own::Current>,
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = self.own.as_ref().filter(|_| hello.server_name().is_some());
        let own = own.map(|own| Arc::clone(&own.read().unwrap_or_else(PoisonError::into_inner)));
        Some(own.unwrap_or_else(|| Arc::clone(&self.pinned)))
    }
}

/// Makes key and certificate; the certificate comes last, so that a crash in between makes both anew.
fn create(data_dir: &Path, address: IpAddr) -> Result<String, IdentityError> {
    let path = data_dir.join("tls.crt");
    let failed =
        |e: rcgen::Error| IdentityError::Unusable { path: path.clone(), reason: e.to_string() };
    let key = KeyPair::generate().map_err(failed)?;
    let params = CertificateParams::new(vec![address.to_string()]).map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    write(&data_dir.join("tls.key"), &key.serialize_pem())?;
    write(&path, &certificate.pem())?;
    Ok(certificate.pem())
}

fn write(path: &Path, text: &str) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod test {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_the_owners_only() {
        let dir = tempfile::tempdir().unwrap();
        let address = "192.0.2.10".parse().unwrap();
        let first = Identity::load_or_create(dir.path(), address).unwrap();
        let again = Identity::load_or_create(dir.path(), address).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint, "installers pinned it");
        assert_eq!(first.fingerprint_text().len(), 95);
        let mode = fs::metadata(dir.path().join("tls.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn files_that_do_not_belong_together_are_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let address = "192.0.2.10".parse().unwrap();
        Identity::load_or_create(dir.path(), address).unwrap();
        fs::write(dir.path().join("tls.key"), "not a key").unwrap();
        let refused = Identity::load_or_create(dir.path(), address).unwrap_err();
        assert!(refused.to_string().contains("remove both"), "{refused}");
    }
}
