//! Gets the iPXE boot programs and writes the table that `src/assets.rs` includes; writes the table of the built-in apps
//! that `src/apps/built_in.rs` includes.
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
    println!("cargo::rerun-if-changed=apps");
    make_small();
    if let Err(reason) = embed().and_then(|()| embed_apps()) {
        for line in reason.lines() {
            println!("cargo::error={line}");
        }
    }
}

/// What ships has its 30,000 relocations as a bitmap, which the C library applies itself: less by three quarters of a MiB.
/// rust-lld knows how, which rustc links with here.
fn make_small() {
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--pack-dyn-relocs=relr");
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

/// Writes every file below `apps/`, by its path there, in the order of the names.
fn embed_apps() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no CARGO_MANIFEST_DIR")?);
    let mut table = String::from("&[\n");
    let apps = root.join("apps");
    if apps.is_dir() {
        list_files(&apps, "", &mut table)?;
    }
    table.push_str("]\n");
    let path = out.join("apps_table.rs");
    fs::write(&path, table).map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

fn list_files(dir: &Path, below: &str, table: &mut String) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let unreadable = |e: std::io::Error| format!("{} cannot be read: {e}", dir.display());
    let mut names: Vec<_> = fs::read_dir(dir)
        .map_err(unreadable)?
        .map(|entry| entry.map(|e| e.file_name()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    names.sort();
    for name in names {
        let path = dir.join(&name);
        let name = name.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))?;
        if name.starts_with('.') {
            continue;
        }
        let name = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let found = fs::symlink_metadata(&path)
            .map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
        if found.is_dir() {
            list_files(&path, &name, table)?;
        } else if found.is_file() {
            let executable = found.permissions().mode() & 0o111 != 0;
            let from = path.display().to_string();
            writeln!(
                table,
                "Embedded {{ path: {name:?}, executable: {executable}, bytes: include_bytes!({from:?}) }},"
            )
            .map_err(|e| e.to_string())?;
        } else {
            return Err(format!("{} is neither a file nor a folder", path.display()));
        }
    }
    Ok(())
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
