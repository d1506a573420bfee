//! The store's handle and its writer thread.

mod handle;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, mpsc};
use std::thread::JoinHandle;

use redb::{Database, Durability, ReadableDatabase as _};
use tokio::sync::{broadcast, oneshot};

use self::handle::{reopen, writable};
use super::audit::{self, Errand};
use super::error::StoreError;
use super::memory::{Changes, Memory};
use super::read::Snapshot;
use super::seal::MasterKey;
use super::tx::{OpenTables, Tx};
use super::{backup, backups, migrate};
use crate::domain::boot::{BootDirectory, Standing};
use crate::domain::event::Event;
use crate::domain::id::HostId;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::limits::record::{
    CACHE_BYTES, CHECKED_AT_START, EVENT_BACKLOG, WRITES_PER_COMMIT, WRITES_WAITING,
};

/// What commits cost since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commits {
    /// Commits that were made durable.
    pub count: u64,
    /// Commits of which nothing was kept.
    pub failed: u64,
    /// Writes in them.
    pub writes: u64,
    /// Time of all of them.
    pub took: std::time::Duration,
    /// Time of the slowest.
    pub slowest: std::time::Duration,
}

#[derive(Default)]
struct CommitTimes(std::sync::Mutex<Commits>);

impl CommitTimes {
    fn read(&self) -> Commits {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn took(&self, writes: usize, took: std::time::Duration, is_kept: bool) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.took += took;
        all.slowest = all.slowest.max(took);
        all.writes += u64::try_from(writes).unwrap_or(0);
        if is_kept {
            all.count += 1;
        } else {
            all.failed += 1;
        }
    }
}

/// Reads the wall clock; a value so that tests can set the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Pause between two attempts to open a database that could not be reopened after a failed commit.
const REOPEN_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Handle to the database. Cheap to clone; the writer thread ends when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    commits: CommitTimes,
    attempts: backups::Attempts,
    database: RwLock<Option<Arc<Database>>>,
    queue: mpsc::SyncSender<Request>,
    writer: std::sync::Mutex<Option<JoinHandle<()>>>,
    memory: Memory,
    events: broadcast::Sender<Arc<Event>>,
    key: Arc<MasterKey>,
    clock: Clock,
    path: PathBuf,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.shared.path.display())
    }
}

enum Request {
    Write(Box<dyn Pending>),
    Stop,
}

/// A write in the queue, with its result type erased.
trait Pending: Send {
    /// Runs the closure; true when its changes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_, '_>) -> bool;
    /// Answers the caller after the commit, or with the reason why there was none.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Write<R, E, F> {
    closure: Option<F>,
    /// For whom; its changes are then in the audit log, and the job that it queues under its idempotency key.
    errand: Option<Errand>,
    result: Option<Result<R, E>>,
    reply: oneshot::Sender<Result<R, E>>,
}

impl<R, E, F> Pending for Write<R, E, F>
where
    F: FnOnce(&mut Tx<'_, '_>) -> Result<R, E> + Send,
    R: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_, '_>) -> bool {
        let Some(closure) = self.closure.take() else { return false };
        let mut result = closure(tx);
        if let (Ok(_), Some(errand)) = (&result, self.errand.take())
            && let Err(error) = tx.note(errand)
        {
            // What cannot be accounted for is not done.
            result = Err(error.into());
        }
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let result = match (self.result, outcome) {
            (Some(Err(denied)), _) => Err(denied),
            (_, Err(failed)) => Err(failed.into()),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(StoreError::Closed.into()),
        };
        // A caller that went away does not need the answer; the write itself is done.
        let _ = self.reply.send(result);
    }
}

impl Store {
    /// Opens or creates the database, brings it to the current schema and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened (another daemon holds it, no permission, corrupt) or is newer than this program.
    pub fn open(path: &Path, key: MasterKey, clock: Clock) -> Result<Self, StoreError> {
        let mut database = open_database(path)?;
        let (database, memory) = whole_or_damaged(path, || {
            check_pages(&mut database, path)?;
            migrate::migrate(&database, path, clock())?;
            let memory = Memory::default();
            memory.load(&Snapshot { txn: database.begin_read()? })?;
            Ok((Arc::new(database), memory))
        })?;
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let (queue, requests) = mpsc::sync_channel(WRITES_WAITING);
        let shared = Arc::new(Shared {
            commits: CommitTimes::default(),
            attempts: backups::Attempts::default(),
            database: RwLock::new(Some(database)),
            queue,
            writer: std::sync::Mutex::new(None),
            memory,
            events,
            key: Arc::new(key),
            clock,
            path: path.to_owned(),
        });
        let worker = Arc::downgrade(&shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run_writer(&worker, &requests))
            .map_err(|source| StoreError::File {
                action: "start the writer for",
                path: path.to_owned(),
                source,
            })?;
        *shared.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(thread);
        Ok(Self { shared })
    }

