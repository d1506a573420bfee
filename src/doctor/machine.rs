//! Facts of the machine that the daemon runs on.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use ipnet::Ipv4Net;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{SockaddrIn, getsockopt, sockopt};
use serde_json::Value;

use crate::boot::port_owner::{self, Transport};
use crate::config::Config;
use crate::outbound;
use crate::plan::doctor::facts::{Answer, ClockFacts, ClockKeeper, Holder, Link, Port, Storage};

/// What the appliance itself gets to answer on this machine.
const OWN_ANSWER: Duration = Duration::from_secs(5);
/// Longest answer of a health route; ours has some fifty bytes.
const HEALTH_BYTES: usize = 64 << 10;

/// How often and how long TFTP is asked: the second time is for a datagram that was lost.
const TFTP_TRIES: u32 = 3;
const TFTP_ANSWER: Duration = Duration::from_secs(1);

const DHCP: &str = "UDP 67 (DHCP)";
const BOOT_SERVER: &str = "UDP 4011 (boot server)";
const TFTP: &str = "UDP 69 (TFTP)";
const HTTP: &str = "The HTTP port";
const HTTPS: &str = "The HTTPS port";

/// The ports of a running daemon. It has them all, or it would not have started.
pub(super) fn ports_of_daemon(config: &Config) -> Vec<Port> {
    needed(config)
        .into_iter()
        .map(|(name, number, _)| Port { name, number, holder: Holder::Us })
        .collect()
}

/// The ports that a daemon would need, tried.
pub(super) fn ports_by_trying(config: &Config) -> Vec<Port> {
    let tried = needed(config).into_iter().map(|(name, number, place)| {
        let bound = match place {
            Place::Udp(address) => UdpSocket::bind(address).map(drop),
            Place::Tcp(address) => TcpListener::bind(address).map(drop),
        };
        let transport = match place {
            Place::Udp(_) => Transport::Udp,
            Place::Tcp(_) => Transport::Tcp,
        };
        let holder = match bound {
            Ok(()) => Holder::Free,
            Err(e) if e.kind() == ErrorKind::AddrInUse => {
                Holder::Other(port_owner::find(transport, number).map(|owner| owner.to_string()))
            }
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                Holder::Unknown("it takes root to try it".to_owned())
            }
            Err(e) => Holder::Unknown(e.to_string()),
        };
        Port { name, number, holder }
    });
    tried.collect()
}

