//! A machine's firmware on the wire, which does one thing at a time.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use ironhatch::fakes::firmware::tftp::{Download, Step};
use ironhatch::fakes::firmware::{self, Asked, Reply, Taken};
use serde_json::Value;

use crate::rebuild::story::World;
use crate::support::wire::{self, US, Wire};

const PATIENCE: Duration = Duration::from_secs(30);
/// The DHCP server whose address the machines say they take; nobody plays it.
const SERVER: [u8; 4] = [198, 51, 100, 1];
/// The machines' side of the wire.
const THEM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

/// Option 175 of an iPXE with HTTP and of one without.
pub(crate) const IPXE_WITH_HTTP: &[u8] = &[0x13, 1, 1, 0x15, 1, 1];
pub(crate) const IPXE_WITHOUT_HTTP: &[u8] = &[0x15, 1, 1];

/// An ERROR of TFTP.
pub(crate) const ABORT: &[u8] = b"\0\x05\0\0out of memory\0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bios,
    Uefi,
    UefiHttp,
}

pub(crate) struct Client<'w> {
    wire: &'w Wire,
    mac: [u8; 6],
    kind: Kind,
    xid: u8,
    /// Where its story is told.
    path: String,
}

impl<'w> Client<'w> {
    /// A machine that nobody registered.
    pub(crate) fn new(wire: &'w Wire, n: u8, kind: Kind) -> Self {
        let mac = [0x52, 0x54, 0, 0, 0, n];
        let path = format!("/api/sightings/52:54:00:00:00:{n:02x}/boot");
        Self { wire, mac, kind, xid: 0, path }
    }

    /// The machine of a host.
    pub(crate) fn of_host(wire: &'w Wire, n: u8, host: &str) -> Self {
        let path = format!("/api/hosts/{host}/boot");
        Self { path, ..Self::new(wire, n, Kind::Uefi) }
    }

    pub(crate) fn address(&self) -> [u8; 6] {
        self.mac
    }

    pub(crate) fn mac(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    fn architecture(&self) -> u16 {
        match self.kind {
            Kind::Bios => 0,
            Kind::Uefi => 7,
            Kind::UefiHttp => 16,
        }
    }

    fn packet(&self, message: u8, architecture: u16, more: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = vec![0; 240];
        out[..3].copy_from_slice(&[1, 1, 6]);
        out[7] = self.xid;
        out[10] = 0x80;
        out[28..34].copy_from_slice(&self.mac);
        out[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        let protocol = if self.kind == Kind::UefiHttp { "HTTPClient" } else { "PXEClient" };
        let class = format!("{protocol}:Arch:{architecture:05}:UNDI:003016");
        let [high, low] = architecture.to_be_bytes();
        let first: [(u8, &[u8]); 3] =
            [(53, &[message]), (93, &[high, low]), (60, class.as_bytes())];
        for (tag, value) in first.iter().chain(more) {
            out.extend([*tag, u8::try_from(value.len()).unwrap()]);
            out.extend_from_slice(value);
        }
        out.push(255);
        out
    }

    /// Sends until its reply comes, as firmware does, and takes that as its model does.
    fn asks(&self, socket: &UdpSocket, packet: &[u8], to: (Ipv4Addr, u16)) -> Taken {
        let asked = Asked::read(packet).unwrap();
        let model = firmware::Client::of(&asked);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            socket.send_to(packet, to).unwrap();
            while let Some(bytes) = wire::receive(socket) {
                if bytes.get(7) != Some(&self.xid) || bytes.get(28..34) != Some(&self.mac[..]) {
                    continue;
                }
                let reply = Reply::read(&bytes).unwrap();
                // What the LAN's own server says is another story.
                if reply.option(54) != Some(&US.octets()[..]) {
                    continue;
                }
                let taken = match to.1 {
                    67 => model.take(&asked, &reply),
                    _ => model.take_on_4011(&asked, &reply),
                };
                return taken.unwrap();
            }
        }
        panic!("no answer for {}", self.mac());
    }

    /// A new boot's DISCOVER, until it is offered something.
    pub(crate) fn discovers(&mut self) -> Taken {
        self.xid += 1;
        let packet = self.packet(1, self.architecture(), &[]);
        self.asks(&self.wire.socket(68), &packet, (Ipv4Addr::BROADCAST, 67))
    }

    /// An iPXE with these features asks, whoever started it.
    pub(crate) fn runs_ipxe(&mut self, features: &[u8]) {
        self.xid += 1;
        let packet = self.packet(1, self.architecture(), &[(77, b"iPXE"), (175, features)]);
        let socket = self.wire.socket(68);
        // One that came back too often is met with silence, so the offer is not waited for.
        socket.send_to(&packet, (Ipv4Addr::BROADCAST, 67)).unwrap();
    }

    /// One DISCOVER that will not be answered.
    pub(crate) fn asks_in_vain(&mut self) {
        self.asks_as(self.architecture());
    }

    /// The same as another architecture.
    pub(crate) fn asks_as(&mut self, architecture: u16) {
        self.xid += 1;
        let packet = self.packet(1, architecture, &[]);
        self.wire.socket(68).send_to(&packet, (Ipv4Addr::BROADCAST, 67)).unwrap();
    }

    /// Takes an address of the LAN's DHCP server.
    pub(crate) fn takes_address(&mut self, world: &World<'_>) {
        self.takes(world, THEM);
    }

    pub(crate) fn takes(&mut self, world: &World<'_>, address: Ipv4Addr) {
        let more: [(u8, &[u8]); 2] = [(54, &SERVER), (50, &address.octets())];
        let packet = self.packet(3, self.architecture(), &more);
        self.wire.socket(68).send_to(&packet, (Ipv4Addr::BROADCAST, 67)).unwrap();
        // What comes from this address is the machine's only when this was heard.
        self.until_told(world, "took address");
    }

    pub(crate) fn asks_4011(&mut self) -> Taken {
        let mut packet = self.packet(3, self.architecture(), &[]);
        packet[12..16].copy_from_slice(&THEM.octets());
        self.asks(&self.wire.socket(4011), &packet, (US, 4011))
    }

    /// Asks port 4011 with a menu item whose layer wants credentials (boot integrity services).
    pub(crate) fn asks_for_signatures(&mut self) {
        let mut packet = self.packet(3, self.architecture(), &[(43, &[71, 4, 0, 0, 0x80, 0, 255])]);
        packet[12..16].copy_from_slice(&THEM.octets());
        self.wire.socket(4011).send_to(&packet, (US, 4011)).unwrap();
    }

    /// Loads a file whole; the error's text when it is refused.
    pub(crate) fn loads(&self, name: &str) -> Result<Vec<u8>, String> {
        wire::tftp(&self.wire.socket(0), name.as_bytes())
    }

    /// Begins a download and confirms its first block; the socket and the port that answers.
    pub(crate) fn begins(&self, name: &str) -> (UdpSocket, std::net::SocketAddr) {
        let socket = self.wire.socket(0);
        let mut request = vec![0, 1];
        request.extend(name.as_bytes());
        request.extend(b"\0octet\0blksize\x001400\0");
        let mut download = Download::ask(&request).unwrap();
        let mut message = request;
        let mut peer = (US, 69).into();
        let mut buffer = [0; 2000];
        let begun = Instant::now();
        while download.received.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{name} does not begin");
            socket.send_to(&message, peer).unwrap();
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            peer = from;
            if let Step::Acknowledges(block) = download.take(&buffer[..length]).unwrap() {
                message = vec![0, 4];
                message.extend(block.to_be_bytes());
            }
        }
        socket.send_to(&message, peer).unwrap();
        (socket, peer)
    }

