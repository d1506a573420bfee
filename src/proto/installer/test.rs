use super::*;
use proptest::prelude::*;
use serde_json::json;

fn request() -> Value {
    json!({
        "$schema": { "version": "1.0" },
        "product": { "fullname": "Proxmox VE", "product": "pve", "enable_btrfs": true },
        "iso": { "release": "9.2", "isorelease": "1" },
        "dmi": {
            "system": { "name": "Box 3", "serial": "CZJ0000001", "sku": "", "uuid": "4c4c4544-0042-3010-8054-b5c04f4e5932" },
            "baseboard": { "name": "0ABCD1", "serial": "..CN..", "asset_tag": "" },
            "chassis": { "serial": "None", "sku": "", "asset_tag": "rack7-u12" }
        },
        "network_interfaces": [
            { "link": "eno1", "mac": "52:54:00:AA:BB:01" },
            { "link": "eno1v0", "mac": "52:54:00:aa:bb:01" },
            { "link": "ib0", "mac": "80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1" },
            { "link": "eno2", "mac": "52:54:00:aa:bb:02" }
        ]
    })
}

fn parse(value: &Value) -> Result<AnswerRequest, Malformed> {
    AnswerRequest::parse(value.to_string().as_bytes())
}

#[test]
fn a_request_of_the_newest_installer_is_understood() {
    let got = parse(&request()).unwrap();
    assert_eq!((got.product.as_str(), got.release.as_str()), ("pve", "9.2"));
    assert_eq!(got.schema.as_deref(), Some("1.0"));
    assert_eq!(got.macs, ["52:54:00:aa:bb:01", "52:54:00:aa:bb:02"].map(|m| m.parse().unwrap()));
    assert_eq!(got.uuid, "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().ok());
    assert_eq!(got.inventory.asset.as_deref(), Some("rack7-u12"));
    assert_eq!(got.inventory.serial.as_deref(), Some("CZJ0000001"));
}

#[test]
fn an_8_2_request_without_schema_and_with_vendor_junk_is_understood() {
    let mut body = request();
    body.as_object_mut().unwrap().remove("$schema");
    body["dmi"]["system"] = json!({ "serial": "To Be Filled By O.E.M.", "uuid": "00000000-0000-0000-0000-000000000000" });
    body["future"] = json!([1, { "x": null }]);
    let got = parse(&body).unwrap();
    assert_eq!((got.schema, got.uuid, got.inventory.serial), (None, None, None));
    body.as_object_mut().unwrap().remove("dmi");
    assert!(parse(&body).is_ok());
}

#[test]
fn odd_types_are_refused_in_one_line() {
    let replace = |pointer: &str, with: Value| {
        let mut body = request();
        *body.pointer_mut(pointer).unwrap() = with;
        parse(&body).unwrap_err().to_string()
    };
    for (pointer, with, want) in [
        (
            "/product/product",
            json!(7),
            "the body's product.product must be a string such as \"pve\"",
        ),
        ("/product", json!([]), "the body's product.product must be a string such as \"pve\""),
        ("/iso/release", json!(9.2), "the body's iso.release must be a string such as \"9.2\""),
        (
            "/network_interfaces",
            json!({}),
            "the body's network_interfaces must be a list of links with their MAC addresses",
        ),
    ] {
        assert_eq!(replace(pointer, with), want);
    }
    for (body, want) in [
        (&b"\xff{"[..], "the body is not JSON (line 1, column 1)"),
        (b"[]", "the body's outermost value must be an object"),
        (b"", "the body is not JSON (line 1, column 0)"),
    ] {
        assert_eq!(AnswerRequest::parse(body).unwrap_err().to_string(), want);
    }
    let big = vec![b' '; MAX_REQUEST_BYTES + 1];
    assert!(matches!(AnswerRequest::parse(&big), Err(Malformed::TooLarge { .. })));
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    let deep = "[".repeat(100_000);
    assert!(AnswerRequest::parse(deep.as_bytes()).is_err());
}

fn report() -> Value {
    json!({
        "$schema": { "version": "1.2" },
        "product": { "fullname": "Proxmox VE", "short": "pve", "version": "9.2.3" },
        "boot-info": { "mode": "efi", "secureboot": true },
        "cpu-info": { "model": "Some CPU", "cores": 8 },
        "dmi": { "system": { "name": "Box 3" }, "chassis": { "asset-tag": "u12" } },
        "filesystem": "zfs (RAID1)",
        "fqdn": "pve-a1.lab.example.net",
        "machine-id": "0123456789abcdef0123456789abcdef",
        "disks": [
            { "size": 1, "is-bootdisk": true, "udev-properties": { "DEVNAME": "/dev/sda", "ID_SERIAL_SHORT": "S1" } },
            { "size": 1, "udev-properties": { "DEVNAME": "/dev/sdb" } },
            { "size": 1 }
        ],
        "network-interfaces": [
            { "name": "eno2", "mac": "52:54:00:aa:bb:02", "udev-properties": {} },
            { "name": "eno1", "mac": "52:54:00:aa:bb:01", "address": "192.0.2.21/24", "is-management": true }
        ],
        "ssh-public-host-keys": {
            "ed25519": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f root@pve-a1",
            "rsa": "unknown"
        },
        "token": "t0k3n"
    })
}

#[test]
fn a_report_tells_keys_address_disks_and_boot_mode() {
    let got = InstallReport::parse(report().to_string().as_bytes()).unwrap();
    assert_eq!(got.fqdn.as_deref(), Some("pve-a1.lab.example.net"));
    assert_eq!(got.product_version.as_deref(), Some("9.2.3"));
    assert!(got.secure_boot);
    assert_eq!(got.machine_id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    assert_eq!(
        got.management,
        Some(("52:54:00:aa:bb:01".parse().unwrap(), "192.0.2.21/24".to_owned()))
    );
    assert_eq!(
        got.ssh_host_keys,
        ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]
    );
    assert_eq!(got.token.map(|t| t.expose().clone()).as_deref(), Some("t0k3n"));
    let boot: Vec<bool> = got.inventory.disks.iter().map(|d| d.is_boot_disk).collect();
    assert_eq!(boot, [true, false]);
    assert_eq!(got.inventory.firmware, Some(Firmware::Uefi));
    assert_eq!(got.inventory.nics.len(), 2);
    assert_eq!(got.inventory.asset.as_deref(), Some("u12"));
}

#[test]
fn what_the_installer_could_not_gather_is_absent() {
    let mut body = report();
    for key in ["fqdn", "machine-id", "filesystem"] {
        body[key] = json!("unknown");
    }
    body["boot-info"] = json!({ "mode": "bios" });
    body["disks"] = json!("unknown");
    body["cpu-info"] = json!(0);
    let got = InstallReport::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!((got.fqdn, got.machine_id, got.filesystem), (None, None, None));
    assert!(!got.secure_boot);
    assert_eq!(got.inventory.firmware, Some(Firmware::Bios));
    assert!(got.inventory.disks.is_empty() && got.inventory.cpu.is_none());
    assert!(InstallReport::parse(b"{}").is_ok());
}

#[test]
fn a_report_of_several_megabytes_is_read() {
    let mut body = report();
    let filler: Map<String, Value> =
        (0..60_000).map(|i| (format!("ID_FILL_{i}"), json!("x".repeat(40)))).collect();
    body["network-interfaces"][0]["udev-properties"] = Value::Object(filler);
    let body = body.to_string();
    assert!(body.len() > 3_000_000);
    assert!(InstallReport::parse(body.as_bytes()).unwrap().management.is_some());
}

proptest! {
    #[test]
    fn no_body_makes_the_parsers_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = AnswerRequest::parse(&body);
        let _ = InstallReport::parse(&body);
    }

    #[test]
    fn a_known_body_with_one_value_replaced_never_panics(at in 0usize..40, with in prop_oneof![
        Just(json!(null)), Just(json!([])), Just(json!({})), Just(json!(-1)), Just(json!("\u{0}\u{7f}é")), Just(json!(true)),
    ]) {
        for base in [request(), report()] {
            let mut pointers = Vec::new();
            paths(&base, String::new(), &mut pointers);
            let mut body = base.clone();
            let pointer = &pointers[at % pointers.len()];
            *body.pointer_mut(pointer).unwrap() = with.clone();
            let body = body.to_string();
            let _ = AnswerRequest::parse(body.as_bytes());
            let _ = InstallReport::parse(body.as_bytes());
        }
    }
}

fn paths(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                paths(inner, format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                paths(inner, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(at);
}
