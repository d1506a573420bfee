//! Tests of whole configuration files. What a file yields is compared with golden texts in `tests/fixtures/config`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::reload::{Reloader, ServerTypesView};
use super::*;
use crate::domain::server_type::DiskSelection;

/// Secrets from memory.
#[derive(Default)]
struct Given(BTreeMap<&'static str, &'static str>);

impl SecretSource for Given {
    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|v| (*v).to_owned())
    }
    fn file(&self, path: &Path) -> std::io::Result<String> {
        let found = self.0.get(path.to_str().unwrap());
        found.map(|v| (*v).to_owned()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config")
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it instead.
fn assert_golden(path: &Path, text: &str) {
    if std::env::var_os("IRONHATCH_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let want = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, want, "{} differs; IRONHATCH_UPDATE_GOLDEN=1 writes it", path.display());
}

fn parse(text: &str) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    Config::parse(Path::new("ironhatch.toml"), text, &Given::default())
}

#[test]
fn every_fixture_yields_its_golden_text() {
    let secrets = Given(BTreeMap::from([
        (
            "HASH",
            "$6$abcdefghijklmnop$GRSTFj3H0pZ9BY1uhdqITG.qORbXkTk40qgaa1roNICfs/axSgdNnbKEYghuyLnrmnFXvSE09GdxJbCDOnxdc1",
        ),
        (
            "/keys/member",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        ),
        ("HOOK", "s3cret"),
        ("URL", "https://hooks.example.net/s3cret"),
        ("EMPTY", "\n"),
    ]));
    let mut seen = 0;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files {
        if !file.extension().is_some_and(|e| e == "toml" || e == "yaml") {
            continue;
        }
        let name = Path::new(file.file_name().unwrap()).to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let stem = name.file_stem().unwrap().to_str().unwrap();
        let outcome = if stem.starts_with("server-types") {
            let (types, problems) = server_type::parse_map(&name, &text);
            format!("{}\n{:#?}\n", ConfigErrors(problems), types)
        } else if stem.starts_with("type-") {
            match server_type::parse(&name, &text) {
                Ok(server_type) => format!("{server_type:#?}\n"),
                Err(problems) => format!("{}\n", ConfigErrors(problems)),
            }
        } else if stem.starts_with("template-") {
            match template::parse(&name, stem, &text) {
                Ok(template) => format!("{template:#?}\n"),
                Err(problems) => format!("{}\n", ConfigErrors(problems)),
            }
        } else {
            match Config::parse(&name, &text, &secrets) {
                Ok((config, warnings)) => {
                    let page = effective(&config);
                    for hidden in ["s3cret", "PRIVATE KEY", "GRSTFj3H"] {
                        assert!(!page.contains(hidden), "{hidden} leaks");
                        assert!(!format!("{config:?}").contains(hidden), "{hidden} leaks");
                    }
                    format!("{}\n---\n{page}", ConfigErrors(warnings))
                }
                Err(errors) => format!("{errors}\n"),
            }
        };
        assert_golden(&file.with_extension("expect"), &outcome);
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} fixtures");
}

#[test]
fn the_smallest_file_runs_without_network_boot() {
    let (config, warnings) = parse("[server]\npublic_url = \"http://127.0.0.1:8080\"\n").unwrap();
    assert!(config.pxe.is_none() && config.infrastructure.is_none());
    assert_eq!(config.proxmox.cluster_name, "ironhatch");
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_effective_configuration_parses_to_itself() {
    for name in ["full.toml", "apps-plain.toml"] {
        let text = std::fs::read_to_string(fixtures().join(name)).unwrap();
        let text: String = text
            .lines()
            .filter(|l| !l.contains("env:") && !l.contains("file:"))
            .collect::<Vec<_>>()
            .join("\n");
        let parse = |text: &str| {
            Config::parse(Path::new("/etc/x.toml"), text, &Given::default()).unwrap().0
        };
        let page = effective(&parse(&text));
        assert_eq!(effective(&parse(&page)), page);
    }
}

#[test]
fn apps_are_off_until_they_are_switched_on() {
    let with = |apps: &str| {
        parse(&format!("[server]\npublic_url = \"http://127.0.0.1:8080\"\n{apps}")).unwrap()
    };
    let places = "storages = \"tank\"\nbridges = \"vmbr0\"\n";
    assert!(with("").0.apps.is_none());
    assert!(with("[apps]\nenabled = false\n").0.apps.is_none());
    let (config, warnings) = with(&format!("[apps]\n{places}"));
    assert!(config.apps.is_none());
    assert_eq!(warnings[0].key, "apps.enabled");
    let (config, warnings) = with(&format!("[apps]\nenabled = true\n{places}"));
    assert!(warnings.is_empty(), "{warnings:?}");
    let apps = config.apps.unwrap();
    assert_eq!(apps.boundary.gpu, crate::domain::boundary::GpuPolicy::Nobody);
    assert!(!apps.boundary.allow_privileged && apps.services.is_none());
    assert_eq!(apps.defaults.storage.as_str(), "tank");
}

#[test]
fn the_commented_example_of_apps_is_good() {
    let text = include_str!("../../systemd/ironhatch.toml");
    let (before, apps) = text.split_once("# [apps]\n").unwrap();
    let apps: String =
        apps.lines().map(|l| format!("{}\n", l.strip_prefix("# ").unwrap())).collect();
    let text = format!("{before}[apps]\n{apps}");
    let (config, _) = parse(&text).unwrap();
    let apps = config.apps.unwrap();
    assert_eq!(apps.sources.len(), 1);
    assert_eq!(apps.boundary.reserved_addresses.len(), 99);
}

#[test]
fn a_service_template_may_lie_in_a_file_of_its_own() {
    let text = "[server]\npublic_url = \"http://127.0.0.1:8080\"\n[apps]\nenabled = true\nstorages = \"tank\"\n\
                bridges = \"vmbr0\"\n[apps.services]\nrepository = \"/srv/git/caddy\"\ntemplate_file = \"service.tmpl\"\n";
    let read = |template: &'static str| {
        let files = Given(BTreeMap::from([("/etc/service.tmpl", template)]));
        Config::parse(Path::new("/etc/x.toml"), text, &files)
    };
    let good = "domain: {{ domain }}\nto: {{ address }}:{{ port }}\n";
    assert_eq!(read(good).unwrap().0.apps.unwrap().services.unwrap().template, good);
    let errors = read("{{ password }}").unwrap_err().to_string();
    assert!(
        errors.contains("apps.services.template_file: the template names password"),
        "{errors}"
    );
    assert!(Config::parse(Path::new("/etc/x.toml"), text, &Given::default()).is_err());
}

#[test]
fn no_text_makes_the_reader_panic() {
    for text in [
        "",
        "=",
        "[",
        "[server",
        "server = 1",
        "[[pxe]]",
        "webhook = 3",
        "[server]\nlisten = {}",
        "\u{0}",
        "pxe = []\n[server]\npublic_url = 4",
        "[apps]\nenabled = true\nstorages = []\nvlans = {}\nvmids = \"\"",
    ] {
        for name in ["a.toml", "a.yaml"] {
            assert!(Config::parse(Path::new(name), text, &Given::default()).is_err(), "{text}");
        }
    }
}

fn lab(dir: &Path) -> ServerTypesSource {
    let types = dir.join("server-types");
    std::fs::create_dir_all(&types).unwrap();
    std::fs::write(types.join("small.toml"), "boot_disk = \"/dev/sda\"\n").unwrap();
    ServerTypesSource::Directory(types)
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_shows_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let source = lab(dir.path());
    let templates = dir.path().join("answer-templates");
    let first = ServerTypesView::load(&source, &templates);
    assert!(first.errors.is_empty(), "{:?}", first.errors);
    let file = source.path().join("small.toml");
    std::fs::write(&file, "boot_disk = \"/dev/sd*\"\n").unwrap();
    let second = first.reload(&source, &templates);
    assert_eq!(second.types, first.types);
    assert_eq!(second.errors.keys().collect::<Vec<_>>(), [&file]);
    // Started anew there is no good version to keep.
    assert!(ServerTypesView::load(&source, &templates).types.is_empty());
    std::fs::write(&file, "boot_disk = { devices = [\"sdb\"] }\n").unwrap();
    let third = second.reload(&source, &templates);
    assert!(third.errors.is_empty());
    let disk = third.types.values().next().map(|t| t.boot_disk.clone());
    assert_eq!(disk, Some(DiskSelection::Devices { names: vec!["sdb".to_owned()] }));
    std::fs::remove_file(&file).unwrap();
    assert!(third.reload(&source, &templates).types.is_empty());
}

#[test]
fn a_broken_template_keeps_its_last_good_version_and_hides_the_built_in_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let source = lab(dir.path());
    let templates = dir.path().join("answer-templates");
    let first = ServerTypesView::load(&source, &templates);
    std::fs::create_dir(&templates).unwrap();
    std::fs::write(templates.join("ext4-lvm.toml"), "[global]\ncuntry = \"at\"\n").unwrap();
    let second = first.reload(&source, &templates);
    assert_eq!(second.templates, first.templates);
    assert_eq!(second.errors.len(), 1);
    let fresh = ServerTypesView::load(&source, &templates);
    assert!(!fresh.templates.contains_key("ext4-lvm"));
    let text: Vec<String> = fresh.errors.values().flatten().map(ToString::to_string).collect();
    assert!(text.iter().any(|t| t.contains("did you mean global.country?")), "{text:?}");
    assert!(
        text.iter().any(|t| t.contains("there is no answer template \"ext4-lvm\"")),
        "{text:?}"
    );
}

#[tokio::test]
async fn a_changed_file_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let source = lab(dir.path());
    let templates = dir.path().join("answer-templates");
    let window = Duration::from_millis(1);
    let (reloader, mut views) = Reloader::new(source.clone(), templates, window).unwrap();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(reloader.run(cancel.clone()));
    let next = async |views: &mut tokio::sync::watch::Receiver<Arc<ServerTypesView>>,
                      count: usize| {
        let wait = views.wait_for(|view| view.types.len() == count);
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap().unwrap().clone()
    };
    assert_eq!(next(&mut views, 1).await.errors.len(), 0);
    // As editors do it: written beside, then renamed into place.
    let beside = dir.path().join("big.toml~");
    std::fs::write(
        &beside,
        "boot_disk = { property = \"ID_WWN\", value = \"0x5002538e40a1b2c3\" }\n",
    )
    .unwrap();
    std::fs::rename(&beside, source.path().join("big.toml")).unwrap();
    next(&mut views, 2).await;
    std::fs::remove_file(source.path().join("small.toml")).unwrap();
    next(&mut views, 1).await;
    cancel.cancel();
    task.await.unwrap();
}

