//! The ISO view, read by somebody else: `xorriso` builds the images, and `xorriso` reads the views.
//!
//! The Linux driver reads one in the lab, inside the machine that boots from it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ironhatch::image::inspect;
use ironhatch::proto::iso9660::{
    Iso, IsoView, Kind, MODE_FILE_NAME, Segment, ViewLayout, mode_file,
};
use tempfile::TempDir;

fn xorriso(args: &[&str]) -> Output {
    Command::new("xorriso")
        .args(args)
        .output()
        .expect("these tests need the program 'xorriso' (Debian package xorriso)")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What a mastering program is told.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// Rock Ridge only.
    Plain,
    /// Rock Ridge, Joliet, and full-size identifiers, as distributions do it.
    Joliet,
}

/// Builds an image of `tree` in `dir`.
fn build(dir: &Path, tree: &Path, style: Style) -> PathBuf {
    let iso = dir.join("image.iso");
    let mut args = vec!["-as", "mkisofs", "-R", "-V", "PVE", "-o", iso.to_str().unwrap()];
    if style == Style::Joliet {
        args.extend(["-J", "-joliet-long", "-iso-level", "3"]);
    }
    args.push(tree.to_str().unwrap());
    let output = xorriso(&args);
    assert!(output.status.success(), "{}", text(&output));
    iso
}

/// A tree like the installer's, with `extra` more files in its root.
fn tree(dir: &Path, extra: usize) -> PathBuf {
    let tree = dir.join("tree");
    for folder in ["boot/grub", "proxmox/packages", ".disk", "EFI"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    let info = "PRODUCT='pve'\nPRODUCTLONG='Proxmox VE'\nRELEASE='9.2'\nISORELEASE='1'\n";
    fs::write(tree.join(".cd-info"), info).unwrap();
    fs::write(tree.join("auto-installer-capable"), "").unwrap();
    fs::write(tree.join("boot/linux26"), vec![0x4B; 70_001]).unwrap();
    fs::write(tree.join("boot/initrd.img"), vec![0x49; 90_001]).unwrap();
    fs::write(tree.join("boot/grub/grub.cfg"), "set timeout=10\n").unwrap();
    fs::write(tree.join("proxmox/packages/a-package-with-quite-a-long-name_1.0_amd64.deb"), "x")
        .unwrap();
    fs::write(tree.join("pve-base.squashfs"), (0..=255).collect::<Vec<u8>>().repeat(999)).unwrap();
    std::os::unix::fs::symlink("boot", tree.join("link")).unwrap();
    for n in 0..extra {
        fs::write(tree.join(format!("extra-file-number-{n:03}")), format!("{n}")).unwrap();
    }
    tree
}

fn view_of(image: &[u8], content: &str) -> IsoView {
    ViewLayout::plan(&Iso::open(image).unwrap()).unwrap().view(content.as_bytes()).unwrap()
}

fn materialise(image: &Path, view: &IsoView, target: &Path) {
    let original = fs::File::open(image).unwrap();
    let mut bytes = Vec::new();
    for segment in view.segments(0..view.len()) {
        match segment {
            Segment::Bytes(piece) => bytes.extend_from_slice(piece),
            Segment::Original { offset, len } => {
                let start = bytes.len();
                bytes.resize(start + usize::try_from(len).unwrap(), 0);
                original.read_exact_at(&mut bytes[start..], offset).unwrap();
            }
        }
    }
    fs::write(target, bytes).unwrap();
}

/// Everything below `root`: path to content, folders and links included.
fn content(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let what = if kind.is_symlink() {
                format!("link to {}", fs::read_link(&path).unwrap().display())
            } else if kind.is_dir() {
                open.push(path.clone());
                "folder".to_owned()
            } else {
                format!("{:?}", fs::read(&path).unwrap())
            };
            found.insert(path.strip_prefix(root).unwrap().to_owned(), what);
        }
    }
    found
}

/// Has xorriso unpack `iso`; it must not complain.
fn extract(iso: &Path, target: &Path) -> BTreeMap<PathBuf, String> {
    let output = xorriso(&[
        "-abort_on",
        "WARNING",
        "-osirrox",
        "on",
        "-indev",
        iso.to_str().unwrap(),
        "-extract",
        "/",
        target.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output));
    let found = content(target);
    // xorriso unpacks with the image's permissions, which would keep the test from removing them.
    Command::new("chmod").args(["-R", "u+w"]).arg(target).status().unwrap();
    found
}

struct Case {
    dir: TempDir,
    tree: PathBuf,
    iso: PathBuf,
}

fn case(extra: usize, style: Style) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path(), extra);
    let iso = build(dir.path(), &tree, style);
    Case { tree, iso, dir }
}

/// Where the root directory begins.
fn root_of(image: &[u8]) -> u64 {
    Iso::open(image).unwrap().root().extents[0].offset
}

#[test]
fn xorriso_reads_every_view_with_all_other_files_unchanged() {
    let url = "http://192.0.2.10:8080/api/boot/answer/7f3c0b";
    let mode = mode_file(url, None);
    let (mut in_place, mut moved) = (0, 0);
    for style in [Style::Plain, Style::Joliet] {
        for extra in [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 40] {
            let Case { dir, tree, iso } = case(extra, style);
            let image = fs::read(&iso).unwrap();
            let view = view_of(&image, &mode);
            let target = dir.path().join("view.iso");
            materialise(&iso, &view, &target);

            let mut expected = content(&tree);
            expected.insert(MODE_FILE_NAME.into(), format!("{:?}", mode.as_bytes()));
            assert_eq!(extract(&target, &dir.path().join("out")), expected, "{extra} more files");

            let seen = fs::read(&target).unwrap();
            if root_of(&seen) == root_of(&image) { in_place += 1 } else { moved += 1 }
        }
    }
    assert!(in_place > 0 && moved > 0, "both layouts must occur: {in_place} and {moved}");
}

