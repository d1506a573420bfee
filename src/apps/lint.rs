//! `ironhatch app lint`: checks apps' folders and says everything that is wrong, with places. Blocking, offline.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::folder::{self, Loaded};
use super::manifest;
use crate::config::Problem;

/// What checking some folders came to.
#[derive(Debug)]
pub struct Report {
    /// Every app that was found, in the order of the folders.
    pub apps: Vec<Linted>,
}

/// One app's folder, checked.
#[derive(Debug)]
pub struct Linted {
    /// The folder as it was named.
    pub folder: PathBuf,
    /// What is in it.
    pub loaded: Loaded,
}

/// A folder holds no app at all.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Neither it nor a folder in it has a manifest.
    #[error("{} has no app.toml, and no folder in it has one", path.display())]
    NoApps {
        /// The folder.
        path: PathBuf,
    },
}

/// Checks folders. Each is an app, a folder of apps, or a repository whose `apps` is one.
///
/// # Errors
/// [`LintError`] when one of them holds no app; a broken app is no error but part of the report.
pub fn lint(dirs: &[PathBuf]) -> Result<Report, LintError> {
    let mut apps = Vec::new();
    for dir in dirs {
        if has_manifest(dir) {
            apps.push(checked(dir));
            continue;
        }
        let below = dir.join("apps");
        let parent = if below.is_dir() { &below } else { dir };
        let folders = folders(parent)
            .map_err(|source| LintError::Unreadable { path: parent.clone(), source })?;
        if !folders.iter().any(|folder| has_manifest(folder)) {
            return Err(LintError::NoApps { path: dir.clone() });
        }
        apps.extend(folders.iter().map(|folder| checked(folder)));
    }
    Ok(Report { apps })
}

fn checked(dir: &Path) -> Linted {
    // `lint .` has no last part to compare the id with.
    let named = if dir.file_name().is_some() {
        dir.to_owned()
    } else {
        dir.canonicalize().unwrap_or_else(|_| dir.to_owned())
    };
    Linted { loaded: folder::load(&named, &named), folder: named }
}

fn has_manifest(dir: &Path) -> bool {
    manifest::FILE_NAMES.iter().any(|name| dir.join(name).symlink_metadata().is_ok())
}

/// The folders in a folder, in the order of their names; hidden ones are none.
pub(super) fn folders(dir: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // A link to a folder is listed, so that it is reported as broken instead of vanishing.
        let kind = entry.file_type()?;
        if !hidden && (kind.is_dir() || kind.is_symlink()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

impl Report {
    /// Whether nothing is wrong; warnings do not count.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.apps.iter().all(|app| app.loaded.app.is_some())
    }

    /// For people: one line per problem and warning, and one per app that is fine.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for linted in &self.apps {
            for problem in &linted.loaded.problems {
                let _ = writeln!(text, "{problem}");
            }
            for Problem { file, line, column, key, message } in &linted.loaded.warnings {
                let message = format!("warning: {message}");
                let (file, key) = (file.clone(), key.clone());
                let shown = Problem { file, line: *line, column: *column, key, message };
                let _ = writeln!(text, "{shown}");
            }
            if let Some(app) = &linted.loaded.app {
                let hash = app.hash.0.get(..12).unwrap_or_default();
                let (folder, version) = (linted.folder.display(), &app.manifest.version);
                let _ = writeln!(text, "{folder}: ok, version {version}, hash {hash}");
            }
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let list = |problems: &[Problem]| -> Vec<serde_json::Value> {
            problems
                .iter()
                .map(|p| {
                    serde_json::json!({
                        "file": p.file.to_string_lossy(),
                        "line": p.line,
                        "column": p.column,
                        "key": p.key,
                        "message": p.message,
                    })
                })
                .collect()
        };
        let apps: Vec<serde_json::Value> = self
            .apps
            .iter()
            .map(|linted| {
                let app = linted.loaded.app.as_ref();
                serde_json::json!({
                    "folder": linted.folder.to_string_lossy(),
                    "id": app.map(|a| a.manifest.id.as_str()),
                    "version": app.map(|a| &a.manifest.version),
                    "hash": app.map(|a| &a.hash.0),
                    "problems": list(&linted.loaded.problems),
                    "warnings": list(&linted.loaded.warnings),
                })
            })
            .collect();
        serde_json::json!({ "ok": self.is_clean(), "apps": apps })
    }
}
