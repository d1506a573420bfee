//! A relay of Ethernet frames in user space that loses or delays some of them: netem's work on kernels without it.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, bind, recv, send};
use rand::RngExt as _;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Namespace, Trouble};

/// Every protocol (packet(7): `htons(ETH_P_ALL)`).
const EVERYTHING: i32 = 0x0300;
const BUFFER_BYTES: usize = 8 << 20;

/// Carries frames between two interfaces of the namespace until it ends.
pub fn start(
    namespace: &Namespace,
    servers: &'static str,
    clients: &'static str,
    trouble: Trouble,
) -> anyhow::Result<()> {
    let (loss, delay) = match trouble {
        Trouble::None => (0.0, Duration::ZERO),
        Trouble::OnePercentLost => (0.01, Duration::ZERO),
        Trouble::FiveMillisecondsLate => (0.0, Duration::from_millis(5)),
    };
    namespace.run(move || {
        let (a, b) = (open(servers)?, open(clients)?);
        let (a2, b2) = (a.try_clone()?, b.try_clone()?);
        std::thread::spawn(move || carry(&a, &b, loss, delay));
        std::thread::spawn(move || carry(&b2, &a2, loss, Duration::ZERO));
        Ok(())
    })?
}

fn open(interface: &str) -> anyhow::Result<Socket> {
    let socket =
        Socket::new(Domain::PACKET, Type::RAW.nonblocking(), Some(Protocol::from(EVERYTHING)))?;
    // The socket's own limit is not asked where the process may (CAP_NET_ADMIN).
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &BUFFER_BYTES)?;
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::SndBufForce, &BUFFER_BYTES)?;
    let found = nix::ifaddrs::getifaddrs()?.find_map(|i| {
        (i.interface_name == interface).then(|| i.address?.as_link_addr().copied()).flatten()
    });
    bind(socket.as_raw_fd(), &found.context("the relay's interface")?)?;
    Ok(socket)
}

/// Ends when the namespace does: its interfaces are gone then.
fn carry(from: &Socket, to: &Socket, loss: f64, delay: Duration) {
    let mut random = rand::rng();
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut frame = [0u8; 2048];
    loop {
        let pause = waiting.front().map_or(Duration::from_millis(100), |(due, _)| {
            due.saturating_duration_since(Instant::now())
        });
        let mut wait = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        if ppoll(&mut wait, Some(pause.into()), None).is_err() {
            return;
        }
        for _ in 0..256 {
            match recv(from.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    let frame = &mut frame[..length];
                    if is_udp(frame) && random.random_bool(loss) {
                        continue;
                    }
                    without_checksum(frame);
                    if delay.is_zero() {
                        let _ = send(to.as_raw_fd(), frame, MsgFlags::empty());
                    } else {
                        waiting.push_back((Instant::now() + delay, frame.to_vec()));
                    }
                }
                Err(nix::errno::Errno::EAGAIN) => break,
                Err(_) => return,
            }
        }
        while waiting.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            if let Some((_, frame)) = waiting.pop_front() {
                let _ = send(to.as_raw_fd(), &frame, MsgFlags::empty());
            }
        }
    }
}

fn is_udp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17)
}

/// A virtual cable leaves the checksum to the hardware that it does not have; 0 means "none" in UDP over IPv4 (RFC 768).
fn without_checksum(frame: &mut [u8]) {
    let header = usize::from(frame.get(14).copied().unwrap_or(0) & 15) * 4;
    if is_udp(frame)
        && let Some(checksum) = frame.get_mut(14 + header + 6..14 + header + 8)
    {
        checksum.fill(0);
    }
}
