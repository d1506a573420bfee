//! A guest's own journal: what may be asked, the program that reads it, how much is kept, and what its end means.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::id::Hostname;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::{JOURNAL_BYTES, JOURNAL_LINES};
use crate::plan::join::brief;

/// Lines when nothing was said.
pub const USUAL_LINES: u32 = 200;
/// Seconds that the program in the guest gets.
pub const TIMEOUT_SEC: u32 = 20;
/// Characters that are kept of one line.
const MOST_LINE: usize = 2000;
/// Bytes of the program's complaints that are kept.
const MOST_COMPLAINT: usize = 2048;
/// Longest name of a unit (`UNIT_NAME_MAX` of systemd, less the final NUL).
const MOST_UNIT: usize = 255;
/// Debian, Ubuntu, Fedora, Arch and SUSE have it here.
const PROGRAM: &str = "/usr/bin/journalctl";

/// What is wanted of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalAsk {
    lines: u32,
    unit: Option<String>,
}

impl JournalAsk {
    /// Reads what was entered; empty texts mean [`USUAL_LINES`] and all units.
    ///
    /// # Errors
    /// A number of lines or a name of a unit that cannot be; the field is named.
    pub fn parse(lines: &str, unit: &str) -> Result<Self, Refusal> {
        let (lines, unit) = (lines.trim(), unit.trim());
        let count = if lines.is_empty() { Some(USUAL_LINES) } else { lines.parse().ok() };
        let Some(count) = count.filter(|n| (1..=JOURNAL_LINES).contains(n)) else {
            return Err(Refusal::new(
                RefusalKind::Unprocessable,
                format!("'{}' is no number of lines.", brief(lines)),
                format!("It is a number from 1 to {JOURNAL_LINES}."),
            )
            .about("lines"));
        };
        if !unit.is_empty() && !is_unit(unit) {
            return Err(Refusal::new(
                RefusalKind::Unprocessable,
                format!("'{}' is not the name of a systemd unit.", brief(unit)),
                "It is a name like nginx or nginx.service: letters, digits and : - _ . @ \\, no pattern.",
            )
            .about("unit"));
        }
        Ok(Self { lines: count, unit: (!unit.is_empty()).then(|| unit.to_owned()) })
    }

    /// Lines that are wanted at most.
    #[must_use]
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// The unit, when only one is wanted.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// The program and its arguments. What was entered stands behind an equals sign: it is never taken for an option.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        let mut argv: Vec<String> =
            [PROGRAM, "--no-pager", "--quiet", "--output=short-iso"].map(str::to_owned).into();
        argv.push(format!("--lines={}", self.lines));
        argv.extend(self.unit.iter().map(|unit| format!("--unit={unit}")));
        argv
    }
}

/// As systemd names units (`VALID_CHARS` of its `unit-name.c`); no globs, no beginning that reads like an option.
fn is_unit(text: &str) -> bool {
    text.len() <= MOST_UNIT
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'@' | b'\\')
        })
}

/// Lines of a guest's journal, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Journal {
    /// Each with its time, as the guest wrote it, secrets blanked.
    pub lines: Vec<String>,
    /// Older lines were left out because of their length.
    pub cut: bool,
    /// The unit, when only one was asked for.
    pub unit: Option<String>,
}

/// What a journal's program prints, while it comes in.
#[derive(Debug, Default)]
pub struct Gathered {
    lines: VecDeque<String>,
    bytes: usize,
    cut: bool,
    complaint: String,
}

impl Gathered {
    /// Takes a line whose secrets are blanked.
    pub fn line(&mut self, line: &str) {
        let kept: String = line.chars().take(MOST_LINE).collect();
        self.bytes += kept.len();
        self.lines.push_back(kept);
        while self.bytes > JOURNAL_BYTES || self.lines.len() > JOURNAL_LINES as usize * 4 {
            let Some(gone) = self.lines.pop_front() else { break };
            self.bytes -= gone.len();
            self.cut = true;
        }
    }

