//! The tree that containers are copies of: Debian as a `debian-12-standard` container has it, and less rather than more,
//! so that an app that forgot to ask for a package is caught. Made once, from the machine's own mirror.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::Digest;

use crate::container::{GUEST, MIRROR_PORT, OUTSIDE};
use crate::mirror::{Mirror, output};

/// Release of the tree, the one that the apps' `ostemplate` names.
pub(crate) const SUITE: &str = "bookworm";
/// Beside Debian's essential packages and apt.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,ifupdown,iproute2,iputils-ping,netbase,procps,ca-certificates,\
    openssh-server,cron,logrotate,rsyslog,less,nano";

/// An archive of the tree.
#[derive(Debug)]
pub(crate) struct Root {
    archive: PathBuf,
}

impl Root {
    /// The archive below `cache`, made if it is not there or was made in another way.
    pub(crate) fn prepare(cache: &Path, mirror: &Mirror) -> Result<Self> {
        let archive = cache.join("root.tar");
        let stamp = cache.join("root.stamp");
        let wanted: String = sha2::Sha256::digest(format!(
            "v1 {SUITE} {PACKAGES} {} {}",
            mirror.sources(),
            mirror.apt_conf(None)
        ))
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
        if archive.exists() && std::fs::read_to_string(&stamp).is_ok_and(|s| s == wanted) {
            return Ok(Self { archive });
        }
        println!("provision: making the Debian tree ({SUITE})");
        let sources = cache.join("sources.list");
        std::fs::write(&sources, mirror.sources())?;
        let part = cache.join("part.tar");
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap.args(["--quiet", "--mode=root", "--variant=minbase", "--include", PACKAGES]);
        for line in mirror.apt_conf(None).lines() {
            mmdebstrap.arg(format!("--aptopt={line}"));
        }
        let made = mmdebstrap.arg(SUITE).arg(&part).arg(&sources).output().context("mmdebstrap")?;
        if !made.status.success() {
            bail!("mmdebstrap failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        std::fs::rename(&part, &archive)?;
        std::fs::write(&stamp, wanted)?;
        Ok(Self { archive })
    }

    /// A copy at `path`, set up as the node would: name, address, mirror.
    pub(crate) fn copy(&self, path: &Path, hostname: &str, mirror: &Mirror) -> Result<()> {
        remove(path)?;
        std::fs::create_dir_all(path)?;
        let (tree, archive) = (path.to_string_lossy(), self.archive.to_string_lossy());
        output("tar", &["--extract", "--numeric-owner", "--file", &archive, "--directory", &tree])?;
        let network = format!(
            "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n  address {GUEST}/24\n  gateway {OUTSIDE}\n"
        );
        let proxy = mirror.apt_conf(Some(&format!("{OUTSIDE}:{MIRROR_PORT}")));
        for (file, text) in [
            ("etc/network/interfaces", network.as_str()),
            ("etc/hostname", &format!("{hostname}\n")),
            ("etc/hosts", &format!("127.0.0.1 localhost\n{GUEST} {hostname}\n")),
            ("etc/apt/sources.list", mirror.sources()),
            ("etc/apt/apt.conf.d/90provision", &proxy),
        ] {
            std::fs::write(path.join(file), text).with_context(|| file.to_owned())?;
        }
        // mmdebstrap leaves the sources that it was given, for this machine's addresses.
        for left in std::fs::read_dir(path.join("etc/apt/sources.list.d"))? {
            std::fs::remove_file(left?.path())?;
        }
        Ok(())
    }
}

/// Removes a copy, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_dir_all(path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
