//! Imported installer images: bring one in, refuse what is none, open it for serving.
//!
//! An import is four steps that a job can store and repeat one by one:
//!
//! ```text
//!   check_source   is it there, is it small enough, is there room?          changes nothing
//!   fetch          source -> <hash of source>.iso.part, hashed on the way   repeats where it stopped
//!   verify         SHA-256 as expected? an installer that we can serve?     refusal removes the part
//!   commit         fsync, rename to <image id>.iso                          a second time says "already there"
//! ```
//!
//! [`ImageStore`] owns its directory: nobody else writes there. Which images the appliance knows is the database's matter.
//! All file work runs on blocking threads; nothing here keeps a whole image in memory.

mod download;
mod error;
mod fetch;
mod inspect;
mod open;
mod part;
mod source;

#[cfg(test)]
mod test;

pub use error::ImportError;
pub use fetch::Fetched;
pub use inspect::{Inspected, NotAnInstaller, inspect};
pub use open::{OpenError, OpenImage};
pub use source::{BadSource, ExpectedSha256, Source};

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::domain::id::JobId;
use crate::domain::image::Image;
use crate::domain::time::Timestamp;
pub use crate::limits::work::MAX_IMAGE_BYTES;
use crate::limits::work::{IMPORT_ANSWER, IMPORT_CONNECT, IMPORT_IDLE, IMPORT_MARGIN};

/// Bounds of an import, each with its reason.
#[derive(Debug, Clone)]
pub struct ImportLimits {
    /// Bytes that stay free on the disk: the database and its backups live beside the images.
    pub margin: u64,
    /// Longest time to connect to a server.
    pub connect: Duration,
    /// Longest time until a server answers a request.
    pub answer: Duration,
    /// Longest silence in the middle of a download.
    pub idle: Duration,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self {
            margin: IMPORT_MARGIN,
            connect: IMPORT_CONNECT,
            answer: IMPORT_ANSWER,
            idle: IMPORT_IDLE,
        }
    }
}

/// What [`ImageStore::commit`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The image is new.
    New(Image),
    /// The very same file was imported before; nothing changed. The record describes the file that is there.
    AlreadyThere(Image),
}

/// The directory of imported images.
#[derive(Debug)]
pub struct ImageStore {
    dir: PathBuf,
    limits: ImportLimits,
    /// Held while a file gets its final name.
    naming: tokio::sync::Mutex<()>,
}

impl ImageStore {
    /// Opens the directory, and makes it when it is missing.
    ///
    /// # Errors
    /// [`ImportError::Storage`].
    pub async fn open(dir: impl Into<PathBuf>, limits: ImportLimits) -> Result<Self, ImportError> {
        let dir = dir.into();
        blocking(move || {
            std::fs::create_dir_all(&dir).map_err(|e| storage(&dir, e))?;
            Ok(Self { dir, limits, naming: tokio::sync::Mutex::default() })
        })
        .await
    }

    /// Where an image's file is.
    #[must_use]
    pub fn path(&self, image: &Image) -> PathBuf {
        self.dir.join(&image.file_name)
    }

    /// Looks at the source before anything is written: it is there, it is not too big, and there is room for it.
    /// Returns its size in bytes when the source tells it.
    ///
    /// # Errors
    /// [`ImportError`]; a server that does not answer `HEAD` is not an error.
    pub async fn check_source(&self, source: &Source) -> Result<Option<u64>, ImportError> {
        let size = match source {
            Source::Path(path) => {
                let path = path.clone();
                blocking(move || Ok(Some(source::open_file(&path)?.1))).await?
            }
            Source::Url(url) => download::Client::new(&self.limits).await?.size(url).await?,
        };
        if size.is_some_and(|size| size > MAX_IMAGE_BYTES) {
            return Err(ImportError::TooBig);
        }
        let there = self.part_of(source).len();
        self.check_space(size.unwrap_or(0).saturating_sub(there)).await?;
        Ok(size)
    }

    /// Brings the source's bytes here. After an interruption (error, cancellation, crash) the same call goes on where
    /// that one stopped, if the source is still the same file.
    ///
    /// `progress` is told the bytes that are here and the bytes there will be; it is called about once per MiB.
    ///
    /// # Errors
    /// [`ImportError`]; [`ImportError::is_transient`] says whether to call again.
    pub async fn fetch(
        &self,
        source: &Source,
        cancel: &CancellationToken,
        progress: impl FnMut(u64, Option<u64>) + Send,
    ) -> Result<Fetched, ImportError> {
        fetch::fetch(self, source, cancel, progress).await
    }

