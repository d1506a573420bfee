use std::time::Duration;

use proptest::prelude::*;

use super::full::FullDecision;
use super::*;
use crate::domain::id::HostId;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::fakes::firmware::{
    Asked, Client as Machine, Edk2Class, Reply as Seen, Taken, edk2_class,
};
use crate::plan::lease::{Pool, PoolConfig};
use crate::proto::dhcp::sample::{IPXE_WITH_HTTP, IPXE_WITHOUT_HTTP, MAC, Packet};

const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const DHCP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const LOCAL: LocalAddress = LocalAddress { address: US, prefix_len: 24 };
const NOW: Timestamp = Timestamp(1_000_000);

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const INFORM: u8 = 8;

fn policy(unknown: UnknownMachines) -> OfferPolicy {
    OfferPolicy { unknown, base_url: BaseUrl::Arrival { port: 8080 } }
}

fn armed_as(form: Option<OfferForm>, program: Option<BootProgram>) -> Standing {
    Standing::Armed {
        id: HostId(uuid::Uuid::nil()),
        host: "pve1".parse().expect("valid"),
        profile: BootProfile { form, program },
    }
}

fn armed() -> Standing {
    armed_as(None, None)
}

fn idle() -> Standing {
    Standing::Idle { host: "pve1".parse().expect("valid") }
}

fn ask(packet: &Packet, channel: Channel, standing: &Standing) -> Decision {
    decide(&packet.parsed(), channel, standing, &policy(UnknownMachines::Enroll), &LOCAL)
}

fn answer(decision: Decision) -> Answer {
    match decision {
        Decision::Reply(answer) => *answer,
        Decision::Silent(reason) => panic!("silent: {reason}"),
    }
}

fn seen(packet: &Packet, decision: Decision) -> Seen {
    let seen = Seen::read(&answer(decision).reply.encode()).expect("well-formed");
    seen.answers(&asked(packet)).expect("acceptable");
    seen.keeps_house_rules(&asked(packet)).expect("acceptable");
    seen
}

fn asked(packet: &Packet) -> Asked {
    Asked::read(&packet.bytes()).expect("samples have a header")
}

/// Each kind of client that boots from us, with the file that it should get.
fn kinds() -> Vec<(&'static str, Packet, &'static str)> {
    const SCRIPT: &str = "http://192.0.2.10:8080/boot/start.ipxe";
    const HTTP: &str = "http://192.0.2.10:8080/boot/ipxe/snponly.efi";
    vec![
        ("BIOS", Packet::pxe(DISCOVER, 0), "undionly.kpxe"),
        ("UEFI x64", Packet::pxe(DISCOVER, 7), "snponly.efi"),
        ("UEFI x64 as EBC", Packet::pxe(DISCOVER, 9), "snponly.efi"),
        ("HTTP", Packet::http(DISCOVER, 16), HTTP),
        ("HTTP as EBC", Packet::http(DISCOVER, 17), HTTP),
        ("iPXE", Packet::ipxe(DISCOVER, 7, IPXE_WITH_HTTP), SCRIPT),
        ("iPXE on BIOS", Packet::ipxe(DISCOVER, 0, IPXE_WITH_HTTP), SCRIPT),
        ("our iPXE", Packet::pxe(DISCOVER, 7).with(77, b"ironhatch"), SCRIPT),
        ("old iPXE", Packet::ipxe(DISCOVER, 0, IPXE_WITHOUT_HTTP), "undionly.kpxe"),
        ("old iPXE on UEFI", Packet::ipxe(DISCOVER, 7, IPXE_WITHOUT_HTTP), "snponly.efi"),
    ]
}

#[test]
fn every_kind_of_client_gets_its_file_on_both_channels() {
    for (name, packet, file) in kinds() {
        let offer = seen(&packet, ask(&packet, Channel::Port67, &armed()));
        assert_eq!(offer.option(53), Some(&[2][..]), "{name}");
        assert_eq!(offer.boot_file(), Ok((US, file.to_owned())), "{name}");
        let mut again = packet.without(53).with(53, &[REQUEST]);
        again.ciaddr = CLIENT;
        let ack = seen(&again, ask(&again, Channel::Port4011, &armed()));
        assert_eq!(ack.message(), Some(5), "{name}");
        assert_eq!(ack.boot_file(), Ok((US, file.to_owned())), "{name}");
        assert_eq!(ack.ciaddr(), CLIENT, "{name}: ciaddr copied");
    }
}

