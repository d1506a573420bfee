//! Images whose bytes were changed: reading ends and stays within bounds, and a view is the original plus its patches,
//! whichever ranges of it are asked for.
//!
//! Input: ranges (4 bytes), then changes of a sample image: position (3 bytes), length (2), bytes.

use std::ops::Range;
use std::sync::OnceLock;

use ironhatch::proto::iso9660::{Iso, IsoView, Segment, ViewLayout, mode_file, sample};

use super::Seeds;
use crate::input::{Input, piece};

const NAME: &str = "auto-installer-mode.toml";

fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| sample::installer("9.2"))
}

fn read(view: &IsoView, original: &[u8], range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in view.segments(range) {
        match segment {
            Segment::Original { offset, len } => {
                let start = usize::try_from(offset).expect("inside");
                let len = usize::try_from(len).expect("inside");
                assert!(len > 0, "an empty run of bytes");
                bytes.extend_from_slice(&original[start..start + len]);
            }
            Segment::Bytes(data) => {
                assert!(!data.is_empty(), "an empty run of bytes");
                bytes.extend_from_slice(data);
            }
        }
    }
    bytes
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (from, length) = (u64::from(input.number()) * 3, u64::from(input.number()));
    let mut bytes = image().to_vec();
    let mut is_whole = true;
    while !input.is_empty() {
        let at = usize::from(input.byte()) << 16 | usize::from(input.number());
        let change = input.piece();
        let end = (at + change.len()).min(bytes.len());
        if at < end {
            is_whole &= bytes[at..end] == change[..end - at];
            bytes[at..end].copy_from_slice(&change[..end - at]);
        }
    }
    let Ok(iso) = Iso::open(bytes.as_slice()) else { return assert!(!is_whole) };
    let walked = iso.walk();
    for path in ["boot/linux26", "boot/initrd.img", ".cd-info", "a/b/c/../d", ""] {
        if let Ok(extent) = iso.find_file(path) {
            let end = extent.offset.checked_add(extent.len).expect("an extent has an end");
            assert!(end <= bytes.len() as u64, "a file beyond the end of the image");
        }
        if let Ok(content) = iso.read_file(path, 10_000) {
            assert!(content.len() <= 10_000);
        }
    }
    let Ok(layout) = ViewLayout::plan(&iso) else { return assert!(!is_whole) };
    let mode = mode_file("http://192.0.2.10:8080/api/boot/answer/00", None);
    let Ok(view) = layout.view(mode.as_bytes()) else { return assert!(!is_whole) };
    let whole = read(&view, &bytes, 0..view.len());
    assert_eq!(whole.len() as u64, view.len());
    let original = whole.iter().zip(&bytes);
    let changed = original.filter(|(one, other)| one != other).count();
    assert!(changed < 64 * 34, "{changed} bytes of the original differ");
    // Any range is that part of the whole; what lies beyond the end is left out.
    let range = from.min(view.len())..(from + length).min(view.len());
    let wanted =
        usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
    assert_eq!(read(&view, &bytes, range), whole[wanted]);
    let again = Iso::open(whole.as_slice());
    if is_whole {
        let again = again.expect("a view of a good image is a good image");
        assert_eq!(again.read_file(NAME, 10_000).expect("the added file"), mode.as_bytes());
        let (before, after) = (walked.expect("good"), again.walk().expect("good"));
        for (path, entry) in before {
            let same = after.iter().find(|(p, _)| *p == path).expect("what was there is there");
            assert_eq!(same.1.len(), entry.len(), "{path}");
        }
    } else if let Ok(content) = again.and_then(|again| again.read_file(NAME, 1 << 20)) {
        assert_eq!(content, mode.as_bytes(), "the added file has other content");
    }
}

pub(crate) fn seeds() -> Seeds {
    let change = |at: u32, bytes: &[u8]| [at.to_be_bytes()[1..].to_vec(), piece(bytes)].concat();
    let ranges = |from: u16, length: u16| [from.to_be_bytes(), length.to_be_bytes()].concat();
    let (volume, root) = (16 * 2048, 20 * 2048);
    let seed = |name: &str, parts: &[Vec<u8>]| (name.to_owned(), parts.concat());
    let number = |value: u32| [value.to_le_bytes(), value.to_be_bytes()].concat();
    let all = image();
    vec![
        seed("good", &[ranges(11_000, 5000)]),
        seed("end", &[ranges(60_000, 65_535)]),
        seed("volume", &[ranges(0, 4096), change(volume, &all[volume as usize..][..200])]),
        seed("root", &[ranges(13_000, 4096), change(root, &all[root as usize..][..400])]),
        seed("volume-size", &[ranges(0, 100), change(volume + 80, &number(u32::MAX))]),
        seed("root-size", &[ranges(0, 100), change(volume + 166, &number(u32::MAX))]),
        seed("root-place", &[ranges(0, 100), change(volume + 158, &number(16))]),
        seed("root-itself", &[ranges(0, 100), change(root + 2, &number(20))]),
        seed("zero-record", &[ranges(0, 100), change(root, &[0])]),
        seed("joliet", &[ranges(0, 100), change(17 * 2048, b"\x02CD001\x01")]),
    ]
}
