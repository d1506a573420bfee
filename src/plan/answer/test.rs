//! Golden answers per dialect, and the rules.

mod hostile;
mod preview;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::access::{GeneratedPassword, RootPassword, generated_password};
use super::*;
use crate::domain::host::{Host, HostState, StaticNetwork};
use crate::domain::id::HostId;
use crate::domain::inventory::Inventory;
use crate::domain::mac::Mac;
use crate::domain::secret::Secret;
use crate::domain::server_type::{DiskSelection, ServerType};
use crate::domain::time::Timestamp;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f rebuild";

/// Hashing takes milliseconds, and thousands of cases are composed.
static PASSWORD: LazyLock<GeneratedPassword> =
    LazyLock::new(|| generated_password([7; 24], [9; 12]).unwrap());

const TEMPLATES: [&str; 4] = [
    include_str!("../../../answer-templates/ext4-lvm.toml"),
    include_str!("../../../answer-templates/zfs-single.toml"),
    include_str!("../../../answer-templates/zfs-mirror.toml"),
    include_str!("../../../answer-templates/btrfs-single.toml"),
];

/// Everything that an answer is made of, to be bent by each test.
#[derive(Clone)]
struct Case {
    dialect: Dialect,
    host: Host,
    server_type: ServerType,
    template: String,
    zones: Option<BTreeSet<String>>,
    enforced: Enforced,
}

impl Case {
    fn new(dialect: Dialect) -> Self {
        let host = Host {
            uuid: "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().ok(),
            state: HostState::PxeReady,
            ..Host::new(
                HostId(Uuid::nil()),
                "pve-a1".parse().unwrap(),
                vec![Mac([0x52, 0x54, 0, 0xaa, 0xbb, 1])],
                "small".parse().unwrap(),
                Timestamp(0),
            )
        };
        let server_type = ServerType {
            name: "small".parse().unwrap(),
            display_name: "Small".to_owned(),
            boot_disk: DiskSelection::Property {
                property: "ID_SERIAL_SHORT".to_owned(),
                value: "S4EWNX0N100000".to_owned(),
            },
            management_nic: None,
            gpu: false,
            pools: Vec::new(),
            hostname_prefix: "pve-a".to_owned(),
            domain: "lab.example.net".to_owned(),
            answer_template: "ext4-lvm".to_owned(),
            answer: Map::new(),
            min_memory_mib: None,
            matching: None,
            boot_on_rebuild: false,
            labels: [("site".to_owned(), "Vienna".to_owned())].into(),
        };
        let callback = |path: &str| Callback {
            url: format!("http://192.0.2.10:8080{path}"),
            cert_fingerprint: None,
        };
        let enforced = Enforced {
            ssh_keys: vec![KEY.to_owned()],
            root_password: RootPassword::Generated(PASSWORD.clone()),
            webhook: callback("/api/hosts/x/installed?token=0011"),
            first_boot: callback("/api/hosts/x/first-boot-script?token=0011"),
            ordering: Ordering::NetworkOnline,
        };
        let template = include_str!("../../../answer-templates/ext4-lvm.toml").to_owned();
        Self { dialect, host, server_type, template, zones: None, enforced }
    }

    fn with(mut self, answer: Value) -> Self {
        let Value::Object(map) = answer else { panic!("a table is needed") };
        self.server_type.answer = map;
        self
    }

    fn compose(&self) -> Result<Composed, Vec<AnswerProblem>> {
        let template = Template::parse("template", &self.template)?;
        compose(&AnswerInputs {
            dialect: self.dialect,
            host: &self.host,
            server_type: &self.server_type,
            template: &template,
            time_zones: self.zones.as_ref(),
            enforced: &self.enforced,
        })
    }

    fn problems(&self) -> Vec<String> {
        self.compose().map_or_else(
            |problems| problems.iter().map(ToString::to_string).collect(),
            |composed| panic!("no problem: {}", render_toml(&composed.answer, self.dialect)),
        )
    }

