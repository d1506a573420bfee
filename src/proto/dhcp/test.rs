use proptest::prelude::*;

use super::sample::{MAC, MACHINE_ID, Packet, XID, header};
use super::*;
use crate::proto::pxe::VendorClass;

const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

#[test]
fn a_uefi_discover_is_read_completely() {
    let request = Packet::pxe(1, 7).with(61, &[1, 2, 3]).parsed();
    assert_eq!(request.xid, XID);
    assert_eq!(request.mac, MAC);
    assert_eq!(request.flags, 0x8000);
    assert_eq!(request.message, Some(MessageType::Discover));
    assert_eq!(request.max_message_bytes, Some(1472));
    assert_eq!(request.vendor_class, b"PXEClient:Arch:00007:UNDI:003016");
    assert_eq!(request.architectures, [7]);
    assert_eq!(request.client_id.as_deref(), Some(&[1, 2, 3][..]));
    assert_eq!(request.machine_id.as_deref(), Some(&MACHINE_ID[..]));
    assert_eq!(request.machine_guid().map(|g| g[0]), Some(0x44));
}

#[test]
fn only_six_byte_ethernet_addresses_pass() {
    for hlen in [0, 1, 5, 7, 15, 16, 17, 127, 255] {
        let mut bytes = Packet::pxe(1, 7).bytes();
        bytes[2] = hlen;
        assert_eq!(parse(&bytes), Err(Ignored::HardwareAddress), "hlen {hlen}");
    }
    let mut infiniband = Packet::pxe(1, 7).bytes();
    infiniband[1] = 32;
    assert_eq!(parse(&infiniband), Err(Ignored::HardwareAddress));
}

#[test]
fn noise_is_named_for_what_it_is() {
    let good = Packet::pxe(1, 7).bytes();
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        parse(&bytes)
    };
    assert_eq!(changed(0, 2), Err(Ignored::NotARequest));
    assert_eq!(changed(0, 0), Err(Ignored::NotARequest));
    assert_eq!(changed(236, 0), Err(Ignored::NoCookie));
    assert_eq!(changed(28, 0x53), Err(Ignored::NotUnicast));
    assert_eq!(parse(&[]), Err(Ignored::TooShort));
    assert_eq!(parse(&[0x41; 312]), Err(Ignored::NotARequest));
    assert_eq!(parse(&vec![1; 65_507]), Err(Ignored::HardwareAddress));
    let zero = Packet { mac: Mac([0; 6]), ..Packet::new(1) }.bytes();
    assert_eq!(parse(&zero), Err(Ignored::NotUnicast));
}

#[test]
fn every_truncation_is_either_ignored_or_a_request_of_the_same_machine() {
    let whole = Packet::ipxe(3, 7, sample::IPXE_WITH_HTTP).with(82, &[1, 2, 0, 9]).bytes();
    for length in 0..whole.len() {
        match parse(&whole[..length]) {
            Ok(request) => {
                assert!(length >= 240);
                assert_eq!(request.mac, MAC);
            }
            Err(error) => assert_eq!((error, length < 240), (Ignored::TooShort, true)),
        }
    }
}

#[test]
fn a_host_name_that_is_not_utf_8_hides_no_later_option() {
    let request = Packet::new(1)
        .with(12, &[0xff, 0xfe, 0x80])
        .with(94, &[1])
        .with(54, &[1, 2])
        .with(57, &[5])
        .with(80, &[1, 2, 3])
        .with(93, &[0, 7])
        .with(60, b"PXEClient")
        .parsed();
    assert_eq!(request.vendor_class, b"PXEClient");
    assert_eq!(request.architectures, [7]);
    assert_eq!((request.server_id, request.max_message_bytes), (None, None));
}

#[test]
fn an_option_that_runs_past_the_end_keeps_what_came_before_it() {
    let mut bytes = Packet::new(1).with(60, b"PXEClient").bytes();
    bytes.pop();
    bytes.extend([93, 200, 0, 7]);
    let request = parse(&bytes).expect("the header is good");
    assert_eq!(request.vendor_class, b"PXEClient");
    assert!(request.architectures.is_empty());
}

