//! One transfer as a machine: request in, blocks out, until the end.
//!
//! ```text
//!            with options            ACK 0
//!  start ───────────────> greeting ────────> sending ──ACK of the last block──> done
//!    └── without options ──────────────────────^  │ └──last blocks out, quiet──> done (last ACK not seen)
//!                                                 └──ERROR / no progress───────> aborted / lost
//! ```
//!
//! Data is repeated on timeout only: a repeated ACK never triggers data, or one duplicated packet would double every
//! later one (Sorcerer's Apprentice, RFC 1123 section 4.2.3.1). The one exception is windowed transfers, where an ACK
//! below the window says that its first block was lost: the window is sent again once, and only if the ACK cannot be
//! an echo of earlier packets.
//!
//! The timer follows the measured round trip as TCP's does (RFC 6298), so a lost block costs about a round trip and not
//! a second; samples of repeated blocks are not used and the back-off stays until a clean sample (Karn's rule).

use std::time::Duration;

use bytes::Bytes;

use super::limits::Limits;
use super::packet::{Datagram, Options};

/// A point in monotonic time: the duration since the service started.
pub type Moment = Duration;

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the client.
    Send(Datagram),
    /// The transfer is over; nothing follows.
    End(End),
}

/// What can happen to a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The client acknowledged up to this block.
    Ack(u16),
    /// The client sent ERROR.
    Error,
    /// Time passed; [`Transfer::next_deadline`] may have been reached.
    Tick,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything arrived.
    Done,
    /// Everything was sent and all but the last window acknowledged; a lost last ACK is normal.
    DoneUnconfirmed,
    /// The client said stop before any data: firmware that only wanted the size.
    Probe,
    /// The client said stop in the middle.
    Aborted,
    /// Nobody reacted to the first answer.
    NoAnswer,
    /// The client fell silent in the middle.
    Lost,
}

/// One transfer of one file to one client.
#[derive(Debug)]
pub struct Transfer {
    file: Bytes,
    limits: Limits,
    accepted: Accepted,
    phase: Phase,
    /// Blocks that the client confirmed; block numbers count from 1 without wrapping.
    acked: u64,
    /// Highest block that was sent.
    sent: u64,
    timer: Timer,
    /// When the client last moved the transfer forward.
    progressed: Moment,
    started: Moment,
    /// Datagrams sent again.
    repeats: u64,
}

/// The parameters both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accepted {
    block_size: u16,
    window: u16,
    longest_timer: Option<Duration>,
    asked: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// OACK is out, ACK 0 is awaited.
    Greeting,
    /// Data is out.
    Sending,
    /// Over.
    Ended,
}

/// Retransmission timer with its estimate of the round trip.
#[derive(Debug, Default)]
struct Timer {
    /// Smoothed round trip and its variation, once measured.
    estimate: Option<(Duration, Duration)>,
    /// How often the timer ran out since the last clean sample.
    backoff: u32,
    /// When the outstanding packets were sent, last time.
    last_sent: Moment,
    /// Whether they were sent more than once.
    repeated: bool,
    /// Whether an ACK below the window may make them go out again: not after it did, nor when earlier packets went out
    /// twice or with a gap, because the ACKs of those look the same.
    heeds_low_ack: bool,
}

/// Block size without the option (RFC 1350).
const DEFAULT_BLOCK: u16 = 512;

