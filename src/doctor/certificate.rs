//! What the certificate of the HTTPS listener says.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::domain::time::Timestamp;
use crate::plan::doctor::facts::CertificateFacts;

/// Reads `tls.crt` of the data directory.
pub(super) fn read(data_dir: &Path) -> CertificateFacts {
    let path = data_dir.join("tls.crt");
    let unreadable =
        |why: String| CertificateFacts::Unreadable(format!("{}: {why}", path.display()));
    let pem = match std::fs::read(&path) {
        Ok(pem) => pem,
        Err(e) if e.kind() == ErrorKind::NotFound => return CertificateFacts::Missing,
        Err(e) => return unreadable(e.to_string()),
    };
    let der = match CertificateDer::from_pem_slice(&pem) {
        Ok(der) => der,
        Err(e) => return unreadable(e.to_string()),
    };
    match X509Certificate::from_der(&der) {
        Ok((_, certificate)) => seen(&certificate),
        Err(e) => unreadable(e.to_string()),
    }
}

fn seen(certificate: &X509Certificate<'_>) -> CertificateFacts {
    let time = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
    let validity = certificate.validity();
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.into_iter().flat_map(|names| &names.value.general_names);
    CertificateFacts::Seen {
        not_before: time(validity.not_before.timestamp()),
        not_after: time(validity.not_after.timestamp()),
        names: names.filter_map(name).collect(),
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|b| IpAddr::V4(Ipv4Addr::from(b)));
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|b| IpAddr::V6(Ipv6Addr::from(b)));
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn our_own_certificate_is_for_its_address() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), CertificateFacts::Missing));
        let address = "192.0.2.10".parse().unwrap();
        crate::web::tls::Identity::load_or_create(dir.path(), address).unwrap();
        let CertificateFacts::Seen { not_before, not_after, names } = read(dir.path()) else {
            panic!("it can be read");
        };
        assert!(not_before < not_after);
        assert_eq!(names, ["192.0.2.10"]);
        std::fs::write(dir.path().join("tls.crt"), "nonsense").unwrap();
        assert!(matches!(read(dir.path()), CertificateFacts::Unreadable(_)));
    }
}
