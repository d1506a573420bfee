//! All transfers of one socket: whose datagram is it, may this request begin, whose timer is next.
//!
//! The socket answers from the port that was asked ("single port"), so a client is known by its address and port alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bytes::Bytes;

use super::limits::Limits;
use super::name::{self, FileName};
use super::packet::{Datagram, ErrorCode, Mode, Packet, Request};
use super::transfer::{self, End, Input, Moment, Transfer};

/// A file that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its real name, for the log.
    pub name: String,
    /// Its content; shared by all transfers.
    pub bytes: Bytes,
}

/// The files that exist. Must answer from memory.
pub trait FileSource {
    /// The file that a client means by this name; see [`name::resolve`].
    fn find(&self, name: &FileName) -> Option<File>;
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this datagram.
    Send {
        /// To whom.
        to: SocketAddrV4,
        /// What.
        datagram: Datagram,
        /// Not together with others in one buffer that the network card or a bridge cuts: this client missed something
        /// before, and a way that drops such buffers must not cost more than the first of them.
        singly: bool,
    },
    /// Count this, and tell the operator when it matters.
    Note {
        /// About whom.
        peer: SocketAddrV4,
        /// What happened.
        note: Note,
    },
}

/// What happened, for counters and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The client confirmed the first answer: data flows. Not told for mere size questions.
    Started {
        /// The file.
        file: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The client has the file.
    Finished {
        /// The file.
        file: String,
        /// Its size in bytes.
        size: u64,
        /// Time since the request.
        took: Duration,
        /// Datagrams that were sent again.
        repeats: u64,
    },
    /// The client only asked for the size (UEFI and most ROMs do, before the real request).
    Probed {
        /// The file.
        file: String,
    },
    /// The client stopped in the middle.
    Aborted {
        /// The file.
        file: String,
        /// Bytes it had confirmed.
        confirmed: u64,
        /// What it said, cleaned.
        text: String,
    },
    /// The client fell silent in the middle, or never confirmed the first answer.
    Lost {
        /// The file.
        file: String,
        /// Bytes it had confirmed.
        confirmed: u64,
        /// Whether it ever confirmed anything.
        answered: bool,
    },
    /// No such file.
    NotFound {
        /// The name as the client wrote it, cleaned.
        name: String,
    },
    /// A request that is never served.
    Refused(Refusal),
    /// A datagram without an answer.
    Dropped(Dropped),
}

/// Why a request was answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It wanted to write.
    Write,
    /// It wanted another mode than a binary one.
    Mode,
    /// Too many transfers from this address.
    PeerLimit,
    /// Too many transfers in total.
    TotalLimit,
}

/// Why a datagram got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Not a datagram that a client sends.
    Malformed,
    /// Belongs to no transfer: a late ACK, or the ACK with which some clients answer an ERROR.
    Stray,
    /// The address asks too often.
    RateLimit,
}

/// The table of transfers.
#[derive(Debug)]
pub struct Transfers {
    limits: Limits,
    active: HashMap<SocketAddrV4, Active>,
    peers: HashMap<Ipv4Addr, Peer>,
    /// At least one entry per transfer, not later than its deadline; entries that a transfer has outrun are skipped.
    deadlines: BinaryHeap<Reverse<(Moment, SocketAddrV4)>>,
    swept: Moment,
    scratch: Vec<transfer::Effect>,
}

#[derive(Debug)]
struct Active {
    transfer: Transfer,
    file: String,
    /// The entry of `deadlines` that stands for this transfer.
    armed: Moment,
    announced: bool,
}

/// What one address costs us.
#[derive(Debug, Default)]
struct Peer {
    transfers: usize,
    /// When its request allowance is full again (generic cell rate algorithm).
    full_at: Moment,
    /// The round trip of its last transfer that got far enough to know.
    round_trip: Option<Duration>,
}

