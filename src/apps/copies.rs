//! Copies of the apps in use, `apps/<hash>/<id>/…` in the data directory: an installed app can be upgraded and removed
//! after its catalog is gone or has moved on. Blocking.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::{self, AppFolder};
use crate::domain::app::ContentHash;

/// A copy cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The disk refuses.
    #[error("the copy of the app in {} cannot be used", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("the copy of the app in {} is damaged: {reason}", path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Copies {
    dir: PathBuf,
}

impl Copies {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A hash is used as a name only when it is one.
    fn place(&self, hash: &ContentHash) -> Option<PathBuf> {
        let plain =
            hash.0.len() == 64 && hash.0.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| self.dir.join(&hash.0))
    }

    /// The kept app with this hash, verified; `None` when there is none.
    pub(super) fn read(&self, hash: &ContentHash) -> Result<Option<AppFolder>, CopyError> {
        let Some(place) = self.place(hash) else { return Ok(None) };
        let io = |source| CopyError::Io { path: place.clone(), source };
        let mut entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let damaged = |reason: String| CopyError::Damaged { path: place.clone(), reason };
        let entry = entries.next().ok_or_else(|| damaged("it is empty".to_owned()))?.map_err(io)?;
        let shown = PathBuf::from(entry.file_name());
        let loaded = folder::load(&entry.path(), &shown);
        let Some(app) = loaded.app else {
            let reasons: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
            return Err(damaged(reasons.join("; ")));
        };
        if app.hash != *hash {
            return Err(damaged(format!("it hashes to {}", app.hash.0)));
        }
        Ok(Some(app))
    }

    /// Writes a copy; one that is there already stays.
    pub(super) fn keep(&self, app: &AppFolder) -> Result<(), CopyError> {
        let Some(place) = self.place(&app.hash) else {
            let reason = "its hash is none".to_owned();
            return Err(CopyError::Damaged { path: self.dir.clone(), reason });
        };
        match self.read(&app.hash) {
            // It is wanted from now on: the next clean-up must not take it for an old one.
            Ok(Some(_)) => {
                return fs::File::open(&place)
                    .and_then(|dir| dir.set_modified(SystemTime::now()))
                    .map_err(|source| CopyError::Io { path: place, source });
            }
            Ok(None) => {}
            // What was damaged is replaced by what is good.
            Err(CopyError::Damaged { .. }) => {
                fs::remove_dir_all(&place)
                    .map_err(|source| CopyError::Io { path: place.clone(), source })?;
            }
            Err(error) => return Err(error),
        }
        let temporary = self.dir.join(format!(".new-{:016x}", rand::random::<u64>()));
        let written = write(&temporary.join(app.manifest.id.as_str()), app)
            .and_then(|()| fs::rename(&temporary, &place))
            .and_then(|()| fs::File::open(&self.dir)?.sync_all());
        written.map_err(|source| {
            let _ = fs::remove_dir_all(&temporary);
            CopyError::Io { path: place, source }
        })
    }

    /// Removes every copy that is not among `used` and was not wanted for at least `unwanted`, and what a crash left
    /// half written so long ago.
    pub(super) fn prune(
        &self,
        used: &BTreeSet<ContentHash>,
        unwanted: Duration,
    ) -> Result<(), CopyError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| CopyError::Io { path, source }
        };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(&self.dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io(&self.dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours =
                name.starts_with(".new-") || self.place(&ContentHash(name.clone())).is_some();
            if !ours || used.contains(&ContentHash(name)) {
                continue;
            }
            let wanted = entry.metadata().and_then(|m| m.modified()).map_err(io(&entry.path()))?;
            // A time that lies ahead (the clock was put back) is no age.
            if wanted.elapsed().is_ok_and(|age| age >= unwanted) {
                fs::remove_dir_all(entry.path()).map_err(io(&entry.path()))?;
            }
        }
        Ok(())
    }
}

fn write(dir: &Path, app: &AppFolder) -> Result<(), std::io::Error> {
    let make = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
    make(dir)?;
    for (name, content) in &app.files {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        let mode = if content.executable { 0o750 } else { 0o640 };
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        file.write_all(&content.bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::apps::built_in;

    fn sample() -> AppFolder {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app/ok/whole");
        folder::load(&dir, Path::new("whole")).app.unwrap()
    }

    #[test]
    fn what_is_kept_is_read_back_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::new(dir.path().join("apps"));
        let app = sample();
        assert!(copies.read(&app.hash).unwrap().is_none());
        copies.keep(&app).unwrap();
        copies.keep(&app).unwrap();
        assert_eq!(copies.read(&app.hash).unwrap().as_ref(), Some(&app));
        for (_, loaded) in built_in::load() {
            let app = loaded.app.unwrap();
            copies.keep(&app).unwrap();
            assert_eq!(copies.read(&app.hash).unwrap().as_ref(), Some(&app));
        }
        copies.prune(&BTreeSet::from([app.hash.clone()]), Duration::ZERO).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("apps")).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_copy_is_noticed_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::new(dir.path().to_owned());
        let app = sample();
        copies.keep(&app).unwrap();
        let script = dir.path().join(&app.hash.0).join("whole/provision/setup.sh");
        fs::write(&script, "#!/bin/sh\nrm -rf /\n").unwrap();
        assert!(matches!(copies.read(&app.hash), Err(CopyError::Damaged { .. })));
        copies.keep(&app).unwrap();
        assert_eq!(copies.read(&app.hash).unwrap().as_ref(), Some(&app));
    }

    #[test]
    fn a_hash_cannot_name_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::new(dir.path().join("apps"));
        for bad in ["", "..", "../../etc", &"A".repeat(64), &"a".repeat(63)] {
            assert!(copies.read(&ContentHash(bad.to_owned())).unwrap().is_none(), "{bad}");
        }
    }
}
