use super::*;
use crate::domain::inventory::Firmware;
use crate::proto::dhcp::sample::{IPXE_WITH_HTTP, IPXE_WITHOUT_HTTP, Packet};

fn firmware(protocol: Protocol, code: u16) -> Client {
    Client::Firmware { protocol, architecture: Some(Architecture::from_code(code)) }
}

fn ipxe(origin: IpxeOrigin, http: HttpSupport) -> Client {
    Client::Ipxe { origin, architecture: Some(Architecture::UefiX64), http }
}

#[test]
fn clients_are_told_apart_by_their_options() {
    let base = || Packet::pxe(1, 7);
    let cases: Vec<(&str, Packet, Client)> = vec![
        ("laptop", Packet::laptop(1), Client::Ordinary),
        ("nothing", Packet::new(1), Client::Ordinary),
        ("U-Boot: 93 alone", Packet::new(1).with(93, &[0, 22]), Client::Ordinary),
        ("BIOS ROM", Packet::pxe(1, 0), firmware(Protocol::Pxe, 0)),
        ("UEFI", base(), firmware(Protocol::Pxe, 7)),
        ("UEFI HTTP", Packet::http(1, 16), firmware(Protocol::Http, 16)),
        ("class only", base().without(93), firmware(Protocol::Pxe, 7)),
        (
            "93 wins over the class",
            Packet::new(1).with(60, b"PXEClient:Arch:00000").with(93, &[0, 7]),
            firmware(Protocol::Pxe, 7),
        ),
        (
            "no architecture at all",
            Packet::new(1).with(60, b"PXEClient"),
            Client::Firmware { protocol: Protocol::Pxe, architecture: None },
        ),
        (
            "digits that are none",
            Packet::new(1).with(60, b"PXEClient:Arch:+0007:UNDI"),
            Client::Firmware { protocol: Protocol::Pxe, architecture: None },
        ),
        (
            "both protocols listed, HTTP attempt",
            Packet::http(1, 16).without(93).with(93, &[0, 7, 0, 16]),
            firmware(Protocol::Http, 16),
        ),
        (
            "both protocols listed, PXE attempt",
            base().without(93).with(93, &[0, 16, 0, 7]),
            firmware(Protocol::Pxe, 7),
        ),
        (
            "iPXE with HTTP",
            Packet::ipxe(1, 7, IPXE_WITH_HTTP),
            ipxe(IpxeOrigin::Foreign, HttpSupport::Yes),
        ),
        (
            "iPXE without HTTP",
            Packet::ipxe(1, 7, IPXE_WITHOUT_HTTP),
            ipxe(IpxeOrigin::Foreign, HttpSupport::No),
        ),
        (
            "iPXE that lists HTTP as absent",
            Packet::ipxe(1, 7, &[0x13, 1, 0]),
            ipxe(IpxeOrigin::Foreign, HttpSupport::No),
        ),
        (
            "iPXE that says nothing of features",
            base().with(77, b"iPXE"),
            ipxe(IpxeOrigin::Foreign, HttpSupport::Yes),
        ),
        (
            "RFC 3004 form",
            base().with(77, b"\x03abc\x04iPXE"),
            ipxe(IpxeOrigin::Foreign, HttpSupport::Yes),
        ),
        (
            "option 175 alone, 93 alone",
            Packet::new(1).with(93, &[0, 7]).with(175, IPXE_WITH_HTTP),
            ipxe(IpxeOrigin::Foreign, HttpSupport::Yes),
        ),
        (
            "renamed by a stranger's script",
            base().with(77, b"someone").with(175, IPXE_WITH_HTTP),
            ipxe(IpxeOrigin::Foreign, HttpSupport::Yes),
        ),
        (
            "ours",
            base().with(77, b"ironhatch").with(175, IPXE_WITHOUT_HTTP),
            ipxe(IpxeOrigin::Own, HttpSupport::Yes),
        ),
        ("broken user class", base().with(77, &[200, 1, 2]), firmware(Protocol::Pxe, 7)),
    ];
    for (name, packet, want) in cases {
        assert_eq!(identify(&packet.parsed()), want, "{name}");
    }
}

#[test]
fn five_architectures_are_served_and_all_others_have_a_name() {
    let served: Vec<u16> = Architecture::NAMED
        .iter()
        .filter(|a| a.platform() != Platform::Unserved)
        .map(|a| a.code())
        .collect();
    assert_eq!(served, [0, 7, 9, 16, 17]);
    assert_eq!(Architecture::NAMED.len(), 42);
    for (index, architecture) in Architecture::NAMED.iter().enumerate() {
        let code = u16::try_from(index).expect("42 fit");
        assert_eq!((architecture.code(), Architecture::from_code(code)), (code, *architecture));
        assert!(!architecture.to_string().is_empty());
    }
    let later = Architecture::from_code(4711);
    assert_eq!(later.to_string(), "unassigned architecture 4711");
    assert_eq!(later.platform(), Platform::Unserved);
}

#[test]
fn firmware_follows_the_name() {
    for architecture in Architecture::NAMED {
        let words = architecture.to_string();
        let want = if words.starts_with("BIOS") {
            Some(Firmware::Bios)
        } else {
            words.starts_with("UEFI").then_some(Firmware::Uefi)
        };
        assert_eq!(architecture.firmware(), want, "{words}");
    }
}

#[test]
fn the_boot_this_file_option_is_exact() {
    assert_eq!(boot_this_file(None), [6, 1, 8, 255]);
    let item = BootItem { kind: 0x8001, layer: 0 };
    assert_eq!(boot_this_file(Some(item)), [6, 1, 8, 71, 4, 0x80, 1, 0, 0, 255]);
    assert_eq!(BootItem::of(&boot_this_file(Some(item))), Some(item));
    assert!(BootItem { kind: 0, layer: 0x8000 }.wants_credentials());
    assert_eq!(BootItem::of(&[71, 4, 0]), None);
    assert_eq!(BootItem::of(&[71, 2, 0, 0]), None);
    assert_eq!(BootItem::of(&[255, 71, 4, 0, 0, 0, 0]), None);
    assert_eq!(BootItem::of(&[0, 0, 71, 4, 0, 1, 0, 0]), Some(BootItem { kind: 1, layer: 0 }));
}
