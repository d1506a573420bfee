//! The app's own questions: typed values within their limits, hidden ones dropped, secrets kept apart.

use std::collections::BTreeMap;

use regex::RegexBuilder;

use crate::domain::app::{Input, InputKind, InputValue, ShowWhen};
use crate::domain::secret::Secret;

use super::field::{Fields, input_field, show};

/// Shorter secrets could not be kept out of logs: blanking every `abc` would hide everything else too.
pub const LEAST_SECRET: usize = 4;
/// A drawn secret has this many letters and digits when the manifest does not want more: 142 bits.
const DRAWN: usize = 24;

/// What was answered.
#[derive(Debug, Default)]
pub(in crate::plan::guest) struct Answers {
    pub(in crate::plan::guest) values: BTreeMap<String, InputValue>,
    pub(in crate::plan::guest) secrets: BTreeMap<String, Secret<String>>,
    pub(in crate::plan::guest) drawn: Vec<String>,
}

pub(in crate::plan::guest) fn is_secret(input: &Input) -> bool {
    matches!(input.kind, InputKind::Secret { .. })
}

/// Reads all inputs of an installation.
pub(super) fn read(
    fields: &mut Fields<'_>,
    inputs: &[Input],
    draw: &mut dyn FnMut(usize) -> Secret<String>,
) -> Answers {
    let mut answers = Answers::default();
    for input in inputs {
        if !is_shown(input, &answers.values) {
            continue;
        }
        let field = input_field(input);
        if is_secret(input) {
            match fields.raw(&field).filter(|text| !text.is_empty()) {
                Some(text) => match entered_secret(input, text) {
                    Ok(secret) => {
                        answers.secrets.insert(input.key.clone(), secret);
                    }
                    Err(reason) => fields.wrong(field, reason),
                },
                None => match drawn_secret(input, draw) {
                    Some(secret) => {
                        answers.secrets.insert(input.key.clone(), secret);
                        answers.drawn.push(input.key.clone());
                    }
                    None if input.required => fields.wrong(field, needed(input)),
                    None => {}
                },
            }
            continue;
        }
        let default = input.default.as_ref().map(ToString::to_string);
        match fields.text(&field).or(default.as_deref()) {
            Some(text) => match value(&input.kind, text) {
                Ok(value) => {
                    answers.values.insert(input.key.clone(), value);
                }
                Err(reason) => fields.wrong(field, reason),
            },
            None if input.required => fields.wrong(field, needed(input)),
            None => {}
        }
    }
    answers
}

fn needed(input: &Input) -> String {
    format!("{} is needed", input.label)
}

/// Whether an input is shown, given the values of those before it. One whose condition names a hidden input is hidden.
pub(in crate::plan::guest) fn is_shown(
    input: &Input,
    before: &BTreeMap<String, InputValue>,
) -> bool {
    input.show_when.as_ref().is_none_or(|ShowWhen { key, values }| {
        before.get(key).is_some_and(|value| values.iter().any(|v| same(v, value)))
    })
}

/// Manifests may write `values = ["true"]` for a boolean.
fn same(a: &InputValue, b: &InputValue) -> bool {
    a == b || a.to_string() == b.to_string()
}

/// Keys of inputs that these values hide.
#[must_use]
pub fn hidden_inputs(inputs: &[Input], values: &BTreeMap<String, InputValue>) -> Vec<String> {
    let mut visible: BTreeMap<String, InputValue> = BTreeMap::new();
    let mut hidden = Vec::new();
    for input in inputs {
        if !is_shown(input, &visible) {
            hidden.push(input.key.clone());
        } else if let Some(value) = values.get(&input.key) {
            visible.insert(input.key.clone(), value.clone());
        }
    }
    hidden
}

/// Least and most characters of a secret.
fn secret_limits(min_length: u32, max_length: u32) -> (usize, usize) {
    let size = |n: u32| usize::try_from(n).unwrap_or(MOST_TEXT).min(MOST_TEXT);
    let least = size(min_length).max(LEAST_SECRET);
    (least, size(max_length).max(least))
}

/// Longest text of any input, characters.
const MOST_TEXT: usize = 4096;

