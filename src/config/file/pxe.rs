//! `[pxe]`: interfaces, segment, mode and the pool of `mode = "full"`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::super::read::{Located, Section, show};
use super::super::{LeasePool, Pxe, PxeMode, Server, UnknownPolicy};
use super::Context;
use crate::plan::script::KernelArgument;

pub(super) fn pxe(
    section: Section<'_>,
    server: Option<&Located<Server>>,
    cx: &Context<'_>,
) -> Option<Pxe> {
    let enabled = section.boolean("enabled");
    let on = enabled.as_ref().is_some_and(|e| e.value);
    let interfaces = interfaces(&section, on, cx);
    let subnet = subnet(&section, on, cx);
    let full = section.one_of("mode", &[("proxy", false), ("full", true)]).unwrap_or(false);
    let unknown = [("enroll", UnknownPolicy::Enroll), ("ignore", UnknownPolicy::Ignore)];
    let unknown = section.one_of("unknown", &unknown).unwrap_or(UnknownPolicy::Enroll);
    let boot_files_dir = section.filled("boot_files_dir").map(|d| cx.base.join(d.value));
    let kernel_arguments = kernel_arguments(&section, cx);
    let net = subnet.as_ref().map(|s| s.value);
    let pool = lease_pool(&section, full, net, cx);
    if enabled.is_none() && !section.is_empty() {
        let message = "is not set, so network boot is off; enabled = true switches it on";
        cx.findings.warn(&section.path("enabled"), section.place(), message);
    }
    section.finish();
    if !on {
        return None;
    }
    if let Some(server) = server {
        reachable(server, subnet.as_ref(), cx);
    }
    let mode = if full { PxeMode::Full(pool?) } else { PxeMode::Proxy };
    let interfaces = interfaces?;
    Some(Pxe { interfaces, subnet: net?, mode, unknown, boot_files_dir, kernel_arguments })
}

fn kernel_arguments(section: &Section<'_>, cx: &Context<'_>) -> Vec<KernelArgument> {
    let words = section.strings("kernel_arguments").unwrap_or_default();
    let parsed = words.iter().filter_map(|word| match KernelArgument::parse(&word.value) {
        Ok(argument) => Some(argument),
        Err(error) => {
            cx.findings.wrong_at(word, error.to_string());
            None
        }
    });
    parsed.collect()
}

/// Rules that bind `server.public_url` to network boot.
fn reachable(server: &Located<Server>, subnet: Option<&Located<Ipv4Net>>, cx: &Context<'_>) {
    let IpAddr::V4(ip) = server.value.public_ip else {
        let message = "must be an IPv4 address while pxe.enabled = true: network boot here is IPv4";
        cx.findings.wrong_at(server, message);
        return;
    };
    if ip.is_loopback() {
        let message = "a loopback address cannot be reached by machines while pxe.enabled = true";
        cx.findings.wrong_at(server, message);
    } else if let Some(subnet) = subnet.filter(|s| !s.value.contains(&ip)) {
        let message = format!(
            "{ip} of server.public_url is outside {}; machines reach it only through a router",
            subnet.value
        );
        cx.findings.warn_at(subnet, message);
    }
}

fn interfaces(section: &Section<'_>, on: bool, cx: &Context<'_>) -> Option<Vec<String>> {
    let given = section.strings("interface").unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    let mut good = true;
    for name in given.iter().filter(|n| !n.value.is_empty()) {
        // Linux: IFNAMSIZ is 16 with the final NUL; no slash, no white space.
        let legal = name.value.len() <= 15
            && !matches!(name.value.as_str(), "." | "..")
            && name.value.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
        if !legal {
            good = false;
            let message = format!(
                "\"{}\" is not an interface name: 1 to 15 characters without blanks, '/' and ':'",
                show(&name.value)
            );
            cx.findings.wrong_at(name, message);
        } else if names.contains(&name.value) {
            cx.findings.warn_at(name, format!("\"{}\" is listed twice", name.value));
        } else {
            names.push(name.value.clone());
        }
    }
    let wrong_type =
        given.is_empty() && section.node("interface").is_some_and(|n| !n.value.value.is_empty());
    if on && good && names.is_empty() && !wrong_type {
        let message =
            "is needed while pxe.enabled = true: the name of an interface, or a list of names";
        let place = given.first().map_or(section.place(), |g| (g.line, g.column));
        cx.findings.wrong(&section.path("interface"), place, message);
    }
    (good && !names.is_empty()).then_some(names)
}