    /// The only problem there is.
    fn problem(&self) -> String {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        problems.concat()
    }
}

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it instead.
fn assert_golden(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, want, "{} differs; UPDATE_GOLDEN=1 writes it", path.display());
}

fn fixed_network() -> StaticNetwork {
    StaticNetwork {
        cidr: "192.0.2.21/24".to_owned(),
        gateway: "192.0.2.1".parse().unwrap(),
        dns: "192.0.2.1".parse().unwrap(),
    }
}

fn golden_cases(dialect: Dialect) -> Vec<(&'static str, Case)> {
    let plain = Case::new(dialect);
    let mut mirror = Case::new(dialect);
    mirror.template = include_str!("../../../answer-templates/zfs-mirror.toml").to_owned();
    mirror.server_type.boot_disk =
        DiskSelection::Devices { names: vec!["nvme0n1".to_owned(), "nvme1n1".to_owned()] };
    mirror.host.overrides.network = Some(fixed_network());
    mirror.enforced.webhook.cert_fingerprint = Some([0xab; 32]);
    let mut answer = json!({
        "global": { "country": "at", "timezone": "Europe/{{ labels.site }}", "reboot_on_error": false },
        "disk-setup": { "zfs": { "arc_max": 4096, "hdsize": 100.5 } },
    });
    if dialect.has(Feature::NamePinning) {
        answer["network"] = json!({ "interface-name-pinning": {
            "enabled": true, "mapping": { "52:54:00:AA:BB:01": "mgmt0" } } });
    }
    if dialect.has(Feature::SubscriptionKey) {
        answer["global"]["subscription-key"] = json!("pve2c-0123456789");
    }
    let mut btrfs = Case::new(dialect);
    btrfs.template = include_str!("../../../answer-templates/btrfs-single.toml").to_owned();
    btrfs.host.overrides.boot_disk = Some(DiskSelection::Property {
        property: "ID_WWN".to_owned(),
        value: "0x5002538e40a1b2c3".to_owned(),
    });
    vec![
        ("ext4-dhcp", plain),
        ("zfs-mirror-fixed", mirror.with(answer)),
        ("btrfs-host-disk", btrfs),
    ]
}

#[test]
fn answers_of_every_dialect_are_golden_and_pass_the_independent_reader() {
    for dialect in Dialect::ALL {
        for (name, case) in golden_cases(dialect) {
            let composed = case.compose().unwrap_or_else(|p| panic!("{name} {dialect}: {p:#?}"));
            let text = render_toml(&composed.answer, dialect);
            assert_eq!(validate_answer_text(&text, dialect), Ok(()), "{name} {dialect}\n{text}");
            let path = tests_dir().join(format!("golden/answers/{name}-{dialect}.toml"));
            assert_golden(&path, &text);
            if dialect.has(Feature::Json) {
                let json = render_json(&composed.answer, dialect);
                assert_golden(&path.with_extension("json"), &json);
                let same: Value =
                    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
                assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), same);
            }
        }
    }
}

#[test]
fn a_prepared_answer_has_the_format_that_the_client_asked_for() {
    let case = Case::new(Dialect::V9_2);
    let template = Template::parse("template", &case.template).unwrap();
    let inputs = AnswerInputs {
        dialect: case.dialect,
        host: &case.host,
        server_type: &case.server_type,
        template: &template,
        time_zones: None,
        enforced: &case.enforced,
    };
    let json = prepare(&inputs, Some("application/json, application/toml;q=0.5")).unwrap();
    assert_eq!(json.format.content_type(), "application/json");
    assert!(serde_json::from_str::<Value>(&json.text).is_ok());
    let toml = prepare(&inputs, None).unwrap();
    assert_eq!(toml.format.content_type(), "application/toml");
    let keys: Vec<String> = (0..20_000).map(|_| KEY.to_owned()).collect();
    let huge = Enforced { ssh_keys: keys, ..case.enforced.clone() };
    let problems = prepare(&AnswerInputs { enforced: &huge, ..inputs }, None).unwrap_err();
    assert!(problems[0].to_string().contains("at most 262144 are sent"), "{problems:?}");
}

