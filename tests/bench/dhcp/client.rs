//! Machines that ask for addresses and boot files: one socket on port 68 that plays all of them. Many packets leave and come
//! with one system call, so that the generator is not what limits a fast server.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use super::super::place::CLIENT_INTERFACE;
use super::super::row::quantile;
use super::mac;

/// What is asked, and how fast.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// DISCOVER to OFFER of PXE machines, so many in flight.
    Offers { window: usize, length: Duration },
    /// The same so many times per second.
    Paced { rate: f64, length: Duration },
    /// Whole exchanges of ordinary machines that were never seen before, so many in flight.
    Leases { window: usize, length: Duration, first: u32 },
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Answers (exchanges) per second.
    pub rate: f64,
    pub done: usize,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

/// How often a paced generator asks what is due.
const TICK: Duration = Duration::from_micros(200);

/// Packets per system call.
const BATCH: usize = 64;

/// A question without an answer for so long is given up and asked anew.
const LOST: Duration = Duration::from_millis(300);

pub fn drive(load: Load, machines: u32) -> anyhow::Result<Figures> {
    let socket = open()?;
    let mut client = Client {
        socket,
        machines,
        pxe: !matches!(load, Load::Leases { .. }),
        next: match load {
            Load::Leases { first, .. } => first,
            _ => 0,
        },
        asked: HashMap::new(),
        took: Vec::new(),
        lost: 0,
        waiting: Vec::new(),
        room: vec![[0; 1500]; BATCH],
    };
    let (elapsed, length) = match load {
        Load::Paced { rate, length } => (client.paced(rate, length)?, length),
        Load::Offers { window, length } | Load::Leases { window, length, .. } => {
            (client.windowed(window, length)?, length)
        }
    };
    let done = client.took.len();
    anyhow::ensure!(done > 0, "no answer in {length:?}");
    Ok(Figures {
        rate: done as f64 / elapsed.as_secs_f64(),
        done,
        p50: quantile(&mut client.took, 0.5),
        p99: quantile(&mut client.took, 0.99),
    })
}

fn open() -> anyhow::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(CLIENT_INTERFACE.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(socket.into())
}

struct Asked {
    machine: u32,
    begun: Instant,
}

struct Client {
    socket: UdpSocket,
    machines: u32,
    pxe: bool,
    next: u32,
    /// By transaction number.
    asked: HashMap<u32, Asked>,
    /// Microseconds from the first packet to the last.
    took: Vec<f64>,
    lost: usize,
    /// Packets that leave with the next flush.
    waiting: Vec<Vec<u8>>,
    room: Vec<[u8; 1500]>,
}

impl Client {
    /// Keeps `window` questions in flight.
    fn windowed(&mut self, window: usize, length: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut checked = begun;
        for _ in 0..window {
            self.ask();
        }
        self.flush()?;
        while begun.elapsed() < length {
            self.receive(MsgFlags::MSG_WAITFORONE);
            if checked.elapsed() > LOST {
                checked = Instant::now();
                self.forget_lost();
            }
            while self.asked.len() < window {
                self.ask();
            }
            self.flush()?;
        }
        Ok(begun.elapsed())
    }

