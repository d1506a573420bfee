//! The one DHCP server of a segment.

use super::*;
use crate::plan::lease::LeaseState;

const FIRST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

fn pool() -> Pool {
    let subnet = "192.0.2.0/24".parse().expect("a network");
    let last = Ipv4Addr::new(192, 0, 2, 101);
    let config = PoolConfig::new(subnet, (FIRST, last), US, 600).expect("valid");
    Pool::new(config, &[], NOW)
}

fn ask_full(packet: &Packet, standing: &Standing, pool: &mut Pool) -> FullDecision {
    let policy = policy(UnknownMachines::Enroll);
    full::decide(&packet.parsed(), Channel::Port67, standing, &policy, &LOCAL, pool, NOW)
}

#[test]
fn an_armed_machine_gets_address_and_boot_file_in_offer_and_ack() {
    for (name, packet, file) in kinds() {
        let mut pool = pool();
        let offered = ask_full(&packet, &armed(), &mut pool);
        assert_eq!(offered.persist, None, "{name}: an offer promises nothing yet");
        let offer = seen(&packet, offered.decision);
        assert_eq!(
            (offer.yiaddr(), offer.boot_file()),
            (FIRST, Ok((US, file.to_owned()))),
            "{name}"
        );

        let request = packet
            .without(53)
            .with(53, &[REQUEST])
            .with(54, &US.octets())
            .with(50, &FIRST.octets());
        let lent = ask_full(&request, &armed(), &mut pool);
        let lease = lent.persist.expect("must be durable first");
        assert_eq!((lease.address, lease.mac, lease.state), (FIRST, MAC, LeaseState::Bound));
        let ack = seen(&request, lent.decision);
        assert_eq!(ack.option(53), Some(&[5][..]), "{name}");
        assert_eq!((ack.yiaddr(), ack.boot_file()), (FIRST, Ok((US, file.to_owned()))), "{name}");
        assert_eq!(ack.option(51), Some(&600u32.to_be_bytes()[..]), "{name}");
        assert_eq!(ack.option(1), Some(&[255, 255, 255, 0][..]), "{name}");
    }
}

#[test]
fn firmware_ranks_our_offers_highest() {
    for architecture in [0, 7, 9] {
        let packet = Packet::pxe(DISCOVER, architecture);
        let offer = seen(&packet, ask_full(&packet, &armed(), &mut pool()).decision);
        assert_eq!(edk2_class(&offer), Ok(Edk2Class::DhcpPxe10));
        for machine in [Machine::Rom, Machine::Edk2] {
            let taken = machine.take(&asked(&packet), &offer);
            assert!(
                matches!(taken, Ok(Taken::Loads(US, _))),
                "boots without asking 4011: {taken:?}"
            );
        }
    }
}

#[test]
fn who_may_not_boot_gets_a_lease_and_nothing_else() {
    for (standing, packet, told) in [
        (idle(), Packet::pxe(DISCOVER, 7), true),
        (Standing::Ignored, Packet::pxe(DISCOVER, 7), true),
        (armed(), Packet::pxe(DISCOVER, 11), true),
        (armed(), Packet::laptop(DISCOVER), false),
    ] {
        let decision = ask_full(&packet, &standing, &mut pool()).decision;
        assert_eq!(decision.sentence().is_some(), told);
        let offer = seen(&packet, decision);
        assert_eq!(offer.yiaddr(), FIRST);
        assert_eq!(edk2_class(&offer), Ok(Edk2Class::DhcpOnly));
        assert_eq!(
            (offer.file(), offer.option(67), offer.option(60)),
            (Ok(String::new()), None, None)
        );
        assert!(offer.siaddr().is_unspecified());
    }
}