/// An unregistered machine that needs what is not the default.
fn sighted() -> Standing {
    let (form, program) = (Some(OfferForm::Direct), Some(BootProgram::IpxeEfi));
    Standing::Sighted { profile: BootProfile { form, program } }
}

#[test]
fn what_was_learned_of_a_stranger_shapes_its_offer() {
    let packet = Packet::pxe(DISCOVER, 7);
    let offer = seen(&packet, ask(&packet, Channel::Port67, &sighted()));
    assert_eq!(offer.boot_file(), Ok((US, "ipxe.efi".to_owned())));
    assert_eq!(offer.option(43), Some(&[6, 1, 8, 255][..]));
}

#[test]
fn decisions_say_what_they_mean_for_a_boot() {
    use crate::domain::boot::{BootFact as F, OfferWay, Silence};
    let offered = |program, way| Some(F::Offered { program, way });
    let (undionly, snponly) = (BootProgram::UndionlyKpxe, BootProgram::SnponlyEfi);
    let expected = [
        offered(undionly, OfferWay::Direct),
        offered(snponly, OfferWay::Discover),
        offered(snponly, OfferWay::Discover),
        offered(snponly, OfferWay::Http),
        offered(snponly, OfferWay::Http),
        Some(F::OfferedScript),
        Some(F::OfferedScript),
        Some(F::OfferedScript),
        offered(undionly, OfferWay::Replacement),
        offered(snponly, OfferWay::Replacement),
    ];
    for ((name, packet, _), expected) in kinds().into_iter().zip(expected) {
        let decision = ask(&packet, Channel::Port67, &armed());
        assert_eq!(decision.fact(), expected, "{name}");
        let idle = ask(&packet, Channel::Port67, &idle());
        assert_eq!(idle.fact(), Some(F::Silent { cause: Silence::Idle }), "{name}");
    }
    let mut asks = Packet::pxe(REQUEST, 7);
    asks.ciaddr = CLIENT;
    let named = ask(&asks, Channel::Port4011, &armed());
    assert_eq!(named.fact(), Some(F::Named { program: snponly }));
    let other = Ipv4Addr::new(192, 0, 2, 1);
    let takes = Packet::pxe(REQUEST, 7).with(54, &other.octets());
    let took = ask(&takes, Channel::Port67, &armed());
    assert_eq!(took.fact(), Some(F::TookAddress { server: other }));
}

#[test]
fn standing_decides_who_is_answered() {
    for (name, packet, _) in kinds() {
        for (unknown, standing, answered, words) in [
            (UnknownMachines::Enroll, armed(), true, "armed"),
            (UnknownMachines::Ignore, armed(), true, "armed"),
            (UnknownMachines::Enroll, Standing::Unknown, true, "enrolment notice"),
            (UnknownMachines::Ignore, Standing::Unknown, false, "not registered"),
            (UnknownMachines::Enroll, sighted(), true, "enrolment notice"),
            (UnknownMachines::Ignore, sighted(), false, "not registered"),
            (UnknownMachines::Enroll, Standing::Ignored, false, "dismissed"),
            (UnknownMachines::Enroll, idle(), false, "boots from its own disk"),
        ] {
            for channel in [Channel::Port67, Channel::Port4011] {
                let message = if channel == Channel::Port67 { DISCOVER } else { REQUEST };
                let packet = packet.clone().without(53).with(53, &[message]);
                let policy = policy(unknown);
                let decision = decide(&packet.parsed(), channel, &standing, &policy, &LOCAL);
                assert_eq!(matches!(decision, Decision::Reply(_)), answered, "{name} {standing:?}");
                let sentence = decision.sentence().expect("the operator is told");
                assert!(sentence.contains(words), "{name}: {sentence}");
            }
        }
    }
}

#[test]
fn architectures_that_cannot_run_proxmox_are_refused_by_name() {
    for architecture in Architecture::NAMED {
        if architecture.platform() != Platform::Unserved {
            continue;
        }
        let packet = match architecture.protocol() {
            Protocol::Pxe => Packet::pxe(DISCOVER, architecture.code()),
            Protocol::Http => Packet::http(DISCOVER, architecture.code()),
        };
        let sentence = ask(&packet, Channel::Port67, &armed()).sentence().expect("told");
        assert!(sentence.starts_with("refused"), "{sentence}");
        assert!(sentence.contains(&architecture.to_string()), "{sentence}");
    }
    let arm_ipxe = Packet::ipxe(DISCOVER, 11, IPXE_WITH_HTTP);
    let sentence = ask(&arm_ipxe, Channel::Port67, &armed()).sentence().expect("told");
    assert!(sentence.contains("UEFI ARM64"), "{sentence}");
    let bios_http = ask(&Packet::http(DISCOVER, 0), Channel::Port67, &armed());
    assert!(matches!(bios_http, Decision::Silent(Reason::Unserved { .. })));
    let nothing = Packet::new(DISCOVER).with(60, b"PXEClient");
    let decision = ask(&nothing, Channel::Port67, &armed());
    assert_eq!(decision, Decision::Silent(Reason::NoArchitecture));
}

