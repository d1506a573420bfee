//! Everything that the daemon can send is judged by the models of the clients that it is sent to.

use super::*;
use crate::fakes::firmware::desk::{Desk, Outcome};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bios,
    Uefi,
    Http,
    Ipxe,
    OldIpxe,
    Laptop,
}

fn kind_of(kind: Kind, message: u8, architecture: u16) -> Packet {
    match kind {
        Kind::Bios => Packet::pxe(message, 0),
        Kind::Uefi => Packet::pxe(message, architecture),
        Kind::Http => Packet::http(message, architecture),
        Kind::Ipxe => Packet::ipxe(message, architecture, IPXE_WITH_HTTP),
        Kind::OldIpxe => Packet::ipxe(message, architecture, IPXE_WITHOUT_HTTP),
        Kind::Laptop => Packet::laptop(message),
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    use Kind::{Bios, Http, Ipxe, Laptop, OldIpxe, Uefi};
    proptest::sample::select(vec![Bios, Uefi, Http, Ipxe, OldIpxe, Laptop])
}

/// User classes as they are met, whole and broken.
fn user_classes() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        6 => Just(None),
        1 => proptest::sample::select(vec![
            &b"iPXE"[..], b"\x04iPXE", b"iPXE\0", b"gPXE", b"ironhatch", b"\x09ironhatch",
            b"\x04iPXE\x09ironhatch", b"\xffiPXE", b"iPXE2", b"\x00", b"\x05iPXE",
        ]).prop_map(|class| Some(class.to_vec())),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Some),
    ]
}

/// Changes one option: taken away, sent twice, in another place, or with other bytes.
fn changes() -> impl Strategy<Value = Vec<(u8, u8, Vec<u8>)>> {
    let tags =
        proptest::sample::select(vec![43u8, 53, 54, 55, 57, 60, 61, 77, 82, 93, 94, 97, 175]);
    let bytes = proptest::collection::vec(any::<u8>(), 0..20);
    proptest::collection::vec((tags, 0u8..3, bytes), 0..3)
}

fn packets() -> impl Strategy<Value = Packet> {
    let architecture = prop_oneof![
        4 => proptest::sample::select(vec![0u16, 7, 9, 16, 17]),
        1 => 0u16..45,
        1 => any::<u16>()
    ];
    let message = prop_oneof![3 => Just(1u8), 3 => Just(3u8), 1 => 0u8..14];
    let address = || {
        prop_oneof![
            2 => Just(Ipv4Addr::UNSPECIFIED),
            1 => Just(CLIENT),
            1 => any::<u32>().prop_map(Ipv4Addr::from_bits),
        ]
    };
    let option = |code: u8, most: usize| {
        proptest::option::of(
            proptest::collection::vec(any::<u8>(), 0..=most).prop_map(move |v| (code, v)),
        )
    };
    let server = proptest::option::of(proptest::sample::select(vec![US, DHCP]));
    (
        (kinds(), message, architecture, any::<u32>()),
        (address(), address()),
        (option(82, 255), option(61, 255), option(97, 20), option(43, 12), option(57, 2)),
        (server, user_classes(), changes()),
    )
        .prop_map(|((kind, message, architecture, xid), (ciaddr, giaddr), extra, more)| {
            let packet = kind_of(kind, message, architecture);
            let mut packet = Packet { ciaddr, giaddr, xid, ..packet };
            let (a, b, c, d, e) = extra;
            for (code, value) in [a, b, c, d, e].into_iter().flatten() {
                packet = packet.without(code).with(code, &value);
            }
            let (server, user_class, changes) = more;
            if let Some(server) = server {
                packet = packet.with(54, &server.octets());
            }
            if let Some(class) = user_class {
                packet = packet.without(77).with(77, &class);
            }
            for (code, how, value) in changes {
                packet = match how {
                    0 => packet.without(code),
                    1 => packet.with(code, &value),
                    _ => packet.without(code).with(code, &value),
                };
            }
            packet
        })
}

