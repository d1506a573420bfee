//! What a template may be made of. It comes from repositories that others fill, and what is filled in is kept in memory:
//! nothing in it may grow by a number that it names, by doubling, or by calling itself.

use minijinja::{Environment, Error, ErrorKind, Value, filters, tests};

use crate::limits::work::MOST_BYTES;

/// Statements that hold no result back.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// The filters and tests of Jinja whose result is about as long as what they are given.
pub(super) fn add_filters(environment: &mut Environment<'_>) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("default", filters::default);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", join);
    environment.add_filter("last", filters::last);
    environment.add_filter("length", filters::length);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("title", filters::title);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("upper", filters::upper);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
    environment.add_test("undefined", tests::is_undefined);
}

/// Jinja's `join` with an end.
fn join(items: Vec<Value>, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut joined = String::new();
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            joined.push_str(&between);
        }
        joined.push_str(&item.to_string());
        if joined.len() > MOST_BYTES {
            return Err(Error::new(ErrorKind::InvalidOperation, "the joined text is too long"));
        }
    }
    Ok(joined)
}

/// Refuses statements that keep a result for later, multiplication (of a text it makes a long one), tables and recursion.
///
/// # Errors
/// What is not allowed.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        rest = rest.get(at + 1..).unwrap_or_default();
        rest = match rest.as_bytes().first() {
            Some(b'{') => tag(rest.get(1..).unwrap_or_default(), "}}", None)?,
            Some(b'%') => tag(rest.get(1..).unwrap_or_default(), "%}", Some(&STATEMENTS))?,
            Some(b'#') => rest.split_once("#}").map_or("", |(_, after)| after),
            _ => rest,
        };
    }
    Ok(())
}

/// Looks through one tag; what stands behind it. A tag without an end is the parser's matter.
fn tag<'a>(inner: &'a str, end: &str, statements: Option<&[&str]>) -> Result<&'a str, String> {
    if let Some(statements) = statements {
        let inner = inner.trim_start_matches(['-', '+']).trim_start();
        let word = inner.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        if !word.is_some_and(|word| statements.contains(&word)) {
            return Err(format!("of statements, templates have {}", statements.join(", ")));
        }
    }
    let mut quote = None;
    let mut escaped = false;
    let mut word = String::new();
    for (at, c) in inner.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) => {
                if c == open {
                    quote = None;
                }
            }
            None => {
                let ended = inner.get(at..).is_some_and(|rest| rest.starts_with(end));
                if ended {
                    return Ok(inner.get(at + end.len()..).unwrap_or_default());
                }
                match c {
                    '"' | '\'' => quote = Some(c),
                    '*' => return Err("templates do not multiply".to_owned()),
                    '{' => return Err("templates make no tables".to_owned()),
                    _ => {}
                }
                if c.is_ascii_alphanumeric() || c == '_' {
                    word.push(c);
                } else {
                    word.clear();
                }
                if word == "recursive" {
                    return Err("loops of templates are not recursive".to_owned());
                }
            }
        }
    }
    Ok("")
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn what_grows_is_refused() {
        for text in [
            "{{ 'x' * 9 }}",
            "{{ 'a}}' * 9 }}",
            "{{ 'a\\'}}' * 9 }}",
            "{{- \"{\" ** 9 }}",
            "{% set a = a ~ a %}",
            "{%-set a = 1 %}",
            "{%\nmacro a() %}",
            "{% filter upper %}",
            "{% raw %}",
            "{% for a in b recursive %}",
            "{% if 'x' * 9 %}",
            "{{ {'a': {'b': 1}} }}",
            "text { {{ a }} {{ 3 * 4 }}",
            "{# a comment #}{{ 3 * 4 }}",
        ] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn everyday_templates_pass() {
        for text in [
            "5 * * * * root {{ a }} * { * }",
            "{{ '*' }}{{ \"{\" }}{{ a ~ '}}' ~ b }}",
            "{% if a %}x{% elif b %}y{%- else -%}z{%+ endif %}",
            "{% for a in [1, 2] %}{{ a + 1 }}{% endfor %}",
            "{# 3 * 4 #}{{ a | default('x', true) | lower }}",
            "{{ guest.ip",
            "{",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }
}