    /// Compares the digest, and checks that the file is an installer that this appliance can serve. A refusal removes
    /// the file.
    ///
    /// # Errors
    /// [`ImportError::WrongHash`], [`ImportError::NotAnInstaller`], or the file cannot be read.
    pub async fn verify(
        &self,
        fetched: &Fetched,
        expected: Option<&ExpectedSha256>,
    ) -> Result<Inspected, ImportError> {
        let part = self.part_of(&fetched.source);
        if let Some(expected) = expected
            && expected.as_str() != fetched.sha256
        {
            self.discard(&fetched.source).await?;
            return Err(ImportError::WrongHash {
                expected: expected.as_str().to_owned(),
                found: fetched.sha256.clone(),
            });
        }
        let size = fetched.size;
        let verdict = blocking(move || {
            let path = part.file();
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.len() == size => Ok(inspect(path)),
                Ok(_) => Err(ImportError::PartGone),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(ImportError::PartGone),
                Err(e) => Err(storage(path, e)),
            }
        })
        .await?;
        if verdict.is_err() {
            self.discard(&fetched.source).await?;
        }
        Ok(verdict?)
    }

    /// Gives the verified file its name.
    ///
    /// # Errors
    /// [`ImportError::IdTaken`], [`ImportError::PartGone`], [`ImportError::Storage`].
    pub async fn commit(
        &self,
        fetched: &Fetched,
        inspected: &Inspected,
        now: Timestamp,
        job: Option<JobId>,
    ) -> Result<Committed, ImportError> {
        let _naming = self.naming.lock().await;
        let image = Image {
            id: inspected.id.clone(),
            file_name: format!("{}.iso", inspected.id),
            size: fetched.size,
            initrd_size: inspected.initrd.len,
            sha256: fetched.sha256.clone(),
            release: inspected.release.clone(),
            source: fetched.source.to_string(),
            imported_at: now,
            job,
        };
        let (part, target, dir) =
            (self.part_of(&fetched.source), self.path(&image), self.dir.clone());
        blocking(move || {
            match std::fs::metadata(&target) {
                Ok(_) => {
                    let found = sha256_of(&target).map_err(|e| storage(&target, e))?;
                    if found != image.sha256 {
                        part.remove()?;
                        return Err(ImportError::IdTaken { id: image.id });
                    }
                    part.remove()?;
                    return Ok(Committed::AlreadyThere(image));
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(storage(&target, e)),
            }
            part.finish(&target)?;
            std::fs::File::open(&dir).and_then(|d| d.sync_all()).map_err(|e| storage(&dir, e))?;
            Ok(Committed::New(image))
        })
        .await
    }

    /// Removes what an unfinished import from `source` left behind; nothing there is not an error.
    ///
    /// # Errors
    /// [`ImportError::Storage`].
    pub async fn discard(&self, source: &Source) -> Result<(), ImportError> {
        let part = self.part_of(source);
        blocking(move || part.remove()).await
    }

    /// Removes the parts of all imports but those from `sources`: at the start, what no job is going to finish.
    ///
    /// # Errors
    /// [`ImportError::Storage`].
    pub async fn discard_all_but(&self, sources: &[Source]) -> Result<(), ImportError> {
        let keep: Vec<part::Place> = sources.iter().map(|source| self.part_of(source)).collect();
        let dir = self.dir.clone();
        blocking(move || part::remove_others(&dir, &keep)).await
    }

    /// Removes an image's file; a file that is gone is not an error. Machines that are fetching it get it to the end.
    ///
    /// # Errors
    /// [`ImportError::Storage`].
    pub async fn delete(&self, image: &Image) -> Result<(), ImportError> {
        let path = self.path(image);
        blocking(move || remove(&path)).await
    }

    /// Opens an image for serving.
    ///
    /// # Errors
    /// The file is gone, has another size than was imported, or is no longer an installer.
    pub async fn open_image(&self, image: &Image) -> Result<OpenImage, OpenError> {
        let (path, image) = (self.path(image), image.clone());
        tokio::task::spawn_blocking(move || OpenImage::open(&path, &image))
            .await
            .unwrap_or(Err(OpenError::Stopped))
    }

    fn part_of(&self, source: &Source) -> part::Place {
        part::Place::new(&self.dir, &source.to_string())
    }

    async fn check_space(&self, bytes: u64) -> Result<(), ImportError> {
        let (dir, margin) = (self.dir.clone(), self.limits.margin);
        blocking(move || part::check_space(&dir, bytes, margin)).await
    }
}

/// Runs file work on a blocking thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    // The thread ends early only when it panicked or the runtime stops; both end this import, and nothing else.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ImportError::Cancelled))
}

fn storage(path: &Path, source: io::Error) -> ImportError {
    ImportError::Storage { path: path.to_owned(), source }
}

fn remove(path: &Path) -> Result<(), ImportError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(storage(path, e)),
        _ => Ok(()),
    }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    io::copy(&mut file, &mut HashWriter(&mut hasher))?;
    Ok(hex(&hasher.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
