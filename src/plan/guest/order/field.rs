//! Reads the fields of a form one by one and collects what is wrong with them.

use std::str::FromStr;

use crate::domain::app::Manifest;
use crate::domain::form::{FieldError, Submitted};
use crate::domain::words::nearest;

/// A form being read.
pub(in crate::plan::guest) struct Fields<'a> {
    form: &'a Submitted,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    pub(in crate::plan::guest) fn new(form: &'a Submitted) -> Self {
        Self { form, errors: Vec::new() }
    }

    pub(in crate::plan::guest) fn wrong(
        &mut self,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.errors.push(FieldError::new(field, message));
    }

    /// Whether nothing is wrong with a field so far.
    pub(in crate::plan::guest) fn is_clean(&self, field: &str) -> bool {
        !self.errors.iter().any(|e| e.field == field)
    }

    pub(in crate::plan::guest) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// What was entered, trimmed.
    pub(in crate::plan::guest) fn text(&self, field: &str) -> Option<&'a str> {
        self.form.get(field)
    }

    /// What was entered, exactly.
    pub(in crate::plan::guest) fn raw(&self, field: &str) -> Option<&'a str> {
        self.form.raw(field)
    }

    /// Refuses every field that is not in `plain` and is no volume or input of the app.
    pub(in crate::plan::guest) fn only_known(&mut self, plain: &[&str], manifest: &Manifest) {
        let volumes = manifest.mounts.iter().map(|m| format!("volume.{}", m.key));
        self.only_these(plain, volumes.chain(manifest.inputs.iter().map(input_field)));
    }

    /// Refuses every field that is in neither list.
    pub(in crate::plan::guest) fn only_these(
        &mut self,
        plain: &[&str],
        more: impl Iterator<Item = String>,
    ) {
        let known: Vec<String> = plain.iter().map(|f| (*f).to_owned()).chain(more).collect();
        let strangers: Vec<&str> =
            self.form.fields().filter(|field| !known.iter().any(|k| k == field)).collect();
        for field in strangers {
            let message = match nearest(field, known.iter().map(String::as_str)) {
                Some(word) => format!("there is no such field; did you mean '{word}'?"),
                None => format!("there is no such field; allowed: {}", known.join(", ")),
            };
            // The name came from outside as well.
            let shown: String = field.chars().filter(|c| !c.is_control()).take(60).collect();
            self.wrong(shown, message);
        }
    }

    /// A value of a type that says itself what is allowed.
    pub(in crate::plan::guest) fn parsed<T: FromStr>(
        &mut self,
        field: &str,
        rule: &str,
    ) -> Option<T> {
        let text = self.text(field)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) => {
                self.wrong(field, format!("'{}' cannot be used: {rule}", show(text)));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(in crate::plan::guest) fn boolean(&mut self, field: &str, default: bool) -> bool {
        match self.text(field) {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                self.wrong(field, format!("'{}' is neither true nor false", show(other)));
                default
            }
        }
    }

    /// A whole number; `unit` is for the messages, `least` and `most` say who set the limit.
    pub(in crate::plan::guest) fn number(
        &mut self,
        field: &str,
        default: u32,
        unit: &str,
        least: (u32, &str),
        most: (u32, &str),
    ) -> u32 {
        let value = match self.text(field) {
            None => default,
            Some(text) => match whole(text) {
                Some(number) => number,
                None => {
                    let message = format!("'{}' is not a whole number", show(text));
                    self.wrong(field, message);
                    return default;
                }
            },
        };
        if value < least.0 {
            let (least, who) = least;
            self.wrong(field, format!("{value}{unit} is too little: {who} at least {least}{unit}"));
        } else if value > most.0 {
            let (most, who) = most;
            self.wrong(field, format!("{value}{unit} is too much: {who} at most {most}{unit}"));
        }
        value
    }

    /// One of the words; the first one when nothing was entered.
    pub(in crate::plan::guest) fn word<T: Copy>(
        &mut self,
        field: &str,
        words: &[(&str, T)],
        default: &str,
    ) -> Option<T> {
        let text = self.text(field).unwrap_or(default);
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.wrong(
            field,
            format!("'{}' is not known; allowed: {}", show(text), allowed.join(", ")),
        );
        None
    }

    /// One of an approved list.
    pub(in crate::plan::guest) fn approved<T>(
        &mut self,
        field: &str,
        what: &str,
        list: &[T],
        default: &T,
    ) -> Option<T>
    where
        T: Clone + PartialEq + FromStr + std::fmt::Display,
    {
        let value = match self.text(field) {
            None => Some(default.clone()),
            Some(text) => text.parse::<T>().ok(),
        };
        if let Some(value) = value.filter(|v| list.contains(v)) {
            return Some(value);
        }
        let given = self.text(field).map_or_else(|| default.to_string(), show);
        let all: Vec<String> = list.iter().map(ToString::to_string).collect();
        self.wrong(
            field,
            format!("'{given}' is not an approved {what}; approved: {}", all.join(", ")),
        );
        None
    }
}

/// The form field of an input.
pub(in crate::plan::guest) fn input_field(input: &crate::domain::app::Input) -> String {
    format!("input.{}", input.key)
}

/// Digits only: neither sign, nor blank, nor exponent.
pub(in crate::plan::guest) fn whole(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Text for a message: printable and of bounded length.
pub(in crate::plan::guest) fn show(text: &str) -> String {
    let mut shown: String =
        text.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}
