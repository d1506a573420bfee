//! Manifests of apps, `app.toml` and `app.yml`: what passes is inside its bounds and leads nowhere else; what does not
//! pass is said with its place.
//!
//! Input: which form (1 byte), then the text.

use std::path::Path;

use ironhatch::apps::manifest::read;
use ironhatch::domain::app::Manifest;

use super::{Seeds, check_problem, texts};
use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let file = if input.byte() & 1 == 0 { "app.toml" } else { "app.yml" };
    let Ok(text) = std::str::from_utf8(input.rest()) else { return };
    let (manifest, problems, warnings) = read(Path::new(file), text);
    assert_eq!(manifest.is_some(), problems.is_empty(), "refused without a reason: {problems:?}");
    problems.iter().for_each(|problem| check_problem(problem, text));
    assert!(warnings.len() <= text.len() + 10, "more remarks than text");
    manifest.iter().for_each(check);
}

fn check(manifest: &Manifest) {
    let id = manifest.id.as_str();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(!id.is_empty() && id.len() <= 64 && id.chars().all(plain), "{id}");
    let provision = &manifest.provision;
    let scripts = provision.assets.iter().chain(&provision.upgrade).chain(&provision.uninstall);
    for path in scripts {
        assert!(!path.starts_with('/') && !path.is_empty(), "{path}");
        assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
    }
    assert!((1..=24 * 3600).contains(&provision.timeout_sec), "{}", provision.timeout_sec);
    for name in provision.env.keys() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(
            name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()),
            "{name}"
        );
    }
    let mut keys: Vec<_> = manifest.inputs.iter().map(|input| &input.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), manifest.inputs.len(), "two inputs of one name");
    assert!(manifest.lxc.min_memory_mb <= manifest.lxc.memory_mb);
    assert!(manifest.lxc.min_disk_gb <= manifest.lxc.disk_gb);
}

pub(crate) fn seeds() -> Seeds {
    let mut seeds = texts([
        (
            "yml",
            "\x01id: demo\nname: Demo\nversion: 1.0.0\ndescription: A demo.\ncategories: [Tools]\nlxc:\n  ostemplate: debian-12-standard\n  defaults: {cores: 1, memory_mb: 512, disk_gb: 4}\nprovision:\n  script: provision/install.sh\n  timeout_sec: 600\n",
        ),
        ("yml-anchors", "\x01a: &a [1, 2]\nid: *a\nname: {<<: {x: 1}}\n"),
    ]);
    let apps = [
        ("redis-cache", include_str!("../../../../apps/redis-cache/app.toml")),
        ("static-website", include_str!("../../../../apps/static-website/app.toml")),
    ];
    seeds.extend(apps.map(|(name, text)| (name.to_owned(), format!("\0{text}").into_bytes())));
    seeds
}