    /// Takes a line of its complaints, secrets blanked.
    pub fn complaint(&mut self, line: &str) {
        if self.complaint.len() < MOST_COMPLAINT {
            self.complaint.push_str(line);
            self.complaint.push('\n');
        }
    }

    /// What the end means.
    ///
    /// # Errors
    /// The guest has no systemd journal, or reading it failed.
    pub fn end(self, guest: &Hostname, ask: &JournalAsk, status: i32) -> Result<Journal, Refusal> {
        match status {
            0 => Ok(Journal { lines: self.lines.into(), cut: self.cut, unit: ask.unit.clone() }),
            // What `env` answers for a program that is not there (POSIX); Alpine's guests have no systemd.
            127 if self.lines.is_empty() => Err(Refusal::new(
                RefusalKind::Unprocessable,
                format!("{guest} keeps no systemd journal: there is no {PROGRAM} in it."),
                "Look into the files below /var/log at its console.",
            )),
            status => Err(Refusal::new(
                RefusalKind::Unprocessable,
                format!(
                    "The journal of {guest} cannot be read: journalctl ended with status {status}: {}",
                    brief(&self.complaint)
                ),
                "Look at its console.",
            )),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn name() -> Hostname {
        "web1".parse().unwrap()
    }

    #[test]
    fn what_was_entered_becomes_one_argument_or_is_refused() {
        let ask = JournalAsk::parse("", "").unwrap();
        assert_eq!(
            ask.argv().join(" "),
            "/usr/bin/journalctl --no-pager --quiet --output=short-iso --lines=200"
        );
        let ask = JournalAsk::parse(" 50 ", "getty@tty1.service").unwrap();
        assert_eq!(ask.argv().last().unwrap(), "--unit=getty@tty1.service");
        assert_eq!((ask.lines(), ask.unit()), (50, Some("getty@tty1.service")));
        for lines in ["0", "-1", "5001", "all", "1 2"] {
            assert_eq!(JournalAsk::parse(lines, "").unwrap_err().field, Some("lines"), "{lines}");
        }
        let long = "x".repeat(256);
        for unit in ["*", "ngi?x", "--vacuum-size=1", "a b", "a/b", "a;b", "ü", &long, ".x", "a\nb"]
        {
            assert_eq!(JournalAsk::parse("", unit).unwrap_err().field, Some("unit"), "{unit}");
        }
    }

    #[test]
    fn an_end_tells_lines_a_missing_journal_or_the_reason() {
        let ask = JournalAsk::parse("10", "nginx").unwrap();
        let mut gathered = Gathered::default();
        gathered.line("2026-11-26T14:22:00+0000 web1 nginx[33]: up");
        let journal = gathered.end(&name(), &ask, 0).unwrap();
        assert_eq!((journal.lines.len(), journal.cut), (1, false));
        assert_eq!(journal.unit.as_deref(), Some("nginx"));
        let none = Gathered::default().end(&name(), &ask, 127).unwrap_err();
        assert!(none.detail.contains("keeps no systemd journal"), "{none}");
        let mut failed = Gathered::default();
        failed.complaint("Failed to add filter for units: Input/output error");
        let failed = failed.end(&name(), &ask, 1).unwrap_err();
        assert!(
            failed.detail.ends_with("status 1: Failed to add filter for units: Input/output error")
        );
    }

    #[test]
    fn the_newest_lines_stay_when_there_are_too_many_bytes() {
        let ask = JournalAsk::parse("", "").unwrap();
        let mut gathered = Gathered::default();
        for n in 0..2000 {
            gathered.line(&format!("{n} {}", "ü".repeat(3000)));
        }
        let journal = gathered.end(&name(), &ask, 0).unwrap();
        assert!(journal.cut);
        assert!(journal.lines.iter().map(String::len).sum::<usize>() <= JOURNAL_BYTES);
        assert!(journal.lines.last().unwrap().starts_with("1999 "));
        assert_eq!(journal.lines.last().unwrap().chars().count(), MOST_LINE);
    }
}
