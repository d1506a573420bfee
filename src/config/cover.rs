//! A server type's text as it is shown: values of keys that name a secret are covered, and come back when the text is
//! saved. Pure.

mod by_line;

use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use crate::domain::audit::{HIDDEN, names_a_secret};

/// A value whose key names a secret.
struct Secret {
    /// Keys from the top, and places in lists.
    path: Vec<String>,
    /// Where the value is written.
    place: Range<usize>,
    /// It is the cover already.
    is_covered: bool,
}

/// The text with its secrets covered; everything else stays as it is, comments too. A text that is no TOML, be it YAML or
/// broken, is covered by line: from a secret's key to the end of its value, as far as that can be told. It keeps its number
/// of lines.
#[must_use]
pub fn cover(text: &str) -> String {
    let Some(secrets) = secrets(text) else {
        return by_line::cover(text);
    };
    let covered = format!("\"{HIDDEN}\"");
    replaced(text, secrets.into_iter().map(|secret| (secret.place, covered.as_str())))
}

/// The text with each cover replaced by what is written at the same key of `before`. A cover of a key that `before` has
/// not stays, and is no valid value.
#[must_use]
pub fn uncover(text: &str, before: &str) -> String {
    let (Some(secrets), Some(known)) = (secrets(text), secrets(before)) else {
        return text.to_owned();
    };
    let old = |secret: &Secret| {
        let place = known.iter().find(|known| known.path == secret.path)?.place.clone();
        before.get(place)
    };
    let covered = secrets.into_iter().filter(|secret| secret.is_covered);
    replaced(text, covered.filter_map(|secret| Some((secret.place.clone(), old(&secret)?))))
}

/// `None`: it is no TOML.
fn secrets(text: &str) -> Option<Vec<Secret>> {
    let document = Document::parse(text).ok()?;
    let mut found = Vec::new();
    in_table(document.as_table(), &[], false, &mut found);
    found.sort_by_key(|secret| secret.place.start);
    Some(found)
}

/// `is_secret`: the name of a table around says so.
fn in_table(table: &dyn TableLike, path: &[String], is_secret: bool, found: &mut Vec<Secret>) {
    for (key, item) in table.iter() {
        let path = below(path, key);
        let is_secret = is_secret || names_a_secret(key);
        match item {
            Item::Value(value) => in_value(value, &path, is_secret, found),
            Item::Table(table) => in_table(table, &path, is_secret, found),
            Item::ArrayOfTables(tables) => {
                for (n, table) in tables.iter().enumerate() {
                    in_table(table, &below(&path, &n.to_string()), is_secret, found);
                }
            }
            Item::None => {}
        }
    }
}

fn in_value(value: &Value, path: &[String], is_secret: bool, found: &mut Vec<Secret>) {
    match (is_secret, value) {
        (true, _) => {
            let Some(place) = value.span() else { return };
            let is_covered = value.as_str() == Some(HIDDEN);
            found.push(Secret { path: path.to_vec(), place, is_covered });
        }
        (false, Value::InlineTable(table)) => in_table(table, path, false, found),
        (false, Value::Array(list)) => {
            for (n, value) in list.iter().enumerate() {
                in_value(value, &below(path, &n.to_string()), false, found);
            }
        }
        (false, _) => {}
    }
}

fn below(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

/// `places` in the order of the text.
fn replaced<'a>(text: &str, places: impl Iterator<Item = (Range<usize>, &'a str)>) -> String {
    let (mut new, mut done) = (String::with_capacity(text.len()), 0);
    for (place, with) in places {
        new += text.get(done..place.start).unwrap_or_default();
        new += with;
        done = place.end;
    }
    new + text.get(done..).unwrap_or_default()
}

#[cfg(test)]
mod test {
    use super::*;

    const TEXT: &str = r#"# of the lab
boot_disk = "per-host" # each its own
answer.global = { country = "at", "subscription-key" = 'pve1c-0123456789' }

[labels]
rack = "r1"
"api-token" = """two
lines"""
"#;

    #[test]
    fn a_secret_is_covered_and_comes_back_where_it_was() {
        let shown = cover(TEXT);
        assert!(!shown.contains("0123456789") && !shown.contains("two"), "{shown}");
        assert!(shown.contains("boot_disk = \"per-host\" # each its own\n"), "{shown}");
        assert!(shown.contains("\"subscription-key\" = \"(not shown)\" }"), "{shown}");
        assert_eq!(uncover(&shown, TEXT), TEXT);
        assert_eq!(cover(&shown), shown);
    }

    #[test]
    fn an_edit_around_a_cover_and_over_it_is_kept() {
        let edited = cover(TEXT).replace("\"at\"", "\"de\"").replace("# of the lab\n", "");
        assert_eq!(
            uncover(&edited, TEXT),
            TEXT.replace("\"at\"", "\"de\"").replace("# of the lab\n", "")
        );
        let over = cover(TEXT).replacen("\"(not shown)\"", "\"pve2s-abcdefabcd\"", 1);
        let saved = uncover(&over, TEXT);
        assert!(saved.contains("pve2s-abcdefabcd") && !saved.contains("0123456789"), "{saved}");
        assert!(saved.contains("two\nlines"), "{saved}");
    }

    #[test]
    fn a_cover_says_nothing_where_nothing_was() {
        let new = "[answer.global]\nsubscription-key = \"(not shown)\"\n";
        assert_eq!(uncover(new, "boot_disk = \"per-host\"\n"), new);
        assert_eq!(uncover(new, TEXT), new.replace("\"(not shown)\"", "'pve1c-0123456789'"));
    }

    #[test]
    fn a_text_that_is_no_toml_is_covered_by_line() {
        let text = "[answer\nglobal = { country = \"at\", subscription-key = \"pve1c-0123456789\" }\nx = 1\n";
        let shown = cover(text);
        assert_eq!(
            shown,
            "[answer\nglobal = { country = \"at\", subscription-key = \"(not shown)\"\nx = 1\n"
        );
        let yaml =
            "lab:\n  answer: { 'subscription-key': pve1c-0123456789 }\n  domain: lab.example\n";
        assert_eq!(cover(yaml), yaml.replace(" pve1c-0123456789 }", " \"(not shown)\""));
        // Nothing is known of what was covered.
        assert_eq!(uncover(&shown, text), shown);
    }

    #[test]
    fn a_table_with_a_secrets_name_is_covered_whole_and_comes_back() {
        let text = "[answer.global]\ncountry = \"at\"\n\n[api-token]\nid = \"p1anted\"\nlist = [\"p1anted\"]\n\
                    inner.deep = { a = 'p1anted' }\n[api-token.below]\nx = 1234\n\n\
                    [[passwords]]\nroot = \"p1anted\"\n[[passwords]]\nroot = \"p1anted too\"\n[match]\nvendor = \"A*\"\n";
        let shown = cover(text);
        assert!(!shown.contains("p1anted") && !shown.contains("1234"), "{shown}");
        assert!(
            shown.contains("country = \"at\"") && shown.ends_with("[match]\nvendor = \"A*\"\n")
        );
        assert!(shown.contains("[api-token.below]\nx = \"(not shown)\"\n"), "{shown}");
        assert_eq!(uncover(&shown, text), text);
        assert_eq!(cover(&shown), shown);
    }

    #[test]
    fn a_text_without_secrets_is_the_same() {
        for text in ["", "\n", "a = 1", "a = 1\r\nb = 'x'\r\n", "[match]\nvendor = \"A*\"\n"] {
            assert_eq!(cover(text), text);
            assert_eq!(uncover(text, TEXT), text);
        }
    }
}
