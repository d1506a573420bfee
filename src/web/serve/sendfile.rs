//! Bytes onto a socket without passing through this program: `sendfile` for what is in a file, a write for the few bytes
//! of an ISO view that are not.
//!
//! `sendfile` reads the file inside the call, so on a page that is not in memory it would stop the worker, and with it
//! other connections. Each run is looked up first (`RWF_NOWAIT`: a read that refuses to wait); what is in memory is sent
//! at once, for the rest a thread of the blocking pool does the same call, a limited number of them at a time. What was
//! measured is in `docs/decisions/0016-boot-files-with-sendfile.md`.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::sync::Arc;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use nix::sys::sendfile::sendfile64;
use rustix::io::{ReadWriteFlags, preadv2};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::limits::http::{COLD_READS, COLD_RUN, SENDFILE_RUN, SENDFILE_TURN};
use crate::proto::iso9660::Segment;
use crate::web::file::Sending;

/// What the disk is told to read ahead. The file's own read-ahead does not help: all clients share its position.
const READ_AHEAD: i64 = 4 << 20;

/// Sends files on sockets. One for the process, since the disk is one.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    cold: Arc<Semaphore>,
}

impl Sender {
    pub(super) fn new() -> Self {
        Self { cold: Arc::new(Semaphore::new(COLD_READS)) }
    }

    /// Sends all that is left, in order.
    ///
    /// # Errors
    /// The client is gone or takes nothing for too long, or the file cannot be read or is shorter than it was.
    pub(super) async fn send(
        &self,
        socket: &Arc<TcpStream>,
        sending: &mut Sending,
    ) -> io::Result<()> {
        // Up to here the file was seen in memory.
        let mut warm_to = 0;
        let mut since_turn = 0;
        loop {
            let rest = sending.rest();
            let Some(run) = sending.run(SENDFILE_RUN) else { return Ok(()) };
            socket.writable().await?;
            let sent = match run {
                Segment::Bytes(bytes) => {
                    let is_last = rest.start + len(bytes) >= rest.end;
                    write_some(socket, bytes, if is_last { More::No } else { More::Yes })
                }
                Segment::Original { offset, len } => {
                    let file = sending.content().file().ok_or_else(no_file)?;
                    // What a full socket left of a run is not looked up again.
                    if warm_to <= offset {
                        warm_to = offset + warm(file, offset, len);
                    }
                    if offset < warm_to {
                        send_some(socket, file, offset, len.min(warm_to - offset))
                    } else {
                        self.send_cold(socket, file, offset, len.min(COLD_RUN)).await
                    }
                }
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    sending.advance(count);
                    since_turn += count;
                    // A client on the same machine can be as fast as we are; others wait.
                    if since_turn >= SENDFILE_TURN {
                        since_turn = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if is_soon(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The same call on a thread that may wait for the disk.
    async fn send_cold(
        &self,
        socket: &Arc<TcpStream>,
        file: &Arc<File>,
        offset: u64,
        len: u64,
    ) -> io::Result<u64> {
        let Ok(permit) = Arc::clone(&self.cold).acquire_owned().await else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (socket, file) = (Arc::clone(socket), Arc::clone(file));
        let work = move || {
            let _permit = permit;
            if let Ok(offset) = i64::try_from(offset) {
                // Only a hint.
                let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
                let _ = posix_fadvise(&*file, offset, READ_AHEAD, advice);
            }
            send_some(&socket, &file, offset, len)
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

/// Whether more bytes follow at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// A packet that is not full waits for them.
    Yes,
    /// What is there leaves.
    No,
}

/// Writes bytes from memory, all of them.
///
/// # Errors
/// As those of the socket.
pub(super) async fn write(socket: &TcpStream, mut bytes: &[u8], more: More) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match write_some(socket, bytes, more) {
            Ok(count) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(error) if is_soon(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_some(socket: &TcpStream, bytes: &[u8], more: More) -> io::Result<u64> {
    let flags = if more == More::Yes { libc::MSG_MORE } else { 0 };
    socket
        .try_io(Interest::WRITABLE, || SockRef::from(socket).send_with_flags(bytes, flags))
        .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
}

fn send_some(socket: &TcpStream, file: &File, offset: u64, len: u64) -> io::Result<u64> {
    let mut offset = i64::try_from(offset).map_err(io::Error::other)?;
    let count = usize::try_from(len).map_err(io::Error::other)?;
    socket
        .try_io(Interest::WRITABLE, || Ok(sendfile64(socket, file, Some(&mut offset), count)?))
        .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
}

/// How many of these bytes are in memory, from the first one on. The ends of each piece stand for all of it: pages leave
/// memory in runs, and the worst that a wrong answer costs is the time in which a disk reads one piece. A file system that
/// cannot tell is a slow one.
fn warm(file: &File, offset: u64, len: u64) -> u64 {
    let is_in_memory = |at| {
        let mut byte = [0];
        preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT).is_ok()
    };
    let mut warm = 0;
    while warm < len {
        let piece = COLD_RUN.min(len - warm);
        let first = offset + warm;
        if !is_in_memory(first) || !is_in_memory(first + piece - 1) {
            break;
        }
        warm += piece;
    }
    warm
}

fn is_soon(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn no_file() -> io::Error {
    io::Error::other("no file behind an extent")
}
