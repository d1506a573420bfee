//! Writing what was decided: files with their owner and mode, the difference to what was there, the service.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use similar::TextDiff;

use crate::config::DEFAULT_PATH;
use crate::observe::logging::redact;

/// The group of the service, which must be able to read its configuration.
const GROUP: &str = "ironhatch";

/// Lines that go and come, without secrets; empty when nothing changes.
pub(super) fn diff(path: &Path, old: &str, new: &str) -> String {
    let (old, new) = (redact(old), redact(new));
    let name = path.display().to_string();
    TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(1)
        .header(&name, &name)
        .to_string()
}

/// Puts a file in place in one step: whoever reads it sees the old or the new one. Readable for the service's group, if there
/// is one, and for nobody else.
pub(super) fn file(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let part = path.with_extension("new");
    let _ = std::fs::remove_file(&part);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o640).open(&part)?;
    file.write_all(text.as_bytes())?;
    if let Some(group) = group() {
        // Whoever is not root writes a configuration of their own.
        let _ = chown(&part, None, Some(group));
    }
    file.sync_all()?;
    std::fs::rename(&part, path)
}

/// Read by hand: a static program has no name service.
fn group() -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find(|l| l.split(':').next() == Some(GROUP))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Whether systemd runs here and knows the unit, and this is the configuration that the unit reads.
pub(super) fn service_manager(config: &Path) -> bool {
    config == Path::new(DEFAULT_PATH)
        && Path::new("/run/systemd/system").is_dir()
        && Command::new("systemctl")
            .args(["cat", "ironhatch.service"])
            .output()
            .is_ok_and(|output| output.status.success())
}

/// Enables and (re)starts the service; it has read the new configuration when this returns.
pub(super) fn start_service() -> Result<(), String> {
    for arguments in [["enable", "ironhatch.service"], ["restart", "ironhatch.service"]] {
        let output = Command::new("systemctl")
            .args(arguments)
            .output()
            .map_err(|e| format!("systemctl: {e}"))?;
        if !output.status.success() {
            return Err(format!(
                "systemctl {} failed: {}; `journalctl -u ironhatch` and `ironhatch doctor` tell more",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
    }
    Ok(())
}
