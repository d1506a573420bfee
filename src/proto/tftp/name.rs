//! File names as firmware sends them, and what they mean.
//!
//! Several ROMs copy DHCP option 67 or the `file` field without ending it, so that 0xFF or leftovers of the packet
//! follow the name; others lose its last character (`pxe-netboot` 10.2).

/// A cleaned name: printable ASCII, relative, `/` between parts, no `..`, not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName(String);

/// The name can never be a boot file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing is left after cleaning.
    #[error("the file name is empty")]
    Empty,
    /// It tries to leave the folder.
    #[error("the file name contains '..'")]
    Climbs,
}

impl FileName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Cleans a name off the wire.
///
/// In this order: cut at the first NUL and at the first byte that is not printable ASCII; drop a `tftp://host/` prefix;
/// `\` becomes `/`; empty parts and `.` vanish; leading `/` goes.
///
/// # Errors
/// [`BadName`] when nothing is left or a part is `..`.
pub fn clean(raw: &[u8]) -> Result<FileName, BadName> {
    let printable = |b: &u8| (0x20..0x7f).contains(b);
    let end = raw.iter().position(|b| !printable(b)).unwrap_or(raw.len());
    let text: String = raw
        .get(..end)
        .unwrap_or_default()
        .iter()
        .map(|b| if *b == b'\\' { '/' } else { char::from(*b) })
        .collect();
    let text = text.trim();
    let path = match text.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("tftp://") => {
            text.get(7..).unwrap_or_default().split_once('/').map_or("", |(_host, path)| path)
        }
        _ => text,
    };
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(BadName::Climbs),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(BadName::Empty);
    }
    Ok(FileName(parts.join("/")))
}

/// Finds the file that a cleaned name means: an exact match, else one that differs in case only, else, for boot
/// programs, the only one whose last character is missing in the request.
///
/// `names` are the files that exist.
#[must_use]
pub fn resolve<'n>(
    wanted: &FileName,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Option<&'n str> {
    let wanted = wanted.as_str();
    if let Some(exact) = names.clone().find(|n| *n == wanted) {
        return Some(exact);
    }
    if let Some(same) = names.clone().find(|n| n.eq_ignore_ascii_case(wanted)) {
        return Some(same);
    }
    let mut cut = names.filter(|n| {
        is_boot_program(n)
            && n.len() == wanted.len() + 1
            && n.get(..wanted.len()).is_some_and(|head| head.eq_ignore_ascii_case(wanted))
    });
    match (cut.next(), cut.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn is_boot_program(name: &str) -> bool {
    [".efi", ".kpxe", ".kkpxe", ".pxe"]
        .iter()
        .any(|end| name.len() > end.len() && name.to_ascii_lowercase().ends_with(end))
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    const FILES: [&str; 4] = ["undionly.kpxe", "snponly.efi", "ipxe.efi", "autoexec.ipxe"];

    fn found(raw: &[u8]) -> Option<&'static str> {
        resolve(&clean(raw).ok()?, FILES.iter().copied())
    }

    #[test]
    fn garbled_names_still_name_their_file() {
        for raw in [
            &b"snponly.efi"[..],
            b"/snponly.efi",
            b"//./snponly.efi",
            b"\\snponly.efi",
            b"SNPONLY.EFI",
            b"snponly.efi\xff",
            b"snponly.efi\xff\xff\xff\x1b\x07",
            b"snponly.efi\0junk",
            b"snponly.ef",
            b"tftp://192.0.2.10/snponly.efi",
            b"TFTP://192.0.2.10//snponly.efi",
            b" snponly.efi ",
        ] {
            assert_eq!(found(raw), Some("snponly.efi"), "{:?}", String::from_utf8_lossy(raw));
        }
        assert_eq!(found(b"undionly.kpx"), Some("undionly.kpxe"));
    }

    #[test]
    fn names_that_mean_nothing_find_nothing() {
        for raw in [
            &b"snponly.e"[..],
            b"ipxe",
            b"autoexec.ipx",
            b"sub/snponly.efi",
            b"snponly.efi.bak",
            b"tftp://192.0.2.10",
            b".",
            b"/",
            b"\xff",
        ] {
            assert_eq!(found(raw), None, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn a_cut_name_that_fits_two_files_finds_none() {
        let name = clean(b"ab.ef").expect("a clean name");
        assert_eq!(resolve(&name, ["ab.efi", "AB.EFI"].into_iter()), None);
    }

    #[test]
    fn nothing_climbs_out() {
        for raw in [&b"../etc/shadow"[..], b"a/../../x", b"..\\..\\boot.ini", b"tftp://h/../x"] {
            assert_eq!(clean(raw), Err(BadName::Climbs), "{:?}", String::from_utf8_lossy(raw));
        }
    }

    proptest! {
        #[test]
        fn every_cleaned_name_is_plain(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(name) = clean(&raw) {
                let name = name.as_str();
                prop_assert!(!name.is_empty() && !name.starts_with('/'));
                prop_assert!(name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'\\'));
                prop_assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
