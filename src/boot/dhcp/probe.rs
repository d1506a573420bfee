//! Asks a segment whether somebody else gives addresses on it, before we do (`pxe-netboot` 4.8).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::interface::InterfaceTable;
use super::socket::{Arrival, DhcpSocket, Route};
use super::{DhcpConfig, Interfaces};
use crate::domain::mac::Mac;
use crate::proto::dhcp::probe;

/// How often the question is repeated, and how long each waits. Together they must outlast a server that pings an
/// address before it offers it: dnsmasq 2.90 was measured to answer after 3.006 s, ISC dhcpd waits one second.
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_millis(1700);

/// A DHCP server that is not us.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rival {
    pub(super) server: Ipv4Addr,
    pub(super) interface: String,
}

/// The first other server that offers an address on a served interface, or `None` after five seconds of silence.
pub(super) async fn another_server(
    config: &DhcpConfig,
    interfaces: &InterfaceTable,
    server: &DhcpSocket,
) -> Option<Rival> {
    // Held by the machine's own DHCP client as the case may be; then the relayed question has to do.
    let client = DhcpSocket::bind_shared(config.ports.client)
        .inspect_err(|error| debug!(%error, "cannot listen on the client port"))
        .ok();
    let xid: u32 = rand::random();
    for _ in 0..ROUNDS {
        ask(config, interfaces, server, client.as_ref(), xid).await;
        let deadline = Instant::now() + ROUND;
        while let Some(batch) = hear(server, client.as_ref(), deadline).await {
            if let Some(rival) = rival_among(&batch, xid, interfaces, &config.interfaces) {
                return Some(rival);
            }
        }
    }
    None
}

async fn ask(
    config: &DhcpConfig,
    interfaces: &InterfaceTable,
    server: &DhcpSocket,
    client: Option<&DhcpSocket>,
    xid: u32,
) {
    // Locally administered, so that it is no machine's own.
    let [_, a, b, c] = xid.to_be_bytes();
    let mac = Mac([0x02, 0x49, 0x48, a, b, c]);
    let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, config.ports.server);
    for (interface, _, own) in interfaces.served(&config.interfaces) {
        let route = Route { to, source: own.address, interface };
        let relayed = probe::discover(xid, mac, Some(own.address));
        let mut sent = vec![server.send(&relayed, route).await];
        if let Some(client) = client {
            let plain = probe::discover(xid, mac, None);
            let anonymous = Route { source: Ipv4Addr::UNSPECIFIED, ..route };
            sent.push(client.send(&plain, anonymous).await);
        }
        for error in sent.into_iter().filter_map(Result::err) {
            debug!(%error, interface, "could not ask for other DHCP servers");
        }
    }
}

/// Datagrams of either socket, or `None` when the time is up.
async fn hear(
    server: &DhcpSocket,
    client: Option<&DhcpSocket>,
    deadline: Instant,
) -> Option<Vec<Arrival>> {
    let heard = async {
        match client {
            None => server.receive().await,
            Some(client) => tokio::select! {
                heard = server.receive() => heard,
                heard = client.receive() => heard,
            },
        }
    };
    match timeout_at(deadline, heard).await.ok()? {
        Ok(batch) => Some(batch),
        Err(error) => {
            debug!(%error, "could not listen for other DHCP servers");
            tokio::time::sleep_until(deadline).await;
            None
        }
    }
}

fn rival_among(
    batch: &[Arrival],
    xid: u32,
    interfaces: &InterfaceTable,
    wanted: &Interfaces,
) -> Option<Rival> {
    let offers = batch.iter().filter(|a| probe::offered_address(&a.bytes, xid).is_some());
    let mut strangers = offers.filter(|a| interfaces.local(*a.source.ip()).is_none());
    strangers.find_map(|arrival| {
        let (_, interface, _) =
            interfaces.served(wanted).find(|(index, _, _)| *index == arrival.interface)?;
        Some(Rival { server: *arrival.source.ip(), interface: interface.name.clone() })
    })
}
