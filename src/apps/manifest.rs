//! Reads `app.toml`, or `app.yml` with the same keys, into a [`Manifest`]. All problems at once, each with its place.
//!
//! Pure: what lies beside the manifest is passed in. The format is described in `docs/apps.md` and published as JSON
//! Schema; a test holds reader and schema together.

mod container;
mod input;
mod provision;
mod result;
#[cfg(test)]
mod test;
mod text;

use std::path::Path;

pub(super) use text::check_path;

use super::folder::Files;
use crate::config::read::{Findings, Located, Section, parse, show};
use crate::config::{Problem, Warning};
use crate::domain::app::{AppId, Manifest, NodeExporter};

/// The manifest's names in a folder, the first that exists is read.
pub const FILE_NAMES: [&str; 3] = ["app.toml", "app.yml", "app.yaml"];

/// Reads a manifest by itself: what it says about files is not checked.
#[must_use]
pub fn read(file: &Path, text: &str) -> (Option<Manifest>, Vec<Problem>, Vec<Warning>) {
    read_with(file, text, None)
}

/// Reads a manifest together with the files beside it, in the folder of this name.
#[must_use]
pub fn read_in(
    file: &Path,
    text: &str,
    folder: &str,
    files: &Files,
) -> (Option<Manifest>, Vec<Problem>, Vec<Warning>) {
    read_with(file, text, Some((folder, files)))
}

fn read_with(
    file: &Path,
    text: &str,
    beside: Option<(&str, &Files)>,
) -> (Option<Manifest>, Vec<Problem>, Vec<Warning>) {
    let findings = Findings::of(file);
    let manifest = parse(file, text, &findings).and_then(|node| {
        let root = Section::root(&node, &findings)?;
        let (folder, files) = (beside.map(|b| b.0), beside.map(|b| b.1));
        whole(root, &Context { findings: &findings, folder, files })
    });
    let manifest = manifest.filter(|_| findings.is_clean());
    let (problems, warnings) = findings.into_parts();
    (manifest, problems, warnings)
}

/// What every part of the reader needs.
#[derive(Clone, Copy)]
struct Context<'a> {
    findings: &'a Findings,
    /// The folder's name, when it is known.
    folder: Option<&'a str>,
    /// The folder's files, when they are known.
    files: Option<&'a Files>,
}

fn whole(root: Section<'_>, cx: &Context<'_>) -> Option<Manifest> {
    let id = id(&root, cx);
    let name = text::required(&root, "name", 80, "what people call it", cx);
    let version = version(&root, cx);
    let description =
        text::required(&root, "description", 1000, "one to three sentences about it", cx);
    let categories = words(&root, "categories", cx);
    if categories.is_empty() {
        root.missing("categories", "where it is listed, as in [\"Databases\"]");
    }
    let tags = words(&root, "tags", cx);
    let homepage = root.filled("homepage");
    if let Some(homepage) = &homepage
        && !url::Url::parse(&homepage.value)
            .is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
    {
        let message = format!("\"{}\" is not an http(s) address", show(&homepage.value));
        cx.findings.wrong_at(homepage, message);
    }
    let license = license(&root, cx);
    let maintainers = text::lines(&root, "maintainers", 120, cx);
    let featured = root.boolean("featured").is_some_and(|f| f.value);
    let min_pve = min_pve(&root, cx);
    let lxc = container::lxc(&root, cx);
    let inputs = input::inputs(&root, cx);
    let (provision, named) = provision::provision(&root, &inputs, lxc.as_ref(), cx);
    let healthcheck = provision::healthcheck(&root, cx);
    let outputs = result::outputs(&root, &inputs, cx);
    let gpu = container::gpu(&root, cx);
    let mounts = container::mounts(&root, cx);
    let expose = result::expose(&root, cx);
    let metrics = result::metrics(&root, cx);
    let node_exporter = root.one_of(
        "node_exporter",
        &[("no", NodeExporter::No), ("ask", NodeExporter::Ask), ("yes", NodeExporter::Yes)],
    );
    root.finish();
    // What a broken section would have named is not known.
    if cx.findings.is_clean() {
        provision::unused(&named, healthcheck.as_ref(), cx);
        if healthcheck.is_none() {
            let message =
                "there is no [healthcheck]: success will only mean that the container runs";
            cx.findings.warn("healthcheck", (0, 0), message);
        }
    }
    Some(Manifest {
        id: id?,
        name: name?,
        version: version?,
        description: description?,
        categories,
        tags,
        homepage: homepage.map(|h| h.value),
        license,
        maintainers,
        featured,
        min_pve,
        lxc: lxc?,
        inputs,
        provision: provision?,
        healthcheck,
        outputs,
        gpu,
        mounts,
        expose,
        metrics,
        node_exporter: node_exporter.unwrap_or(NodeExporter::Ask),
    })
}

