//! The operator's own certificate, for whoever asks by a name. Its files are read again when they change, so that a
//! renewal needs no restart.
//!
//! Machines ask by an address and so never get it: they have pinned the appliance's own certificate, and a renewal in
//! the middle of a rebuild would shut them out.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::IdentityError;

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

pub(super) type Current = Arc<RwLock<Arc<CertifiedKey>>>;

/// The certificate in use, and its files.
pub struct OwnCertificate {
    certificate: PathBuf,
    key: PathBuf,
    current: Current,
    /// What was read last, whether it could be used or not.
    seen: (Vec<u8>, Vec<u8>),
}

impl std::fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnCertificate({})", self.certificate.display())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), IdentityError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
    };
    Ok((read(certificate)?, read(key)?))
}

/// A chain with the key that belongs to its first certificate.
fn parse(path: &Path, (chain, key): &(Vec<u8>, Vec<u8>)) -> Result<CertifiedKey, IdentityError> {
    let unusable = |reason: String| IdentityError::NotOurs { path: path.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|e| unusable(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| unusable(e.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|e| unusable(e.to_string()))
}

impl OwnCertificate {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be read, or do not belong together.
    pub fn open(certificate: PathBuf, key: PathBuf) -> Result<Self, IdentityError> {
        let seen = read(&certificate, &key)?;
        let current = Arc::new(RwLock::new(Arc::new(parse(&certificate, &seen)?)));
        Ok(Self { certificate, key, current, seen })
    }

    /// The certificate as it is now, also after it was read again.
    pub(super) fn current(&self) -> Current {
        Arc::clone(&self.current)
    }

    /// Reads the files again when they changed. What cannot be used is told once, and the old certificate stays.
    fn look(&mut self) {
        let path = self.certificate.display();
        let found = match read(&self.certificate, &self.key) {
            Ok(found) if found == self.seen => return,
            Ok(found) => found,
            Err(error) => {
                // A renewal may be half done; the next look finds it whole.
                tracing::debug!(%error, "the certificate cannot be read at the moment");
                return;
            }
        };
        match parse(&self.certificate, &found) {
            Ok(key) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!(certificate = %path, "the certificate was read again");
            }
            Err(error) => {
                tracing::error!(%error, "the changed certificate cannot be used; the old one stays");
            }
        }
        self.seen = found;
    }

    /// Looks at the files now and then, until the stop.
    pub async fn follow(mut self, every: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            let looking = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match looking.await {
                Ok(own) => self = own,
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod test {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    use super::*;
    use crate::web::tls::Identity;

    /// Accepts every certificate: what is shown is compared afterwards.
    #[derive(Debug)]
    struct Anything(Arc<CryptoProvider>);

    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, cert, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, cert, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }

    fn write(dir: &Path, name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.join("own.key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("own.crt"), certificate.pem()).unwrap();
        certificate.pem()
    }

    /// The certificate that a client gets which asks by this name or address.
    async fn shown(acceptor: &tokio_rustls::TlsAcceptor, name: &str) -> Vec<u8> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything(provider)))
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let (server, client) = tokio::join!(acceptor.accept(ours), connector.connect(name, theirs));
        let (_server, client) = (server.unwrap(), client.unwrap());
        client.get_ref().1.peer_certificates().unwrap().first().unwrap().to_vec()
    }

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    #[tokio::test]
    async fn names_get_the_own_certificate_and_its_renewal_and_machines_the_pinned_one() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(dir.path(), "192.0.2.10".parse().unwrap()).unwrap();
        let first = write(dir.path(), "boot.example.net");
        let files = (dir.path().join("own.crt"), dir.path().join("own.key"));
        let mut own = OwnCertificate::open(files.0.clone(), files.1.clone()).unwrap();
        let acceptor = identity.acceptor(Some(&own)).unwrap();
        assert_eq!(shown(&acceptor, "boot.example.net").await, der(&first));
        assert_eq!(shown(&acceptor, "192.0.2.10").await, der(&identity.certificate_pem));
        // A renewal, then files that do not belong together, then one that is missing.
        let second = write(dir.path(), "boot.example.net");
        own.look();
        assert_ne!(first, second);
        assert_eq!(shown(&acceptor, "boot.example.net").await, der(&second));
        std::fs::write(&files.0, &first).unwrap();
        own.look();
        assert_eq!(shown(&acceptor, "boot.example.net").await, der(&second));
        std::fs::remove_file(&files.1).unwrap();
        own.look();
        assert_eq!(shown(&acceptor, "boot.example.net").await, der(&second));
        assert!(OwnCertificate::open(files.0, files.1).is_err());
        // The task does the same by itself.
        let third = write(dir.path(), "boot.example.net");
        let stop = CancellationToken::new();
        let following = tokio::spawn(own.follow(Duration::from_millis(5), stop.clone()));
        let begun = std::time::Instant::now();
        while shown(&acceptor, "boot.example.net").await != der(&third) {
            assert!(begun.elapsed() < Duration::from_secs(30), "the renewal was never seen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        following.await.unwrap();
        // Without an own certificate names get the pinned one, as ever.
        let alone = identity.acceptor(None).unwrap();
        assert_eq!(shown(&alone, "boot.example.net").await, der(&identity.certificate_pem));
    }
}
