//! Covering a text whose form is not known: YAML, or TOML that is broken. Rather too much is covered than too little. Pure.

use crate::domain::audit::{HIDDEN, names_a_secret};

/// What of a secret's value is still to come after a line.
enum Rest {
    Nothing,
    /// YAML: what stands further in than this column, and items of a list at it.
    Below(usize),
    /// TOML: a text over several lines, up to the line that has its end.
    Until(&'static str),
    /// TOML: so many lists and tables are still open.
    Open(usize),
}

/// The text, with as many lines as it has, without what may belong to a secret's value.
pub(super) fn cover(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut rest, mut in_secret_table) = (Rest::Nothing, false);
    for line in text.lines() {
        if let Some(next) = rest.taking(line) {
            rest = next;
            shown.push('\n');
            continue;
        }
        rest = Rest::Nothing;
        if line.starts_with('[') {
            in_secret_table = names_a_secret(line);
        }
        match secret(line, in_secret_table) {
            Some((kept, value)) => {
                shown.push_str(&format!("{kept} \"{HIDDEN}\""));
                rest = value;
            }
            None => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}

/// The beginning of a line up to the value of the first key that names a secret, and what of that value follows the line.
fn secret(line: &str, in_secret_table: bool) -> Option<(&str, Rest)> {
    line.match_indices(['=', ':']).find_map(|(at, sign)| {
        let (kept, value) = line.split_at_checked(at + sign.len())?;
        let before = line.get(..at)?.trim_end();
        let key = before.rsplit([' ', '\t', ',', '{']).next().unwrap_or_default();
        let is_secret = names_a_secret(key) || (in_secret_table && sign == "=");
        if !is_secret {
            return None;
        }
        let rest = match sign {
            "=" => Rest::of_toml(value.trim()),
            // Inside braces the rest of the value may stand anywhere to the right of the line's beginning.
            _ if before.contains(['{', '[']) => Rest::Below(indent(line)),
            _ => Rest::Below(before.len() - key.len()),
        };
        Some((kept, rest))
    })
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Lists and tables that are open after a piece of TOML in which so many were.
fn still_open(before: usize, text: &str) -> usize {
    let opened = text.matches(['[', '{']).count();
    (before + opened).saturating_sub(text.matches([']', '}']).count())
}

impl Rest {
    fn of_toml(value: &str) -> Self {
        for quotes in ["\"\"\"", "'''"] {
            if let Some(text) = value.strip_prefix(quotes) {
                return if text.contains(quotes) { Self::Nothing } else { Self::Until(quotes) };
            }
        }
        match still_open(0, value) {
            open if open > 0 && value.starts_with(['[', '{']) => Self::Open(open),
            _ => Self::Nothing,
        }
    }

    /// What is to come after a line that belongs to it; `None`: the line does not.
    fn taking(&self, line: &str) -> Option<Self> {
        match *self {
            Self::Nothing => None,
            Self::Below(column) => {
                let (text, place) = (line.trim(), indent(line));
                let is_item = text == "-" || text.starts_with("- ");
                let belongs = text.is_empty() || place > column || (place == column && is_item);
                belongs.then_some(Self::Below(column))
            }
            Self::Until(quotes) if line.contains(quotes) => Some(Self::Nothing),
            Self::Until(quotes) => Some(Self::Until(quotes)),
            Self::Open(before) => Some(match still_open(before, line) {
                0 => Self::Nothing,
                open => Self::Open(open),
            }),
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    /// What is shown has each planted secret covered, as many lines, and what is no secret.
    fn check(text: &str, kept: &[&str]) {
        let shown = cover(text);
        assert!(!shown.contains("p1anted"), "{shown}");
        assert_eq!(shown.lines().count(), text.lines().count(), "{shown}");
        for kept in kept {
            assert!(shown.lines().any(|line| line == *kept), "{kept} is not in {shown}");
        }
    }

    #[test]
    fn a_yaml_value_over_several_lines_is_covered_to_its_end() {
        check(
            "lab:\n  answer:\n    root_password: |\n      p1anted\n\n        p1anted\n    country: at\n    api-token: >-\n      p1anted\n  domain: lab.example\n",
            &["    country: at", "    api-token: \"(not shown)\"", "  domain: lab.example"],
        );
        check(
            "tokens:\n- p1anted\n- p1anted\nnext:\n  - token: \"one\n      p1anted\"\n    name: a\n  - name: b\n",
            &["next:", "    name: a", "  - name: b"],
        );
        check(
            "secret:\n  id: p1anted\n  list: [p1anted,\n    p1anted]\nother: 1\npassword:\n  p1anted\nend: 2\n",
            &["other: 1", "end: 2"],
        );
        check("answer: { country: at, token: \"x\n   p1anted\" }\nend: 2\n", &["end: 2"]);
    }

    #[test]
    fn a_value_of_broken_toml_is_covered_to_its_end() {
        check(
            "[answer\napi-token = \"\"\"one\np1anted\n\"\"\"\na = 1\nsecret = '''p1anted'''\nb = 2\n",
            &["a = 1", "b = 2"],
        );
        check(
            "x = = 1\ntokens = [\n\"p1anted\", [\"p1anted\"],\n\"p1anted\" ]\na = { token = { b = [\n\"p1anted\"] } }\nc = 3\n",
            &["c = 3"],
        );
        check(
            "x = = 1\n[global.api-token]\nid = \"p1anted\"\nlist = [\n\"p1anted\"]\n[match]\nvendor = \"A*\"\n",
            &["[match]", "vendor = \"A*\""],
        );
    }
}