#[test]
fn an_8_2_answer_is_refused_by_newer_readers_and_the_other_way_round() {
    let old = golden_cases(Dialect::V8_2).remove(0).1.compose().unwrap();
    let new = golden_cases(Dialect::V9_2).remove(0).1.compose().unwrap();
    assert!(validate_answer_text(&render_toml(&new.answer, Dialect::V9_2), Dialect::V8_2).is_err());
    assert!(validate_answer_text(&render_toml(&new.answer, Dialect::V9_2), Dialect::V8_3).is_err());
    // Old spellings are still aliases in 9.2.
    assert_eq!(
        validate_answer_text(&render_toml(&old.answer, Dialect::V8_2), Dialect::V9_2),
        Ok(())
    );
}

#[test]
fn iso_8_2_gets_no_callbacks_and_the_caller_is_told() {
    let composed = Case::new(Dialect::V8_2).compose().unwrap();
    let sections: Vec<&str> = composed.omitted.iter().map(|o| o.section).collect();
    assert_eq!(sections, ["post-installation-webhook", "first-boot"]);
    assert!(composed.answer.webhook.is_none() && composed.answer.first_boot.is_none());
    assert!(Case::new(Dialect::V8_3).compose().unwrap().omitted.is_empty());
}

#[test]
fn iso_8_2_takes_no_configured_hash() {
    let mut case = Case::new(Dialect::V8_2);
    let RootPassword::Generated(made) = &case.enforced.root_password else { unreachable!() };
    case.enforced.root_password = RootPassword::Configured(made.hash.clone());
    let problems = case.compose().unwrap_err();
    assert_eq!(problems.iter().map(|p| p.since).collect::<Vec<_>>(), [Some(Dialect::V8_3)]);
    case.dialect = Dialect::V8_3;
    assert!(case.compose().is_ok());
    case.enforced.root_password = RootPassword::Configured(Secret::new("hunter22".to_owned()));
    assert!(
        case.problem()
            .starts_with("global.root-password-hashed (from the appliance): a crypt(3) hash")
    );
}

#[test]
fn later_layers_win_and_each_key_tells_its_origin() {
    let mut case = Case::new(Dialect::V9_2)
        .with(json!({ "global.country": "at", "global": { "keyboard": "de" } }));
    case.host.overrides.answer =
        serde_json::from_value(json!({ "global.keyboard": "fr", "disk_setup.lvm.maxroot": 40 }))
            .unwrap();
    let composed = case.compose().unwrap();
    let origin = |key: &str| {
        let found = composed.layers.iter().find(|l| l.key == key).unwrap();
        (found.layer, found.value.clone())
    };
    assert_eq!(origin("global.timezone"), (Layer::Template, json!("UTC")));
    assert_eq!(origin("global.country"), (Layer::ServerType, json!("at")));
    assert_eq!(origin("global.keyboard"), (Layer::Host, json!("fr")));
    assert_eq!(origin("disk-setup.lvm.maxroot"), (Layer::Host, json!(40)));
    assert_eq!(origin("global.fqdn"), (Layer::Enforced, json!("pve-a1.lab.example.net")));
    assert_eq!(origin("disk-setup.filter.ID_SERIAL_SHORT").0, Layer::ServerType);
    assert_eq!(origin("global.root-password-hashed"), (Layer::Enforced, json!("(secret)")));
    let told = format!("{:?}", composed.layers);
    assert!(!told.contains("token=0011") && !told.contains("$6$"), "{told}");
}