    /// Runs a closure as one atomic, durable write. When it returns an error nothing of it is kept.
    ///
    /// # Errors
    /// The closure's own error, or the store's when the commit failed.
    pub async fn write<R, E, F>(&self, closure: F) -> Result<R, E>
    where
        F: FnOnce(&mut Tx<'_, '_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let errand = audit::present_errand();
        let mut request =
            Request::Write(Box::new(Write { closure: Some(closure), errand, result: None, reply }));
        loop {
            match self.shared.queue.try_send(request) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(StoreError::Closed.into()),
                Err(mpsc::TrySendError::Full(back)) => {
                    request = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A hash of parts under the master key, as [`MasterKey::digest`].
    #[must_use]
    pub fn digest(&self, parts: &[&[u8]]) -> String {
        self.shared.key.digest(parts)
    }

    /// As [`Store::write`], for threads outside the runtime.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn write_blocking<R, E, F>(&self, closure: F) -> Result<R, E>
    where
        F: FnOnce(&mut Tx<'_, '_>) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let write = Write { closure: Some(closure), errand: None, result: None, reply };
        self.shared
            .queue
            .send(Request::Write(Box::new(write)))
            .map_err(|_| E::from(StoreError::Closed))?;
        answer.blocking_recv().unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Reads from a consistent snapshot on a blocking thread; never waits for the writer.
    ///
    /// # Errors
    /// The closure's own error, or the store's.
    pub async fn read<R, E, F>(&self, closure: F) -> Result<R, E>
    where
        F: FnOnce(&Snapshot) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let store = self.clone();
        tokio::task::spawn_blocking(move || closure(&store.snapshot()?))
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A consistent snapshot, for threads that may block.
    ///
    /// # Errors
    /// When the database is closed or cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let database = {
            let guard =
                self.shared.database.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            guard.clone().ok_or(StoreError::Closed)?
        };
        Ok(Snapshot { txn: database.begin_read()? })
    }

    /// The hosts in the state `joining`.
    #[must_use]
    pub fn joining(&self) -> HashSet<HostId> {
        self.shared.memory.roster().joining()
    }

    /// The hosts that are members of the cluster, by name.
    #[must_use]
    pub fn members(&self) -> Vec<HostId> {
        self.shared.memory.roster().members()
    }

    /// Events from now on. A reader that lags re-reads the log by sequence number.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.shared.events.subscribe()
    }

    /// The key that opens sealed secrets.
    #[must_use]
    pub fn master_key(&self) -> Arc<MasterKey> {
        Arc::clone(&self.shared.key)
    }

    /// The wall clock this store stamps its records with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    /// What commits cost so far.
    #[must_use]
    pub fn commits(&self) -> Commits {
        self.shared.commits.read()
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Copies a consistent state into a new file while the daemon goes on, and verifies the copy.
    ///
    /// # Errors
    /// When the copy cannot be written or does not verify; then no file is left at `to`.
    pub fn backup(&self, to: &Path) -> Result<backup::Verified, StoreError> {
        backup::backup(&self.snapshot()?, to)
    }

    /// What became of the regular backups.
    pub(super) fn attempts(&self) -> &backups::Attempts {
        &self.shared.attempts
    }

    /// What a failed commit and a failed reopen leave: no open database. The writer is woken by a request it cannot keep.
    #[cfg(test)]
    pub(super) fn lose_handle(&self) {
        let shared = Arc::downgrade(&self.shared);
        // Taken on the writer's thread, as a failed commit does.
        let lost: Result<(), StoreError> = self.write_blocking(move |_| {
            if let Some(shared) = shared.upgrade() {
                shared.database.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            }
            Ok(())
        });
        drop(lost);
    }

    /// Writes what is queued and stops the writer. Later writes get [`StoreError::Closed`].
    pub fn close(&self) {
        let _ = self.shared.queue.send(Request::Stop);
        let thread =
            self.shared.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.shared.database.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }
}

impl BootDirectory for Store {
    fn standing(&self, mac: Mac) -> Standing {
        self.shared.memory.directory().standing(mac)
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    let shown = path.to_owned();
    restrict(path).map_err(|source| StoreError::File {
        action: "restrict to its owner",
        path: path.to_owned(),
        source,
    })?;
    whole_or_damaged(path, || {
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_repair_callback(move |session| {
                let percent = session.progress() * 100.0;
                tracing::warn!(path = %shown.display(), percent, "database was not closed, repairing");
            })
            .create(path)
            .map_err(|e| not_opened(path, e.into()))
    })
}

/// Compares every page with its checksum, unless the file is so big that a start would wait for it.
fn check_pages(database: &mut Database, path: &Path) -> Result<(), StoreError> {
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size > CHECKED_AT_START {
        tracing::debug!(path = %path.display(), size, "the database is too big to be checked at each start");
        return Ok(());
    }
    if !database.check_integrity()? {
        tracing::warn!(path = %path.display(), "the list of free pages in the database was made anew");
    }
    Ok(())
}

/// Runs a first look at a file. redb 4 asserts what it reads: a page that it did not write is a panic, not an error.
pub(super) fn whole_or_damaged<T>(
    path: &Path,
    look: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)) {
        Ok(Err(error @ (StoreError::Corrupt { .. } | StoreError::Page(_)))) => {
            Err(damaged(error.to_string()))
        }
        Ok(outcome) => outcome,
        Err(_) => Err(damaged("a page is not what was written".to_owned())),
    }
}

