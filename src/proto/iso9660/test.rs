#![allow(clippy::cast_possible_truncation)] // samples are small

use proptest::prelude::*;

use super::*;

fn open(image: &[u8]) -> Result<Iso<&[u8]>, IsoError> {
    Iso::open(image)
}

#[test]
fn files_are_found_by_their_rock_ridge_names() {
    let image = sample::installer("9.2");
    let iso = open(&image).unwrap();
    assert_eq!(iso.volume().id, "SAMPLE");
    let initrd = iso.find_file("/boot/initrd.img").unwrap();
    assert_eq!(initrd.len, 9001);
    let start = usize::try_from(initrd.offset).unwrap();
    assert!(image[start..start + 9001].iter().all(|b| *b == 0x49));
    let info = iso.read_file("/.cd-info", 4096).unwrap();
    assert!(info.starts_with(b"PRODUCT='pve'"));
    assert_eq!(iso.find_file("/auto-installer-capable").unwrap().len, 0);

    let mut paths: Vec<String> = iso.walk().unwrap().into_iter().map(|(path, _)| path).collect();
    paths.sort();
    let expected =
        ["/.cd-info", "/auto-installer-capable", "/boot", "/boot/initrd.img", "/boot/linux26"];
    assert_eq!(paths, expected);
}

#[test]
fn each_refusal_says_what_is_wrong() {
    let good = sample::installer("9.2");
    let refused = |image: &[u8]| open(image).expect_err("refused").to_string();

    assert!(refused(b"PK\x03\x04").contains("not an ISO 9660 image"));
    assert!(refused(&vec![0; 100_000]).contains("not an ISO 9660 image"));
    assert!(refused(&good[..good.len() - 2048]).contains("truncated"));
    let plain = sample::Sample { rock_ridge: false }.build(&[("a", b"x")]);
    assert!(refused(&plain).contains("no Rock Ridge"));

    let iso = open(&good).unwrap();
    assert!(iso.find("/boot/nothing").unwrap_err().to_string().contains("no /boot/nothing"));
    assert!(iso.find("/.cd-info/x").unwrap_err().to_string().contains("no /.cd-info/x"));
    assert!(matches!(iso.find_file("/boot"), Err(IsoError::WrongKind { .. })));
    assert!(matches!(
        iso.read_file("/boot/initrd.img", 9000),
        Err(IsoError::TooBig { len: 9001, limit: 9000, .. })
    ));
}

#[test]
fn a_file_beyond_the_end_is_refused() {
    let mut image = sample::image(&[("a", b"x")]);
    let record = find(&image, b"F000000.;1") - 33;
    image[record + 2..record + 6].copy_from_slice(&9999u32.to_le_bytes());
    let iso = open(&image).unwrap();
    assert!(matches!(iso.find("/a"), Err(IsoError::Truncated { .. })));
}

#[test]
fn a_directory_that_contains_itself_ends_the_walk() {
    let mut image = sample::image(&[("d/x", b"x")]);
    let iso = open(&image).unwrap();
    let directory = u32::try_from(iso.find("/d").unwrap().extents[0].offset / SECTOR).unwrap();
    let own = directory as usize * 2048;
    // Turn the file inside it into a directory at the same place.
    let record = own + find(&image[own..], b"F000000.;1") - 33;
    image[record + 2..record + 6].copy_from_slice(&directory.to_le_bytes());
    image[record + 10..record + 14].copy_from_slice(&2048u32.to_le_bytes());
    image[record + 25] = 2;
    let iso = open(&image).unwrap();
    assert!(iso.walk().unwrap_err().to_string().contains("contains itself"));
    // Walking down by a path is bounded by the path.
    assert!(iso.find("/d/x/x/x/x").is_ok());
    assert!(iso.find(&format!("/d{}", "/x".repeat(40))).is_err());
}

#[test]
fn a_continuation_that_points_at_itself_ends() {
    let mut image = sample::image(&[("a-file-with-a-name-that-is-long-enough", b"x")]);
    let nm = find(&image, b"NM\x2b") as u32;
    let (sector, offset) = (nm / 2048, nm % 2048);
    let mut ce = vec![b'C', b'E', 28, 1];
    for value in [sector, offset, 28] {
        ce.extend(both_endian(value));
    }
    image[nm as usize..nm as usize + 28].copy_from_slice(&ce);
    let error = open(&image).unwrap().list(&open(&image).unwrap().root()).unwrap_err();
    assert!(error.to_string().contains("never end"), "{error}");
}

pub(super) fn find(image: &[u8], what: &[u8]) -> usize {
    image.windows(what.len()).position(|w| w == what).expect("the sample has it")
}

/// Everything that the product does with an image; the result does not matter, that there is one does.
fn use_all(image: &[u8]) {
    let Ok(iso) = open(image) else { return };
    let _ = iso.walk();
    let _ = iso.read_file("/.cd-info", 4096);
    let _ = iso.find_file("/boot/linux26");
    if let Ok(layout) = ViewLayout::plan(&iso)
        && let Ok(view) = layout.view(b"mode = \"http\"\n")
    {
        let total: u64 = view
            .segments(0..view.len())
            .map(|s| match s {
                Segment::Original { offset, len } => {
                    assert!(offset + len <= <[u8]>::len(image) as u64);
                    len
                }
                Segment::Bytes(bytes) => bytes.len() as u64,
            })
            .sum();
        assert_eq!(total, view.len());
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60_000)) {
        use_all(&bytes);
    }

    #[test]
    fn random_structures_never_panic(
        descriptor in proptest::collection::vec(any::<u8>(), 200),
        directory in proptest::collection::vec(any::<u8>(), 4096),
    ) {
        let mut image = sample::installer("9.2");
        image[16 * 2048 + 80..16 * 2048 + 190].copy_from_slice(&descriptor[..110]);
        // Half of the runs keep the descriptor, so that the directory is reached.
        if descriptor[0] < 128 {
            image[16 * 2048..17 * 2048].copy_from_slice(&sample::installer("9.2")[16 * 2048..17 * 2048]);
        }
        image[20 * 2048 + 100..20 * 2048 + 4000].copy_from_slice(&directory[..3900]);
        use_all(&image);
    }

    #[test]
    fn flipped_bits_never_panic(
        flips in proptest::collection::vec((32_768_usize..32_768 + 7 * 2048, 0_u8..8), 1..40),
    ) {
        let mut image = sample::installer("9.2");
        for (at, bit) in flips {
            image[at] ^= 1 << bit;
        }
        use_all(&image);
    }
}
