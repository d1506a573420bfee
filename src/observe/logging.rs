//! The log: structured lines on standard error, with secrets taken out at the sink. journald adds the time and reads the
//! level from the beginning of a line, so that `journalctl -p warning` works.
//!
//! Code does not log secrets; this is the second belt. A mistake somewhere must not put an install token or a private
//! key into a journal that is kept for years.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";
/// Hex digits of an install token.
const TOKEN_DIGITS: usize = 32;

/// Newest lines that are kept in memory for the debug bundle.
const LINES_KEPT: usize = 2_000;

/// The newest lines of this process' log, cleared of secrets. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Recent(Arc<Mutex<VecDeque<String>>>);

impl Recent {
    /// The lines, oldest first, each with its end.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.kept().iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut kept = self.kept();
        if kept.len() >= LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts logging for this process and returns its newest lines. `IRONHATCH_LOG` takes a filter as in
/// `info,ironhatch::boot=debug`; `IRONHATCH_LOG_FORMAT=json` writes JSON lines.
pub fn init() -> Recent {
    let filter =
        EnvFilter::try_from_env("IRONHATCH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let json = std::env::var("IRONHATCH_LOG_FORMAT").is_ok_and(|f| f == "json");
    let journal = is_journal();
    let untimed = !json && journal;
    let recent = Recent::default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Redacting { recent: recent.clone(), untimed, journal })
        .with_ansi(false)
        .with_target(false);
    // A second initialisation (tests) is not an error worth a panic.
    let _ = if json {
        builder.json().try_init()
    } else if untimed {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    recent
}

/// Standard error is journald's: `JOURNAL_STREAM` has its device and inode (systemd.exec(5)). What a service's child
/// writes elsewhere has the same variable and is not journald's.
fn is_journal() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    nix::sys::stat::fstat(io::stderr())
        .is_ok_and(|about| journal == format!("{}:{}", about.st_dev, about.st_ino))
}

/// The level as journald reads it at the beginning of a line (sd-daemon(3)).
fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

#[derive(Debug, Clone)]
struct Redacting {
    recent: Recent,
    /// Lines have no time of their own, because journald adds it.
    untimed: bool,
    /// journald reads them.
    journal: bool,
}

impl<'a> MakeWriter<'a> for Redacting {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line { bytes: Vec::new(), prefix: "", sink: self.clone() }
    }
    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Line {
        let mut line = self.make_writer();
        if self.journal {
            line.prefix = prefix(*about.level());
        }
        line
    }
}

/// One log line; it goes out redacted when it is whole.
#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    /// What journald reads before it.
    prefix: &'static str,
    sink: Redacting,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = redact(&String::from_utf8_lossy(&self.bytes));
        // Nobody is left to tell when standard error is gone.
        let _ = io::stderr().lock().write_all(format!("{}{text}", self.prefix).as_bytes());
        let kept = match self.sink.untimed {
            true => format!("{:.3} {text}", jiff::Timestamp::now()),
            false => text,
        };
        self.sink.recent.push(kept);
    }
}

/// Replaces what looks like a secret: install tokens (runs of exactly 32 hex digits), bearer tokens, private keys, hashes of
/// passwords.
#[must_use]
pub fn redact(text: &str) -> String {
    let text = without_keys(text);
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
    let out = replaced(&out, "Bearer ", |rest| {
        rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len())
    });
    // crypt(3) and PHC strings: `$6$salt$hash`, `$argon2id$v=19$m=...$salt$hash`.
    ["$5$", "$6$", "$y$", "$7$", "$2a$", "$2b$", "$2y$", "$argon2"].iter().fold(
        out,
        |text, kind| {
            replaced(&text, kind, |rest| {
                let of_hash = |c: char| c.is_ascii_alphanumeric() || "./$=,+-_".contains(c);
                rest.find(|c| !of_hash(c)).unwrap_or(rest.len())
            })
        },
    )
}

/// Replaces what follows each `begin`, as many bytes of the rest as `length` says.
fn replaced(text: &str, begin: &str, length: impl Fn(&str) -> usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(begin) {
        let (_, left) = after.split_at(length(after));
        out.push_str(before);
        out.push_str(begin);
        out.push_str(REDACTED);
        rest = left;
    }
    out.push_str(rest);
    out
}

/// Replaces private keys in PEM form (`OPENSSH`, `RSA`, `EC` or plain), also when their line ends are escaped; a key whose end
/// is missing takes the rest with it.
fn without_keys(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const PRIVATE: &str = "PRIVATE KEY-----";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(start);
        let (_, after) = block.split_at(BEGIN.len());
        let kind = after.find("-----").and_then(|end| after.get(..end + 5)).unwrap_or_default();
        if kind.ends_with(PRIVATE) {
            out.push_str(before);
            out.push_str(REDACTED);
            let end = format!("-----END {kind}");
            rest = after.split_once(end.as_str()).map_or("", |(_, rest)| rest);
        } else {
            out.push_str(before);
            out.push_str(BEGIN);
            rest = after;
        }
    }
    out.push_str(rest);
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
            format!("a Bearer {token} and Bearer not-hex-at-all, twice"),
            "{\"key\":\"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n\"}"
                .to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA without an end".to_owned(),
            "root:$6$rounds=5000$salt$AAAA/x.y:1".to_owned(),
            "hash=$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA".to_owned(),
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
    fn the_newest_lines_are_kept_and_the_oldest_go() {
        let recent = Recent::default();
        for n in 0..=LINES_KEPT {
            recent.push(format!("{n}\n"));
        }
        let lines = recent.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (LINES_KEPT, "1\n"));
    }

    #[test]
    fn ids_and_digests_stay_readable() {
        let line = "job=0199c0de-0000-7000-8000-000000000001 sha256=\
                    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 mac=52:54:00:aa:bb:01 \
                    -----BEGIN CERTIFICATE----- costs $5 or $6";
        assert_eq!(redact(line), line);
    }
}
