//! The decisions on recordings of the vendor's own commands.

use std::path::PathBuf;

use super::*;

/// The recordings of the vendor's own commands. They are no part of the repository: where they are absent this says so, and
/// the samples above carry the behaviour.
#[test]
fn the_recorded_exchanges_are_understood() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/pve");
    let mut seen = 0;
    for file in ["07-join-recommended.json", "07-join-ssh-mode.json", "07-cluster-cli.json"] {
        let Ok(text) = std::fs::read_to_string(dir.join(file)) else {
            println!("the recorded exchanges are absent here: {file}");
            continue;
        };
        let entries: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        for entry in entries {
            let field = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            seen +=
                check_recorded(&field("name"), &field("node"), &field("stdout"), &field("stderr"));
        }
    }
    println!("{seen} recorded exchanges were checked");
    assert!(seen == 0 || seen >= 15, "only {seen} exchanges were recognised");
}

fn check_recorded(name: &str, node: &str, stdout: &str, stderr: &str) -> u32 {
    let facts = Facts { node: node.parse().unwrap(), ..facts() };
    let log: Vec<&str> =
        stdout.lines().chain(stderr.lines()).filter(|l| !l.starts_with("rc=")).collect();
    let verdict =
        || word(&interpret(&Observation::Attempt(attempt(AttemptState::Ended, &log)), &facts));
    match name {
        _ if name.starts_with("6 join") || name.starts_with("pvecm add --use_ssh, success") => {
            assert_eq!(verdict(), "next", "{name}");
        }
        _ if name.starts_with("pvecm add,") || name.starts_with("pvecm add --use_ssh without") => {
            assert!(
                verdict().starts_with("fail: pvecm add did not succeed: "),
                "{name}: {}",
                verdict()
            );
            assert!(!verdict().contains("printed nothing"), "{name}");
        }
        _ if name.starts_with("pvecm status") => {
            let state = status(stdout).unwrap();
            assert_eq!(state.name, "lab-cluster");
            assert_eq!(state.quorate, !name.contains("without quorum"), "{name}");
        }
        _ if name.starts_with("pvecm nodes on") || name.starts_with("7 verify") => {
            let (table, json) = stdout.split_once('[').unwrap();
            let view = cluster_status(&format!("[{json}")).unwrap();
            assert!(view.quorate && view.nodes.iter().all(|n| n.online), "{name}");
            assert_eq!(nodes(table).len(), view.nodes.len(), "{name}");
        }
        "corosync.conf, one node" => {
            let conf = corosync_conf(stdout);
            assert_eq!(
                conf,
                CorosyncConf {
                    cluster: "lab-cluster".to_owned(),
                    ..member_conf(&[("pve1", "192.0.2.11")])
                }
            );
        }
        _ => return 0,
    }
    1
}
