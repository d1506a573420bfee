//! The service on the loopback, with ports that need no privilege.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use tokio::net::UdpSocket;

use super::*;
use crate::domain::boot::BootProfile;
use crate::domain::id::HostId;
use crate::domain::mac::Mac;
use crate::plan::lease::PoolConfig;
use crate::plan::offer::{BaseUrl, OfferPolicy, UnknownMachines};
use crate::proto::dhcp::sample::{MAC, Packet};

const PATIENCE: Duration = Duration::from_secs(5);

struct OneArmedHost;

impl BootDirectory for OneArmedHost {
    fn standing(&self, mac: Mac) -> Standing {
        if mac == MAC {
            Standing::Armed {
                id: HostId(uuid::Uuid::nil()),
                host: "pve1".parse().expect("valid"),
                profile: BootProfile::default(),
            }
        } else {
            Standing::Unknown
        }
    }
}

struct Notebook(Mutex<mpsc::Sender<BootObservation>>);

impl BootSink for Notebook {
    fn observe(&self, observation: BootObservation) {
        self.0.lock().expect("not poisoned").send(observation).expect("the test listens");
    }
}

/// Remembers what was stored, or refuses.
#[derive(Default)]
struct Shelf {
    stored: Mutex<Vec<Lease>>,
    broken: AtomicBool,
}

impl LeaseStore for Shelf {
    fn persist<'a>(
        &'a self,
        leases: &'a [Lease],
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), LeaseStoreError>> + Send + 'a>> {
        Box::pin(async move {
            if self.broken.load(Ordering::SeqCst) {
                return Err(LeaseStoreError("the disk is full".into()));
            }
            self.stored.lock().expect("not poisoned").extend_from_slice(leases);
            Ok(())
        })
    }
}

