use proptest::prelude::*;

use super::*;
use crate::fakes::firmware::tftp::{Download, Step};

const MS: Duration = Duration::from_millis(1);

struct Files;

impl FileSource for Files {
    fn find(&self, name: &FileName) -> Option<File> {
        let names = ["snponly.efi", "undionly.kpxe"];
        let name = name::resolve(name, names.iter().copied())?;
        Some(File { name: name.to_owned(), bytes: Bytes::from_static(&[7; 3000]) })
    }
}

fn peer(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), port)
}

fn request(name: &str) -> Vec<u8> {
    format!("\0\x01{name}\0octet\0tsize\x000\0blksize\x001468\0").into_bytes()
}

fn ack(block: u16) -> Vec<u8> {
    let [high, low] = block.to_be_bytes();
    vec![0, 4, high, low]
}

/// A table with a clock, and what it did.
struct Desk {
    transfers: Transfers,
    now: Moment,
}

impl Desk {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { transfers: Transfers::new(limits), now: MS }
    }

    fn give(&mut self, from: SocketAddrV4, bytes: &[u8]) -> Vec<Effect> {
        let mut out = Vec::new();
        self.transfers.handle_datagram(from, bytes, self.now, &Files, &mut out);
        out
    }

    fn notes(&mut self, from: SocketAddrV4, bytes: &[u8]) -> Vec<Note> {
        self.give(from, bytes)
            .into_iter()
            .filter_map(|e| match e {
                Effect::Note { note, .. } => Some(note),
                Effect::Send { .. } => None,
            })
            .collect()
    }
}

fn first_bytes(effects: &[Effect]) -> Vec<[u8; 2]> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Send { datagram, .. } => datagram.parts()[0].first_chunk::<2>().copied(),
            Effect::Note { .. } => None,
        })
        .collect()
}

#[test]
fn a_whole_boot_of_edk2_tells_a_short_story() {
    let mut desk = Desk::new();
    let probe = peer(21, 1024);
    assert_eq!(first_bytes(&desk.give(probe, &request("snponly.efi"))), [[0, 6]]);
    let stop = b"\0\x05\0\x08User aborted the transfer\0";
    assert_eq!(desk.notes(probe, stop), [Note::Probed { file: "snponly.efi".into() }]);
    assert!(desk.transfers.is_empty(), "the size question leaves nothing behind");
    assert_eq!(desk.notes(probe, &ack(0)), [Note::Dropped(Dropped::Stray)]);

    let real = peer(21, 1025);
    desk.give(real, &request("snponly.efi"));
    let started = Note::Started { file: "snponly.efi".into(), size: 3000 };
    assert_eq!(desk.notes(real, &ack(0)), [started]);
    assert_eq!(desk.notes(real, &ack(1)), []);
    assert_eq!(desk.notes(real, &ack(2)), []);
    let done = desk.notes(real, &ack(3));
    assert!(matches!(done.as_slice(), [Note::Finished { size: 3000, repeats: 0, .. }]), "{done:?}");
    assert!(desk.transfers.is_empty());
    assert_eq!(desk.notes(real, stop), [Note::Dropped(Dropped::Stray)]);
}

#[test]
fn a_lost_answer_after_a_size_question_costs_little() {
    let mut desk = Desk::new();
    desk.give(peer(21, 1024), &request("snponly.efi"));
    desk.now += MS / 2;
    desk.give(peer(21, 1024), b"\0\x05\0\x08\0");
    let asked = desk.now;
    desk.give(peer(21, 1025), &request("snponly.efi"));
    let mut out = Vec::new();
    while out.is_empty() {
        desk.now = desk.transfers.next_deadline().expect("a transfer waits");
        desk.transfers.handle_time(desk.now, &mut out);
    }
    assert_eq!(first_bytes(&out), [[0, 6]]);
    assert_eq!(desk.now - asked, MS * 50);
}

#[test]
fn a_request_from_the_same_port_begins_anew() {
    let mut desk = Desk::new();
    let client = peer(21, 2070);
    desk.give(client, &request("snponly.efi"));
    desk.give(client, &ack(0));
    desk.give(client, &ack(1));
    assert_eq!(first_bytes(&desk.give(client, &request("undionly.kpxe"))), [[0, 6]]);
    assert_eq!(desk.transfers.len(), 1);
    let started = Note::Started { file: "undionly.kpxe".into(), size: 3000 };
    assert_eq!(desk.notes(client, &ack(0)), [started]);
    for block in 1..=3 {
        desk.give(client, &ack(block));
    }
    assert!(desk.transfers.is_empty());
    assert_eq!(desk.transfers.peers[client.ip()].transfers, 0);
}

#[test]
fn a_request_that_is_refused_ends_the_transfer_before_it() {
    for refused in [&request("missing")[..], b"\0\x01snponly.efi\0mail\0", b"\0\x02x\0octet\0"] {
        let mut desk = Desk::new();
        let client = peer(21, 2070);
        desk.give(client, &request("snponly.efi"));
        assert_eq!(first_bytes(&desk.give(client, refused)), [[0, 5]]);
        assert!(desk.transfers.is_empty(), "its answers would answer the wrong question");
        assert_eq!(desk.notes(client, &ack(0)), [Note::Dropped(Dropped::Stray)]);
    }
}

