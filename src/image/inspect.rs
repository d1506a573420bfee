//! Is this file an installer image that the appliance can serve?

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::MAX_IMAGE_BYTES;
use crate::domain::id::{ImageId, InvalidId};
use crate::domain::image::Release;
use crate::limits::work::CD_INFO_BYTES;
use crate::proto::iso9660::{Extent, Iso, IsoError, ReadFailure, Sectors, ViewError, ViewLayout};

/// What an installer image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// `proxmox-ve-9.2-1`.
    pub id: ImageId,
    /// What `/.cd-info` says.
    pub release: Release,
    /// Volume identifier of the ISO.
    pub volume_id: String,
    /// Length of the file in bytes.
    pub size: u64,
    /// Where `/boot/linux26` is.
    pub kernel: Extent,
    /// Where `/boot/initrd.img` is.
    pub initrd: Extent,
    /// Where the ISO view puts its additions.
    pub layout: ViewLayout,
}

/// Why a file is refused as an image.
#[derive(Debug, thiserror::Error)]
pub enum NotAnInstaller {
    /// Not an image, truncated, damaged, without Rock Ridge, or without kernel or initrd.
    #[error(transparent)]
    Iso(#[from] IsoError),
    /// The mode file cannot be added.
    #[error("the installer's settings cannot be added to the image: {0}")]
    View(ViewError),
    /// An ISO of somebody else.
    #[error("this is not a Proxmox installer: the image has no /.cd-info")]
    NoCdInfo,
    /// `/.cd-info` lacks a line.
    #[error("the image's /.cd-info has no usable {key}")]
    BadCdInfo {
        /// Name of the line.
        key: &'static str,
    },
    /// Another installer of the vendor.
    #[error(
        "this image installs {product_long} ({product}); only Proxmox VE (pve) can be installed"
    )]
    OtherProduct {
        /// `PRODUCT`.
        product: String,
        /// `PRODUCTLONG`.
        product_long: String,
    },
    /// No automated installation.
    #[error(
        "Proxmox VE {release} cannot be installed unattended: {why}; take release 8.2 or later"
    )]
    TooOld {
        /// `RELEASE`.
        release: String,
        /// What is missing.
        why: &'static str,
    },
    /// More than a machine can be handed.
    #[error(
        "the image has {size} bytes; the most that can be handed to a machine is {MAX_IMAGE_BYTES}"
    )]
    TooBig {
        /// Bytes it has.
        size: u64,
    },
    /// Release numbers that make no id.
    #[error("the image's release makes no usable id")]
    BadId(#[from] InvalidId),
}

/// First release with the automated installation.
const OLDEST: (u32, u32) = (8, 2);

/// Looks into the image at `path`. Blocking: reads some dozens of sectors.
///
/// # Errors
/// [`NotAnInstaller`] with the reason.
pub fn inspect(path: &Path) -> Result<Inspected, NotAnInstaller> {
    let file = File::open(path).map_err(|e| unreadable(e.into()))?;
    inspect_sectors(FileSectors::new(Arc::new(file)).map_err(|e| unreadable(e.into()))?)
}

fn unreadable(source: ReadFailure) -> NotAnInstaller {
    NotAnInstaller::Iso(IsoError::Read { offset: 0, source })
}

pub(super) fn inspect_sectors(sectors: impl Sectors) -> Result<Inspected, NotAnInstaller> {
    let size = sectors.len();
    let iso = Iso::open(sectors)?;
    let info = match iso.read_file("/.cd-info", CD_INFO_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(IsoError::Missing { .. }) => return Err(NotAnInstaller::NoCdInfo),
        Err(error) => return Err(error.into()),
    };
    let release = parse_cd_info(&info)?;
    if release.product != "pve" {
        return Err(NotAnInstaller::OtherProduct {
            product: release.product,
            product_long: release.product_long,
        });
    }
    let too_old = |why| NotAnInstaller::TooOld { release: release.release.clone(), why };
    let version = release.version().ok_or(NotAnInstaller::BadCdInfo { key: "RELEASE" })?;
    if version < OLDEST {
        return Err(too_old("automated installation began with 8.2"));
    }
    if matches!(iso.find("/auto-installer-capable"), Err(IsoError::Missing { .. })) {
        return Err(too_old("the image has no /auto-installer-capable"));
    }
    if size > MAX_IMAGE_BYTES {
        return Err(NotAnInstaller::TooBig { size });
    }
    let layout = ViewLayout::plan(&iso).map_err(|error| match error {
        ViewError::Iso(error) => NotAnInstaller::Iso(error),
        error => NotAnInstaller::View(error),
    })?;
    Ok(Inspected {
        id: format!("proxmox-ve-{}-{}", release.release, release.iso_release).parse()?,
        volume_id: iso.volume().id.clone(),
        size,
        kernel: iso.find_file("/boot/linux26")?,
        initrd: iso.find_file("/boot/initrd.img")?,
        layout,
        release,
    })
}