struct Bench {
    ports: Ports,
    client: UdpSocket,
    counters: DhcpCounters,
    seen: mpsc::Receiver<BootObservation>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    async fn start(full: Option<Arc<Shelf>>) -> Self {
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let (sender, seen) = mpsc::channel();
        let counters = DhcpCounters::new();
        let config = DhcpConfig {
            ports: Ports { client: client.local_addr().expect("bound").port(), ..any_ports() },
            ..config("lo")
        };
        let sink = Arc::new(Notebook(Mutex::new(sender)));
        let mut server =
            Server::open(config, Arc::new(OneArmedHost), sink, counters.clone()).expect("opens");
        server.full = full.map(|store| {
            let subnet = "127.0.0.0/8".parse().expect("a network");
            let range = (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
            let pool = PoolConfig::new(subnet, range, Ipv4Addr::new(127, 0, 0, 9), 600);
            Full::new(Pool::new(pool.expect("valid"), &[], now()), store)
        });
        let ports = server.ports().expect("bound");
        let cancel = CancellationToken::new();
        let task = tokio::spawn(server.run(cancel.clone()));
        Self { ports, client, counters, seen, cancel, task }
    }

    async fn send(&self, bytes: &[u8], port: u16) {
        self.client.send_to(bytes, ("127.0.0.1", port)).await.expect("sent");
    }

    async fn reply(&self) -> (Vec<u8>, u16) {
        let mut buffer = vec![0; 2000];
        let receive = self.client.recv_from(&mut buffer);
        let (length, from) =
            tokio::time::timeout(PATIENCE, receive).await.expect("answered").expect("received");
        buffer.truncate(length);
        (buffer, from.port())
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.expect("ends without a panic");
    }
}

fn any_ports() -> Ports {
    Ports { server: 0, client: 0, boot_server: 0 }
}

fn config(interface: &str) -> DhcpConfig {
    DhcpConfig {
        interfaces: Interfaces::Named(vec![interface.to_owned()]),
        policy: OfferPolicy {
            unknown: UnknownMachines::Ignore,
            base_url: BaseUrl::Arrival { port: 8080 },
        },
        ports: any_ports(),
        advertised_address: None,
    }
}

fn silent_sink() -> Arc<dyn BootSink> {
    let (sender, _) = mpsc::channel();
    Arc::new(Notebook(Mutex::new(sender)))
}

/// A REQUEST or INFORM of a client that has the loopback address.
fn packet(message: u8) -> Packet {
    Packet { ciaddr: Ipv4Addr::LOCALHOST, ..Packet::pxe(message, 7) }
}

#[tokio::test]
async fn port_4011_answers_from_itself_to_the_port_that_asked() {
    let bench = Bench::start(None).await;
    bench.send(&packet(3).bytes(), bench.ports.boot_server).await;
    let (reply, from) = bench.reply().await;
    assert_eq!(from, bench.ports.boot_server);
    assert_eq!(&reply[20..24], &[127, 0, 0, 1], "our address on that wire");
    let seen = bench.seen.recv_timeout(PATIENCE).expect("the operator is told");
    assert_eq!((seen.stage, seen.answered, seen.mac), (BootStage::Pxe, true, Some(MAC)));
    assert_eq!(seen.address, Some(Ipv4Addr::LOCALHOST));
    assert!(seen.message.contains("snponly.efi") && seen.message.contains("pve1"), "{seen:?}");
    bench.stop().await;
}

#[tokio::test]
async fn after_any_junk_the_next_good_packet_is_answered() {
    let bench = Bench::start(None).await;
    let good = packet(8).bytes();
    let mut junk: Vec<Vec<u8>> =
        vec![vec![], vec![0xff; 312], vec![1; 65_507], good[..239].to_vec()];
    for hlen in [0, 7, 16, 17, 255] {
        let mut bytes = good.clone();
        bytes[2] = hlen;
        junk.push(bytes);
    }
    let count = u64::try_from(junk.len()).expect("small");
    for port in [bench.ports.server, bench.ports.boot_server] {
        for bytes in &junk {
            bench.send(bytes, port).await;
        }
        bench.send(&good, port).await;
        let (reply, from) = bench.reply().await;
        assert_eq!((reply[0], from), (2, port));
    }
    assert_eq!(bench.counters.get(Counted::Junk), 2 * count);
    assert_eq!(bench.counters.get(Counted::Ack), 2);
    bench.stop().await;
}

#[tokio::test]
async fn silence_is_counted_by_its_reason() {
    let bench = Bench::start(None).await;
    let stranger = Packet { mac: Mac([2, 0, 0, 0, 0, 1]), ..packet(8) };
    bench.send(&Packet::laptop(1).bytes(), bench.ports.server).await;
    bench.send(&stranger.bytes(), bench.ports.server).await;
    bench.send(&packet(8).bytes(), bench.ports.server).await;
    bench.reply().await;
    let silences: Vec<_> = bench.counters.silences().into_iter().collect();
    assert_eq!(silences, [("not_netboot", 1), ("unknown_ignored", 1)]);
    let first = bench.seen.recv_timeout(PATIENCE).expect("the stranger is worth telling");
    assert!(!first.answered && first.message.contains("not registered"), "{first:?}");
    bench.stop().await;
}

#[tokio::test]
async fn a_lease_is_durable_before_it_is_confirmed() {
    let shelf = Arc::new(Shelf::default());
    shelf.broken.store(true, Ordering::SeqCst);
    let bench = Bench::start(Some(shelf.clone())).await;
    let renew = packet(3);
    bench.send(&renew.bytes(), bench.ports.server).await;
    // The INFORM behind it is answered, the REQUEST whose lease could not be stored is not.
    bench.send(&Packet { xid: 9, ..packet(8) }.bytes(), bench.ports.server).await;
    let (reply, _) = bench.reply().await;
    assert_eq!(&reply[4..8], &[0, 0, 0, 9]);
    assert_eq!(bench.counters.get(Counted::LeaseNotStored), 1);

    shelf.broken.store(false, Ordering::SeqCst);
    bench.send(&renew.bytes(), bench.ports.server).await;
    let (reply, _) = bench.reply().await;
    assert_eq!(&reply[16..20], &[127, 0, 0, 1]);
    let stored = shelf.stored.lock().expect("not poisoned").clone();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].mac, stored[0].state), (MAC, LeaseState::Bound));
    bench.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_refused_with_the_name_of_its_holder() {
    let holder = std::net::UdpSocket::bind("0.0.0.0:0").expect("bind");
    let port = holder.local_addr().expect("bound").port();
    let config = DhcpConfig { ports: Ports { server: port, ..any_ports() }, ..config("lo") };
    let bound = Server::bind(
        config,
        Mode::Beside,
        Arc::new(OneArmedHost),
        silent_sink(),
        DhcpCounters::new(),
    )
    .await;
    let error = bound.expect_err("taken").to_string();
    let us = format!("(process {})", std::process::id());
    assert!(error.contains(&port.to_string()) && error.contains(&us), "{error}");
}

#[tokio::test]
async fn a_missing_interface_is_refused_with_those_that_exist() {
    let bound = Server::bind(
        config("nosuch0"),
        Mode::Beside,
        Arc::new(OneArmedHost),
        silent_sink(),
        DhcpCounters::new(),
    )
    .await;
    let error = bound.expect_err("missing").to_string();
    assert!(error.contains("'nosuch0'") && error.contains("lo"), "{error}");
}
