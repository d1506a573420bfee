//! Keeps secrets out of logs: what a guest's programs print passes through here before it is stored or shown.
//!
//! A secret is found as it is, and as JSON, shells and URLs write it; each line of a secret with several lines counts by
//! itself. What is shorter than [`LEAST`] cannot be found: orders take no such secret.

use std::fmt;

use zeroize::Zeroize as _;

use super::order::LEAST_SECRET;
use crate::proto::pve::encode::percent;

/// Least characters of a text that is blanked.
pub const LEAST: usize = LEAST_SECRET;
/// What stands in the place of a secret.
pub const BLANK: &str = "[secret]";

/// Blanks secrets. Holds them; prints nothing of them and is wiped when dropped.
pub struct Redactor {
    /// Every form of every secret; the longest first.
    forms: Vec<String>,
}

impl Redactor {
    /// A redactor for these texts.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<String> = Vec::new();
        for secret in secrets {
            for line in secret.lines().map(|l| l.trim_end_matches('\r')).chain([secret]) {
                let mut json = serde_json::Value::from(line).to_string();
                forms.push(json.trim_start_matches('"').trim_end_matches('"').to_owned());
                // As `"` inside is escaped, exactly one quote at each end is the text's own.
                if json.len() >= 2 {
                    forms.push(json[1..json.len() - 1].to_owned());
                }
                json.zeroize();
                forms.push(line.replace('\'', r"'\''"));
                forms.push(line.replace('\'', r#"'"'"'"#));
                forms.push(shell_escaped(line));
                forms.push(percent(line));
                forms.push(line.to_owned());
                forms.push(line.trim().to_owned());
            }
        }
        forms.retain(|form| form.chars().count() >= LEAST);
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self { forms }
    }

    /// The text with every secret in it blanked.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for form in &self.forms {
            // Occurrences may overlap themselves (`abab` in `ababab`): all of them go.
            let mut from = 0;
            while let Some(found) = text.get(from..).and_then(|rest| rest.find(form.as_str())) {
                let start = from + found;
                spans.push((start, start + form.len()));
                from = start + text[start..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if spans.is_empty() {
            return text.to_owned();
        }
        spans.sort_unstable();
        let mut clean = String::with_capacity(text.len());
        let mut end = 0;
        for (start, stop) in spans {
            if start >= end {
                clean.push_str(&text[end..start]);
                clean.push_str(BLANK);
            }
            end = end.max(stop);
        }
        clean.push_str(&text[end..]);
        clean
    }

    /// Whether a secret is in the text.
    #[must_use]
    pub fn finds(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form.as_str()))
    }

    /// Bytes of the longest form.
    fn longest(&self) -> usize {
        self.forms.first().map_or(0, String::len)
    }
}

impl Drop for Redactor {
    fn drop(&mut self) {
        for form in &mut self.forms {
            form.zeroize();
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.len())
    }
}

/// One line with these secrets blanked.
#[must_use]
pub fn redact(line: &str, secrets: &[&str]) -> String {
    Redactor::new(secrets.iter().copied()).text(line)
}

/// A backslash before everything that a shell would take as its own (bash's `printf %q`).
fn shell_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if !(c.is_alphanumeric() || "_-./:,+@%=".contains(c)) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// As it stands in a URL: everything but unreserved characters as `%XX`.
/// Cuts a stream of pieces into clean lines. A secret that two pieces share is found, because only whole lines are looked
/// at; what is longer than [`MOST_LINE_BYTES`] is cut where no secret can lie.
#[derive(Debug, Default)]
pub struct Lines {
    open: String,
}

/// Bytes after which an endless line is cut.
pub const MOST_LINE_BYTES: usize = 16 * 1024;

impl Lines {
    /// Takes a piece and returns the lines that it completed, without their ends. Terminals' own codes and other control
    /// characters are taken out; of a line that overwrites itself (`\r`) the last state stays.
    #[must_use]
    pub fn push(&mut self, piece: &str, redactor: &Redactor) -> Vec<String> {
        self.open.push_str(piece);
        let mut lines = Vec::new();
        while let Some(end) = self.open.find('\n') {
            let rest = self.open.split_off(end + 1);
            let line = std::mem::replace(&mut self.open, rest);
            lines.push(clean(&line, redactor));
        }
        let most = MOST_LINE_BYTES.max(4 * redactor.longest());
        if self.open.len() > most {
            // Blanked first: then the cut cannot go through a secret that is complete. One that has only begun is not
            // longer than the part that is kept back.
            let blanked = redactor.text(&self.open);
            let mut at = blanked.len().saturating_sub(redactor.longest() + BLANK.len());
            while !blanked.is_char_boundary(at) {
                at -= 1;
            }
            let (line, rest) = blanked.split_at(at);
            lines.push(clean(line, redactor));
            self.open = rest.to_owned();
        }
        lines
    }

    /// The last line, when the stream ended without a line end.
    #[must_use]
    pub fn finish(&mut self, redactor: &Redactor) -> Option<String> {
        let open = std::mem::take(&mut self.open);
        (!open.is_empty()).then(|| clean(&open, redactor))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.open.zeroize();
    }
}

