//! The network of a guest: bridge, VLAN, address; and its domain when it is exposed.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::domain::app::Manifest;
use crate::domain::guest::{GuestNetwork, Ipv4Config};
use crate::domain::id::{BridgeName, Hostname};

use super::field::{Fields, show, whole};
use super::{ServiceOrder, Site};

pub(super) fn default_bridge(manifest: &Manifest, site: &Site<'_>) -> BridgeName {
    let proposed = manifest.lxc.bridge.as_deref().and_then(|b| b.parse::<BridgeName>().ok());
    proposed
        .filter(|b| site.boundary.bridges.contains(b))
        .unwrap_or_else(|| site.defaults.bridge.clone())
}

pub(super) fn network(
    fields: &mut Fields<'_>,
    manifest: &Manifest,
    site: &Site<'_>,
) -> Option<GuestNetwork> {
    let bridges = &site.boundary.bridges;
    let bridge = fields.approved("bridge", "bridge", bridges, &default_bridge(manifest, site));
    let vlan = vlan(fields, site);
    let fixed = fields.word("ipv4", &[("dhcp", false), ("static", true)], "dhcp");
    let ipv4 = match fixed {
        Some(true) => fixed_address(fields, site),
        Some(false) => {
            for field in ["address", "gateway"] {
                if fields.text(field).is_some() {
                    fields
                        .wrong(field, "is set by the DHCP server; choose ipv4 = static to set it");
                }
            }
            Some(Ipv4Config::Dhcp)
        }
        None => None,
    };
    Some(GuestNetwork { bridge: bridge?, vlan: vlan?, ipv4: ipv4? })
}

/// The VLAN tag; the outer `None` is an error.
#[allow(clippy::option_option)]
fn vlan(fields: &mut Fields<'_>, site: &Site<'_>) -> Option<Option<u16>> {
    let choices = site.boundary.vlan_choices();
    let Some(text) = fields.text("vlan") else {
        return Some(choices.first().copied().flatten());
    };
    let tag = whole(text).and_then(|n| u16::try_from(n).ok()).filter(|n| *n <= MOST_VLAN);
    let Some(tag) = tag else {
        let message =
            format!("'{}' is no VLAN tag: 1 to {MOST_VLAN}, or 0 for untagged", show(text));
        fields.wrong("vlan", message);
        return None;
    };
    let wanted = (tag != 0).then_some(tag);
    if choices.contains(&wanted) {
        return Some(wanted);
    }
    let name = |tag: &Option<u16>| tag.map_or_else(|| "0 (untagged)".to_owned(), |t| t.to_string());
    let approved: Vec<String> = choices.iter().map(name).collect();
    let message = format!("{} is not approved; approved: {}", name(&wanted), approved.join(", "));
    fields.wrong("vlan", message);
    None
}

/// 4095 is reserved (IEEE 802.1Q).
const MOST_VLAN: u16 = 4094;

fn fixed_address(fields: &mut Fields<'_>, site: &Site<'_>) -> Option<Ipv4Config> {
    let gateway = fields.parsed::<Ipv4Addr>("gateway", "an IPv4 address, as in 192.0.2.1");
    let Some(text) = fields.text("address") else {
        fields.wrong("address", "an address with its prefix length is needed, as in 192.0.2.20/24");
        return None;
    };
    // `Ipv4Net` takes an address alone as well in no version; Proxmox VE refuses it too.
    let Ok(net) = text.parse::<Ipv4Net>() else {
        let message = format!(
            "'{}' is not an IPv4 address with its prefix length, as in 192.0.2.20/24",
            show(text)
        );
        fields.wrong("address", message);
        return None;
    };
    let address = net.addr();
    if let Err(reason) = usable(&net) {
        fields.wrong("address", reason);
    }
    if site.boundary.reserved_addresses.contains(&address) {
        fields.wrong("address", format!("{address} is reserved (apps.reserved_addresses)"));
    }
    if let Some((_, by)) = site.discovery.taken_addresses.iter().find(|(a, _)| *a == address) {
        fields.wrong("address", format!("{address} is in use by {by}; take another one"));
    }
    if let Some(gateway) = gateway {
        let inside = net.contains(&gateway)
            && (net.prefix_len() > 30 || (gateway != net.network() && gateway != net.broadcast()));
        if !inside {
            let network = net.trunc();
            fields.wrong("gateway", format!("{gateway} is not a machine's address in {network}"));
        } else if gateway == address {
            fields.wrong("gateway", "the guest cannot be its own gateway");
        }
    }
    let failed = !fields.is_clean("address") || !fields.is_clean("gateway");
    (!failed).then_some(Ipv4Config::Static { address, prefix: net.prefix_len(), gateway })
}