/// Reads the `KEY='value'` lines; unknown ones are skipped.
fn parse_cd_info(text: &str) -> Result<Release, NotAnInstaller> {
    let value = |key: &'static str| {
        text.lines()
            .filter_map(|line| line.trim().split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.trim_matches(['\'', '"']).chars().take(64).collect::<String>())
            .filter(|value| !value.is_empty())
            .ok_or(NotAnInstaller::BadCdInfo { key })
    };
    Ok(Release {
        product: value("PRODUCT")?,
        product_long: value("PRODUCTLONG")?,
        release: value("RELEASE")?,
        iso_release: value("ISORELEASE")?,
    })
}

/// A file as [`Sectors`].
#[derive(Debug, Clone)]
pub(super) struct FileSectors {
    file: Arc<File>,
    len: u64,
}

impl FileSectors {
    pub(super) fn new(file: Arc<File>) -> std::io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl Sectors for FileSectors {
    fn len(&self) -> u64 {
        self.len
    }
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadFailure> {
        Ok(self.file.read_exact_at(buf, offset)?)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::proto::iso9660::sample;

    fn refused(image: &[u8]) -> String {
        inspect_sectors(image).expect_err("refused").to_string()
    }

    fn with(info: &str) -> Vec<u8> {
        sample::image(&[
            (".cd-info", info.as_bytes()),
            ("auto-installer-capable", b""),
            ("boot/linux26", b"k"),
            ("boot/initrd.img", b"i"),
        ])
    }

    #[test]
    fn an_installer_is_recognised_with_its_release() {
        let image = sample::installer("9.2");
        let found = inspect_sectors(&image[..]).unwrap();
        assert_eq!(found.id.as_str(), "proxmox-ve-9.2-1");
        assert_eq!(found.release.version(), Some((9, 2)));
        assert_eq!(found.release.product_long, "Proxmox VE");
        assert_eq!((found.kernel.len, found.initrd.len), (5000, 9001));
        assert_eq!(found.volume_id, "SAMPLE");
    }

    #[test]
    fn what_is_not_an_installer_is_refused_with_the_reason() {
        assert!(refused(&sample::image(&[("README", b"x")])).contains("no /.cd-info"));
        assert!(refused(&with("PRODUCT='pve'\n")).contains("PRODUCTLONG"));
        let backup = with(&sample::cd_info("pbs", "Proxmox Backup Server", "3.4"));
        assert!(refused(&backup).contains("installs Proxmox Backup Server (pbs)"));
        let old = with(&sample::cd_info("pve", "Proxmox VE", "8.1"));
        assert!(refused(&old).contains("8.1 cannot be installed unattended"));
        let unnumbered = with(&sample::cd_info("pve", "Proxmox VE", "ten"));
        assert!(refused(&unnumbered).contains("no usable RELEASE"));
        let strange = with(&sample::cd_info("pve", "Proxmox VE", "9.2.a b"));
        assert!(refused(&strange).contains("no usable id"));
        let info = sample::cd_info("pve", "Proxmox VE", "8.2");
        let incapable = sample::image(&[(".cd-info", info.as_bytes())]);
        assert!(refused(&incapable).contains("no /auto-installer-capable"));
        let no_kernel =
            sample::image(&[(".cd-info", info.as_bytes()), ("auto-installer-capable", b"")]);
        assert!(refused(&no_kernel).contains("no /boot/linux26"));
    }

    #[test]
    fn an_image_beyond_the_archives_limit_is_refused() {
        /// A long file of which only the beginning is written.
        struct Long(Vec<u8>);
        impl Sectors for Long {
            fn len(&self) -> u64 {
                MAX_IMAGE_BYTES + 1
            }
            fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadFailure> {
                self.0.read(offset, buf)
            }
        }
        let error = inspect_sectors(Long(sample::installer("9.2"))).unwrap_err();
        assert!(matches!(error, NotAnInstaller::TooBig { .. }), "{error}");
    }
}
