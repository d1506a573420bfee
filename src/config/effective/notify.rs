//! `[[notify]]` as it is in effect.

use super::super::notify::{Receiver, Target, origin};
use super::{Page, mask};
use crate::domain::secret::Secret;

pub(super) fn targets(page: &mut Page, targets: &[Target]) {
    for target in targets {
        page.section("[[notify]]");
        page.text("name", &target.name);
        page.text("kind", target.receiver.kind());
        match &target.receiver {
            Receiver::Webhook { url, token } => {
                address(page, url);
                page.secret("token", token.as_ref());
            }
            Receiver::Slack { url } | Receiver::Discord { url } => address(page, url),
            Receiver::Ntfy { server, topic, token } => {
                page.text("url", &format!("{server}{}", mask(page.shown, topic)));
                page.secret("token", token.as_ref());
            }
            Receiver::Matrix { homeserver, room, token } => {
                page.text("homeserver", homeserver);
                page.text("room", room);
                page.secret("token", Some(token));
            }
            Receiver::Email(mail) => {
                page.text("server", &format!("{}:{}", bracketed(&mail.host), mail.port));
                page.text("tls", mail.tls.word());
                page.text("user", mail.login.as_ref().map_or("", |(user, _)| user));
                page.secret("password", mail.login.as_ref().map(|(_, password)| password));
                page.text("from", &mail.from);
                page.list("to", &mail.to);
            }
        }
        let events: Vec<String> = target.events.iter().map(ToString::to_string).collect();
        page.list("events", &events);
    }
}

/// An address that has a path is a secret: it is often all that is needed to write there.
fn address(page: &mut Page, url: &Secret<String>) {
    let host = origin(url.expose());
    let is_bare = matches!(url.expose().get(host.len()..), None | Some("" | "/"));
    let path = if is_bare { String::new() } else { format!("/{}", mask(page.shown, url)) };
    page.text("url", &format!("{host}{path}"));
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
