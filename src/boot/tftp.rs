//! TFTP on UDP 69: one socket per interface address, one task per socket.
//!
//! | task | in | out |
//! |---|---|---|
//! | socket loop, one per address | datagrams, its own timer, the cancellation token | datagrams, observations to the [`BootSink`], [`Counters`] |
//!
//! Each loop owns its [`Transfers`]; all decisions are taken there. A socket is bound to one address so that replies
//! come from the address that was asked: from a wildcard socket the kernel chooses, and a client that hears from another
//! address drops the packet.
//!
//! Replies come from port 69 itself instead of a fresh port per transfer (RFC 1350 section 4 has the fresh port): data
//! then passes NAT and stateful firewalls without a TFTP helper, every PXE client accepts it (`pxe-netboot` 10.2), and
//! a thousand transfers cost one descriptor. Clients are told apart by address and port.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::port_owner::{self, PortOwner, Transport};
use crate::assets::BootFiles;
use crate::domain::boot::BootSink;
use crate::limits::over::Overruns;
use crate::limits::tftp::{BATCHES, SOCKET_BUFFER};
use crate::proto::tftp::transfers::Effect;
use crate::proto::tftp::{Limits, Transfers};

mod batch;
mod counters;
mod story;

use batch::{Inbox, Outbox};

pub use counters::Counters;

/// The port of the service (IANA).
pub const PORT: u16 = 69;

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct TftpConfig {
    /// The appliance's addresses on the interfaces that machines boot from.
    pub addresses: Vec<Ipv4Addr>,
    /// UDP port; [`PORT`] but for tests and unprivileged labs. 0 lets the system choose.
    pub port: u16,
    /// What clients may cost.
    pub limits: Limits,
}

impl TftpConfig {
    /// The usual service on these addresses.
    #[must_use]
    pub fn on(addresses: Vec<Ipv4Addr>) -> Self {
        Self { addresses, port: PORT, limits: Limits::default() }
    }
}

/// The service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No address was given.
    #[error("TFTP has no address to listen on: the boot interface has no IPv4 address")]
    NoAddress,
    /// The wildcard address was given.
    #[error(
        "TFTP cannot listen on 0.0.0.0: replies must come from the address that was asked, so the addresses of the \
         boot interfaces are needed"
    )]
    Wildcard,
    /// Another program has the port.
    #[error(
        "UDP port {} on {} is taken by {}; stop it, or let Ironhatch run on another machine of this network",
        address.port(), address.ip(), holder(.owner.as_ref())
    )]
    Taken {
        /// What was tried.
        address: SocketAddrV4,
        /// Who has it, where `/proc` tells.
        owner: Option<PortOwner>,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The process may not open the port.
    #[error(
        "UDP port {} on {} may not be opened: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE",
        address.port(), address.ip()
    )]
    Forbidden {
        /// What was tried.
        address: SocketAddrV4,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address is not on this machine.
    #[error("no interface of this machine has the address {}, so TFTP cannot listen on it", address.ip())]
    NotOurs {
        /// What was tried.
        address: SocketAddrV4,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("UDP port {} on {} cannot be opened", address.port(), address.ip())]
    Other {
        /// What was tried.
        address: SocketAddrV4,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn holder(owner: Option<&PortOwner>) -> String {
    owner.map_or_else(|| "another program".to_owned(), PortOwner::to_string)
}

/// The bound service; nothing is served before [`Server::run`].
pub struct Server {
    sockets: Vec<UdpSocket>,
    files: Arc<BootFiles>,
    sink: Arc<dyn BootSink>,
    counters: Arc<Counters>,
    limits: Limits,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens one socket per address. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] for the first address that cannot be used; the service is all or nothing.
    pub fn bind(
        config: TftpConfig,
        files: Arc<BootFiles>,
        sink: Arc<dyn BootSink>,
    ) -> Result<Self, BindError> {
        if config.addresses.is_empty() {
            return Err(BindError::NoAddress);
        }
        let mut sockets = Vec::new();
        for address in config.addresses {
            if address.is_unspecified() {
                return Err(BindError::Wildcard);
            }
            let address = SocketAddrV4::new(address, config.port);
            sockets.push(open(address).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => BindError::Taken {
                    address,
                    owner: port_owner::find(Transport::Udp, address.port()),
                    source,
                },
                io::ErrorKind::PermissionDenied => BindError::Forbidden { address, source },
                io::ErrorKind::AddrNotAvailable => BindError::NotOurs { address, source },
                _ => BindError::Other { address, source },
            })?);
        }
        let counters = Arc::default();
        Ok(Self { sockets, files, sink, counters, limits: config.limits })
    }

    /// Limits that are met are told here too.
    #[must_use]
    pub fn telling(mut self, over: Overruns) -> Self {
        self.counters = Arc::new(Counters::telling(over));
        self
    }

    /// What the service has done so far; shared, so that metrics can read it while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Where the service listens, with the port that the system chose if it was asked to.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }

    /// Serves until `cancel`; then unfinished transfers are dropped, as firmware asks again by itself.
    pub async fn run(self, cancel: CancellationToken) {
        let mut loops = JoinSet::new();
        for socket in self.sockets {
            let service = Loop {
                socket,
                files: Arc::clone(&self.files),
                sink: Arc::clone(&self.sink),
                counters: Arc::clone(&self.counters),
                transfers: Transfers::new(self.limits.clone()),
                epoch: Instant::now(),
                reported: 0,
                effects: Vec::new(),
                inbox: Inbox::new(),
                outbox: Outbox::new(),
            };
            loops.spawn(service.run(cancel.clone()));
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a TFTP socket loop ended by a defect; its address is no longer served");
            }
        }
    }
}

