//! The boot files of this appliance: iPXE programs embedded at build time, replaced by the operator's where there are
//! any, and the generated `autoexec.ipxe`.
//!
//! Built once at the start, then shared by TFTP and HTTP. Nothing else can be read over TFTP.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::limits::work::BOOT_FILE_BYTES;
use crate::proto::tftp::name::{self, FileName};
use crate::proto::tftp::{File, FileSource};

/// One file that was embedded at build time.
#[derive(Debug)]
pub struct Embedded {
    /// Its name on TFTP and HTTP.
    pub name: &'static str,
    /// SHA-256 in lower-case hex, as pinned in `ipxe/SHA256SUMS`.
    pub sha256: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

/// The embedded iPXE boot programs; names, version and licence are in `ipxe/README.md`.
pub const EMBEDDED: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/ipxe_table.rs"));

/// The script that a UEFI iPXE without an embedded script fetches from the place it was loaded from.
pub const AUTOEXEC: &str = "autoexec.ipxe";

/// Name to content, for everything that firmware may fetch before it runs a script of ours.
#[derive(Debug, Clone, Default)]
pub struct BootFiles {
    files: BTreeMap<String, Bytes>,
}

/// The folder with the operator's boot files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplacementError {
    /// The folder or one of its files cannot be read.
    #[error("pxe.boot_files_dir: {} cannot be read", path.display())]
    Unreadable {
        /// Folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than any boot program.
    #[error(
        "pxe.boot_files_dir: {} is larger than {BOOT_FILE_BYTES} bytes; boot programs are a few MB at most",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl BootFiles {
    /// The embedded files and `autoexec.ipxe` with this text.
    #[must_use]
    pub fn embedded(autoexec: &str) -> Self {
        let mut files: BTreeMap<_, _> = EMBEDDED
            .iter()
            .map(|file| (file.name.to_owned(), Bytes::from_static(file.bytes)))
            .collect();
        files.insert(AUTOEXEC.to_owned(), Bytes::copy_from_slice(autoexec.as_bytes()));
        Self { files }
    }

    /// Takes every plain file of `folder` (not its subfolders) over the embedded one of the same name, or beside them,
    /// and logs each. Hidden files are left out. Reads from disk: call it at the start only.
    ///
    /// # Errors
    /// [`ReplacementError`] when the folder or one of its files cannot be used: an operator who names a folder wants
    /// it served, not half of it.
    pub fn replace_from(&mut self, folder: &Path) -> Result<(), ReplacementError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ReplacementError::Unreadable { path, source }
        };
        for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            if name.starts_with('.') || !path.is_file() {
                continue;
            }
            let mut bytes = Vec::new();
            std::fs::File::open(&path)
                .and_then(|file| file.take(BOOT_FILE_BYTES + 1).read_to_end(&mut bytes))
                .map_err(unreadable(&path))?;
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BOOT_FILE_BYTES {
                return Err(ReplacementError::TooLarge { path });
            }
            let size = bytes.len();
            let known = self.name_of(name);
            let name = known.map_or_else(|| name.to_owned(), str::to_owned);
            let replaced = self.files.insert(name.clone(), bytes.into()).is_some();
            tracing::info!(file = name, size, replaced, path = %path.display(), "took a boot file of the operator");
        }
        Ok(())
    }

    /// The content of a file by its name; case does not matter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Bytes> {
        self.files.get(self.name_of(name)?).cloned()
    }

    /// Names and contents, in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    fn name_of(&self, name: &str) -> Option<&str> {
        if let Some((exact, _)) = self.files.get_key_value(name) {
            return Some(exact);
        }
        self.files.keys().find(|n| n.eq_ignore_ascii_case(name)).map(String::as_str)
    }
}

impl FileSource for BootFiles {
    fn find(&self, wanted: &FileName) -> Option<File> {
        let name = name::resolve(wanted, self.files.keys().map(String::as_str))?;
        Some(File { name: name.to_owned(), bytes: self.files.get(name)?.clone() })
    }
}

#[cfg(test)]
mod test {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::domain::boot::BootProgram;

    #[test]
    fn the_embedded_programs_are_the_pinned_ones() {
        for program in [BootProgram::UndionlyKpxe, BootProgram::SnponlyEfi, BootProgram::IpxeEfi] {
            let name = program.file_name();
            let file = EMBEDDED.iter().find(|f| f.name == name).expect(name);
            let hash: String =
                Sha256::digest(file.bytes).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hash, file.sha256, "{name}");
        }
    }

    #[test]
    fn bios_programs_fit_below_640_kb_and_uefi_programs_are_pe_images() {
        let files = BootFiles::embedded("#!ipxe\n");
        assert!(files.get("undionly.kpxe").expect("embedded").len() < 500_000);
        for name in ["snponly.efi", "ipxe.efi"] {
            assert!(files.get(name).expect("embedded").starts_with(b"MZ"), "{name}");
        }
    }

    #[test]
    fn the_operators_files_go_over_the_embedded_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("SNPONLY.efi"), b"mine").expect("written");
        std::fs::write(folder.path().join("arm64.efi"), b"arm").expect("written");
        std::fs::write(folder.path().join(".hidden"), b"x").expect("written");
        std::fs::create_dir(folder.path().join("sub")).expect("made");
        let mut files = BootFiles::embedded("#!ipxe\n");
        let before = files.iter().count();
        files.replace_from(folder.path()).expect("usable");
        assert_eq!(files.get("snponly.efi"), Some(Bytes::from_static(b"mine")));
        assert_eq!(files.get("arm64.efi"), Some(Bytes::from_static(b"arm")));
        assert_eq!(files.iter().count(), before + 1);
        assert_eq!(files.get("Autoexec.IPXE"), Some(Bytes::from_static(b"#!ipxe\n")));
    }

    #[test]
    fn a_folder_that_is_missing_or_holds_an_iso_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = BootFiles::embedded("#!ipxe\n");
        let missing = folder.path().join("nope");
        let error = files.replace_from(&missing).expect_err("missing").to_string();
        assert!(error.contains("nope"), "{error}");
        let big = std::fs::File::create(folder.path().join("big.iso")).expect("made");
        big.set_len(BOOT_FILE_BYTES + 1).expect("sparse");
        let error = files.replace_from(folder.path()).expect_err("too large").to_string();
        assert!(error.contains("big.iso") && error.contains("larger"), "{error}");
    }
}
