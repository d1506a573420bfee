//! `[lxc]`, `[gpu]` and `[[mounts]]`: the container that an app wants.

use super::{Context, key, provision, text, unique};
use crate::config::document::{Node, Value};
use crate::config::read::{Located, Section, show};
use crate::domain::app::{Feature, GpuNeed, LxcDefaults, Mount};
use crate::domain::gpu::{GpuProfile, GpuVendor};
use crate::domain::id::{BridgeName, StorageId};
use crate::plan::guest::gpu::inside;

const FEATURES: [(&str, Feature); 3] =
    [("nesting", Feature::Nesting), ("keyctl", Feature::Keyctl), ("fuse", Feature::Fuse)];

pub(super) fn lxc(root: &Section<'_>, cx: &Context<'_>) -> Option<LxcDefaults> {
    let Some(section) = root.section("lxc") else {
        root.missing("lxc", "the container it wants, at least ostemplate = \"debian-12\"");
        return None;
    };
    let ostemplate = ostemplate(&section, cx);
    let defaults = section.section("defaults");
    section.finish();
    let lxc = match defaults {
        Some(defaults) => {
            let read = sizes(&defaults, cx);
            defaults.finish();
            read
        }
        None => LxcDefaults {
            ostemplate: String::new(),
            unprivileged: true,
            cores: CORES,
            memory_mb: MEMORY_MB,
            swap_mb: SWAP_MB,
            disk_gb: DISK_GB,
            min_memory_mb: MIN_MEMORY_MB,
            min_disk_gb: MIN_DISK_GB,
            bridge: None,
            storage: None,
            features: Vec::new(),
            onboot: true,
        },
    };
    Some(LxcDefaults { ostemplate: ostemplate?, ..lxc })
}

const CORES: u32 = 1;
const MEMORY_MB: u32 = 512;
const SWAP_MB: u32 = 512;
const DISK_GB: u32 = 8;
const MIN_MEMORY_MB: u32 = 64;
const MIN_DISK_GB: u32 = 1;

fn sizes(section: &Section<'_>, cx: &Context<'_>) -> LxcDefaults {
    let unprivileged = section.boolean("unprivileged");
    if let Some(given) = unprivileged.as_ref().filter(|u| !u.value) {
        let message = "a privileged container is offered only where the site allows it: say why in the README";
        cx.findings.warn_at(given, message);
    }
    let cores = section.within("cores", 1..=512).map_or(CORES, |c| c.value);
    let memory = section.within("memory_mb", 16..=4 * 1024 * 1024).map_or(MEMORY_MB, |m| m.value);
    let swap = section.within("swap_mb", 0..=4 * 1024 * 1024).map_or(SWAP_MB, |s| s.value);
    let disk = section.within("disk_gb", 1..=64 * 1024).map_or(DISK_GB, |d| d.value);
    let least = |key, limits, default: u32, proposed: u32, what: &str| {
        let Some(given) = section.within(key, limits) else { return default.min(proposed) };
        if given.value > proposed {
            let message = format!("{} is more than {what} proposes ({proposed})", given.value);
            cx.findings.wrong_at(&given, message);
        }
        given.value
    };
    let min_memory_mb =
        least("min_memory_mb", 16..=4 * 1024 * 1024, MIN_MEMORY_MB, memory, "memory_mb");
    let min_disk_gb = least("min_disk_gb", 1..=64 * 1024, MIN_DISK_GB, disk, "disk_gb");
    let bridge = section.filled("bridge");
    if let Some(given) = &bridge
        && let Err(error) = given.value.parse::<BridgeName>()
    {
        cx.findings.wrong_at(given, format!("{error}"));
    }
    let storage = section.filled("storage");
    if let Some(given) = &storage
        && let Err(error) = given.value.parse::<StorageId>()
    {
        cx.findings.wrong_at(given, format!("{error}"));
    }
    LxcDefaults {
        ostemplate: String::new(),
        unprivileged: unprivileged.is_none_or(|u| u.value),
        cores,
        memory_mb: memory,
        swap_mb: swap,
        disk_gb: disk,
        min_memory_mb,
        min_disk_gb,
        bridge: bridge.map(|b| b.value),
        storage: storage.map(|s| s.value),
        features: features(section, cx),
        onboot: section.boolean("onboot").is_none_or(|o| o.value),
    }
}