fn clean(line: &str, redactor: &Redactor) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    // Blanked before and after the codes are gone: a code inside a secret must not hide it, and taking one out must not
    // put a secret together.
    let plain = without_codes(&redactor.text(line));
    let last = plain.rsplit('\r').next().unwrap_or_default();
    let visible: String = last.chars().filter(|c| !c.is_control() || *c == '\t').collect();
    redactor.text(&visible)
}

/// Takes escape sequences of terminals out (ECMA-48: CSI, and OSC up to its end).
fn without_codes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('[') => {
                while rest.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                rest.next();
            }
            Some(']') => while rest.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_that_programs_write() {
        let secret = r#"p'a"ss $w\ord/1zz"#;
        for line in [
            format!("password is {secret}!"),
            format!("{{\"password\":{}}}", serde_json::Value::from(secret)),
            format!("run --password '{}'", secret.replace('\'', r"'\''")),
            "postgres://app:p%27a%22ss%20%24w%5Cord%2F1zz@db/app".to_owned(),
            r#"+ export X=p\'a\"ss\ \$w\\ord/1zz"#.to_owned(),
        ] {
            let clean = redact(&line, &[secret]);
            assert!(clean.contains(BLANK) && !clean.contains("1zz"), "{line} -> {clean}");
        }
        assert_eq!(redact("nothing here", &[secret]), "nothing here");
    }

    #[test]
    fn lines_of_a_long_secret_are_blanked_one_by_one() {
        let key = "-----BEGIN KEY-----\nMIIEvgIBADANBgkq\n-----END KEY-----\n";
        assert_eq!(redact("got MIIEvgIBADANBgkq now", &[key]), "got [secret] now");
        let json = serde_json::Value::from(key).to_string();
        assert_eq!(redact(&json, &[key]), "\"[secret]\"");
    }

    #[test]
    fn overlapping_secrets_leave_nothing() {
        assert_eq!(redact("xabcdefgx", &["abcde", "defg"]), "x[secret]x");
        assert_eq!(redact("ababab", &["abab"]), "[secret]");
        assert_eq!(redact("abcd abc", &["abcd", "abc"]), "[secret] abc");
    }

    #[test]
    fn a_secret_that_comes_in_two_pieces_is_found() {
        let redactor = Redactor::new(["hunter22"]);
        let mut lines = Lines::default();
        assert!(lines.push("password: hun", &redactor).is_empty());
        assert_eq!(lines.push("ter22\nnext", &redactor), ["password: [secret]"]);
        assert_eq!(lines.finish(&redactor).unwrap(), "next");
        assert_eq!(lines.finish(&redactor), None);
    }

    #[test]
    fn terminal_codes_and_progress_bars_are_taken_out() {
        let redactor = Redactor::new(["hunter22"]);
        let mut lines = Lines::default();
        let given = "\u{1b}[1;32mok\u{1b}[0m done\r\n10%\r50%\r100%\n\u{1b}]0;title\u{7}x\u{0}y\n\
                     hun\u{1b}[0mter22\nhun\u{0}ter22\n";
        assert_eq!(lines.push(given, &redactor), ["ok done", "100%", "xy", "[secret]", "[secret]"]);
    }

    #[test]
    fn an_endless_line_is_cut_and_still_clean() {
        let redactor = Redactor::new(["hunter22"]);
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for _ in 0..4000 {
            all.extend(lines.push("0123456789 hunter22 ", &redactor));
        }
        all.extend(lines.finish(&redactor));
        assert!(all.len() > 2);
        assert!(all.iter().all(|l| l.len() <= 2 * MOST_LINE_BYTES && !l.contains("hunter22")));
        assert!(!all.concat().contains("hunter22"));
    }

    #[test]
    fn a_redactor_prints_nothing() {
        let redactor = Redactor::new(["hunter22"]);
        assert!(!format!("{redactor:?}").contains("hunter"));
    }

    proptest! {
        /// No secret survives, whatever stands around it and however it is cut into pieces.
        #[test]
        fn redaction_leaves_no_secret(
            secrets in prop::collection::vec("[a-c'\"\\\\ /é]{4,9}", 1..4),
            parts in prop::collection::vec((0usize..4, "[a-c'\"\\\\ /é\n]{0,6}", 0usize..5), 0..12),
            cut in prop::collection::vec(1usize..9, 1..40),
        ) {
            let mut text = String::new();
            for (which, between, form) in &parts {
                text.push_str(between);
                if let Some(secret) = secrets.get(*which) {
                    text.push_str(&match form {
                        0 => secret.clone(),
                        1 => serde_json::Value::from(secret.as_str()).to_string(),
                        2 => secret.replace('\'', r"'\''"),
                        3 => percent(secret),
                        _ => shell_escaped(secret),
                    });
                }
            }
            let redactor = Redactor::new(secrets.iter().map(String::as_str));
            let mut lines = Lines::default();
            let mut out = Vec::new();
            let chars: Vec<char> = text.chars().collect();
            let mut at = 0;
            let mut sizes = cut.iter().cycle();
            while at < chars.len() {
                let end = (at + sizes.next().unwrap()).min(chars.len());
                out.extend(lines.push(&chars[at..end].iter().collect::<String>(), &redactor));
                at = end;
            }
            out.extend(lines.finish(&redactor));
            for line in out {
                for secret in &secrets {
                    prop_assert!(!line.contains(secret.as_str()), "{secret:?} in {line:?}");
                }
            }
        }
    }
}
