//! The apps in the binary: the tree `apps/` of the repository, embedded by `build.rs`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::folder::{self, AppFile, Files, Loaded};

struct Embedded {
    path: &'static str,
    executable: bool,
    bytes: &'static [u8],
}

const TREE: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/apps_table.rs"));

/// The source's name in the catalog.
pub const NAME: &str = "built-in";
/// Beside the apps: ids of those that the tests of this version really provisioned, one per line.
const EXERCISED: &str = "exercised";
/// Beside the apps: shell functions that every script can use.
const HELPERS: &str = "lib.sh";

/// The files of every app by the folder's name.
#[must_use]
pub fn folders() -> BTreeMap<&'static str, Files> {
    let mut folders: BTreeMap<&'static str, Files> = BTreeMap::new();
    for file in TREE {
        let Some((folder, path)) = file.path.split_once('/') else { continue };
        let content = AppFile { bytes: Cow::Borrowed(file.bytes), executable: file.executable };
        folders.entry(folder).or_default().insert(path.to_owned(), content);
    }
    folders
}

/// Reads every app.
#[must_use]
pub fn load() -> Vec<(&'static str, Loaded)> {
    folders()
        .into_iter()
        .map(|(name, files)| (name, folder::assemble(Path::new(name), files)))
        .collect()
}

/// The apps that were really provisioned by the tests of this version.
#[must_use]
pub fn exercised() -> BTreeSet<&'static str> {
    top(EXERCISED)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

/// The shell functions that are pushed as `lib.sh` beside every app's scripts.
#[must_use]
pub fn helpers() -> &'static str {
    top(HELPERS)
}

fn top(name: &str) -> &'static str {
    let file = TREE.iter().find(|file| file.path == name);
    file.and_then(|f| std::str::from_utf8(f.bytes).ok()).unwrap_or("")
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_built_in_app_is_good() {
        for (name, loaded) in load() {
            let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
            assert!(loaded.app.is_some(), "{name}:\n{}", problems.join("\n"));
            assert_eq!(loaded.warnings, [], "{name}");
        }
    }

    #[test]
    fn the_profiles_are_marked_so() {
        let apps = load().into_iter().filter_map(|(_, loaded)| loaded.app);
        let profiles: Vec<_> =
            apps.filter(|app| app.manifest.profile_packages().is_some()).collect();
        let ids: Vec<_> = profiles.iter().map(|app| app.manifest.id.as_str()).collect();
        assert_eq!(ids, ["generic-service", "monitoring-node", "static-website", "web-app"]);
    }

    #[test]
    fn what_was_exercised_is_there() {
        let known = folders();
        for id in exercised() {
            assert!(known.contains_key(id), "apps/{EXERCISED} names {id}, which is no app");
        }
    }
}
