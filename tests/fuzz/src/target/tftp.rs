//! Sequences of TFTP datagrams and pauses through the table of transfers. Whoever asks as a client does gets only what a
//! strict client takes, nobody gets what was meant for another, and the limits hold.
//!
//! Input: steps of pause in 10 ms (1 byte), client (1), length (2), datagram.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ironhatch::fakes::firmware::tftp::Download;
use ironhatch::proto::tftp::name::{FileName, resolve};
use ironhatch::proto::tftp::transfers::{Dropped, Effect, Note};
use ironhatch::proto::tftp::{File, FileSource, Limits, Transfers};

use super::Seeds;
use crate::input::{Input, piece};

/// Steps of one input.
const MOST: usize = 128;
/// What an address gets at most before it has confirmed anything: a datagram per try, of which there are about a dozen.
const UNCONFIRMED_BYTES: usize = 24 * 600;

struct Files;

const FILES: [(&str, usize); 4] =
    [("undionly.kpxe", 70_001), ("snponly.efi", 2936), ("ipxe.efi", 1), ("autoexec.ipxe", 0)];

/// Content that tells its place.
fn content(length: usize) -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let all = BYTES.get_or_init(|| (0..=70_001_usize).map(|n| (n % 251) as u8).collect());
    &all[..length]
}

impl FileSource for Files {
    fn find(&self, name: &FileName) -> Option<File> {
        let name = resolve(name, FILES.iter().map(|(name, _)| *name))?;
        let (_, length) = FILES.iter().find(|(n, _)| *n == name)?;
        Some(File { name: name.to_owned(), bytes: content(*length).into() })
    }
}

#[derive(Default)]
struct Client {
    /// The model of its last request, when that was a proper one.
    download: Option<Download>,
    /// Whether it has answered since it asked: its address is no forgery then.
    answered: bool,
    /// Bytes that it got before that.
    unconfirmed: usize,
}

struct World {
    transfers: Transfers,
    clients: HashMap<SocketAddrV4, Client>,
    now: Duration,
    limits: Limits,
}

impl World {
    fn hand_in(&mut self, from: SocketAddrV4, datagram: &[u8]) {
        let mut out = Vec::new();
        self.transfers.handle_datagram(from, datagram, self.now, &Files, &mut out);
        for effect in &out {
            let (Effect::Send { to, .. } | Effect::Note { peer: to, .. }) = effect;
            assert_eq!(*to, from, "an answer to somebody else");
        }
        let dropped = |e: &Effect| matches!(e, Effect::Note { note: Note::Dropped(_), .. });
        let ignored = |e: &Effect| {
            matches!(
                e,
                Effect::Note { note: Note::Dropped(Dropped::RateLimit | Dropped::Malformed), .. }
            )
        };
        let client = self.clients.entry(from).or_default();
        match datagram {
            [0, 1 | 2, ..] if !out.iter().any(ignored) => {
                *client = Client { download: Download::ask(datagram), ..Client::default() };
            }
            [0, 4, _, _, ..] if !out.iter().any(dropped) => client.answered = true,
            _ => {}
        }
        self.receive(out);
    }

    fn run_timers(&mut self) {
        let mut out = Vec::new();
        self.transfers.handle_time(self.now, &mut out);
        self.receive(out);
    }

    fn receive(&mut self, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Send { to, datagram, .. } => {
                    let client = self.clients.get_mut(&to).expect("an answer to a stranger");
                    let bytes = datagram.parts().concat();
                    client.unconfirmed += if client.answered { 0 } else { bytes.len() };
                    assert!(client.unconfirmed <= UNCONFIRMED_BYTES, "an echo that grows");
                    let Some(download) = &mut client.download else {
                        assert!(matches!(bytes[..2], [0, 3 | 5 | 6]) && bytes.len() <= 1472);
                        continue;
                    };
                    if let Err(dropped) = download.take(&bytes) {
                        panic!("{dropped}: {bytes:02x?}");
                    }
                    let got = &download.received;
                    assert_eq!(got.as_slice(), content(got.len()), "other bytes than the file's");
                    let known = |size: u64| FILES.iter().any(|(_, length)| *length as u64 == size);
                    assert!(download.told_size.is_none_or(known), "the size of no file");
                    if download.complete {
                        assert!(known(got.len() as u64), "the end came too early");
                        assert!(download.told_size.is_none_or(|s| s == got.len() as u64));
                    }
                }
                Effect::Note { peer, note } => {
                    assert!(self.clients.contains_key(&peer), "a story about a stranger");
                    assert!(format!("{note:?}").len() < 1000);
                }
            }
        }
        assert!(self.transfers.len() <= self.limits.transfers);
        assert!(self.transfers.is_empty() || self.transfers.next_deadline().is_some());
    }
}

pub(crate) fn run(data: &[u8]) {
    let limits = Limits { transfers: 6, transfers_per_peer: 3, peers: 8, ..Limits::default() };
    let mut world = World {
        transfers: Transfers::new(limits.clone()),
        clients: HashMap::new(),
        now: Duration::from_millis(1),
        limits,
    };
    let mut input = Input::new(data);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        world.now += Duration::from_millis(10) * u32::from(input.byte());
        world.run_timers();
        let client = input.byte();
        let address = Ipv4Addr::new(192, 0, 2, 20 + client % 3);
        let from = SocketAddrV4::new(address, 2070 + u16::from(client / 3 % 8));
        world.hand_in(from, input.piece());
    }
    // Left alone, everything comes to an end.
    let mut turns = 0;
    while let Some(due) = world.transfers.next_deadline() {
        world.now = world.now.max(due);
        world.run_timers();
        turns += 1;
        assert!(turns < 10_000, "timers without end");
    }
    assert!(world.transfers.is_empty(), "transfers that nobody ends");
}

pub(crate) fn seeds() -> Seeds {
    let ack = |block: u16| [&[0, 4][..], &block.to_be_bytes()].concat();
    let step = |pause: u8, client: u8, bytes: &[u8]| [vec![pause, client], piece(bytes)].concat();
    let download = |request: &[u8], acks: &[u16]| {
        let mut all = step(0, 0, request);
        acks.iter().for_each(|block| all.extend(step(1, 0, &ack(*block))));
        all
    };
    let edk2 = b"\0\x01snponly.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
    let rom = b"\0\x01undionly.kpxe\0octet\0blksize\x001456\0tsize\x000\0";
    let stop = b"\0\x05\0\x08User aborted the transfer\0";
    let several: Vec<u8> = (0..24).flat_map(|client| step(0, client, rom)).collect();
    vec![
        ("edk2".into(), download(edk2, &[0, 2, 3])),
        ("edk2-probe".into(), [step(0, 0, edk2), step(1, 0, stop), step(0, 3, edk2)].concat()),
        ("rom".into(), download(rom, &[0, 1, 2, 3])),
        ("plain".into(), download(b"\0\x01ipxe.efi\0octet\0", &[1])),
        ("empty".into(), download(b"\0\x01autoexec.ipxe\0octet\0timeout\x003\0", &[0, 1])),
        (
            "lost".into(),
            [download(rom, &[0]), step(255, 0, &ack(0)), step(255, 0, &ack(1))].concat(),
        ),
        ("missing".into(), download(b"\0\x01grub.cfg\0octet\0", &[])),
        (
            "again".into(),
            [step(0, 0, rom), step(0, 0, edk2), step(1, 0, b"\0\x01x\0octet\0")].concat(),
        ),
        ("write".into(), step(0, 0, b"\0\x02x\0octet\0")),
        ("several".into(), several),
    ]
}
