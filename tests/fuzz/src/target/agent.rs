//! What an agent sends over the root channel, in pieces as a network cuts them: it means the same however it is cut, no
//! more than allowed is kept, and what is no answer never looks like one.
//!
//! Input: size of the pieces (1 byte), which pieces are complaints (1 byte), then the bytes.

use std::fmt::Write as _;

use ironhatch::node::channel::{ChannelError, Outcome, Reading};
use ironhatch::node::ssh::Source;
use ironhatch::proto::verb::{Frame, Stream};

use super::Seeds;
use crate::input::Input;

/// Bytes of a pulled file that are taken here.
const MOST_DATA: u64 = 64;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let cut = usize::from(input.byte()) + 1;
    let complaints = input.byte();
    let bytes = input.rest();
    let mut at_once = [bytes].into_iter();
    let whole = read(&mut at_once.by_ref().map(|piece| (Source::Stdout, piece)));
    let same = read(&mut bytes.chunks(cut).map(|piece| (Source::Stdout, piece)));
    assert_eq!(told(&whole), told(&same), "pieces of {cut} bytes");
    if let Ok(outcome) = &whole.1 {
        assert!(outcome.data.len() as u64 <= MOST_DATA, "{} bytes were kept", outcome.data.len());
        let done = Frame::Done { status: outcome.status };
        let said =
            bytes.split_inclusive(|b| *b == b'\n').any(|l| Frame::decode(l).as_ref() == Ok(&done));
        assert!(said, "it ended well and nothing says so");
    }
    // Words on standard error between the pieces change no answer.
    let mixed = bytes.chunks(cut).enumerate().flat_map(|(n, piece)| {
        let noise = (complaints >> (n % 8)) & 1 == 1;
        noise.then_some((Source::Stderr, piece)).into_iter().chain([(Source::Stdout, piece)])
    });
    let noisy = read(&mut { mixed });
    if whole.1.is_ok() {
        assert_eq!(told(&whole), told(&noisy));
    }
    if let Err(error) = &noisy.1 {
        assert!(error.to_string().len() < 8192, "a complaint of {} bytes", error.to_string().len());
    }
}

fn read(
    pieces: &mut dyn Iterator<Item = (Source, &[u8])>,
) -> (String, Result<Outcome, ChannelError>) {
    let mut heard = String::new();
    let mut hear = |stream: Stream, text: &str| {
        let _ = write!(heard, "{stream:?}{text}");
    };
    let mut reading = Reading::new(MOST_DATA, &mut hear);
    for (source, piece) in pieces {
        if reading.take(source, piece).is_break() {
            break;
        }
    }
    let outcome = reading.end(Ok(0));
    (heard, outcome)
}

/// What a caller learns. Of a line that does not end the place where it was given up depends on the pieces.
fn told((heard, outcome): &(String, Result<Outcome, ChannelError>)) -> String {
    match outcome {
        Ok(outcome) => {
            format!("{heard} {} {:?} {:?}", outcome.status, outcome.answer, outcome.data)
        }
        Err(ChannelError::Protocol { .. }) => format!("{heard} no answer"),
        Err(error) => format!("{heard} {error}"),
    }
}

pub(crate) fn seeds() -> Seeds {
    let output = Frame::Output { stream: Stream::Stdout, text: "one\n".to_owned() };
    let data = Frame::Data { base64: "AAAA".to_owned() };
    let done = Frame::Done { status: 3 };
    let refused = Frame::Refused { rule: "tag".to_owned(), detail: "no".to_owned() };
    let failed = Frame::Failed { detail: "pct said no".to_owned() };
    let lines = |frames: &[&Frame]| -> Vec<u8> {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode()).collect();
        [&[6, 5][..], &bytes].concat()
    };
    let mut after = lines(&[&done]);
    after.extend_from_slice(b"{}\n");
    let mut endless = lines(&[&output]);
    endless.extend(std::iter::repeat_n(b'x', 300));
    vec![
        ("whole".to_owned(), lines(&[&output, &data, &data, &output, &done])),
        ("refused".to_owned(), lines(&[&refused])),
        ("failed".to_owned(), lines(&[&output, &failed])),
        ("after".to_owned(), after),
        ("cut".to_owned(), endless),
        ("shell".to_owned(), b"\x06\xffsh: ironhatch: not found\n".to_vec()),
    ]
}
