//! How firmware judges what servers send: which of several offers it follows, and what it takes from TFTP and HTTP.
//!
//! Used where the daemon plays a machine (`doctor --simulate`), and by the models in `fakes::firmware`, which judge
//! everything that the daemon can send. Sources, by short names used below:
//!
//! | name | what |
//! |---|---|
//! | EDK2 | `NetworkPkg` of tianocore/edk2, 2026: `Dhcp4Dxe`, `UefiPxeBcDxe`, `HttpBootDxe`, `Mtftp4Dxe` |
//! | iPXE | `net/udp/dhcp.c`, `net/udp/tftp.c` of ipxe/ipxe, 2.0 line |
//! | PXE | Intel, Preboot Execution Environment 2.1 |

pub mod http;
pub mod tftp;

use std::net::Ipv4Addr;

use crate::proto::dhcp::probe::HeardOffer;

/// Why a client would drop a reply, or fail with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Dropped(pub String);

impl From<&str> for Dropped {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<String> for Dropped {
    fn from(why: String) -> Self {
        Self(why)
    }
}

/// `Ok` when a rule is kept.
///
/// # Errors
/// [`Dropped`] with the rule when it is not.
pub fn rule(kept: bool, what: &str) -> Result<(), Dropped> {
    if kept { Ok(()) } else { Err(Dropped(what.to_owned())) }
}

/// How EDK2 sorts an acceptable offer (`PxeBcDhcp4.c`, `PxeBcParseDhcp4Packet`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edk2Class {
    /// Address and boot data from one server, option 43 with discovery control.
    DhcpPxe10,
    /// Address from this server, which is to be asked again on 4011.
    DhcpBinl,
    /// Boot data in the offer itself.
    ProxyPxe10,
    /// The server is to be asked on 4011.
    ProxyBinl,
    /// An ordinary lease.
    DhcpOnly,
}

impl Edk2Class {
    /// The class of an offer: whether it lends an address, whether option 60 begins with `PXEClient`, and the tags of
    /// option 43. `None`: it is dropped, having neither an address nor that option 60.
    #[must_use]
    pub fn of(lends: bool, claims_pxe: bool, tags: impl IntoIterator<Item = u8>) -> Option<Self> {
        let pxe10 = tags.into_iter().any(|tag| (6..=10).contains(&tag));
        match (lends, claims_pxe, pxe10) {
            (false, false, _) => None,
            (false, true, true) => Some(Self::ProxyPxe10),
            (false, true, false) => Some(Self::ProxyBinl),
            (true, true, true) => Some(Self::DhcpPxe10),
            (true, true, false) => Some(Self::DhcpBinl),
            (true, false, _) => Some(Self::DhcpOnly),
        }
    }
}

/// What firmware does with all offers that it heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nobody gave it an address: PXE-E51 (BIOS) or E16.
    NoAddress,
    /// It has an address, and nobody told it what to boot: PXE-E53 or E16.
    NoBootData,
    /// It asks this server on UDP 4011.
    Asks(Ipv4Addr),
    /// It loads this file by TFTP.
    Loads(Ipv4Addr, String),
    /// It loads this URL.
    Fetches(String),
    /// It shows this server's menu, or looks for boot servers by itself.
    Searches(Ipv4Addr),
    /// It follows this server, which names no file: PXE-E53.
    NoFile(Ipv4Addr),
}

/// What firmware in PXE mode follows among offers in the order in which they came: EDK2's table (`pxe-netboot` 3.2), which
/// BIOS ROMs follow as far as it is known of them.
#[must_use]
pub fn choose_in_pxe(offers: &[HeardOffer]) -> Choice {
    let class = |offer: &HeardOffer| {
        Edk2Class::of(offer.lends(), offer.claims_pxe(), offer.vendor_tags.iter().map(|(t, _)| *t))
    };
    let first = |wanted: Edk2Class| offers.iter().find(|offer| class(offer) == Some(wanted));
    if let Some(offer) = first(Edk2Class::DhcpPxe10) {
        return boots(offer);
    }
    let lease = first(Edk2Class::DhcpOnly);
    if let (Some(_), Some(offer)) = (lease, first(Edk2Class::ProxyPxe10)) {
        return boots(offer);
    }
    if let Some(offer) = first(Edk2Class::DhcpBinl) {
        return Choice::Asks(boot_server(offer));
    }
    let Some(lease) = lease else { return Choice::NoAddress };
    if let Some(offer) = first(Edk2Class::ProxyBinl) {
        return Choice::Asks(boot_server(offer));
    }
    match lease.boot_file.as_str() {
        "" => Choice::NoBootData,
        file => Choice::Loads(boot_server(lease), file.to_owned()),
    }
}

/// What firmware in HTTP mode follows: an offer with option 60 `HTTPClient`, beside one that lends an address (EDK2
/// `HttpBootDhcp4.c`).
#[must_use]
pub fn choose_in_http(offers: &[HeardOffer]) -> Choice {
    if !offers.iter().any(HeardOffer::lends) {
        return Choice::NoAddress;
    }
    let named = |offer: &&HeardOffer| offer.vendor_class.starts_with(b"HTTPClient");
    match offers.iter().find(named) {
        None => Choice::NoBootData,
        Some(offer) if offer.boot_file.is_empty() => Choice::NoFile(offer.server()),
        Some(offer) => Choice::Fetches(offer.boot_file.clone()),
    }
}

