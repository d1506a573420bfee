use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn file(len: usize) -> Bytes {
    (0..len).map(|i| u8::try_from(i % 251).expect("below 251")).collect::<Vec<_>>().into()
}

fn options(block_size: u16, window: u16) -> Options {
    Options { block_size: Some(block_size), size: true, timeout: None, window: Some(window) }
}

/// A client as RFC 1350 and 7440 describe it: confirms each window and each gap, asks again when nothing comes.
struct Client {
    block_size: usize,
    window: u64,
    greeted: bool,
    received: Vec<u8>,
    blocks: u64,
    since_ack: u64,
    complete: bool,
    /// When it repeats its last ACK.
    repeat_at: Moment,
    patience: Duration,
}

impl Client {
    fn new(options: Options) -> Self {
        Self {
            block_size: options.block_size.unwrap_or(512).into(),
            window: options.window.unwrap_or(1).into(),
            greeted: !options.any(),
            received: Vec::new(),
            blocks: 0,
            since_ack: 0,
            complete: false,
            repeat_at: Duration::from_secs(4),
            patience: Duration::from_secs(4),
        }
    }

    /// Takes one datagram, gives the ACK to send, if any.
    fn take(&mut self, datagram: &Datagram, now: Moment) -> Option<u16> {
        match datagram {
            Datagram::Control(bytes) => {
                assert_eq!(bytes.get(..2), Some(&[0u8, 6][..]), "only OACK is expected");
                if self.blocks > 0 {
                    return None;
                }
                self.greeted = true;
                self.acknowledge(now)
            }
            Datagram::Data { head, body } => {
                if !self.greeted {
                    return None;
                }
                let number = u16::from_be_bytes([head[2], head[3]]);
                if number != wire_number(self.blocks + 1) {
                    return self.acknowledge(now);
                }
                if !self.complete {
                    self.blocks += 1;
                    self.since_ack += 1;
                    self.received.extend_from_slice(body);
                    self.complete = body.len() < self.block_size;
                }
                if self.complete || self.since_ack >= self.window {
                    return self.acknowledge(now);
                }
                None
            }
        }
    }

    fn acknowledge(&mut self, now: Moment) -> Option<u16> {
        self.since_ack = 0;
        self.repeat_at = now + self.patience;
        Some(wire_number(self.blocks))
    }
}

/// What the network does to one packet.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Vanishes,
    Doubles,
    Late,
}

enum OnTheWire {
    ToClient(Datagram),
    ToServer(u16),
}

/// A client and a transfer with a network and a clock between them; nothing here sleeps.
struct Pair {
    now: Moment,
    server: Transfer,
    client: Client,
    wire: BTreeMap<(Moment, u64), OnTheWire>,
    sequence: u64,
    latency: Duration,
    end: Option<End>,
    sent: u64,
}

impl Pair {
    fn start(len: usize, options: Options, fates: &mut impl FnMut() -> Fate) -> Self {
        let mut out = Vec::new();
        let limits = Limits::default();
        let server = Transfer::start(file(len), options, &limits, None, Duration::ZERO, &mut out);
        let mut pair = Self {
            now: Duration::ZERO,
            server,
            client: Client::new(options),
            wire: BTreeMap::new(),
            sequence: 0,
            latency: MS / 4,
            end: None,
            sent: 0,
        };
        pair.carry_out(out, fates);
        pair
    }

    fn post(&mut self, fate: Fate, make: impl Fn() -> OnTheWire) {
        let delays = match fate {
            Fate::Arrives => vec![self.latency],
            Fate::Vanishes => vec![],
            Fate::Doubles => vec![self.latency, self.latency],
            Fate::Late => vec![self.latency * 5],
        };
        for delay in delays {
            self.sequence += 1;
            self.wire.insert((self.now + delay, self.sequence), make());
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, fates: &mut impl FnMut() -> Fate) {
        for effect in effects {
            match effect {
                Effect::Send(datagram) => {
                    self.sent += 1;
                    self.post(fates(), || OnTheWire::ToClient(datagram.clone()));
                }
                Effect::End(end) => {
                    assert_eq!(self.end, None, "a transfer ends once");
                    self.end = Some(end);
                }
            }
        }
    }

    /// Runs until the transfer has ended.
    fn drive(&mut self, fates: &mut impl FnMut() -> Fate) -> End {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            let packet = self.wire.keys().next().map(|(at, _)| *at);
            let timer = self.server.next_deadline().expect("a living transfer has a deadline");
            let waits = self.client.greeted && !self.client.complete;
            let client = if waits { self.client.repeat_at } else { Moment::MAX };
            self.now = self.now.max(packet.unwrap_or(Moment::MAX).min(timer).min(client));
            let mut out = Vec::new();
            if packet == Some(self.now) || packet.is_some_and(|at| at < self.now) {
                match self.wire.pop_first().expect("looked at above").1 {
                    OnTheWire::ToClient(datagram) => {
                        if let Some(block) = self.client.take(&datagram, self.now) {
                            self.post(fates(), || OnTheWire::ToServer(block));
                        }
                    }
                    OnTheWire::ToServer(block) => {
                        self.server.handle(&Input::Ack(block), self.now, &mut out);
                    }
                }
            } else if timer <= self.now {
                self.server.handle(&Input::Tick, self.now, &mut out);
            } else if let Some(block) = self.client.acknowledge(self.now) {
                self.post(fates(), || OnTheWire::ToServer(block));
            }
            self.carry_out(out, fates);
            // Losses that keep step with the window can cost two seconds for each of some thousand tiny blocks; without any
            // progress a transfer gives up within minutes.
            assert!(
                self.now < Duration::from_secs(24 * 3600),
                "the transfer does not end: {} blocks acknowledged after a day",
                self.server.acked
            );
        }
    }
}

