//! The heads of requests that a connection answers itself, and of their answers. Pure: bytes to values and back.
//!
//! What is taken is narrow on purpose: `GET` and `HEAD` of HTTP/1.1 for the paths of booting machines, without a body and
//! without anything that changes what the connection is. All else is hyper's, in doubt too. Heads are read with the
//! parser that hyper uses, so both read the same.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::http::{request, response};

pub(super) use crate::limits::http::HEAD_BYTES;
use crate::limits::http::HEAD_FIELDS;

/// What machines fetch: iPXE keeps one connection for its script and for the files that the script names.
const PATHS: [&str; 2] = ["/boot/", "/ipxe/"];
/// Fields that announce a body, ask for an interim answer or change the protocol.
const NOT_OURS: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::UPGRADE,
    header::TE,
];

/// What the first bytes of a request are.
#[derive(Debug)]
pub enum Look {
    /// It may become ours.
    More,
    /// A whole head of ours.
    Ours(Box<Head>),
    /// hyper's.
    Other,
}

/// A request without a body.
#[derive(Debug)]
pub struct Head {
    /// `GET` or `HEAD`.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All fields.
    pub fields: HeaderMap,
    /// Bytes that it takes.
    pub len: usize,
    /// Whether the client will send another request on this connection.
    pub keep_alive: bool,
}

impl Head {
    /// As what handlers work with.
    pub(super) fn into_parts(self) -> request::Parts {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        (parts.method, parts.uri, parts.headers) = (self.method, self.uri, self.fields);
        parts
    }
}

/// Looks at what has arrived of a request.
#[must_use]
pub fn look(bytes: &[u8]) -> Look {
    if !begins(bytes) {
        return Look::Other;
    }
    if !is_whole(bytes) {
        return if bytes.len() < HEAD_BYTES { Look::More } else { Look::Other };
    }
    parse(bytes).map_or(Look::Other, |head| Look::Ours(Box::new(head)))
}

/// Whether this can be the begin of a request of ours.
fn begins(bytes: &[u8]) -> bool {
    ["GET /", "HEAD /"].iter().any(|line| {
        let Some(path) = bytes.strip_prefix(line.as_bytes()) else {
            return line.as_bytes().starts_with(bytes);
        };
        // Firmware builds paths like `//boot/x`; see `collapse_slashes`.
        let first = path.iter().position(|b| *b != b'/').unwrap_or(path.len());
        let path = path.get(first..).unwrap_or_default();
        PATHS.iter().filter_map(|p| p.strip_prefix('/')).any(|p| {
            let shorter = p.len().min(path.len());
            p.as_bytes().get(..shorter) == path.get(..shorter)
        })
    })
}

/// Whether an empty line is there, as the parser takes it.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|w| w == b"\n\n") || bytes.windows(3).any(|w| w == b"\n\r\n")
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(len)) = request.parse(bytes) else { return None };
    let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    let uri = Uri::try_from(request.path?).ok()?;
    let is_ours = matches!(method, Method::GET | Method::HEAD)
        && request.version == Some(1)
        && uri.authority().is_none();
    if !is_ours {
        return None;
    }
    let mut taken = HeaderMap::with_capacity(request.headers.len());
    let mut keep_alive = true;
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(field.value).ok()?;
        if NOT_OURS.contains(&name) {
            return None;
        }
        if name == header::CONNECTION {
            match value.to_str().ok()?.trim() {
                word if word.eq_ignore_ascii_case("close") => keep_alive = false,
                word if word.eq_ignore_ascii_case("keep-alive") => {}
                _ => return None,
            }
        }
        taken.append(name, value);
    }
    Some(Head { method, uri, fields: taken, len, keep_alive })
}

/// Whether the connection goes on after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// With the next request.
    KeepAlive,
    /// It ends.
    Close,
}

