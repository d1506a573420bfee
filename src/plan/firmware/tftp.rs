//! A TFTP client that is as strict as the strictest one that we know, and remembers what it got.

use std::collections::BTreeSet;

use super::{Dropped, rule};

/// What is not sent: fragments die in firmware (Ethernet's 1,500 bytes without IP and UDP headers).
const MOST_DATAGRAM: usize = 1472;

/// One download as a client sees it.
#[derive(Debug, Clone)]
pub struct Download {
    asked: Vec<(String, String)>,
    block_size: usize,
    window: u64,
    negotiated: bool,
    /// Blocks taken; their numbers count from 1 and wrap on the wire.
    blocks: u64,
    since_ack: u64,
    /// The bytes so far.
    pub received: Vec<u8>,
    /// The size that the server told.
    pub told_size: Option<u64>,
    /// Whether the last block has come.
    pub complete: bool,
}

/// What the client does with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Acknowledges up to this block.
    Acknowledges(u16),
    /// Waits for more of the window.
    Waits,
    /// Gives up with what the server said.
    Fails,
}

impl Download {
    /// Begins with this read request; `None` when it is none that a client would send: opcode 1, a name, a mode, then
    /// options with their values, all ended by NULs (RFC 1350, 2347).
    #[must_use]
    pub fn ask(request: &[u8]) -> Option<Self> {
        let text = request.strip_prefix(&[0, 1])?.strip_suffix(&[0])?;
        let words: Vec<&[u8]> = text.split(|b| *b == 0).collect();
        let (head, options) = words.split_at_checked(2)?;
        if head.iter().any(|word| word.is_empty()) || !options.len().is_multiple_of(2) {
            return None;
        }
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
        let (pairs, _) = options.as_chunks::<2>();
        let asked: Vec<_> = pairs.iter().map(|[name, value]| (word(name), word(value))).collect();
        let names: BTreeSet<&String> = asked.iter().map(|(name, _)| name).collect();
        if names.len() < asked.len() {
            return None;
        }
        Some(Self {
            asked,
            block_size: 512,
            window: 1,
            negotiated: false,
            blocks: 0,
            since_ack: 0,
            received: Vec::new(),
            told_size: None,
            complete: false,
        })
    }

    /// Takes a datagram that came from the server's port.
    ///
    /// # Errors
    /// [`Dropped`]: the client would answer with ERROR and give up, or it could not have been meant for it.
    pub fn take(&mut self, datagram: &[u8]) -> Result<Step, Dropped> {
        rule(datagram.len() <= MOST_DATAGRAM, "a datagram that would be fragmented")?;
        match datagram {
            [0, 3, high, low, data @ ..] => self.data(u16::from_be_bytes([*high, *low]), data),
            [0, 6, options @ ..] => self.option_ack(options),
            [0, 5, _, code, text @ ..] => {
                rule(*code <= 8, "an error code that does not exist")?;
                // After an OACK no error for reasons of options is understood (reference: `pxe-netboot` 10.2).
                rule(!self.negotiated, "an error in the middle")?;
                rule(text.last() == Some(&0), "an error text without NUL")?;
                rule(text.iter().filter(|b| **b == 0).count() == 1, "bytes behind an error text")?;
                Ok(Step::Fails)
            }
            _ => Err("an opcode that no server sends".into()),
        }
    }

    /// The parameter `name` as it was asked for.
    fn wish(&self, name: &str) -> Option<u64> {
        self.asked.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.parse().ok())
    }

    /// EDK2 `Mtftp4Option.c` (`Mtftp4ParseOption`) and `Mtftp4Rrq.c` (`Mtftp4RrqOackValid`): nothing that was not asked
    /// for, block and window not larger, the timeout unchanged; anything else ends the boot with ERROR 4. iPXE before 2012
    /// failed at names that it did not ask for, and at a value that is no number (`tftp_rx_oack`). RFC 2347: no option twice.
    fn option_ack(&mut self, options: &[u8]) -> Result<Step, Dropped> {
        rule(self.blocks == 0, "an OACK in the middle")?;
        let text = options.strip_suffix(&[0]).ok_or("an OACK without final NUL")?;
        let words: Vec<&[u8]> = text.split(|b| *b == 0).collect();
        rule(words.len().is_multiple_of(2), "an OACK with a name and no value")?;
        let (mut block_size, mut window, mut told_size) = (512, 1, None);
        let mut seen: Vec<&[u8]> = Vec::new();
        for [key, text] in words.as_chunks::<2>().0 {
            let name = std::str::from_utf8(key).map_err(|e| Dropped(e.to_string()))?;
            let digits = text.iter().all(u8::is_ascii_digit) && !text.is_empty();
            rule(digits, &format!("{name} is no number"))?;
            let value = std::str::from_utf8(text).ok().and_then(|v| v.parse::<u64>().ok());
            let value = value.ok_or_else(|| Dropped(format!("{name} is too large")))?;
            rule(!seen.contains(key), &format!("{name} twice"))?;
            seen.push(key);
            let was_asked = self.asked.iter().any(|(n, _)| n == name);
            rule(was_asked, &format!("{name} was not asked for"))?;
            match name {
                "blksize" => {
                    let most = self.wish(name).unwrap_or(0).min(65_464);
                    rule((8..=most).contains(&value), "blksize is larger than asked for")?;
                    block_size = usize::try_from(value).map_err(|e| Dropped(e.to_string()))?;
                }
                "windowsize" => {
                    let most = self.wish(name).unwrap_or(0).min(65_535);
                    rule((1..=most).contains(&value), "windowsize is larger than asked for")?;
                    window = value;
                }
                "timeout" => rule(Some(value) == self.wish(name), "timeout is another one")?,
                "tsize" => told_size = Some(value),
                other => return Err(Dropped(format!("{other} is an option of nobody"))),
            }
        }
        (self.block_size, self.window, self.told_size) = (block_size, window, told_size);
        self.negotiated = true;
        Ok(Step::Acknowledges(0))
    }

    /// RFC 1350 and 7440: blocks count from 1 and wrap; a gap or an old one is answered with the last one in order; a
    /// short one is the last.
    fn data(&mut self, number: u16, data: &[u8]) -> Result<Step, Dropped> {
        rule(data.len() <= self.block_size, "a block larger than agreed")?;
        let expected = self.blocks + 1;
        if self.complete || number != wire(expected) {
            self.since_ack = 0;
            return Ok(Step::Acknowledges(wire(self.blocks)));
        }
        self.blocks = expected;
        self.since_ack += 1;
        self.received.extend_from_slice(data);
        self.complete = data.len() < self.block_size;
        if self.complete || self.since_ack >= self.window {
            self.since_ack = 0;
            return Ok(Step::Acknowledges(wire(self.blocks)));
        }
        Ok(Step::Waits)
    }
}

#[allow(clippy::cast_possible_truncation)] // the wire has the lower 16 bits
fn wire(block: u64) -> u16 {
    block as u16
}
