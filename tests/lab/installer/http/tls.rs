//! TLS as the vendor's client speaks it: with a fingerprint the leaf certificate's SHA-256 decides and nothing else (no name, no
//! chain, no date); without one the machine's own CA store does, and no self-signed certificate passes it. Nothing here is the
//! program's own code, though it pins certificates too: a mistake that both shared would be seen by nobody.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    StreamOwned,
};
use sha2::{Digest as _, Sha256};

use super::Timed;

/// Shakes hands over a socket that is connected to this address, and says on the console what was found.
///
/// # Errors
/// One line: the fingerprint is no hex, the certificate is not the pinned one or no authority of this machine vouches for
/// it, or the other side does not speak TLS.
pub(crate) fn shake_hands(
    mut socket: Timed,
    host: IpAddr,
    cert_fingerprint: Option<&str>,
) -> Result<StreamOwned<ClientConnection, Timed>, String> {
    let config = match cert_fingerprint {
        Some(text) => pinned(text)?,
        None => trusting_this_machine()?,
    };
    let mut connection = ClientConnection::new(Arc::new(config), ServerName::from(host))
        .map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(|error| format!("TLS: {error}"))?;
    }
    let version = connection.protocol_version().and_then(|version| version.as_str());
    let why = if cert_fingerprint.is_some() { "pinned" } else { "known to this machine" };
    println!("installer: {} with {host}, its certificate is {why}", version.unwrap_or("TLS"));
    Ok(StreamOwned::new(connection, socket))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

fn pinned(fingerprint: &str) -> Result<ClientConfig, String> {
    let fingerprint = bytes_of(fingerprint)
        .ok_or_else(|| format!("cert-fingerprint {fingerprint:?} is not hex"))?;
    let verifier = Pinned { provider: ring::default_provider(), fingerprint };
    Ok(builder()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Like the vendor's, it leaves out what it cannot read. An initramfs without authorities trusts nobody.
fn trusting_this_machine() -> Result<ClientConfig, String> {
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(builder()?.with_root_certificates(authorities).with_no_client_auth())
}

/// Hex in any case, colons anywhere. A prefix such as `sha256:` is no hex; a wrong length just never matches.
fn bytes_of(fingerprint: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = fingerprint
        .chars()
        .filter(|letter| *letter != ':')
        .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}

#[derive(Debug)]
struct Pinned {
    provider: CryptoProvider,
    fingerprint: Vec<u8>,
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
        if Sha256::digest(leaf)[..] == self.fingerprint[..] {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the certificate's fingerprint is another one".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