impl Transfers {
    /// An empty table.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            active: HashMap::new(),
            peers: HashMap::new(),
            deadlines: BinaryHeap::new(),
            swept: Moment::ZERO,
            scratch: Vec::new(),
        }
    }

    /// How many transfers are alive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// Whether no transfer is alive.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Takes one datagram from a client; what has to be done is appended to `out`.
    pub fn handle_datagram(
        &mut self,
        from: SocketAddrV4,
        datagram: &[u8],
        now: Moment,
        files: &dyn FileSource,
        out: &mut Vec<Effect>,
    ) {
        // Port 0 cannot be answered, and an answer to a broadcast address would reach everybody.
        let ip = from.ip();
        if from.port() == 0 || ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified() {
            return note(from, Note::Dropped(Dropped::Malformed), out);
        }
        match Packet::parse(datagram) {
            Ok(Packet::Ack(block)) => self.handle_input(from, &Input::Ack(block), "", now, out),
            Ok(Packet::Error { text, .. }) => {
                let text = printable(text);
                self.handle_input(from, &Input::Error, &text, now, out);
            }
            Ok(request @ (Packet::Read(_) | Packet::Write)) => {
                if !self.may_ask(*ip, now) {
                    return note(from, Note::Dropped(Dropped::RateLimit), out);
                }
                // The same port again: our answer was lost, or the client begins anew. Either way the old transfer is
                // over, also when the new request is refused: what still came of it would answer the wrong question.
                self.remove(from);
                match request {
                    Packet::Read(request) => self.handle_read(from, &request, now, files, out),
                    _ => refuse(from, Refusal::Write, out),
                }
            }
            Err(_) => note(from, Note::Dropped(Dropped::Malformed), out),
        }
    }

    /// Runs every timer that is due; what has to be done is appended to `out`.
    pub fn handle_time(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some(Reverse((at, peer))) = self.deadlines.peek().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            let Some(active) = self.active.get_mut(&peer).filter(|a| a.armed == at) else {
                continue;
            };
            match active.transfer.next_deadline() {
                // Acknowledgements have moved the deadline since this entry was made.
                Some(due) if due > now => {
                    active.armed = due;
                    self.deadlines.push(Reverse((due, peer)));
                }
                _ => {
                    active.armed = Moment::MAX;
                    self.handle_input(peer, &Input::Tick, "", now, out);
                }
            }
        }
    }

    /// When [`Self::handle_time`] is due next. May be early, never late.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    fn handle_read(
        &mut self,
        from: SocketAddrV4,
        request: &Request<'_>,
        now: Moment,
        files: &dyn FileSource,
        out: &mut Vec<Effect>,
    ) {
        if request.mode == Mode::Unsupported {
            return refuse(from, Refusal::Mode, out);
        }
        let Some(file) = name::clean(request.name).ok().and_then(|name| files.find(&name)) else {
            let name = printable(request.name);
            send(from, Datagram::error(ErrorCode::NotFound, "no such boot file"), out);
            return note(from, Note::NotFound { name }, out);
        };
        if let Err(refusal) = self.make_room(*from.ip()) {
            return refuse(from, refusal, out);
        }
        let mut effects = std::mem::take(&mut self.scratch);
        let round_trip = self.peers.get(from.ip()).and_then(|peer| peer.round_trip);
        let transfer = Transfer::start(
            file.bytes,
            request.options,
            &self.limits,
            round_trip,
            now,
            &mut effects,
        );
        let active = Active { transfer, file: file.name, armed: Moment::MAX, announced: false };
        self.active.insert(from, active);
        self.peers.entry(*from.ip()).or_default().transfers += 1;
        self.settle(from, "", now, effects, out);
    }

    fn handle_input(
        &mut self,
        from: SocketAddrV4,
        input: &Input,
        text: &str,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(active) = self.active.get_mut(&from) else {
            return note(from, Note::Dropped(Dropped::Stray), out);
        };
        let mut effects = std::mem::take(&mut self.scratch);
        active.transfer.handle(input, now, &mut effects);
        self.settle(from, text, now, effects, out);
    }

    /// Carries over what a transfer wants, and keeps table, timers and story in step with it.
    fn settle(
        &mut self,
        peer: SocketAddrV4,
        text: &str,
        now: Moment,
        mut effects: Vec<transfer::Effect>,
        out: &mut Vec<Effect>,
    ) {
        let Some(active) = self.active.get_mut(&peer) else { return };
        if !active.announced && active.transfer.is_confirmed() {
            active.announced = true;
            let (file, size) = (active.file.clone(), active.transfer.size());
            note(peer, Note::Started { file, size }, out);
        }
        let mut ended = None;
        let singly = active.transfer.repeats() > 0;
        for effect in effects.drain(..) {
            match effect {
                transfer::Effect::Send(datagram) => {
                    out.push(Effect::Send { to: peer, datagram, singly });
                }
                transfer::Effect::End(end) => ended = Some(end),
            }
        }
        self.scratch = effects;
        if let Some(end) = ended {
            note(peer, story(active, end, text, now), out);
            self.remove(peer);
        } else if let Some(due) = active.transfer.next_deadline().filter(|due| *due < active.armed)
        {
            active.armed = due;
            self.deadlines.push(Reverse((due, peer)));
        }
    }

    fn remove(&mut self, peer: SocketAddrV4) {
        let Some(active) = self.active.remove(&peer) else { return };
        if let Some(entry) = self.peers.get_mut(peer.ip()) {
            entry.transfers = entry.transfers.saturating_sub(1);
            entry.round_trip = active.transfer.round_trip().or(entry.round_trip);
        }
    }

    /// Whether one more transfer fits, if need be after dropping the oldest one that nobody ever confirmed.
    fn make_room(&mut self, ip: Ipv4Addr) -> Result<(), Refusal> {
        let of_peer = self.peers.get(&ip).map_or(0, |p| p.transfers);
        let (crowd, refusal) = if of_peer >= self.limits.transfers_per_peer {
            (Some(ip), Refusal::PeerLimit)
        } else if self.active.len() >= self.limits.transfers {
            (None, Refusal::TotalLimit)
        } else {
            return Ok(());
        };
        let oldest = self
            .active
            .iter()
            .filter(|(peer, active)| {
                crowd.is_none_or(|ip| ip == *peer.ip()) && !active.transfer.is_confirmed()
            })
            .min_by_key(|(_, active)| active.transfer.started())
            .map(|(peer, _)| *peer);
        self.remove(oldest.ok_or(refusal)?);
        Ok(())
    }

    /// Charges one request to an address.
    fn may_ask(&mut self, ip: Ipv4Addr, now: Moment) -> bool {
        if self.peers.len() >= self.limits.peers
            && !self.peers.contains_key(&ip)
            && !self.forget_quiet_peers(now)
        {
            return false;
        }
        let cost = Duration::from_secs(1) / self.limits.requests_per_second.max(1);
        let peer = self.peers.entry(ip).or_default();
        let full_at = peer.full_at.max(now) + cost;
        let allowed = full_at - now <= cost * self.limits.request_burst.max(1);
        if allowed {
            peer.full_at = full_at;
        }
        allowed
    }

    /// Drops what is known of addresses that cost nothing any more; whether there is room now. Looks at most once per
    /// second, so that a flood of forged sources does not make each datagram a scan.
    fn forget_quiet_peers(&mut self, now: Moment) -> bool {
        if now.saturating_sub(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.peers.retain(|_, peer| peer.transfers > 0 || peer.full_at > now);
        }
        self.peers.len() < self.limits.peers
    }
}

