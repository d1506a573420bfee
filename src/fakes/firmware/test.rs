//! The oracle itself: each rule refuses what breaks it, or it would prove nothing.

use super::tftp::{Download, Step};
use super::*;
use crate::proto::dhcp::sample::{IPXE_WITH_HTTP, IPXE_WITHOUT_HTTP, Packet};

/// A proxy's offer as the reference draws it, built by hand.
fn offer(asked: &Packet, options: &[(u8, &[u8])]) -> Vec<u8> {
    let request = asked.bytes();
    let mut bytes = request[..240].to_vec();
    bytes[0] = 2;
    bytes[20..24].copy_from_slice(&[192, 0, 2, 10]);
    for (tag, value) in options {
        bytes.push(*tag);
        bytes.push(u8::try_from(value.len()).expect("short"));
        bytes.extend_from_slice(value);
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(300), 0);
    bytes
}

const OPTIONS: [(u8, &[u8]); 6] = [
    (53, &[2]),
    (54, &[192, 0, 2, 10]),
    (60, b"PXEClient"),
    (97, &crate::proto::dhcp::sample::MACHINE_ID),
    (43, &[6, 1, 8, 255]),
    (67, b"undionly.kpxe\0"),
];

fn with_file(mut bytes: Vec<u8>, name: &str) -> Vec<u8> {
    bytes[108..108 + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn judged(asked: &Packet, bytes: &[u8]) -> Result<Taken, Dropped> {
    let asked = Asked::read(&asked.bytes()).expect("a header");
    let reply = Reply::read(bytes)?;
    reply.keeps_house_rules(&asked)?;
    Client::of(&asked).take(&asked, &reply)
}

fn good() -> (Packet, Vec<u8>) {
    let packet = Packet::pxe(1, 0);
    let bytes = with_file(offer(&packet, &OPTIONS), "undionly.kpxe");
    (packet, bytes)
}

#[test]
fn a_good_offer_is_taken() {
    let (packet, bytes) = good();
    let loads = Taken::Loads([192, 0, 2, 10].into(), "undionly.kpxe".to_owned());
    assert_eq!(judged(&packet, &bytes), Ok(loads));
}

#[test]
fn every_byte_of_the_header_that_is_changed_is_noticed() {
    let (packet, bytes) = good();
    // secs is not looked at; a changed siaddr is another server, which the desk notices.
    for at in (0..8).chain(10..16).chain(24..44).chain(236..240) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(judged(&packet, &changed).is_err(), "byte {at}");
    }
}

#[test]
fn an_offer_without_one_of_its_options_is_dropped() {
    let (packet, _) = good();
    for missing in 0..OPTIONS.len() {
        let mut options = OPTIONS.to_vec();
        let (tag, _) = options.remove(missing);
        let bytes = with_file(offer(&packet, &options), "undionly.kpxe");
        let judged = judged(&packet, &bytes);
        match tag {
            // The ROM then asks on 4011, and takes the name from the field.
            43 => assert_eq!(judged, Ok(Taken::Asks([192, 0, 2, 10].into()))),
            67 => assert!(judged.is_ok()),
            _ => assert!(judged.is_err(), "option {tag}: {judged:?}"),
        }
    }
}

#[test]
fn replies_that_some_client_cannot_read_are_dropped() {
    let (packet, bytes) = good();
    let with = |options: &[(u8, &[u8])]| with_file(offer(&packet, options), "undionly.kpxe");
    let changed = |tag: u8, value: &'static [u8]| {
        let options = OPTIONS.map(|(t, v)| if t == tag { (t, value) } else { (t, v) });
        judged(&packet, &with(&options))
    };
    assert!(judged(&packet, &bytes[..299]).is_err(), "short");
    assert!(changed(54, &[0, 0, 0, 0]).is_err(), "no server");
    assert!(changed(54, &[1, 2, 3]).is_err(), "length");
    assert!(changed(43, &[6, 1, 0, 255]).is_err(), "looks for servers");
    assert!(changed(43, &[6, 1, 8]).is_err(), "no end");
    assert!(changed(43, &[6, 1, 8, 9, 1, 0, 255]).is_err(), "menu");
    assert!(changed(67, b"undionly.kpxe").is_err(), "no NUL");
    assert!(changed(67, b"other.kpxe\0").is_err(), "two names");
    assert!(changed(60, b"HTTPClient").is_err(), "class");
    assert!(changed(97, &[0; 17]).is_err(), "another machine");
    assert!(changed(53, &[1]).is_err(), "message");
    let twice = [&OPTIONS[..], &[(67, b"undionly.kpxe\0")]].concat();
    assert!(judged(&packet, &with(&twice)).is_err(), "an option twice");
    let behind = [&OPTIONS[..], &[(66, b"192.0.2.10")]].concat();
    assert!(judged(&packet, &with(&behind)).is_err(), "behind option 67");
    let lends = [&[(51, &[0, 0, 0, 9][..])], &OPTIONS[..]].concat();
    assert!(judged(&packet, &with(&lends)).is_ok(), "options that do no harm");
    let mut no_end = bytes.clone();
    let end = no_end.iter().rposition(|b| *b == 255).expect("END");
    no_end.truncate(end);
    no_end.resize(300.max(end), 0);
    assert!(judged(&packet, &no_end).is_err(), "no END");
}