/// What iPXE follows: a boot server's offer, else the DHCP server's file (`dhcp_rx_offer`).
#[must_use]
pub fn choose_in_ipxe(offers: &[HeardOffer]) -> Choice {
    if !offers.iter().any(HeardOffer::lends) {
        return Choice::NoAddress;
    }
    let proxy = offers.iter().find(|offer| !offer.lends() && offer.claims_pxe());
    let lease = offers.iter().find(|offer| offer.lends() && !offer.boot_file.is_empty());
    match proxy.or(lease) {
        None => Choice::NoBootData,
        Some(offer) if offer.boot_file.is_empty() => Choice::NoFile(offer.server()),
        Some(offer) if offer.boot_file.contains("://") => Choice::Fetches(offer.boot_file.clone()),
        Some(offer) => Choice::Loads(boot_server(offer), offer.boot_file.clone()),
    }
}

/// What is booted by a packet that says all by itself, or by the answer of a boot server.
#[must_use]
pub fn boots(offer: &HeardOffer) -> Choice {
    // PXE table 2-1: bit 3 of discovery control is "boot the file of this packet".
    let control = offer.vendor_tags.iter().find(|(tag, _)| *tag == 6);
    let directly = control.is_none_or(|(_, bits)| bits.is_some_and(|bits| bits & 8 != 0));
    if !directly {
        return Choice::Searches(offer.server());
    }
    match offer.boot_file.as_str() {
        "" => Choice::NoFile(offer.server()),
        file => Choice::Loads(boot_server(offer), file.to_owned()),
    }
}

/// siaddr, else option 54.
fn boot_server(offer: &HeardOffer) -> Ipv4Addr {
    match offer.next_server {
        server if server.is_unspecified() => offer.server(),
        server => server,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const LAN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);

    fn offer(server: Ipv4Addr, lends: bool, class: &[u8], file: &str, tags: &[u8]) -> HeardOffer {
        HeardOffer {
            source: server,
            server_id: Some(server),
            address: if lends { Ipv4Addr::new(192, 0, 2, 77) } else { Ipv4Addr::UNSPECIFIED },
            next_server: server,
            relay: Ipv4Addr::UNSPECIFIED,
            vendor_class: class.to_vec(),
            boot_file: file.to_owned(),
            tftp_name: String::new(),
            vendor_tags: tags.iter().map(|tag| (*tag, Some(8))).collect(),
        }
    }

    fn lease(class: &[u8], file: &str) -> HeardOffer {
        offer(LAN, true, class, file, &[])
    }

    fn proxy(server: Ipv4Addr, file: &str, tags: &[u8]) -> HeardOffer {
        offer(server, false, b"PXEClient", file, tags)
    }

    #[test]
    fn pxe_firmware_follows_the_best_class_whoever_was_first() {
        let plain = lease(b"", "");
        let ours = proxy(US, "snponly.efi", &[]);
        let menu = HeardOffer { vendor_tags: vec![(6, Some(0))], ..proxy(OTHER, "x", &[]) };
        let loads = |server, file: &str| Choice::Loads(server, file.to_owned());
        let table = [
            (vec![], Choice::NoAddress),
            (vec![ours.clone()], Choice::NoAddress),
            (vec![plain.clone()], Choice::NoBootData),
            (vec![plain.clone(), ours.clone()], Choice::Asks(US)),
            (vec![ours.clone(), plain.clone()], Choice::Asks(US)),
            // A proxy loses to a DHCP server that plays PXE, whatever it sends.
            (vec![ours.clone(), lease(b"PXEClient", "")], Choice::Asks(LAN)),
            // The direct form of a second proxy wins over the other form.
            (vec![plain.clone(), ours.clone(), proxy(OTHER, "a", &[6])], loads(OTHER, "a")),
            (vec![plain.clone(), proxy(US, "b", &[6]), proxy(OTHER, "a", &[6])], loads(US, "b")),
            (vec![plain.clone(), menu], Choice::Searches(OTHER)),
            (vec![plain.clone(), proxy(OTHER, "", &[6])], Choice::NoFile(OTHER)),
            (vec![lease(b"", "pxelinux.0")], loads(LAN, "pxelinux.0")),
            (vec![lease(b"", "pxelinux.0"), ours], Choice::Asks(US)),
            (vec![offer(LAN, true, b"PXEClient", "c", &[6])], loads(LAN, "c")),
        ];
        for (n, (offers, expected)) in table.into_iter().enumerate() {
            assert_eq!(choose_in_pxe(&offers), expected, "{n}");
        }
    }

    #[test]
    fn http_firmware_and_ipxe_want_an_address_and_a_url() {
        let plain = lease(b"", "");
        let url = "http://192.0.2.10:8080/boot/ipxe/snponly.efi";
        let http = offer(US, false, b"HTTPClient", url, &[]);
        assert_eq!(choose_in_http(std::slice::from_ref(&http)), Choice::NoAddress);
        assert_eq!(choose_in_http(std::slice::from_ref(&plain)), Choice::NoBootData);
        assert_eq!(choose_in_http(&[plain.clone(), http]), Choice::Fetches(url.to_owned()));
        let script = proxy(US, "http://192.0.2.10:8080/boot/start.ipxe", &[]);
        assert_eq!(
            choose_in_ipxe(&[plain.clone(), script]),
            Choice::Fetches("http://192.0.2.10:8080/boot/start.ipxe".to_owned())
        );
        assert_eq!(choose_in_ipxe(&[plain]), Choice::NoBootData);
        let stale = lease(b"", "pxelinux.0");
        assert_eq!(choose_in_ipxe(&[stale]), Choice::Loads(LAN, "pxelinux.0".to_owned()));
    }
}