fn secret(text: &str, (least, most): (usize, usize)) -> Result<Secret<String>, String> {
    let length = text.chars().count();
    if length < least || length > most {
        return Err(format!("{least} to {most} characters are allowed, {length} were entered"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err("control characters are not allowed".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

/// A secret that the manifest wants drawn.
pub(super) fn drawn_secret(
    input: &Input,
    draw: &mut dyn FnMut(usize) -> Secret<String>,
) -> Option<Secret<String>> {
    match input.kind {
        InputKind::Secret { min_length, max_length, generate: true } => {
            let (least, most) = secret_limits(min_length, max_length);
            Some(draw(DRAWN.clamp(least, most)))
        }
        _ => None,
    }
}

/// A secret as it was entered.
pub(super) fn entered_secret(input: &Input, text: &str) -> Result<Secret<String>, String> {
    match &input.kind {
        InputKind::Secret { min_length, max_length, .. } => {
            secret(text, secret_limits(*min_length, *max_length))
        }
        _ => Err("this input is no secret".to_owned()),
    }
}

/// Reads the value of an input that is no secret.
///
/// # Errors
/// What is wrong and what is allowed.
pub(super) fn value(kind: &InputKind, text: &str) -> Result<InputValue, String> {
    match kind {
        InputKind::String { regex, regex_hint, min_length, max_length } => {
            string(text, regex.as_deref(), regex_hint.as_deref(), *min_length, *max_length)
        }
        InputKind::Number { min, max, integer } => number(text, *min, *max, *integer),
        InputKind::Boolean => match text {
            "true" => Ok(InputValue::Boolean(true)),
            "false" => Ok(InputValue::Boolean(false)),
            other => Err(format!("'{}' is neither true nor false", show(other))),
        },
        InputKind::Select { options } => {
            if options.iter().any(|o| o.value == text) {
                return Ok(InputValue::Text(text.to_owned()));
            }
            let all: Vec<&str> = options.iter().map(|o| o.value.as_str()).collect();
            Err(format!("'{}' is not one of: {}", show(text), all.join(", ")))
        }
        InputKind::Secret { .. } => Err("a secret is not read as a plain value".to_owned()),
    }
}

fn string(
    text: &str,
    regex: Option<&str>,
    hint: Option<&str>,
    min_length: u32,
    max_length: u32,
) -> Result<InputValue, String> {
    let length = text.chars().count();
    let most = usize::try_from(max_length).unwrap_or(MOST_TEXT).min(MOST_TEXT);
    let least = usize::try_from(min_length).unwrap_or(0).min(most);
    if length < least || length > most {
        return Err(format!("{least} to {most} characters are allowed, {length} were entered"));
    }
    if text.chars().any(char::is_control) {
        return Err("one line without control characters is expected".to_owned());
    }
    if let Some(pattern) = regex {
        let rule = RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(MOST_REGEX).build();
        match rule {
            Ok(rule) if rule.is_match(text) => {}
            Ok(_) => {
                let shown = show(text);
                return Err(match hint {
                    Some(hint) => format!("'{shown}' cannot be used: {hint}"),
                    None => format!("'{shown}' does not match {pattern}"),
                });
            }
            Err(_) => return Err("the app's rule for this input is broken".to_owned()),
        }
    }
    Ok(InputValue::Text(text.to_owned()))
}

/// Bytes of a compiled rule.
const MOST_REGEX: usize = 1 << 20;

fn number(
    text: &str,
    min: Option<f64>,
    max: Option<f64>,
    integer: bool,
) -> Result<InputValue, String> {
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-'));
    let number = text.parse::<f64>().ok().filter(|n| plain && n.is_finite());
    let Some(number) = number else {
        return Err(format!("'{}' is not a number", show(text)));
    };
    if integer && number.fract() != 0.0 {
        return Err(format!("{number} is not a whole number"));
    }
    if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
        return Err(match (min, max) {
            (Some(min), Some(max)) => format!("{number} is not from {min} to {max}"),
            (Some(min), None) => format!("{number} is too little: at least {min}"),
            (None, Some(max)) => format!("{number} is too much: at most {max}"),
            (None, None) => format!("{number} is not allowed"),
        });
    }
    Ok(InputValue::Number(number))
}
