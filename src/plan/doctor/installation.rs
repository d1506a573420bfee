//! What of this machine and of its configuration does not fit.

use std::net::IpAddr;
use std::time::Duration;

use super::facts::{
    Answer, CertificateFacts, ClockKeeper, Daemon, Facts, Holder, ImageFacts, Link, NetworkBoot,
    Port, PublicUrl, Segment, Storage,
};
use super::{Area, Finding, Problem};
use crate::domain::time::Timestamp;

/// Before this the program did not exist (2026-01-01).
const PROGRAM_MADE: Timestamp = Timestamp(1_767_225_600_000);
/// What records and clock may differ without a word: one step of a time service at the start.
const CLOCK_STEP: Duration = Duration::from_secs(60);
const EXPIRES_SOON: Duration = Duration::from_hours(30 * 24);
/// The images' own margin (`image::ImportLimits`).
const DISK_FULL: u64 = 256 << 20;
/// An ISO of Proxmox VE 9 has some 1.5 GiB.
const DISK_LOW: u64 = 2 << 30;
/// Ethernet.
const USUAL_MTU: u32 = 1500;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![daemon(&facts.daemon)];
    configuration(facts, &mut found);
    found.extend(facts.ports.iter().map(port));
    if let Some(boot) = &facts.network_boot {
        for segment in &boot.segments {
            interface(boot, segment, &mut found);
        }
    }
    if let Some(public) = &facts.public_url {
        public_url(public, facts.network_boot.as_ref(), &mut found);
    }
    if let Some(storage) = &facts.storage {
        found.push(disk(storage));
    }
    if let Some(images) = &facts.images {
        image_files(images, &mut found);
    }
    clock(facts, &mut found);
    if let Some(certificate) = &facts.certificate {
        let address = facts.public_url.as_ref().map(|public| public.address);
        found.push(judge_certificate(certificate, address, facts.now));
    }
    found
}

fn daemon(daemon: &Daemon) -> Finding {
    match daemon {
        Daemon::Runs => Area::Daemon.fine("The daemon runs."),
        Daemon::Absent(why) => {
            Area::Daemon.finds(Problem::NotRunning, format!("The daemon does not answer: {why}."))
        }
    }
}

fn configuration(facts: &Facts, found: &mut Vec<Finding>) {
    let configuration = &facts.configuration;
    let area = Area::Configuration;
    let wrong = configuration.errors.iter();
    found.extend(wrong.map(|text| area.finds(Problem::ConfigurationWrong, text)));
    let doubtful = configuration.warnings.iter();
    found.extend(doubtful.map(|text| area.finds(Problem::ConfigurationDoubtful, text)));
    if facts.storage.is_none() {
        // The file itself cannot be used: nothing more is known.
        return;
    }
    match configuration.server_types {
        0 => found.push(area.finds(Problem::NoServerType, "There is no usable server type.")),
        n if configuration.errors.is_empty() => {
            let types = if n == 1 { "server type" } else { "server types" };
            found.push(area.fine(format!("The configuration is in order, with {n} {types}.")));
        }
        _ => {}
    }
    if facts.network_boot.is_none() {
        found.push(Area::Network.finds(Problem::NetworkBootOff, "Network boot is switched off."));
    }
}

fn port(port: &Port) -> Finding {
    let Port { name, number, holder } = port;
    let name = match name.contains(char::is_numeric) {
        true => (*name).to_owned(),
        false => format!("{name} {number}"),
    };
    match holder {
        Holder::Us => Area::Ports.fine(format!("{name} is served.")),
        Holder::Free => Area::Ports.fine(format!("{name} is free for the daemon.")),
        Holder::Other(Some(program)) => {
            Area::Ports.finds(Problem::PortTaken, format!("{name} is taken by {program}."))
        }
        Holder::Other(None) => {
            Area::Ports.finds(Problem::PortTaken, format!("{name} is taken by another program."))
        }
        Holder::Unknown(why) => {
            Area::Ports.finds(Problem::NotChecked, format!("{name} could not be tried: {why}."))
        }
    }
}

fn interface(boot: &NetworkBoot, segment: &Segment, found: &mut Vec<Finding>) {
    let name = &segment.interface;
    let area = Area::Network;
    let Some(Link { carries, addresses, mtu }) = &segment.link else {
        let sentence = format!("There is no interface {name}.");
        found.push(area.finds(Problem::InterfaceMissing, sentence));
        return;
    };
    let before = found.len();
    if !carries {
        found.push(area.finds(Problem::LinkDown, format!("The interface {name} has no link.")));
    }
    let inside = addresses.iter().find(|a| boot.subnet.contains(*a));
    match (addresses.first(), inside) {
        (None, _) => {
            let sentence = format!("The interface {name} has no IPv4 address.");
            found.push(area.finds(Problem::NoAddress, sentence));
        }
        (Some(first), None) => {
            let subnet = boot.subnet;
            let sentence = format!("{name} has the address {first}, which is not in {subnet}.");
            found.push(area.finds(Problem::OutsideSubnet, sentence));
        }
        _ => {}
    }
    match *mtu {
        Some(mtu) if mtu < USUAL_MTU => {
            let sentence = format!("{name} carries packets of {mtu} bytes only.");
            found.push(area.finds(Problem::SmallMtu, sentence));
        }
        Some(mtu) if mtu > USUAL_MTU => {
            let sentence = format!("{name} carries packets of {mtu} bytes.");
            found.push(area.finds(Problem::LargeMtu, sentence));
        }
        _ => {}
    }
    if let (Some(inside), true) = (inside, found.len() == before) {
        found.push(area.fine(format!("{name} is up with the address {inside}.")));
    }
}