fn open(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::DGRAM.nonblocking().cloexec(),
        Some(socket2::Protocol::UDP),
    )?;
    // Smaller buffers only mean more repeats.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&SocketAddr::V4(address).into())?;
    UdpSocket::from_std(socket.into())
}

/// One socket with its transfers.
struct Loop {
    socket: UdpSocket,
    files: Arc<BootFiles>,
    sink: Arc<dyn BootSink>,
    counters: Arc<Counters>,
    transfers: Transfers,
    epoch: Instant,
    /// Living transfers as last told to the counters.
    reported: usize,
    effects: Vec<Effect>,
    inbox: Inbox,
    outbox: Outbox,
}

impl Loop {
    async fn run(mut self, cancel: CancellationToken) {
        loop {
            let due = self.transfers.next_deadline().map(|at| self.epoch + at);
            tokio::select! {
                () = cancel.cancelled() => return,
                ready = self.socket.readable() => {
                    if ready.is_err() {
                        // Only while the runtime shuts down.
                        return;
                    }
                    self.receive().await;
                }
                () = sleep_until(due) => {}
            }
            let now = self.now();
            if self.transfers.next_deadline().is_some_and(|at| at <= now) {
                self.transfers.handle_time(now, &mut self.effects);
                self.carry_out().await;
            }
            self.counters.active_changed(self.reported, self.transfers.len());
            self.reported = self.transfers.len();
        }
    }

    /// Takes what has arrived, at most some batches.
    async fn receive(&mut self) {
        for _ in 0..BATCHES {
            if let Err(error) = self.inbox.fill(&self.socket) {
                // An ICMP error of an earlier reply; the next datagram is as good as ever.
                tracing::debug!(%error, "receiving a TFTP datagram failed");
                continue;
            }
            let now = self.now();
            for (from, datagram) in self.inbox.iter() {
                let files = self.files.as_ref();
                self.transfers.handle_datagram(from, datagram, now, files, &mut self.effects);
            }
            self.carry_out().await;
            if !self.inbox.is_full() {
                return;
            }
        }
    }

    async fn carry_out(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send { to, datagram, singly } => self.outbox.push(to, datagram, singly),
                Effect::Note { peer, note } => {
                    self.counters.count(&note);
                    story::tell(self.sink.as_ref(), peer, &note);
                }
            }
        }
        let counters = &self.counters;
        let told = |to, sent: io::Result<usize>| match sent {
            Ok(length) => counters.sent(length),
            // No route, a firewall, a vanished neighbour: the retransmission is the answer.
            Err(error) => {
                counters.send_failed();
                tracing::debug!(peer = %to, %error, "sending a TFTP datagram failed");
            }
        };
        self.outbox.flush(&self.socket, told).await;
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod test;