fn story(active: &Active, end: End, text: &str, now: Moment) -> Note {
    let file = active.file.clone();
    let transfer = &active.transfer;
    let confirmed = transfer.bytes_confirmed();
    match end {
        End::Done | End::DoneUnconfirmed => Note::Finished {
            file,
            size: transfer.size(),
            took: transfer.age(now),
            repeats: transfer.repeats(),
        },
        End::Probe => Note::Probed { file },
        End::Aborted => Note::Aborted { file, confirmed, text: text.to_owned() },
        End::NoAnswer => Note::Lost { file, confirmed, answered: false },
        End::Lost => Note::Lost { file, confirmed, answered: true },
    }
}

fn send(to: SocketAddrV4, datagram: Datagram, out: &mut Vec<Effect>) {
    out.push(Effect::Send { to, datagram, singly: true });
}

fn note(peer: SocketAddrV4, note: Note, out: &mut Vec<Effect>) {
    out.push(Effect::Note { peer, note });
}

fn refuse(peer: SocketAddrV4, refusal: Refusal, out: &mut Vec<Effect>) {
    let (code, text) = match refusal {
        Refusal::Write => (ErrorCode::IllegalOperation, "this server is read-only"),
        Refusal::Mode => (ErrorCode::IllegalOperation, "only octet mode is served"),
        Refusal::PeerLimit => (ErrorCode::Other, "too many transfers from your address"),
        Refusal::TotalLimit => (ErrorCode::Other, "the server is busy, try again"),
    };
    send(peer, Datagram::error(code, text), out);
    note(peer, Note::Refused(refusal), out);
}

/// Text of a client for the log: printable ASCII, at most 100 characters.
fn printable(raw: &[u8]) -> String {
    raw.iter()
        .take(100)
        .map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '?' })
        .collect()
}

#[cfg(test)]
mod test;