#[test]
fn clients_are_told_apart() {
    let of = |packet: Packet| Client::of(&Asked::read(&packet.bytes()).expect("a header"));
    assert_eq!(of(Packet::pxe(1, 0)), Client::Rom);
    assert_eq!(of(Packet::pxe(1, 7)), Client::Edk2);
    assert_eq!(of(Packet::pxe(1, 7).without(93)), Client::Edk2);
    assert_eq!(of(Packet::pxe(1, 0).without(93)), Client::Rom);
    assert_eq!(of(Packet::http(1, 16)), Client::Edk2Http);
    assert_eq!(of(Packet::ipxe(1, 7, IPXE_WITH_HTTP)), Client::Ipxe);
    assert_eq!(of(Packet::ipxe(1, 7, IPXE_WITHOUT_HTTP)), Client::IpxeWithoutHttp);
    assert_eq!(of(Packet::pxe(1, 7).with(77, b"\x09ironhatch")), Client::Ipxe);
    assert_eq!(of(Packet::pxe(1, 7).with(77, b"iPXE")), Client::Ipxe);
    assert_eq!(of(Packet::laptop(1)), Client::Laptop);
    assert_eq!(of(Packet::laptop(1).with(93, &[0, 7])), Client::Laptop);
}

#[test]
fn ipxe_wants_a_script_and_firmware_a_program() {
    let script: [(u8, &[u8]); 3] = [(53, &[2]), (54, &[192, 0, 2, 10]), (60, b"PXEClient")];
    let answer = |packet: &Packet, name: &str| {
        let named = [name.as_bytes(), &[0]].concat();
        let id = &crate::proto::dhcp::sample::MACHINE_ID[..];
        let options = [&script[..], &[(97, id), (67, &named)]].concat();
        judged(packet, &with_file(offer(packet, &options), name))
    };
    let url = "http://192.0.2.10/boot/start.ipxe";
    let (ipxe, old) = (Packet::ipxe(1, 7, IPXE_WITH_HTTP), Packet::ipxe(1, 7, IPXE_WITHOUT_HTTP));
    assert_eq!(answer(&ipxe, url), Ok(Taken::Fetches(url.to_owned())));
    assert!(answer(&ipxe, "snponly.efi").is_err(), "it would load itself for ever");
    assert!(answer(&ipxe, "http://boot.lab.test/start.ipxe").is_err(), "a name to look up");
    assert!(answer(&old, url).is_err());
    assert!(answer(&old, "snponly.efi").is_ok());
    assert_eq!(answer(&Packet::pxe(1, 7), "snponly.efi"), Ok(Taken::Asks([192, 0, 2, 10].into())));
    assert!(answer(&Packet::http(1, 16), url).is_err(), "not HTTPClient");
    assert!(answer(&Packet::laptop(1).with(97, &[1]), "x").is_err());
}