/// Transfers `len` bytes without loss and checks what arrived.
fn transfer_cleanly(len: usize, options: Options) -> Pair {
    let mut fates = || Fate::Arrives;
    let mut pair = Pair::start(len, options, &mut fates);
    assert_eq!(pair.drive(&mut fates), End::Done, "{len} bytes with {options:?}");
    assert!(pair.client.complete && pair.client.received == file(len), "{len} bytes");
    assert_eq!(pair.server.repeats(), 0, "nothing is sent twice without loss");
    pair
}

#[test]
fn every_size_around_a_block_arrives_whole() {
    for len in [0, 1, 511, 512, 513, 1023, 1024, 1025, 5 * 512] {
        transfer_cleanly(len, Options::default());
        for window in [1, 4, 16] {
            transfer_cleanly(len, options(512, window));
        }
    }
    // An exact multiple ends with an empty block: OACK and three DATA.
    assert_eq!(transfer_cleanly(1024, options(512, 1)).sent, 4);
    assert_eq!(transfer_cleanly(0, Options::default()).sent, 1);
}

#[test]
fn block_numbers_wrap() {
    let len = 8 * 65_540 + 3;
    transfer_cleanly(len, options(8, 1));
    transfer_cleanly(len, options(8, 16));
}

#[test]
fn the_oack_holds_what_was_asked_for_and_nothing_else() {
    let answer = |options: Options| {
        let mut out = Vec::new();
        let _ =
            Transfer::start(file(700), options, &Limits::default(), None, Duration::ZERO, &mut out);
        match out.as_slice() {
            [Effect::Send(datagram)] => datagram.parts().concat(),
            other => panic!("one datagram is expected: {other:?}"),
        }
    };
    let none = Options::default();
    assert_eq!(answer(Options { size: true, ..none }), b"\0\x06tsize\x00700\0");
    assert_eq!(answer(Options { block_size: Some(9000), ..none }), b"\0\x06blksize\x001468\0");
    assert_eq!(answer(Options { block_size: Some(8), ..none }), b"\0\x06blksize\x008\0");
    assert_eq!(answer(Options { window: Some(64), ..none }), b"\0\x06windowsize\x0016\0");
    assert_eq!(answer(Options { timeout: Some(7), ..none }), b"\0\x06timeout\x007\0");
    assert_eq!(answer(none).get(..4), Some(&[0u8, 3, 0, 1][..]));
}

#[test]
fn firmware_that_only_wants_the_size_ends_the_transfer_quietly() {
    let mut out = Vec::new();
    let mut transfer = Transfer::start(
        file(9000),
        options(1468, 4),
        &Limits::default(),
        None,
        Duration::ZERO,
        &mut out,
    );
    out.clear();
    transfer.handle(&Input::Error, MS, &mut out);
    assert_eq!(out, [Effect::End(End::Probe)]);
    assert_eq!(transfer.next_deadline(), None);
    transfer.handle(&Input::Ack(0), MS, &mut out);
    transfer.handle(&Input::Tick, Duration::from_secs(60), &mut out);
    assert_eq!(out.len(), 1, "an ended transfer is silent");
}

