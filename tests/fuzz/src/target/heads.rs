//! Heads of requests that a connection takes over before hyper sees them: what is decided stays decided when more comes,
//! only what machines fetch is taken, and the answer's head is one head.
//!
//! Input: what the answer is (2 bytes), then the bytes of the request.

use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use ironhatch::limits::http::HEAD_BYTES;
use ironhatch::web::serve::head::{After, Head, Look, look, write};

use super::{Seeds, texts};
use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let answer = input.number();
    let bytes = input.rest();
    // As a socket gives them: a few more bytes at a time, never beyond the limit without a decision.
    let mut decided: Option<Option<usize>> = None;
    let mut end = 0;
    while end < bytes.len() {
        end = (end + 1 + end / 16).min(bytes.len());
        let seen = look(&bytes[..end]);
        if let Some(before) = decided {
            let now = match seen {
                Look::More => panic!("it was decided with fewer bytes"),
                Look::Ours(head) => Some(head.len),
                Look::Other => None,
            };
            assert_eq!(now, before, "another decision with {end} bytes");
            continue;
        }
        match seen {
            Look::More => assert!(end < HEAD_BYTES, "{end} bytes and no decision"),
            Look::Other => decided = Some(None),
            Look::Ours(head) => {
                decided = Some(Some(head.len));
                ours(&head, &bytes[..end]);
                answered(&head, answer);
            }
        }
    }
}

fn ours(head: &Head, bytes: &[u8]) {
    assert!(head.len <= bytes.len() && bytes[..head.len].ends_with(b"\n"));
    assert!([Method::GET, Method::HEAD].contains(&head.method), "{}", head.method);
    let path = head.uri.path().trim_start_matches('/');
    assert!(path.starts_with("boot/") || path.starts_with("ipxe/"), "{path}");
    assert!(head.uri.authority().is_none());
    for field in
        [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE]
    {
        assert!(!head.fields.contains_key(&field), "{field} is hyper's");
    }
}

/// The answer's head with a field that came from the request, as handlers copy some: it must not become two fields.
fn answered(head: &Head, answer: u16) {
    let statuses = [200, 206, 304, 400, 403, 404, 416, 204];
    let status = StatusCode::from_u16(statuses[usize::from(answer & 7)]).expect("a status");
    let mut response = Response::builder().status(status);
    for value in head.fields.values() {
        response = response.header(header::LOCATION, value);
    }
    if answer & 8 != 0 {
        response = response.header(header::CONTENT_LENGTH, HeaderValue::from(u64::from(answer)));
    }
    let (parts, ()) = response.body(()).expect("fields that were read").into_parts();
    let after = if head.keep_alive { After::KeepAlive } else { After::Close };
    let written = write(&parts, &head.method, u64::from(answer >> 4), after, "now");
    let ends = written.windows(4).filter(|w| w == b"\r\n\r\n").count();
    assert!(ends == 1 && written.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&written));
    let lines = written.split(|b| *b == b'\n').count() - 2;
    let most = 1 + parts.headers.len() + 3;
    assert!(lines <= most, "{lines} lines of {most}");
    let lengths = String::from_utf8_lossy(&written).matches("\r\ncontent-length: ").count();
    assert!(lengths <= 1, "{lengths} lengths");
}

pub(crate) fn seeds() -> Seeds {
    texts([
        ("file", "\0\0GET //boot/x?a=1 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\nGET /"),
        ("script", "\0\x18HEAD /ipxe/52-54-00-00-00-01 HTTP/1.1\nconnection: Close\n\n"),
        ("body", "\0\0GET /boot/x HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"),
        ("other", "\0\0POST /api/boot/answer HTTP/1.1\r\n\r\n"),
        ("upgrade", "\0\0GET /boot/x HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
        ("absolute", "\0\0GET http://a/boot/x HTTP/1.1\r\n\r\n"),
        ("old", "\0\0GET /boot/x HTTP/1.0\r\n\r\n"),
    ])
}
