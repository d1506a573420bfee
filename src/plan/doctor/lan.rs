//! What is wrong on the segment, by what was heard after a question of our own (`pxe-netboot` 7.5).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::facts::{Facts, Heard, NetworkBoot, OwnEars, Segment, TimedOffer};
use super::{Area, Finding, Problem};

/// iPXE leaves DISCOVER this long after it began (`pxe-netboot` 3.4).
const SLOW: Duration = Duration::from_secs(2);

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let Some(boot) = &facts.network_boot else { return Vec::new() };
    let mut found = Vec::new();
    for segment in &boot.segments {
        match &segment.heard {
            Heard::Nothing => {}
            Heard::NotAsked(why) => {
                let name = &segment.interface;
                let sentence = format!("Nobody was asked on {name}: {why}.");
                found.push(Area::Dhcp.finds(Problem::NotChecked, sentence));
            }
            Heard::Answers { listened, offers, own } => {
                servers(boot, segment, *listened, offers, &mut found);
                if let Some(own) = own {
                    ears(&segment.interface, *own, &mut found);
                }
            }
        }
    }
    if let Some(relayed) = boot.relayed.filter(|n| *n > 0) {
        let requests = if relayed == 1 { "request" } else { "requests" };
        let sentence = format!("{relayed} {requests} came through a relay since the start.");
        found.push(Area::Dhcp.finds(Problem::RelayedMachines, sentence));
    }
    found
}

/// A time as people read it: `0.02 s`, `3.0 s`.
pub(super) fn seconds(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", time.as_secs_f64()) }
}

fn servers(
    boot: &NetworkBoot,
    segment: &Segment,
    listened: Duration,
    offers: &[TimedOffer],
    found: &mut Vec<Finding>,
) {
    let (area, name) = (Area::Dhcp, &segment.interface);
    let strangers = || offers.iter().filter(|heard| !heard.ours);
    let lenders: Vec<&TimedOffer> = strangers().filter(|h| h.offer.lends()).collect();
    if lenders.is_empty() && !boot.full {
        let time = seconds(listened);
        let sentence = format!("No DHCP server offered an address on {name} within {time}.");
        found.push(area.finds(Problem::NoDhcpServer, sentence));
    }
    if lenders.is_empty() && boot.full {
        found.push(area.fine(format!("No other DHCP server answers on {name}.")));
    }
    if lenders.len() > 1 {
        let all: Vec<String> = lenders.iter().map(|h| h.offer.server().to_string()).collect();
        let sentence = format!("Several DHCP servers answer on {name}: {}.", all.join(", "));
        found.push(area.finds(Problem::SeveralDhcpServers, sentence));
    }
    for heard in lenders {
        lender(boot, name, heard, found);
    }
    for heard in strangers().filter(|heard| heard.offer.is_boot_server()) {
        let server = heard.offer.server();
        let what = file_of(heard).map_or_else(String::new, |file| format!(" and names {file}"));
        let sentence = format!("{server} is a second boot server on {name}{what}.");
        found.push(area.finds(Problem::SecondBootServer, sentence));
    }
}

fn file_of(heard: &TimedOffer) -> Option<String> {
    let file = &heard.offer.boot_file;
    (!file.is_empty()).then(|| format!("the boot file '{file}'"))
}

fn lender(boot: &NetworkBoot, name: &str, heard: &TimedOffer, found: &mut Vec<Finding>) {
    let (area, server, time) = (Area::Dhcp, heard.offer.server(), seconds(heard.after));
    let before = found.len();
    if boot.full {
        let sentence = format!("{server} offers addresses on {name}, too.");
        found.push(area.finds(Problem::RivalDhcpServer, sentence));
    }
    if heard.offer.claims_pxe() {
        let sentence =
            format!("The DHCP server {server} says that it is a PXE server (option 60).");
        found.push(area.finds(Problem::DhcpServerClaimsPxe, sentence));
    }
    if let Some(file) = file_of(heard) {
        let from = match heard.offer.tftp_server() {
            Some(tftp) => format!(" on {tftp}"),
            None => String::new(),
        };
        let sentence = format!("The DHCP server {server} names {file}{from}.");
        found.push(area.finds(Problem::DhcpServerNamesBootFile, sentence));
    }
    if heard.after > SLOW {
        let sentence = format!("The DHCP server {server} took {time} on {name}.");
        found.push(area.finds(Problem::SlowDhcpServer, sentence));
    }
    let relay = heard.offer.relay;
    if relay != Ipv4Addr::UNSPECIFIED {
        let sentence = format!("The DHCP server {server} answers through the relay {relay}.");
        found.push(area.finds(Problem::RelayInFront, sentence));
    }
    if found.len() == before {
        found.push(area.fine(format!("The DHCP server {server} answers on {name} after {time}.")));
    }
}

fn ears(name: &str, own: OwnEars, found: &mut Vec<Finding>) {
    let area = Area::Firewall;
    let before = found.len();
    if !own.dhcp {
        let sentence = format!("The daemon did not hear a DHCP question that was sent on {name}.");
        found.push(area.finds(Problem::NotHeardDhcp, sentence));
    }
    if !own.boot_server {
        let sentence = format!("The daemon did not hear a question to UDP 4011 on {name}.");
        found.push(area.finds(Problem::NotHeardBootServer, sentence));
    }
    if !own.tftp {
        let sentence = format!("The daemon's TFTP on {name} does not answer.");
        found.push(area.finds(Problem::NoTftp, sentence));
    }
    if found.len() == before {
        let sentence = format!("Questions on {name} reach the daemon on UDP 67, 4011 and 69.");
        found.push(area.fine(sentence));
    }
}
