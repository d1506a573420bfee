//! `[[notify]]`, and `[[webhook]]`, its older form: who is told what happened.

use std::collections::BTreeSet;

use super::super::notify::{Email, MailTls, Receiver, Target, origin};
use super::super::read::{Located, Section, show};
use super::{Context, LiteralPolicy, secret_value, web_url};
use crate::domain::notice::NoticeKind;
use crate::domain::secret::Secret;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Webhook,
    Ntfy,
    Slack,
    Discord,
    Matrix,
    Email,
}

const KINDS: [(&str, Kind); 6] = [
    ("webhook", Kind::Webhook),
    ("ntfy", Kind::Ntfy),
    ("slack", Kind::Slack),
    ("discord", Kind::Discord),
    ("matrix", Kind::Matrix),
    ("email", Kind::Email),
];

/// Longest name of a target.
const LONGEST_NAME: usize = 32;
/// Most recipients of one email target.
const MOST_RECIPIENTS: usize = 20;

/// All targets, those of the older form last.
pub(super) fn targets(root: &Section<'_>, cx: &Context<'_>) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut names = BTreeSet::new();
    for section in root.tables("notify") {
        let place = section.place();
        let key = section.path("name");
        let Some(target) = target(section, cx) else { continue };
        if names.insert(target.name.clone()) {
            targets.push(target);
        } else {
            let message = format!("\"{}\" is the name of another target too", target.name);
            cx.findings.wrong(&key, place, message);
        }
    }
    for section in root.tables("webhook") {
        let name = std::iter::once("webhook".to_owned())
            .chain((2..).map(|n| format!("webhook-{n}")))
            .find(|name| names.insert(name.clone()))
            .unwrap_or_default();
        let token = secret_value(&section, "secret", cx, LiteralPolicy::Warn).map(|(_, s)| s);
        let url = address(&section, cx);
        let events = events(&section, cx);
        section.finish();
        if let Some(url) = url {
            let receiver = Receiver::Webhook { url: url.value, token };
            targets.push(Target { name, receiver, events });
        }
    }
    targets
}

fn target(section: Section<'_>, cx: &Context<'_>) -> Option<Target> {
    let name = name(&section, cx);
    if section.string("kind").is_none() {
        let words: Vec<String> = KINDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        section.missing("kind", &format!("one of {}", words.join(", ")));
    }
    let kind = section.one_of("kind", &KINDS);
    let events = events(&section, cx);
    let Some(kind) = kind else {
        // Which keys belong here is not known.
        return None;
    };
    let receiver = receiver(kind, &section, cx);
    section.finish();
    Some(Target { name: name?, receiver: receiver?, events })
}

fn receiver(kind: Kind, section: &Section<'_>, cx: &Context<'_>) -> Option<Receiver> {
    let token = || secret_value(section, "token", cx, LiteralPolicy::Warn).map(|(_, token)| token);
    match kind {
        Kind::Webhook => {
            let token = token();
            Some(Receiver::Webhook { url: address(section, cx)?.value, token })
        }
        Kind::Slack => Some(Receiver::Slack { url: address(section, cx)?.value }),
        Kind::Discord => Some(Receiver::Discord { url: address(section, cx)?.value }),
        Kind::Ntfy => {
            let token = token();
            ntfy(&address(section, cx)?, token, cx)
        }
        Kind::Matrix => matrix(section, token(), cx),
        Kind::Email => email(section, cx).map(Receiver::Email),
    }
}

fn name(section: &Section<'_>, cx: &Context<'_>) -> Option<String> {
    let given = section.filled("name");
    let Some(given) = given else {
        section.missing("name", "a short name for pages and commands, \"phone\" for example");
        return None;
    };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if given.value.len() > LONGEST_NAME || !given.value.chars().all(fits) {
        let message = format!(
            "\"{}\" cannot be used: 1 to {LONGEST_NAME} small letters, digits, '-' or '_'",
            show(&given.value)
        );
        cx.findings.wrong_at(&given, message);
        return None;
    }
    if given.value == "infrastructure" {
        cx.findings.wrong_at(&given, "the registry of the section [infrastructure] has this name");
        return None;
    }
    Some(given.value)
}

fn events(section: &Section<'_>, cx: &Context<'_>) -> Vec<NoticeKind> {
    let mut kinds = Vec::new();
    for given in section.strings("events").unwrap_or_default() {
        match given.value.parse::<NoticeKind>() {
            Ok(kind) if kinds.contains(&kind) => {}
            Ok(kind) => kinds.push(kind),
            Err(_) => {
                let known: Vec<&str> = NoticeKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let message = format!(
                    "\"{}\" is not an event; known: {}",
                    show(&given.value),
                    known.join(", ")
                );
                cx.findings.wrong_at(&given, message);
            }
        }
    }
    if kinds.is_empty() { NoticeKind::USUAL.to_vec() } else { kinds }
}

/// `url`, which may be a reference. Its value is in no message: it may be all that is needed to write there.
fn address(section: &Section<'_>, cx: &Context<'_>) -> Option<Located<Secret<String>>> {
    let Some((at, url)) = secret_value(section, "url", cx, LiteralPolicy::Accept) else {
        section.missing(
            "url",
            "where to POST, as in https://hooks.example.net/x; env:NAME or file:PATH keeps it out",
        );
        return None;
    };
    let url = Located { value: url, key: at.key, line: at.line, column: at.column };
    // A query is part of some services' addresses; everything else is as for other addresses.
    let plain = url.value.expose().split('?').next().unwrap_or_default();
    if let Err(reason) = web_url(plain) {
        cx.findings.wrong_at(&url, format!("cannot be used: {reason}"));
        return None;
    }
    if url.value.expose().chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        cx.findings.wrong_at(&url, "blanks, control and non-ASCII characters are not allowed");
        return None;
    }
    Some(url)
}