/// Tells a file that is damaged from one that cannot be opened.
fn not_opened(path: &Path, error: redb::Error) -> StoreError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let is_damaged = match &error {
        redb::Error::Corrupted(_) | redb::Error::RepairAborted => true,
        redb::Error::Io(io) => matches!(io.kind(), InvalidData | UnexpectedEof),
        _ => false,
    };
    if is_damaged {
        StoreError::Damaged { path: path.to_owned(), reason: error.to_string() }
    } else {
        StoreError::Open { path: path.to_owned(), source: Box::new(error) }
    }
}

/// Makes sure that only the owner reads the file, from its first byte: it holds password hashes and sealed secrets.
fn restrict(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        // Another owner's file: what it holds stays as protected as the directory is.
        if let Err(error) = file.set_permissions(std::fs::Permissions::from_mode(0o600)) {
            tracing::warn!(path = %path.display(), %error, "others may read the database");
        }
    }
    Ok(())
}

/// Opens a database file for offline work.
pub(super) fn open_offline(path: &Path) -> Result<Database, StoreError> {
    open_database(path)
}

/// The next request. While the database is not open (see [`reopen`]) it is tried again now and then: readers need it too,
/// and there may be no write for a long time.
fn next_request(
    shared: &std::sync::Weak<Shared>,
    requests: &mpsc::Receiver<Request>,
) -> Option<Request> {
    loop {
        let is_open = shared.upgrade().is_none_or(|shared| {
            shared.database.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
        });
        if is_open {
            return requests.recv().ok();
        }
        match requests.recv_timeout(REOPEN_EVERY) {
            Ok(request) => return Some(request),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Some(shared) = shared.upgrade() {
                    // Still not: the failure was told when it happened.
                    let _ = writable(&shared);
                }
            }
        }
    }
}

fn run_writer(shared: &std::sync::Weak<Shared>, requests: &mpsc::Receiver<Request>) {
    while let Some(first) = next_request(shared, requests) {
        let mut batch = Vec::new();
        let mut stop = false;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Write(write) => batch.push(write),
                Request::Stop => {
                    stop = true;
                    break;
                }
            }
            next = if batch.len() < WRITES_PER_COMMIT { requests.try_recv().ok() } else { None };
        }
        if let Some(shared) = shared.upgrade() {
            // redb asserts where a page is not what it wrote: a damaged file must not take the writer away for good.
            let run = std::panic::AssertUnwindSafe(|| write_batch(&shared, batch));
            if std::panic::catch_unwind(run).is_err() {
                tracing::error!("a write met a damaged page or a defect; nothing of it was kept");
                reopen(&shared);
            }
        }
        if stop {
            return;
        }
    }
}

/// Runs a batch and answers every caller. A failed commit reopens the database: redb refuses to go on after an I/O
/// error (a full disk), and the next write must work again once there is space.
fn write_batch(shared: &Arc<Shared>, mut batch: Vec<Box<dyn Pending>>) {
    if batch.is_empty() {
        return;
    }
    let begun = std::time::Instant::now();
    let outcome = commit(shared, &mut batch);
    shared.commits.took(batch.len(), begun.elapsed(), outcome.is_ok());
    match outcome {
        Ok((events, changes)) => {
            shared.memory.publish(changes);
            for event in events {
                // No receiver is not an error: nobody is watching.
                let _ = shared.events.send(Arc::new(event));
            }
            for write in batch {
                write.finish(Ok(()));
            }
        }
        Err(error) => {
            tracing::error!(%error, "a write failed, nothing of it was kept");
            reopen(shared);
            let reason = error.to_string();
            for write in batch {
                write.finish(Err(StoreError::Database(reason.clone())));
            }
        }
    }
}

type Committed = (Vec<Event>, Changes);

fn commit(shared: &Shared, batch: &mut [Box<dyn Pending>]) -> Result<Committed, StoreError> {
    let database = writable(shared)?;
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    // Two fsyncs, and in exchange opening after a crash is instant and immune to torn one-phase commits.
    txn.set_quick_repair(true);
    let mut events = Vec::new();
    let mut changed = Changes::default();
    {
        let mut tables = OpenTables::of(&txn);
        for write in batch {
            let mut tx = Tx::new(&tables, &shared.key, (shared.clock)());
            let run = std::panic::AssertUnwindSafe(|| write.run(&mut tx));
            // A panic in one write must not take the others down; the caller sees "not running".
            let keep = std::panic::catch_unwind(run).unwrap_or(false);
            if keep {
                changed.add(&mut tx)?;
                events.append(&mut tx.events);
                let changes = std::mem::take(&mut tx.changes);
                tables.apply(changes)?;
            }
        }
    }
    txn.commit()?;
    Ok((events, changed))
}
