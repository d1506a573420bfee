//! The preview is the answer that is served, but for its secrets.

use super::*;
use crate::domain::inventory::Disk;
use crate::plan::answer::preview::{
    KEY as KEY_BLANK, Outcome, PASSWORD as PASSWORD_BLANK, PasswordOrigin, Preview, SUBSCRIPTION,
    TOKEN, named, preview,
};

const OWN_KEY: &str = "pve2c-0123456789";

impl Case {
    fn with_inputs<T>(&self, then: impl FnOnce(&AnswerInputs<'_>) -> T) -> T {
        let template = Template::parse("template", &self.template).unwrap();
        then(&AnswerInputs {
            dialect: self.dialect,
            host: &self.host,
            server_type: &self.server_type,
            template: &template,
            time_zones: self.zones.as_ref(),
            enforced: &self.enforced,
        })
    }

    fn preview(&self) -> Preview {
        self.with_inputs(|inputs| preview(inputs, PasswordOrigin::Random))
    }
}

#[test]
fn a_preview_is_the_served_text_but_for_its_secrets() {
    for dialect in Dialect::ALL {
        for template in TEMPLATES {
            let mut case = Case::new(dialect);
            case.template = template.to_owned();
            if template.contains("mirror") {
                case.server_type.boot_disk =
                    DiskSelection::Devices { names: vec!["sda".to_owned(), "sdb".to_owned()] };
            }
            if dialect.has(Feature::SubscriptionKey) {
                case = case.with(json!({ "global": { "subscription-key": OWN_KEY } }));
            }
            let served = case.with_inputs(|inputs| prepare(inputs, None)).unwrap().text;
            let text = case.preview().text.expect("the same answer");
            for secret in [OWN_KEY, "0011", PASSWORD.plain.expose(), PASSWORD.hash.expose(), KEY] {
                assert!(!text.contains(secret), "{dialect}: {secret} in\n{text}");
            }
            let password = if dialect.has(Feature::HashedPassword) {
                PASSWORD.hash.expose()
            } else {
                PASSWORD.plain.expose()
            };
            let filled = text
                .replace(PASSWORD_BLANK, password)
                .replace(KEY_BLANK, KEY)
                .replace(TOKEN, "0011")
                .replace(SUBSCRIPTION, OWN_KEY);
            assert_eq!(filled, served, "{dialect}");
        }
    }
}

#[test]
fn every_value_names_its_layer_and_what_it_replaced() {
    let mut case = Case::new(Dialect::V9_2)
        .with(json!({ "global": { "country": "de", "subscription-key": "pve1b-00000000aa" } }));
    let own = json!({ "global": { "country": "at", "subscription-key": OWN_KEY } });
    case.host.overrides.answer = own.as_object().unwrap().clone();
    case.host.overrides.boot_disk =
        Some(DiskSelection::Devices { names: vec!["nvme0n1".to_owned()] });
    let Preview { values, checks, .. } = case.preview();
    assert!(checks.iter().all(|check| check.outcome == Outcome::Passed), "{checks:#?}");
    let value = |key: &str| values.iter().find(|v| v.key == key).unwrap();
    let below = |key: &str| -> Vec<(Layer, String)> {
        value(key).overridden.iter().map(|l| (l.layer, l.value.to_string())).collect()
    };
    assert_eq!(value("global.country").layer, Layer::Host);
    let layers: Vec<Layer> = below("global.country").iter().map(|(layer, _)| *layer).collect();
    assert_eq!(layers, [Layer::Template, Layer::ServerType]);
    assert_eq!(below("global.subscription-key"), [(Layer::ServerType, "\"(secret)\"".to_owned())]);
    assert_eq!(
        below("disk-setup.disk-list"),
        [(Layer::ServerType, "\"ID_SERIAL_SHORT = S4EWNX0N100000\"".to_owned())]
    );
    for (key, layer) in [
        ("global.fqdn", Layer::Enforced),
        ("global.root-password-hashed", Layer::Rebuild),
        ("global.root-ssh-keys", Layer::Rebuild),
        ("post-installation-webhook.url", Layer::Rebuild),
        ("network.source", Layer::Enforced),
        ("disk-setup.filesystem", Layer::Template),
    ] {
        assert_eq!(value(key).layer, layer, "{key}");
    }
    let all = format!("{values:?}");
    assert!(!all.contains(OWN_KEY) && !all.contains("00000000aa") && !all.contains(KEY), "{all}");
}

#[test]
fn a_broken_rule_says_what_to_do_and_the_values_stay_visible() {
    let mut case = Case::new(Dialect::V8_4).with(json!({
        "global": { "country": "xx" }, "network": { "interface-name-pinning": { "enabled": true } },
    }));
    case.server_type.boot_disk = DiskSelection::PerHost;
    let Preview { text, values, checks, .. } = case.preview();
    assert_eq!(text, None);
    assert!(values.iter().any(|v| v.key == "global.country"));
    let told = |word: &str| checks.iter().find(|c| c.rule.contains(word)).unwrap();
    let country = told("Country");
    assert_eq!(country.outcome, Outcome::Failed);
    assert!(country.said.concat().contains("'xx'"), "{country:?}");
    assert_eq!(country.hint, "Correct the server type small.");
    let disk = told("disk selection");
    assert!(disk.said.concat().contains("leaves the disk to each host"), "{disk:?}");
    assert!(told("installer knows every key").hint.contains("release 9.1 or newer"));
    assert_eq!(told("second reader").outcome, Outcome::Open);
    assert_eq!(told("password hash").outcome, Outcome::Passed);
}

#[test]
fn the_named_disks_are_explained_and_found_among_those_that_are_known() {
    let disk = |device: &str, serial: &str| Disk {
        device: device.to_owned(),
        serial: Some(serial.to_owned()),
        model: Some("Contoso 4 TB".to_owned()),
        wwn: None,
        is_boot_disk: false,
    };
    let inventory = Inventory {
        disks: vec![disk("/dev/sda", "AAA111"), disk("/dev/sdb", "BBB222")],
        ..Inventory::default()
    };
    let by = DiskSelection::Property { property: "ID_SERIAL_SHORT".into(), value: "BBB222".into() };
    let told = named(&by, Layer::ServerType, &inventory).unwrap();
    assert_eq!(told.disks, "the disk whose ID_SERIAL_SHORT is “BBB222”");
    assert_eq!(told.known, ["/dev/sdb · Contoso 4 TB · serial BBB222"]);
    let devices = DiskSelection::Devices { names: vec!["sda".into()] };
    let told = named(&devices, Layer::Host, &inventory).unwrap();
    assert_eq!((told.disks.as_str(), told.known.len()), ("/dev/sda", 1));
    for none in [
        DiskSelection::PerHost,
        DiskSelection::Property { property: "ID_SERIAL_SHORT".into(), value: "B*".into() },
    ] {
        assert_eq!(named(&none, Layer::Host, &inventory), None);
    }
}
