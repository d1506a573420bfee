//! The files of server types: opened for a look, and put in place in one step, so that whoever reads them sees the old or
//! the new one, whatever happens in between.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use sha2::{Digest as _, Sha256};

use super::server_type::ReadOnly;
use crate::config::ServerTypesSource;
use crate::domain::id::ServerTypeName;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::TYPE_BYTES;

/// Mode of a new file: readable for the service's group, as `ironhatch setup` makes them.
const NEW_MODE: u32 = 0o640;

/// A file as it is on the disk now.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) hash: String,
    pub(super) read_only: Option<ReadOnly>,
}

/// SHA-256 of a text, as hex.
pub(super) fn hash_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens the file of a type; `None` when there is none.
///
/// # Errors
/// It cannot be read, or is no file of text.
pub(super) fn open(
    source: &ServerTypesSource,
    name: &ServerTypeName,
) -> Result<Option<Opened>, Refusal> {
    let path = source.file_of(name);
    let Some(text) = read(&path)? else { return Ok(None) };
    let read_only = read_only_place(source).or_else(|| linked(&path));
    Ok(Some(Opened { hash: hash_of(&text), path, text, read_only }))
}

fn read(path: &Path) -> Result<Option<String>, Refusal> {
    let fail = |reason: String| {
        let detail = format!("{} cannot be read: {reason}.", path.display());
        let hint = "Look at the file on the appliance.";
        Refusal::new(RefusalKind::Conflict, detail, hint)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error.to_string())),
    };
    let mut text = String::new();
    let most = u64::try_from(TYPE_BYTES).unwrap_or(u64::MAX);
    file.take(most.saturating_add(1))
        .read_to_string(&mut text)
        .map_err(|error| fail(error.to_string()))?;
    if text.len() > TYPE_BYTES {
        return Err(fail(format!("it has more than {TYPE_BYTES} bytes")));
    }
    Ok(Some(text))
}

/// Why nothing can be written where the server types are.
pub(super) fn read_only_place(source: &ServerTypesSource) -> Option<ReadOnly> {
    match source {
        ServerTypesSource::File(file) => Some(one_file(file)),
        ServerTypesSource::Directory(dir) => {
            access(dir, AccessFlags::W_OK | AccessFlags::X_OK).err().map(|error| shut(dir, error))
        }
    }
}

/// All types are in one file.
pub(super) fn one_file(file: &Path) -> ReadOnly {
    ReadOnly {
        reason: format!("All server types are in the one file {}.", file.display()),
        hint: "Edit it there; it is read again when it changes. With a folder of files, one for each type, they can be edited here."
            .to_owned(),
    }
}

/// A link is left to whoever made it: renaming would put a file in its place.
fn linked(path: &Path) -> Option<ReadOnly> {
    let is_link = path.symlink_metadata().is_ok_and(|about| about.file_type().is_symlink());
    is_link.then(|| ReadOnly {
        reason: format!("{} is a link to another file.", path.display()),
        hint: "Something else keeps it there, such as a configuration management: change it there."
            .to_owned(),
    })
}

/// What to do about a directory that is shut.
fn shut(dir: &Path, error: nix::errno::Errno) -> ReadOnly {
    use nix::errno::Errno;
    let place = dir.display();
    let hint = match error {
        Errno::EROFS => format!(
            "The service's sandbox, or its file system, shows it read-only. For the sandbox: `systemctl edit ironhatch`, add the lines [Service] and ReadWritePaths={place}, then `systemctl restart ironhatch`."
        ),
        Errno::ENOENT => format!("Make it: `install -d -m 0770 -o root -g ironhatch {place}`."),
        _ => format!(
            "Let the service's group write there: `chgrp ironhatch {place} && chmod 0770 {place}`."
        ),
    };
    ReadOnly { reason: format!("{place} cannot be written by Ironhatch: {}.", error.desc()), hint }
}

/// Whether the file is still the one that was looked at: with this hash, or not there at all.
///
/// # Errors
/// It is another one.
pub(super) fn still(path: &Path, hash: Option<&str>) -> Result<(), Refusal> {
    same(path, hash, read(path)?.map(|text| hash_of(&text)).as_deref())
}

/// The same of a file that was read: it had the hash `now`, or was not there.
///
/// # Errors
/// As above.
pub(super) fn same(path: &Path, hash: Option<&str>, now: Option<&str>) -> Result<(), Refusal> {
    let detail = match (hash, now) {
        (None, None) => return Ok(()),
        (Some(old), Some(now)) if old.eq_ignore_ascii_case(now) => return Ok(()),
        (None, Some(_)) => format!("{} exists already.", path.display()),
        (Some(_), Some(_)) => format!("{} was changed since it was opened.", path.display()),
        (Some(_), None) => format!("{} is gone.", path.display()),
    };
    let hint = match hash {
        None => "Choose another name, or edit the type that there is.",
        Some(_) => "Nothing was written. Open it again, and make your change in what it holds now.",
    };
    Err(Refusal::new(RefusalKind::Conflict, detail, hint).about("text"))
}

