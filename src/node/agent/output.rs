//! Standard output: frames, and whether anybody still reads them.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::proto::verb::{Frame, MOST_OUTPUT, Stream, cut_text};

/// Where frames go.
pub(super) struct Output {
    /// `None`: it could not be opened, so nobody listens.
    file: Option<File>,
    /// Bytes of output text that were sent.
    sent: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        Self::new(io::stdout().as_fd().try_clone_to_owned().ok().map(File::from))
    }

    pub(super) fn new(file: Option<File>) -> Self {
        Self { file, sent: 0, stdout: Vec::new(), stderr: Vec::new() }
    }

    /// Sends one frame.
    pub(super) fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(&frame.encode()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether the other end is gone. sshd gives a socket or pipes; when it drops them, both say so to a poll that waits
    /// for nothing. The end of our *input* alone is no sign: every client ends it after its request.
    pub(super) fn is_gone(&self) -> bool {
        let Some(file) = &self.file else { return true };
        let mut asked = [PollFd::new(file.as_fd(), PollFlags::empty())];
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(0) | Err(_) => false,
            Ok(_) => asked.iter().any(|fd| fd.revents().is_some_and(|r| r.intersects(gone))),
        }
    }

    /// Takes bytes of a program's output and sends whole lines.
    pub(super) fn text(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let pending = self.pending(stream);
        pending.extend_from_slice(bytes);
        let Some(end) = pending.iter().rposition(|b| *b == b'\n') else {
            // A line without end must not grow here.
            return if pending.len() > crate::proto::verb::MOST_TEXT {
                self.flush(stream)
            } else {
                Ok(())
            };
        };
        let rest = pending.split_off(end + 1);
        let lines = std::mem::replace(pending, rest);
        self.send(stream, &lines)
    }

    /// Sends what is held back of both streams: the program pauses, or has ended.
    pub(super) fn flush_all(&mut self) -> io::Result<()> {
        self.flush(Stream::Stdout)?;
        self.flush(Stream::Stderr)
    }

    fn flush(&mut self, stream: Stream) -> io::Result<()> {
        let pending = self.pending(stream);
        // The first bytes of a character whose others are still to come stay.
        let tail = match std::str::from_utf8(pending) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => pending.len(),
        };
        let rest = pending.split_off(tail);
        let text = std::mem::replace(pending, rest);
        self.send(stream, &text)
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn send(&mut self, stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(cut_text(bytes));
            bytes = rest;
            if self.sent > MOST_OUTPUT {
                continue;
            }
            self.sent += head.len();
            let text = if self.sent > MOST_OUTPUT {
                format!(
                    "[the program printed more than {MOST_OUTPUT} bytes; the rest is dropped]\n"
                )
            } else {
                String::from_utf8_lossy(head).into_owned()
            };
            self.frame(&Frame::Output { stream, text })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;

    fn texts(bytes: &[u8]) -> Vec<String> {
        let frames = bytes.split_inclusive(|b| *b == b'\n').map(|l| Frame::decode(l).unwrap());
        frames
            .map(|frame| match frame {
                Frame::Output { text, .. } => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn lines_go_out_whole_and_a_pause_sends_the_rest() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(Some(File::from(OwnedFd::from(writer))));
        output.text(Stream::Stdout, b"one\ntw").unwrap();
        output.text(Stream::Stdout, "o\npart \u{e9}".as_bytes().split_last().unwrap().1).unwrap();
        output.flush_all().unwrap();
        output.text(Stream::Stdout, &[0xa9]).unwrap();
        output.flush_all().unwrap();
        drop(output);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(texts(&bytes), ["one\n", "two\n", "part ", "é"]);
    }

    #[test]
    fn output_ends_at_its_limit_with_a_word_about_it() {
        let file = tempfile::tempfile().unwrap();
        let mut output = Output::new(Some(file.try_clone().unwrap()));
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        for _ in 0..MOST_OUTPUT / 1024 + 100 {
            output.text(Stream::Stdout, &line).unwrap();
        }
        let mut bytes = Vec::new();
        io::Seek::rewind(&mut &file).unwrap();
        (&file).read_to_end(&mut bytes).unwrap();
        let texts = texts(&bytes);
        assert_eq!(texts.iter().map(String::len).sum::<usize>() / 1024, MOST_OUTPUT / 1024);
        assert!(texts.last().unwrap().contains("the rest is dropped"));
    }

    #[test]
    fn a_reader_that_left_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        let output = Output::new(Some(File::from(OwnedFd::from(writer))));
        assert!(!output.is_gone());
        drop(reader);
        assert!(output.is_gone());
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let output = Output::new(Some(File::from(OwnedFd::from(ours))));
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!output.is_gone(), "the end of the input is not the end of the listener");
        drop(theirs);
        assert!(output.is_gone());
    }
}