impl Transfer {
    /// Begins a transfer of `file`; the first answer is appended to `out`.
    ///
    /// `round_trip` is what an earlier transfer to the same address took, if there was one: firmware asks for the size
    /// first, and then a lost first answer need not cost the whole [`Limits::first_retransmission`].
    pub fn start(
        file: Bytes,
        options: Options,
        limits: &Limits,
        round_trip: Option<Duration>,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Self {
        let accepted = Accepted {
            block_size: options.block_size.map_or(DEFAULT_BLOCK, |b| b.min(limits.block_size)),
            window: options.window.map_or(1, |w| w.min(limits.window)).max(1),
            longest_timer: options.timeout.map(|t| Duration::from_secs(t.into())),
            asked: options,
        };
        let mut transfer = Self {
            file,
            limits: limits.clone(),
            accepted,
            phase: if options.any() { Phase::Greeting } else { Phase::Sending },
            acked: 0,
            sent: 0,
            timer: Timer { estimate: round_trip.map(|r| (r, r / 2)), ..Timer::default() },
            progressed: now,
            started: now,
            repeats: 0,
        };
        transfer.send_outstanding(now, out);
        transfer
    }

    /// Takes one input; what has to be done is appended to `out`. After [`Effect::End`] every input is ignored.
    pub fn handle(&mut self, input: &Input, now: Moment, out: &mut Vec<Effect>) {
        if self.phase == Phase::Ended {
            return;
        }
        match input {
            Input::Ack(block) => self.handle_ack(*block, now, out),
            Input::Error => {
                if self.phase == Phase::Greeting {
                    // It answers the OACK, so it measures the way as an ACK does.
                    self.timer.acknowledged(now);
                    self.end(End::Probe, out);
                } else {
                    self.end(End::Aborted, out);
                }
            }
            Input::Tick => self.handle_tick(now, out),
        }
    }

    /// When [`Input::Tick`] is due next; `None` once the transfer has ended.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.phase == Phase::Ended {
            return None;
        }
        Some((self.timer.last_sent + self.retransmission()).min(self.progressed + self.patience()))
    }

    /// Whether the client has confirmed anything, so that its address is known to be real.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.acked > 0 || (self.phase == Phase::Sending && self.accepted.asked.any())
    }

    /// Bytes that the client confirmed.
    #[must_use]
    pub fn bytes_confirmed(&self) -> u64 {
        (self.acked * u64::from(self.accepted.block_size)).min(self.size())
    }

    /// Size of the file in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::try_from(self.file.len()).unwrap_or(u64::MAX)
    }

    /// Time since the request.
    #[must_use]
    pub fn age(&self, now: Moment) -> Duration {
        now.saturating_sub(self.started)
    }

    /// The measured round trip, smoothed.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.timer.estimate.map(|(smoothed, _)| smoothed)
    }

    /// When the request came.
    #[must_use]
    pub fn started(&self) -> Moment {
        self.started
    }

    /// Datagrams that had to be sent again.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    fn handle_ack(&mut self, block: u16, now: Moment, out: &mut Vec<Effect>) {
        if self.phase == Phase::Greeting {
            if block == 0 {
                self.timer.acknowledged(now);
                self.phase = Phase::Sending;
                self.progressed = now;
                self.send_outstanding(now, out);
            }
            return;
        }
        let ahead = u64::from(block.wrapping_sub(wire_number(self.acked)));
        if ahead == 0 {
            self.handle_repeated_ack(now, out);
        } else if ahead <= self.sent - self.acked {
            self.timer.acknowledged(now);
            self.acked += ahead;
            self.progressed = now;
            if self.acked == self.last_block() {
                self.end(End::Done, out);
            } else {
                // RFC 7440 section 4: go on from the block after the acknowledged one, even inside the window.
                self.send_outstanding(now, out);
            }
        }
    }

    /// An ACK for what was acknowledged before.
    fn handle_repeated_ack(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if self.accepted.window > 1 && self.timer.heeds_low_ack && !self.timer.is_echo(now) {
            self.repeat_outstanding(now, out);
        }
    }

    fn handle_tick(&mut self, now: Moment, out: &mut Vec<Effect>) {
        if now >= self.progressed + self.patience() {
            let end = match self.phase {
                _ if !self.is_confirmed() => End::NoAnswer,
                _ if self.sent == self.last_block() => End::DoneUnconfirmed,
                _ => End::Lost,
            };
            self.end(end, out);
        } else if now >= self.timer.last_sent + self.retransmission() {
            self.timer.backoff = self.timer.backoff.saturating_add(1);
            self.repeat_outstanding(now, out);
        }
    }

    fn repeat_outstanding(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let before = out.len();
        self.timer.repeated = true;
        self.timer.heeds_low_ack = false;
        self.put_outstanding(now, out);
        self.repeats += u64::try_from(out.len() - before).unwrap_or(0);
    }

    fn send_outstanding(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.timer.heeds_low_ack = !self.timer.repeated && self.acked == self.sent;
        self.timer.repeated = false;
        self.put_outstanding(now, out);
    }

    /// Sends what the client has to confirm next: the OACK or the window after the last confirmed block.
    fn put_outstanding(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.timer.last_sent = now;
        if self.phase == Phase::Greeting {
            out.push(Effect::Send(self.option_ack()));
            return;
        }
        let last = self.last_block().min(self.acked + u64::from(self.accepted.window));
        for block in self.acked + 1..=last {
            out.push(Effect::Send(Datagram::data(wire_number(block), self.block(block))));
        }
        self.sent = self.sent.max(last);
    }

    /// Only options that were asked for, or EDK2 ends the boot with ERROR 4.
    fn option_ack(&self) -> Datagram {
        let asked = self.accepted.asked;
        let options = [
            asked.size.then(|| ("tsize", self.size())),
            asked.block_size.map(|_| ("blksize", u64::from(self.accepted.block_size))),
            asked.timeout.map(|t| ("timeout", u64::from(t))),
            asked.window.map(|_| ("windowsize", u64::from(self.accepted.window))),
        ];
        Datagram::option_ack(options.into_iter().flatten())
    }

    /// The content of a block; empty for the one after an exact multiple.
    fn block(&self, number: u64) -> Bytes {
        let size = usize::from(self.accepted.block_size);
        let start = usize::try_from(number - 1).unwrap_or(usize::MAX).saturating_mul(size);
        let start = start.min(self.file.len());
        let end = start.saturating_add(size).min(self.file.len());
        self.file.slice(start..end)
    }

    /// Number of the block that ends the file: the first one that is shorter than the block size.
    fn last_block(&self) -> u64 {
        self.size() / u64::from(self.accepted.block_size) + 1
    }

    /// How long the client may go without moving the transfer forward.
    fn patience(&self) -> Duration {
        if !self.is_confirmed() {
            self.limits.handshake
        } else if self.sent == self.last_block() {
            self.limits.last_ack
        } else {
            self.limits.no_progress
        }
    }

    /// Time from sending to sending again.
    fn retransmission(&self) -> Duration {
        let base = match self.timer.estimate {
            Some((smoothed, variation)) => {
                let fastest = if self.is_confirmed() {
                    self.limits.fastest_retransmission
                } else {
                    self.limits.fastest_first_retransmission
                };
                (smoothed + variation * 4).max(fastest)
            }
            None => self.limits.first_retransmission,
        };
        let quiet = self.timer.last_sent >= self.progressed + self.limits.quiet_after;
        let mut longest = if quiet {
            self.limits.quiet_retransmission
        } else {
            self.limits.slowest_retransmission
        };
        if let Some(asked) = self.accepted.longest_timer {
            longest = longest.min(asked);
        }
        base.saturating_mul(1 << self.timer.backoff.min(16)).min(longest)
    }

    fn end(&mut self, end: End, out: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        out.push(Effect::End(end));
    }
}

impl Timer {
    /// Takes a sample (RFC 6298 section 2) when the acknowledged packets went out once.
    fn acknowledged(&mut self, now: Moment) {
        if self.repeated {
            return;
        }
        let sample = now.saturating_sub(self.last_sent);
        self.backoff = 0;
        self.estimate = Some(match self.estimate {
            None => (sample, sample / 2),
            Some((smoothed, variation)) => {
                let difference = smoothed.abs_diff(sample);
                ((smoothed * 7 + sample) / 8, (variation * 3 + difference) / 4)
            }
        });
    }

    /// Whether a repeated ACK that arrives now may belong to packets of before the current window. Those arrive
    /// within a round trip of its sending; a true one needs a whole round trip.
    fn is_echo(&self, now: Moment) -> bool {
        match self.estimate {
            Some((smoothed, _)) => now.saturating_sub(self.last_sent) < smoothed * 3 / 4,
            None => true,
        }
    }
}

/// Block numbers wrap from 65535 to 0 on the wire.
fn wire_number(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod test;
