//! The log: structured lines on standard error (journald adds the time), with secrets taken out at the sink.
//!
//! Code does not log secrets; this is the second belt. A mistake somewhere must not put an install token or a private
//! key into a journal that is kept for years.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Hex digits of an install token.
const TOKEN_DIGITS: usize = 32;

/// Starts logging for this process. `IRONHATCH_LOG` takes a filter as in `info,ironhatch::boot=debug`;
/// `IRONHATCH_LOG_FORMAT=json` writes JSON lines.
pub fn init() {
    let filter =
        EnvFilter::try_from_env("IRONHATCH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Redacting)
        .with_ansi(false)
        .with_target(false);
    // A second initialisation (tests) is not an error worth a panic.
    let _ = if std::env::var("IRONHATCH_LOG_FORMAT").is_ok_and(|f| f == "json") {
        builder.json().try_init()
    } else if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}

#[derive(Debug, Clone, Copy)]
struct Redacting;

impl<'a> MakeWriter<'a> for Redacting {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// One log line; it goes out redacted when it is whole.
#[derive(Debug)]
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = redact(&String::from_utf8_lossy(&self.0));
        // Nobody is left to tell when standard error is gone.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Replaces install tokens (runs of exactly 32 hex digits), bearer tokens and private keys.
#[must_use]
pub fn redact(text: &str) -> String {
    let text = redact_keys(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, run) = rest.split_at(start);
        out.push_str(before);
        let end = run.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(run.len());
        let (digits, after) = run.split_at(end);
        out.push_str(if digits.len() == TOKEN_DIGITS { REDACTED } else { digits });
        rest = after;
    }
    out.push_str(rest);
    let Some(at) = out.find("Bearer ") else { return out };
    let start = at + "Bearer ".len();
    let end = out
        .get(start..)
        .and_then(|t| t.find(|c: char| c.is_whitespace() || c == '"'))
        .map_or(out.len(), |n| start + n);
    out.replace_range(start..end, REDACTED);
    out
}

fn redact_keys(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const END: &str = "-----END OPENSSH PRIVATE KEY-----";
    let Some(start) = text.find(BEGIN) else { return text.to_owned() };
    let end = text.find(END).map_or(text.len(), |at| at + END.len());
    let mut out = text.to_owned();
    if start < end {
        out.replace_range(start..end, REDACTED);
    }
    out
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn tokens_and_keys_do_not_reach_the_log() {
        let token = "0123456789abcdef0123456789ABCDEF";
        for line in [
            format!("GET /boot/{token}/linux26"),
            format!("url=http://192.0.2.10/x?token={token} next"),
            format!("authorization: Bearer {token}\" x"),
            "Bearer not-hex-at-all".to_owned(),
            format!(
                "-----BEGIN OPENSSH PRIVATE KEY-----\n{token}\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
            ),
        ] {
            let shown = redact(&line);
            assert!(
                !shown.contains(token) && !shown.contains("not-hex") && !shown.contains("AAAA"),
                "{shown}"
            );
            assert!(shown.contains(REDACTED), "{shown}");
        }
    }

    #[test]
    fn ids_and_digests_stay_readable() {
        let line = "job=0199c0de-0000-7000-8000-000000000001 sha256=\
                    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 mac=52:54:00:aa:bb:01";
        assert_eq!(redact(line), line);
    }
}
