//! Answers from a template, a server type and a host's own keys: whatever is put in, an answer that comes out passes the
//! independent reader and names disks in one exact way. And templates of texts, whose work is limited.
//!
//! Input: which of them and the dialect (1 byte); for an answer: template (piece), server type (piece), the host's keys as
//! JSON; else the text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use ironhatch::config::{server_type, template};
use ironhatch::domain::host::{Host, HostState};
use ironhatch::domain::id::HostId;
use ironhatch::domain::mac::Mac;
use ironhatch::domain::server_type::DiskSelection;
use ironhatch::domain::time::Timestamp;
use ironhatch::plan::answer::access::{GeneratedPassword, RootPassword, generated_password};
use ironhatch::plan::answer::disk::DISK_PROPERTIES;
use ironhatch::plan::answer::{
    AnswerInputs, Callback, Dialect, Enforced, Ordering, compose, prepare, render_json,
    render_toml, validate_answer_text,
};
use ironhatch::plan::template::{MOST_BYTES, names, render};

use super::Seeds;
use crate::input::{Input, piece};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f rebuild";

fn host() -> Host {
    Host {
        uuid: "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().ok(),
        state: HostState::PxeReady,
        ..Host::new(
            HostId(uuid::Uuid::nil()),
            "pve-a1".parse().expect("a name"),
            vec![Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1])],
            "lab".parse().expect("a name"),
            Timestamp(0),
        )
    }
}

fn enforced() -> Enforced {
    static PASSWORD: OnceLock<GeneratedPassword> = OnceLock::new();
    let password = PASSWORD.get_or_init(|| generated_password([7; 24], [9; 12]).expect("a hash"));
    let callback = |path: &str| Callback {
        url: format!("http://192.0.2.10:8080{path}"),
        cert_fingerprint: None,
    };
    Enforced {
        ssh_keys: vec![KEY.to_owned()],
        root_password: RootPassword::Generated(password.clone()),
        webhook: callback("/api/hosts/x/installed?token=0011"),
        first_boot: callback("/api/hosts/x/first-boot-script?token=0011"),
        ordering: Ordering::NetworkOnline,
    }
}

pub(crate) fn run(data: &[u8]) {
    let enforced = enforced();
    let mut input = Input::new(data);
    let which = input.byte();
    if which & 1 == 1 {
        return text(input.rest());
    }
    let dialect = Dialect::ALL[usize::from(which >> 1) % Dialect::ALL.len()];
    let (first, second) = (input.piece(), input.piece());
    let (Ok(first), Ok(second)) = (std::str::from_utf8(first), std::str::from_utf8(second)) else {
        return;
    };
    let Ok(template) = template::parse(Path::new("lab.toml"), "lab", first) else { return };
    let Ok(server_type) = server_type::parse(Path::new("lab.toml"), second) else { return };
    let mut host = host();
    host.overrides.answer = serde_json::from_slice(input.rest()).unwrap_or_default();
    let inputs = AnswerInputs {
        dialect,
        host: &host,
        server_type: &server_type,
        template: &template,
        time_zones: None,
        enforced: &enforced,
    };
    let composed = match compose(&inputs) {
        Ok(composed) => composed,
        Err(problems) => return assert!(!problems.is_empty(), "refused without a reason"),
    };
    let written = render_toml(&composed.answer, dialect);
    assert_eq!(validate_answer_text(&written, dialect), Ok(()), "{written}");
    assert!(prepare(&inputs, None).is_ok_and(|ready| ready.text == written));
    let root: toml::Table = written.parse().expect("TOML");
    let json: serde_json::Value =
        serde_json::from_str(&render_json(&composed.answer, dialect)).expect("JSON");
    assert_eq!(serde_json::to_value(&root).expect("JSON"), json, "both forms say the same");
    disks(&root, &server_type.boot_disk);
    // What Ironhatch decides itself stands in every answer.
    assert!(written.contains(KEY) && written.contains("pve-a1"), "{written}");
    assert!(written.contains("/api/hosts/x/installed?token=0011") || dialect < Dialect::V8_3);
}