#[test]
fn an_option_acknowledgement_that_edk2_refuses_is_refused() {
    let request =
        b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0timeout\x003\0";
    let take = |oack: &[u8]| Download::ask(request).expect("a request").take(oack);
    let good = b"\0\x06tsize\x0010\0blksize\x001468\0timeout\x003\0windowsize\x004\0";
    assert_eq!(take(good), Ok(Step::Acknowledges(0)));
    assert_eq!(take(b"\0\x06blksize\x00512\0"), Ok(Step::Acknowledges(0)), "less is allowed");
    for bad in [
        &b"\0\x06blksize\x001469\0"[..],
        b"\0\x06blksize\x007\0",
        b"\0\x06windowsize\x005\0",
        b"\0\x06windowsize\x000\0",
        b"\0\x06timeout\x002\0",
        b"\0\x06multicast\x001\0",
        b"\0\x06BLKSIZE\x00512\0",
        b"\0\x06blksize\x00512\0blksize\x00512\0",
        b"\0\x06blksize\x00512",
        b"\0\x06blksize\0",
        b"\0\x06tsize\x00-1\0",
        b"\0\x06",
        b"\0\x05\0\x09x\0",
        b"\0\x05\0\x01x",
        b"\0\x05\0\x01x\0y\0",
        b"\0\x04\0\0",
    ] {
        assert!(take(bad).is_err(), "{bad:02x?}");
    }
    let mut download = Download::ask(b"\0\x01x\0octet\0").expect("a request");
    assert!(download.clone().take(good).is_err(), "nothing was asked for");
    assert!(download.clone().take(&[&[0, 3, 0, 1][..], &[0; 513]].concat()).is_err());
    assert_eq!(download.take(&[&[0, 3, 0, 1][..], &[0; 512]].concat()), Ok(Step::Acknowledges(1)));
    assert_eq!(download.take(&[0, 3, 0, 3]), Ok(Step::Acknowledges(1)), "a gap");
    assert_eq!(download.take(&[0, 3, 0, 2]), Ok(Step::Acknowledges(2)));
    assert!(download.complete);
}

#[test]
fn an_http_answer_that_firmware_cannot_use_is_refused() {
    use super::http::{Answer, Request, take_file};
    let file = b"0123456789";
    let none: [(String, String); 0] = [];
    let get = Request { head: false, path: "/boot/ipxe/snponly.efi", headers: &none };
    let headers = [
        ("content-length", "10"),
        ("content-type", "application/efi"),
        ("accept-ranges", "bytes"),
        ("etag", "\"1\""),
        ("last-modified", "Fri, 20 Nov 2026 18:53:00 GMT"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let good = Answer { status: 200, headers: headers.to_vec(), body: file.to_vec() };
    assert_eq!(take_file(&get, &good, file), Ok(()));
    for (missing, header) in headers.iter().enumerate() {
        let mut answer = good.clone();
        answer.headers.remove(missing);
        assert!(take_file(&get, &answer, file).is_err(), "{header:?}");
    }
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("content-encoding", "gzip"),
        ("set-cookie", "a=b"),
        ("x-empty", ""),
        ("connection", "close"),
        ("etag", "\"2\""),
    ] {
        let mut answer = good.clone();
        answer.headers.push((name.to_owned(), value.to_owned()));
        assert!(take_file(&get, &answer, file).is_err(), "{name}");
    }
    for status in [206, 301, 302, 304, 307, 404, 416, 500] {
        assert!(take_file(&get, &Answer { status, ..good.clone() }, file).is_err(), "{status}");
    }
    let other = Answer { body: b"0123456780".to_vec(), ..good.clone() };
    assert!(take_file(&get, &other, file).is_err(), "other bytes");
    let head = Request { head: true, ..get };
    assert!(take_file(&head, &good, file).is_err(), "a body after HEAD");
    assert_eq!(take_file(&head, &Answer { body: Vec::new(), ..good }, file), Ok(()));
}
