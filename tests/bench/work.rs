//! Where programs are found and where runs keep their files.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

/// Below the build directory: on a real disk, and removed by `cargo clean`.
pub fn work_dir() -> anyhow::Result<PathBuf> {
    let dir = built()?.join("bench-work");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// An empty folder with this name.
pub fn fresh_dir(name: &str) -> anyhow::Result<PathBuf> {
    let dir = work_dir()?.join(name);
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Where cargo put the release programs.
pub fn built() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let dir = exe.parent().context("the build directory")?;
    Ok(dir.to_owned())
}
