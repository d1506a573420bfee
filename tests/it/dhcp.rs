//! The DHCP service on a real wire: standard ports, broadcasts, two interfaces, a relay, a rival.
//!
//! Each test makes two network namespaces of its own, one per thread, joined by two veth pairs, and needs root for that.
//! Nothing outside those namespaces is touched, and they vanish with their threads.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ironhatch::boot::dhcp::{
    BindError, Counted, DhcpConfig, DhcpCounters, Interfaces, LeaseStore, LeaseStoreError, Mode,
    Ports, RivalPolicy, Server,
};
use ironhatch::domain::boot::{BootDirectory, BootObservation, BootSink, Standing};
use ironhatch::domain::mac::Mac;
use ironhatch::plan::lease::{Lease, PoolConfig};
use ironhatch::plan::offer::{BaseUrl, OfferPolicy, UnknownMachines};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

use crate::support::dnsmasq::Dnsmasq;

const US: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 10), Ipv4Addr::new(198, 51, 100, 10)];
const THEM: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 77), Ipv4Addr::new(198, 51, 100, 77)];
/// Longer than the five seconds for which full mode looks for a rival.
const PATIENCE: Duration = Duration::from_secs(15);

struct Nobody;

impl BootDirectory for Nobody {
    fn standing(&self, _: Mac) -> Standing {
        Standing::Unknown
    }
}

struct Deaf;

impl BootSink for Deaf {
    fn observe(&self, _: BootObservation) {}
}

struct Forgetful;

impl LeaseStore for Forgetful {
    fn persist<'a>(
        &'a self,
        _: &'a [Lease],
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), LeaseStoreError>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn config(interfaces: Interfaces) -> DhcpConfig {
    DhcpConfig {
        interfaces,
        policy: OfferPolicy {
            unknown: UnknownMachines::Enroll,
            base_url: BaseUrl::Arrival { port: 8080 },
        },
        ports: Ports::default(),
        advertised_address: None,
    }
}

fn full(rival: RivalPolicy, server: Ipv4Addr) -> Mode {
    let [a, b, c, _] = server.octets();
    let host = |d| Ipv4Addr::new(a, b, c, d);
    let subnet = format!("{}/24", host(0)).parse().expect("a network");
    let pool = PoolConfig::new(subnet, (host(100), host(110)), server, 600).expect("valid");
    Mode::Full { pool, leases: vec![], store: Arc::new(Forgetful), rival }
}

async fn bind(
    config: DhcpConfig,
    mode: Mode,
    counters: &DhcpCounters,
) -> Result<Server, BindError> {
    Server::bind(config, mode, Arc::new(Nobody), Arc::new(Deaf), counters.clone()).await
}

/// Moves this thread into a network namespace of its own.
fn enter_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root: a network namespace each");
    ip("link set lo up");
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2 is there");
    assert!(status.success(), "ip {arguments}");
}

/// Waits until the kernel lets packets pass. A link that was just set up drops what is sent on it for some milliseconds.
fn await_link(name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let show = Command::new("ip").args(["-o", "link", "show", "dev", name]).output();
        let shown = show.expect("iproute2 is there").stdout;
        if String::from_utf8_lossy(&shown).contains("state UP") {
            return;
        }
    }
    panic!("{name} does not come up");
}

