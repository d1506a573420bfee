//! The parts of `[server]` about who is believed: the operator's own certificate, a reverse proxy in front.

use ipnet::IpNet;

use super::super::read::{Section, show};
use super::super::{TlsFiles, TrustedHeader};
use super::Context;

/// `tls_certificate` and `tls_key`: both or none.
pub(super) fn tls_files(section: &Section<'_>, tls: bool, cx: &Context<'_>) -> Option<TlsFiles> {
    let certificate = section.filled("tls_certificate");
    let key = section.filled("tls_key");
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            if !tls {
                cx.findings.warn_at(&certificate, "has no effect without tls = \"auto\"");
            }
            let certificate = cx.base.join(certificate.value);
            Some(TlsFiles { certificate, key: cx.base.join(key.value) })
        }
        (None, None) => None,
        (Some(lone), None) => {
            cx.findings.wrong_at(&lone, "tls_key is missing beside it");
            None
        }
        (None, Some(lone)) => {
            cx.findings.wrong_at(&lone, "tls_certificate is missing beside it");
            None
        }
    }
}

/// Headers that mean something else to us or to proxies.
const TAKEN: [&str; 7] = [
    "authorization",
    "cookie",
    "host",
    "origin",
    "x-csrf-token",
    "x-forwarded-for",
    "content-type",
];

/// `trusted_header` and `trusted_proxies`: both or none; `forwarded_for` only beside them.
pub(super) fn trusted_header(section: &Section<'_>, cx: &Context<'_>) -> Option<TrustedHeader> {
    let header = section.filled("trusted_header");
    let proxies = section.strings("trusted_proxies").unwrap_or_default();
    let forwarded_for = section.boolean("forwarded_for");
    let mut from = Vec::new();
    for given in &proxies {
        let net = given.value.parse::<IpNet>().ok();
        let net = net.or_else(|| given.value.parse::<std::net::IpAddr>().ok().map(IpNet::from));
        match net {
            Some(net) if net.prefix_len() == 0 => {
                cx.findings.wrong_at(given, "everybody is not a proxy; name the proxy's address");
            }
            Some(net) => from.push(net),
            None => {
                let message =
                    format!("\"{}\" is neither an address nor a network", show(&given.value));
                cx.findings.wrong_at(given, message);
            }
        }
    }
    let Some(header) = header else {
        if let Some(first) = proxies.first() {
            cx.findings.warn_at(first, "has no effect without trusted_header");
        }
        if let Some(given) = forwarded_for.filter(|given| given.value) {
            cx.findings.warn_at(&given, "has no effect without trusted_header");
        }
        return None;
    };
    let name = header.value.to_ascii_lowercase();
    let is_name = !name.is_empty()
        && name.len() <= 60
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name || TAKEN.contains(&name.as_str()) {
        let message = format!(
            "\"{}\" cannot be the header that names the user; take one like X-Forwarded-User",
            show(&header.value)
        );
        cx.findings.wrong_at(&header, message);
        return None;
    }
    if proxies.is_empty() {
        let message =
            "trusted_proxies is missing beside it: only these addresses may send the header";
        cx.findings.wrong_at(&header, message);
        return None;
    }
    let forwarded_for = forwarded_for.is_some_and(|given| given.value);
    Some(TrustedHeader { name, from, forwarded_for })
}