    pub(crate) fn begins_and_aborts(&self, name: &str) {
        let (socket, peer) = self.begins(name);
        socket.send_to(ABORT, peer).unwrap();
    }

    /// A firewall eats what comes back.
    pub(crate) fn asks_and_hears_nothing(&self, name: &str) {
        let socket = self.wire.socket(0);
        let request = [b"\0\x01", name.as_bytes(), b"\0octet\0blksize\x001400\0"].concat();
        socket.send_to(&request, (US, 69)).unwrap();
    }

    /// Waits until the story is like this.
    pub(crate) fn until(
        &self,
        world: &World<'_>,
        what: &str,
        done: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let answer = world.daemon.request("GET", &self.path, None);
            if answer.status == 200 && done(&answer.body) {
                return answer.body;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{}: never {what}: {:#}\n{}",
                self.mac(),
                answer.body,
                world.daemon.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the newest boot's time line has this.
    pub(crate) fn until_told(&self, world: &World<'_>, text: &str) {
        self.until(world, text, |story| {
            let marks = story["timeline"].as_array().unwrap();
            marks.iter().any(|mark| mark["message"].as_str().unwrap().contains(text))
        });
    }

    /// Waits for the verdict on the newest boot.
    pub(crate) fn is_judged(&self, world: &World<'_>, verdict: &str) {
        self.until(world, verdict, |story| story["verdict"]["name"] == verdict);
    }

    /// Starts again, which ends the boot before, and waits for the verdict on that.
    pub(crate) fn starts_again(&mut self, world: &World<'_>, verdict: &str) {
        let boots = |story: &Value| story["earlier"].as_array().unwrap().len();
        let before = self.until(world, "told", |_| true);
        let newest = before["timeline"][0]["at_ms"].as_i64();
        self.discovers();
        self.until(world, verdict, |story| {
            boots(story) > 0
                && story["timeline"][0]["at_ms"].as_i64() > newest
                && story["earlier"][0]["verdict"]["name"] == verdict
        });
    }
}
