//! Where machines find our HTTP server.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Longest fixed base URL: with our longest path it still fits the 128-byte `file` field.
const LONGEST: usize = 90;

/// Path of the first boot script; it learns the MAC by iPXE's own means.
const SCRIPT: &str = "/boot/start.ipxe";

/// Folder of the boot programs.
const PROGRAMS: &str = "/boot/ipxe/";

/// How the URLs in offers begin. Always plain `http` and an address literal: firmware has no name server that we could
/// rely on, and neither firmware nor stock iPXE trusts our certificate (`pxe-netboot` 3.3 and 8.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseUrl {
    /// The address that the request came to, on this TCP port.
    Arrival {
        /// Port of the HTTP listener.
        port: u16,
    },
    /// One URL for all networks, behind NAT or in a container: see [`BaseUrl::fixed`].
    Fixed(FixedUrl),
}

/// A checked URL without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedUrl(String);

/// The URL cannot be used by firmware.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot be announced to machines: {rule}; for example http://192.0.2.10:8080")]
pub struct InvalidBaseUrl {
    /// What was given, cut to a printable length.
    pub text: String,
    /// Which rule it breaks.
    pub rule: &'static str,
}

impl BaseUrl {
    /// A fixed URL of the form `http://ADDRESS[:PORT][/PATH]`.
    ///
    /// # Errors
    /// [`InvalidBaseUrl`] when it is not plain http, its host is not an IPv4 address, or it is too long.
    pub fn fixed(text: &str) -> Result<Self, InvalidBaseUrl> {
        let fail = |rule| InvalidBaseUrl { text: text.chars().take(120).collect(), rule };
        let rest =
            text.strip_prefix("http://").ok_or_else(|| fail("it must begin with http://"))?;
        let host = rest.split('/').next().unwrap_or("");
        let literal = host.parse::<Ipv4Addr>().is_ok() || host.parse::<SocketAddrV4>().is_ok();
        if !literal {
            return Err(fail(
                "its host must be an IPv4 address, because firmware resolves no names",
            ));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && !b"?#$\"\\".contains(&b)) {
            return Err(fail("only plain path characters may follow the address"));
        }
        let text = text.trim_end_matches('/');
        if text.len() > LONGEST {
            return Err(fail("it may have 90 characters at most"));
        }
        Ok(Self::Fixed(FixedUrl(text.to_owned())))
    }

    /// URL of the first boot script.
    #[must_use]
    pub fn script(&self, arrival: Ipv4Addr) -> String {
        format!("{}{SCRIPT}", self.base(arrival))
    }

    /// URL of a boot program.
    #[must_use]
    pub fn program(&self, arrival: Ipv4Addr, file_name: &str) -> String {
        format!("{}{PROGRAMS}{file_name}", self.base(arrival))
    }

    fn base(&self, arrival: Ipv4Addr) -> String {
        match self {
            Self::Arrival { port } => format!("http://{arrival}:{port}"),
            Self::Fixed(FixedUrl(text)) => text.clone(),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_arrival_form_names_the_address_that_was_asked() {
        let base = BaseUrl::Arrival { port: 8080 };
        let us = Ipv4Addr::new(192, 0, 2, 10);
        assert_eq!(base.script(us), "http://192.0.2.10:8080/boot/start.ipxe");
        assert_eq!(base.program(us, "snponly.efi"), "http://192.0.2.10:8080/boot/ipxe/snponly.efi");
    }

    #[test]
    fn a_fixed_url_is_kept_whatever_address_was_asked() {
        let base = BaseUrl::fixed("http://198.51.100.7:81/lab/").expect("valid");
        assert_eq!(
            base.script(Ipv4Addr::new(192, 0, 2, 10)),
            "http://198.51.100.7:81/lab/boot/start.ipxe"
        );
    }

    #[test]
    fn what_firmware_cannot_use_is_refused_with_the_rule() {
        let long = format!("http://192.0.2.1/{}", "x".repeat(80));
        for (text, rule) in [
            ("https://192.0.2.1", "http://"),
            ("http://boot.example", "IPv4 address"),
            ("http://", "IPv4 address"),
            ("http://192.0.2.1:99999", "IPv4 address"),
            ("http://[2001:db8::1]:80", "IPv4 address"),
            ("http://192.0.2.1/a b", "path characters"),
            ("http://192.0.2.1/${mac}", "path characters"),
            (long.as_str(), "90 characters"),
        ] {
            let error = BaseUrl::fixed(text).expect_err(text);
            assert!(error.rule.contains(rule), "{text}: {error}");
        }
    }
}
