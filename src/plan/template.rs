//! Templates in manifests and in the services' definition: what they may name, and how they are filled in.
//!
//! A template is text with `{{ guest.ip }}`, with as much of Jinja as cannot grow ([`language`]). An undefined name is an
//! error, work and result are limited, nothing is escaped here: what the result is put into decides about that. Pure.

mod language;

use std::collections::BTreeSet;
use std::io;

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Template, UndefinedBehavior, escape_formatter};
use serde::Serialize;

pub use crate::limits::work::MOST_BYTES;
use crate::limits::work::TEMPLATE_FUEL;

/// An environment in which templates are filled in: no files, no includes, strict, limited.
#[must_use]
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    language::add_filters(&mut environment);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(TEMPLATE_FUEL));
    // Jinja writes Python's words; what reads our texts knows `true` and `8080`, not `True` and `8080.0`.
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Bool => {
            out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Into::into)
        }
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => write!(out, "{number}").map_err(Into::into),
            Err(_) => escape_formatter(out, state, value),
        },
        ValueKind::None => Ok(()),
        _ => escape_formatter(out, state, value),
    });
    environment
}

/// The names that a template uses and does not define itself, with their attributes: `guest.ip`, `inputs.user`.
///
/// # Errors
/// What is wrong with it as a template.
pub fn names(text: &str) -> Result<BTreeSet<String>, String> {
    let environment = environment();
    let template = parse(&environment, text)?;
    Ok(template.undeclared_variables(true).into_iter().collect())
}

/// Fills a template in.
///
/// # Errors
/// What is wrong: syntax, a name that is not known, too much work, too long a result. Never repeats a value.
pub fn render(text: &str, context: &impl Serialize) -> Result<String, String> {
    let environment = environment();
    render_in(&environment, text, context)
}

/// As [`render`], in an environment that the caller made with [`environment`] and changed: another escaper.
///
/// # Errors
/// As [`render`].
pub fn render_in(
    environment: &Environment<'_>,
    text: &str,
    context: &impl Serialize,
) -> Result<String, String> {
    let template = parse(environment, text)?;
    let mut rendered = Rendered::default();
    let outcome = template.render_captured_to(Serde(context), &mut rendered).map(|_| ());
    if rendered.is_too_long {
        return Err(format!("the result is longer than {MOST_BYTES} bytes"));
    }
    outcome.map_err(|error| match error.kind() {
        minijinja::ErrorKind::UndefinedError => format!(
            "the template names something that is not known; it uses {}",
            list(template.undeclared_variables(true))
        ),
        // The details of other errors may quote values.
        kind => format!("the template cannot be filled in: {kind}"),
    })?;
    String::from_utf8(rendered.bytes).map_err(|_| "the result is no text".to_owned())
}

/// The one way from text to a template: bounded, in the bounded language.
fn parse<'e>(environment: &'e Environment<'e>, text: &'e str) -> Result<Template<'e, 'e>, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("a template has at most {MOST_BYTES} bytes"));
    }
    language::check(text)?;
    environment.template_from_str(text).map_err(|error| reason(&error))
}

/// Takes the result as it is made, and no more of it than is allowed.
#[derive(Default)]
struct Rendered {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl io::Write for Rendered {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > MOST_BYTES {
            self.is_too_long = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn list(names: std::collections::HashSet<String>) -> String {
    let names: BTreeSet<String> = names.into_iter().collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn reason(error: &minijinja::Error) -> String {
    let detail = error.detail().unwrap_or("it cannot be read");
    match error.line() {
        Some(line) if line > 1 => format!("not a template: {detail} (line {line} of the text)"),
        _ => format!("not a template: {detail}"),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_are_listed_with_their_attributes() {
        let found = names("http://{{ guest.ip }}:{{ inputs.port | default(80) }}/{% for x in [1] %}{{ x }}{% endfor %}")
            .unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["guest.ip", "inputs.port"]);
        assert!(names("{{ guest.ip").unwrap_err().starts_with("not a template: "));
        assert!(names("{% include \"x\" %}").is_err());
    }

    #[test]
    fn values_are_written_as_everybody_reads_them() {
        let context =
            serde_json::json!({"yes": true, "port": 8080.0, "half": 0.5, "n": 7, "no": null});
        let text =
            "{{ yes }} {{ not yes }} {{ port }} {{ half }} {{ n }} {{ port | int + 1 }} [{{ no }}]";
        assert_eq!(render(text, &context).unwrap(), "true false 8080 0.5 7 8081 []");
    }

    #[test]
    fn a_template_is_strict_and_limited() {
        let context = serde_json::json!({"guest": {"ip": "192.0.2.7"}, "secrets": {"k": "<&\"'"}});
        assert_eq!(render("http://{{ guest.ip }}/", &context).unwrap(), "http://192.0.2.7/");
        assert_eq!(render("{{ secrets.k }}", &context).unwrap(), "<&\"'");
        let error = render("{{ guest.ipp }}", &context).unwrap_err();
        assert_eq!(error, "the template names something that is not known; it uses guest.ipp");
        assert!(render("{% for a in range(100000) %}x{% endfor %}", &context).is_err());
        assert!(render("{{ 'x' | indent(99999999) }}", &context).is_err());
        let long = format!("{{% for a in [1, 2, 3] %}}{}{{% endfor %}}", "x".repeat(6000));
        let error = render(&long, &context).unwrap_err();
        assert_eq!(error, format!("the result is longer than {MOST_BYTES} bytes"));
        let text = "{{ [guest.ip, 1] | join(', ') }} {% if a is defined %}x{% endif %}";
        assert_eq!(render(text, &context).unwrap(), "192.0.2.7, 1 ");
        assert!(render(&"x".repeat(MOST_BYTES + 1), &context).is_err());
    }
}