#[test]
fn ordinary_machines_are_only_counted() {
    for message in 0..=13 {
        for channel in [Channel::Port67, Channel::Port4011] {
            let decision = ask(&Packet::laptop(message), channel, &armed());
            assert_eq!(decision, Decision::Silent(Reason::NotNetboot));
            assert_eq!(decision.sentence(), None);
        }
    }
}

#[test]
fn messages_between_a_machine_and_its_dhcp_server_are_not_ours() {
    let on67 = |packet: Packet| ask(&packet, Channel::Port67, &armed());
    let request = || Packet::pxe(REQUEST, 7);
    let other = on67(request().with(54, &DHCP.octets()).with(50, &CLIENT.octets()));
    let reason = Reason::TookLease { server: DHCP, address: Some(CLIENT) };
    assert_eq!(other, Decision::Silent(reason));
    assert!(other.sentence().expect("told").contains("192.0.2.77"));
    assert_eq!(on67(request()), Decision::Silent(Reason::Renewal));
    assert_eq!(on67(request().without(53)), Decision::Silent(Reason::Bootp));
    for message in [2, 4, 5, 6, 7, 13] {
        let decision = on67(Packet::pxe(message, 7));
        assert!(matches!(decision, Decision::Silent(Reason::NotForUs(_))), "{message}");
    }
    let discover_on_4011 = ask(&Packet::pxe(DISCOVER, 7), Channel::Port4011, &armed());
    assert!(matches!(discover_on_4011, Decision::Silent(Reason::NotForUs(_))));

    let packet = request().with(54, &US.octets());
    let ours = seen(&packet, on67(packet.clone()));
    assert_eq!((ours.option(53), ours.yiaddr()), (Some(&[5][..]), Ipv4Addr::UNSPECIFIED));
}

#[test]
fn replies_go_where_the_client_can_hear_them() {
    let destination = |packet: &Packet, channel| answer(ask(packet, channel, &armed())).destination;
    let discover = Packet::pxe(DISCOVER, 7);
    assert_eq!(destination(&discover, Channel::Port67), Destination::Broadcast);
    let relay = Ipv4Addr::new(10, 9, 0, 1);
    let relayed = Packet { giaddr: relay, ..discover };
    assert_eq!(destination(&relayed, Channel::Port67), Destination::Relay(relay));
    let inform = Packet { ciaddr: CLIENT, ..Packet::pxe(INFORM, 7) };
    assert_eq!(destination(&inform, Channel::Port67), Destination::Client(CLIENT));
    let both = Packet { giaddr: relay, ..inform.clone() };
    assert_eq!(destination(&both, Channel::Port67), Destination::Relay(relay));
    assert_eq!(destination(&inform, Channel::Port4011), Destination::Sender);
    assert_eq!(destination(&both, Channel::Port4011), Destination::Sender);
    let stranger = Packet { ciaddr: Ipv4Addr::new(198, 51, 100, 9), ..inform };
    assert_eq!(
        destination(&stranger, Channel::Port67),
        Destination::Broadcast,
        "not aimed at a stranger"
    );
}

#[test]
fn the_form_follows_the_firmware_unless_the_host_says_otherwise() {
    let class = |architecture, form| {
        let packet = Packet::pxe(DISCOVER, architecture);
        edk2_class(&seen(&packet, ask(&packet, Channel::Port67, &armed_as(form, None))))
    };
    assert_eq!(class(7, None), Ok(Edk2Class::ProxyBinl));
    assert_eq!(class(0, None), Ok(Edk2Class::ProxyPxe10));
    assert_eq!(class(7, Some(OfferForm::Direct)), Ok(Edk2Class::ProxyPxe10));
    assert_eq!(class(0, Some(OfferForm::Discover)), Ok(Edk2Class::ProxyBinl));
}