fn public_url(public: &PublicUrl, boot: Option<&NetworkBoot>, found: &mut Vec<Finding>) {
    let PublicUrl { url, address, is_here, answer } = public;
    let area = Area::Network;
    if !is_here {
        let sentence = format!("This machine does not have the address {address} of {url}.");
        found.push(area.finds(Problem::ForeignPublicUrl, sentence));
    }
    if let (Some(boot), IpAddr::V4(v4)) = (boot, address)
        && *is_here
        && !boot.subnet.contains(v4)
    {
        let sentence = format!("{url} is not in {}.", boot.subnet);
        found.push(area.finds(Problem::PublicUrlElsewhere, sentence));
    }
    match answer {
        None => {}
        Some(Answer::Us) => found.push(area.fine(format!("{url} leads to this daemon."))),
        Some(Answer::Other) => {
            let sentence = format!("{url} is answered by something else.");
            found.push(area.finds(Problem::PublicUrlOther, sentence));
        }
        Some(Answer::Silence(why)) => {
            let sentence = format!("{url} does not answer: {why}.");
            found.push(area.finds(Problem::PublicUrlSilent, sentence));
        }
    }
}

fn disk(storage: &Storage) -> Finding {
    let Storage { path, unusable, free } = storage;
    let area = Area::Storage;
    if let Some(why) = unusable {
        return area.finds(Problem::DataDirUnusable, format!("{path} cannot be used: {why}."));
    }
    let Some(free) = *free else {
        let sentence = format!("How much room {path} has could not be read.");
        return area.finds(Problem::NotChecked, sentence);
    };
    let sentence = match free {
        0..DISK_LOW => format!("{path} has {} MiB left.", free >> 20),
        _ => format!("{path} has {} GiB left.", free >> 30),
    };
    match free {
        0..DISK_FULL => area.finds(Problem::DiskFull, sentence),
        DISK_FULL..DISK_LOW => area.finds(Problem::DiskLow, sentence),
        _ => area.fine(sentence),
    }
}

fn image_files(images: &[ImageFacts], found: &mut Vec<Finding>) {
    let area = Area::Images;
    if images.is_empty() {
        found.push(area.finds(Problem::NoImage, "No image is imported yet."));
    }
    for image in images {
        found.push(match &image.unusable {
            None => area.fine(format!("The image {} can be served.", image.id)),
            Some(why) => {
                let sentence = format!("The image {} cannot be served: {why}.", image.id);
                area.finds(Problem::ImageUnusable, sentence)
            }
        });
    }
}

fn clock(facts: &Facts, found: &mut Vec<Finding>) {
    let (area, now) = (Area::Clock, facts.now);
    if now < PROGRAM_MADE {
        found.push(area.finds(Problem::ClockWrong, format!("The clock says {now}.")));
    } else if let Some(newest) = facts.clock.newest_record.filter(|at| at.since(now) > CLOCK_STEP) {
        let sentence = format!("The clock says {now}, but something is recorded for {newest}.");
        found.push(area.finds(Problem::ClockWrong, sentence));
    }
    found.push(match facts.clock.keeper {
        ClockKeeper::Service(name) => area.fine(format!("{name} keeps the clock right.")),
        ClockKeeper::Host => area.fine("The clock is that of the container's host."),
        ClockKeeper::Nobody => {
            area.finds(Problem::ClockUnkept, "No time service was found on this machine.")
        }
    });
}

fn judge_certificate(
    certificate: &CertificateFacts,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Finding {
    let area = Area::Certificate;
    let (not_before, not_after, names) = match certificate {
        CertificateFacts::Unreadable(why) => {
            let sentence = format!("The certificate cannot be read: {why}.");
            return area.finds(Problem::CertificateUnreadable, sentence);
        }
        CertificateFacts::Missing => {
            return area.fine("The certificate will be made at the first start.");
        }
        CertificateFacts::Seen { not_before, not_after, names } => (not_before, not_after, names),
    };
    if now < *not_before {
        let sentence = format!("The certificate is valid from {not_before}, and it is {now}.");
        return area.finds(Problem::CertificateExpired, sentence);
    }
    if now > *not_after {
        let sentence = format!("The certificate ended on {not_after}.");
        return area.finds(Problem::CertificateExpired, sentence);
    }
    if not_after.since(now) < EXPIRES_SOON {
        let sentence = format!("The certificate ends on {not_after}.");
        return area.finds(Problem::CertificateExpiresSoon, sentence);
    }
    let address = address.map(|a| a.to_string()).unwrap_or_default();
    if !names.contains(&address) {
        let known = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
        let sentence = format!("The certificate is for {known}, not for {address}.");
        return area.finds(Problem::CertificateOtherName, sentence);
    }
    area.fine(format!("The certificate is for {address} and valid until {not_after}."))
}
