//! TFTP clients that behave as EDK2's: all of them tasks of one thread.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

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

#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// What arrived in order, of all clients.
    pub bytes: u64,
    pub completed: usize,
    pub seconds: f64,
}

/// EDK2 repeats itself after 4 s.
const REPEAT: Duration = Duration::from_secs(4);

pub fn drive(load: &Load) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let deadline = begun + load.length;
        let mut clients = JoinSet::new();
        for n in 0..load.clients {
            let load = load.clone();
            clients.spawn(async move { fetch(n, &load, deadline).await });
        }
        let mut all = Figures::default();
        while let Some(ended) = clients.join_next().await {
            let one = ended??;
            all.bytes += one.bytes;
            all.completed += one.completed;
        }
        all.seconds = begun.elapsed().as_secs_f64();
        Ok(all)
    })
}

/// One client at its own address.
pub async fn fetch(n: usize, load: &Load, deadline: Instant) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    while figures.completed < load.transfers_each && Instant::now() < deadline {
        let socket = UdpSocket::bind(SocketAddrV4::new(machine(n), 0)).await?;
        let mut transfer = Transfer {
            socket,
            load,
            server: None,
            last: 0,
            at: 0,
            unacknowledged: 0,
            gap: false,
            message: request(load),
        };
        match timeout_at(deadline, transfer.run()).await {
            Ok(Ok(())) => figures.completed += 1,
            Ok(Err(error)) => return Err(error),
            Err(_) => transfer.stop().await,
        }
        figures.bytes += transfer.at as u64;
    }
    Ok(figures)
}

fn request(load: &Load) -> Vec<u8> {
    let mut out = vec![0, 1];
    out.extend(load.name.as_bytes());
    out.extend(b"\0octet\0");
    if load.block != 512 {
        out.extend(format!("blksize\0{}\0", load.block).bytes());
    }
    if load.window > 1 {
        out.extend(format!("windowsize\0{}\0", load.window).bytes());
    }
    out
}

struct Transfer<'a> {
    socket: UdpSocket,
    load: &'a Load,
    server: Option<SocketAddr>,
    /// Number of the last block in order.
    last: u16,
    /// Bytes in order.
    at: usize,
    unacknowledged: u16,
    /// A block was missed and said so.
    gap: bool,
    /// The last thing that was said.
    message: Vec<u8>,
}

enum Step {
    On,
    Done,
}

impl Transfer<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut window = 1;
        let mut block = 512;
        self.say().await?;
        let mut buffer = [0; 2048];
        loop {
            let Some(length) = self.hear(&mut buffer).await? else { continue };
            match &buffer[..length] {
                [0, 6, options @ ..] if self.last == 0 => {
                    (block, window) = accepted(options);
                    self.acknowledge().await?;
                }
                [0, 3, high, low, data @ ..] => {
                    let number = u16::from_be_bytes([*high, *low]);
                    if let Step::Done = self.data(number, data, block, window).await? {
                        return Ok(());
                    }
                }
                [0, 5, _, code, text @ ..] => {
                    anyhow::bail!("ERROR {code}: {}", String::from_utf8_lossy(text));
                }
                _ => {}
            }
        }
    }

    /// The next datagram of the server; `None` after it was silent and the last message was repeated.
    async fn hear(&mut self, buffer: &mut [u8]) -> anyhow::Result<Option<usize>> {
        loop {
            // Without a timer where something waits already.
            let received = match self.socket.try_recv_from(buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    let patience = Instant::now() + REPEAT;
                    let Ok(ready) = timeout_at(patience, self.socket.readable()).await else {
                        self.say().await?;
                        return Ok(None);
                    };
                    ready?;
                    continue;
                }
                received => received,
            };
            // A port that is closed for now (ICMP) is silence.
            let Ok((length, from)) = received else { continue };
            if *self.server.get_or_insert(from) == from {
                return Ok(Some(length));
            }
        }
    }

    async fn data(
        &mut self,
        number: u16,
        data: &[u8],
        block: usize,
        window: u16,
    ) -> anyhow::Result<Step> {
        if number != self.last.wrapping_add(1) {
            let is_old = self.last.wrapping_sub(number) < 0x8000;
            // Once per gap; an old block again means that our ACK was lost.
            if window == 1 || !self.gap || (is_old && number == self.last) {
                self.gap = true;
                self.acknowledge().await?;
            }
            return Ok(Step::On);
        }
        let expected = self.load.file.get(self.at..self.at + data.len());
        anyhow::ensure!(expected == Some(data), "block {number} has the wrong content");
        self.gap = false;
        self.last = number;
        self.at += data.len();
        self.unacknowledged += 1;
        let is_last = data.len() < block;
        if is_last || self.unacknowledged >= window {
            self.acknowledge().await?;
        }
        if is_last {
            anyhow::ensure!(self.at == self.load.file.len(), "the file ended after {}", self.at);
            return Ok(Step::Done);
        }
        Ok(Step::On)
    }

    async fn acknowledge(&mut self) -> anyhow::Result<()> {
        self.unacknowledged = 0;
        let [high, low] = self.last.to_be_bytes();
        self.message.clear();
        self.message.extend([0, 4, high, low]);
        self.say().await
    }

    async fn say(&mut self) -> anyhow::Result<()> {
        let to = self.server.unwrap_or(SocketAddr::from((SERVER, 69)));
        match self.socket.send_to(&self.message, to).await {
            // ICMP of an earlier message.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
            done => Ok(done.map(drop)?),
        }
    }

    /// Tells the server that nobody listens any more.
    async fn stop(&mut self) {
        self.message.clear();
        self.message.extend(b"\0\x05\0\0stopped\0");
        let _ = self.say().await;
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
