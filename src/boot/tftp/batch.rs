//! Many datagrams per system call: the kernel's work for one small datagram costs more than all of ours.
//!
//! Receiving takes what waits with one `recvmmsg`. Sending hands the blocks of a window to the kernel as one buffer that it
//! cuts into datagrams itself (`UDP_SEGMENT`, udp(7)), and everything else with `sendmmsg`. On the wire nothing is different.
//! Why, and what else there was to choose from, is in `docs/decisions/0020-datagrams-in-batches.md`.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::limits::tftp::{BATCH, LARGEST_DATAGRAM};
use crate::proto::tftp::Datagram;

/// Datagrams that the kernel cuts out of one buffer at most (`UDP_MAX_SEGMENTS` is 64 before Linux 6.9), and the buffer's
/// size: an IP packet's.
const MOST_SEGMENTS: usize = 64;
const LARGEST_BUFFER: usize = 65_000;

/// Datagrams that arrived together.
#[derive(Debug)]
pub(super) struct Inbox {
    room: Box<[u8]>,
    arrived: Vec<(SocketAddrV4, usize)>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let room = vec![0; BATCH * LARGEST_DATAGRAM].into_boxed_slice();
        Self { room, arrived: Vec::with_capacity(BATCH) }
    }

    /// Takes what waits, at most [`BATCH`] datagrams; none is not an error.
    ///
    /// # Errors
    /// What the system says, for example an ICMP error of an earlier reply.
    pub(super) fn fill(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.arrived.clear();
        let fd = socket.as_raw_fd();
        match socket.try_io(Interest::READABLE, || self.take(fd)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    fn take(&mut self, fd: RawFd) -> io::Result<()> {
        let Self { room, arrived } = self;
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            room.chunks_mut(LARGEST_DATAGRAM).map(|chunk| [IoSliceMut::new(chunk)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
        let taken = recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        // A sender that is not IPv4 cannot reach this socket.
        arrived.extend(taken.map(|message| match message.address {
            Some(from) => (SocketAddrV4::from(from), message.bytes),
            None => (SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0), 0),
        }));
        Ok(())
    }

    /// Whether as many came as there is room for, so that more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.arrived.len() == BATCH
    }

    /// Senders and bytes, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddrV4, &[u8])> {
        let chunks = self.room.chunks(LARGEST_DATAGRAM);
        self.arrived
            .iter()
            .zip(chunks)
            .map(|((from, length), chunk)| (*from, chunk.get(..*length).unwrap_or(chunk)))
    }
}

/// Datagrams that leave together.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Vec<Waiting>,
    /// The kernel or the interface cannot cut buffers.
    whole: bool,
}

#[derive(Debug)]
struct Waiting {
    to: SocketAddrV4,
    datagram: Datagram,
    /// Never in a buffer with others.
    singly: bool,
}

/// What happened to the next datagrams of an outbox.
enum Gone {
    Sent(usize),
    /// No room in the socket's buffer.
    Full,
    Failed(io::Error),
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::new(), whole: false }
    }

    /// `singly`: never in a buffer with others.
    pub(super) fn push(&mut self, to: SocketAddrV4, datagram: Datagram, singly: bool) {
        self.waiting.push(Waiting { to, datagram, singly });
    }

    /// Sends everything, waiting for room where there is none. `outcome` is told of each datagram: where it went, its length,
    /// and the error when it was given up.
    pub(super) async fn flush(
        &mut self,
        socket: &UdpSocket,
        mut outcome: impl FnMut(SocketAddrV4, Result<usize, io::Error>),
    ) {
        let mut next = 0;
        while let Some(rest) = self.waiting.get(next..).filter(|rest| !rest.is_empty()) {
            match send_some(socket, rest, &mut self.whole) {
                Gone::Sent(count) => {
                    for gone in rest.iter().take(count) {
                        outcome(gone.to, Ok(gone.datagram.wire_len()));
                    }
                    next += count.max(1);
                }
                Gone::Full => {
                    if let Err(error) = socket.writable().await {
                        // Only while the runtime shuts down.
                        tracing::debug!(%error, "a TFTP socket is gone");
                        break;
                    }
                }
                Gone::Failed(error) => {
                    if let Some(failed) = rest.first() {
                        outcome(failed.to, Err(error));
                    }
                    next += 1;
                }
            }
        }
        self.waiting.clear();
    }
}

