//! Answers in all cuts and all kinds of wrongness, without a connection.

use proptest::prelude::*;

use super::*;

/// Feeds bytes in pieces of `cut` and ends as `ended` says.
fn read(
    bytes: &[u8],
    cut: usize,
    ended: Result<u32, ExecError>,
) -> (String, Result<Outcome, ChannelError>) {
    let mut heard = String::new();
    let mut hear = |_: Stream, text: &str| heard.push_str(text);
    let mut reading = Reading::new(8, &mut hear);
    for piece in bytes.chunks(cut) {
        if reading.take(Source::Stdout, piece).is_break() {
            break;
        }
    }
    let outcome = reading.end(ended);
    (heard, outcome)
}

fn lines(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::encode).collect()
}

fn output(text: &str) -> Frame {
    Frame::Output { stream: Stream::Stdout, text: text.to_owned() }
}

#[test]
fn an_answer_is_the_same_however_the_network_cuts_it() {
    let bytes = lines(&[
        output("one\n"),
        Frame::Data { base64: STANDARD.encode("1234") },
        Frame::Data { base64: STANDARD.encode("5678") },
        output("two"),
        Frame::Done { status: 3 },
    ]);
    for cut in [1, 2, 7, 1000] {
        let (heard, outcome) = read(&bytes, cut, Ok(0));
        assert_eq!(heard, "one\ntwo");
        let outcome = outcome.unwrap();
        assert_eq!((outcome.status, outcome.data.as_slice()), (3, b"12345678".as_slice()));
    }
}

#[test]
fn refused_failed_lost_and_strange_are_told_apart() {
    let refused = lines(&[Frame::Refused { rule: "tag".to_owned(), detail: "no tag".to_owned() }]);
    let error = read(&refused, 9, Ok(3)).1.unwrap_err();
    assert!(matches!(error, ChannelError::Refused { rule: Some(Rule::Tag), .. }), "{error:?}");
    assert_eq!(error.class(), ErrorClass::Denied);

    let failed = lines(&[output("x"), Frame::Failed { detail: "pct said no".to_owned() }]);
    let error = read(&failed, 9, Ok(1)).1.unwrap_err();
    assert!(matches!(&error, ChannelError::Failed { detail } if detail == "pct said no"));

    let error = read(&lines(&[output("x")]), 9, Err(ExecError::NoExitStatus { signal: None })).1;
    let error = error.unwrap_err();
    assert!(matches!(error, ChannelError::Dropped(_)), "{error:?}");

    let error = read(b"", 1, Err(ExecError::Timeout { seconds: 9 })).1.unwrap_err();
    assert!(matches!(error, ChannelError::Timeout { seconds: 9 }));

    let error = read(b"", 1, Ok(127)).1.unwrap_err();
    assert!(matches!(&error, ChannelError::Protocol { detail } if detail.contains("127")));

    // What the agent said counts, even if the connection broke right behind it.
    let done = lines(&[Frame::Done { status: 0 }]);
    assert!(read(&done, 99, Err(ExecError::NoExitStatus { signal: None })).1.is_ok());
}

#[test]
fn what_is_no_answer_ends_the_call() {
    let mut after = lines(&[Frame::Done { status: 0 }]);
    after.extend_from_slice(b"{}\n");
    let too_much = lines(&[Frame::Data { base64: STANDARD.encode("123456789") }]);
    assert!(matches!(read(&too_much, 99, Ok(0)).1, Err(ChannelError::TooMuch { limit: 8 })));
    for bytes in [
        after,
        b"root@pve1:~# \n".to_vec(),
        vec![b'x'; MOST_FRAME + 2],
        lines(&[Frame::Data { base64: "***".to_owned() }]),
    ] {
        let error = read(&bytes, 1000, Ok(0)).1.unwrap_err();
        assert!(matches!(error, ChannelError::Protocol { .. }), "{error:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        cut in 1..100usize,
    ) {
        let _ = read(&bytes, cut, Ok(0));
    }
}
