//! Tests of whole manifests: what is read, and the exact words about what is wrong (`tests/fixtures/app`).

use std::path::{Path, PathBuf};

use super::*;
use crate::apps::lint;
use crate::domain::app::{HealthKind, InputKind, InputValue, OutputKind, ProvisionKind};
use crate::golden;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app").join(kind);
    lint::folders(&dir).unwrap()
}

fn only_app(id: &str) -> Manifest {
    let dir = fixtures("ok").into_iter().find(|d| d.ends_with(id)).unwrap();
    let loaded = crate::apps::folder::load(&dir, Path::new(id));
    assert_eq!(loaded.problems, []);
    loaded.app.unwrap().manifest
}

#[test]
fn the_sources_own_yaml_is_read_unchanged() {
    let app = only_app("obsidian-livesync");
    assert_eq!(app.lxc.memory_mb, 1024);
    assert_eq!(app.lxc.storage.as_deref(), Some("local-lvm"));
    assert_eq!(app.provision.kind, ProvisionKind::Script { script: "provision/install.sh".into() });
    assert_eq!(app.provision.upgrade.as_deref(), Some("provision/upgrade.sh"));
    assert_eq!(app.provision.uninstall.as_deref(), Some("provision/uninstall.sh"));
    assert_eq!(app.provision.assets, ["templates/local.ini.tmpl"]);
    let health = app.healthcheck.unwrap();
    assert_eq!(health.kind, HealthKind::Command { script: "provision/healthcheck.sh".into() });
    let level = app.inputs.iter().find(|i| i.key == "log_level").unwrap();
    assert!(matches!(&level.kind, InputKind::Select { options } if options.len() == 3));
    let port = app.inputs.iter().find(|i| i.key == "port").unwrap();
    assert_eq!(port.default, Some(InputValue::Number(5984.0)));
}

#[test]
fn every_key_ends_up_somewhere() {
    let app = only_app("whole");
    golden::assert_file(
        "tests/fixtures/app/ok/whole.expect",
        &format!("{}\n", serde_json::to_string_pretty(&app).unwrap()),
    );
    assert_eq!(app.provision.assets, ["assets/conf/extra.conf", "assets/site.conf"]);
    assert_eq!(app.outputs[2].kind, OutputKind::Text);
}

#[test]
fn the_documents_example_is_the_tested_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let example = read("tests/fixtures/app/ok/whole/app.toml");
    assert!(read("docs/apps.md").ends_with(&format!("```toml\n{example}```\n")));
}

#[test]
fn broken_apps_say_everything_that_is_wrong() {
    let folders = fixtures("fail");
    assert!(folders.len() > 5);
    for dir in folders {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let loaded = crate::apps::folder::load(&dir, Path::new(name));
        assert!(loaded.app.is_none(), "{name} is not broken");
        let report = lint::Report { apps: vec![lint::Linted { folder: name.into(), loaded }] };
        golden::assert_file(&format!("tests/fixtures/app/fail/{name}.expect"), &report.text());
    }
}