/// Rule 2 of the design.
fn disks(root: &toml::Table, named: &DiskSelection) {
    let disks = root["disk-setup"].as_table().expect("a table");
    let list = disks.get("disk-list").or_else(|| disks.get("disk_list"));
    match (named, disks.get("filter").and_then(toml::Value::as_table), list) {
        (DiskSelection::Property { property, value }, Some(filter), None) => {
            assert_eq!(filter.len(), 1);
            assert_eq!(filter[property].as_str(), Some(value.as_str()));
            assert!(DISK_PROPERTIES.contains(&property.as_str()));
            assert!(!value.is_empty() && !value.contains(['*', '?', '[', ']', '!']));
        }
        (DiskSelection::Devices { names }, None, Some(list)) => {
            let list = list.as_array().expect("a list");
            assert_eq!(list.len(), names.len());
            for path in list {
                let path = path.as_str().expect("text");
                assert!(path.starts_with("/dev/") && !path.contains(['*', '?', '[']), "{path}");
            }
        }
        other => panic!("{other:?}"),
    }
    assert!(!disks.contains_key("filter-match") && !disks.contains_key("filter_match"));
}

/// A template of a manifest: ends, and its result is bounded.
fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = names(text);
    let guest: BTreeMap<_, _> = [("ip", "192.0.2.50"), ("name", "web1")].into();
    let context: BTreeMap<_, _> = [("guest", guest)].into();
    if let Ok(filled) = render(text, &context) {
        assert!(filled.len() <= MOST_BYTES, "{} bytes of result", filled.len());
    }
}

pub(crate) fn seeds() -> Seeds {
    let server_type = "boot_disk = { property = \"ID_SERIAL_SHORT\", value = \"S4EWNX0N100000\" }\nhostname_prefix = \"pve\"\nanswer_template = \"lab\"\ndomain = \"lab.test\"\n";
    let devices = "boot_disk = { devices = [\"sda\", \"nvme0n1\"] }\nhostname_prefix = \"pve\"\nanswer_template = \"lab\"\ndomain = \"lab.test\"\n[labels]\nrack = \"r1\"\n[answer.global]\nmailto = \"ops@example.net\"\n";
    let plain = "[global]\nkeyboard = \"en-us\"\ncountry = \"at\"\nmailto = \"root@{{ domain }}\"\ntimezone = \"Europe/Vienna\"\n[disk-setup]\nfilesystem = \"ext4\"\n[network]\nsource = \"from-dhcp\"\n";
    let mirror = "[global]\nkeyboard = \"de\"\ncountry = \"at\"\nmailto = \"root@lab.test\"\ntimezone = \"UTC\"\n[disk_setup]\nfilesystem = \"zfs\"\nzfs.raid = \"raid1\"\nzfs.ashift = 12\n[network]\nsource = \"from-dhcp\"\n";
    let answer = |which: u8, template: &str, server_type: &str, host: &str| {
        let parts =
            [vec![which], piece(template.as_bytes()), piece(server_type.as_bytes()), host.into()];
        parts.concat()
    };
    vec![
        ("plain".into(), answer(0, plain, server_type, "{}")),
        ("newest".into(), answer(254, plain, server_type, "{\"global.mailto\":\"a@b.c\"}")),
        ("mirror".into(), answer(8, mirror, devices, "{}")),
        ("smuggled".into(), answer(8, plain, server_type, "{\"disk-setup.filter\":{\"ID_MODEL\":\"*\"}}")),
        ("text".into(), b"\x01http://{{ guest.ip }}:{{ 80 + 1 }}/{{ guest.name|upper }}".to_vec()),
        ("loop".into(), b"\x01{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}".to_vec()),
        ("growth".into(), b"\x01{% set a = 'xxxxxxxx' %}{{ a * 99999999 }}{{ a|indent(99999999) }}{{ '%9999999d'|format(1) }}".to_vec()),
    ]
}
