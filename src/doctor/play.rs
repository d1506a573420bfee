//! Plays a machine that boots from the network against the running daemon, across the boot interface, as far as the boot
//! script that an unregistered machine gets. It asks nothing that belongs to a rebuild, and takes no lease.
//!
//! ```text
//!  DISCOVER ─> offers of all servers ─> what firmware follows ─┬─> UDP 4011 ─┐
//!                                                              └─────────────┴─> TFTP or HTTP: the boot program, compared
//!  iPXE: DISCOVER ─> offers ─> start.ipxe ─> /ipxe/MAC: the notice
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;

use hyper::Method;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::Inside;
use crate::boot::dhcp::survey::Client;
use crate::boot::rehearsal::Rehearsals;
use crate::domain::boot::{BootDirectory as _, BootStage, Standing};
use crate::domain::mac::Mac;
use crate::limits::work::BOOT_FILE_BYTES;
use crate::outbound;
use crate::plan::doctor::Severity;
use crate::plan::doctor::rehearsal::{
    Ending, Firmware, Line, Rehearsal, Speaker, describe, follow,
};
use crate::plan::firmware::tftp::{Download, Step};
use crate::plan::firmware::{Choice, boots, choose_in_http, choose_in_ipxe, choose_in_pxe};
use crate::proto::dhcp::probe::{self, Asker, HeardOffer};

/// The first two windows of firmware (EDK2, ROMs: 4 s, then 8 s); the second one is cut short when all have answered.
const WINDOWS: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(8)];
/// EDK2's tries on UDP 4011.
const BOOT_SERVER_TRIES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
];
/// EDK2's tries of a TFTP packet, shortened: a person is waiting.
const TFTP_TRIES: u32 = 4;
const TFTP_ANSWER: Duration = Duration::from_secs(1);
/// Longest download over HTTP.
const HTTP_TIME: Duration = Duration::from_secs(20);
/// Longest boot script.
const SCRIPT_BYTES: usize = 64 << 10;

/// The machine on its way.
struct Machine<'a> {
    inside: &'a Inside,
    client: Client,
    mac: Mac,
    begun: Instant,
    lines: Vec<Line>,
}

/// Plays one boot on this interface.
///
/// # Errors
/// Why it cannot be played at all; one line.
pub(super) async fn play(
    inside: &Inside,
    interface: &str,
    firmware: Firmware,
) -> Result<Rehearsal, String> {
    let client = Client::open(interface).map_err(|e| e.to_string())?;
    let mac = stranger(inside)?;
    inside.rehearsals.begin(mac);
    let began_at = inside.engine.store().now();
    let mut machine = Machine { inside, client, mac, begun: Instant::now(), lines: Vec::new() };
    let ended = machine.boot(firmware).await;
    let Machine { mut lines, .. } = machine;
    // What the daemon noted of this machine, with the time at which it did.
    lines.extend(inside.rehearsals.observed(mac).into_iter().map(|noted| Line {
        at: noted.at.since(began_at),
        who: Speaker::Daemon,
        text: noted.message,
    }));
    lines.sort_by_key(|line| line.at);
    let ending = match ended {
        Ok(ending) | Err(ending) => ending,
    };
    Ok(Rehearsal { firmware, interface: interface.to_owned(), mac, lines, ending })
}

/// A MAC that nobody has.
fn stranger(inside: &Inside) -> Result<Mac, String> {
    let made_up = std::iter::repeat_with(|| Rehearsals::mac(rand::random()));
    let mut free = made_up
        .take(8)
        .filter(|mac| matches!(inside.engine.store().standing(*mac), Standing::Unknown));
    free.next().ok_or_else(|| "every made-up address is somebody's".to_owned())
}