#[test]
fn check_finds_what_would_fail_when_armed() {
    let dir = tempfile::tempdir().unwrap();
    lab(dir.path());
    let types = dir.path().join("server-types");
    std::fs::write(
        types.join("mirror.toml"),
        "boot_disk = \"per-host\"\nanswer_template = \"zfs-mirror\"\n",
    )
    .unwrap();
    std::fs::write(
        types.join("lone-mirror.toml"),
        "boot_disk = \"/dev/sda\"\nanswer_template = \"zfs-mirror\"\n",
    )
    .unwrap();
    std::fs::write(
        types.join("zone.toml"),
        "boot_disk = \"/dev/sda\"\n[answer.global]\ntimezone = \"Etc/UTC\"\n",
    )
    .unwrap();
    std::fs::write(
        types.join("key.toml"),
        "boot_disk = \"/dev/sda\"\n[answer.global]\nsubscription_key = \"pve1c-0123456789\"\n",
    )
    .unwrap();
    let file = dir.path().join("ironhatch.toml");
    std::fs::write(&file, "[server]\npublic_url = \"http://192.0.2.10:8080\"\n").unwrap();
    let report = check::check(&file, &Given::default());
    let text = |list: &[Problem]| -> Vec<String> {
        list.iter().map(|p| format!("{}: {}", p.key, p.message)).collect()
    };
    assert_eq!(
        text(&report.errors),
        [
            "type lone-mirror: disk-setup.zfs.raid (from the answer template): raid1 needs at least 2 disks, boot_disk names 1",
            "type zone: global.timezone (from the server type): 'Etc/UTC' is not a zone that the installer takes: Area/City of zone.tab, as in Europe/Vienna, or UTC; write UTC",
        ]
    );
    let warnings = text(&report.warnings);
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    assert!(
        warnings
            .iter()
            .all(|w| w.starts_with("type key: hosts of this type cannot be installed from ISO "))
    );
    assert!(report.effective.is_some());
}