#[test]
fn an_error_in_the_middle_is_an_abort() {
    let mut out = Vec::new();
    let limits = Limits::default();
    let mut transfer =
        Transfer::start(file(9000), options(512, 1), &limits, None, Duration::ZERO, &mut out);
    transfer.handle(&Input::Ack(0), MS, &mut out);
    transfer.handle(&Input::Ack(1), MS * 2, &mut out);
    out.clear();
    transfer.handle(&Input::Error, MS * 3, &mut out);
    assert_eq!(out, [Effect::End(End::Aborted)]);
    assert_eq!(transfer.bytes_confirmed(), 512);
}

#[test]
fn a_repeated_ack_never_triggers_data_in_lock_step() {
    let mut out = Vec::new();
    let limits = Limits::default();
    let mut transfer =
        Transfer::start(file(9000), options(512, 1), &limits, None, Duration::ZERO, &mut out);
    transfer.handle(&Input::Ack(0), MS, &mut out);
    transfer.handle(&Input::Ack(1), MS * 2, &mut out);
    out.clear();
    for at in 3..6 {
        transfer.handle(&Input::Ack(1), MS * at, &mut out);
        transfer.handle(&Input::Ack(0), MS * at, &mut out);
        transfer.handle(&Input::Ack(40), MS * at, &mut out);
    }
    assert_eq!(out, []);
}

#[test]
fn a_lost_first_block_of_a_window_costs_a_round_trip() {
    let mut out = Vec::new();
    let limits = Limits::default();
    let mut transfer =
        Transfer::start(file(90_000), options(512, 8), &limits, None, Duration::ZERO, &mut out);
    transfer.handle(&Input::Ack(0), MS * 2, &mut out);
    transfer.handle(&Input::Ack(8), MS * 4, &mut out);
    out.clear();
    // Echoes of an earlier gap come at once and are ignored.
    transfer.handle(&Input::Ack(8), MS * 4, &mut out);
    assert_eq!(out, []);
    // Blocks 10 to 16 arrived without 9: the client says 8 again, a round trip later.
    transfer.handle(&Input::Ack(8), MS * 6, &mut out);
    assert_eq!(out.len(), 8, "the window goes out again");
    assert!(matches!(&out[0], Effect::Send(Datagram::Data { head: [0, 3, 0, 9], .. })));
    out.clear();
    // Only once, however often the client says it.
    transfer.handle(&Input::Ack(8), MS * 9, &mut out);
    assert_eq!(out, []);
}

#[test]
fn an_ack_inside_the_window_goes_on_after_it() {
    let mut out = Vec::new();
    let limits = Limits::default();
    let mut transfer =
        Transfer::start(file(90_000), options(512, 4), &limits, None, Duration::ZERO, &mut out);
    transfer.handle(&Input::Ack(0), MS, &mut out);
    out.clear();
    transfer.handle(&Input::Ack(2), MS * 2, &mut out);
    let heads: Vec<_> = out
        .iter()
        .map(|e| match e {
            Effect::Send(Datagram::Data { head, .. }) => head[3],
            other => panic!("data is expected: {other:?}"),
        })
        .collect();
    assert_eq!(heads, [3, 4, 5, 6]);
}

#[test]
fn a_lost_block_costs_about_a_round_trip_once_it_is_known() {
    let mut count = 0;
    let mut fates = || {
        count += 1;
        if count == 101 { Fate::Vanishes } else { Fate::Arrives }
    };
    let mut pair = Pair::start(200 * 512, options(512, 1), &mut fates);
    assert_eq!(pair.drive(&mut fates), End::Done);
    let clean = transfer_cleanly(200 * 512, options(512, 1));
    let cost = pair.now - clean.now;
    assert!(cost < Duration::from_millis(6), "one lost block cost {cost:?}");
    assert_eq!(pair.server.repeats(), 1);
}

#[test]
fn a_lost_first_answer_is_repeated_within_a_second() {
    let mut count = 0;
    let mut fates = || {
        count += 1;
        if count == 1 { Fate::Vanishes } else { Fate::Arrives }
    };
    let mut pair = Pair::start(512, options(512, 1), &mut fates);
    assert_eq!(pair.drive(&mut fates), End::Done);
    assert!(pair.now < Duration::from_secs(1), "took {:?}", pair.now);
}

#[test]
fn a_lost_last_ack_counts_as_done() {
    for window in [1, 4] {
        let mut out = Vec::new();
        let limits = Limits::default();
        let mut now = MS;
        let mut transfer = Transfer::start(
            file(600),
            options(512, window),
            &limits,
            None,
            Duration::ZERO,
            &mut out,
        );
        transfer.handle(&Input::Ack(0), now, &mut out);
        if window == 1 {
            transfer.handle(&Input::Ack(1), now, &mut out);
        }
        out.clear();
        while let Some(due) = transfer.next_deadline() {
            now = due;
            transfer.handle(&Input::Tick, now, &mut out);
        }
        assert_eq!(out.last(), Some(&Effect::End(End::DoneUnconfirmed)), "window {window}");
        assert!(now < Duration::from_secs(8), "forgotten after {now:?}");
    }
}

