//! The main offers in bytes: what a capture on the wire must show.

use super::*;

/// Fixed header of a reply without lease: op to giaddr.
fn head(siaddr: [u8; 4]) -> Vec<u8> {
    let mut out = vec![2, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend(siaddr);
    out.extend([0, 0, 0, 0]);
    out.extend([0x52, 0x54, 0, 0xaa, 0xbb, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out
}

fn golden(sname: &[u8], file: &[u8], options: &[&[u8]]) -> Vec<u8> {
    let mut out = head([192, 0, 2, 10]);
    out.extend(sname);
    out.resize(108, 0);
    out.extend(file);
    out.resize(236, 0);
    out.extend([0x63, 0x82, 0x53, 0x63]);
    out.extend(options.concat());
    out.push(255);
    if out.len() < 300 {
        out.resize(300, 0);
    }
    out
}

const OFFER_FROM_US: &[u8] = &[53, 1, 2, 54, 4, 192, 0, 2, 10];
const PXE: &[u8] = b"\x3c\x09PXEClient";
const GUID: &[u8] = b"\x61\x11\x00DELLB\x00\x100\x80T\xb5\xc0ONY2";
const TFTP: &[u8] = b"\x42\x0a192.0.2.10";

fn bytes(packet: &Packet) -> Vec<u8> {
    answer(ask(packet, Channel::Port67, &armed())).reply.encode()
}

#[test]
fn bios_offer() {
    let want = golden(
        b"192.0.2.10",
        b"undionly.kpxe",
        &[OFFER_FROM_US, PXE, GUID, TFTP, &[43, 4, 6, 1, 8, 255], b"\x43\x0eundionly.kpxe\0"],
    );
    assert_eq!(bytes(&Packet::pxe(DISCOVER, 0)), want);
}

#[test]
fn uefi_offer_through_a_relay() {
    let mut packet = Packet::pxe(DISCOVER, 7).with(82, &[1, 3, b'e', b'7', b'/']);
    packet.giaddr = Ipv4Addr::new(10, 9, 0, 1);
    let mut want = golden(
        b"192.0.2.10",
        b"snponly.efi",
        &[OFFER_FROM_US, PXE, GUID, TFTP, b"\x43\x0csnponly.efi\0", b"\x52\x05\x01\x03e7/"],
    );
    want[24..28].copy_from_slice(&[10, 9, 0, 1]);
    assert_eq!(bytes(&packet), want);
}

#[test]
fn http_boot_offer() {
    let want = golden(
        b"",
        b"http://192.0.2.10:8080/boot/ipxe/snponly.efi",
        &[
            OFFER_FROM_US,
            b"\x3c\x0aHTTPClient",
            GUID,
            b"\x43\x2dhttp://192.0.2.10:8080/boot/ipxe/snponly.efi\0",
        ],
    );
    assert_eq!(bytes(&Packet::http(DISCOVER, 16)), want);
}

#[test]
fn ipxe_offer() {
    let want = golden(
        b"192.0.2.10",
        b"http://192.0.2.10:8080/boot/start.ipxe",
        &[
            OFFER_FROM_US,
            PXE,
            GUID,
            &[175, 3, 1, 1, 1],
            TFTP,
            b"\x43\x27http://192.0.2.10:8080/boot/start.ipxe\0",
        ],
    );
    assert_eq!(bytes(&Packet::ipxe(DISCOVER, 7, IPXE_WITH_HTTP)), want);
}

#[test]
fn boot_server_ack_on_4011() {
    let packet = Packet { ciaddr: CLIENT, ..Packet::pxe(REQUEST, 7).without(97) };
    let mut want = golden(
        b"192.0.2.10",
        b"snponly.efi",
        &[&[53, 1, 5, 54, 4, 192, 0, 2, 10], PXE, TFTP, b"\x43\x0csnponly.efi\0"],
    );
    want[12..16].copy_from_slice(&CLIENT.octets());
    let got = answer(ask(&packet, Channel::Port4011, &armed())).reply.encode();
    assert_eq!(got, want);
}
