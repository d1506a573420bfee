//! Attempts to break rule 2 of the design, and to make readers panic.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Case, TEMPLATES};
use crate::domain::server_type::DiskSelection;
use crate::plan::answer::{Dialect, disk, render_toml, validate_answer_text};

/// Values that people and attackers would try.
fn disk_text() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => prop::sample::select(vec![
            "*", "sd?", "[a-z]*", "/dev/disk/by-id/ata-X", "mmcblk0", "a", "da", "{{ serial }}",
        ]).prop_map(str::to_owned),
        2 => "(/dev/)?[shv]d[a-d]?",
        2 => "nvme[0-3]n[1-2]",
        4 => "S4[A-Z0-9]{6}[*?!\\[]?",
        1 => ".{0,12}",
    ]
}

fn selection() -> impl Strategy<Value = DiskSelection> {
    let property = prop_oneof![
        4 => prop::sample::select(disk::DISK_PROPERTIES.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["ID_MODEL", "DEVNAME", "ID_BUS", "", "x.y"]).prop_map(str::to_owned),
        1 => ".{0,10}",
    ];
    prop_oneof![
        6 => (property, disk_text())
            .prop_map(|(property, value)| DiskSelection::Property { property, value }),
        3 => prop::collection::vec(disk_text(), 0..5).prop_map(|names| DiskSelection::Devices { names }),
        1 => Just(DiskSelection::PerHost),
    ]
}

/// What a layer could try to smuggle in.
fn layer_value() -> impl Strategy<Value = Map<String, Value>> {
    let path = prop::sample::select(vec![
        "disk-setup.filter.ID_MODEL",
        "disk_setup.filter",
        "disk-setup.filter-match",
        "disk-setup.disk_list",
        "disk-setup.disk-list",
        "disk-setup",
        "disk_setup",
        "disk-setup.zfs.raid",
        "disk-setup.filesystem",
        "global.mailto",
        "disk-setup.filter_match",
        "network.filter.X",
        "disk-setup.filter\n",
        "Disk-Setup.filter.X",
    ]);
    let value = prop_oneof![
        Just(json!("*")),
        Just(json!("all")),
        Just(json!(["sda", "sdb"])),
        Just(json!({"ID_MODEL": "*"})),
        Just(json!({"filter": {"ID_MODEL": "*", "ID_BUS": "ata"}})),
        Just(json!({"zfs": {"raid": "raid0"}, "filter-match": "all"})),
        Just(json!("x@y\"\n[disk-setup.filter]\nID_MODEL = \"*\"")),
        Just(json!("zfs")),
        Just(json!("raid0")),
    ];
    let some = prop::collection::btree_map(path.prop_map(str::to_owned), value, 1..4)
        .prop_map(|m| m.into_iter().collect());
    // Mostly nothing: otherwise hardly any case would get as far as an answer.
    prop_oneof![6 => Just(Map::new()), 1 => some]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Rule 2 of the design: whatever is put in, an answer that comes out selects disks by one exact property or by whole
    /// kernel paths that the operator named, and nothing else.
    #[test]
    fn no_input_yields_an_answer_that_could_match_other_disks(
        of_type in selection(),
        of_host in prop::option::of(selection()),
        of_layers in (layer_value(), layer_value()),
        dialect in prop::sample::select(Dialect::ALL.to_vec()),
        template in prop::sample::select(TEMPLATES.to_vec()),
    ) {
        let mut case = Case::new(dialect);
        case.template = template.to_owned();
        case.server_type.boot_disk = of_type.clone();
        case.host.overrides.boot_disk = of_host.clone();
        case.server_type.answer = of_layers.0;
        case.host.overrides.answer = of_layers.1;
        let Ok(composed) = case.compose() else { return Ok(()) };
        let text = render_toml(&composed.answer, dialect);
        prop_assert_eq!(validate_answer_text(&text, dialect), Ok(()), "{}", text);
        let root: toml::Table = text.parse().unwrap();
        let disks = root["disk-setup"].as_table().unwrap();
        prop_assert!(!text.contains("filter-match") && !text.contains("filter_match"));
        let named = of_host.unwrap_or(of_type);
        let list = disks.get("disk-list").or_else(|| disks.get("disk_list")).map(|l| l.as_array().unwrap());
        match (named, disks.get("filter").map(|f| f.as_table().unwrap()), list) {
            (DiskSelection::Property { property, value }, Some(filter), None) => {
                prop_assert_eq!(filter.len(), 1);
                prop_assert_eq!(filter[&property].as_str(), Some(value.as_str()));
                prop_assert!(disk::DISK_PROPERTIES.contains(&property.as_str()));
                prop_assert!(!value.is_empty() && !value.contains(['*', '?', '[', ']', '!']));
            }
            (DiskSelection::Devices { names }, None, Some(list)) => {
                prop_assert!(!list.is_empty());
                prop_assert_eq!(list.len(), names.len());
                for (path, name) in list.iter().zip(&names) {
                    let path = path.as_str().unwrap();
                    prop_assert_eq!(path.strip_prefix("/dev/"), Some(name.strip_prefix("/dev/").unwrap_or(name)));
                    prop_assert!(!path.contains(['*', '?', '[']) && path.len() >= 8);
                }
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_text_makes_the_independent_reader_panic(text in "[\\[\\]a-z=\"{}.\n-]{0,120}", dialect in prop::sample::select(Dialect::ALL.to_vec())) {
        let _ = validate_answer_text(&text, dialect);
    }

    #[test]
    fn values_never_become_keys(text in "[ -~\\n\\t]{0,60}") {
        let case = Case::new(Dialect::V9_2).with(json!({"global.mailto": text}));
        if let Ok(composed) = case.compose() {
            let rendered = render_toml(&composed.answer, Dialect::V9_2);
            prop_assert_eq!(validate_answer_text(&rendered, Dialect::V9_2), Ok(()));
        }
    }
}