#[test]
fn a_menu_item_is_echoed_and_signed_boot_is_met_with_silence() {
    let item = [71, 4, 0, 0, 0, 0, 255];
    let packet = Packet::pxe(REQUEST, 0).with(43, &item);
    let discover = armed_as(Some(OfferForm::Discover), None);
    let ack = seen(&packet, ask(&packet, Channel::Port4011, &discover));
    assert_eq!(ack.option(43), Some(&[6, 1, 8, 71, 4, 0, 0, 0, 0, 255][..]));
    let signed = Packet::pxe(REQUEST, 0).with(43, &[71, 4, 0, 0, 0x80, 0, 255]);
    let decision = ask(&signed, Channel::Port4011, &armed());
    assert_eq!(decision, Decision::Silent(Reason::SignedBoot));
}

#[test]
fn a_hosts_program_is_used_where_its_firmware_can_run_it() {
    let file = |packet: Packet, program| {
        let answer = answer(ask(&packet, Channel::Port67, &armed_as(None, Some(program))));
        (answer.reply.boot.expect("boot data").name, answer.why.expect("told"))
    };
    assert_eq!(file(Packet::pxe(DISCOVER, 7), BootProgram::IpxeEfi).0, "ipxe.efi");
    let (url, _) = file(Packet::http(DISCOVER, 16), BootProgram::IpxeEfi);
    assert_eq!(url, "http://192.0.2.10:8080/boot/ipxe/ipxe.efi");
    let (name, why) = file(Packet::pxe(DISCOVER, 0), BootProgram::IpxeEfi);
    assert_eq!(name, "undionly.kpxe");
    assert!(why.contains("ipxe.efi was passed over"), "{why}");
    let (name, why) = file(Packet::pxe(DISCOVER, 7), BootProgram::UndionlyKpxe);
    assert_eq!(name, "snponly.efi");
    assert!(why.contains("undionly.kpxe was passed over"), "{why}");
}

#[test]
fn an_ipxe_that_keeps_coming_back_is_left_to_its_next_device() {
    let mut guard = LoopGuard::default();
    let old = Packet::ipxe(DISCOVER, 0, IPXE_WITHOUT_HTTP);
    let mut pass = |packet: &Packet, xid, now| {
        matches!(
            guard.pass(ask(packet, Channel::Port67, &armed()), MAC, xid, now),
            Decision::Reply(_)
        )
    };
    for xid in 1..=3 {
        assert!(pass(&old, xid, NOW));
        assert!(pass(&old, xid, NOW), "a retry is not a return");
    }
    assert!(!pass(&old, 4, NOW));
    let modern = Packet::ipxe(DISCOVER, 0, IPXE_WITH_HTTP);
    assert!(pass(&modern, 5, NOW), "once it can load by HTTP it is served");
    assert!(pass(&old, 6, NOW.after(Duration::from_secs(301))));
}

#[test]
fn the_loop_guards_memory_is_bounded() {
    let mut guard = LoopGuard::default();
    let old = Packet::ipxe(DISCOVER, 0, IPXE_WITHOUT_HTTP);
    for n in 0..10_000u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let decision = ask(&old, Channel::Port67, &armed());
        guard.pass(decision, Mac([2, 0, 0, a, b, c]), n, NOW);
    }
    assert!(guard.len() <= 4096);
}

#[test]
fn facts_for_a_sighting_are_taken_from_the_packet() {
    let facts = client_facts(&Packet::pxe(DISCOVER, 7).parsed());
    assert_eq!(facts.uuid, "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().ok());
    assert_eq!(facts.firmware, Some(crate::domain::inventory::Firmware::Uefi));
    assert_eq!(facts.architecture.as_deref(), Some("UEFI x64"));
    let zero = Packet::pxe(DISCOVER, 0).without(97).with(97, &[0; 17]);
    assert_eq!(client_facts(&zero.parsed()).uuid, None);
}

#[test]
fn neighbours_are_told_from_strangers_for_every_prefix() {
    let local = |prefix_len| LocalAddress { address: US, prefix_len };
    let cases = [(24, CLIENT, true), (26, CLIENT, false), (32, US, true), (32, CLIENT, false)];
    for (prefix_len, other, want) in cases {
        assert_eq!(local(prefix_len).is_neighbour(other), want, "{prefix_len} {other}");
    }
    assert!(local(0).is_neighbour(Ipv4Addr::new(8, 8, 8, 8)));
    assert!(local(255).is_neighbour(US));
}

mod full_mode;
mod golden;
mod property;
