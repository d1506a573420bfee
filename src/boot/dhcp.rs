//! The sockets of DHCP: UDP 67 and the boot server port 4011.
//!
//! ```text
//!   UDP 67   --+                                              +--> counters
//!              +--> parse -> decide -> [LeaseStore] -> send --+--> BootSink
//!   UDP 4011 --+
//! ```
//!
//! One task owns both sockets, the interface table, the loop guard and, in full mode, the address pool. A wake-up takes
//! several datagrams (`socket::BATCH`). Leases are made durable before their ACKs leave, many in one write, while the loop
//! goes on answering (`confirm`).
//! What to answer is decided in `plan::offer`; this module knows where a packet came from and where a reply goes.

mod config;
mod confirm;
mod counters;
mod interface;
mod probe;
mod socket;
pub mod survey;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::port_owner::{self, Transport};
use crate::domain::boot::{BootDirectory, BootObservation, BootSink, BootStage, Standing};
use crate::domain::time::Timestamp;
use crate::plan::lease::{Lease, LeaseState, Pool};
use crate::plan::offer::full::{self, FullDecision};
use crate::plan::offer::{
    self, Answer, Channel, Decision, Destination, LocalAddress, LoopGuard, Reason,
};
use crate::proto::dhcp::{self, BootRequest};
pub use config::{BindError, DhcpConfig, LeaseStore, LeaseStoreError, Mode, Ports, RivalPolicy};
use confirm::Confirmations;
pub use counters::{Counted, DhcpCounters};
use interface::InterfaceTable;
pub use interface::Interfaces;
use socket::{Arrival, DhcpSocket, Route};

/// How often the interface table is read again, for addresses that come and go.
const REFRESH: Duration = Duration::from_secs(5);

/// Pause after a receive error, so that a socket that fails for ever does not take a whole processor.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The bound service. Dropping it closes the sockets.
pub struct Server {
    config: DhcpConfig,
    directory: Arc<dyn BootDirectory>,
    sink: Arc<dyn BootSink>,
    counters: DhcpCounters,
    interfaces: InterfaceTable,
    server: DhcpSocket,
    boot_server: DhcpSocket,
    full: Option<Full>,
    guard: LoopGuard,
    rivals: Vec<Ipv4Addr>,
}

struct Full {
    pool: Pool,
    store: Arc<dyn LeaseStore>,
    confirmations: Confirmations,
}

impl Full {
    fn new(pool: Pool, store: Arc<dyn LeaseStore>) -> Self {
        Self { pool, store, confirmations: Confirmations::default() }
    }

    /// What was asked for is durable, or was refused; never when nothing was asked for.
    async fn confirmed(full: &mut Option<Self>) -> confirm::Ended {
        match full {
            Some(full) => full.confirmations.ended().await,
            None => std::future::pending().await,
        }
    }
}

impl Server {
    /// Binds both ports. In full mode it also asks the segment for another DHCP server, which takes five seconds when
    /// there is none, as it should be.
    ///
    /// # Errors
    /// [`BindError`] with the reason and what to do.
    pub async fn bind(
        config: DhcpConfig,
        mode: Mode,
        directory: Arc<dyn BootDirectory>,
        sink: Arc<dyn BootSink>,
        counters: DhcpCounters,
    ) -> Result<Self, BindError> {
        let mut server = Self::open(config, directory, sink, counters)?;
        if let Mode::Full { pool, leases, store, rival } = mode {
            look_for_rivals(&server, rival).await?;
            server.full = Some(Full::new(Pool::new(pool, &leases, now()), store));
        }
        Ok(server)
    }

    fn open(
        config: DhcpConfig,
        directory: Arc<dyn BootDirectory>,
        sink: Arc<dyn BootSink>,
        counters: DhcpCounters,
    ) -> Result<Self, BindError> {
        let interfaces = InterfaceTable::read().map_err(BindError::Interfaces)?;
        if let Some(name) = interfaces.missing(&config.interfaces) {
            return Err(BindError::NoInterface { name, known: interfaces.names() });
        }
        for name in interfaces.without_address(&config.interfaces) {
            warn!(
                interface = name,
                "has no IPv4 address yet; its machines get no answer until it has"
            );
        }
        Ok(Self {
            server: bind_port(config.ports.server)?,
            boot_server: bind_port(config.ports.boot_server)?,
            config,
            directory,
            sink,
            counters,
            interfaces,
            full: None,
            guard: LoopGuard::default(),
            rivals: Vec::new(),
        })
    }

