//! A wire between the appliance's namespace and a machine's, and what firmware says on it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// The appliance's address on the wire.
pub(crate) const US: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const THEM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
const PATIENCE: Duration = Duration::from_secs(20);

/// The keys of `[pxe]` for the wire, without `unknown`.
pub(crate) const PXE: &str = "enabled = true\ninterface = \"us0\"\nsubnet = \"198.51.100.0/24\"\n";

/// `us0` in the namespace of the calling thread, `them0` in one where the machines are.
pub(crate) struct Wire {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl Wire {
    pub(crate) fn plug() -> Self {
        let (work, jobs) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, thread) = mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
            tell.send(nix::unistd::gettid()).expect("the appliance's side waits");
            for job in jobs {
                job();
            }
        });
        let peer = thread.recv().expect("the machines' side");
        ip(&format!("link add us0 type veth peer name them0 netns {peer}"));
        ip(&format!("address add {US}/24 dev us0"));
        ip("link set us0 up");
        let wire = Self { work };
        wire.inside(|| {
            ip("link set lo up");
            ip(&format!("address add {THEM}/24 dev them0"));
            ip("link set them0 up");
            await_link("them0");
        });
        await_link("us0");
        wire
    }

    /// Runs something where the machines are.
    pub(crate) fn inside<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.work
            .send(Box::new(move || {
                let _ = tell.send(job());
            }))
            .expect("the machines' side lives");
        told.recv().expect("it did not fail")
    }

    /// A machine's socket; 0 lets the system choose the port.
    pub(crate) fn socket(&self, port: u16) -> UdpSocket {
        self.inside(move || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
            socket.bind_device(Some(b"them0")).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            socket.into()
        })
    }

    /// Sends a DISCOVER until an offer comes for it, as firmware does.
    pub(crate) fn is_offered(&self, mac: [u8; 6], xid: u8) -> Vec<u8> {
        let client = self.socket(68);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            client.send_to(&discover(mac, xid), (Ipv4Addr::BROADCAST, 67)).unwrap();
            while let Some(reply) = receive(&client) {
                if reply.get(7) == Some(&xid) && reply.get(28..34) == Some(&mac[..]) {
                    return reply;
                }
            }
        }
        panic!("no offer for {mac:02x?}");
    }

    /// Asserts that the first machine is met with silence: the second one's packet comes behind it in the same queue, and
    /// its offer is all that arrives.
    pub(crate) fn is_silent_towards(&self, mac: [u8; 6], while_offered: [u8; 6], xid: u8) {
        let client = self.socket(68);
        client.send_to(&discover(mac, xid), (Ipv4Addr::BROADCAST, 67)).unwrap();
        client.send_to(&discover(while_offered, xid + 1), (Ipv4Addr::BROADCAST, 67)).unwrap();
        let begun = Instant::now();
        loop {
            let reply = receive(&client);
            if let Some(reply) = &reply {
                assert_ne!(reply[28..34], mac, "an answer for a machine that gets none");
                if reply[28..34] == while_offered {
                    return;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the offered machine is not answered either");
        }
    }
}

/// A UEFI machine's DISCOVER.
pub(crate) fn discover(mac: [u8; 6], xid: u8) -> Vec<u8> {
    let mut out = vec![0; 240];
    out[..3].copy_from_slice(&[1, 1, 6]);
    out[7] = xid;
    out[10] = 0x80;
    out[28..34].copy_from_slice(&mac);
    out[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    out.extend([53, 1, 1, 93, 2, 0, 7]);
    out.extend(b"\x3c\x20PXEClient:Arch:00007:UNDI:003016");
    out.push(255);
    out
}

/// The next datagram; `None` when none comes soon.
pub(crate) fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 65_536];
    match socket.recv_from(&mut buffer) {
        Ok((length, _)) => Some(buffer[..length].to_vec()),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
        Err(e) => panic!("{e}"),
    }
}

/// Fetches a file by TFTP; the error's text when it is refused.
pub(crate) fn tftp(socket: &UdpSocket, name: &[u8]) -> Result<Vec<u8>, String> {
    let mut request = vec![0, 1];
    request.extend(name);
    request.extend(b"\0octet\0blksize\x001400\0");
    let mut peer = (US, 69).into();
    let mut message = request;
    let mut file = Vec::new();
    let mut expected = 1u16;
    let mut buffer = [0; 2000];
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "{} is not transferred", name.escape_ascii());
        socket.send_to(&message, peer).unwrap();
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let (head, data) = buffer[..length].split_at(4.min(length));
        match head {
            [0, 6, ..] => {
                peer = from;
                message = vec![0, 4, 0, 0];
            }
            [0, 3, high, low] if u16::from_be_bytes([*high, *low]) == expected => {
                file.extend_from_slice(data);
                message = vec![0, 4, *high, *low];
                expected = expected.wrapping_add(1);
                if data.len() < 1400 {
                    socket.send_to(&message, peer).unwrap();
                    return Ok(file);
                }
            }
            [0, 5, ..] => return Err(String::from_utf8_lossy(data).into_owned()),
            _ => {}
        }
    }
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64* (Vigna 2014).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % end
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_be_bytes()[3]).collect()
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is there");
    assert!(done.status.success(), "ip {arguments}: {done:?}");
}

fn await_link(name: &str) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let show = Command::new("ip").args(["-o", "link", "show", "dev", name]).output().unwrap();
        if String::from_utf8_lossy(&show.stdout).contains("state UP") {
            return;
        }
    }
    panic!("{name} does not come up");
}
