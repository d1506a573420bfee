#![allow(clippy::cast_possible_truncation)] // samples are small

use proptest::prelude::*;

use super::*;
use crate::proto::iso9660::{Iso, Kind, MODE_FILE_NAME, sample};

/// The whole view as bytes.
fn materialise(image: &[u8], view: &IsoView) -> Vec<u8> {
    read(image, view, 0..view.len())
}

fn read(image: &[u8], view: &IsoView, range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in view.segments(range) {
        match segment {
            Segment::Original { offset, len } => {
                assert!(len > 0);
                bytes.extend_from_slice(&image[offset as usize..(offset + len) as usize]);
            }
            Segment::Bytes(piece) => {
                assert!(!piece.is_empty());
                bytes.extend_from_slice(piece);
            }
        }
    }
    bytes
}

fn view_of(image: &[u8], content: &[u8]) -> IsoView {
    ViewLayout::plan(&Iso::open(image).unwrap()).unwrap().view(content).unwrap()
}

/// Every file with its content.
fn content(image: &[u8]) -> Vec<(String, Kind, Vec<u8>)> {
    let iso = Iso::open(image).unwrap();
    let mut files: Vec<_> = iso
        .walk()
        .unwrap()
        .into_iter()
        .map(|(path, entry)| {
            let bytes = match entry.kind {
                Kind::File => iso.read_file(&path, 1 << 20).unwrap(),
                _ => Vec::new(),
            };
            (path, entry.kind, bytes)
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

/// The view has the new file, all others are as before, and the volume covers everything.
fn check(image: &[u8], mode: &[u8]) -> Vec<u8> {
    let seen = materialise(image, &view_of(image, mode));
    let path = format!("/{MODE_FILE_NAME}");
    let mut expected = content(image);
    expected.retain(|(p, ..)| *p != path);
    expected.push((path, Kind::File, mode.to_vec()));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(content(&seen), expected);
    let iso = Iso::open(&seen[..]).unwrap();
    assert_eq!(u64::from(iso.volume().sectors) * SECTOR, seen.len() as u64);
    seen
}

#[test]
fn a_root_with_room_gets_one_more_record() {
    let image = sample::installer("9.2");
    let seen = check(&image, b"mode = \"http\"\n");
    assert_eq!(seen.len(), image.len() + 2048);
    let changed = image.iter().zip(&seen).filter(|(a, b)| a != b).count();
    assert!(changed < 130, "only a record and the volume's size change, not {changed} bytes");
}

#[test]
fn a_full_root_is_moved_to_the_end() {
    let names: Vec<String> = (0..60).map(|n| format!("file-{n:03}-{}", "x".repeat(20))).collect();
    let mut moved = 0;
    for count in 1..names.len() {
        let mut files: Vec<(&str, &[u8])> =
            names[..count].iter().map(|n| (n.as_str(), &b"content"[..])).collect();
        files.push(("d/inner", b"inside"));
        files.push(("e/other", b"inside too"));
        let image = sample::image(&files);
        let seen = check(&image, b"content of the mode file");
        if Iso::open(&seen[..]).unwrap().root() != Iso::open(&image[..]).unwrap().root() {
            moved += 1;
            parents_and_path_tables_agree(&seen);
        }
    }
    assert!(moved > 0, "no count of files filled the last sector");
}

fn parents_and_path_tables_agree(image: &[u8]) {
    let iso = Iso::open(image).unwrap();
    let root = u32::try_from(iso.root().extents[0].offset / SECTOR).unwrap();
    let mut seen = Vec::new();
    for directory in [iso.root(), iso.find("/d").unwrap(), iso.find("/e").unwrap()] {
        iso.records(&directory, |record| {
            if record.identifier == [1] {
                seen.push((record.sector, u64::from(record.len)));
            }
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(seen, [(root, iso.root().len()); 3]);
    assert_eq!(image[18 * 2048 + 2..18 * 2048 + 6], root.to_le_bytes());
    assert_eq!(image[19 * 2048 + 2..19 * 2048 + 6], root.to_be_bytes());
}

#[test]
fn a_prepared_image_keeps_one_mode_file() {
    let image = sample::image(&[(MODE_FILE_NAME, b"mode = \"iso\"\n"), ("other", b"x")]);
    check(&image, b"mode = \"http\"\n");
    check(&image, &[b'x'; 5000]);
    let taken = sample::image(&[(&format!("{MODE_FILE_NAME}/x"), b"x")]);
    let error = ViewLayout::plan(&Iso::open(&taken[..]).unwrap()).unwrap_err();
    assert!(matches!(error, ViewError::NameTaken { .. }), "{error}");
}

#[test]
fn an_image_that_ends_inside_a_sector_is_filled_up() {
    let mut image = sample::installer("9.2");
    image.extend_from_slice(b"trailing bytes");
    check(&image, b"x");
}

#[test]
fn views_of_one_image_differ_only_in_their_file() {
    let image = sample::installer("9.2");
    let layout = ViewLayout::plan(&Iso::open(&image[..]).unwrap()).unwrap();
    let (a, b) = (layout.view(b"token a").unwrap(), layout.view(b"token b").unwrap());
    assert_eq!(a.len(), layout.len_with(7));
    let (a, b) = (materialise(&image, &a), materialise(&image, &b));
    assert_eq!(a.iter().zip(&b).filter(|(a, b)| a != b).count(), 1);
}

proptest! {
    #[test]
    fn any_range_of_a_view_is_that_range_of_the_whole(
        files in 1_usize..40,
        mode in proptest::collection::vec(any::<u8>(), 0..5000),
        start in 0_u64..120_000,
        len in 0_u64..120_000,
    ) {
        let names: Vec<String> = (0..files).map(|n| format!("a-name-of-some-length-{n}")).collect();
        let mut list: Vec<(&str, &[u8])> =
            names.iter().map(|n| (n.as_str(), n.as_bytes())).collect();
        list.push(("d/inner", b"inside"));
        let image = sample::image(&list);
        let view = view_of(&image, &mode);
        let whole = materialise(&image, &view);
        prop_assert_eq!(whole.len() as u64, view.len());
        let (from, to) = (start.min(view.len()), (start + len).min(view.len()));
        let expected = &whole[from as usize..to as usize];
        let range = read(&image, &view, start..start + len);
        prop_assert_eq!(&range[..], expected);
    }
}