impl Machine<'_> {
    fn say(&mut self, who: Speaker, text: impl Into<String>) {
        self.lines.push(Line { at: self.begun.elapsed(), who, text: text.into() });
    }

    /// The whole boot. Both sides of the result are an ending: `Err` is one that came early.
    async fn boot(&mut self, firmware: Firmware) -> Result<Ending, Ending> {
        let offers = self.discover(firmware.asker()).await?;
        let choice = match firmware {
            Firmware::Http => choose_in_http(&offers),
            Firmware::Bios | Firmware::Uefi => choose_in_pxe(&offers),
        };
        self.take(&choice)?;
        let program = match choice {
            Choice::Asks(_) => {
                let loads = self.ask_boot_server(firmware.asker()).await?;
                self.take(&loads)?;
                self.load(&loads).await?
            }
            other => self.load(&other).await?,
        };
        self.say(Speaker::Machine, format!("starts {program}: iPXE runs"));
        let offers = self.discover(Asker::Ipxe).await?;
        let choice = choose_in_ipxe(&offers);
        self.take(&choice)?;
        let Choice::Fetches(start) = choice else {
            let verdict =
                "iPXE is offered a boot program and no script: it would load itself for ever.";
            return Err(Ending::stuck(verdict, "Switch other boot servers of this segment off."));
        };
        let script = self.fetch_script(&start).await?;
        if !script.starts_with("#!ipxe") {
            let verdict = format!("{start} is no iPXE script.");
            return Err(Ending::stuck(
                verdict,
                "Correct server.public_url, or the proxy in front of it.",
            ));
        }
        let public = &self.inside.engine.context().config.server.public_url;
        let own = format!("{public}/ipxe/{}", self.mac.hyphenated());
        let script = self.fetch_script(&own).await?;
        let mac = self.mac.to_string();
        if !script.contains(&mac) || script.contains("/boot/") {
            let verdict = "The boot script is not the notice that an unregistered machine gets.";
            return Err(Ending::stuck(verdict, "This is a defect; report it with this timeline."));
        }
        self.say(Speaker::Machine, "shows that it is not registered, then boots its own disk");
        Ok(Ending {
            severity: Severity::Ok,
            verdict: format!("A machine with {} reaches its boot script.", firmware.title()),
            fix: String::new(),
        })
    }

    /// Asks as this client does and collects what comes, as firmware does.
    async fn discover(&mut self, asker: Asker) -> Result<Vec<HeardOffer>, Ending> {
        let xid: u32 = rand::random();
        let discover = probe::boot_request(xid, self.mac, asker, None);
        let mut offers: Vec<HeardOffer> = Vec::new();
        for window in WINDOWS {
            self.say(Speaker::Machine, format!("{} asks everybody (DHCP DISCOVER)", named(asker)));
            self.client.ask(&discover, 67).await.map_err(|e| {
                Ending::stuck(format!("Nothing can be sent: {e}."), "Bring the interface up.")
            })?;
            let deadline = Instant::now() + window;
            while let Some(replies) = self.client.hear(deadline).await {
                for reply in replies {
                    let heard = HeardOffer::read(&reply.bytes, reply.source, xid, self.mac);
                    let Some(offer) = heard.filter(|offer| !offers.contains(offer)) else {
                        continue;
                    };
                    self.say(Speaker::Network, describe(&offer, reply.ours));
                    offers.push(offer);
                }
                // iPXE and the second window go on as soon as there is what they need.
                let complete = offers.iter().any(HeardOffer::lends)
                    && offers.iter().any(|o| o.source == self.client.address());
                if complete && (asker == Asker::Ipxe || window > WINDOWS[0]) {
                    break;
                }
            }
            if offers.iter().any(HeardOffer::lends) {
                break;
            }
        }
        self.silence_is_meant(&offers)?;
        Ok(offers)
    }

    /// With `unknown = "ignore"` the daemon is silent on purpose: there is nothing more to play.
    fn silence_is_meant(&self, offers: &[HeardOffer]) -> Result<(), Ending> {
        let answered = offers.iter().any(|offer| offer.source == self.client.address());
        let noted = self.inside.rehearsals.observed(self.mac);
        let refused = noted.iter().rfind(|n| n.stage == BootStage::Dhcp && !n.answered);
        match refused {
            Some(noted) if !answered => Err(Ending {
                severity: Severity::Note,
                verdict: format!("Ironhatch heard the machine and chose not to answer: {}.", noted.message),
                fix: "Nothing, when it is meant: a registered host that is armed is answered. To play a whole boot set \
                      pxe.unknown = \"enroll\" for a while."
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn take(&mut self, choice: &Choice) -> Result<(), Ending> {
        let (line, ending) = follow(choice, self.client.address(), self.begun.elapsed());
        self.say(Speaker::Machine, line);
        ending.map_or(Ok(()), Err)
    }

    /// The second question of UEFI firmware, which has an address by then.
    async fn ask_boot_server(&mut self, asker: Asker) -> Result<Choice, Ending> {
        let us = self.client.address();
        let xid: u32 = rand::random();
        let request = probe::boot_request(xid, self.mac, asker, Some(us));
        let failed = |e: std::io::Error| {
            Ending::stuck(format!("UDP 4011 cannot be asked: {e}."), "See that the daemon runs.")
        };
        let socket = UdpSocket::bind((us, 0)).await.map_err(failed)?;
        let mut answer = [0; 1500];
        for patience in BOOT_SERVER_TRIES {
            socket.send_to(&request, (us, 4011)).await.map_err(failed)?;
            let Ok(received) = timeout(patience, socket.recv_from(&mut answer)).await else {
                self.say(Speaker::Machine, "hears nothing and asks UDP 4011 again");
                continue;
            };
            let (length, _) = received.map_err(failed)?;
            let bytes = answer.get(..length).unwrap_or(&[]);
            if let Some(offer) = HeardOffer::read(bytes, us, xid, self.mac) {
                self.say(Speaker::Network, describe(&offer, true));
                return Ok(boots(&offer));
            }
        }
        Err(Ending::stuck(
            "The boot server does not answer on UDP 4011 (PXE-E16, E18).",
            "Open UDP 4011 for incoming packets; firewalls that know DHCP as a service leave this port out.",
        ))
    }

    /// Loads the boot program and compares it with ours; its name.
    async fn load(&mut self, choice: &Choice) -> Result<String, Ending> {
        let (name, bytes) = match choice {
            Choice::Loads(server, name) => (name.clone(), self.by_tftp(*server, name).await?),
            Choice::Fetches(url) => {
                let name = url.rsplit('/').next().unwrap_or_default().to_owned();
                (name, self.by_http(url).await?)
            }
            other => {
                let verdict = format!("The machine has nothing to load ({other:?}).");
                return Err(Ending::stuck(verdict, "Run `ironhatch doctor`."));
            }
        };
        let same = self.inside.boot_files.get(&name).is_some_and(|own| own == bytes);
        if !same {
            let verdict = format!("{name} came with other bytes than Ironhatch has.");
            return Err(Ending::stuck(
                verdict,
                "Something between answers in our place; look for it.",
            ));
        }
        let hash = crate::image::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        let hash = hash.get(..12).unwrap_or_default();
        let size = bytes.len() >> 10;
        self.say(
            Speaker::Network,
            format!("{name}: {size} KiB, as they should be (SHA-256 {hash}…)"),
        );
        Ok(name)
    }

    async fn by_tftp(&mut self, server: Ipv4Addr, name: &str) -> Result<Vec<u8>, Ending> {
        let failed = |why: String| {
            let verdict = format!("TFTP of {name} failed: {why} (PXE-E23, E32).");
            Ending::stuck(
                verdict,
                "Open UDP 69 for incoming requests, on this machine and on the way.",
            )
        };
        // EDK2 asks for the size first and breaks that transfer off.
        let probe = format!("\0\u{1}{name}\0octet\0tsize\x000\0blksize\x001468\0");
        let size = tftp(self.client.address(), server, probe.as_bytes(), Until::Size).await;
        let size = size.map_err(failed)?.told_size;
        let shown = size.map_or_else(|| "an unknown size".to_owned(), |n| format!("{n} bytes"));
        self.say(Speaker::Network, format!("TFTP tells {shown} for {name}"));
        let request = format!("\0\u{1}{name}\0octet\0blksize\x001468\0windowsize\x004\0");
        let done = tftp(self.client.address(), server, request.as_bytes(), Until::End).await;
        Ok(done.map_err(failed)?.received)
    }

    async fn by_http(&mut self, url: &str) -> Result<Vec<u8>, Ending> {
        let failed = |why: String| {
            Ending::stuck(
                format!("{url} cannot be loaded: {why}."),
                "Correct server.public_url, and open its port for the machines.",
            )
        };
        // EDK2 asks for size and type with HEAD first.
        let (head, _) = outbound::fetch(Method::HEAD, url, HTTP_TIME, SCRIPT_BYTES)
            .await
            .map_err(|e| failed(e.to_string()))?;
        let told = |name: &str| {
            head.get(name).and_then(|v| v.to_str().ok()).unwrap_or("nothing").to_owned()
        };
        let (kind, length) = (told("content-type"), told("content-length"));
        self.say(Speaker::Network, format!("HTTP tells {kind} of {length} bytes"));
        let most = usize::try_from(BOOT_FILE_BYTES).unwrap_or(usize::MAX);
        let (_, body) = outbound::fetch(Method::GET, url, HTTP_TIME, most)
            .await
            .map_err(|e| failed(e.to_string()))?;
        if length != body.len().to_string() {
            return Err(failed(format!("HEAD tells {length} bytes, GET sent {}", body.len())));
        }
        Ok(body.to_vec())
    }

    async fn fetch_script(&mut self, url: &str) -> Result<String, Ending> {
        self.say(Speaker::Machine, format!("iPXE loads {url}"));
        let fetched = outbound::fetch(Method::GET, url, HTTP_TIME, SCRIPT_BYTES).await;
        let (_, body) = fetched.map_err(|e| {
            Ending::stuck(
                format!("{url} cannot be loaded: {e}."),
                "Correct server.public_url, and open its port for the machines.",
            )
        })?;
        let text = String::from_utf8_lossy(&body).into_owned();
        self.say(Speaker::Network, format!("a script of {} lines", text.lines().count()));
        Ok(text)
    }
}

fn named(asker: Asker) -> &'static str {
    match asker {
        Asker::Bios | Asker::Uefi | Asker::UefiHttp => "firmware",
        Asker::Ipxe => "iPXE",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Breaks off when the size is known.
    Size,
    End,
}

/// One transfer, judged as the strictest client would.
async fn tftp(
    own: Ipv4Addr,
    server: Ipv4Addr,
    request: &[u8],
    until: Until,
) -> Result<Download, String> {
    let mut download = Download::ask(request).ok_or("the name cannot be asked for")?;
    let text = |e: std::io::Error| e.to_string();
    let socket = UdpSocket::bind((own, 0)).await.map_err(text)?;
    let mut to = std::net::SocketAddr::from((server, 69));
    let mut message = request.to_vec();
    let mut buffer = vec![0; 2048];
    let mut silent = 0;
    socket.send_to(&message, to).await.map_err(text)?;
    loop {
        let Ok(received) = timeout(TFTP_ANSWER, socket.recv_from(&mut buffer)).await else {
            silent += 1;
            if silent >= TFTP_TRIES {
                return Err("no answer".to_owned());
            }
            socket.send_to(&message, to).await.map_err(text)?;
            continue;
        };
        let (length, from) = received.map_err(text)?;
        if from.ip() != std::net::IpAddr::V4(server) {
            continue;
        }
        (to, silent) = (from, 0);
        let step = download.take(buffer.get(..length).unwrap_or(&[])).map_err(|e| e.to_string())?;
        if until == Until::Size && download.told_size.is_some() {
            socket.send_to(b"\0\x05\0\x08User aborted the transfer\0", to).await.map_err(text)?;
            return Ok(download);
        }
        match step {
            Step::Waits => {}
            Step::Fails => return Err("the server refuses the file".to_owned()),
            Step::Acknowledges(block) => {
                message = [&[0, 4][..], &block.to_be_bytes()].concat();
                socket.send_to(&message, to).await.map_err(text)?;
            }
        }
        if download.complete {
            return Ok(download);
        }
        if u64::try_from(download.received.len()).unwrap_or(u64::MAX) > BOOT_FILE_BYTES {
            return Err("the file has no end".to_owned());
        }
    }
}