#[test]
fn requests_that_are_never_served_are_refused_with_the_right_code() {
    let mut desk = Desk::new();
    let client = peer(21, 2070);
    let code = |effects: &[Effect]| match effects.first() {
        Some(Effect::Send { datagram, .. }) => datagram.parts()[0].get(..4).map(<[u8]>::to_vec),
        _ => None,
    };
    assert_eq!(code(&desk.give(client, b"\0\x02x\0octet\0")), Some(vec![0, 5, 0, 4]));
    assert_eq!(code(&desk.give(client, b"\0\x01snponly.efi\0mail\0")), Some(vec![0, 5, 0, 4]));
    assert_eq!(code(&desk.give(client, &request("shimx64.efi"))), Some(vec![0, 5, 0, 1]));
    assert_eq!(code(&desk.give(client, &request("../snponly.efi"))), Some(vec![0, 5, 0, 1]));
    let name = "grub\u{1}.cfg";
    assert_eq!(desk.notes(client, &request(name)), [Note::NotFound { name: "grub?.cfg".into() }]);
    assert!(desk.transfers.is_empty());
}

#[test]
fn what_cannot_be_answered_is_dropped() {
    let mut desk = Desk::new();
    for from in [
        peer(21, 0),
        SocketAddrV4::new(Ipv4Addr::BROADCAST, 5),
        SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 5),
        SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 5),
    ] {
        assert_eq!(
            desk.notes(from, &request("snponly.efi")),
            [Note::Dropped(Dropped::Malformed)],
            "{from}"
        );
    }
    assert_eq!(desk.notes(peer(21, 5), b"\0\x09"), [Note::Dropped(Dropped::Malformed)]);
}

#[test]
fn a_peer_at_its_limit_loses_the_oldest_unconfirmed_transfer_only() {
    let mut desk = Desk::with(Limits { transfers_per_peer: 2, ..Limits::default() });
    desk.give(peer(21, 1), &request("snponly.efi"));
    desk.give(peer(21, 1), &ack(0));
    desk.now += MS;
    desk.give(peer(21, 2), &request("snponly.efi"));
    desk.now += MS;
    desk.give(peer(21, 3), &request("snponly.efi"));
    assert_eq!(desk.transfers.len(), 2);
    assert_eq!(desk.notes(peer(21, 2), &ack(0)), [Note::Dropped(Dropped::Stray)]);
    desk.give(peer(21, 3), &ack(0));
    assert_eq!(
        desk.notes(peer(21, 4), &request("snponly.efi")),
        [Note::Refused(Refusal::PeerLimit)]
    );
    assert_eq!(first_bytes(&desk.give(peer(22, 4), &request("snponly.efi"))), [[0, 6]]);
}

#[test]
fn the_total_is_limited() {
    let mut desk = Desk::with(Limits { transfers: 3, ..Limits::default() });
    for host in 1..=3 {
        desk.give(peer(host, 9), &request("snponly.efi"));
        desk.give(peer(host, 9), &ack(0));
    }
    assert_eq!(
        desk.notes(peer(4, 9), &request("snponly.efi")),
        [Note::Refused(Refusal::TotalLimit)]
    );
}

#[test]
fn a_flooding_address_is_held_back_and_its_neighbour_is_not() {
    let mut desk = Desk::new();
    let mut answered = 0;
    for port in 1..=5000 {
        answered += first_bytes(&desk.give(peer(66, port), &request("snponly.efi"))).len();
    }
    assert_eq!(answered, 512);
    assert!(desk.transfers.len() <= 256);
    assert_eq!(first_bytes(&desk.give(peer(21, 9), &request("snponly.efi"))), [[0, 6]]);
    desk.now += Duration::from_secs(1);
    let mut after = 0;
    for port in 1..=500 {
        after += first_bytes(&desk.give(peer(66, port), &request("snponly.efi"))).len();
    }
    assert_eq!(after, 64);
}

#[test]
fn many_forged_sources_do_not_grow_the_table_of_peers() {
    let mut desk = Desk::with(Limits { peers: 100, ..Limits::default() });
    for address in 1..=1000u32 {
        let from = SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 + address), 9);
        desk.give(from, &request("missing"));
    }
    assert!(desk.transfers.peers.len() <= 100);
    desk.now += Duration::from_secs(30);
    assert_eq!(first_bytes(&desk.give(peer(21, 9), &request("snponly.efi"))), [[0, 6]]);
}

#[test]
fn timers_run_each_transfer_to_its_end() {
    let mut desk = Desk::new();
    for port in 1..=50 {
        desk.give(peer(21, port), &request("snponly.efi"));
        if port % 2 == 0 {
            desk.give(peer(21, port), &ack(0));
        }
    }
    let mut out = Vec::new();
    let mut turns = 0;
    while let Some(due) = desk.transfers.next_deadline() {
        turns += 1;
        assert!(turns < 10_000, "timers do not come to an end");
        desk.transfers.handle_time(due, &mut out);
    }
    assert!(desk.transfers.is_empty());
    let lost = |answered: bool| {
        out.iter()
            .filter(|e| {
                matches!(e, Effect::Note { note: Note::Lost { answered: a, .. }, .. } if *a == answered)
            })
            .count()
    };
    assert_eq!((lost(false), lost(true)), (25, 25));
}

