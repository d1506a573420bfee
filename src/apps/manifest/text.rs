//! Texts, relative paths and templates in a manifest.

use super::Context;
use crate::config::read::{Located, Section, show};
use crate::domain::app::{GUEST_NAMES, Input, SITE_NAMES};
use crate::domain::words::nearest;
use crate::plan::template;

/// A text that must be there, at most `most` characters.
pub(super) fn required(
    section: &Section<'_>,
    key: &'static str,
    most: usize,
    what: &str,
    cx: &Context<'_>,
) -> Option<String> {
    let text = optional(section, key, most, cx);
    if text.is_none() {
        section.missing(key, what);
    }
    text
}

/// A text for people.
pub(super) fn optional(
    section: &Section<'_>,
    key: &'static str,
    most: usize,
    cx: &Context<'_>,
) -> Option<String> {
    let given = section.filled(key)?;
    let length = given.value.chars().count();
    if length > most {
        cx.findings.wrong_at(&given, format!("has {length} characters; at most {most} fit"));
    } else if given.value.chars().any(|c| c.is_control() && c != '\n') {
        cx.findings.wrong_at(&given, "control characters are not allowed");
    }
    Some(given.value.trim().to_owned())
}

/// One-line texts, with their places.
pub(super) fn located_lines(
    section: &Section<'_>,
    key: &'static str,
    most: usize,
    cx: &Context<'_>,
) -> Vec<Located<String>> {
    let given = section.strings(key).unwrap_or_default();
    for line in &given {
        let length = line.value.chars().count();
        if line.value.trim().is_empty() || length > most || line.value.chars().any(char::is_control)
        {
            let message =
                format!("\"{}\" is not a text of 1 to {most} characters", show(&line.value));
            cx.findings.wrong_at(line, message);
        }
    }
    given
}

/// One-line texts.
pub(super) fn lines(
    section: &Section<'_>,
    key: &'static str,
    most: usize,
    cx: &Context<'_>,
) -> Vec<String> {
    located_lines(section, key, most, cx).into_iter().map(|line| line.value).collect()
}

/// Whether a path stays inside the folder and is one that every tool reads the same way.
///
/// # Errors
/// The rule that it breaks.
pub(in crate::apps) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') {
        return Err("must be relative to the app's folder");
    }
    if path.split('/').any(|part| part == "..") {
        return Err("must not leave the app's folder");
    }
    if path.len() > 200
        || path.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-']))
    {
        return Err(
            "must be at most 200 characters of names joined by '/', none empty or beginning with '.' or '-'",
        );
    }
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/+@".contains(&b)) {
        return Err("may have letters, digits and the characters . _ - + @ / only");
    }
    Ok(())
}

/// Checks a path that the manifest names; whether it exists is checked when the folder's files are known.
pub(super) fn file(given: &Located<String>, cx: &Context<'_>) -> bool {
    if let Err(rule) = check_path(&given.value) {
        cx.findings.wrong_at(given, format!("\"{}\" {rule}", show(&given.value)));
        return false;
    }
    let Some(files) = cx.files else { return true };
    if files.contains_key(&given.value) {
        return true;
    }
    let hint = match nearest(&given.value, files.keys().map(String::as_str)) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None => String::new(),
    };
    cx.findings.wrong_at(given, format!("there is no file \"{}\"{hint}", given.value));
    false
}

/// Checks a script: as [`file`], and that it begins with an interpreter.
pub(super) fn script(given: &Located<String>, cx: &Context<'_>) {
    if !file(given, cx) {
        return;
    }
    let Some(content) = cx.files.and_then(|files| files.get(&given.value)) else { return };
    if !content.bytes.starts_with(b"#!") {
        let message = format!("\"{}\" is not a script: it must begin with #!", given.value);
        cx.findings.wrong_at(given, message);
    } else if std::str::from_utf8(&content.bytes).is_err() {
        cx.findings.wrong_at(given, format!("\"{}\" is not UTF-8 text", given.value));
    } else if content.bytes.contains(&b'\r') {
        let message =
            format!("\"{}\" has Windows line ends, which no shell understands", given.value);
        cx.findings.wrong_at(given, message);
    }
}

/// Where a template stands decides what it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the environment of scripts: no secrets.
    Environment,
    /// In an output.
    Output,
}

/// Checks a template; tells whether it names a secret.
pub(super) fn template(text: &str, place: Place, inputs: &[Input]) -> Result<bool, Vec<String>> {
    let names = template::names(text).map_err(|reason| vec![reason])?;
    let mut wrong = Vec::new();
    let mut secret = false;
    for name in names {
        match known(&name, place, inputs) {
            Ok(is_secret) => secret |= is_secret,
            Err(reason) => wrong.push(reason),
        }
    }
    if wrong.is_empty() { Ok(secret) } else { Err(wrong) }
}

fn known(name: &str, place: Place, inputs: &[Input]) -> Result<bool, String> {
    let mut parts = name.split('.');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let fixed = |names: &[&str]| match second {
        Some(key) if names.contains(&key) => Ok(false),
        _ => Err(format!(
            "\"{name}\" is not known; known: {first}.{}",
            names.join(&format!(", {first}."))
        )),
    };
    let input = |key: &str| inputs.iter().find(|i| i.key == key);
    let unknown_input = |key: &str, secret: bool| {
        let keys = inputs.iter().filter(|i| i.kind.is_secret() == secret).map(|i| i.key.as_str());
        match nearest(key, keys) {
            Some(word) => format!("\"{name}\" is not known; did you mean \"{first}.{word}\"?"),
            None if secret => {
                format!("\"{name}\" is not known: there is no input of type secret with this key")
            }
            None => format!("\"{name}\" is not known: there is no input with this key"),
        }
    };
    match (first, second) {
        ("guest", _) => fixed(&GUEST_NAMES),
        ("site", _) => fixed(&SITE_NAMES),
        ("inputs", Some(key)) => match input(key) {
            Some(i) if i.kind.is_secret() && place == Place::Environment => Err(format!(
                "\"{name}\" is a secret, and the environment has none: the script reads it from inputs.json"
            )),
            Some(i) if i.kind.is_secret() => {
                Err(format!("\"{name}\" is a secret: write \"secrets.{key}\""))
            }
            Some(_) => Ok(false),
            None => Err(unknown_input(key, false)),
        },
        ("secrets", _) if place == Place::Environment => Err(format!(
            "\"{name}\" is a secret, and the environment has none: the script reads it from inputs.json"
        )),
        ("secrets", Some(key)) => match input(key) {
            Some(i) if i.kind.is_secret() => Ok(true),
            Some(_) => Err(format!("\"{name}\" is no secret: write \"inputs.{key}\"")),
            None => Err(unknown_input(key, true)),
        },
        ("facts", Some(_)) if place == Place::Output => Ok(false),
        _ => Err(format!(
            "\"{name}\" is not known; known: inputs.KEY, guest.NAME, site.NAME{}",
            if place == Place::Output { ", secrets.KEY, facts.KEY" } else { "" }
        )),
    }
}
