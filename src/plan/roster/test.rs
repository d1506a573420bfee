use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::id::JobId;
use crate::domain::power::{Ipmi, Method, Power};

fn host(n: u8) -> Host {
    let macs = vec![Mac([0x52, 0x54, 0, 0, 0, n]), Mac([0x52, 0x54, 0, 0, 1, n])];
    Host { macs, ..crate::fakes::sample::host(n) }
}

/// A host with everything, and with values that a spreadsheet would take for formulas.
fn full(n: u8, value: &str) -> Host {
    let mut host = host(n);
    host.overrides.boot_disk =
        Some(DiskSelection::Property { property: "ID_SERIAL_SHORT".into(), value: value.into() });
    host.overrides.network = Some(StaticNetwork {
        cidr: "192.0.2.21/24".into(),
        gateway: [192, 0, 2, 1].into(),
        dns: [192, 0, 2, 1].into(),
    });
    host.overrides.answer =
        json!({ "global": { "mailto": "ops@example.net", "timezone": "Europe/Vienna" } })
            .as_object()
            .unwrap()
            .clone();
    host
}

fn entries(hosts: &[Host]) -> Vec<(usize, Entry)> {
    hosts.iter().enumerate().map(|(n, h)| (n + 1, Entry::of(h))).collect()
}

fn known(name: &ServerTypeName) -> bool {
    name.as_str() == "lab"
}

#[test]
fn files_are_read_back_as_they_were_written() {
    let mut hosts = vec![host(1), full(2, "S6B0NX0T1"), host(3)];
    hosts[2].overrides.boot_disk =
        Some(DiskSelection::Devices { names: vec!["sda".into(), "sdb".into()] });
    for format in [Format::Csv, Format::Toml] {
        let text = write(&hosts, format).unwrap();
        let mut again = read(&text, format).unwrap();
        for (_, entry) in &mut again {
            entry.emptied = Emptied::default();
        }
        assert_eq!(again, entries(&hosts), "{text}");
        let changes = compare(&entries(&hosts), &hosts, &known).unwrap();
        assert!(changes.iter().all(|c| c.becomes == Becomes::Same), "{changes:?}");
    }
}

#[test]
fn no_file_has_power_settings_or_what_a_machine_told() {
    let mut host = host(1);
    host.inventory.serial = Some("TOLD-1".into());
    host.power = Power {
        method: Method::Ipmi(Ipmi {
            address: "192.0.2.61".parse().unwrap(),
            port: 623,
            user: "bmc-user".into(),
            mode: Default::default(),
        }),
        boot_on_rebuild: None,
    };
    for format in [Format::Csv, Format::Toml] {
        let text = write(std::slice::from_ref(&host), format).unwrap();
        for word in ["TOLD-1", "bmc-user", "192.0.2.61"] {
            assert!(!text.contains(word), "{text}");
        }
    }
}

#[test]
fn cells_that_look_like_formulas_are_text_in_a_spreadsheet_and_the_same_again_here() {
    for cell in
        ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "''-1", "'plain", "plain", "", "|x", "%x"]
    {
        let written = harmless(cell);
        assert!(!is_formula(&written), "{cell:?} is written as {written:?}");
        assert_eq!(plain(&written), cell);
    }
    let answer = json!({ "global": { "mailto": "a@example.net" } });
    let mut host = host(1);
    host.overrides.answer = answer.as_object().unwrap().clone();
    let text = write(&[host], Format::Csv).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    for record in reader.records() {
        assert!(record.unwrap().iter().all(|cell| !is_formula(cell)));
    }
}

#[test]
fn everything_wrong_is_told_at_once_by_row() {
    let text = "hostname,macs,server_type,address,gateway,dns,answer\n\
                pve1,52:54:00:00:00:01,lab,,,,\n\
                PVE_2,nonsense,lab,,,,\n\
                pve3,52:54:00:00:00:03,lab,192.0.2.3/24,198.51.100.1,192.0.2.1,\n\
                pve4,52:54:00:00:00:04,lab,,,,[]\n\
                pve5,52:54:00:00:00:05,lab,,,,,surplus\n";
    let wrong = read(text, Format::Csv).unwrap_err();
    let rows: Vec<&str> = wrong.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(rows, ["row 2", "row 2", "row 3", "row 4", "row 5"], "{wrong:?}");
    let toml = "[[host]]\nhostname = \"pve1\"\nmacs = [\"52:54:00:00:00:01\"]\nserver_type = \"lab\"\n\
                [[host]]\nhostname = \"pve2\"\nmac = []\nserver_type = \"lab\"\n";
    let wrong = read(toml, Format::Toml).unwrap_err();
    assert_eq!(wrong[0].field, "row 2", "{wrong:?}");
    for (text, format, word) in [
        ("hostname,server_type\n", Format::Csv, "'macs' is missing"),
        ("hostname,macs,server_type,secret\n", Format::Csv, "unknown column 'secret'"),
        ("hostname,macs,macs,server_type\n", Format::Csv, "twice"),
        ("hostname,macs,server_type\n", Format::Csv, "no host"),
        ("[host]\n", Format::Toml, "[[host]]"),
        ("x = 1\n", Format::Toml, "unknown key"),
        ("=", Format::Toml, ""),
    ] {
        let wrong = read(text, format).unwrap_err();
        assert!(
            wrong.iter().any(|e| e.field == "file" && e.message.contains(word)),
            "{text}: {wrong:?}"
        );
    }
}

