//! The partial file of a running import and the note beside it that lets it go on after a restart.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::{ImportError, MAX_IMAGE_BYTES, hex, remove, storage};

/// After so many bytes the part is made durable and the note says so. A power cut costs at most this much of a download.
const SYNC_EVERY: u64 = 16 << 20;

/// Names of the part and its note; the same for the same source, so that a repeated import finds them.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
    note: PathBuf,
}

/// What is known about a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// Text that changes when the source changes (strong entity tag, Last-Modified, or inode and time).
    validator: Option<String>,
    /// Full length, if known.
    total: Option<u64>,
    /// Bytes of the part that are certainly on the disk.
    durable: u64,
}

impl Place {
    pub(super) fn new(dir: &Path, source: &str) -> Self {
        let digest = hex(&Sha256::digest(source.as_bytes()));
        let stem = digest.get(..24).unwrap_or(&digest);
        Self { file: dir.join(format!("{stem}.iso.part")), note: dir.join(format!("{stem}.note")) }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Bytes that are there; 0 when there is none.
    pub(super) fn len(&self) -> u64 {
        std::fs::metadata(&self.file).map_or(0, |m| m.len())
    }

    /// Removes both files.
    pub(super) fn remove(&self) -> Result<(), ImportError> {
        remove(&self.note)?;
        remove(&self.file)
    }

    /// Makes the part durable and gives it its final name.
    pub(super) fn finish(&self, target: &Path) -> Result<(), ImportError> {
        match File::open(&self.file) {
            Ok(file) => file.sync_all().map_err(|e| storage(&self.file, e))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ImportError::PartGone),
            Err(e) => return Err(storage(&self.file, e)),
        }
        std::fs::rename(&self.file, target).map_err(|e| storage(target, e))?;
        remove(&self.note)
    }
}

/// A part that is being written. Locked against a second writer for as long as it lives.
#[derive(Debug)]
pub(super) struct Part {
    place: Place,
    dir: PathBuf,
    margin: u64,
    file: File,
    hasher: Sha256,
    written: u64,
    note: Note,
}

impl Part {
    /// Opens or makes the part and hashes what is there. Bytes that may not have reached the disk are dropped.
    pub(super) fn open(
        place: Place,
        dir: PathBuf,
        source: &str,
        margin: u64,
        cancel: &CancellationToken,
    ) -> Result<Self, ImportError> {
        let fail = |e| storage(&place.file, e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&place.file)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ImportError::Busy { url: source.to_owned() });
            }
            Err(TryLockError::Error(e)) => return Err(fail(e)),
        }
        let note: Note = std::fs::read(&place.note)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let keep = file.metadata().map_err(fail)?.len().min(note.durable);
        let mut part = Self { place, dir, margin, file, hasher: Sha256::new(), written: 0, note };
        if part.note.validator.is_none() || keep == 0 {
            part.restart(None, None)?;
            return Ok(part);
        }
        part.file.set_len(keep).map_err(|e| storage(&part.place.file, e))?;
        part.hash_existing(cancel)?;
        Ok(part)
    }

    /// Bytes that are there.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// What the source was when the existing bytes were written.
    pub(super) fn validator(&self) -> Option<&str> {
        self.note.validator.as_deref()
    }

    /// Full length, if known.
    pub(super) fn total(&self) -> Option<u64> {
        self.note.total
    }

    /// Throws the bytes away and begins again with another state of the source.
    pub(super) fn restart(
        &mut self,
        validator: Option<String>,
        total: Option<u64>,
    ) -> Result<(), ImportError> {
        let fail = |e| storage(&self.place.file, e);
        self.file.set_len(0).map_err(fail)?;
        self.file.seek(SeekFrom::Start(0)).map_err(fail)?;
        self.hasher = Sha256::new();
        self.written = 0;
        self.note = Note { validator, total, durable: 0 };
        self.write_note()
    }

    /// Checks that the rest fits before it comes.
    pub(super) fn check_rest(&self) -> Result<(), ImportError> {
        let rest = self.note.total.map_or(0, |total| total.saturating_sub(self.written));
        if self.note.total.is_some_and(|total| total > MAX_IMAGE_BYTES) {
            return Err(ImportError::TooBig);
        }
        check_space(&self.dir, rest, self.margin)
    }

    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let after = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if after > MAX_IMAGE_BYTES {
            return Err(ImportError::TooBig);
        }
        self.file.write_all(bytes).map_err(|e| self.write_failed(e))?;
        self.hasher.update(bytes);
        self.written = after;
        if after - self.note.durable >= SYNC_EVERY {
            self.make_durable()?;
            if self.note.total.is_none() && check_space(&self.dir, 0, self.margin).is_err() {
                return Err(ImportError::DiskFull { dir: self.dir.clone() });
            }
        }
        Ok(())
    }

    /// Brings the bytes to the disk and notes how many they are.
    pub(super) fn make_durable(&mut self) -> Result<(), ImportError> {
        self.file.sync_data().map_err(|e| self.write_failed(e))?;
        self.note.durable = self.written;
        self.write_note()
    }

    /// The digest of all bytes, lower-case hex.
    pub(super) fn sha256(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }

    /// The complete length is known only now.
    pub(super) fn set_total(&mut self, total: u64) {
        self.note.total = Some(total);
    }

    fn hash_existing(&mut self, cancel: &CancellationToken) -> Result<(), ImportError> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            if cancel.is_cancelled() {
                return Err(ImportError::Cancelled);
            }
            let n = self.file.read(&mut buffer).map_err(|e| storage(&self.place.file, e))?;
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            self.hasher.update(bytes);
            self.written += u64::try_from(n).unwrap_or(0);
        }
    }

    fn write_note(&self) -> Result<(), ImportError> {
        // Renamed into place, so that a crash leaves the old note or the new one.
        let (note, new) = (&self.place.note, self.place.note.with_extension("note.new"));
        let text = serde_json::to_vec(&self.note).map_err(|e| storage(note, e.into()))?;
        File::create(&new)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_data()))
            .and_then(|()| std::fs::rename(&new, note))
            .map_err(|e| {
                let _ = std::fs::remove_file(&new);
                self.write_failed(e)
            })
    }

    fn write_failed(&self, error: io::Error) -> ImportError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ImportError::DiskFull { dir: self.dir.clone() }
            }
            _ => storage(&self.place.file, error),
        }
    }
}

/// Removes every part and note in `dir` that is not one of `keep`.
pub(super) fn remove_others(dir: &Path, keep: &[Place]) -> Result<(), ImportError> {
    for entry in std::fs::read_dir(dir).map_err(|e| storage(dir, e))? {
        let path = entry.map_err(|e| storage(dir, e))?.path();
        let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            [".iso.part", ".note", ".note.new"].iter().any(|end| name.ends_with(end))
        });
        if ours && !keep.iter().any(|place| place.file == path || place.note == path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Refuses when writing `bytes` more would leave less than `margin` free.
pub(super) fn check_space(dir: &Path, bytes: u64, margin: u64) -> Result<(), ImportError> {
    let stat = nix::sys::statvfs::statvfs(dir).map_err(|e| storage(dir, e.into()))?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let needed = bytes.saturating_add(margin);
    if needed > free {
        return Err(ImportError::NoSpace { dir: dir.to_owned(), needed, margin, free });
    }
    Ok(())
}