#[test]
fn a_silent_client_is_given_up_with_few_repeats() {
    let silence = |acks: u16| {
        let mut out = Vec::new();
        let limits = Limits::default();
        let mut now = MS;
        let mut transfer =
            Transfer::start(file(90_000), options(512, 1), &limits, None, Duration::ZERO, &mut out);
        for block in 0..acks {
            transfer.handle(&Input::Ack(block), now, &mut out);
        }
        out.clear();
        while let Some(due) = transfer.next_deadline() {
            assert!(due > now, "a deadline lies ahead");
            now = due;
            transfer.handle(&Input::Tick, now, &mut out);
        }
        (now, out.len() - 1, out.last().cloned())
    };
    let (now, repeats, end) = silence(0);
    assert_eq!(end, Some(Effect::End(End::NoAnswer)));
    assert!(now <= Duration::from_secs(10) && repeats <= 12, "{now:?}, {repeats} repeats");
    let (now, repeats, end) = silence(3);
    assert_eq!(end, Some(Effect::End(End::Lost)));
    assert!(now <= Duration::from_secs(61) && repeats <= 40, "{now:?}, {repeats} repeats");
}

#[test]
fn a_round_trip_that_grows_does_not_leave_every_block_doubled() {
    let mut fates = || Fate::Arrives;
    let mut pair = Pair::start(512 * 400, options(512, 1), &mut fates);
    for _ in 0..300 {
        // Quick at first ...
        if pair.server.acked >= 50 {
            break;
        }
        let (at, packet) = pair.wire.pop_first().expect("something is on the wire");
        pair.now = at.0;
        let mut out = Vec::new();
        match packet {
            OnTheWire::ToClient(d) => {
                if let Some(block) = pair.client.take(&d, pair.now) {
                    pair.post(Fate::Arrives, || OnTheWire::ToServer(block));
                }
            }
            OnTheWire::ToServer(block) => {
                pair.server.handle(&Input::Ack(block), pair.now, &mut out);
            }
        }
        pair.carry_out(out, &mut fates);
    }
    assert!(pair.server.acked >= 50 && pair.server.repeats() == 0);
    // ... then slow.
    pair.latency = MS * 60;
    assert_eq!(pair.drive(&mut fates), End::Done);
    assert!(pair.server.repeats() < 30, "{} repeats for 350 blocks", pair.server.repeats());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the network does, the file arrives whole or the transfer ends.
    #[test]
    fn loss_doubling_and_reordering_never_corrupt_or_hang(
        len in 0usize..20_000,
        block_size in prop::sample::select(vec![8u16, 64, 512, 1468]),
        window in 1u16..20,
        with_options: bool,
        fates in prop::collection::vec(
            prop_oneof![
                12 => Just(Fate::Arrives),
                2 => Just(Fate::Vanishes),
                1 => Just(Fate::Doubles),
                2 => Just(Fate::Late),
            ],
            1..200,
        ),
    ) {
        let asked = if with_options { options(block_size, window) } else { Options::default() };
        // The client keeps to what the OACK says.
        let agreed = if with_options { options(block_size, window.min(16)) } else { asked };
        let mut next = fates.iter().copied().cycle();
        let mut fate = || next.next().unwrap_or(Fate::Arrives);
        let mut pair = Pair::start(len, asked, &mut fate);
        pair.client = Client::new(agreed);
        let end = pair.drive(&mut fate);
        let received = &pair.client.received;
        prop_assert_eq!(&file(len)[..received.len()], &received[..]);
        match end {
            End::Done => prop_assert!(pair.client.complete),
            End::DoneUnconfirmed | End::NoAnswer | End::Lost => {}
            other => prop_assert!(false, "ended by {:?}", other),
        }
    }

    /// A tenth of all packets lost at random: the file arrives, and quickly.
    #[test]
    fn ten_percent_loss_is_survived(seed: u64, window in 1u16..17) {
        let mut state = seed | 1;
        let mut fate = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state % 10 == 0 { Fate::Vanishes } else { Fate::Arrives }
        };
        let mut pair = Pair::start(100_000, options(1468, window), &mut fate);
        let end = pair.drive(&mut fate);
        prop_assert!(matches!(end, End::Done | End::DoneUnconfirmed), "{:?}", end);
        prop_assert!(pair.client.complete);
        prop_assert!(pair.now < Duration::from_secs(15), "took {:?}", pair.now);
    }
}