    /// Asks at fixed times, whether answers come or not.
    fn paced(&mut self, rate: f64, length: Duration) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut sent = 0u64;
        while begun.elapsed() < length {
            while (sent as f64) / rate < begun.elapsed().as_secs_f64() {
                self.ask();
                sent += 1;
            }
            self.flush()?;
            // Asleep in between: a generator that spins would keep the server, which it wakes, off its processor.
            self.wait(TICK)?;
            self.receive(MsgFlags::MSG_DONTWAIT);
        }
        let elapsed = begun.elapsed();
        let grace = Instant::now();
        while grace.elapsed() < Duration::from_millis(100) {
            self.receive(MsgFlags::MSG_DONTWAIT);
        }
        let unanswered = self.asked.len() as f64 / sent.max(1) as f64;
        anyhow::ensure!(unanswered < 0.01, "{:.0} % got no answer", unanswered * 100.0);
        Ok(elapsed)
    }

    /// Until an answer is there, at most so long.
    fn wait(&self, most: Duration) -> anyhow::Result<()> {
        let mut sockets = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        ppoll(&mut sockets, Some(TimeSpec::from_duration(most)), None)?;
        Ok(())
    }

    fn ask(&mut self) {
        let xid = self.next;
        self.next += 1;
        let machine = if self.pxe { xid % self.machines } else { xid };
        self.asked.insert(xid, Asked { machine, begun: Instant::now() });
        let packet =
            if self.pxe { pxe_discover(machine, xid) } else { message(machine, xid, 1, &[]) };
        self.waiting.push(packet);
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH);
            let slices: Vec<[IoSlice<'_>; 1]> =
                self.waiting[..count].iter().map(|p| [IoSlice::new(p)]).collect();
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(count, None);
            let fd = self.socket.as_raw_fd();
            let to = vec![Some(to); count];
            let sent = sendmmsg(fd, &mut headers, &slices, to, [], MsgFlags::empty())?.count();
            self.waiting.drain(..sent);
        }
        Ok(())
    }

    /// Takes the answers that wait, and answers those.
    fn receive(&mut self, how: MsgFlags) {
        let mut room = std::mem::take(&mut self.room);
        for (length, buffer) in self.fill(&mut room, how).into_iter().zip(&room) {
            self.take(&buffer[..length]);
        }
        self.room = room;
        if let Err(error) = self.flush() {
            println!("{error:#}");
        }
    }

    /// Lengths of what came; nothing when nothing waits.
    fn fill(&self, room: &mut [[u8; 1500]], how: MsgFlags) -> Vec<usize> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            room.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let fd = self.socket.as_raw_fd();
        let taken = recvmmsg(fd, &mut headers, slices.iter_mut(), how, None);
        match taken {
            Ok(messages) => messages.map(|message| message.bytes).collect(),
            Err(Errno::EAGAIN | Errno::EINTR) => Vec::new(),
            Err(error) => {
                println!("{error:#}");
                Vec::new()
            }
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let Some(answer) = Answer::read(packet) else { return };
        let Some(asked) = self.asked.get(&answer.xid) else { return };
        if answer.mac != mac(asked.machine) {
            return;
        }
        match (self.pxe, answer.kind) {
            (true, 2) | (false, 5) => {
                self.took.push(asked.begun.elapsed().as_secs_f64() * 1e6);
                self.asked.remove(&answer.xid);
            }
            (false, 2) => {
                let mut options = vec![50, 4];
                options.extend(answer.address);
                options.extend([54, 4]);
                options.extend(answer.server);
                self.waiting.push(message(asked.machine, answer.xid, 3, &options));
            }
            _ => {}
        }
    }

    fn forget_lost(&mut self) {
        let before = self.asked.len();
        // A server that makes each lease durable by itself is slow, not lossy.
        let patience = if self.pxe { LOST } else { LOST * 10 };
        self.asked.retain(|_, asked| asked.begun.elapsed() < patience);
        self.lost += before - self.asked.len();
    }
}

struct Answer {
    xid: u32,
    mac: [u8; 6],
    kind: u8,
    address: [u8; 4],
    server: [u8; 4],
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut answer = Self {
            xid: u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?),
            address: bytes.get(16..20)?.try_into().ok()?,
            mac: bytes.get(28..34)?.try_into().ok()?,
            kind: 0,
            server: [0; 4],
        };
        let mut rest = bytes.get(240..)?;
        while let [tag, length, tail @ ..] = rest {
            if *tag == 255 {
                break;
            }
            let value = tail.get(..usize::from(*length))?;
            match (tag, value) {
                (53, [kind]) => answer.kind = *kind,
                (54, value) => answer.server = value.try_into().ok()?,
                _ => {}
            }
            rest = tail.get(usize::from(*length)..)?;
        }
        Some(answer)
    }
}

/// A BOOTP message with its type and these options.
fn message(machine: u32, xid: u32, kind: u8, options: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 240];
    out[..3].copy_from_slice(&[1, 1, 6]);
    out[4..8].copy_from_slice(&xid.to_be_bytes());
    out[10] = 0x80; // answers by broadcast: it has no address yet
    out[28..34].copy_from_slice(&mac(machine));
    out[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    out.extend([53, 1, kind]);
    out.extend(options);
    out.extend([55, 3, 1, 3, 6]);
    out.push(255);
    out.resize(out.len().max(300), 0);
    out
}

/// What UEFI firmware (EDK2) sends.
fn pxe_discover(machine: u32, xid: u32) -> Vec<u8> {
    let mut options = vec![57, 2, 5, 0xc0, 93, 2, 0, 7, 94, 3, 1, 3, 16, 97, 17, 0];
    options.extend([0x44; 10]);
    options.extend(mac(machine));
    options.extend(b"\x3c\x20PXEClient:Arch:00007:UNDI:003016");
    message(machine, xid, 1, &options)
}
