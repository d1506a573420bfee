//! A notice in the forms that services take. Sources of the forms: docs.ntfy.sh/publish (publish as JSON),
//! docs.slack.dev (incoming webhooks, mrkdwn; Mattermost and Rocket.Chat take the same), docs.discord.com (execute
//! webhook), spec.matrix.org (client-server API, `m.room.message`).

use serde_json::{Value, json};

use super::Notice;
use crate::domain::event::Level;
use crate::domain::notice::NoticeKind;

/// For ntfy, whose server takes JSON at its root and not at the topic. Priorities: 3 is the usual one, 4 a loud one.
#[must_use]
pub fn ntfy(notice: &Notice, topic: &str) -> Value {
    let priority = match notice.level {
        Level::Info => 3,
        Level::Warn | Level::Error => 4,
    };
    json!({
        "topic": topic,
        "title": notice.title,
        "message": lines(&[notice.text.clone(), to_do(notice)]),
        "priority": priority,
        "tags": [sign(notice)],
        "click": notice.link,
    })
}

/// The name of the picture that ntfy shows for a tag.
fn sign(notice: &Notice) -> &'static str {
    let is = |kind: NoticeKind| notice.event == kind.as_str();
    match notice.level {
        Level::Error => "rotating_light",
        Level::Warn => "raised_hand",
        Level::Info if is(NoticeKind::HostReady) => "white_check_mark",
        Level::Info if is(NoticeKind::SightingNew) => "eyes",
        Level::Info => "bell",
    }
}

/// For Slack and what is compatible with it. Its three special characters are escaped, as its documentation asks.
#[must_use]
pub fn slack(notice: &Notice) -> Value {
    let plain = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let title = format!("*{}*", plain(&notice.title));
    let link = format!("<{}|Open the dashboard>", plain(&notice.link).replace('|', "%7C"));
    json!({ "text": lines(&[title, plain(&notice.text), plain(&to_do(notice)), link]) })
}

/// For Discord. Nobody is mentioned, whatever a machine calls itself; the angle brackets keep the link without a preview.
#[must_use]
pub fn discord(notice: &Notice) -> Value {
    let plain = |text: &str| {
        text.chars().fold(String::new(), |mut plain, c| {
            if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '#' | '[' | ']') {
                plain.push('\\');
            }
            plain.push(c);
            plain
        })
    };
    let title = format!("**{}**", plain(&notice.title));
    let link = format!("<{}>", notice.link);
    let content = lines(&[title, plain(&notice.text), plain(&to_do(notice)), link]);
    json!({ "content": content, "allowed_mentions": { "parse": [] } })
}

/// For a Matrix room. `m.text`, because clients make no sound for `m.notice`.
#[must_use]
pub fn matrix(notice: &Notice) -> Value {
    let plain = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&quot;")
    };
    let title = format!("<strong>{}</strong>", plain(&notice.title));
    let link = format!("<a href=\"{}\">Open the dashboard</a>", plain(&notice.link));
    let parts = [title, plain(&notice.text), plain(&to_do(notice)), link];
    json!({
        "msgtype": "m.text",
        "body": text(notice),
        "format": "org.matrix.custom.html",
        "formatted_body": lines(&parts).replace('\n', "<br>"),
    })
}

/// As plain text, with the title in its first line.
#[must_use]
pub fn text(notice: &Notice) -> String {
    lines(&[notice.title.clone(), notice.text.clone(), to_do(notice), notice.link.clone()])
}

/// The text of an email, whose subject has the title.
#[must_use]
pub fn letter(notice: &Notice) -> String {
    let parts = [
        notice.text.clone(),
        to_do(notice),
        notice.link.clone(),
        format!("Time: {}\nEvent: {}", notice.at, notice.event),
    ];
    let filled: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n", filled.join("\n\n"))
}

fn to_do(notice: &Notice) -> String {
    if notice.action.is_empty() {
        return String::new();
    }
    format!("What to do: {}", notice.action)
}

fn lines(parts: &[String]) -> String {
    let filled: Vec<&str> = parts.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
    filled.join("\n")
}
