//! TLS to a machine with a self-signed certificate (a cluster's member, a management controller): only the pinned one is
//! accepted, and the other side must prove that it holds the key.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// What the other side showed, when it was not what it should be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Option<[u8; 32]>>>);

impl Seen {
    /// The other certificate's fingerprint.
    pub(crate) fn other(&self) -> Option<[u8; 32]> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Configuration for one connection, and where the fingerprint of a wrong certificate will be found.
pub(crate) fn config(
    provider: &Arc<CryptoProvider>,
    pinned: [u8; 32],
) -> Result<(ClientConfig, Seen), Error> {
    let seen = Seen::default();
    let verifier = Pinned { provider: Arc::clone(provider), pinned, seen: seen.clone() };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // The server speaks nothing else, and HTTP/2 would lose the reason phrase.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would show no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, seen))
}

#[derive(Debug)]
struct Pinned {
    provider: Arc<CryptoProvider>,
    pinned: [u8; 32],
    seen: Seen,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint: [u8; 32] = Sha256::digest(leaf.as_ref()).into();
        if fingerprint == self.pinned {
            return Ok(ServerCertVerified::assertion());
        }
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
        Err(Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
    }

    // Without these two anybody could show a copy of the pinned certificate.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