/// Sends the first datagrams with one system call.
fn send_some(socket: &UdpSocket, rest: &[Waiting], whole: &mut bool) -> Gone {
    let fd = socket.as_raw_fd();
    let train = if *whole { 1 } else { train(rest) };
    if train > 1 {
        let sent = socket.try_io(Interest::WRITABLE, || send_train(fd, rest, train));
        let error = match sent {
            Ok(()) => return Gone::Sent(train),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Gone::Full,
            Err(error) => error,
        };
        // Not on this kernel, this interface, or with blocks this long: one by one it works as ever.
        let refused = [Errno::EINVAL, Errno::EIO, Errno::EOPNOTSUPP, Errno::ENOPROTOOPT];
        if !refused.iter().any(|e| error.raw_os_error() == Some(*e as i32)) {
            return Gone::Failed(error);
        }
        tracing::debug!(%error, "TFTP windows are sent block by block");
        *whole = true;
    }
    match socket.try_io(Interest::WRITABLE, || send_many(fd, rest, *whole)) {
        Ok(count) => Gone::Sent(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Gone::Full,
        Err(error) => Gone::Failed(error),
    }
}

/// How many of the first datagrams can be cut out of one buffer: blocks for one client, all as long as the first, but the
/// last may be shorter.
fn train(rest: &[Waiting]) -> usize {
    let Some(first) = rest.first() else { return 0 };
    let length = first.datagram.wire_len();
    let fits = (LARGEST_BUFFER / length.max(1)).min(MOST_SEGMENTS);
    let mut count = 0;
    for next in rest.iter().take(fits) {
        let is_block = matches!(next.datagram, Datagram::Data { .. });
        let next_length = next.datagram.wire_len();
        if next.singly || next.to != first.to || !is_block || next_length > length {
            break;
        }
        count += 1;
        if next_length < length {
            break;
        }
    }
    count
}

fn send_train(fd: RawFd, rest: &[Waiting], count: usize) -> io::Result<()> {
    let Some(first) = rest.first() else { return Ok(()) };
    let segment = u16::try_from(first.datagram.wire_len()).map_err(|_| Errno::EINVAL)?;
    let parts: Vec<IoSlice<'_>> =
        rest.iter().take(count).flat_map(|w| w.datagram.parts()).map(IoSlice::new).collect();
    let cut = [ControlMessage::UdpGsoSegments(&segment)];
    sendmsg(fd, &parts, &cut, MsgFlags::MSG_DONTWAIT, Some(&SockaddrIn::from(first.to)))?;
    Ok(())
}

/// Sends datagrams up to the next train, or all when there are none; returns how many left.
fn send_many(fd: RawFd, rest: &[Waiting], whole: bool) -> io::Result<usize> {
    let until_train = (1..rest.len().min(BATCH))
        .find(|n| !whole && rest.get(*n..).is_some_and(|rest| train(rest) > 1));
    let count = until_train.unwrap_or(rest.len().min(BATCH));
    let some = rest.get(..count).unwrap_or(rest);
    let slices: Vec<[IoSlice<'_>; 2]> =
        some.iter().map(|w| w.datagram.parts().map(IoSlice::new)).collect();
    let addresses: Vec<Option<SockaddrIn>> =
        some.iter().map(|w| Some(SockaddrIn::from(w.to))).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(count, None);
    let sent = sendmmsg(fd, &mut headers, &slices, &addresses, [], MsgFlags::MSG_DONTWAIT)?;
    Ok(sent.count())
}

#[cfg(test)]
mod test {
    use bytes::Bytes;

    use super::*;

    fn block(number: u16, length: usize) -> Datagram {
        Datagram::data(number, Bytes::from(vec![0; length]))
    }

    #[test]
    fn a_train_is_for_one_client_and_ends_with_a_shorter_block() {
        let [a, b] = ["192.0.2.1:2000", "192.0.2.2:2000"].map(|s| s.parse().expect("an address"));
        let waiting = |to, datagram| Waiting { to, datagram, singly: false };
        let lengths = |list: &[(SocketAddrV4, usize)]| {
            let all: Vec<_> =
                list.iter().map(|(to, length)| waiting(*to, block(1, *length))).collect();
            train(&all)
        };
        assert_eq!(lengths(&[(a, 512), (a, 512), (a, 100), (a, 100)]), 3);
        assert_eq!(lengths(&[(a, 512), (b, 512)]), 1);
        assert_eq!(lengths(&[(a, 100), (a, 512)]), 1);
        assert_eq!(lengths(&[(a, 1468); 100]), LARGEST_BUFFER / 1472);
        assert_eq!(lengths(&[]), 0);
        let answer = Datagram::option_ack([("tsize", 1)]);
        assert_eq!(train(&[waiting(a, answer.clone()), waiting(a, answer)]), 0);
        let missed = || Waiting { singly: true, ..waiting(a, block(1, 512)) };
        assert_eq!(train(&[missed(), missed()]), 0);
    }

    #[tokio::test]
    async fn what_is_sent_in_one_go_arrives_one_by_one_and_in_order() {
        let from = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let to = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address: SocketAddrV4 =
            to.local_addr().expect("bound").to_string().parse().expect("v4");
        let sizes = [1468, 1468, 1468, 7, 512, 0, 900];
        let mut out = Outbox::new();
        for (n, size) in (1..).zip(sizes) {
            out.push(address, block(n, size), n > 5);
        }
        let mut told = Vec::new();
        out.flush(&from, |to, sent| told.push((to, sent.expect("sent")))).await;
        assert_eq!(told, sizes.map(|size| (address, size + 4)));
        let mut inbox = Inbox::new();
        let mut seen = Vec::new();
        while seen.len() < sizes.len() {
            to.readable().await.expect("readable");
            inbox.fill(&to).expect("received");
            seen.extend(inbox.iter().map(|(from, bytes)| (from, bytes.to_vec())));
        }
        for (n, ((sender, bytes), size)) in (1u16..).zip(seen.iter().zip(sizes)) {
            assert_eq!(sender.port(), from.local_addr().expect("bound").port());
            assert_eq!(bytes.len(), size + 4);
            assert_eq!(bytes.get(2..4), Some(&n.to_be_bytes()[..]));
        }
    }
}
