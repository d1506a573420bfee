//! A UDP socket that knows where a datagram came in and can choose where one goes out, and moves many with one system call.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, cmsg_space,
    recvmmsg, sendmmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::limits::dhcp::{
    BATCH, LONGEST_DATAGRAM, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES, SEND_PATIENCE,
};

/// A datagram with what the kernel told about it (`IP_PKTINFO`, ip(7)).
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
    pub(super) source: SocketAddrV4,
    /// Address in the packet's header: ours, or a broadcast.
    pub(super) destination: Ipv4Addr,
    /// Index of the interface.
    pub(super) interface: u32,
}

/// The way of a reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    pub(super) to: SocketAddrV4,
    /// Our address in the packet's header; 0.0.0.0 leaves it to the kernel.
    pub(super) source: Ipv4Addr,
    /// Index of the interface to leave by; 0 leaves it to the routing table.
    pub(super) interface: u32,
}

#[derive(Debug)]
pub(super) struct DhcpSocket {
    socket: UdpSocket,
    /// Where a batch arrives; locked for one system call.
    room: Mutex<Box<[u8]>>,
}

impl DhcpSocket {
    /// Binds the wildcard address without address re-use: a second server on the port would take half of the unicast
    /// packets (`pxe-netboot` 7.3).
    pub(super) fn bind(port: u16) -> io::Result<Self> {
        Self::bind_with(port, Reuse::No)
    }

    /// Binds beside other sockets of the port, for listening to broadcasts.
    pub(super) fn bind_shared(port: u16) -> io::Result<Self> {
        Self::bind_with(port, Reuse::Yes)
    }

    fn bind_with(port: u16, reuse: Reuse) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        socket.set_broadcast(true)?;
        if reuse == Reuse::Yes {
            socket.set_reuse_address(true)?;
        }
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        // The kernel caps both silently at its own limits; smaller buffers only lose bursts.
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).ok();
        socket.set_send_buffer_size(SEND_BUFFER_BYTES).ok();
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        let room = Mutex::new(vec![0; BATCH * LONGEST_DATAGRAM].into_boxed_slice());
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, room })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Waits for datagrams and takes up to [`BATCH`] of them. Cancel-safe: nothing is taken before it completes.
    pub(super) async fn receive(&self) -> io::Result<Vec<Arrival>> {
        let take = || {
            let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
            receive_some(self.socket.as_raw_fd(), &mut room)
        };
        self.socket.async_io(Interest::READABLE, take).await
    }

    pub(super) async fn send(&self, bytes: &[u8], route: Route) -> io::Result<()> {
        let one = [(bytes.to_vec(), route)];
        self.send_patiently(&one).await.map(drop)
    }

    /// Sends what it can of `outgoing`; `failed` is told of each datagram that did not leave, and why.
    pub(super) async fn send_all(
        &self,
        outgoing: &[(Vec<u8>, Route)],
        mut failed: impl FnMut(Route, io::Error),
    ) {
        let mut rest = outgoing;
        while let Some((_, route)) = rest.first() {
            let sent = self.send_patiently(rest).await;
            let count = sent.unwrap_or_else(|error| {
                failed(*route, error);
                1
            });
            rest = rest.get(count.max(1)..).unwrap_or(&[]);
        }
    }

    async fn send_patiently(&self, rest: &[(Vec<u8>, Route)]) -> io::Result<usize> {
        let attempt = || send_some(self.socket.as_raw_fd(), rest);
        match self.socket.try_io(Interest::WRITABLE, attempt) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patient = self.socket.async_io(Interest::WRITABLE, attempt);
                tokio::time::timeout(SEND_PATIENCE, patient).await?
            }
            done => done,
        }
    }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Reuse {
    No,
    Yes,
}

fn receive_some(fd: i32, room: &mut [u8]) -> io::Result<Vec<Arrival>> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> =
        room.chunks_mut(LONGEST_DATAGRAM).map(|chunk| [IoSliceMut::new(chunk)]).collect();
    let control = Vec::with_capacity(cmsg_space::<in_pktinfo>());
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, Some(control));
    let received = recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    Ok(received.filter_map(|message| arrival(&message)).collect())
}

/// `None` is a datagram without usable ancillary data, which the kernel never delivers on such a socket.
fn arrival(message: &RecvMsg<'_, '_, SockaddrIn>) -> Option<Arrival> {
    let info = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    })?;
    Some(Arrival {
        bytes: message.iovs().next().unwrap_or_default().to_vec(),
        truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
        source: SocketAddrV4::from(message.address?),
        destination: Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr)),
        interface: u32::try_from(info.ipi_ifindex).unwrap_or(0),
    })
}

/// Sends the first datagrams, as far as they leave by the same interface from the same address: the control message is one
/// for all. Returns how many left.
fn send_some(fd: i32, rest: &[(Vec<u8>, Route)]) -> io::Result<usize> {
    let Some((_, route)) = rest.first() else { return Ok(0) };
    let same = rest
        .iter()
        .take(BATCH)
        .take_while(|(_, r)| (r.interface, r.source) == (route.interface, route.source));
    let (slices, addresses): (Vec<[IoSlice<'_>; 1]>, Vec<Option<SockaddrIn>>) =
        same.map(|(bytes, r)| ([IoSlice::new(bytes)], Some(SockaddrIn::from(r.to)))).unzip();
    let info = in_pktinfo {
        ipi_ifindex: i32::try_from(route.interface).unwrap_or(0),
        ipi_spec_dst: in_addr { s_addr: route.source.to_bits().to_be() },
        ipi_addr: in_addr { s_addr: 0 },
    };
    let control = Vec::with_capacity(cmsg_space::<in_pktinfo>());
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(slices.len(), Some(control));
    let sent = sendmmsg(
        fd,
        &mut headers,
        &slices,
        addresses,
        [ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(sent.count())
}
