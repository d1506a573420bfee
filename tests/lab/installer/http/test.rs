use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};

use super::{Endpoint, Response, post};

const BODY: &[u8] = b"{\"facts\":1}";
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

/// A self-signed certificate as the appliance makes it: for its address, without an end.
fn certificate() -> (CertificateDer<'static>, KeyPair) {
    signed(CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap())
}

fn signed(params: CertificateParams) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().der().clone(), key)
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let pairs: Vec<String> =
        Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Serves one connection; gives its URL, and what it was asked if it came to that.
fn serve(
    identity: Option<(CertificateDer<'static>, KeyPair)>,
) -> (String, JoinHandle<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let scheme = if identity.is_some() { "https" } else { "http" };
    let serving = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let Some((certificate, key)) = identity else { return talk(&mut socket) };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = ring::sign::any_supported_type(&key).unwrap();
        // Not checked against each other: one of the tests shows a certificate without having its key.
        let shown = CertifiedKey::new(vec![certificate], key);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        talk(&mut StreamOwned::new(connection, socket))
    });
    (format!("{scheme}://{address}/api/boot/answer/x"), serving)
}

fn talk(stream: &mut (impl std::io::Read + std::io::Write)) -> Option<String> {
    let mut heard = Vec::new();
    while !heard.ends_with(BODY) {
        let mut block = [0; 1024];
        let count = stream.read(&mut block).ok()?;
        if count == 0 {
            return None;
        }
        heard.extend_from_slice(&block[..count]);
    }
    stream.write_all(REPLY).ok()?;
    stream.flush().ok()?;
    Some(String::from_utf8(heard).unwrap())
}

fn ask(url: &str, cert_fingerprint: Option<&str>) -> Result<Response, String> {
    post(&Endpoint { url, cert_fingerprint }, "test", BODY, "*/*", "application/json")
}

#[test]
fn the_pinned_certificate_counts_in_every_spelling_whatever_its_name_and_dates() {
    for spell in [
        |print: &str| print.to_owned(),
        |print: &str| print.to_lowercase(),
        |print: &str| print.replace(':', ""),
    ] {
        let mut params = CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1999, 1, 1);
        params.not_after = date_time_ymd(2000, 1, 1);
        let identity = signed(params);
        let pin = spell(&fingerprint(&identity.0));
        let (url, serving) = serve(Some(identity));
        let response = ask(&url, Some(&pin)).unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"fine"[..]), "{pin}");
        let heard = serving.join().unwrap().unwrap();
        assert!(heard.starts_with("POST /api/boot/answer/x HTTP/1.1\r\n"), "{heard}");
    }
}

#[test]
fn another_certificate_or_none_that_this_machine_knows_ends_it_before_anything_is_said() {
    let (other, _) = certificate();
    let other = fingerprint(&other);
    let short = other.get(..5).unwrap();
    for (pin, why) in [
        (Some(&*other), "fingerprint is another one"),
        (Some(short), "fingerprint is another one"),
        (None, "TLS: invalid peer certificate: UnknownIssuer"),
    ] {
        let (url, serving) = serve(Some(certificate()));
        let refused = ask(&url, pin).err().expect("nobody vouches for it");
        assert!(refused.contains(why), "{pin:?}: {refused}");
        assert_eq!(serving.join().unwrap(), None, "{pin:?}: it was asked all the same");
    }
}

#[test]
fn whoever_shows_the_pinned_certificate_must_have_its_key() {
    let (shown, _) = certificate();
    let pin = fingerprint(&shown);
    let (url, serving) = serve(Some((shown, KeyPair::generate().unwrap())));
    let refused = ask(&url, Some(&pin)).err().expect("the signature is by another key");
    assert!(refused.contains("invalid peer certificate: BadSignature"), "{refused}");
    assert_eq!(serving.join().unwrap(), None);
}

#[test]
fn a_fingerprint_that_is_no_hex_is_refused() {
    for wrong in ["sha256:ab", "abc", "xy"] {
        let (url, serving) = serve(Some(certificate()));
        let refused = ask(&url, Some(wrong)).err().expect("it is no hex");
        assert!(refused.contains("is not hex"), "{wrong}: {refused}");
        assert_eq!(serving.join().unwrap(), None);
    }
}

#[test]
fn a_plain_url_ignores_the_fingerprint() {
    for pin in [None, Some("AB:CD")] {
        let (url, serving) = serve(None);
        let response = ask(&url, pin).unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"fine"[..]));
        assert!(serving.join().unwrap().is_some());
    }
}
