//! Everything that `decide` can send is judged by the models of the clients that it is sent to.

use super::*;

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

fn packets() -> impl Strategy<Value = (Kind, Packet)> {
    let architecture = prop_oneof![
        4 => proptest::sample::select(vec![0u16, 7, 9, 16, 17]),
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
        server,
    )
        .prop_map(|((kind, message, architecture, xid), (ciaddr, giaddr), extra, server)| {
            let packet = kind_of(kind, message, architecture);
            let mut packet = Packet { ciaddr, giaddr, xid, ..packet };
            let (a, b, c, d, e) = extra;
            for (code, value) in [a, b, c, d, e].into_iter().flatten() {
                packet = packet.without(code).with(code, &value);
            }
            if let Some(server) = server {
                packet = packet.with(54, &server.octets());
            }
            (kind, packet)
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

fn may_boot(standing: &Standing) -> bool {
    !matches!(standing, Standing::Ignored | Standing::Idle { .. })
}

fn form_of(standing: &Standing) -> Option<OfferForm> {
    match standing {
        Standing::Armed { profile, .. } => profile.form,
        _ => None,
    }
}

/// The acceptance rules of the client that asked.
fn judge(kind: Kind, packet: &Packet, channel: Channel, standing: &Standing, seen: &Seen) {
    let request = packet.parsed();
    seen.accept_envelope(&request).expect("acceptable");
    let bios = pxe::identify(&request).architecture() == Some(Architecture::Bios);
    let offer = seen.option(53) == Some(&[2]);
    match kind {
        Kind::Laptop => panic!("a laptop is never answered"),
        Kind::Http => {
            seen.http_boot_offer().expect("bootable");
        }
        Kind::Ipxe => {
            let url = seen.ipxe_offer().expect("a script without asking 4011");
            assert!(url.starts_with("http://") && url.ends_with(".ipxe"), "{url}");
        }
        Kind::OldIpxe => {
            let file = seen.ipxe_offer().expect("a program without asking 4011");
            assert!(!file.contains("://"), "{file}");
        }
        Kind::Bios | Kind::Uefi => {
            let (server, file) = if channel == Channel::Port4011 {
                seen.edk2_boot_reply().expect("bootable")
            } else {
                seen.boot_from().expect("bootable")
            };
            assert_eq!(server, US);
            assert_eq!(file.ends_with(".kpxe"), bios, "{file}");
            let direct = match form_of(standing) {
                Some(form) => form == OfferForm::Direct,
                None => bios,
            };
            if offer {
                let class = if direct { Edk2Class::ProxyPxe10 } else { Edk2Class::ProxyBinl };
                assert_eq!(seen.edk2_offer(), Ok(class));
            }
            if direct {
                seen.bios_offer().expect("boots from the packet itself");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn nothing_is_sent_that_its_client_would_not_accept(
        (kind, packet) in packets(),
        standing in standings(),
        on_4011 in any::<bool>(),
        enroll in any::<bool>(),
    ) {
        let channel = if on_4011 { Channel::Port4011 } else { Channel::Port67 };
        let unknown = if enroll { UnknownMachines::Enroll } else { UnknownMachines::Ignore };
        let request = packet.parsed();
        match decide(&request, channel, &standing, &policy(unknown), &LOCAL) {
            Decision::Reply(answer) => {
                prop_assert!(may_boot(&standing));
                prop_assert!(standing != Standing::Unknown || enroll);
                let seen = Seen::new(answer.reply.encode()).expect("well-formed");
                prop_assert!(seen.yiaddr().is_unspecified(), "a proxy lends nothing");
                for lease_option in [1, 3, 6, 51, 58, 59] {
                    prop_assert!(seen.option(lease_option).is_none());
                }
                let plain = request.relay_info.is_none() && request.max_message_bytes.is_none_or(|m| m <= 576);
                let most = if plain { 548 } else { 1472 };
                prop_assert!(seen.bytes.len() <= most);
                if channel == Channel::Port4011 {
                    prop_assert_eq!(answer.destination, Destination::Sender);
                } else if request.is_relayed() {
                    prop_assert_eq!(answer.destination, Destination::Relay(request.giaddr));
                }
                judge(kind, &packet, channel, &standing, &seen);
            }
            Decision::Silent(reason) => {
                // Silence towards a served machine that asked properly would be a machine that never boots.
                let served = pxe::identify(&request)
                    .architecture()
                    .is_some_and(|a| a.platform() == Platform::UefiX64);
                let asked = request.message == Some(MessageType::Discover) && !on_4011;
                let signed = reason == Reason::SignedBoot;
                let armed = matches!(standing, Standing::Armed { .. });
                prop_assert!(!(served && asked && armed) || signed, "{}", reason);
            }
        }
    }

    #[test]
    fn full_mode_sends_nothing_that_a_client_would_not_accept(
        (kind, packet) in packets(),
        standing in standings(),
    ) {
        let subnet = "192.0.2.0/24".parse().expect("a network");
        let range = (Ipv4Addr::new(192, 0, 2, 70), Ipv4Addr::new(192, 0, 2, 90));
        let config = PoolConfig::new(subnet, range, US, 600).expect("valid");
        let mut pool = Pool::new(config, &[], NOW);
        let request = packet.parsed();
        let policy = policy(UnknownMachines::Enroll);
        let FullDecision { decision, persist } =
            full::decide(&request, Channel::Port67, &standing, &policy, &LOCAL, &mut pool, NOW);
        if let Decision::Reply(answer) = decision {
            let seen = Seen::new(answer.reply.encode()).expect("well-formed");
            seen.accept_envelope(&request).expect("acceptable");
            if let Some(lease) = persist {
                prop_assert_eq!(seen.yiaddr(), lease.address);
            } else if answer.reply.message == MessageType::Ack {
                prop_assert!(seen.yiaddr().is_unspecified(), "no ACK of a lease that is not durable");
            }
            if answer.reply.boot.is_some() {
                prop_assert!(may_boot(&standing));
                prop_assert!(kind != Kind::Laptop);
                seen.boot_from().expect("bootable");
            }
        }
    }
}