    /// The ports that are really bound; where 0 was configured the system chose.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ports(&self) -> io::Result<Ports> {
        Ok(Ports {
            server: self.server.port()?,
            boot_server: self.boot_server.port()?,
            client: self.config.ports.client,
        })
    }

    /// Serves until cancelled. No packet and no error of the network ends it.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let has_room = self.full.as_ref().is_none_or(|full| !full.confirmations.is_full());
            let (channel, received) = tokio::select! {
                () = cancel.cancelled() => return,
                ended = Full::confirmed(&mut self.full) => {
                    self.confirm(ended).await;
                    continue;
                }
                _ = refresh.tick() => {
                    self.refresh_interfaces();
                    continue;
                }
                received = self.server.receive(), if has_room => (Channel::Port67, received),
                received = self.boot_server.receive(), if has_room => (Channel::Port4011, received),
            };
            match received {
                Ok(batch) => self.answer(channel, &batch).await,
                Err(error) => {
                    self.counters.count(Counted::ReceiveError);
                    debug!(%error, ?channel, "could not receive");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn refresh_interfaces(&mut self) {
        match InterfaceTable::read() {
            Ok(table) => self.interfaces = table,
            Err(error) => debug!(%error, "kept the old interface table"),
        }
    }

    /// Decides for each datagram. Replies leave at once, but for those that confirm a lease: they leave when it is durable.
    async fn answer(&mut self, channel: Channel, batch: &[Arrival]) {
        let at = now();
        let mut replies = Vec::new();
        let mut leases = Vec::new();
        for arrival in batch {
            self.counters.count(Counted::Received);
            if let Some(outgoing) = self.decide(channel, arrival, at, &mut leases) {
                replies.push(outgoing);
            }
        }
        if let Some(full) = &mut self.full {
            let (later, at_once) = replies.into_iter().partition(|reply| reply.needs_store);
            let later: Vec<Outgoing> = later;
            replies = at_once;
            full.confirmations.add(leases, later.into_iter().map(|r| (channel, r)).collect());
            full.confirmations.begin(&full.store);
        }
        self.send(channel, replies).await;
    }

    /// A write of leases ended: its ACKs leave, and the next write begins.
    async fn confirm(&mut self, (batch, stored): confirm::Ended) {
        if let Some(full) = &mut self.full {
            full.confirmations.begin(&full.store);
        }
        if let Err(error) = stored {
            self.counters.count(Counted::LeaseNotStored);
            debug!(error = %error, leases = batch.leases.len(), "could not store leases");
            return;
        }
        let is_first = |(channel, _): &(Channel, Outgoing)| *channel == Channel::Port67;
        let (first, other): (Vec<_>, Vec<_>) = batch.replies.into_iter().partition(is_first);
        for (channel, replies) in [(Channel::Port67, first), (Channel::Port4011, other)] {
            self.send(channel, replies.into_iter().map(|(_, reply)| reply).collect()).await;
        }
    }

    fn decide(
        &mut self,
        channel: Channel,
        arrival: &Arrival,
        at: Timestamp,
        leases: &mut Vec<Lease>,
    ) -> Option<Outgoing> {
        if arrival.truncated {
            self.counters.count(Counted::Junk);
            return None;
        }
        let request = match dhcp::parse(&arrival.bytes) {
            Ok(request) => request,
            Err(ignored) => {
                self.counters.count(Counted::Junk);
                debug!(source = %arrival.source, reason = %ignored, "ignored a datagram");
                return None;
            }
        };
        if request.is_relayed() && self.interfaces.local(request.giaddr).is_none() {
            self.counters.count(Counted::Relayed);
        }
        if !self.interfaces.is_allowed(arrival.interface, &self.config.interfaces) {
            self.counters.count(Counted::OtherInterface);
            return None;
        }
        if self.interfaces.is_own(request.mac) {
            self.counters.count(Counted::Junk);
            return None;
        }
        let Some(local) = self.local_address(&request, arrival) else {
            self.counters.count(Counted::NoLocalAddress);
            debug!(interface = arrival.interface, "no IPv4 address to answer from");
            return None;
        };
        let standing = self.directory.standing(request.mac);
        let FullDecision { decision, persist } =
            self.decide_by_mode(&request, channel, &standing, &local, at);
        let decision = self.guard.pass(decision, request.mac, request.xid, at);
        self.counters.count_decision(&decision);
        self.note_rival(&decision, arrival);
        self.tell(channel, &request, arrival, &decision, at);
        leases.extend(persist);
        match decision {
            Decision::Silent(_) => None,
            Decision::Reply(answer) => {
                let needs_store = persist.is_some_and(|lease| lease.state == LeaseState::Bound);
                Some(self.outgoing(&answer, arrival, &local, needs_store))
            }
        }
    }

    fn decide_by_mode(
        &mut self,
        request: &BootRequest,
        channel: Channel,
        standing: &Standing,
        local: &LocalAddress,
        at: Timestamp,
    ) -> FullDecision {
        let policy = &self.config.policy;
        match &mut self.full {
            None => offer::decide(request, channel, standing, policy, local).into(),
            Some(full) => {
                full::decide(request, channel, standing, policy, local, &mut full.pool, at)
            }
        }
    }

    /// Our address towards the client: the configured one, else for a relayed request the one that the route to the
    /// relay uses, else the one that was asked, else the interface's first (`pxe-netboot` 5.1).
    fn local_address(&self, request: &BootRequest, arrival: &Arrival) -> Option<LocalAddress> {
        if let Some(address) = self.config.advertised_address {
            let prefix_len = self.interfaces.prefix_len(arrival.interface).unwrap_or(0);
            return Some(LocalAddress { address, prefix_len });
        }
        let routed = request
            .is_relayed()
            .then(|| interface::address_towards(request.giaddr))
            .flatten()
            .and_then(|address| self.interfaces.local(address));
        routed.or_else(|| self.interfaces.address_for(arrival.interface, arrival.destination))
    }

    /// In full mode a machine that takes another server's lease betrays that server.
    fn note_rival(&mut self, decision: &Decision, arrival: &Arrival) {
        let Decision::Silent(Reason::TookLease { server, .. }) = decision else { return };
        // The list is short by nature; the limit keeps forged packets from growing it.
        let known = self.rivals.contains(server) || self.rivals.len() >= 16;
        if self.full.is_none() || known {
            return;
        }
        self.rivals.push(*server);
        warn!(
            server = %server,
            interface = arrival.interface,
            "another DHCP server gives addresses on this segment; with mode = \"full\" there must be none"
        );
    }

    fn tell(
        &self,
        channel: Channel,
        request: &BootRequest,
        arrival: &Arrival,
        decision: &Decision,
        at: Timestamp,
    ) {
        let Some(message) = decision.sentence() else { return };
        debug!(mac = %request.mac, ?channel, message, "decided");
        let address = match decision {
            Decision::Silent(Reason::TookLease { address, .. }) => *address,
            Decision::Reply(answer) => answer.reply.lease.as_ref().map(|lease| lease.address),
            _ => None,
        };
        let address = address
            .or((!request.ciaddr.is_unspecified()).then_some(request.ciaddr))
            .or((channel == Channel::Port4011).then_some(*arrival.source.ip()))
            .filter(|address| !address.is_unspecified());
        self.sink.observe(BootObservation {
            at,
            mac: Some(request.mac),
            address,
            stage: match channel {
                Channel::Port67 => BootStage::Dhcp,
                Channel::Port4011 => BootStage::Pxe,
            },
            answered: matches!(decision, Decision::Reply(_)),
            message,
            fact: decision.fact(),
            client: Some(offer::client_facts(request)),
        });
    }

    fn outgoing(
        &self,
        answer: &Answer,
        arrival: &Arrival,
        local: &LocalAddress,
        needs_store: bool,
    ) -> Outgoing {
        let ports = self.config.ports;
        let to = match answer.destination {
            Destination::Relay(relay) => SocketAddrV4::new(relay, ports.server),
            Destination::Client(client) => SocketAddrV4::new(client, ports.client),
            Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, ports.client),
            Destination::Sender => arrival.source,
        };
        let on_link = answer.destination == Destination::Broadcast
            || self.interfaces.is_neighbour(arrival.interface, *to.ip());
        // The source must be an address of ours even when another one is advertised.
        let source = self
            .interfaces
            .local(local.address)
            .or_else(|| self.interfaces.address_for(arrival.interface, arrival.destination))
            .map_or(Ipv4Addr::UNSPECIFIED, |own| own.address);
        let source = match answer.destination {
            // A client of port 4011 listens for the address that it asked.
            Destination::Sender => {
                self.interfaces.local(arrival.destination).map_or(source, |asked| asked.address)
            }
            _ => source,
        };
        let interface = if on_link { arrival.interface } else { 0 };
        Outgoing {
            bytes: answer.reply.encode(),
            route: Route { to, source, interface },
            needs_store,
        }
    }

    async fn send(&mut self, channel: Channel, replies: Vec<Outgoing>) {
        let socket = match channel {
            Channel::Port67 => &self.server,
            Channel::Port4011 => &self.boot_server,
        };
        let replies: Vec<(Vec<u8>, Route)> =
            replies.into_iter().map(|reply| (reply.bytes, reply.route)).collect();
        let failed = |route: Route, error| {
            self.counters.count(Counted::SendError);
            debug!(%error, to = %route.to, "could not send");
        };
        socket.send_all(&replies, failed).await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("full", &self.full.is_some())
            .finish_non_exhaustive()
    }
}

struct Outgoing {
    bytes: Vec<u8>,
    route: Route,
    /// Confirms a lease, so it may only leave when that is durable.
    needs_store: bool,
}

fn bind_port(port: u16) -> Result<DhcpSocket, BindError> {
    DhcpSocket::bind(port).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => {
            BindError::PortTaken { port, owner: port_owner::find(Transport::Udp, port) }
        }
        io::ErrorKind::PermissionDenied => BindError::Permission { port },
        _ => BindError::Socket { port, source },
    })
}

async fn look_for_rivals(server: &Server, policy: RivalPolicy) -> Result<(), BindError> {
    let rival = probe::another_server(&server.config, &server.interfaces, &server.server).await;
    let Some(found) = rival else { return Ok(()) };
    match policy {
        RivalPolicy::Refuse => {
            Err(BindError::Rival { server: found.server, interface: found.interface })
        }
        RivalPolicy::Warn => {
            warn!(server = %found.server, interface = found.interface, "another DHCP server answers here");
            Ok(())
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod test;