#[test]
fn a_wrong_address_is_refused_by_broadcast() {
    let mut pool = pool();
    let request = Packet { ciaddr: CLIENT, ..Packet::laptop(REQUEST) }.with(50, &[192, 0, 2, 200]);
    let FullDecision { decision, persist } = ask_full(&request, &Standing::Unknown, &mut pool);
    assert_eq!(persist, None);
    let nak = answer(decision);
    assert_eq!((nak.reply.message, nak.destination), (MessageType::Nak, Destination::Broadcast));
    let nak = Seen::read(&nak.reply.encode()).expect("well-formed");
    assert_eq!((nak.yiaddr(), nak.ciaddr()), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    assert_eq!(nak.option(51), None);
}

#[test]
fn a_lease_is_renewed_released_and_declined() {
    let mut pool = pool();
    ask_full(&Packet::laptop(DISCOVER), &Standing::Unknown, &mut pool);
    let renew = Packet { ciaddr: FIRST, ..Packet::laptop(REQUEST) };
    let renewed = ask_full(&renew, &Standing::Unknown, &mut pool);
    assert!(renewed.persist.is_some());
    assert_eq!(answer(renewed.decision).destination, Destination::Client(FIRST));

    let release = Packet { ciaddr: FIRST, ..Packet::laptop(7) };
    let released = ask_full(&release, &Standing::Unknown, &mut pool);
    assert_eq!(released.persist.map(|l| l.state), Some(LeaseState::Released));
    assert!(matches!(released.decision, Decision::Silent(Reason::Released { .. })));
    let again = ask_full(&release, &Standing::Unknown, &mut pool);
    assert_eq!(again.persist, None, "the same message twice changes nothing");

    ask_full(&Packet::laptop(DISCOVER), &Standing::Unknown, &mut pool);
    let decline = Packet::laptop(4).with(50, &FIRST.octets());
    let declined = ask_full(&decline, &Standing::Unknown, &mut pool);
    assert_eq!(declined.persist.map(|l| l.state), Some(LeaseState::Declined));
}

#[test]
fn an_inform_is_answered_without_lending_anything() {
    let inform = Packet { ciaddr: CLIENT, ..Packet::laptop(INFORM) };
    let FullDecision { decision, persist } = ask_full(&inform, &Standing::Unknown, &mut pool());
    assert_eq!(persist, None);
    let ack = seen(&inform, decision);
    assert_eq!((ack.yiaddr(), ack.option(51)), (Ipv4Addr::UNSPECIFIED, None));
    assert_eq!(ack.option(1), Some(&[255, 255, 255, 0][..]));
}

#[test]
fn other_networks_are_not_ours_to_number() {
    let elsewhere = LocalAddress { address: Ipv4Addr::new(10, 0, 0, 5), prefix_len: 24 };
    let packet = Packet::pxe(DISCOVER, 7);
    let policy = policy(UnknownMachines::Enroll);
    let mut pool = pool();
    let mut ask = |packet: &Packet, local| {
        full::decide(&packet.parsed(), Channel::Port67, &armed(), &policy, local, &mut pool, NOW)
            .decision
    };
    assert_eq!(ask(&packet, &elsewhere), Decision::Silent(Reason::OtherNetwork));
    let relayed = Packet { giaddr: Ipv4Addr::new(10, 9, 0, 1), ..packet };
    assert_eq!(ask(&relayed, &LOCAL), Decision::Silent(Reason::OtherNetwork));
}

#[test]
fn a_full_pool_is_silence_with_the_reason() {
    let mut pool = pool();
    for n in 1..=2 {
        let packet = Packet { mac: Mac([2, 0, 0, 0, 0, n]), ..Packet::laptop(DISCOVER) };
        answer(ask_full(&packet, &Standing::Unknown, &mut pool).decision);
    }
    let decision = ask_full(&Packet::pxe(DISCOVER, 7), &armed(), &mut pool).decision;
    assert!(decision.sentence().expect("told").contains("every address of the pool is lent"));
}

#[test]
fn choosing_another_server_frees_the_offer() {
    let mut pool = pool();
    ask_full(&Packet::pxe(DISCOVER, 7), &armed(), &mut pool);
    let request = Packet::pxe(REQUEST, 7).with(54, &DHCP.octets()).with(50, &CLIENT.octets());
    let decision = ask_full(&request, &armed(), &mut pool).decision;
    assert!(matches!(decision, Decision::Silent(Reason::TookLease { server: DHCP, .. })));
    let other = Packet { mac: Mac([2, 0, 0, 0, 0, 9]), ..Packet::laptop(DISCOVER) };
    let offered = answer(ask_full(&other, &Standing::Unknown, &mut pool).decision);
    let address = offered.reply.lease.map(|l| l.address);
    assert!(address.is_some_and(|a| a >= FIRST));
}
