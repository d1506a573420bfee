//! A UDP socket that knows where a datagram came in and can choose where one goes out.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, cmsg_space, recvmsg, sendmsg,
    setsockopt, sockopt,
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
        Ok(Self { socket: UdpSocket::from_std(socket.into())? })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Waits for datagrams and takes up to [`BATCH`] of them. Cancel-safe: nothing is taken before it completes.
    pub(super) async fn receive(&self) -> io::Result<Vec<Arrival>> {
        self.socket
            .async_io(Interest::READABLE, || {
                let mut batch = Vec::new();
                while batch.len() < BATCH {
                    match receive_one(self.socket.as_raw_fd()) {
                        Ok(arrival) => batch.extend(arrival),
                        // What was taken is answered first; a lasting error shows again at once.
                        Err(_) if !batch.is_empty() => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(batch)
            })
            .await
    }

    pub(super) async fn send(&self, bytes: &[u8], route: Route) -> io::Result<()> {
        let attempt = || send_one(self.socket.as_raw_fd(), bytes, route);
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

/// Room for one control message, aligned as the kernel's headers in it are.
#[repr(align(8))]
struct Control([u8; cmsg_space::<in_pktinfo>()]);

/// `None` is a datagram without usable ancillary data, which the kernel never delivers on such a socket.
fn receive_one(fd: i32) -> io::Result<Option<Arrival>> {
    let mut buffer = [0u8; LONGEST_DATAGRAM];
    let mut control = Control([0; cmsg_space::<in_pktinfo>()]);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<SockaddrIn>(fd, &mut slices, Some(&mut control.0), MsgFlags::MSG_DONTWAIT)?;
    let length = message.bytes;
    let truncated = message.flags.contains(MsgFlags::MSG_TRUNC);
    let info = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info),
        _ => None,
    });
    let (Some(info), Some(source)) = (info, message.address) else { return Ok(None) };
    let source = SocketAddrV4::from(source);
    Ok(Some(Arrival {
        bytes: buffer.get(..length).unwrap_or(&[]).to_vec(),
        truncated,
        source,
        destination: Ipv4Addr::from_bits(u32::from_be(info.ipi_addr.s_addr)),
        interface: u32::try_from(info.ipi_ifindex).unwrap_or(0),
    }))
}

fn send_one(fd: i32, bytes: &[u8], route: Route) -> io::Result<()> {
    let info = in_pktinfo {
        ipi_ifindex: i32::try_from(route.interface).unwrap_or(0),
        ipi_spec_dst: in_addr { s_addr: route.source.to_bits().to_be() },
        ipi_addr: in_addr { s_addr: 0 },
    };
    let sent = sendmsg(
        fd,
        &[IoSlice::new(bytes)],
        &[ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrIn::from(route.to)),
    )?;
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::WriteZero, "the datagram was cut"))
    }
}