/// A change of a file that is prepared beside it, made in one step, and taken back unless it is kept.
#[derive(Debug)]
pub(super) struct Edit {
    path: PathBuf,
    /// The new file, under a name that nobody reads; `None`: the file is removed.
    new: Option<PathBuf>,
    /// Where the old one waits while the change is not kept: a copy of a file that is replaced, since a service may not
    /// link to what belongs to somebody else. `None`: there is no old one.
    old: Option<PathBuf>,
    state: State,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Prepared,
    Made,
    Kept,
}

/// Writes a text beside its place, with the owner and the mode of the file that it will replace; `before` is what that one
/// holds.
///
/// # Errors
/// Why the directory or the file cannot be written, with what to do.
pub(super) fn prepare(path: &Path, text: &str, before: Option<&str>) -> Result<Edit, Refusal> {
    let refuse = |ReadOnly { reason, hint }| Refusal::new(RefusalKind::Conflict, reason, hint);
    if let Some(link) = linked(path) {
        return Err(refuse(link));
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let edit = Edit::of(path, true, before.is_some());
    let parts = [(edit.new.as_deref(), Some(text)), (edit.old.as_deref(), before)];
    let written = parts
        .into_iter()
        .filter_map(|(part, text)| part.zip(text))
        .try_for_each(|(part, text)| write(part, path, text));
    written.map_err(|error| {
        let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or_default());
        match errno {
            nix::errno::Errno::ENOSPC | nix::errno::Errno::EDQUOT | nix::errno::Errno::EIO => {
                let detail = format!("{} cannot be written: {}.", path.display(), errno.desc());
                let hint = "Nothing was changed. Look at the appliance's disk.";
                Refusal::new(RefusalKind::Internal, detail, hint)
            }
            _ => refuse(shut(dir, errno)),
        }
    })?;
    Ok(edit)
}

/// Prepares to remove a file.
pub(super) fn prepare_removal(path: &Path) -> Edit {
    Edit::of(path, false, true)
}

fn write(part: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let before = path.metadata().ok();
    let mode = before.as_ref().map_or(NEW_MODE, |about| about.mode() & 0o777);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(part)?;
    file.write_all(text.as_bytes())?;
    // The process' mask took bits away.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    if let Some(before) = before {
        // A service without rights cannot give a file away. Then it keeps the group where it is one of the service's, and
        // becomes the service's own: who could read it still can.
        if fchown(&file, Some(before.uid()), Some(before.gid())).is_err() {
            let _ = fchown(&file, None, Some(before.gid()));
        }
    }
    file.sync_all()
}