/// Whether an address can belong to a machine of its network.
fn usable(net: &Ipv4Net) -> Result<(), String> {
    let address = net.addr();
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_link_local()
        || address.octets()[0] >= 240
        || address.octets()[0] == 0;
    if special || net.prefix_len() == 0 {
        return Err(format!("{net} cannot be a guest's address"));
    }
    // RFC 3021: networks of 31 and 32 bits have no network and broadcast address.
    if net.prefix_len() < 31 {
        if address == net.network() {
            return Err(format!("{address} is the network's own address in {}", net.trunc()));
        }
        if address == net.broadcast() {
            return Err(format!("{address} is the broadcast address of {}", net.trunc()));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Exposure {
    None,
    Internal,
    Public,
}

/// How the guest is exposed. A domain that was not entered is the guest's name below the site's domain.
pub(super) fn service(
    fields: &mut Fields<'_>,
    manifest: &Manifest,
    site: &Site<'_>,
    name: Option<&Hostname>,
    warnings: &mut Vec<String>,
) -> Option<ServiceOrder> {
    let words =
        [("none", Exposure::None), ("internal", Exposure::Internal), ("public", Exposure::Public)];
    let exposure = fields.word("expose", &words, "none")?;
    let given = fields.text("domain");
    if exposure == Exposure::None {
        if given.is_some() {
            warnings.push("the domain has no effect: the guest is not exposed".to_owned());
        }
        return None;
    }
    let Some(expose) = &manifest.expose else {
        fields.wrong("expose", "this app has nothing to expose; only none is allowed");
        return None;
    };
    if !site.publishes {
        fields.wrong(
            "expose",
            "no repository for service definitions is configured ([apps.services]); only none is possible",
        );
        return None;
    }
    if exposure == Exposure::Public && !expose.public {
        fields
            .wrong("expose", "this app may not be exposed to the public; allowed: none, internal");
    }
    let proposed = || Some(format!("{}.{}", name?, site.defaults.domain.as_ref()?));
    let text = match given.map(str::to_owned).or_else(proposed) {
        Some(text) => text,
        None if site.defaults.domain.is_some() => return None,
        None => {
            fields.wrong("domain", "an exposed guest needs a domain, as in wiki.example.net");
            return None;
        }
    };
    let domain = match domain_name(&text) {
        Ok(domain) => domain,
        Err(reason) => {
            fields.wrong("domain", format!("'{}' cannot be used: {reason}", show(&text)));
            return None;
        }
    };
    let taken = site.discovery.taken_domains.iter().find(|(d, _)| d.eq_ignore_ascii_case(&domain));
    if let Some((_, file)) = taken {
        fields
            .wrong("domain", format!("{domain} is defined already in {file}; choose another one"));
        return None;
    }
    Some(ServiceOrder {
        domain,
        public: exposure == Exposure::Public,
        port: expose.port,
        health_path: expose.health_path.clone(),
    })
}

/// A full domain name in lower case: at least two labels, no wildcard, no address.
///
/// # Errors
/// What would be allowed.
pub fn domain_name(text: &str) -> Result<String, &'static str> {
    let domain = text.trim().to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    if domain.len() > 253 || !domain.split('.').all(label) {
        return Err("labels of a-z, 0-9 and '-' with dots between them, as in wiki.example.net");
    }
    match domain.rsplit_once('.') {
        None => Err("at least two labels are needed, as in wiki.example.net"),
        Some((_, last)) if last.bytes().all(|b| b.is_ascii_digit()) => {
            Err("an address is no domain; a name is needed, as in wiki.example.net")
        }
        Some(_) => Ok(domain),
    }
}