#[test]
fn the_files_that_come_with_the_program_are_good() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = ServerTypesSource::Directory(here.join("server-types"));
    let view = ServerTypesView::load(&source, &here.join("answer-templates"));
    assert!(view.errors.is_empty(), "{:?}", view.errors);
    assert_eq!((view.types.len(), view.templates.len()), (3, template::BUILT_IN.len()));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ironhatch.toml");
    let text = format!(
        "server_types_dir = {:?}\n[server]\npublic_url = \"http://192.0.2.10:8080\"\n",
        source.path()
    );
    std::fs::write(&file, text).unwrap();
    let report = check::check(&file, &Given::default());
    assert!(report.errors.is_empty() && report.warnings.is_empty(), "{report:?}");
}

#[test]
fn a_text_is_judged_as_the_file_that_holds_it() {
    let texts = [
        "boot_disk = \"per-host\"\n".to_owned(),
        "boot_dsik = \"per-host\"\n".to_owned(),
        "boot_disk = \"per-host\"\nanswer_template = \"nowhere\"\n".to_owned(),
        "boot_disk = { devices = [\"sda\"] }\nanswer_template = \"zfs-mirror\"\n".to_owned(),
        "boot_disk = \"per-host\"\n[answer.global]\ncountry = \"uk\"\n".to_owned(),
        "boot_disk = \"per-host\"\n[answer.network.interface-name-pinning]\nenabled = true\n"
            .to_owned(),
        "not toml".to_owned(),
        std::fs::read_to_string(fixtures().join("type-good.toml")).unwrap(),
        std::fs::read_to_string(fixtures().join("type-bad.toml")).unwrap(),
    ];
    let (mut good, mut wrong, mut warned) = (0, 0, 0);
    for text in texts {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server-types/one.toml");
        std::fs::create_dir(dir.path().join("server-types")).unwrap();
        std::fs::write(&file, &text).unwrap();
        let config = dir.path().join("ironhatch.toml");
        let whole = "data_dir = \"/nowhere\"\n[server]\nlisten = \"192.0.2.10:8080\"\npublic_url = \"http://192.0.2.10:8080\"\n[pxe]\nenabled = false\n";
        std::fs::write(&config, whole).unwrap();
        let report = check::check(&config, &Given::default());
        let (config, _) = Config::parse(&config, whole, &Given::default()).unwrap();
        let view = ServerTypesView::load(&config.server_types, &config.answer_templates_dir);
        let own = check::check_type(&config, &view, &file, &text);
        let is_own = |problem: &&Problem| problem.file == file;
        assert_eq!(
            own.errors,
            report.errors.iter().filter(is_own).cloned().collect::<Vec<_>>(),
            "{text}"
        );
        assert_eq!(
            own.warnings,
            report.warnings.iter().filter(is_own).cloned().collect::<Vec<_>>(),
            "{text}"
        );
        good += usize::from(own.errors.is_empty());
        wrong += own.errors.len();
        warned += own.warnings.len();
    }
    assert!(good >= 2 && wrong >= 6 && warned >= 1, "{good} {wrong} {warned}");
}

#[test]
fn the_data_directory_is_found_in_a_file_that_is_wrong_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ironhatch.toml");
    let found = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Config::data_dir_of(&file)
    };
    // A secret that only the service has, a key that is none, and no public_url.
    let text = "data_dir = \"state\"\nnonsense = 1\n[credentials]\nroot_password_hash = \"env:ELSEWHERE\"\n";
    assert_eq!(found(text).unwrap(), dir.path().join("state"));
    assert!(Config::load(&file, &Given::default()).is_err());
    assert_eq!(found("[server]\n").unwrap(), Path::new("/var/lib/ironhatch"));
    let error = found("data_dir = \"state").unwrap_err();
    assert!(error.to_string().contains("ironhatch.toml:1"), "{error}");
    std::fs::remove_file(&file).unwrap();
    assert!(Config::data_dir_of(&file).unwrap_err().to_string().contains("cannot be read"));
}
