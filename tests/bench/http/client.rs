//! HTTP clients that keep their connection and throw away what comes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::Pid;

use super::super::place::SERVER;

/// A file on one of the servers.
#[derive(Clone)]
pub struct Source {
    pub port: u16,
    pub path: String,
}

pub struct Figures {
    pub bytes: u64,
    pub seconds: f64,
}

const PATIENCE: Duration = Duration::from_secs(20);
/// What is discarded in one call.
const PIECE: usize = 1 << 20;
/// Ranges begin at multiples of this odd number of bytes.
const STEP: u64 = 9_999_991;

/// Fetches from as many clients until the deadline.
pub fn drive(
    source: &Source,
    clients: usize,
    range: Option<u64>,
    deadline: Instant,
) -> anyhow::Result<Figures> {
    let begun = Instant::now();
    let bytes = std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|n| scope.spawn(move || client(source, n as u64, range, deadline)))
            .collect();
        let mut bytes = 0;
        for one in all {
            bytes += one.join().ok().context("a client panicked")??;
        }
        Ok::<_, anyhow::Error>(bytes)
    })?;
    anyhow::ensure!(bytes > 0, "nothing came");
    Ok(Figures { bytes, seconds: begun.elapsed().as_secs_f64() })
}

/// Keeps this client's thread on one processor, the first clients on the last ones. Left alone a single client and its server
/// share a processor half of the time, which halves the rate of whoever has the bad luck.
fn settle(n: u64) -> anyhow::Result<()> {
    let processors = std::thread::available_parallelism()?.get();
    let mut only = CpuSet::new();
    only.set(processors - 1 - n as usize % processors)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &only)?)
}

fn client(source: &Source, n: u64, range: Option<u64>, deadline: Instant) -> anyhow::Result<u64> {
    settle(n)?;
    let mut connection = Connection::open(source.port)?;
    let mut bytes = 0;
    let mut at = n * STEP;
    while Instant::now() < deadline {
        let asked = range.map(|length| {
            at = (at + STEP) % (super::IMAGE_BYTES - length);
            (at, length)
        });
        let length = connection.ask(source, asked)?;
        if let Some((_, wanted)) = asked {
            anyhow::ensure!(length == wanted, "{length} bytes in answer to {wanted}");
        }
        bytes += connection.discard(length, deadline)?;
    }
    Ok(bytes)
}

/// One request on a connection of its own.
pub fn get(source: &Source, range: Option<(u64, u64)>) -> anyhow::Result<Vec<u8>> {
    let mut connection = Connection::open(source.port)?;
    let length = connection.ask(source, range)?;
    let mut body = std::mem::take(&mut connection.rest);
    let missing = (length as usize).saturating_sub(body.len());
    let start = body.len();
    body.resize(start + missing, 0);
    connection.stream.read_exact(&mut body[start..])?;
    Ok(body)
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the body that came with the head.
    rest: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((SERVER, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, rest: Vec::new(), buffer: vec![0; PIECE] })
    }

    /// Sends a request; returns the body's length.
    fn ask(&mut self, source: &Source, range: Option<(u64, u64)>) -> anyhow::Result<u64> {
        let mut head = format!("GET {} HTTP/1.1\r\nhost: {SERVER}\r\n", source.path);
        if let Some((at, length)) = range {
            head += &format!("range: bytes={at}-{}\r\n", at + length - 1);
        }
        self.stream.write_all(format!("{head}\r\n").as_bytes())?;
        let mut read = Vec::new();
        loop {
            let length = self.stream.read(&mut self.buffer[..4096])?;
            anyhow::ensure!(length > 0, "the connection ended in the head");
            read.extend_from_slice(&self.buffer[..length]);
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                self.rest = read.split_off(end + 4);
                break;
            }
        }
        let head = String::from_utf8_lossy(&read).to_ascii_lowercase();
        let wanted = if range.is_some() { " 206 " } else { " 200 " };
        let first = head.lines().next().unwrap_or_default();
        anyhow::ensure!(first.contains(wanted), "{} for {}", first.trim(), source.path);
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        Ok(length.context("no length")?.trim().parse()?)
    }

    /// Takes the body off the socket without copying it (tcp(7): MSG_TRUNC discards), until the deadline.
    fn discard(&mut self, length: u64, deadline: Instant) -> anyhow::Result<u64> {
        let mut done = self.rest.len() as u64;
        self.rest.clear();
        while done < length && Instant::now() < deadline {
            let wanted = ((length - done) as usize).min(PIECE);
            let buffer = &mut self.buffer[..wanted];
            let taken = recv(self.stream.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC)?;
            anyhow::ensure!(taken > 0, "the connection ended after {done} of {length} bytes");
            done += taken as u64;
        }
        Ok(done)
    }
}
