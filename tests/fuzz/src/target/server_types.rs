//! Server types, one as TOML or a map of them as YAML: what passes names one disk exactly, what does not pass is said
//! with its place.
//!
//! Input: which form (1 byte), then the text.

use std::path::Path;

use ironhatch::config::server_type::{ServerTypes, parse, parse_map};
use ironhatch::domain::server_type::{DiskSelection, ServerType};
use ironhatch::plan::answer::DiskChoice;

use super::{Seeds, check_problem, texts};
use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.byte();
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    if which & 1 == 0 {
        match parse(Path::new("server-types/lab.toml"), text) {
            Ok(server_type) => {
                assert_eq!(server_type.name.as_str(), "lab");
                check(&server_type);
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "refused without a reason");
                problems.iter().for_each(|problem| check_problem(problem, text));
            }
        }
    } else {
        let (types, problems): (ServerTypes, _) = parse_map(Path::new("types.yaml"), text);
        for (name, server_type) in &types {
            assert_eq!(*name, server_type.name);
            check(server_type);
        }
        problems.iter().for_each(|problem| check_problem(problem, text));
    }
}

fn check(server_type: &ServerType) {
    // Rule 2 of the design: one exact property, or whole names.
    match &server_type.boot_disk {
        DiskSelection::PerHost => {}
        selection => {
            DiskChoice::of(selection).expect("a selection that can match one disk only");
        }
    }
    let hostname = format!("{}1", server_type.hostname_prefix);
    assert!(hostname.parse::<ironhatch::domain::id::Hostname>().is_ok(), "{hostname}");
    assert!(!server_type.domain.contains(['\n', ' ', '/']), "{:?}", server_type.domain);
}

pub(crate) fn seeds() -> Seeds {
    let mut seeds = texts([
        (
            "per-host",
            "\0boot_disk = \"per-host\"\nhostname_prefix = \"pve\"\nanswer_template = \"ext4-lvm\"\ndomain = \"lab.test\"\n",
        ),
        (
            "property",
            "\0boot_disk = { property = \"ID_SERIAL_SHORT\", value = \"S1*\" }\npools = [\"a\"]\nmin_memory = \"4 GiB\"\n",
        ),
        (
            "map",
            "\x01server_types:\n  lab:\n    display_name: x\n    boot_disk: { devices: [nvme0n1] }\n    hostname_prefix: pve\n    domain: lab.test\n    answer_template: ext4-lvm\n    labels: {rack: r1}\n",
        ),
        ("ends-of-lines", "\x01a:\r  b: 1\r  c: d: e\r"),
        ("anchors", "\x01a: &a [x, x]\nb: [*a, *a, *a]\nc: !!binary AAAA\n? {k: v}\n: 1\n"),
    ]);
    let examples = [
        ("small-nvme", include_str!("../../../../server-types/example-small-nvme.toml")),
        ("gpu-tower", include_str!("../../../../server-types/example-gpu-tower.toml")),
    ];
    seeds.extend(examples.map(|(name, text)| {
        let lines: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).collect();
        (name.to_owned(), format!("\0{}", lines.join("\n")).into_bytes())
    }));
    seeds
}
