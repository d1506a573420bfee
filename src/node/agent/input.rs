//! Standard input: the request line, then a payload of a stated length. Nothing may be slow or long.

use std::fs::File;
use std::io::{Read as _, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Stop, failed, refused};
use crate::limits::channel::{PAYLOAD_TIME, REQUEST_LINE_TIME, SILENCE};
use crate::proto::verb::{MOST_REQUEST, Rule};

/// The request's bytes.
pub(super) struct Input {
    file: File,
    /// Read, and not used yet.
    ahead: Vec<u8>,
}

impl Input {
    /// Standard input.
    pub(super) fn stdin() -> Result<Self, Stop> {
        // A descriptor of our own, without std's buffer and lock: reads have deadlines.
        let own = std::io::stdin().as_fd().try_clone_to_owned();
        own.map(|fd| Self::new(File::from(fd)))
            .map_err(|e| failed(format!("standard input cannot be read: {e}")))
    }

    pub(super) fn new(file: File) -> Self {
        Self { file, ahead: Vec::new() }
    }

    /// The request line without its newline.
    pub(super) fn line(&mut self) -> Result<Vec<u8>, Stop> {
        let deadline = Instant::now() + REQUEST_LINE_TIME;
        let mut searched = 0;
        loop {
            let fresh = self.ahead.get(searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|b| *b == b'\n') {
                let rest = self.ahead.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.ahead, rest);
                line.pop();
                return Ok(line);
            }
            searched = self.ahead.len();
            if searched >= MOST_REQUEST {
                return Err(refused(
                    Rule::Limit,
                    format!("the request line is longer than {MOST_REQUEST} bytes"),
                ));
            }
            if self.more(deadline)? == 0 {
                return Err(refused(
                    Rule::Malformed,
                    "the input ended before the request line did",
                ));
            }
        }
    }

    /// Copies exactly `size` bytes into `target`.
    pub(super) fn payload(&mut self, size: u64, target: &mut dyn Write) -> Result<(), Stop> {
        let mut missing =
            usize::try_from(size).map_err(|_| refused(Rule::Limit, "the payload is too large"))?;
        let whole = Instant::now() + PAYLOAD_TIME;
        loop {
            let now = missing.min(self.ahead.len());
            let rest = self.ahead.split_off(now);
            let piece = std::mem::replace(&mut self.ahead, rest);
            target
                .write_all(&piece)
                .map_err(|e| failed(format!("the payload cannot be kept: {e}")))?;
            missing -= now;
            if missing == 0 {
                return Ok(());
            }
            if self.more(whole.min(Instant::now() + SILENCE))? == 0 {
                return Err(refused(
                    Rule::Malformed,
                    format!("the payload ended {missing} bytes before its stated size"),
                ));
            }
        }
    }

    /// Reads what is there, waiting until the deadline. 0 at the end of the input.
    fn more(&mut self, deadline: Instant) -> Result<usize, Stop> {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut wanted = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, limit) {
            Ok(0) => return Err(refused(Rule::Limit, "the input came too slowly")),
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return self.more(deadline),
            Err(error) => return Err(failed(format!("waiting for input failed: {error}"))),
        }
        let mut piece = [0; 16 * 1024];
        let read = self.file.read(&mut piece).map_err(|e| {
            failed(format!(
                "standard input (descriptor {}) cannot be read: {e}",
                self.file.as_raw_fd()
            ))
        })?;
        self.ahead.extend_from_slice(piece.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod test {
    use std::os::fd::OwnedFd;

    use super::*;

    fn input(bytes: &[u8]) -> Input {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let bytes = bytes.to_vec();
        // The pipe holds less than the longest line.
        std::thread::spawn(move || {
            let _ = writer.write_all(&bytes);
        });
        Input::new(File::from(OwnedFd::from(reader)))
    }

    #[test]
    fn a_line_and_its_payload_are_taken_apart() {
        let mut input = input(b"{}\nabcdef");
        assert_eq!(input.line().unwrap(), b"{}");
        let mut payload = Vec::new();
        input.payload(4, &mut payload).unwrap();
        assert_eq!(payload, b"abcd");
        let short = input.payload(3, &mut payload).unwrap_err();
        assert!(matches!(short, Stop::Refused(Rule::Malformed, _)), "{short:?}");
    }

    #[test]
    fn endless_and_broken_lines_are_refused() {
        let long = input(&vec![b'x'; 2 * MOST_REQUEST]).line().unwrap_err();
        assert!(matches!(long, Stop::Refused(Rule::Limit, _)), "{long:?}");
        let cut = input(b"{\"version\":1").line().unwrap_err();
        assert!(matches!(cut, Stop::Refused(Rule::Malformed, _)), "{cut:?}");
    }
}