#[test]
fn every_rule_names_the_key_and_what_is_allowed() {
    let cases = [
        (
            json!({"global.country": "uk"}),
            "global.country (from the server type): 'uk' is not a lower-case two-letter country code (ISO 3166-1); the United Kingdom is \"gb\"",
        ),
        (
            json!({"global.country": "AT"}),
            "global.country (from the server type): 'AT' is not a lower-case two-letter country code (ISO 3166-1); write \"at\"",
        ),
        (
            json!({"global.keyboard": "us"}),
            "global.keyboard (from the server type): 'us' is not allowed; allowed: de, de-ch, dk",
        ),
        (json!({"global.timezone": "Etc/UTC"}), "write UTC"),
        (json!({"global.timezone": "EST5EDT"}), "is not a zone that the installer takes"),
        (json!({"global.timezone": "US/Eastern"}), "is not a zone that the installer takes"),
        (json!({"global.mailto": "mail@example.invalid"}), "is refused by the installer"),
        (json!({"global.mailto": "a@b@c"}), "is not an e-mail address"),
        (json!({"global.subscription-key": "pbs-0123456789"}), "not a Proxmox VE subscription key"),
        (json!({"global.mailto": "x@{{ serial }}"}), "names something that is not known"),
        (json!({"global.mailto": "{{ range(9) }}@x"}), "a placeholder is a name"),
        (json!({"global.mailto": "{% for a in b %}"}), "no statements"),
        (json!({"global.mailto": "{{ hostname"}), "not closed"),
        (json!({"global.mailto": "a@b\nc"}), "control characters"),
        (json!({"global.mailto": "x".repeat(2000)}), "longer than 1024 bytes"),
        (
            json!({"disk-setup.filesystem": "EXT4"}),
            "'EXT4' is not allowed; allowed: ext4, xfs, zfs, btrfs",
        ),
        (json!({"disk-setup.lvm.hdsize": 4}), "out of range; 8 to"),
        (json!({"disk-setup.lvm.maxvz": -1}), "out of range; 0 to"),
        (json!({"disk-setup.lvm.hdsize": 15}), "at most half of hdsize (15 GiB)"),
        (json!({"disk-setup.lvm.hdsize": 32}), "more than hdsize (32 GiB)"),
        (json!({"disk-setup.zfs.ashift": 12}), "does not go with filesystem = \"ext4\""),
        (json!({"global.fqdn": "a.b"}), "is set by Ironhatch"),
        (json!({"disk-setup": {"filter": {"ID_MODEL": "*"}}}), "is set by Ironhatch"),
        (json!({"disk_setup": {"filter_match": "all"}}), "is set by Ironhatch"),
        (json!({"global": {"root_password": "hunter22"}}), "is set by Ironhatch"),
        (json!({"first-boot": {"source": "from-iso"}}), "is set by Ironhatch"),
        (json!({"global.colour": "red"}), "the installer has no such key"),
        (json!({"global": 7}), "the installer has no such key"),
        (
            json!({"network.interface-name-pinning.mapping.52:54:00:aa:bb:01": "x0"}),
            "has no effect unless",
        ),
    ];
    for (answer, want) in cases {
        let problems = Case::new(Dialect::V9_2).with(answer.clone()).problems();
        assert!(problems.iter().any(|p| p.contains(want)), "{answer}: {problems:#?}");
    }
}

#[test]
fn gates_name_the_first_release_that_can() {
    let pinning = json!({"network.interface-name-pinning.enabled": true});
    let problem = Case::new(Dialect::V9_0).with(pinning).problem();
    assert_eq!(
        problem,
        "network.interface-name-pinning.enabled (from the server type): needs an ISO of release 9.1 or newer; this one is 9.0"
    );
    let key = json!({"global.subscription-key": "pve1c-0123456789"});
    assert_eq!(
        Case::new(Dialect::V9_1).with(key).compose().unwrap_err()[0].since,
        Some(Dialect::V9_2)
    );
}