/// Runs `client` at the other end of two wires from a namespace where `server` runs until the client is done.
fn with_wires<S, C>(server: S, client: C)
where
    S: FnOnce(mpsc::Sender<()>, CancellationToken) + Send,
    C: FnOnce() + Send,
{
    let cancel = CancellationToken::new();
    std::thread::scope(|scope| {
        let (say_ready, ready) = mpsc::channel();
        let (tell_thread, thread) = mpsc::channel();
        let (tell_plugged, plugged) = mpsc::channel::<()>();
        let token = cancel.clone();
        scope.spawn(move || {
            enter_namespace();
            tell_thread.send(nix::unistd::gettid()).expect("the client waits");
            plugged.recv().expect("the client plugs in");
            for (n, address) in US.iter().enumerate() {
                ip(&format!("addr add {address}/24 dev us{n}"));
                ip(&format!("link set us{n} up"));
            }
            await_link("us0");
            await_link("us1");
            server(say_ready, token);
        });
        let client = scope.spawn(move || {
            enter_namespace();
            let peer = thread.recv().expect("the server's thread");
            for (n, address) in THEM.iter().enumerate() {
                ip(&format!("link add them{n} type veth peer name us{n} netns {peer}"));
                ip(&format!("addr add {address}/24 dev them{n}"));
                ip(&format!("link set them{n} up"));
            }
            tell_plugged.send(()).expect("the server waits");
            await_link("them0");
            await_link("them1");
            ready.recv().expect("the server is ready");
            client();
        });
        let outcome = client.join();
        cancel.cancel();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A service in the namespace of the calling thread.
fn serve(
    config: DhcpConfig,
    mode: Mode,
    counters: &DhcpCounters,
    ready: &mpsc::Sender<()>,
    cancel: CancellationToken,
) {
    runtime().block_on(async {
        let server = bind(config, mode, counters).await.expect("binds");
        ready.send(()).expect("the client waits");
        server.run(cancel).await;
    });
}

/// One thread, so that every socket is in its namespace.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A socket of the machine on wire `n`.
fn machine(n: usize, port: u16) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.bind_device(Some(format!("them{n}").as_bytes())).expect("bound to the wire");
    socket.set_broadcast(true).expect("may broadcast");
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("has patience");
    socket.into()
}

/// A UEFI machine's packet.
fn uefi(message: u8, xid: u8, giaddr: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![0; 240];
    out[..3].copy_from_slice(&[1, 1, 6]);
    out[7] = xid;
    out[10] = 0x80;
    out[24..28].copy_from_slice(&giaddr.octets());
    out[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1]);
    out[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    out.extend([53, 1, message, 93, 2, 0, 7]);
    out.extend(b"\x3c\x20PXEClient:Arch:00007:UNDI:003016");
    out.push(255);
    out
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).expect("answered in time");
    (buffer[..length].to_vec(), from)
}

#[test]
fn each_wire_is_answered_from_our_address_on_it() {
    let counters = DhcpCounters::new();
    with_wires(
        |ready, cancel| serve(config(Interfaces::All), Mode::Beside, &counters, &ready, cancel),
        || {
            let machines = [machine(0, 68), machine(1, 68)];
            for (n, machine) in machines.iter().enumerate() {
                let discover = uefi(1, 7, Ipv4Addr::UNSPECIFIED);
                machine.send_to(&discover, (Ipv4Addr::BROADCAST, 67)).expect("sent");
                let (offer, from) = receive(machine);
                assert_eq!(from, SocketAddr::from((US[n], 67)));
                assert_eq!(offer[20..24], US[n].octets(), "siaddr");
                assert_eq!(&offer[108..119], b"snponly.efi");
                let asker = self::machine(n, 4011);
                asker.send_to(&uefi(3, 8, Ipv4Addr::UNSPECIFIED), (US[n], 4011)).expect("sent");
                let (ack, from) = receive(&asker);
                assert_eq!(from, SocketAddr::from((US[n], 4011)));
                assert_eq!((ack[7], ack[242]), (8, 5), "an ACK of the same transaction");
            }
        },
    );
    assert_eq!((counters.get(Counted::Offer), counters.get(Counted::Ack)), (2, 2));
}

#[test]
fn a_relay_is_answered_at_its_address() {
    with_wires(
        |ready, cancel| {
            serve(config(Interfaces::All), Mode::Beside, &DhcpCounters::new(), &ready, cancel);
        },
        || {
            let relay = machine(1, 67);
            relay.send_to(&uefi(1, 7, THEM[1]), (US[1], 67)).expect("sent");
            let (offer, from) = receive(&relay);
            assert_eq!(from, SocketAddr::from((US[1], 67)));
            assert_eq!(offer[24..28], THEM[1].octets(), "giaddr");
        },
    );
}

#[test]
fn an_interface_that_is_not_configured_is_not_answered() {
    let counters = DhcpCounters::new();
    let only = Interfaces::Named(vec!["us0".to_owned()]);
    with_wires(
        |ready, cancel| serve(config(only), Mode::Beside, &counters, &ready, cancel),
        || {
            let machines = [machine(0, 68), machine(1, 68)];
            let discover = uefi(1, 7, Ipv4Addr::UNSPECIFIED);
            machines[1].send_to(&discover, (Ipv4Addr::BROADCAST, 67)).expect("sent");
            machines[0].send_to(&discover, (Ipv4Addr::BROADCAST, 67)).expect("sent");
            receive(&machines[0]);
        },
    );
    assert_eq!((counters.get(Counted::OtherInterface), counters.get(Counted::Offer)), (1, 1));
}

#[test]
fn full_mode_lends_addresses_and_is_refused_where_somebody_already_does() {
    let policy = |n: usize| config(Interfaces::Named(vec![format!("{}0", ["us", "them"][n])]));
    with_wires(
        |ready, cancel| {
            // Alone on the wire: starts.
            let mode = full(RivalPolicy::Refuse, US[0]);
            serve(policy(0), mode, &DhcpCounters::new(), &ready, cancel);
        },
        || {
            let machine = machine(0, 68);
            let discover = uefi(1, 7, Ipv4Addr::UNSPECIFIED);
            machine.send_to(&discover, (Ipv4Addr::BROADCAST, 67)).expect("sent");
            let (offer, _) = receive(&machine);
            assert_eq!(offer[16..20], [192, 0, 2, 100], "yiaddr");
            drop(machine);
            let second = runtime().block_on(async {
                let mode = full(RivalPolicy::Refuse, THEM[0]);
                bind(policy(1), mode, &DhcpCounters::new()).await.map(drop)
            });
            match second {
                Err(BindError::Rival { server, interface }) => {
                    assert_eq!((server, interface.as_str()), (US[0], "them0"));
                }
                other => panic!("not refused: {other:?}"),
            }
        },
    );
}

/// dnsmasq pings an address for three seconds before it offers it: a question that waits less overlooks it.
#[test]
fn full_mode_is_refused_beside_dnsmasq() {
    let (start, started) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    with_wires(
        move |ready, _| {
            ready.send(()).expect("the client waits");
            started.recv().expect("dnsmasq runs");
            let bound = runtime().block_on(async {
                let mode = full(RivalPolicy::Refuse, US[0]);
                bind(config(Interfaces::All), mode, &DhcpCounters::new()).await.map(drop)
            });
            tell.send(bound).expect("the client waits");
        },
        move || {
            let _dnsmasq = Dnsmasq::start("them0", &["--dhcp-range=192.0.2.50,192.0.2.60,1h"]);
            start.send(()).expect("the server waits");
            match told.recv().expect("an outcome") {
                Err(BindError::Rival { server, interface }) => {
                    assert_eq!((server, interface.as_str()), (THEM[0], "us0"));
                }
                other => panic!("not refused: {other:?}"),
            }
        },
    );
}
