//! `[apps.services]`: the reverse proxy's repository.

use super::super::super::apps::{CommitMode, Services};
use super::super::super::read::{Located, Section, show};
use super::super::Context;
use super::source::{DEFAULT_REFERENCE, is_reference, remote};
use crate::plan::{service, template};

/// What `file_name` can name.
const FILE_NAMES: [&str; 2] = ["name", "domain"];

const DEFAULT_PATH: &str = "services";
const DEFAULT_AUTHOR: &str = "Ironhatch <ironhatch@localhost>";
/// The section; `None` when it is empty or something in it is wrong.
pub(super) fn services(section: Section<'_>, cx: &Context<'_>) -> Option<Services> {
    if section.is_empty() {
        return None;
    }
    let repository = remote(&section, Some("where the definitions are kept"), cx);
    let branch = section.filled("branch");
    if let Some(at) = branch.as_ref().filter(|b| !is_reference(&b.value)) {
        cx.findings.wrong_at(at, format!("\"{}\" is no branch", show(&at.value)));
    }
    let modes = [("direct", CommitMode::Direct), ("branch", CommitMode::Branch)];
    let mode = section.one_of("mode", &modes).unwrap_or(CommitMode::Direct);
    let path = path(&section, cx);
    let file_name = file_name(&section, cx);
    let template = definition(&section, cx);
    let author = author(&section, cx);
    let headers = section.boolean("headers").is_none_or(|h| h.value);
    let auth = section.boolean("auth").is_some_and(|a| a.value);
    section.finish();
    Some(Services {
        repository: repository?,
        branch: branch.map_or_else(|| DEFAULT_REFERENCE.to_owned(), |b| b.value),
        mode,
        path: path?,
        file_name: file_name?,
        template: template?,
        author: author?,
        headers,
        auth,
    })
}

/// The only folder that is written to: relative, plain names.
fn path(section: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let Some(given) = section.filled("path") else { return Some(DEFAULT_PATH.to_owned()) };
    let plain = given.value.trim_end_matches('/').to_owned();
    let name = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if plain.split('/').all(name) {
        return Some(plain);
    }
    let message = format!(
        "\"{}\" is no folder of the repository: a relative path of letters, digits, '.', '_' and '-'",
        show(&given.value)
    );
    cx.findings.wrong_at(&given, message);
    None
}

fn file_name(section: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let Some(given) = section.filled("file_name") else {
        return Some(service::DEFAULT_FILE_NAME.to_owned());
    };
    if !checked(&given, &FILE_NAMES, cx) {
        return None;
    }
    let used = template::names(&given.value).unwrap_or_default();
    if given.value.contains('/') || given.value.starts_with('.') {
        cx.findings.wrong_at(&given, "a file name is expected, without folders and leading dot");
        return None;
    }
    if used.is_empty() {
        let message = "every service needs a file of its own: use {{ name }} or {{ domain }}";
        cx.findings.wrong_at(&given, message);
        return None;
    }
    Some(given.value)
}

/// The template: in the file itself, in a file beside it, or the default.
fn definition(section: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let inline = section.filled("template");
    let file = section.filled("template_file");
    if let (Some(_), Some(at)) = (&inline, &file) {
        cx.findings.wrong_at(at, "either template or template_file can be given, not both");
        return None;
    }
    let given = match (inline, file) {
        (Some(inline), _) => inline,
        (None, None) => return Some(service::DEFAULT_TEMPLATE.to_owned()),
        (None, Some(at)) => {
            let path = cx.base.join(&at.value);
            match cx.secrets.file(&path) {
                Ok(value) => Located { value, ..at },
                Err(error) => {
                    let message = format!("{} cannot be read: {error}", path.display());
                    cx.findings.wrong_at(&at, message);
                    return None;
                }
            }
        }
    };
    if !checked(&given, &service::NAMES, cx) {
        return None;
    }
    let used = template::names(&given.value).unwrap_or_default();
    if let Err(error) = service::check(&given.value, DEFAULT_PATH, service::DEFAULT_FILE_NAME) {
        let reason = match error {
            service::ServiceError::Template { reason } => reason,
            other => other.to_string(),
        };
        cx.findings.wrong_at(&given, reason);
        return None;
    }
    let names_target =
        used.contains("backend") || (used.contains("address") && used.contains("port"));
    if !names_target {
        cx.findings.warn_at(&given, "the definition names neither backend nor address and port");
    }
    Some(given.value)
}

fn checked(given: &Located<String>, known: &[&str], cx: &Context<'_>) -> bool {
    match template::names(&given.value) {
        Ok(used) => {
            let strangers: Vec<&str> =
                used.iter().map(String::as_str).filter(|n| !known.contains(n)).collect();
            if strangers.is_empty() {
                return true;
            }
            let message = format!(
                "the template names {}, which is not known; known: {}",
                show(&strangers.join(", ")),
                known.join(", ")
            );
            cx.findings.wrong_at(given, message);
        }
        Err(reason) => cx.findings.wrong_at(given, reason),
    }
    false
}

fn author(section: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let Some(given) = section.filled("author") else { return Some(DEFAULT_AUTHOR.to_owned()) };
    let text = given.value.trim();
    let plain = |part: &str| {
        !part.trim().is_empty() && !part.chars().any(|c| c.is_control() || matches!(c, '<' | '>'))
    };
    let good = text
        .strip_suffix('>')
        .and_then(|rest| rest.split_once('<'))
        .is_some_and(|(name, mail)| plain(name) && plain(mail) && !mail.contains(' '));
    if good {
        return Some(text.to_owned());
    }
    let message = format!("\"{}\" is no author: Name <mail> is expected", show(&given.value));
    cx.findings.wrong_at(&given, message);
    None
}