/// The address of a topic: server and topic. The server takes documents at its root.
fn ntfy(
    url: &Located<Secret<String>>,
    token: Option<Secret<String>>,
    cx: &Context<'_>,
) -> Option<Receiver> {
    let whole = url.value.expose();
    let server = origin(whole);
    let topic = whole.get(server.len()..).unwrap_or_default().trim_matches('/');
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if topic.is_empty() || topic.len() > 64 || !topic.chars().all(fits) {
        let message = "server and topic are expected, as in https://ntfy.sh/TOPIC; a topic has 1 to 64 letters, digits, '-' or '_'";
        cx.findings.wrong_at(url, message);
        return None;
    }
    // Alone too: it stands in the documents that are sent.
    let topic = Secret::new(topic.to_owned());
    cx.known.borrow_mut().push(topic.clone());
    Some(Receiver::Ntfy { server: format!("{server}/"), topic, token })
}

fn matrix(
    section: &Section<'_>,
    token: Option<Secret<String>>,
    cx: &Context<'_>,
) -> Option<Receiver> {
    let homeserver = section.filled("homeserver");
    let room = section.filled("room");
    if homeserver.is_none() {
        section.missing("homeserver", "its address, as in https://matrix.example.org");
    }
    if room.is_none() {
        section.missing("room", "the room's id, as in \"!abc:example.org\"");
    }
    if token.is_none() {
        section.missing("token", "the access token of the account that writes");
    }
    let (homeserver, room, token) = (homeserver?, room?, token?);
    if let Err(reason) = web_url(&homeserver.value) {
        let shown = show(&homeserver.value);
        cx.findings.wrong_at(&homeserver, format!("\"{shown}\" cannot be used: {reason}"));
        return None;
    }
    let id = room.value.strip_prefix('!').unwrap_or_default();
    if id.is_empty() || id.len() > 250 || id.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message = format!(
            "\"{}\" is not a room's id, which begins with '!'; the room's settings show it under Advanced",
            show(&room.value)
        );
        cx.findings.wrong_at(&room, message);
        return None;
    }
    let homeserver = homeserver.value.trim_end_matches('/').to_owned();
    Some(Receiver::Matrix { homeserver, room: room.value, token })
}

fn email(section: &Section<'_>, cx: &Context<'_>) -> Option<Email> {
    let server = section.filled("server");
    let words = MailTls::WORDS.map(|(word, tls, _)| (word, tls));
    let tls = section.one_of("tls", &words).unwrap_or(MailTls::StartTls);
    let user = section.filled("user");
    let password = secret_value(section, "password", cx, LiteralPolicy::Warn);
    let from = section.filled("from");
    let to = section.strings("to").unwrap_or_default();
    if server.is_none() {
        section
            .missing("server", "the SMTP server, as in smtp.example.net or smtp.example.net:587");
    }
    if from.is_none() {
        section.missing("from", "the sender's address");
    }
    if to.is_empty() {
        section.missing("to", "the recipients' addresses");
    }
    if to.len() > MOST_RECIPIENTS {
        let message = format!("at most {MOST_RECIPIENTS} recipients; use a list's address");
        cx.findings.wrong(&section.path("to"), section.place(), message);
    }
    let server = server.as_ref().and_then(|given| mail_server(given, tls, cx));
    let from = from.as_ref().and_then(|given| mail_address(given, cx));
    let to: Vec<String> = to.iter().filter_map(|given| mail_address(given, cx)).collect();
    let login = match (user, password) {
        (Some(user), Some((at, password))) => {
            let is_here = server.as_ref().is_some_and(|(host, _)| {
                host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            });
            if tls == MailTls::Off && !is_here {
                cx.findings.wrong_at(
                    &at,
                    "it would cross the network in clear text; set tls = \"starttls\" or \"implicit\"",
                );
            }
            Some((user.value, password))
        }
        (None, None) => None,
        (Some(lone), None) => {
            section.missing("password", "it belongs to the user");
            let _ = lone;
            None
        }
        (None, Some((at, _))) => {
            cx.findings.wrong_at(&at, "user is missing beside it");
            None
        }
    };
    let (host, port) = server?;
    Some(Email { host, port, tls, login, from: from?, to })
}

fn mail_server(given: &Located<String>, tls: MailTls, cx: &Context<'_>) -> Option<(String, u16)> {
    let text = given.value.trim();
    let wrong = || {
        let message = format!("\"{}\" is not HOST or HOST:PORT", show(text));
        cx.findings.wrong_at(given, message);
        None
    };
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Some((ip.to_string(), tls.usual_port()));
    }
    if let Ok(at) = text.parse::<std::net::SocketAddr>() {
        return if at.port() == 0 { wrong() } else { Some((at.ip().to_string(), at.port())) };
    }
    let (host, port) = match text.split_once(':') {
        None => (text, Some(tls.usual_port())),
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match port {
        Some(port) if !host.is_empty() && host.chars().all(fits) => Some((host.to_owned(), port)),
        _ => wrong(),
    }
}

fn mail_address(given: &Located<String>, cx: &Context<'_>) -> Option<String> {
    let text = given.value.trim();
    if let Err(error) = text.parse::<lettre::Address>() {
        let message = format!("\"{}\" is not an email address: {error}", show(text));
        cx.findings.wrong_at(given, message);
        return None;
    }
    Some(text.to_owned())
}
