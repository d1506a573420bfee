//! One app's folder: reads it from disk as hostile input, hashes it, and puts manifest, README and files together.
//!
//! Blocking. Only regular files count; a symbolic link, a device or a name that is not plain text breaks the app. Files
//! whose names begin with a dot are no part of an app.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::manifest;
use crate::config::{Problem, Warning};
use crate::domain::app::{ContentHash, Manifest};
pub use crate::limits::work::MOST_FILE_BYTES;
pub use crate::limits::work::MOST_FILES;
pub use crate::limits::work::MOST_FOLDER_BYTES;
use crate::limits::work::{FOLDER_DEPTH, ICON_BYTES};

/// The folder's files by their relative path, which has only plain names and '/'.
pub type Files = BTreeMap<String, AppFile>;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const README: &str = "README.md";
const ICON: &str = "icon.png";

/// One file of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFile {
    /// Its content.
    pub bytes: Cow<'static, [u8]>,
    /// Whether it may be executed.
    pub executable: bool,
}

/// A readable app with everything that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct AppFolder {
    /// The validated manifest.
    pub manifest: Manifest,
    /// What the folder hashes to.
    pub hash: ContentHash,
    /// All its files, the manifest among them.
    pub files: Files,
    /// Its README, Markdown; empty when there is none.
    pub readme: String,
}

impl AppFolder {
    /// The icon, a PNG.
    #[must_use]
    pub fn icon(&self) -> Option<&[u8]> {
        self.files.get(ICON).map(|file| &*file.bytes)
    }
}

/// What reading a folder came to.
#[derive(Debug)]
pub struct Loaded {
    /// The app; `None` when there are problems.
    pub app: Option<AppFolder>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
}

/// Reads an app's folder. `shown` stands for it in messages; its last part is the folder's name.
#[must_use]
pub fn load(dir: &Path, shown: &Path) -> Loaded {
    match read_files(dir, shown) {
        Ok(files) => assemble(shown, files),
        Err(problems) => Loaded { app: None, problems, warnings: Vec::new() },
    }
}

/// Checks files as one app. `shown` is as for [`load`].
#[must_use]
pub fn assemble(shown: &Path, files: Files) -> Loaded {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let folder = shown.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let manifests: Vec<&str> =
        manifest::FILE_NAMES.into_iter().filter(|name| files.contains_key(*name)).collect();
    if let [_, second, ..] = manifests.as_slice() {
        let message = format!("there are two manifests: remove {second} or the other one");
        problems.push(about(&shown.join(second), message));
    }
    let mut manifest = None;
    match manifests.first() {
        None => problems.push(about(shown, "there is no app.toml (or app.yml)".to_owned())),
        Some(name) => {
            let file = shown.join(name);
            match text(&files, name) {
                Some(Ok(text)) => {
                    let (read, wrong, odd) = manifest::read_in(&file, text, &folder, &files);
                    manifest = read;
                    problems.extend(wrong);
                    warnings.extend(odd);
                }
                _ => problems.push(about(&file, "is not UTF-8 text".to_owned())),
            }
        }
    }
    let readme = match text(&files, README) {
        Some(Ok(text)) => text.to_owned(),
        Some(Err(())) => {
            problems.push(about(&shown.join(README), "is not UTF-8 text".to_owned()));
            String::new()
        }
        None => {
            let message = "there is no README.md: say what it installs and from where";
            warnings.push(about(shown, message.to_owned()));
            String::new()
        }
    };
    if let Some(icon) = files.get(ICON) {
        if icon.bytes.len() > ICON_BYTES {
            let message =
                format!("has {} bytes; an icon has at most {ICON_BYTES}", icon.bytes.len());
            problems.push(about(&shown.join(ICON), message));
        } else if !icon.bytes.starts_with(PNG) {
            problems.push(about(&shown.join(ICON), "is not a PNG picture".to_owned()));
        }
    }
    let app = manifest.filter(|_| problems.is_empty()).map(|manifest| {
        let hash = hash(&files);
        AppFolder { manifest, hash, files, readme }
    });
    Loaded { app, problems, warnings }
}

fn text<'a>(files: &'a Files, name: &str) -> Option<Result<&'a str, ()>> {
    files.get(name).map(|file| std::str::from_utf8(&file.bytes).map_err(|_| ()))
}

fn about(file: &Path, message: String) -> Problem {
    Problem { file: file.to_owned(), line: 0, column: 0, key: String::new(), message }
}

