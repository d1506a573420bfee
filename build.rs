//! Gets the iPXE boot programs and writes the table that `src/assets.rs` includes.
//!
//! Source: `IRONHATCH_IPXE_DIR` when set, else a folder in the target directory that `ipxe/fetch.sh` fills once for all
//! profiles. `fetch.sh` checks the hashes of `ipxe/SHA256SUMS` in both cases.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=IRONHATCH_IPXE_DIR");
    println!("cargo::rerun-if-changed=ipxe/fetch.sh");
    println!("cargo::rerun-if-changed=ipxe/SHA256SUMS");
    if let Err(reason) = embed() {
        for line in reason.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn embed() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let source = match env::var_os("IRONHATCH_IPXE_DIR") {
        Some(folder) => {
            let folder = PathBuf::from(folder);
            fetch(&["--check".as_ref(), folder.as_path()])?;
            folder
        }
        None => {
            let folder = target_folder(&out).join("ipxe");
            fetch(&[folder.as_path()])?;
            folder
        }
    };

    let sums = fs::read_to_string("ipxe/SHA256SUMS")
        .map_err(|e| format!("ipxe/SHA256SUMS cannot be read: {e}"))?;
    let mut table = String::from("&[\n");
    for line in sums.lines() {
        let (hash, name) = line
            .split_once("  ")
            .ok_or_else(|| format!("ipxe/SHA256SUMS: '{line}' is not 'HASH  NAME'"))?;
        let from = source.join(name);
        let to = out.join(name);
        fs::copy(&from, &to)
            .map_err(|e| format!("{} cannot be copied to {}: {e}", from.display(), to.display()))?;
        println!("cargo::rerun-if-changed={}", from.display());
        writeln!(
            table,
            "Embedded {{ name: {name:?}, sha256: {hash:?}, bytes: include_bytes!({:?}) }},",
            to.display().to_string()
        )
        .map_err(|e| e.to_string())?;
    }
    table.push_str("]\n");
    let path = out.join("ipxe_table.rs");
    fs::write(&path, table).map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

/// Runs `ipxe/fetch.sh`, whose messages say what to do.
fn fetch(arguments: &[&Path]) -> Result<(), String> {
    let output = Command::new("sh")
        .arg("ipxe/fetch.sh")
        .args(arguments)
        .output()
        .map_err(|e| format!("ipxe/fetch.sh cannot be run, a POSIX shell is needed: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut reason = String::from("the iPXE boot programs are not available (see ipxe/README.md)");
    let text = String::from_utf8_lossy(&output.stderr);
    for line in text.lines() {
        let _ = write!(reason, "\n{line}");
    }
    Err(reason)
}

/// The target directory, shared by all profiles: cargo's `OUT_DIR` is `TARGET_DIR/[TRIPLE/]PROFILE/build/NAME/out`.
fn target_folder(out: &Path) -> PathBuf {
    let Some(base) = out.ancestors().nth(4) else { return out.to_owned() };
    let triple = env::var_os("TARGET");
    match base.parent() {
        Some(parent) if base.file_name() == triple.as_deref() => parent.to_owned(),
        _ => base.to_owned(),
    }
}
