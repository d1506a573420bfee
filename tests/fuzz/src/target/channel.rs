//! Lines of the root channel, both ways: what passes means the same when it is written again, and nothing passes that
//! leads outside.
//!
//! Input: which of them (1 byte), then the line.

use ironhatch::domain::vmid::Vmid;
use ironhatch::proto::verb::{
    DeviceEntry, FileMode, Frame, MOST_TEXT, Request, Stream, Verb, cut_text, decode_request,
    encode_request,
};

use super::{Seeds, texts};
use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.byte();
    let line = input.rest();
    match which % 3 {
        0 => request(line),
        1 => {
            let Ok(frame) = Frame::decode(line) else { return };
            let written = frame.encode();
            assert_eq!(written.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(Frame::decode(&written), Ok(frame));
        }
        _ => output(line),
    }
}

fn request(line: &[u8]) {
    let request = match decode_request(line) {
        Ok(request) => request,
        Err(error) => {
            assert!(error.detail.len() < 1000 && !error.detail.contains('\n'), "{error}");
            return;
        }
    };
    let written = encode_request(&request).expect("what was read can be written");
    let again = decode_request(&written[..written.len() - 1]).expect("and read again");
    assert_eq!(again, request);
    if let Some(vmid) = request.verb.vmid() {
        assert!((100..=999_999_999).contains(&vmid.get()), "{vmid}");
    }
    if let Verb::Exec { argv, .. } = &request.verb {
        assert!(!argv.is_empty() && argv.iter().all(|word| !word.contains('\0')));
    }
}

/// Output of a program is cut into frames: all of it, in order, none too long.
fn output(text: &[u8]) {
    // A piece that is longer than a frame, made of what is there.
    let long = text.repeat(MOST_TEXT / text.len().max(1) + 2);
    for mut text in [text, &long] {
        while !text.is_empty() {
            let cut = cut_text(text);
            assert!((1..=MOST_TEXT).contains(&cut), "{cut}");
            let (head, rest) = text.split_at(cut);
            let frame = Frame::Output {
                stream: Stream::Stdout,
                text: String::from_utf8_lossy(head).into_owned(),
            };
            let line = frame.encode();
            assert_eq!(Frame::decode(&line), Ok(frame), "an output frame must arrive as it was");
            text = rest;
        }
    }
}

pub(crate) fn seeds() -> Seeds {
    let vmid = Vmid::try_from(200).expect("a number of a guest");
    let verbs = [
        Verb::Hello,
        Verb::Exec {
            vmid,
            argv: ["/bin/sh", "-c", "true"].map(str::to_owned).into(),
            env: [("NAME".to_owned(), "value".to_owned())].into(),
            user: None,
            timeout_sec: 30,
        },
        Verb::Push {
            vmid,
            path: "/root/x".to_owned(),
            mode: FileMode::PUBLIC,
            uid: 0,
            gid: 0,
            size: 3,
        },
        Verb::Pull { vmid, path: "/root/x".to_owned(), most: 100 },
        Verb::SetFeatures { vmid, features: Vec::new() },
        Verb::SetDevices {
            vmid,
            devices: vec![DeviceEntry {
                path: "/dev/dri/renderD128".to_owned(),
                uid: 0,
                gid: 104,
                mode: FileMode::GROUP,
            }],
        },
        Verb::BindMount {
            vmid,
            slot: 0,
            source: "/srv/data".to_owned(),
            path: "/data".to_owned(),
            read_only: true,
        },
        Verb::Unlock { vmid },
        Verb::ImportPool { name: "tank".to_owned(), id: 7, foreign: false },
    ];
    let mut seeds: Seeds = verbs
        .into_iter()
        .map(|verb| {
            let name = verb.name().to_owned();
            let mut line = encode_request(&Request::new(verb)).expect("a valid request");
            line.pop();
            (name, [vec![0], line].concat())
        })
        .collect();
    seeds.extend(texts([
        ("output", "\x01{\"frame\":\"output\",\"stream\":\"stdout\",\"text\":\"hello\\n\"}"),
        ("data", "\x01{\"frame\":\"data\",\"base64\":\"AAAA\"}"),
        ("done", "\x01{\"frame\":\"done\",\"status\":0}"),
        ("refused", "\x01{\"frame\":\"refused\",\"rule\":\"pool\",\"detail\":\"no\"}"),
        ("text", "\x02gr\u{fc}n \u{1f600}\n\u{0}\u{7f}"),
    ]));
    seeds
}