/// SHA-256 over names, modes and contents in the order of the names. Lengths stand before what they count, so that
/// nothing can move from a name into a content.
#[must_use]
pub fn hash(files: &Files) -> ContentHash {
    let mut digest = Sha256::new();
    for (name, file) in files {
        let mode: &[u8] = if file.executable { b"0755" } else { b"0644" };
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name.as_bytes());
        digest.update(mode);
        digest.update((file.bytes.len() as u64).to_be_bytes());
        digest.update(&file.bytes);
    }
    let mut hex = String::with_capacity(64);
    for byte in digest.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    ContentHash(hex)
}

/// Reads all files below `dir`.
///
/// # Errors
/// Everything in it that is not a plain file of acceptable size and name.
pub fn read_files(dir: &Path, shown: &Path) -> Result<Files, Vec<Problem>> {
    let mut walk = Walk { files: Files::new(), bytes: 0, problems: Vec::new(), shown };
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() => walk.folder(dir, "", 0),
        Ok(_) => walk.wrong("", "is not a folder".to_owned()),
        Err(error) => walk.wrong("", format!("cannot be read: {error}")),
    }
    if walk.problems.is_empty() { Ok(walk.files) } else { Err(walk.problems) }
}

struct Walk<'a> {
    files: Files,
    bytes: u64,
    problems: Vec<Problem>,
    shown: &'a Path,
}

impl Walk<'_> {
    fn wrong(&mut self, relative: &str, message: String) {
        let file =
            if relative.is_empty() { self.shown.to_owned() } else { self.shown.join(relative) };
        self.problems.push(about(&file, message));
    }

    fn folder(&mut self, dir: &Path, relative: &str, depth: usize) {
        if depth > FOLDER_DEPTH {
            self.wrong(relative, format!("is deeper than {FOLDER_DEPTH} folders"));
            return;
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => return self.wrong(relative, format!("cannot be read: {error}")),
        };
        // A folder with a million entries is refused after a few, not after all of them.
        let mut names: Vec<PathBuf> = Vec::new();
        for entry in entries.take(4 * MOST_FILES) {
            match entry {
                Ok(entry) => names.push(entry.path()),
                Err(error) => return self.wrong(relative, format!("cannot be read: {error}")),
            }
        }
        names.sort();
        for path in names {
            if self.files.len() > MOST_FILES {
                self.wrong("", format!("has more than {MOST_FILES} files"));
                return;
            }
            if self.bytes > MOST_FOLDER_BYTES {
                self.wrong("", format!("has more than {MOST_FOLDER_BYTES} bytes"));
                return;
            }
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
                let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.wrong(relative, format!("has a file whose name is not UTF-8: {shown:?}"));
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let below =
                if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
            self.entry(&path, &below, depth);
        }
    }

    fn entry(&mut self, path: &Path, relative: &str, depth: usize) {
        if let Err(rule) = manifest::check_path(relative) {
            let shown: String = relative.chars().take(80).collect();
            return self.wrong("", format!("has a file {shown:?} whose path {rule}"));
        }
        let kind = match fs::symlink_metadata(path) {
            Ok(found) => found.file_type(),
            Err(error) => return self.wrong(relative, format!("cannot be read: {error}")),
        };
        if kind.is_symlink() {
            self.wrong(relative, "is a symbolic link, which an app cannot have".to_owned());
        } else if kind.is_dir() {
            self.folder(path, relative, depth + 1);
        } else if kind.is_file() {
            self.file(path, relative);
        } else {
            self.wrong(relative, "is neither a file nor a folder".to_owned());
        }
    }

    fn file(&mut self, path: &Path, relative: &str) {
        // What was a file a moment ago may be a link or a pipe now.
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC;
        let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
        let read = opened.and_then(|file| {
            let found = file.metadata()?;
            if !found.is_file() {
                return Err(std::io::Error::other("it is no file any more"));
            }
            let mut bytes = Vec::new();
            file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
            Ok((bytes, found.permissions().mode() & 0o111 != 0))
        });
        match read {
            Err(error) => self.wrong(relative, format!("cannot be read: {error}")),
            Ok((bytes, _)) if bytes.len() as u64 > MOST_FILE_BYTES => {
                self.wrong(relative, format!("has more than {MOST_FILE_BYTES} bytes"));
            }
            Ok((bytes, executable)) => {
                self.bytes += bytes.len() as u64;
                self.files.insert(relative.to_owned(), AppFile { bytes: bytes.into(), executable });
            }
        }
    }
}