#[test]
fn a_missing_end_option_is_forgiven() {
    let mut bytes = Packet::pxe(1, 0).bytes();
    assert_eq!(bytes.pop(), Some(255));
    assert_eq!(parse(&bytes).expect("read").architectures, [0]);
}

#[test]
fn split_options_are_joined_even_with_others_in_between() {
    let request = Packet::new(1)
        .with(60, b"PXECl")
        .with(93, &[0])
        .with(60, b"ient")
        .with(93, &[7, 0, 16])
        .parsed();
    assert_eq!(request.vendor_class, b"PXEClient");
    assert_eq!(request.architectures, [7, 16]);
}

#[test]
fn options_in_overloaded_fields_are_read_after_the_option_field() {
    let mut bytes = Packet::new(1).with(60, b"PXE").with(52, &[3]).bytes();
    let file = [60, 3, b'C', b'l', b'i', 93, 2, 0, 7, 255];
    bytes[108..108 + file.len()].copy_from_slice(&file);
    let sname = [60, 3, b'e', b'n', b't', 255];
    bytes[44..44 + sname.len()].copy_from_slice(&sname);
    let request = parse(&bytes).expect("read");
    assert_eq!(request.vendor_class, b"PXEClient");
    assert_eq!(request.architectures, [7]);

    let without = Packet::new(1).with(60, b"PXE").bytes();
    let mut without = without;
    without[108..118].copy_from_slice(&file);
    assert_eq!(parse(&without).expect("read").vendor_class, b"PXE");
}

#[test]
fn the_first_of_a_repeated_message_type_counts() {
    assert_eq!(Packet::new(1).with(53, &[3]).parsed().message, Some(MessageType::Discover));
    let empty_first = Packet::new(1).without(53).with(53, &[]).with(53, &[3]).parsed();
    assert_eq!(empty_first.message, Some(MessageType::Request));
    assert_eq!(Packet::new(1).without(53).parsed().message, None);
}

#[test]
fn relay_information_that_could_not_be_returned_whole_is_refused() {
    let long = Packet::pxe(1, 7).with(82, &[7; 255]).with(82, &[7; 255]).with(82, &[7; 255]);
    assert_eq!(parse(&long.bytes()), Err(Ignored::RelayInfo));
    let two = Packet::pxe(1, 7).with(82, &[7; 255]).with(82, &[8; 200]).parsed();
    assert_eq!(two.relay_info.map(|i| i.len()), Some(455));
}

proptest! {
    #[test]
    fn no_bytes_whatever_can_panic_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_options_whatever_can_panic_the_parser(
        options in proptest::collection::vec(any::<u8>(), 0..400),
        file in proptest::collection::vec(any::<u8>(), 192),
    ) {
        let mut bytes = header(MAC, XID);
        bytes[44..236].copy_from_slice(&file);
        bytes.extend(&options);
        let request = parse(&bytes).expect("the header is good");
        let kept = request.vendor_class.len() + request.user_class.len()
            + request.vendor_options.len() + request.architectures.len();
        prop_assert!(kept <= bytes.len());
    }

    #[test]
    fn a_reply_is_what_an_independent_decoder_reads(
        xid in any::<u32>(),
        relay in proptest::collection::vec(any::<u8>(), 1..255),
        file in "[a-z./]{1,120}",
    ) {
        let mut packet = Packet::pxe(1, 7).with(82, &relay);
        packet.xid = xid;
        packet.giaddr = Ipv4Addr::new(10, 9, 8, 1);
        let reply = Reply::to(&packet.parsed(), MessageType::Offer, US).with_boot(BootFile {
            class: VendorClass::PxeClient,
            name: file.clone(),
            tftp: true,
            vendor_options: None,
            ipxe_priority: false,
        });
        let bytes = reply.encode();
        let message = Message::new(&bytes).expect("long enough");
        prop_assert_eq!(message.xid(), xid);
        prop_assert_eq!(message.chaddr(), &MAC.0[..]);
        prop_assert_eq!(message.giaddr(), Ipv4Addr::new(10, 9, 8, 1));
        prop_assert_eq!(message.fname(), file.as_bytes());
        let mut named = file.into_bytes();
        named.push(0);
        let options: Vec<(u8, Vec<u8>)> =
            message.opts().map(|o| (u8::from(o.code()), o.data().to_vec())).collect();
        prop_assert!(options.contains(&(67, named)));
        prop_assert_eq!(options.last(), Some(&(82, relay)));
    }
}

