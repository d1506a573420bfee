//! What a rebuild's own ISO costs: a view of the image, beside a copy that xorriso writes as people do it today.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::dhcp::mac_text;
use super::http::{first_bytes, view, with_image};
use super::place::Place;
use super::row::{Better, Row, Side, Target, row};
use super::work::fresh_dir;

pub const NOTES: &str = "From the request to rebuild a host, over all checks, keys and durable records, to the first bytes of its own \
ISO at the machine; the second figure is the ISO alone, from the boot script to the first bytes. The peer puts one file into a copy \
of the same 1.5 GB image. Disk is what one more rebuild takes.";

const RUNS: usize = 5;
/// The copies take seconds each.
const COPIES: usize = 3;

pub fn run(emit: &mut dyn FnMut(Row)) -> anyhow::Result<()> {
    let place = Place::new()?;
    let (daemon, image) = with_image(&place, "iso")?;
    let ours = || Side::new("ironhatch");
    let peer = || Side::new("xorriso re-map into a copy");
    let [mut whole, mut alone, mut disk] = [ours(), ours(), ours()];
    let [mut copy_time, mut copy_disk] = [peer(), peer()];
    for n in 0..RUNS {
        let mac = mac_text(n as u32 + 1);
        let name = format!("pve{n}");
        daemon.register(&name, &mac)?;
        let before = bytes_below(&daemon.dir)?;
        let begun = Instant::now();
        daemon.rebuild(&name)?;
        while daemon.get(&format!("/api/hosts/{name}"))?["state"] != "pxe_ready" {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "{name} is not armed");
            std::thread::sleep(Duration::from_micros(200));
        }
        let path = view(&place, &mac)?;
        let armed = Instant::now();
        first_bytes(&place, &path)?;
        whole.add(Ok(begun.elapsed().as_secs_f64() * 1e3));
        alone.add(Ok(armed.elapsed().as_secs_f64() * 1e3));
        disk.add(Ok((bytes_below(&daemon.dir)? - before).max(0.0) / 1e6));
        if n < COPIES {
            match copy(&image) {
                Ok((milliseconds, megabytes)) => {
                    copy_time.add(Ok(milliseconds));
                    copy_disk.add(Ok(megabytes));
                }
                Err(error) => copy_time.add(Err(error)),
            }
        }
    }
    let below = Target::Below;
    let times = std::slice::from_ref(&copy_time);
    emit(row(
        "iso: from the request to rebuild to its ISO's first bytes",
        "ms",
        Better::Low,
        Target::None,
        &whole,
        times,
    ));
    emit(row("iso: its ISO alone", "ms", Better::Low, below(10.0), &alone, times));
    emit(row(
        "iso: disk for one more rebuild",
        "MB",
        Better::Low,
        below(10.0),
        &disk,
        &[copy_disk],
    ));
    Ok(())
}

/// Bytes on the disk below a folder.
pub fn bytes_below(dir: &Path) -> anyhow::Result<f64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut all = 0.0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        all +=
            if metadata.is_dir() { bytes_below(&path)? } else { metadata.blocks() as f64 * 512.0 };
    }
    Ok(all)
}

/// Milliseconds and megabytes of one copy with a mode file.
fn copy(image: &Path) -> anyhow::Result<(f64, f64)> {
    let dir = fresh_dir("xorriso")?;
    fs::write(dir.join("mode.toml"), "mode = \"http\"\n")?;
    let begun = Instant::now();
    let done = Command::new("xorriso")
        .args(["-indev"])
        .arg(image)
        .arg("-outdev")
        .arg(dir.join("copy.iso"))
        .args(["-boot_image", "any", "keep", "-map"])
        .arg(dir.join("mode.toml"))
        .arg("/auto-installer-mode.toml")
        .output()
        .context("xorriso")?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    anyhow::ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let megabytes = bytes_below(&dir)? / 1e6;
    fs::remove_dir_all(&dir)?;
    Ok((milliseconds, megabytes))
}