#[test]
fn pinning_that_is_switched_off_leaves_no_table() {
    let off = json!({"network.interface-name-pinning.enabled": false});
    let composed = Case::new(Dialect::V9_2).with(off).compose().unwrap();
    assert!(!render_toml(&composed.answer, Dialect::V9_2).contains("pinning"));
    for (mapping, want) in [
        (json!({"52:54:00:aa:bb:01": "1x"}), "is not a NIC name"),
        (json!({"nonsense": "nic0"}), "a MAC address is expected"),
        (json!({"52:54:00:aa:bb:01": "nic0", "52:54:00:aa:bb:02": "nic0"}), "is given to two NICs"),
        (json!({"52:54:00:aa:bb:01": "nic0", "52:54:00:AA:BB:01": "nic1"}), "listed twice"),
    ] {
        let table =
            json!({"network": {"interface-name-pinning": {"enabled": true, "mapping": mapping}}});
        let problem = Case::new(Dialect::V9_2).with(table).problem();
        assert!(problem.contains(want), "{problem}");
    }
}

#[test]
fn a_fixed_address_selects_its_nic_by_one_exact_property() {
    let mut case = Case::new(Dialect::V9_2);
    case.host.overrides.network = Some(fixed_network());
    let nic = |case: &Case| match case.compose().unwrap().answer.network.source {
        Source::Fixed { nic, .. } => nic,
        Source::Dhcp => panic!("fixed"),
    };
    assert_eq!(nic(&case), ("ID_NET_NAME_MAC".to_owned(), "enx525400aabb01".to_owned()));
    for (text, property, value) in [
        ("52:54:00:AA:BB:02", "ID_NET_NAME_MAC", "enx525400aabb02"),
        ("eno1", "INTERFACE", "eno1"),
        ("ID_PATH=pci-0000:04:00.0", "ID_PATH", "pci-0000:04:00.0"),
    ] {
        case.server_type.management_nic = Some(text.to_owned());
        assert_eq!(nic(&case), (property.to_owned(), value.to_owned()));
    }
    for bad in ["en*", "ID_MODEL=x", "=", "INTERFACE=", "en o1", "INTERFACE=eno?"] {
        case.server_type.management_nic = Some(bad.to_owned());
        assert!(case.problem().starts_with("network.filter"), "{bad}");
    }
    case.server_type.management_nic = None;
    for bad in
        ["192.0.2.21", "192.0.2.0/24", "192.0.2.21/32", "192.0.2.1/24", "198.51.100.2/24", "x"]
    {
        case.host.overrides.network.as_mut().unwrap().cidr = bad.to_owned();
        assert!(case.problem().starts_with("network.cidr (from the host)"), "{bad}");
    }
}

#[test]
fn raid_levels_need_their_disks() {
    let disks =
        |n: usize| DiskSelection::Devices { names: (0..n).map(|i| format!("nvme{i}n1")).collect() };
    for (level, good, bad) in [
        ("raid0", vec![1, 2, 5], vec![]),
        ("raid1", vec![2, 3], vec![1]),
        ("raid10", vec![4, 6], vec![1, 2, 3, 5]),
        ("raidz-1", vec![3], vec![2]),
        ("raidz-2", vec![4], vec![3]),
        ("raidz-3", vec![5], vec![4]),
    ] {
        let mut case = Case::new(Dialect::V9_2).with(json!({"disk-setup.zfs.raid": level}));
        case.template = include_str!("../../../answer-templates/zfs-single.toml").to_owned();
        for n in good {
            case.server_type.boot_disk = disks(n);
            assert!(case.compose().is_ok(), "{level} {n}");
        }
        for n in bad {
            case.server_type.boot_disk = disks(n);
            assert!(case.problem().contains("needs"), "{level} {n}");
        }
    }
    for wrong in ["raidz1", "RAID1", "raid5"] {
        let mut case = Case::new(Dialect::V9_2).with(json!({"disk-setup.zfs.raid": wrong}));
        case.template = include_str!("../../../answer-templates/zfs-single.toml").to_owned();
        assert!(case.problem().contains("is not allowed"), "{wrong}");
    }
    let mut two = Case::new(Dialect::V9_2);
    two.server_type.boot_disk = disks(2);
    assert_eq!(
        two.problem(),
        "disk-setup.disk-list (from the server type): ext4 and xfs take exactly one disk, 2 are named"
    );
}

