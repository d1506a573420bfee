//! What was entered, as it comes from a page's form or from a JSON body, in the one shape that operations take.

use serde_json::{Map, Value};

use crate::domain::app::{InputKind, Manifest};
use crate::domain::form::{Declined, FieldError, Submitted};
use crate::domain::refusal::{Refusal, RefusalKind};

/// Fields that belong to the page and not to what is asked for.
const OF_THE_PAGE: [&str; 2] = ["csrf", "draft"];

/// A page's form. A field that comes twice is a box that can be ticked, behind its hidden "no": the last one counts;
/// several GPUs become one list.
pub(super) fn from_form(pairs: Vec<(String, String)>) -> Submitted {
    let mut form = Submitted::default();
    for (name, value) in pairs {
        if OF_THE_PAGE.contains(&name.as_str()) {
            continue;
        }
        match form.get(&name).map(str::to_owned) {
            Some(before) if name == "gpu_devices" => form.set(&name, &format!("{before},{value}")),
            _ => form.set(&name, &value),
        }
    }
    form
}

/// The value of one field of a page's form, the last one.
pub(super) fn field<'a>(pairs: &'a [(String, String)], name: &str) -> &'a str {
    pairs.iter().rev().find(|(n, _)| n == name).map_or("", |(_, value)| value)
}

/// A JSON object as a form: numbers and booleans become text, lists are joined by commas, objects inside add their name
/// (`{"input": {"port": 80}}` is `input.port`). `null` is left out.
///
/// # Errors
/// A list inside a list, or an object inside one.
pub(super) fn from_json(body: Map<String, Value>) -> Result<Submitted, Refusal> {
    let mut form = Submitted::default();
    flatten(&mut form, "", body)?;
    Ok(form)
}

fn flatten(form: &mut Submitted, prefix: &str, body: Map<String, Value>) -> Result<(), Refusal> {
    for (name, value) in body {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Null => {}
            Value::Object(inner) if prefix.is_empty() => flatten(form, &name, inner)?,
            Value::Array(list) => {
                let texts = list.iter().map(|v| scalar(&name, v));
                form.set(&name, &texts.collect::<Result<Vec<_>, _>>()?.join(","));
            }
            other => form.set(&name, &scalar(&name, &other)?),
        }
    }
    Ok(())
}

fn scalar(name: &str, value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            let name: String = name.chars().take(60).collect();
            let detail = format!("The field '{name}' is neither text, number nor boolean.");
            Err(Refusal::new(RefusalKind::Malformed, detail, "Give one value per field."))
        }
    }
}

/// Names of an app's secret fields.
pub(super) fn secret_fields(app: &Manifest) -> impl Iterator<Item = String> {
    let secret = |kind: &InputKind| matches!(kind, InputKind::Secret { .. });
    app.inputs.iter().filter(move |i| secret(&i.kind)).map(|i| format!("input.{}", i.key))
}

/// Fills secrets that were left empty with what was typed before: a page never shows them again.
pub(super) fn keep_secrets(form: &mut Submitted, before: &Submitted, app: &Manifest) {
    for field in secret_fields(app) {
        if let (None, Some(typed)) = (form.get(&field), before.raw(&field)) {
            form.set(&field, typed);
        }
    }
}

/// A refusal as errors beside fields, when it names one.
pub(super) fn errors(declined: Declined) -> (Vec<FieldError>, Option<Refusal>) {
    match declined {
        Declined::Fields(errors) => (errors, None),
        Declined::Refused(refusal) => match refusal.field {
            Some(field) => {
                let message = format!("{} {}", refusal.detail, refusal.hint);
                (vec![FieldError::new(field, message.trim())], None)
            }
            None => (Vec::new(), Some(refusal)),
        },
    }
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn boxes_and_lists_of_a_form_become_values() {
        let form = from_form(pairs(&[
            ("csrf", "t"),
            ("onboot", "false"),
            ("onboot", "true"),
            ("start", "false"),
            ("gpu_devices", "0000:01:00.0"),
            ("gpu_devices", "0000:02:00.0"),
        ]));
        assert_eq!(form.get("onboot"), Some("true"));
        assert_eq!(form.get("start"), Some("false"));
        assert_eq!(form.get("gpu_devices"), Some("0000:01:00.0,0000:02:00.0"));
        assert_eq!(form.get("csrf"), None);
    }

    #[test]
    fn a_json_body_is_the_same_form() {
        let Value::Object(body) = json!({
            "name": "web1", "cores": 2, "onboot": true, "vlan": null,
            "gpu_devices": ["0000:01:00.0", "0000:02:00.0"], "input": {"port": 8080},
        }) else {
            unreachable!()
        };
        let form = from_json(body).unwrap();
        let mut expected = Submitted::default();
        for (name, value) in [
            ("name", "web1"),
            ("cores", "2"),
            ("onboot", "true"),
            ("gpu_devices", "0000:01:00.0,0000:02:00.0"),
            ("input.port", "8080"),
        ] {
            expected.set(name, value);
        }
        assert!(form == expected, "{form:?}");
        let Value::Object(deep) = json!({"input": {"a": {"b": 1}}}) else { unreachable!() };
        assert_eq!(from_json(deep).unwrap_err().kind, RefusalKind::Malformed);
    }
}
