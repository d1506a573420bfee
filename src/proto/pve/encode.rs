//! Percent encoding as Proxmox VE's server reads it, for paths, queries and form bodies.

use std::fmt::Write as _;

/// Encodes everything but letters, digits and `-._~`. The server splits pairs at `&` and `;` and turns `+` into a blank, so
/// those must never stand in a value.
#[must_use]
pub fn percent(text: &str) -> String {
    encoded(text, |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

/// Encodes one segment of a path. `:`, `@`, `!` and `,` stay readable, as in a task's name.
#[must_use]
pub fn segment(text: &str) -> String {
    encoded(text, |b| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'!' | b',')
    })
}

fn encoded(text: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// `key=value` pairs as one query or form body.
#[must_use]
pub fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&percent(key));
        out.push('=');
        out.push_str(&percent(value));
    }
    out
}

/// Takes percent encoding away. `None`: a `%` without two digits, or no UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    decoded(text.as_bytes())
}

/// Reads a query or form body as the server does: pairs end at `&` or `;`, a second `=` and what follows is lost, `+` is a
/// blank. `None`: it is not encoded correctly.
#[must_use]
pub fn read_pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split(['&', ';'])
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut parts = pair.split('=');
            let key = parts.next().unwrap_or_default().replace('+', " ");
            let value = parts.next().unwrap_or_default().replace('+', " ");
            Some((decode(&key)?, decode(&value)?))
        })
        .collect()
}

fn decoded(bytes: &[u8]) -> Option<String> {
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        if *byte == b'%' {
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_server_would_split_is_encoded() {
        assert_eq!(pairs([("features", "nesting=1;a+b")]), "features=nesting%3D1%3Ba%2Bb");
        assert_eq!(segment("UPID:n:1:!a/b"), "UPID:n:1:!a%2Fb");
    }

    #[test]
    fn an_unencoded_value_is_cut_as_the_server_cuts_it() {
        let read = read_pairs("features=nesting=1&x=a+b;y=%C3%A4").unwrap();
        let expected = [("features", "nesting"), ("x", "a b"), ("y", "ä")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(read, expected);
        assert_eq!(read_pairs("x=%2"), None);
        assert_eq!(read_pairs("x=%ff"), None);
    }

    proptest! {
        #[test]
        fn every_pair_survives(key in ".{1,20}", value in ".{0,40}") {
            let text = pairs([(key.as_str(), value.as_str())]);
            prop_assert_eq!(read_pairs(&text), Some(vec![(key, value)]));
        }

        #[test]
        fn every_segment_survives(text in ".{0,40}") {
            prop_assert_eq!(decode(&segment(&text)), Some(text));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in ".{0,80}") {
            let _ = read_pairs(&text);
        }
    }
}
