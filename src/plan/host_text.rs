//! What people write about a host, read into typed values: in a form, in a request, in a file.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::domain::host::StaticNetwork;
use crate::domain::id::{Hostname, ServerTypeName};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::MOST_MACS;

/// A value that breaks a rule, beside its field.
fn refuse(field: &'static str, detail: impl ToString, hint: &str) -> Refusal {
    Refusal::new(RefusalKind::Unprocessable, detail.to_string(), hint).about(field)
}

/// Parses a host's name.
///
/// # Errors
/// The rule that it breaks.
pub fn hostname(text: &str) -> Result<Hostname, Refusal> {
    text.trim().parse().map_err(|e| refuse("hostname", e, "It becomes the node's name."))
}

/// Parses a server type's name.
///
/// # Errors
/// The rule that it breaks.
pub fn server_type(text: &str) -> Result<ServerTypeName, Refusal> {
    let hint = "Choose one of the server types.";
    text.trim().parse().map_err(|e| refuse("server_type", e, hint))
}

/// Parses hardware addresses; at least one, none twice.
///
/// # Errors
/// Which is none, or is there twice.
pub fn macs<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Mac>, Refusal> {
    let mut macs: Vec<Mac> = Vec::new();
    for text in texts.into_iter().map(str::trim).filter(|t| !t.is_empty()) {
        let hint = "One address per line; the one it boots from first.";
        let mac = text.parse().map_err(|e| refuse("macs", e, hint))?;
        if macs.contains(&mac) {
            return Err(refuse("macs", format!("The address {mac} is given twice."), hint));
        }
        macs.push(mac);
    }
    match macs.len() {
        0 => Err(refuse(
            "macs",
            "A host needs at least one MAC address.",
            "The firmware shows it while it boots from the network.",
        )),
        n if n > MOST_MACS => {
            let detail = format!("{n} addresses are given; {MOST_MACS} are the most.");
            Err(refuse("macs", detail, "Name only those it may boot from."))
        }
        _ => Ok(macs),
    }
}

/// Parses a fixed network; `None` when all three parts are empty.
///
/// # Errors
/// Which part is wrong.
pub fn network(cidr: &str, gateway: &str, dns: &str) -> Result<Option<StaticNetwork>, Refusal> {
    let (cidr, gateway, dns) = (cidr.trim(), gateway.trim(), dns.trim());
    if cidr.is_empty() && gateway.is_empty() && dns.is_empty() {
        return Ok(None);
    }
    let net: Ipv4Net = cidr.parse().map_err(|_| {
        let detail = format!("'{}' is not an address with its prefix.", short(cidr));
        refuse("cidr", detail, "Write it as 192.0.2.21/24, or leave all three fields empty.")
    })?;
    let address = |field, text: &str| {
        text.parse::<Ipv4Addr>().map_err(|_| {
            let detail = format!("'{}' is not an IPv4 address.", short(text));
            refuse(field, detail, "A fixed network needs address, gateway and DNS server.")
        })
    };
    let gateway = address("gateway", gateway)?;
    let dns = address("dns", dns)?;
    if !net.contains(&gateway) || gateway == net.addr() {
        let detail =
            format!("The gateway {gateway} is not another address inside {}.", net.trunc());
        return Err(refuse("gateway", detail, "The installer needs a gateway on its own link."));
    }
    Ok(Some(StaticNetwork { cidr: net.to_string(), gateway, dns }))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