#[test]
fn xorriso_lists_the_view_and_finds_no_fault_in_its_sectors() {
    for extra in [0, 12, 13, 14, 15] {
        let Case { dir, iso, .. } = case(extra, Style::Plain);
        let view = view_of(&fs::read(&iso).unwrap(), "mode = \"http\"\n");
        let target = dir.path().join("view.iso");
        materialise(&iso, &view, &target);
        let path = target.to_str().unwrap();
        let output = xorriso(&["-indev", path, "-find", "/", "-exec", "lsdl", "--"]);
        let listing = text(&output);
        assert!(output.status.success(), "{listing}");
        let line = listing
            .lines()
            .find(|line| line.contains(MODE_FILE_NAME))
            .unwrap_or_else(|| panic!("not listed:\n{listing}"));
        assert!(line.starts_with("-r--r--r--") && line.contains(" 14 "), "{line}");
        let check = text(&xorriso(&["-indev", path, "-check_media", "--"]));
        assert!(check.contains("good") && !check.contains("unreadable"), "{check}");
    }
}

#[test]
fn an_image_prepared_by_others_is_served_with_our_mode_file() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path(), 2);
    fs::write(tree.join(MODE_FILE_NAME), "mode = \"iso\"\n").unwrap();
    let iso = build(dir.path(), &tree, Style::Joliet);
    let mode = mode_file("http://192.0.2.10/a", None);
    let view = view_of(&fs::read(&iso).unwrap(), &mode);
    let target = dir.path().join("view.iso");
    materialise(&iso, &view, &target);
    let mut expected = content(&tree);
    expected.insert(MODE_FILE_NAME.into(), format!("{:?}", mode.as_bytes()));
    assert_eq!(extract(&target, &dir.path().join("out")), expected);
}

#[test]
fn our_reader_finds_what_xorriso_wrote() {
    for style in [Style::Plain, Style::Joliet] {
        let Case { dir, tree, iso } = case(30, style);
        let image = fs::read(&iso).unwrap();
        let reader = Iso::open(&image[..]).unwrap();
        let mut found = BTreeMap::new();
        for (path, entry) in reader.walk().unwrap() {
            let what = match entry.kind {
                Kind::Directory => "folder".to_owned(),
                Kind::File => format!("{:?}", reader.read_file(&path, 1 << 20).unwrap()),
                Kind::Symlink | Kind::Other => "link to boot".to_owned(),
            };
            found.insert(PathBuf::from(path.trim_start_matches('/')), what);
        }
        assert_eq!(found, content(&tree));
        let inspected = inspect(&iso).unwrap();
        assert_eq!(inspected.id.as_str(), "proxmox-ve-9.2-1");
        assert_eq!(inspected.volume_id, "PVE");
        drop(dir);
    }
}

#[test]
fn names_longer_than_a_record_and_deep_folders_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path(), 0);
    let long = "n".repeat(240);
    let deep = "a/b/c/d/e/f/g/h/i/j";
    fs::create_dir_all(tree.join(deep)).unwrap();
    fs::write(tree.join(deep).join("deepest"), "deep").unwrap();
    fs::write(tree.join(&long), "long").unwrap();
    let iso = build(dir.path(), &tree, Style::Plain);
    let image = fs::read(&iso).unwrap();
    let reader = Iso::open(&image[..]).unwrap();
    assert_eq!(reader.read_file(&format!("/{long}"), 10).unwrap(), b"long");
    assert_eq!(reader.read_file(&format!("/{deep}/deepest"), 10).unwrap(), b"deep");
    let view = view_of(&image, "mode");
    let target = dir.path().join("view.iso");
    materialise(&iso, &view, &target);
    assert_eq!(extract(&target, &dir.path().join("out")).len(), content(&tree).len() + 1);
}

#[test]
fn images_with_flipped_bits_never_panic() {
    let Case { dir, iso, .. } = case(20, Style::Joliet);
    let original = fs::read(&iso).unwrap();
    // A small generator with a fixed seed: the same 3,000 damaged images each time.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut image = original.clone();
    for _ in 0..3000 {
        let mut damaged = Vec::new();
        for _ in 0..1 + next(20) {
            let at = 32_768 + next(60_000);
            damaged.push(at);
            image[at] ^= 1 << next(8);
        }
        if let Ok(reader) = Iso::open(&image[..]) {
            let _ = reader.walk();
            let _ = reader.find_file("/boot/linux26");
            if let Ok(layout) = ViewLayout::plan(&reader) {
                let view = layout.view(b"mode").unwrap();
                let mut sum = 0;
                for segment in view.segments(0..view.len()) {
                    sum += match segment {
                        Segment::Bytes(bytes) => bytes.len() as u64,
                        Segment::Original { len, .. } => len,
                    };
                }
                assert_eq!(sum, view.len());
            }
        }
        for at in damaged {
            image[at] = original[at];
        }
    }
    drop(dir);
}