#[derive(Clone, Copy)]
enum Place {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

fn needed(config: &Config) -> Vec<(&'static str, u16, Place)> {
    let mut needed = Vec::new();
    let anywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    if config.pxe.is_some() {
        for (name, port) in [(DHCP, 67), (BOOT_SERVER, 4011), (TFTP, 69)] {
            needed.push((name, port, Place::Udp(anywhere(port))));
        }
    }
    let listen = config.server.listen;
    needed.push((HTTP, listen.port(), Place::Tcp(listen)));
    if let Some(listen) = config.server.tls_listen {
        needed.push((HTTPS, listen.port(), Place::Tcp(listen)));
    }
    needed
}

fn addresses() -> Vec<InterfaceAddress> {
    getifaddrs().map(Iterator::collect).unwrap_or_default()
}

/// Whether an interface of this machine has the address.
pub(super) fn has_address(wanted: IpAddr) -> bool {
    addresses().iter().filter_map(|entry| entry.address.as_ref()).any(|address| {
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
        v4.or(v6) == Some(wanted)
    })
}

/// An interface as the kernel has it; `None`: there is none of this name.
pub(super) fn link(name: &str, subnet: Ipv4Net) -> Option<Link> {
    let all = addresses();
    let mut own = all.iter().filter(|entry| {
        // Address labels like eth0:1 belong to the interface in front of the colon.
        entry.interface_name.split(':').next() == Some(name)
    });
    let first = own.clone().next()?;
    let carries = first.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
    let addresses: Vec<Ipv4Addr> = own
        .by_ref()
        .filter_map(|e| e.address.as_ref()?.as_sockaddr_in().map(SockaddrIn::ip))
        .collect();
    let inside = addresses.iter().find(|a| subnet.contains(*a));
    let mtu = inside.and_then(|own| mtu(*own, subnet));
    Some(Link { carries, addresses, mtu })
}

/// The largest packet on the way to a neighbour, which is the interface's size. Connecting a UDP socket sends nothing.
fn mtu(own: Ipv4Addr, subnet: Ipv4Net) -> Option<u32> {
    let neighbour = subnet.hosts().find(|address| *address != own)?;
    let socket = UdpSocket::bind((own, 0)).ok()?;
    socket.connect((neighbour, 9)).ok()?;
    u32::try_from(getsockopt(&socket, sockopt::IpMtu).ok()?).ok()
}

/// The data directory and the room that it has.
pub(super) fn storage(data_dir: &Path) -> Storage {
    let path = data_dir.display().to_string();
    // Before the first start it is the folder above that has the room.
    let existing = data_dir.ancestors().find(|path| path.exists()).unwrap_or(data_dir);
    let free = nix::sys::statvfs::statvfs(existing).ok();
    let free = free.map(|stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
    Storage { path, unusable: unusable(data_dir), free }
}

fn unusable(data_dir: &Path) -> Option<String> {
    use nix::unistd::{AccessFlags, access};
    match std::fs::metadata(data_dir) {
        // The daemon makes it at its first start, if it may.
        Err(e) if e.kind() == ErrorKind::NotFound => match data_dir.parent() {
            Some(parent) if parent.is_dir() => None,
            _ => Some("neither it nor the folder above it exists".to_owned()),
        },
        Err(e) => Some(e.to_string()),
        Ok(found) if !found.is_dir() => Some("it is not a directory".to_owned()),
        Ok(_) => access(data_dir, AccessFlags::W_OK | AccessFlags::X_OK)
            .err()
            .map(|error| format!("writing is not possible ({})", error.desc())),
    }
}

/// What keeps the clock right. The kernel's own word (adjtimex) is closed to a sandboxed service, so the traces of the
/// services that are common on Debian are looked for: files and folders whose existence anybody may see.
pub(super) fn clock() -> ClockFacts {
    // systemd writes this for containers; theirs is the host's clock.
    if Path::new("/run/systemd/container").exists() {
        return ClockFacts { keeper: ClockKeeper::Host, newest_record: None };
    }
    let traces = [
        ("systemd-timesyncd", "/run/systemd/timesync/synchronized"),
        ("chrony", "/run/chrony"),
        ("ntpd", "/run/ntpd.pid"),
        ("ntpsec", "/run/ntpsec.pid"),
        ("openntpd", "/run/openntpd.pid"),
    ];
    let found = traces.iter().find(|(_, path)| Path::new(path).exists());
    let keeper = found.map_or(ClockKeeper::Nobody, |(name, _)| ClockKeeper::Service(name));
    ClockFacts { keeper, newest_record: None }
}

/// Who answers under the public URL: our health route tells its version.
pub(super) async fn who_answers(public_url: &str) -> Answer {
    let url = format!("{public_url}/api/health");
    match outbound::fetch(Method::GET, &url, OWN_ANSWER, HEALTH_BYTES).await {
        Ok((_, body)) => {
            let health: Value = serde_json::from_slice(&body).unwrap_or_default();
            let version = health.get("version").and_then(Value::as_str);
            if version == Some(env!("CARGO_PKG_VERSION")) { Answer::Us } else { Answer::Other }
        }
        Err(outbound::RequestError::Status(_)) => Answer::Other,
        Err(error) => Answer::Silence(error.to_string()),
    }
}

/// Whether TFTP answers a read request, with whatever it says.
pub(super) async fn tftp_answers(address: Ipv4Addr) -> bool {
    let asked = async {
        let socket = tokio::net::UdpSocket::bind((address, 0)).await.ok()?;
        let request = b"\0\x01autoexec.ipxe\0octet\0tsize\x000\0";
        let mut answer = [0; 1500];
        for _ in 0..TFTP_TRIES {
            socket.send_to(request, (address, 69)).await.ok()?;
            let received = tokio::time::timeout(TFTP_ANSWER, socket.recv_from(&mut answer));
            if let Ok(Ok((_, from))) = received.await {
                // It has what it wanted to know; the transfer ends as firmware's size probe does.
                socket.send_to(b"\0\x05\0\x00probe\0", from).await.ok()?;
                return Some(());
            }
        }
        None
    };
    asked.await.is_some()
}