proptest! {
    /// Any datagrams from a few addresses at any pace: no panic, and the limits hold.
    #[test]
    fn hostile_traffic_stays_within_the_limits(
        traffic in prop::collection::vec(
            (1u8..6, 0u16..8, 0u64..2000, prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                Just(request("snponly.efi")),
                (0u16..5).prop_map(ack),
                Just(b"\0\x05\0\0".to_vec()),
            ]),
            0..200,
        ),
    ) {
        let limits = Limits { transfers: 6, transfers_per_peer: 3, ..Limits::default() };
        let mut desk = Desk::with(limits);
        let mut out = Vec::new();
        for (host, port, wait, bytes) in traffic {
            desk.now += MS * u32::try_from(wait).unwrap_or(0);
            desk.transfers.handle_time(desk.now, &mut out);
            desk.give(peer(host, port), &bytes);
            prop_assert!(desk.transfers.len() <= 6);
            let counted: usize = desk.transfers.peers.values().map(|p| p.transfers).sum();
            prop_assert_eq!(counted, desk.transfers.len());
            prop_assert!(desk.transfers.is_empty() || desk.transfers.next_deadline().is_some());
        }
    }
}

/// Options as clients send them: each at most once, in any order and spelling, sensible or not.
fn options() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        3 => prop::sample::select(vec!["0", "1", "4", "8", "16", "64", "255", "512", "1456", "1468", "65464", "65535"])
            .prop_map(str::to_owned),
        1 => (0u64..70_000).prop_map(|n| n.to_string()),
        1 => prop::sample::select(vec!["", "-1", "+8", "0x200", " 512", "99999999999999999999999", "512k"])
            .prop_map(str::to_owned),
    ];
    let name =
        |name: &'static str| prop::sample::select(vec![name.to_owned(), name.to_uppercase()]);
    let names =
        [name("blksize"), name("tsize"), name("timeout"), name("windowsize"), name("multicast")];
    names
        .map(|name| prop::option::of((name, value.clone())))
        .to_vec()
        .prop_map(|all| all.into_iter().flatten().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Every answer to every request is one that EDK2 and iPXE take, and the file arrives as it is.
    #[test]
    fn whatever_a_client_asks_for_it_gets_what_it_takes(
        options in options(),
        name in prop::sample::select(vec!["snponly.efi", "undionly.kpxe", "missing"]),
    ) {
        let mut request = [&[0, 1][..], name.as_bytes(), b"\0octet\0"].concat();
        for (option, value) in &options {
            request.extend([option.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        let mut download = Download::ask(&request).expect("a proper request");
        let mut desk = Desk::new();
        let client = peer(21, 2070);
        let mut waiting = desk.give(client, &request);
        let mut turns = 0;
        while !waiting.is_empty() && turns < 10_000 {
            turns += 1;
            let mut next = Vec::new();
            for effect in std::mem::take(&mut waiting) {
                let Effect::Send { to, datagram, .. } = effect else { continue };
                prop_assert_eq!(to, client);
                let step = download.take(&datagram.parts().concat());
                prop_assert!(step.is_ok(), "{:?}", step);
                if let Ok(Step::Acknowledges(block)) = step {
                    next.extend(desk.give(client, &ack(block)));
                }
            }
            waiting = next;
        }
        prop_assert_eq!(download.complete, name != "missing");
        if download.complete {
            prop_assert_eq!(&download.received, &[7; 3000]);
            prop_assert!(download.told_size.is_none_or(|size| size == 3000));
            prop_assert!(desk.transfers.is_empty());
        }
    }
}

#[test]
fn a_client_that_missed_something_gets_every_datagram_singly_from_then_on() {
    let mut desk = Desk::new();
    let client = peer(21, 2070);
    let sent = |effects: &[Effect]| -> Vec<bool> {
        let singly = |e: &Effect| match e {
            Effect::Send { singly, .. } => Some(*singly),
            Effect::Note { .. } => None,
        };
        effects.iter().filter_map(singly).collect()
    };
    let request = b"\0\x01snponly.efi\0octet\0blksize\x00512\0windowsize\x002\0";
    desk.give(client, request);
    assert_eq!(sent(&desk.give(client, &ack(0))), [false, false]);
    assert_eq!(sent(&desk.give(client, &ack(2))), [false, false]);
    let mut repeated = Vec::new();
    while repeated.is_empty() {
        desk.now = desk.transfers.next_deadline().expect("a transfer waits");
        desk.transfers.handle_time(desk.now, &mut repeated);
    }
    assert_eq!(sent(&repeated), [true, true]);
    assert_eq!(sent(&desk.give(client, &ack(4))), [true, true]);
}