#[test]
fn a_lease_is_told_with_its_times() {
    let request = Packet::laptop(3).parsed();
    let reply = Reply::to(&request, MessageType::Ack, US).with_lease(LeaseTerms {
        address: Ipv4Addr::new(192, 0, 2, 100),
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        router: Some(Ipv4Addr::new(192, 0, 2, 1)),
        dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
        secs: Some(3600),
    });
    let bytes = reply.encode();
    assert_eq!(bytes.len(), 300);
    assert_eq!(bytes[16..20], [192, 0, 2, 100], "yiaddr");
    assert_eq!(bytes[20..24], [0; 4], "nothing to boot: siaddr stays empty");
    let options = [
        &[53, 1, 5, 54, 4, 192, 0, 2, 10][..],
        &[51, 4, 0, 0, 14, 16, 58, 4, 0, 0, 7, 8, 59, 4, 0, 0, 12, 78],
        &[1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 6, 4, 192, 0, 2, 53, 255],
    ]
    .concat();
    assert_eq!(bytes[240..240 + options.len()], options);
}

#[test]
fn a_reply_that_does_not_fit_loses_only_what_nobody_depends_on() {
    let mut packet = Packet::pxe(1, 7).without(57).with(61, &[9; 120]).with(82, &[7; 100]);
    packet.giaddr = Ipv4Addr::new(10, 0, 0, 1);
    let boot = |name: &str| BootFile {
        class: VendorClass::PxeClient,
        name: name.to_owned(),
        tftp: true,
        vendor_options: None,
        ipxe_priority: false,
    };
    let encode = |packet: &Packet, name: &str| {
        let reply = Reply::to(&packet.parsed(), MessageType::Offer, US).with_boot(boot(name));
        let bytes = reply.encode();
        let codes: Vec<u8> =
            Message::new(&bytes).expect("long enough").opts().map(|o| u8::from(o.code())).collect();
        (bytes.len(), codes)
    };
    let (length, codes) = encode(&packet, "snponly.efi");
    assert!(length <= 548 && codes.contains(&66) && codes.contains(&61), "{length} {codes:?}");
    let (length, codes) = encode(&packet, &"x".repeat(100));
    assert!(length <= 548 && !codes.contains(&61) && codes.contains(&82), "{length} {codes:?}");
    let roomy = packet.with(57, &1500u16.to_be_bytes());
    let (length, codes) = encode(&roomy, &"x".repeat(100));
    assert!(length > 548 && codes.contains(&66) && codes.contains(&61), "{length} {codes:?}");
}

#[test]
fn our_own_probe_is_a_valid_discover_and_offers_to_it_are_recognised() {
    let relayed = probe::discover(7, MAC, Some(US));
    let request = parse(&relayed).expect("valid");
    assert_eq!((request.message, request.giaddr), (Some(MessageType::Discover), US));
    let plain = parse(&probe::discover(7, MAC, None)).expect("valid");
    assert_eq!((plain.flags, plain.is_relayed()), (0x8000, false));

    let lease = LeaseTerms {
        address: Ipv4Addr::new(192, 0, 2, 77),
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        router: None,
        dns: vec![],
        secs: Some(600),
    };
    let offer = Reply::to(&plain, MessageType::Offer, US).with_lease(lease).encode();
    assert_eq!(probe::offered_address(&offer, 7), Some(Ipv4Addr::new(192, 0, 2, 77)));
    assert_eq!(probe::offered_address(&offer, 8), None, "somebody else's transaction");
    assert_eq!(probe::offered_address(&relayed, 7), None, "a request is no offer");
    let proxy = Reply::to(&plain, MessageType::Offer, US).encode();
    assert_eq!(probe::offered_address(&proxy, 7), None, "a boot server gives no address");
    assert_eq!(probe::offered_address(&offer[..200], 7), None);
}