impl Edit {
    fn of(path: &Path, has_new: bool, has_old: bool) -> Self {
        let dir = path.parent().unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let random = rand::random::<u64>();
        // Whatever begins with a dot is no server type for those who read the directory.
        let beside = |word: &str| dir.join(format!(".{name}.{random:016x}.{word}"));
        Self {
            path: path.to_owned(),
            new: has_new.then(|| beside("new")),
            old: has_old.then(|| beside("old")),
            state: State::Prepared,
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// The system refuses it; nothing is different.
    pub(super) fn make(&mut self) -> Result<(), Refusal> {
        let made = match (&self.new, &self.old) {
            (Some(new), _) => std::fs::rename(new, &self.path),
            (None, Some(old)) => std::fs::rename(&self.path, old),
            (None, None) => Ok(()),
        };
        made.map_err(|error| failed(&self.path, &error))?;
        self.state = State::Made;
        settle(&self.path);
        Ok(())
    }

    /// The change stays: what tells of it is written.
    pub(super) fn keep(mut self) {
        self.state = State::Kept;
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        match self.state {
            State::Made => {
                let back = match &self.old {
                    Some(old) => std::fs::rename(old, &self.path),
                    None => std::fs::remove_file(&self.path),
                };
                if let Err(error) = back {
                    let path = self.path.display();
                    tracing::error!(%error, %path, old = ?self.old, "a change that was not noted cannot be taken back");
                }
                settle(&self.path);
            }
            // Nobody reads them; a rest is only untidy.
            State::Prepared | State::Kept => {
                for rest in self.new.iter().chain(&self.old) {
                    let _ = std::fs::remove_file(rest);
                }
            }
        }
    }
}

/// Makes a new or removed name durable. The file itself is; a name that a power cut takes back leaves the old file.
fn settle(path: &Path) {
    if let Some(dir) = path.parent().and_then(|dir| File::open(dir).ok()) {
        let _ = dir.sync_all();
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Refusal {
    let detail = format!("{} cannot be changed: {error}.", path.display());
    let hint = "Nothing was changed. See whether the service may write in its directory.";
    Refusal::new(RefusalKind::Conflict, detail, hint)
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let all = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            all.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_text_is_put_in_place_with_the_mode_and_the_owner_that_were_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.toml");
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        if is_root {
            std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap();
        }
        let before = path.metadata().unwrap();
        let mut edit = prepare(&path, "new\n", Some("old\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\n", "not before it is put");
        assert_eq!(names(dir.path()).len(), 3);
        assert!(names(dir.path())[0].starts_with('.'), "readers of the directory pass it over");
        edit.make().unwrap();
        edit.keep();
        let after = path.metadata().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(
            (after.mode() & 0o777, after.uid(), after.gid()),
            (0o604, before.uid(), before.gid())
        );
        assert_ne!(after.ino(), before.ino(), "whoever has the old one open reads the old one");
        // What is not put leaves nothing.
        drop(prepare(&path, "never\n", Some("new\n")).unwrap());
        assert_eq!(names(dir.path()), ["lab.toml"]);
        let new = dir.path().join("new.toml");
        let mut edit = prepare(&new, "x\n", None).unwrap();
        edit.make().unwrap();
        edit.keep();
        assert_eq!(new.metadata().unwrap().mode() & 0o777, NEW_MODE);
    }

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (there, new) = (dir.path().join("lab.toml"), dir.path().join("new.toml"));
        std::fs::write(&there, "old\n").unwrap();
        for mut edit in [prepare(&there, "new\n", Some("old\n")).unwrap(), prepare_removal(&there)]
        {
            edit.make().unwrap();
            assert_ne!(std::fs::read_to_string(&there).ok().as_deref(), Some("old\n"));
            drop(edit);
            assert_eq!(std::fs::read_to_string(&there).unwrap(), "old\n");
        }
        let mut edit = prepare(&new, "x\n", None).unwrap();
        edit.make().unwrap();
        assert!(new.exists());
        drop(edit);
        assert_eq!(names(dir.path()), ["lab.toml"]);
        let mut edit = prepare_removal(&there);
        edit.make().unwrap();
        edit.keep();
        assert_eq!(names(dir.path()), [""; 0]);
        assert!(prepare_removal(&there).make().is_err(), "there is nothing to remove");
    }

    #[test]
    fn only_the_text_that_was_opened_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.toml");
        assert!(still(&path, None).is_ok());
        assert!(still(&path, Some(&hash_of("old"))).unwrap_err().detail.contains("is gone"));
        std::fs::write(&path, "old").unwrap();
        assert!(still(&path, Some(&hash_of("old"))).is_ok());
        assert!(still(&path, None).unwrap_err().detail.contains("exists already"));
        std::fs::write(&path, "other").unwrap();
        let refusal = still(&path, Some(&hash_of("old"))).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        assert!(refusal.detail.contains("was changed since"), "{refusal}");
    }

    #[test]
    fn what_cannot_be_written_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let place = read_only_place(&ServerTypesSource::Directory(gone.clone())).unwrap();
        assert!(place.hint.contains("install -d"), "{place:?}");
        let refusal = prepare(&gone.join("lab.toml"), "x", None).unwrap_err();
        assert!(refusal.hint.contains("install -d"), "{refusal}");
        // No process can make a file there, whoever it is.
        let refusal = prepare(Path::new("/proc/self/lab.toml"), "x", None).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::Conflict);
        let sandbox = shut(Path::new("/etc/ironhatch/server-types"), nix::errno::Errno::EROFS);
        assert!(sandbox.hint.contains("ReadWritePaths=/etc/ironhatch/server-types"), "{sandbox:?}");
        let rights = shut(Path::new("/etc/x"), nix::errno::Errno::EACCES);
        assert!(rights.hint.contains("chmod 0770 /etc/x"), "{rights:?}");
        assert_eq!(read_only_place(&ServerTypesSource::Directory(dir.path().to_owned())), None);
        let one = read_only_place(&ServerTypesSource::File("/etc/types.yaml".into())).unwrap();
        assert!(one.reason.contains("/etc/types.yaml"), "{one:?}");

        let (target, link) = (dir.path().join("kept.toml"), dir.path().join("link.toml"));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(prepare(&link, "x", None).unwrap_err().detail.contains("is a link"));
        assert!(link.symlink_metadata().unwrap().file_type().is_symlink());
        assert_eq!(std::fs::read_to_string(target).unwrap(), "kept");
    }

    #[test]
    fn a_file_that_is_no_page_of_text_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let source = ServerTypesSource::Directory(dir.path().to_owned());
        let name: ServerTypeName = "lab".parse().unwrap();
        assert!(open(&source, &name).unwrap().is_none());
        std::fs::write(dir.path().join("lab.toml"), [0xff, 0xfe]).unwrap();
        assert!(open(&source, &name).is_err());
        std::fs::write(dir.path().join("lab.toml"), "#".repeat(TYPE_BYTES + 1)).unwrap();
        assert!(open(&source, &name).unwrap_err().detail.contains("more than"));
        std::fs::write(dir.path().join("lab.toml"), "#".repeat(TYPE_BYTES)).unwrap();
        assert!(open(&source, &name).unwrap().is_some());
    }
}
