//! Bodies that installers send: the request for an answer, and the report of an installation.
//!
//! Input: which of them (1 byte), then the body.

use ironhatch::proto::installer::{AnswerRequest, InstallReport};

use super::{Seeds, texts};
use crate::input::Input;

/// Longest fact that is kept of a machine; more is cut or refused.
const MOST_TEXT: usize = 9000;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.byte();
    let body = input.rest();
    if which & 1 == 0 {
        let Ok(request) = AnswerRequest::parse(body) else { return };
        assert_eq!(AnswerRequest::parse(body).map(|r| r.macs), Ok(request.macs.clone()));
        is_short(&request.product);
        is_short(&request.release);
        assert!(request.macs.len() <= body.len() / 12, "more addresses than were sent");
    } else {
        let Ok(report) = InstallReport::parse(body) else { return };
        for key in &report.ssh_host_keys {
            // They are compared, stored, and written into known_hosts.
            is_short(key);
            let words: Vec<_> = key.split(' ').collect();
            assert_eq!(words.len(), 2, "a host key is type and base64: {key:?}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "+/=-@.".contains(c);
            assert!(words.iter().all(|word| word.chars().all(plain)), "{key:?}");
        }
        assert!(report.ssh_host_keys.len() <= 64);
        for text in [&report.fqdn, &report.machine_id, &report.product_version, &report.filesystem]
        {
            text.iter().for_each(|text| is_short(text));
        }
    }
}

fn is_short(text: &str) {
    assert!(text.len() <= MOST_TEXT, "{} bytes of one fact are kept", text.len());
}

pub(crate) fn seeds() -> Seeds {
    texts([
        (
            "answer-9.2",
            concat!(
                "\0",
                r#"{"$schema":{"version":"1.0"},"product":{"fullname":"Proxmox VE","product":"pve","enable_btrfs":true},"iso":{"release":"9.2","isorelease":"1"},"dmi":{"system":{"name":"Lab PC","serial":"S1","sku":"","uuid":"4c4c4544-0042-3010-8054-b5c04f4e5932"},"baseboard":{},"chassis":{}},"network_interfaces":[{"link":"eno1","mac":"52:54:00:AA:BB:01"},{"link":"eno2","mac":"52:54:00:ff:ff:01"}]}"#
            ),
        ),
        (
            "answer-8.2",
            concat!(
                "\0",
                r#"{"product":{"product":"pve"},"iso":{"release":"8.2"},"dmi":{"system":{}},"network_interfaces":[]}"#
            ),
        ),
        (
            "report-1.2",
            concat!(
                "\x01",
                r#"{"$schema":{"version":"1.2"},"product":{"fullname":"Proxmox VE","short":"pve","version":"9.2.3"},"iso":{"release":"9.2","isorelease":"1"},"boot-info":{"mode":"efi","secureboot":true},"fqdn":"node.lab.test","machine-id":"0123456789abcdef0123456789abcdef","disks":[{"size":1,"is-bootdisk":true,"udev-properties":{"DEVNAME":"/dev/sda","ID_SERIAL_SHORT":"DISK1"}}],"network-interfaces":[{"name":"eno1","mac":"52:54:00:aa:bb:01","address":"192.0.2.21/24","is-management":true,"udev-properties":{}}],"ssh-public-host-keys":{"ed25519":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f root@node","rsa":"ssh-rsa AAAA root@node"}}"#
            ),
        ),
        (
            "report-token",
            concat!(
                "\x01",
                r#"{"token":"00112233445566778899aabbccddeeff","ssh-public-host-keys":{}}"#
            ),
        ),
    ])
}
