//! What a TFTP client that behaves as EDK2's says and hears, and one such client as a task among others.

pub mod crowd;

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::super::place::{SERVER, machine};

/// Who fetches what.
#[derive(Clone)]
pub struct Load {
    pub clients: usize,
    pub name: &'static str,
    pub block: u16,
    pub window: u16,
    /// The end; transfers that are under way then are stopped.
    pub length: Duration,
    /// A client that has done so many is done.
    pub transfers_each: usize,
    pub file: Arc<[u8]>,
}

/// EDK2 repeats itself after 4 s.
const REPEAT: Duration = Duration::from_secs(4);
/// The service's port.
const PORT: u16 = 69;

/// One transfer as the client sees it. Knows no socket.
struct Transfer<'a> {
    load: &'a Load,
    /// Bytes of a block and blocks of a window, as the server accepted them.
    block: usize,
    window: u16,
    /// Number of the last block in order.
    last: u16,
    /// Bytes in order.
    at: usize,
    unacknowledged: u16,
    /// A block was missed and said so.
    gap: bool,
    /// The last thing that was said; said again when the server is silent.
    message: Vec<u8>,
}

/// What a datagram asks of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Wait,
    /// Send the message.
    Say,
    /// Send the message, which is the last one.
    Done,
}

impl<'a> Transfer<'a> {
    /// Its first message is the request.
    fn new(load: &'a Load) -> Self {
        let mut message = vec![0, 1];
        message.extend(load.name.as_bytes());
        message.extend(b"\0octet\0");
        if load.block != 512 {
            message.extend(format!("blksize\0{}\0", load.block).bytes());
        }
        if load.window > 1 {
            message.extend(format!("windowsize\0{}\0", load.window).bytes());
        }
        Self { load, block: 512, window: 1, last: 0, at: 0, unacknowledged: 0, gap: false, message }
    }

    fn hear(&mut self, datagram: &[u8]) -> anyhow::Result<Then> {
        match datagram {
            [0, 6, options @ ..] if self.last == 0 => {
                (self.block, self.window) = accepted(options);
                Ok(self.acknowledge(Then::Say))
            }
            [0, 3, high, low, data @ ..] => self.data(u16::from_be_bytes([*high, *low]), data),
            [0, 5, _, code, text @ ..] => {
                anyhow::bail!("ERROR {code}: {}", String::from_utf8_lossy(text))
            }
            _ => Ok(Then::Wait),
        }
    }

    fn data(&mut self, number: u16, data: &[u8]) -> anyhow::Result<Then> {
        if number != self.last.wrapping_add(1) {
            let is_old = self.last.wrapping_sub(number) < 0x8000;
            // Once per gap; an old block again means that our ACK was lost.
            if self.window == 1 || !self.gap || (is_old && number == self.last) {
                self.gap = true;
                return Ok(self.acknowledge(Then::Say));
            }
            return Ok(Then::Wait);
        }
        let expected = self.load.file.get(self.at..self.at + data.len());
        anyhow::ensure!(expected == Some(data), "block {number} has the wrong content");
        self.gap = false;
        self.last = number;
        self.at += data.len();
        self.unacknowledged += 1;
        if data.len() < self.block {
            anyhow::ensure!(self.at == self.load.file.len(), "the file ended after {}", self.at);
            return Ok(self.acknowledge(Then::Done));
        }
        Ok(if self.unacknowledged >= self.window {
            self.acknowledge(Then::Say)
        } else {
            Then::Wait
        })
    }

    fn acknowledge(&mut self, then: Then) -> Then {
        self.unacknowledged = 0;
        let [high, low] = self.last.to_be_bytes();
        self.message.clear();
        self.message.extend([0, 4, high, low]);
        then
    }

    /// From now on the message tells the server that nobody listens any more.
    fn stop(&mut self) {
        self.message.clear();
        self.message.extend(b"\0\x05\0\0stopped\0");
    }
}

/// Block size and window of an OACK.
fn accepted(options: &[u8]) -> (usize, u16) {
    let mut words = options.split(|b| *b == 0).map(String::from_utf8_lossy);
    let (mut block, mut window) = (512, 1);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name.to_ascii_lowercase().as_str() {
            "blksize" => block = value.parse().unwrap_or(block),
            "windowsize" => window = value.parse().unwrap_or(window),
            _ => {}
        }
    }
    (block, window)
}

/// Fetches the file of the load once, from the address of machine `n`.
pub async fn fetch(n: usize, load: &Load) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(SocketAddrV4::new(machine(n), 0)).await?;
    let mut transfer = Transfer::new(load);
    let (mut server, mut then) = (None, Then::Say);
    let mut buffer = [0; 2048];
    loop {
        if then != Then::Wait {
            let to = server.unwrap_or(SocketAddr::from((SERVER, PORT)));
            // An error is ICMP of an earlier message.
            let _ = socket.send_to(&transfer.message, to).await;
        }
        if then == Then::Done {
            return Ok(());
        }
        then = match timeout(REPEAT, socket.recv_from(&mut buffer)).await {
            Err(_) => Then::Say,
            Ok(Ok((length, from))) if *server.get_or_insert(from) == from => {
                transfer.hear(&buffer[..length])?
            }
            Ok(_) => Then::Wait,
        };
    }
}
