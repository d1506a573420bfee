//! One delivery to one target: the notice in the target's form, with what opens its door.

use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde_json::Value;

use super::mail;
use crate::config::notify::{Receiver, Target};
use crate::domain::secret::Secret;
use crate::outbound;
use crate::plan::notice::{Notice, preset};

/// Lets a receiver drop what it got twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// One delivery over HTTP, connect and answer together.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest reason that is kept, in characters: a receiver can say anything.
const LONGEST_REASON: usize = 240;

/// Where a document goes.
struct Post<'a> {
    method: Method,
    url: String,
    token: Option<&'a Secret<String>>,
    body: Value,
}

/// Delivers a notice once. `key` is the same for each try.
///
/// # Errors
/// Why not, in one line without secrets.
pub(super) async fn notice(target: &Target, body: &Value, key: &str) -> Result<(), String> {
    let sent = match &target.receiver {
        Receiver::Email(email) => match read(body) {
            Ok(notice) => mail::send(email, &notice, key).await,
            Err(reason) => Err(reason),
        },
        receiver => match form(receiver, body, key) {
            Ok(post) => document(post.method, &post.url, post.token, &post.body, key).await,
            Err(reason) => Err(reason),
        },
    };
    sent.map_err(|reason| presentable(&reason, &target.receiver.secrets()))
}

fn read(body: &Value) -> Result<Notice, String> {
    serde_json::from_value(body.clone()).map_err(|_| "it is of another version".to_owned())
}

fn form<'a>(receiver: &'a Receiver, body: &Value, key: &str) -> Result<Post<'a>, String> {
    let post =
        |url: &str, token, body| Post { method: Method::POST, url: url.to_owned(), token, body };
    Ok(match receiver {
        // As it is: also one that an older version queued.
        Receiver::Webhook { url, token } => post(url.expose(), token.as_ref(), body.clone()),
        Receiver::Ntfy { server, topic, token } => {
            post(server, token.as_ref(), preset::ntfy(&read(body)?, topic.expose()))
        }
        Receiver::Slack { url } => post(url.expose(), None, preset::slack(&read(body)?)),
        Receiver::Discord { url } => post(url.expose(), None, preset::discord(&read(body)?)),
        Receiver::Matrix { homeserver, room, token } => {
            // The key is the transaction id: the server drops what it has.
            let url = format!(
                "{homeserver}/_matrix/client/v3/rooms/{}/send/m.room.message/{}",
                segment(room),
                segment(key)
            );
            let body = preset::matrix(&read(body)?);
            Post { method: Method::PUT, url, token: Some(token), body }
        }
        Receiver::Email(_) => return Err("email is not sent over HTTP".to_owned()),
    })
}

/// Sends a document once.
///
/// # Errors
/// Why not.
pub(super) async fn document(
    method: Method,
    url: &str,
    token: Option<&Secret<String>>,
    body: &Value,
    key: &str,
) -> Result<(), String> {
    let mut headers = Vec::new();
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.push((IDEMPOTENCY_KEY, key));
    }
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| "its token has characters that no header can carry".to_owned())?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    let body = serde_json::to_vec(body).map_err(|e| e.to_string())?;
    outbound::send_json(method, url, headers, body, TIMEOUT).await.map_err(|error| match error {
        outbound::RequestError::Status(status) => refused(status),
        other => other.to_string(),
    })
}

/// What a status probably means for who configured the target.
fn refused(status: u16) -> String {
    let meaning = match status {
        300..=399 => "; redirects are not followed, give the address that it leads to",
        401 | 403 => "; token or address are not accepted",
        404 | 410 => "; the address is not known there",
        429 => "; it wants fewer messages",
        _ => "",
    };
    format!("the answer was status {status}{meaning}")
}

/// One path segment.
fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// One line of bounded length, without the target's secrets: part of it may be a receiver's own words.
fn presentable(reason: &str, secrets: &[&str]) -> String {
    let clean = secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(reason.to_owned(), |text, secret| text.replace(secret, "(secret)"));
    let plain: String = clean.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut cut: String = plain.chars().take(LONGEST_REASON).collect();
    if cut.len() < plain.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line_without_secrets() {
        let said = format!("550 no\r\nplanted-word {}", "x".repeat(1_000));
        let reason = presentable(&said, &["planted-word", ""]);
        assert!(reason.starts_with("550 no  (secret) xxx"), "{reason}");
        assert_eq!(reason.chars().count(), LONGEST_REASON + 1);
    }

    #[test]
    fn the_room_and_the_key_stand_in_the_path() {
        let receiver = Receiver::Matrix {
            homeserver: "https://matrix.example.org".to_owned(),
            room: "!a/b:example.org".to_owned(),
            token: Secret::new("t".to_owned()),
        };
        let body = serde_json::to_value(
            crate::plan::notice::Place {
                at: crate::domain::time::Timestamp(0),
                public_url: "http://192.0.2.10:8080",
            }
            .test(),
        )
        .unwrap();
        let post = form(&receiver, &body, "ironhatch-1-test").unwrap();
        assert_eq!(post.method, Method::PUT);
        let path =
            "/_matrix/client/v3/rooms/%21a%2Fb%3Aexample.org/send/m.room.message/ironhatch-1-test";
        assert_eq!(post.url, format!("https://matrix.example.org{path}"));
    }
}
