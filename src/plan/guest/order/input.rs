//! The app's own questions: typed values within their limits, hidden ones dropped, secrets kept apart.

use std::collections::BTreeMap;

use zeroize::Zeroize as _;

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
    input.kind.is_secret()
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

/// A secret that the manifest wants drawn.
pub(super) fn drawn_secret(
    input: &Input,
    draw: &mut dyn FnMut(usize) -> Secret<String>,
) -> Option<Secret<String>> {
    let InputKind::Secret { min_length, max_length, generate: true } = input.kind else {
        return None;
    };
    let least = usize::try_from(min_length).unwrap_or(DRAWN).max(LEAST_SECRET);
    let most = usize::try_from(max_length).unwrap_or(DRAWN).max(least);
    Some(draw(DRAWN.clamp(least, most)))
}

/// A secret as it was entered. The message never repeats it.
pub(super) fn entered_secret(input: &Input, text: &str) -> Result<Secret<String>, String> {
    let mut given = InputValue::Text(text.to_owned());
    let checked = input.kind.check(&given);
    if let InputValue::Text(copy) = &mut given {
        copy.zeroize();
    }
    checked?;
    if text.chars().count() < LEAST_SECRET {
        return Err(format!(
            "must have at least {LEAST_SECRET} characters: shorter ones cannot be kept out of logs"
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Reads the value of an input that is no secret.
///
/// # Errors
/// What is wrong and what is allowed.
pub(super) fn value(kind: &InputKind, text: &str) -> Result<InputValue, String> {
    let value = match kind {
        InputKind::Boolean => match text {
            "true" => InputValue::Boolean(true),
            "false" => InputValue::Boolean(false),
            other => return Err(format!("'{}' is neither true nor false", show(other))),
        },
        InputKind::Number { .. } => {
            // Neither `inf`, `NaN`, `+1` nor `1e3` is how people write a number into a form.
            let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-'));
            match text.parse::<f64>().ok().filter(|_| plain) {
                Some(number) => InputValue::Number(number),
                None => return Err(format!("'{}' is not a number", show(text))),
            }
        }
        InputKind::String { .. } | InputKind::Select { .. } => InputValue::Text(text.to_owned()),
        InputKind::Secret { .. } => return Err("must not be read as a plain value".to_owned()),
    };
    kind.check(&value)?;
    Ok(value)
}