/// `debian-12`, or the file name of a template that the operator keeps.
fn ostemplate(section: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let Some(given) = section.filled("ostemplate") else {
        section.missing("ostemplate", "distribution and major release, as in \"debian-12\"");
        return None;
    };
    let word = |t: &str, more: &[u8]| {
        !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let release = given.value.split_once('-').is_some_and(|(name, release)| {
        name.bytes().all(|b| b.is_ascii_lowercase())
            && !name.is_empty()
            && release.starts_with(|c: char| c.is_ascii_digit())
            && word(release, b".")
    });
    let archive = [".tar.zst", ".tar.xz", ".tar.gz"]
        .iter()
        .find_map(|end| given.value.strip_suffix(end))
        .is_some_and(|stem| {
            stem.len() <= 120 && !stem.starts_with(['.', '-']) && word(stem, b"._+-")
        });
    if !release && !archive {
        let message = format!(
            "\"{}\" is neither a distribution with its major release, as in \"debian-12\", nor the name of a template archive (….tar.zst)",
            show(&given.value)
        );
        cx.findings.wrong_at(&given, message);
        return None;
    }
    Some(given.value)
}

/// A list of names, or Proxmox VE's own way of writing them: `["nesting=1"]`, `{ nesting = true }`.
fn features(section: &Section<'_>, cx: &Context<'_>) -> Vec<Feature> {
    let Some(node) = section.node("features") else { return Vec::new() };
    let mut asked: Vec<(Located<String>, bool)> = Vec::new();
    let located =
        |value: String, (line, column)| Located { value, key: node.key.clone(), line, column };
    match &node.value.value {
        Value::Null => {}
        Value::Array(items) => {
            for item in items {
                match &item.value {
                    Value::String(text) => {
                        let (name, on) = match text.split_once('=') {
                            Some((name, "1")) => (name, true),
                            Some((name, "0")) => (name, false),
                            _ => (text.as_str(), true),
                        };
                        asked.push((located(name.to_owned(), (item.line, item.column)), on));
                    }
                    other => wrong_feature(&node, (item.line, item.column), other, cx),
                }
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                let place = (entry.line, entry.column);
                match &entry.node.value {
                    Value::Bool(on) => asked.push((located(entry.key.clone(), place), *on)),
                    Value::Integer(n @ 0..=1) => {
                        asked.push((located(entry.key.clone(), place), *n == 1))
                    }
                    other => wrong_feature(&node, place, other, cx),
                }
            }
        }
        other => wrong_feature(&node, (node.line, node.column), other, cx),
    }
    let mut features = Vec::new();
    for (name, on) in asked {
        match FEATURES.iter().find(|(word, _)| *word == name.value) {
            Some((_, feature)) if on && !features.contains(feature) => features.push(*feature),
            Some(_) => {}
            None => not_known(&name, &FEATURES.map(|(word, _)| word), cx),
        }
    }
    features
}

fn wrong_feature(node: &Located<&Node>, place: (usize, usize), value: &Value, cx: &Context<'_>) {
    let message =
        format!("a list of names is expected, as in [\"nesting\"]; this is {}", value.kind());
    cx.findings.wrong(&node.key, place, message);
}

fn not_known(given: &Located<String>, words: &[&str], cx: &Context<'_>) {
    let message = format!("\"{}\" is not known; allowed: {}", show(&given.value), words.join(", "));
    cx.findings.wrong_at(given, message);
}

/// A list of words out of a table, each once.
fn listed<T: Copy + PartialEq>(
    section: &Section<'_>,
    key: &'static str,
    table: &[(&'static str, T)],
    cx: &Context<'_>,
) -> Vec<T> {
    let mut values = Vec::new();
    for word in section.strings(key).unwrap_or_default() {
        match table.iter().find(|(name, _)| *name == word.value) {
            Some((_, value)) if values.contains(value) => {
                cx.findings.wrong_at(&word, format!("\"{}\" is listed twice", word.value));
            }
            Some((_, value)) => values.push(*value),
            None => {
                let words: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
                not_known(&word, &words, cx);
            }
        }
    }
    values
}

pub(super) fn gpu(root: &Section<'_>, cx: &Context<'_>) -> Option<GpuNeed> {
    let section = root.section("gpu")?;
    let vendors =
        [("intel", GpuVendor::Intel), ("amd", GpuVendor::Amd), ("nvidia", GpuVendor::Nvidia)];
    let supported = listed(&section, "supported", &vendors, cx);
    let required = section.boolean("required");
    let names = [("dri-render", GpuProfile::DriRender), ("nvidia-basic", GpuProfile::NvidiaBasic)];
    let profiles = section.node("profiles").map(|p| (p.line, p.column));
    let place = profiles.unwrap_or(section.place());
    let mut profiles = listed(&section, "profiles", &names, cx);
    let notes = text::optional(&section, "notes", 1000, cx).unwrap_or_default();
    let libraries = text::lines(&section, "libraries", 40, cx);
    let user = provision::user(&section, cx);
    let check = programs(&section, cx);
    let nvidia = supported.contains(&GpuVendor::Nvidia);
    let render = supported.iter().any(|v| *v != GpuVendor::Nvidia);
    if profiles.is_empty() {
        // The usual ones of the vendors, in their order.
        for vendor in &supported {
            let profile = match vendor {
                GpuVendor::Nvidia => GpuProfile::NvidiaBasic,
                GpuVendor::Intel | GpuVendor::Amd => GpuProfile::DriRender,
            };
            if !profiles.contains(&profile) {
                profiles.push(profile);
            }
        }
    }
    let wrong = |message: &str| cx.findings.wrong(&section.path("profiles"), place, message);
    if nvidia && !profiles.contains(&GpuProfile::NvidiaBasic) {
        wrong("\"nvidia\" is supported: the profile \"nvidia-basic\" is missing");
    }
    if render && !profiles.contains(&GpuProfile::DriRender) {
        wrong("\"intel\" or \"amd\" is supported: the profile \"dri-render\" is missing");
    }
    if profiles.contains(&GpuProfile::NvidiaBasic) && !nvidia {
        wrong("\"nvidia-basic\" is listed, but \"nvidia\" is not supported");
    }
    if supported.is_empty() {
        section.missing("supported", "the vendors it works with: [\"intel\", \"amd\", \"nvidia\"]");
        if let Some(given) = required.as_ref().filter(|r| r.value) {
            cx.findings.wrong_at(given, "a GPU is required, but none is supported");
        }
    }
    section.finish();
    let required = required.is_some_and(|r| r.value);
    Some(GpuNeed { supported, required, profiles, notes, libraries, user, check })
}

/// Programs that look at GPUs. They get arguments of ours, so only those are taken whose arguments are known.
fn programs(section: &Section<'_>, cx: &Context<'_>) -> Vec<String> {
    let mut programs = Vec::new();
    for given in text::located_lines(section, "check", 200, cx) {
        let path = given.value.as_str();
        let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/+".contains(&b));
        let whole = !path.contains('/')
            || (path.starts_with('/') && !path.contains("/../") && !path.contains("//"));
        if inside::tool(path).is_some() && plain && whole {
            programs.push(given.value);
        } else {
            let message = format!(
                "\"{}\" is not vainfo or nvidia-smi, or an absolute path that ends with one of them",
                show(path)
            );
            cx.findings.wrong_at(&given, message);
        }
    }
    programs
}

pub(super) fn mounts(root: &Section<'_>, cx: &Context<'_>) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut seen = Vec::new();
    for section in root.tables("mounts") {
        let key = key(&section, cx);
        let label = text::optional(&section, "label", 80, cx);
        let path = section.filled("path");
        match &path {
            None => section.missing("path", "an absolute path in the container"),
            Some(given) => {
                if let Err(rule) = mount_path(&given.value) {
                    cx.findings.wrong_at(given, format!("\"{}\" {rule}", show(&given.value)));
                } else if mounts.iter().any(|m| m.path == given.value) {
                    let message = format!("\"{}\" is mounted twice", given.value);
                    cx.findings.wrong_at(given, message);
                }
            }
        }
        let size = section.within("size_gb", 1..=64 * 1024);
        if size.is_none() {
            section.missing("size_gb", "the proposed size in GiB");
        }
        let optional = section.boolean("optional").is_some_and(|o| o.value);
        let backup = section.boolean("backup").is_none_or(|b| b.value);
        section.finish();
        let (Some(key), Some(path), Some(size)) = (key, path, size) else { continue };
        let label = label.unwrap_or_else(|| key.value.clone());
        let mount = Mount {
            key: key.value.clone(),
            label,
            path: path.value,
            size_gb: size.value,
            optional,
            backup,
        };
        mounts.extend(unique(&mut seen, &key, "mounts", mount, cx));
    }
    mounts
}

/// Absolute, normal, and nothing that the system or our own files need.
fn mount_path(path: &str) -> Result<(), &'static str> {
    let normal = path.len() <= 200
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        });
    // Commas and '=' separate the parts of a mount point's property.
    if !normal || !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/+@".contains(&b)) {
        return Err("is not an absolute path of letters, digits and the characters . _ - + @ /");
    }
    let taken = [
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/etc",
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/boot",
        "/root",
        "/tmp",
        "/opt/appstore",
    ];
    let below =
        |dir: &str| path == dir || path.strip_prefix(dir).is_some_and(|r| r.starts_with('/'));
    if path == "/var" || path == "/opt" || taken.iter().any(|dir| below(dir)) {
        return Err("belongs to the system; use /srv, /var/lib, /home or /opt/NAME");
    }
    Ok(())
}
