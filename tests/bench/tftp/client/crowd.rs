//! Many clients in one thread, at the least cost for each block: one call to receive it and one to acknowledge it. The
//! generator shares the machine with the server that it measures.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::super::place::{SERVER, machine};
use super::{Load, PORT, REPEAT, Then, Transfer};

#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// What arrived in order, of all clients.
    pub bytes: u64,
    pub completed: usize,
    pub seconds: f64,
    /// Processor time of the clients, in seconds. They can use one processor.
    pub cpu: f64,
}

/// How often silent servers are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Runs all clients of the load to its end.
pub fn drive(load: &Load) -> anyhow::Result<Figures> {
    let (begun, cpu_before) = (Instant::now(), cpu_seconds()?);
    let deadline = begun + load.length;
    let mut figures = Figures::default();
    let mut clients = Vec::new();
    for n in 0..load.clients {
        clients.push(Client::begin(n, load, begun)?);
    }
    let (mut now, mut looked) = (begun, begun);
    while !clients.is_empty() && now < deadline {
        let ready = ready(&clients)?;
        now = Instant::now();
        // From the end, so that a client that is done can go.
        for n in ready.into_iter().rev() {
            let client = &mut clients[n];
            if !client.listen(now)? {
                continue;
            }
            figures.bytes += client.transfer.at as u64;
            figures.completed += 1;
            let (number, transfers) = (client.number, client.transfers + 1);
            if transfers < load.transfers_each {
                *client = Client { transfers, ..Client::begin(number, load, now)? };
            } else {
                clients.swap_remove(n);
            }
        }
        if now.duration_since(looked) >= LOOK {
            looked = now;
            for silent in clients.iter_mut().filter(|c| now - c.heard >= REPEAT) {
                silent.heard = now;
                silent.say();
            }
        }
    }
    for client in &mut clients {
        figures.bytes += client.transfer.at as u64;
        client.transfer.stop();
        client.say();
    }
    figures.seconds = begun.elapsed().as_secs_f64();
    figures.cpu = cpu_seconds()? - cpu_before;
    Ok(figures)
}

/// Those for whom something arrived, by their places; nobody after a moment of silence. In a crowd as busy as this most
/// are ready at each look, so a set that the kernel keeps (epoll) would cost more.
fn ready(clients: &[Client<'_>]) -> anyhow::Result<Vec<usize>> {
    let mut asked: Vec<PollFd<'_>> =
        clients.iter().map(|c| PollFd::new(c.socket.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut asked, PollTimeout::from(20_u8))?;
    Ok(asked.iter().enumerate().filter(|(_, fd)| fd.any() == Some(true)).map(|(n, _)| n).collect())
}

/// Processor time of this thread, the kernel's for it included.
fn cpu_seconds() -> anyhow::Result<f64> {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = times.split(' ').next().context("no time")?.parse()?;
    Ok(nanoseconds / 1e9)
}

/// A client with a transfer.
struct Client<'a> {
    number: usize,
    socket: UdpSocket,
    transfer: Transfer<'a>,
    is_connected: bool,
    /// When it last heard something, or repeated itself.
    heard: Instant,
    /// Finished ones.
    transfers: usize,
}

impl<'a> Client<'a> {
    /// Asks for the file.
    fn begin(number: usize, load: &'a Load, now: Instant) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddrV4::new(machine(number), 0))?;
        socket.set_nonblocking(true)?;
        let transfer = Transfer::new(load);
        let client =
            Self { number, socket, transfer, is_connected: false, heard: now, transfers: 0 };
        client.say();
        Ok(client)
    }

    /// Takes what arrived, up to the block that is acknowledged; whether that was the last one.
    fn listen(&mut self, now: Instant) -> anyhow::Result<bool> {
        let mut buffer = [0; 2048];
        loop {
            // An error is that nothing more is there, or ICMP of a port that is closed for now: silence.
            let Ok(length) = self.receive(&mut buffer) else { return Ok(false) };
            self.heard = now;
            let then = self.transfer.hear(&buffer[..length])?;
            if then != Then::Wait {
                self.say();
                return Ok(then == Then::Done);
            }
        }
    }

    /// From the first answer on only that server is heard: it may answer from a port of its choice.
    fn receive(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.is_connected {
            return self.socket.recv(buffer);
        }
        let (length, from) = self.socket.recv_from(buffer)?;
        self.socket.connect(from)?;
        self.is_connected = true;
        Ok(length)
    }

    /// What does not leave is as good as lost on the way: the silence that follows repeats it.
    fn say(&self) {
        let message = &self.transfer.message;
        let _ = if self.is_connected {
            self.socket.send(message)
        } else {
            self.socket.send_to(message, (SERVER, PORT))
        };
    }
}