fn id(root: &Section<'_>, cx: &Context<'_>) -> Option<AppId> {
    let Some(given) = root.filled("id") else {
        root.missing("id", "the name of the app's folder");
        return None;
    };
    let id: AppId =
        given.value.parse().map_err(|e| cx.findings.wrong_at(&given, format!("{e}"))).ok()?;
    if let Some(folder) = cx.folder.filter(|folder| *folder != id.as_str()) {
        let message = format!("the folder is called \"{}\": both must be the same", show(folder));
        cx.findings.wrong_at(&given, message);
    }
    Some(id)
}

fn version(root: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let Some(given) = root.filled("version") else {
        root.missing("version", "a semantic version, as in \"1.2.0\"");
        return None;
    };
    match semver::Version::parse(&given.value) {
        Ok(version) => Some(version.to_string()),
        Err(error) => {
            let shown = show(&given.value);
            let message =
                format!("\"{shown}\" is not a semantic version, as in \"1.2.0\": {error}");
            cx.findings.wrong_at(&given, message);
            None
        }
    }
}

/// Words that people search and filter by.
fn words(root: &Section<'_>, key: &'static str, cx: &Context<'_>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text::located_lines(root, key, 40, cx) {
        if words.iter().any(|w| w.eq_ignore_ascii_case(&word.value)) {
            cx.findings.wrong_at(&word, format!("\"{}\" is listed twice", word.value));
        } else {
            words.push(word.value);
        }
    }
    words
}

fn license(root: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let given = root.filled("license")?;
    let fits = given.value.len() <= 200
        && given.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.+() :".contains(&b));
    if !fits {
        let message = format!(
            "\"{}\" is not an SPDX expression, as in \"MIT OR Apache-2.0\"",
            show(&given.value)
        );
        cx.findings.wrong_at(&given, message);
    }
    Some(given.value)
}

fn min_pve(root: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let given = root.filled("min_pve")?;
    let number = |part: &str| part.len() <= 3 && part.parse::<u16>().is_ok();
    let fits =
        given.value.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor));
    if !fits {
        let message =
            format!("\"{}\" is not a Proxmox VE release, as in \"8.2\"", show(&given.value));
        cx.findings.wrong_at(&given, message);
    }
    Some(given.value)
}

/// Reports a name that another entry of the list has too.
fn unique<T>(
    seen: &mut Vec<String>,
    name: &Located<String>,
    what: &str,
    value: T,
    cx: &Context<'_>,
) -> Option<T> {
    if seen.contains(&name.value) {
        cx.findings.wrong_at(name, format!("there are two {what} \"{}\"", show(&name.value)));
        return None;
    }
    seen.push(name.value.clone());
    Some(value)
}

/// The name of an input, output or mount.
fn key(section: &Section<'_>, cx: &Context<'_>) -> Option<Located<String>> {
    let Some(given) = section.filled("key") else {
        section.missing("key", "its name: a-z, 0-9 and '_', beginning with a letter");
        return None;
    };
    let fits = given.value.len() <= 40
        && given.value.starts_with(|c: char| c.is_ascii_lowercase())
        && given.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if fits {
        return Some(given);
    }
    let shown = show(&given.value);
    let message = format!(
        "\"{shown}\" is not a key: at most 40 of a-z, 0-9 and '_', beginning with a letter"
    );
    cx.findings.wrong_at(&given, message);
    None
}

fn port(section: &Section<'_>, name: &'static str) -> Option<u16> {
    let given = section.within(name, 1..=65535);
    if given.is_none() {
        section.missing(name, "a TCP port from 1 to 65535");
    }
    given.and_then(|p| u16::try_from(p.value).ok())
}

/// A path of a URL: with its leading slash.
fn url_path(section: &Section<'_>, name: &'static str, cx: &Context<'_>) -> Option<String> {
    let given = section.filled(name)?;
    let fits = given.value.starts_with('/')
        && given.value.len() <= 200
        && given.value.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if !fits {
        let message =
            format!("\"{}\" is not a path of a URL, as in \"/health\"", show(&given.value));
        cx.findings.wrong_at(&given, message);
    }
    Some(given.value)
}