/// An answer's head in bytes, with the length as hyper writes it: that of the body when there is one, and what the
/// handler says for `HEAD`.
#[must_use]
pub fn write(
    parts: &response::Parts,
    asked: &Method,
    body_len: u64,
    after: After,
    date: &str,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    let mut line = |pieces: [&[u8]; 3]| {
        for piece in pieces {
            head.extend_from_slice(piece);
        }
        head.extend_from_slice(b"\r\n");
    };
    let reason = parts.status.canonical_reason().unwrap_or("<none>");
    let status = format!("HTTP/1.1 {} ", parts.status.as_str());
    line([status.as_bytes(), reason.as_bytes(), b""]);
    let is_empty = body_len == 0;
    let keeps_told = !is_empty || asked == Method::HEAD;
    for (name, value) in &parts.headers {
        if name != header::CONTENT_LENGTH || keeps_told {
            line([name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
    }
    let is_told = keeps_told && parts.headers.contains_key(header::CONTENT_LENGTH);
    let has_none = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || (is_empty && asked == Method::HEAD);
    if !is_told && !has_none {
        line([b"content-length", b": ", body_len.to_string().as_bytes()]);
    }
    if after == After::Close {
        line([b"connection", b": ", b"close"]);
    }
    if !date.is_empty() {
        line([b"date", b": ", date.as_bytes()]);
    }
    line([b"", b"", b""]);
    head
}

#[cfg(test)]
mod test {
    use super::*;

    fn ours(text: &str) -> Head {
        match look(text.as_bytes()) {
            Look::Ours(head) => *head,
            other => panic!("{other:?}: {text:?}"),
        }
    }

    #[test]
    fn boot_files_and_scripts_are_ours() {
        let head = ours("GET //boot/x?a=1 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\nGET /");
        assert_eq!((head.method, head.keep_alive), (Method::GET, true));
        assert_eq!(head.uri, "//boot/x?a=1");
        assert_eq!(head.fields[header::RANGE], "bytes=0-1");
        assert_eq!(head.len, 56);
        assert!(!ours("HEAD /ipxe/1 HTTP/1.1\nconnection: Close\n\n").keep_alive);
        assert!(ours("GET /boot/x HTTP/1.1\r\nconnection: Keep-Alive\r\n\r\n").keep_alive);
    }

    #[test]
    fn what_is_not_surely_ours_is_hypers() {
        let table = [
            "POST /boot/x HTTP/1.1\r\n\r\n",
            "get /boot/x HTTP/1.1\r\n\r\n",
            "GET /boots/x HTTP/1.1\r\n\r\n",
            "GET /api/hosts HTTP/1.1\r\n\r\n",
            "GET http://a/boot/x HTTP/1.1\r\n\r\n",
            "GET /boot/x HTTP/1.0\r\n\r\n",
            "GET /boot/x HTTP/2.0\r\n\r\n",
            "GET /boot/x y HTTP/1.1\r\n\r\n",
            "GET /boot/x HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            "GET /boot/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET /boot/x HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
            "GET /boot/x HTTP/1.1\r\nconnection: upgrade\r\n\r\n",
            "GET /boot/x HTTP/1.1\r\nupgrade: h2c\r\n\r\n",
            "GET /boot/x HTTP/1.1\r\na b: c\r\n\r\n",
            "\r\nGET /boot/x HTTP/1.1\r\n\r\n",
            "\x16\x03\x01",
        ];
        for text in table {
            assert!(matches!(look(text.as_bytes()), Look::Other), "{text:?}");
        }
        let long = format!("GET /boot/x HTTP/1.1\r\na: {}", "b".repeat(HEAD_BYTES));
        assert!(matches!(look(long.as_bytes()), Look::Other));
        let many = format!("GET /boot/x HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEAD_FIELDS + 1));
        assert!(matches!(look(many.as_bytes()), Look::Other));
    }

    #[test]
    fn the_begin_of_ours_is_waited_for_and_nothing_else() {
        let whole = "HEAD ///boot/x HTTP/1.1\r\nhost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert!(matches!(look(&whole.as_bytes()[..end]), Look::More), "{end}");
        }
        for begin in ["P", "GET /a", "GET /boot?", "GET x", "GET //i/", "HEAD\r"] {
            assert!(matches!(look(begin.as_bytes()), Look::Other), "{begin}");
        }
    }

    #[test]
    fn an_answer_is_written_as_hyper_writes_it() {
        let (mut parts, ()) = axum::http::Response::new(()).into_parts();
        parts.headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
        let text = |parts: &_, len, after| {
            String::from_utf8(write(parts, &Method::GET, len, after, "D")).unwrap()
        };
        assert_eq!(
            text(&parts, 5, After::Close),
            "HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-length: 5\r\nconnection: close\r\ndate: D\r\n\r\n"
        );
        parts.status = StatusCode::NOT_MODIFIED;
        assert_eq!(
            text(&parts, 0, After::KeepAlive),
            "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ndate: D\r\n\r\n"
        );
    }
}
