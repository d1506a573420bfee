//! An imported Proxmox VE ISO.

use serde::{Deserialize, Serialize};

use super::id::{ImageId, JobId};
use super::time::Timestamp;

/// One image known to the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id, derived from product and release.
    pub id: ImageId,
    /// File below `data_dir/images/`.
    pub file_name: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// Size of the installer's initrd inside it, in bytes: with `size` it decides how much memory a machine needs.
    pub initrd_size: u64,
    /// SHA-256 of the whole file, lower-case hex.
    pub sha256: String,
    /// What `.cd-info` says.
    pub release: Release,
    /// Where the file came from: the path or URL that was given.
    pub source: String,
    /// When the import finished.
    pub imported_at: Timestamp,
    /// The job that imported it.
    pub job: Option<JobId>,
}

/// Product and version of an installer ISO, from `/.cd-info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// `pve` for Proxmox VE.
    pub product: String,
    /// Product in words (`Proxmox VE`).
    pub product_long: String,
    /// `RELEASE`, for example `9.2`. Chooses the answer's dialect.
    pub release: String,
    /// `ISORELEASE`, for example `1`.
    pub iso_release: String,
}

impl Release {
    /// Major and minor number when `release` begins with `N.N`.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.release.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some((major, minor))
    }
}