#[test]
fn a_host_without_its_own_disk_is_refused_when_the_type_asks_for_one() {
    let mut case = Case::new(Dialect::V9_2);
    case.server_type.boot_disk = DiskSelection::PerHost;
    assert!(case.problem().contains("set the host's boot disk"));
    case.host.overrides.boot_disk =
        Some(DiskSelection::Devices { names: vec!["/dev/sda".to_owned()] });
    let composed = case.compose().unwrap();
    assert_eq!(composed.answer.disk_setup.disks.list().unwrap(), ["/dev/sda"]);
}

#[test]
fn names_and_zones_are_checked_with_what_the_machine_knows() {
    let mut case = Case::new(Dialect::V9_2).with(json!({"global.timezone": "Europe/Wien"}));
    assert!(case.compose().is_ok());
    case.zones = Some(["Europe/Vienna".to_owned()].into());
    assert!(case.problem().contains("is not in this machine's zone.tab"));
    let mut nameless = Case::new(Dialect::V9_2);
    nameless.server_type.domain = String::new();
    assert!(nameless.problems().iter().any(|p| p.contains("is the server type's domain set?")));
    let mut locked = Case::new(Dialect::V9_2);
    locked.enforced.ssh_keys.clear();
    assert!(locked.problem().contains("at least the key of this rebuild"));
    let mut url = Case::new(Dialect::V9_2);
    url.enforced.webhook.url = "ftp://x".to_owned();
    assert!(url.problem().starts_with("post-installation-webhook.url"));
}

#[test]
fn the_oddest_zones_of_zone_tab_are_zones() {
    for zone in [
        "UTC",
        "Africa/Dar_es_Salaam",
        "America/Argentina/ComodRivadavia",
        "America/North_Dakota/New_Salem",
        "America/Port-au-Prince",
        "Antarctica/DumontDUrville",
        "Arctic/Longyearbyen",
        "Asia/Ust-Nera",
        "Atlantic/St_Helena",
        "Pacific/Port_Moresby",
    ] {
        assert_eq!(rules::timezone(zone, None), Ok(()), "{zone}");
    }
    for bad in [
        "",
        "utc",
        "GMT",
        "Etc/GMT+1",
        "Europe",
        "Europe/",
        "/Vienna",
        "Europe/../x",
        "europe/vienna",
        "Europe/Vienna ",
    ] {
        assert!(rules::timezone(bad, None).is_err(), "{bad}");
    }
}

#[test]
fn all_249_countries_are_known() {
    let letters = || b'a'..=b'z';
    let known = letters()
        .flat_map(|a| letters().map(move |b| String::from_utf8(vec![a, b]).unwrap()))
        .filter(|code| rules::country(code).is_ok())
        .count();
    assert_eq!(known, 249);
}

#[test]
fn fixtures_of_whole_answers_are_judged_as_written_beside_them() {
    let mut seen = 0;
    for verdict in ["ok", "fail"] {
        let dir = tests_dir().join("fixtures/answer").join(verdict);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "toml")) {
            let text = std::fs::read_to_string(file).unwrap();
            let first = text.lines().next().unwrap_or_default();
            let dialects =
                first.strip_prefix("# releases: ").expect("the first line names releases");
            for dialect in dialects.split(' ').map(|d| d.parse::<Dialect>().unwrap()) {
                let outcome = validate_answer_text(&text, dialect);
                assert_eq!(
                    outcome.is_ok(),
                    verdict == "ok",
                    "{} {dialect}: {outcome:?}",
                    file.display()
                );
                let found = outcome.err().unwrap_or_else(|| vec!["ok".to_owned()]).join("\n");
                assert_golden(&file.with_extension("expect"), &format!("{found}\n"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "only {seen} fixtures");
}
