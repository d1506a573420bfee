//! Asks a segment as a machine would, from the client's port, and listens for everybody's answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::interface::InterfaceTable;
use super::socket::{DhcpSocket, Route};
use super::{Interfaces, Ports};
use crate::boot::port_owner::{self, Transport};

/// A client's place on one interface.
#[derive(Debug)]
pub struct Client {
    socket: DhcpSocket,
    interfaces: InterfaceTable,
    index: u32,
    address: Ipv4Addr,
}

/// A datagram that came to the client's port through its interface.
#[derive(Debug, Clone)]
pub struct Reply {
    /// When it came.
    pub at: Instant,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// The sender is this machine.
    pub ours: bool,
    /// What it is.
    pub bytes: Vec<u8>,
}

/// Why nobody can be asked; one line.
#[derive(Debug, thiserror::Error)]
pub enum CannotAsk {
    /// The interface is not there or has no address.
    #[error("{0} does not exist or has no IPv4 address")]
    NoInterface(String),
    /// The port is a low one, and the process may not open it.
    #[error("it takes root to ask from UDP port 68")]
    Permission,
    /// The client's port is not to be had.
    #[error("UDP port 68 cannot be shared with {holder} ({source})")]
    Port {
        /// Who has it.
        holder: String,
        /// What the system says.
        source: io::Error,
    },
    /// The interfaces cannot be listed, or nothing can be sent.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Client {
    /// Opens the client's port on this interface, beside the machine's own DHCP client.
    ///
    /// # Errors
    /// [`CannotAsk`].
    pub fn open(interface: &str) -> Result<Self, CannotAsk> {
        let interfaces = InterfaceTable::read()?;
        let wanted = Interfaces::Named(vec![interface.to_owned()]);
        let served = interfaces.served(&wanted).next().map(|(index, _, own)| (index, own.address));
        let Some((index, address)) = served else {
            return Err(CannotAsk::NoInterface(interface.to_owned()));
        };
        let port = Ports::default().client;
        let socket = DhcpSocket::bind_shared(port).map_err(|source| {
            if source.kind() == io::ErrorKind::PermissionDenied {
                return CannotAsk::Permission;
            }
            let owner = port_owner::find(Transport::Udp, port);
            let holder = owner.map_or_else(|| "its holder".to_owned(), |o| o.to_string());
            CannotAsk::Port { holder, source }
        })?;
        Ok(Self { socket, interfaces, index, address })
    }

    /// This machine's address on the interface.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Sends a datagram to everybody on the segment. This machine hears it too, as if it had come in by the interface.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn ask(&self, datagram: &[u8], port: u16) -> io::Result<()> {
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, port);
        let route = Route { to, source: self.address, interface: self.index };
        self.socket.send(datagram, route).await
    }

    /// Datagrams that come before the deadline; `None` when the time is up.
    pub async fn hear(&self, deadline: Instant) -> Option<Vec<Reply>> {
        let batch = match timeout_at(deadline, self.socket.receive()).await.ok()? {
            Ok(batch) => batch,
            Err(error) => {
                tracing::debug!(%error, "could not listen for answers");
                // A socket that fails at once must not take a whole processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Some(Vec::new());
            }
        };
        let at = Instant::now();
        let here = batch.into_iter().filter(|arrival| {
            let ours = self.interfaces.local(*arrival.source.ip()).is_some();
            ours || arrival.interface == self.index
        });
        let reply = here.map(|arrival| Reply {
            at,
            source: *arrival.source.ip(),
            ours: self.interfaces.local(*arrival.source.ip()).is_some(),
            bytes: arrival.bytes,
        });
        Some(reply.collect())
    }
}