#[test]
fn spreadsheets_of_other_countries_are_read() {
    let text = "\u{feff}Hostname;MACs;Server_Type\r\npve1;52:54:00:00:00:01 52-54-00-00-01-01;lab\r\n;;\r\n";
    assert_eq!(read(text, Format::Csv).unwrap(), entries(&[host(1)]));
}

#[test]
fn what_a_file_does_not_speak_of_stays_and_an_empty_cell_takes_away() {
    let before = full(2, "S6B0NX0T1");
    let named = "52:54:00:00:00:02 52:54:00:00:01:02,lab";
    assert_eq!(before.macs.len(), 2);
    let csv = |columns: &str, cells: &str| {
        let text = format!("hostname,macs,server_type{columns}\npve2,{named}{cells}\n");
        read(&text, Format::Csv).unwrap().remove(0).1
    };
    let toml = "[[host]]\nhostname = \"pve2\"\nserver_type = \"lab\"\n\
                macs = [\"52:54:00:00:00:02\", \"52:54:00:00:01:02\"]\n";
    for silent in [csv("", ""), read(toml, Format::Toml).unwrap().remove(0).1] {
        assert_eq!(silent.overrides(&before.overrides), before.overrides);
        let changes = compare(&[(1, silent)], std::slice::from_ref(&before), &known).unwrap();
        assert_eq!(changes[0].becomes, Becomes::Same, "{changes:?}");
    }
    let emptied = csv(",disk,address,gateway,dns,answer", ",,,,,");
    assert_eq!(emptied.overrides(&before.overrides), HostOverrides::default());
    let other = csv(",disk", ",ID_SERIAL_SHORT=OTHER").overrides(&before.overrides);
    assert_ne!(other.boot_disk, before.overrides.boot_disk);
    assert_eq!((other.network, other.answer), (before.overrides.network, before.overrides.answer));
}

#[test]
fn a_comparison_tells_what_would_change_and_what_stands_in_the_way() {
    let hosts = [host(1), host(2)];
    let mut changed = host(2);
    changed.macs.truncate(1);
    changed.overrides = full(2, "S1").overrides;
    let changes = compare(&entries(&[host(1), changed.clone(), host(3)]), &hosts, &known).unwrap();
    let becomes: Vec<Becomes> = changes.iter().map(|c| c.becomes).collect();
    assert_eq!(becomes, [Becomes::Same, Becomes::Changed, Becomes::New]);
    assert_eq!(changes[1].values, ["MAC addresses", "disk to be erased", "network", "answer keys"]);

    let mut busy = hosts.clone();
    busy[1].active_job = Some(JobId(uuid::Uuid::from_u128(9)));
    assert!(compare(&entries(&[host(2)]), &busy, &known).is_ok(), "nothing changes");
    assert_eq!(compare(&entries(&[changed]), &busy, &known).unwrap_err().len(), 1);

    let mut thief = host(4);
    thief.macs = vec![host(1).macs[0]];
    let mut stranger = host(5);
    stranger.server_type = "gpu".parse().unwrap();
    let wrong =
        compare(&entries(&[thief, stranger, host(6), host(6)]), &hosts, &known).unwrap_err();
    let rows: Vec<&str> = wrong.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(rows, ["row 1", "row 2", "row 4", "row 4", "row 4"], "{wrong:?}");
}

proptest! {
    #[test]
    fn no_file_makes_the_readers_panic(text in any::<String>(), rows in "(hostname|macs|server_type|,|;|\"|\n|=|pve1|lab){0,40}") {
        for format in [Format::Csv, Format::Toml] {
            let _ = read(&text, format);
            let _ = read(&rows, format);
            let _ = read(&format!("hostname,macs,server_type\n{text}"), format);
        }
    }

    #[test]
    fn a_cell_is_read_back_whatever_it_is(cell in any::<String>()) {
        let written = harmless(&cell);
        prop_assert!(!is_formula(&written));
        prop_assert_eq!(plain(&written), cell);
    }
}