fn standings() -> impl Strategy<Value = Standing> {
    let form = proptest::option::of(proptest::sample::select(vec![
        OfferForm::Direct,
        OfferForm::Discover,
    ]));
    let program = proptest::option::of(proptest::sample::select(vec![
        BootProgram::UndionlyKpxe,
        BootProgram::SnponlyEfi,
        BootProgram::IpxeEfi,
    ]));
    prop_oneof![
        4 => (form, program).prop_map(|(form, program)| armed_as(form, program)),
        2 => Just(Standing::Unknown),
        1 => Just(Standing::Ignored),
        1 => Just(idle()),
    ]
}

fn policies() -> impl Strategy<Value = UnknownMachines> {
    proptest::sample::select(vec![UnknownMachines::Enroll, UnknownMachines::Ignore])
}

fn channels() -> impl Strategy<Value = Channel> {
    proptest::sample::select(vec![Channel::Port67, Channel::Port4011])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_sent_that_its_client_would_not_accept(
        packet in packets(),
        standing in standings(),
        channel in channels(),
        unknown in policies(),
    ) {
        let mut desk = Desk::beside(standing, unknown);
        let judged = desk.hand_in(&packet.bytes(), channel);
        prop_assert!(judged.is_ok(), "{judged:?}");
    }

    /// Several packets of one machine, so that leases exist, move and end.
    #[test]
    fn full_mode_sends_nothing_that_a_client_would_not_accept(
        packets in proptest::collection::vec((packets(), channels(), any::<u8>()), 1..6),
        standing in standings(),
        unknown in policies(),
    ) {
        let mut desk = Desk::full(standing, unknown);
        for (packet, channel, secs) in packets {
            desk.wait(secs.into());
            let judged = desk.hand_in(&packet.bytes(), channel);
            prop_assert!(judged.is_ok(), "{judged:?}");
        }
    }

    /// From the first packet to the file: a machine that is armed never waits for something that does not come.
    #[test]
    fn every_client_of_an_armed_host_finds_its_file(
        kind in kinds(),
        architecture in proptest::sample::select(vec![7u16, 9]),
        standing in (proptest::option::of(proptest::sample::select(vec![OfferForm::Direct, OfferForm::Discover])))
            .prop_map(|form| armed_as(form, None)),
        lends in any::<bool>(),
        relay in proptest::option::of(Just(Ipv4Addr::new(192, 0, 2, 254))),
    ) {
        let architecture = if kind == Kind::Http { 16 } else { architecture };
        let say = |message: u8| {
            let packet = kind_of(kind, message, architecture);
            Packet { giaddr: relay.unwrap_or(Ipv4Addr::UNSPECIFIED), ..packet }
        };
        let new = if lends { Desk::full } else { Desk::beside };
        let mut desk = new(standing, UnknownMachines::Ignore);
        let mut taken = desk.hand_in(&say(DISCOVER).bytes(), Channel::Port67).expect("acceptable");
        if lends {
            // The offer of the pool, taken; the pool's first address.
            let wanted = Ipv4Addr::new(192, 0, 2, 70);
            let request = say(REQUEST).with(54, &US.octets()).with(50, &wanted.octets());
            let acked = desk.hand_in(&request.bytes(), Channel::Port67).expect("acceptable");
            prop_assert_eq!(&acked, &taken, "offer and ACK say the same");
        }
        if let Outcome::Taken(Taken::Asks(server)) = taken {
            prop_assert_eq!(server, US);
            let request = Packet { ciaddr: CLIENT, giaddr: Ipv4Addr::UNSPECIFIED, ..say(REQUEST) };
            taken = desk.hand_in(&request.bytes(), Channel::Port4011).expect("acceptable");
        }
        match (kind, taken) {
            (Kind::Laptop, Outcome::Silent(Reason::NotNetboot)) => prop_assert!(!lends),
            (Kind::Laptop, Outcome::Taken(Taken::Address(_))) => prop_assert!(lends),
            (Kind::Http | Kind::Ipxe, Outcome::Taken(Taken::Fetches(_)))
            | (Kind::Bios | Kind::Uefi | Kind::OldIpxe, Outcome::Taken(Taken::Loads(US, _))) => {}
            (_, other) => prop_assert!(false, "{other:?}"),
        }
    }
}