fn subnet(section: &Section<'_>, on: bool, cx: &Context<'_>) -> Option<Located<Ipv4Net>> {
    let Some(given) = section.filled("subnet") else {
        if on {
            section.missing("subnet", "the served segment is expected, as in 192.0.2.0/24");
        }
        return None;
    };
    match given.value.parse::<Ipv4Net>() {
        Ok(net) if net.prefix_len() == 0 || net.prefix_len() > 30 => {
            let message =
                format!("{net} is no segment with machines: a prefix of 1 to 30 is allowed");
            cx.findings.wrong_at(&given, message);
            None
        }
        Ok(net) => {
            if net.addr() != net.network() {
                cx.findings.warn_at(&given, format!("is taken as {}", net.trunc()));
            }
            let Located { key, line, column, .. } = given;
            Some(Located { value: net.trunc(), key, line, column })
        }
        Err(_) => {
            let message =
                format!("\"{}\" is not an IPv4 network, as in 192.0.2.0/24", show(&given.value));
            cx.findings.wrong_at(&given, message);
            None
        }
    }
}

fn lease_pool(
    section: &Section<'_>,
    full: bool,
    net: Option<Ipv4Net>,
    cx: &Context<'_>,
) -> Option<LeasePool> {
    let range = section.filled("pool");
    let gateway = section.filled("gateway");
    let dns = section.strings("dns").unwrap_or_default();
    let lease_secs = section.integer("lease_secs");
    if !full {
        for idle in [range.as_ref(), gateway.as_ref(), dns.first()].into_iter().flatten() {
            cx.findings.warn_at(idle, "has no effect without mode = \"full\"");
        }
        if let Some(idle) = &lease_secs {
            cx.findings.warn_at(idle, "has no effect without mode = \"full\"");
        }
        return None;
    }
    let ip = |at: &Located<String>| {
        let parsed = at.value.parse::<Ipv4Addr>().ok();
        if parsed.is_none() {
            let message = format!("\"{}\" is not an IPv4 address", show(&at.value));
            cx.findings.wrong_at(at, message);
        }
        parsed
    };
    let gateway_ip = gateway.as_ref().map(ip);
    if let (Some(Some(ip)), Some(net), Some(at)) = (gateway_ip, net, &gateway)
        && !net.contains(&ip)
    {
        cx.findings.wrong_at(at, format!("{ip} is outside pxe.subnet {net}"));
    }
    let dns: Vec<Option<Ipv4Addr>> = dns.iter().map(ip).collect();
    let lease = match &lease_secs {
        None => Some(DEFAULT_LEASE_SECS),
        Some(at) => match u64::try_from(at.value) {
            Ok(secs @ MIN_LEASE_SECS..=MAX_LEASE_SECS) => Some(secs),
            _ => {
                let message = format!(
                    "{} is not a lease time; {MIN_LEASE_SECS} to {MAX_LEASE_SECS} seconds",
                    at.value
                );
                cx.findings.wrong_at(at, message);
                None
            }
        },
    };
    let Some(range) = range else {
        section.missing("pool", "mode = \"full\" needs a range, as in 192.0.2.100-192.0.2.199");
        return None;
    };
    let (first, last) = pool_range(&range, net, cx)?;
    Some(LeasePool {
        first,
        last,
        gateway: gateway_ip.flatten(),
        dns: dns.into_iter().collect::<Option<_>>()?,
        lease: Duration::from_secs(lease?),
    })
}

/// Long enough for an installation, short enough that a small pool recovers.
const DEFAULT_LEASE_SECS: u64 = 3600;
/// Below this, renewals are a large part of the traffic.
const MIN_LEASE_SECS: u64 = 120;
/// A month: an isolated install segment needs no longer memory.
const MAX_LEASE_SECS: u64 = 30 * 24 * 3600;

fn pool_range(
    range: &Located<String>,
    net: Option<Ipv4Net>,
    cx: &Context<'_>,
) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ends = range.value.split_once('-').and_then(|(a, b)| {
        Some((a.trim().parse::<Ipv4Addr>().ok()?, b.trim().parse::<Ipv4Addr>().ok()?))
    });
    let Some((first, last)) = ends else {
        let message =
            format!("\"{}\" is not a range, as in 192.0.2.100-192.0.2.199", show(&range.value));
        cx.findings.wrong_at(range, message);
        return None;
    };
    if first > last {
        cx.findings.wrong_at(range, format!("{first} comes after {last}"));
        return None;
    }
    let net = net?;
    let inside = |ip: Ipv4Addr| net.contains(&ip) && ip != net.network() && ip != net.broadcast();
    if !inside(first) || !inside(last) {
        cx.findings.wrong_at(range, format!("{first}-{last} is not inside pxe.subnet {net}"));
        return None;
    }
    Some((first, last))
}
