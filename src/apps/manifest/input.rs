//! `[[inputs]]`: the questions of the form.

use super::{Context, key, text, unique};
use crate::config::document::{Node, Value};
use crate::config::read::{Located, Section, show};
use crate::domain::app::{Choice, Input, InputKind, InputValue, ShowWhen, whole_value};
use crate::domain::words::nearest;
use crate::limits::work::{LONGEST_TEXT, MOST_INPUTS, MOST_OPTIONS};

/// Longest text when the manifest says nothing.
const TEXT_LENGTH: u32 = 256;

pub(super) fn inputs(root: &Section<'_>, cx: &Context<'_>) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    let mut seen = Vec::new();
    let sections = root.tables("inputs");
    if sections.len() > MOST_INPUTS {
        let message = format!("there are {} inputs; at most {MOST_INPUTS} fit", sections.len());
        cx.findings.wrong("inputs", root.place(), message);
    }
    for section in sections {
        let key = key(&section, cx);
        let input = input(&section, key.as_ref(), &inputs, cx);
        section.finish();
        let (Some(key), Some(input)) = (key, input) else { continue };
        inputs.extend(unique(&mut seen, &key, "inputs", input, cx));
    }
    inputs
}

fn input(
    section: &Section<'_>,
    key: Option<&Located<String>>,
    before: &[Input],
    cx: &Context<'_>,
) -> Option<Input> {
    let label = text::optional(section, "label", 80, cx);
    let kind = kind(section, cx);
    let default = section.node("default");
    let required = section.boolean("required").is_some_and(|r| r.value);
    let help = text::optional(section, "help", 500, cx).unwrap_or_default();
    let group = text::optional(section, "group", 40, cx).unwrap_or_default();
    let show_when = show_when(section, before, cx);
    let reconfigure = section.boolean("reconfigure").is_some_and(|r| r.value);
    let kind = kind?;
    let default = default.and_then(|given| default_of(&kind, &given, cx));
    let key = key?.value.clone();
    let label = label.unwrap_or_else(|| key.clone());
    Some(Input { key, label, kind, default, required, help, group, show_when, reconfigure })
}

fn default_of(kind: &InputKind, given: &Located<&Node>, cx: &Context<'_>) -> Option<InputValue> {
    if kind.is_secret() {
        let message = "a secret has no default, everybody could read it: generate = true draws one";
        cx.findings.wrong_at(given, message);
        return None;
    }
    let value = value_for(kind, given.value)?.and_then(|value| {
        kind.check(&value)?;
        Ok(value)
    });
    value.map_err(|rule| cx.findings.wrong_at(given, format!("the default {rule}"))).ok()
}

/// A scalar as a value of the kind; `None` for YAML's null.
fn value_for(kind: &InputKind, node: &Node) -> Option<Result<InputValue, String>> {
    let number = |n: f64| match kind {
        // The options of a select are text, and nobody quotes a number in a list.
        InputKind::Select { .. } => InputValue::Text(n.to_string()),
        _ => InputValue::Number(n),
    };
    Some(match &node.value {
        Value::Null => return None,
        Value::String(text) => Ok(InputValue::Text(text.clone())),
        Value::Integer(n) => match i32::try_from(*n) {
            Ok(n) => Ok(number(f64::from(n))),
            Err(_) => Err("is too large a number".to_owned()),
        },
        Value::Float(n) => Ok(number(*n)),
        Value::Bool(yes) => Ok(InputValue::Boolean(*yes)),
        other => Err(format!("must be {}, this is {}", kind.noun(), other.kind())),
    })
}

const TYPES: [&str; 5] = ["string", "number", "boolean", "secret", "select"];

fn kind(section: &Section<'_>, cx: &Context<'_>) -> Option<InputKind> {
    let word = section.filled("type");
    let rules = Rules::read(section, cx);
    let options = options(section, cx);
    let generate = section.boolean("generate");
    let Some(word) = word else {
        section.missing("type", &format!("one of: {}", TYPES.join(", ")));
        return None;
    };
    let name = word.value.as_str();
    if !TYPES.contains(&name) {
        let hint = match nearest(name, TYPES) {
            Some(word) => format!("; did you mean \"{word}\"?"),
            None => String::new(),
        };
        let message = format!(
            "\"{}\" is not known; allowed: {}{hint}",
            show(name),
            TYPES.map(|t| format!("\"{t}\"")).join(", ")
        );
        cx.findings.wrong_at(&word, message);
        return None;
    }
    let listed = !rules.listed.is_empty();
    rules.only(allowed_rules(name), name, cx);
    if let Some(generate) = generate.as_ref().filter(|g| g.value && name != "secret") {
        cx.findings.wrong_at(generate, "only a secret can be generated");
    }
    if let Some(place) = options.place.as_ref().filter(|_| name != "select") {
        cx.findings.wrong_at(place, format!("an input of type {name} has no options"));
    }
    Some(match name {
        "number" => rules.number(cx),
        "boolean" => InputKind::Boolean,
        "secret" => {
            let generate = generate.is_some_and(|g| g.value);
            let (min_length, max_length) = rules.lengths(1, cx);
            InputKind::Secret { min_length, max_length, generate }
        }
        // A text out of a list is a choice.
        "string" if listed => InputKind::Select { options: rules.listed },
        "string" => {
            let (min_length, max_length) = rules.lengths(0, cx);
            let regex = rules.regex.map(|r| r.value);
            InputKind::String { regex, regex_hint: rules.hint, min_length, max_length }
        }
        _ => {
            if let Some(place) = options.place.as_ref().filter(|_| listed) {
                cx.findings.wrong_at(place, "options and validation.enum say the same: keep one");
            }
            let options = if listed { rules.listed } else { options.choices };
            if options.is_empty() {
                section.missing("options", "what can be chosen, as in [\"small\", \"large\"]");
                return None;
            }
            InputKind::Select { options }
        }
    })
}

fn allowed_rules(kind: &str) -> &'static [&'static str] {
    match kind {
        "string" => &["regex", "hint", "min_length", "max_length", "enum"],
        "number" => &["min", "max", "integer"],
        "secret" => &["min_length", "max_length"],
        "select" => &["enum"],
        _ => &[],
    }
}

/// `validation = { … }`, before it is known which of it applies.
struct Rules {
    given: Vec<Located<&'static str>>,
    regex: Option<Located<String>>,
    hint: Option<String>,
    min: Option<f64>,
    max: Option<Located<f64>>,
    integer: bool,
    listed: Vec<Choice>,
    min_length: Option<u32>,
    max_length: Option<Located<u32>>,
}

impl Rules {
    fn read(input: &Section<'_>, cx: &Context<'_>) -> Self {
        let mut rules = Self {
            given: Vec::new(),
            regex: None,
            hint: None,
            min: None,
            max: None,
            integer: false,
            listed: Vec::new(),
            min_length: None,
            max_length: None,
        };
        let Some(section) = input.section("validation") else { return rules };
        for name in ["regex", "hint", "min", "max", "integer", "enum", "min_length", "max_length"] {
            if let Some(node) = section.node(name) {
                let Located { key, line, column, .. } = node;
                rules.given.push(Located { value: name, key, line, column });
            }
        }
        rules.regex = section.filled("regex");
        if let Some(regex) = &rules.regex
            && let Err(reason) = whole_value(&regex.value)
        {
            let message =
                format!("\"{}\" is not a regular expression: {reason}", show(&regex.value));
            cx.findings.wrong_at(regex, message);
        }
        rules.hint = text::optional(&section, "hint", 200, cx);
        rules.min = section.number("min").map(|m| m.value);
        rules.max = section.number("max");
        rules.integer = section.boolean("integer").is_some_and(|i| i.value);
        rules.listed = choices(&section, "enum", cx).choices;
        rules.min_length = section.within("min_length", 0..=LONGEST_TEXT).map(|l| l.value);
        rules.max_length = section.within("max_length", 1..=LONGEST_TEXT);
        section.finish();
        rules
    }

    /// Reports rules that an input of this type does not have.
    fn only(&self, allowed: &[&str], kind: &str, cx: &Context<'_>) {
        for rule in self.given.iter().filter(|r| !allowed.contains(&r.value)) {
            let hint = match (kind, rule.value) {
                ("string" | "secret", "min" | "max") => {
                    format!("; its length is limited by {}_length", rule.value)
                }
                _ => String::new(),
            };
            cx.findings.wrong_at(rule, format!("does not apply to type {kind}{hint}"));
        }
    }

    fn number(self, cx: &Context<'_>) -> InputKind {
        if let (Some(min), Some(max)) = (self.min, &self.max)
            && min > max.value
        {
            cx.findings.wrong_at(max, format!("{} is less than min ({min})", max.value));
        }
        InputKind::Number { min: self.min, max: self.max.map(|m| m.value), integer: self.integer }
    }

    fn lengths(&self, least: u32, cx: &Context<'_>) -> (u32, u32) {
        let min = self.min_length.unwrap_or(least);
        let Some(max) = &self.max_length else { return (min, TEXT_LENGTH.max(min)) };
        if min > max.value {
            cx.findings.wrong_at(max, format!("{} is less than min_length ({min})", max.value));
        }
        (min, max.value)
    }
}

struct Options {
    place: Option<Located<()>>,
    choices: Vec<Choice>,
}

fn options(section: &Section<'_>, cx: &Context<'_>) -> Options {
    choices(section, "options", cx)
}

/// A list of values, or of tables with value and label.
fn choices(section: &Section<'_>, name: &'static str, cx: &Context<'_>) -> Options {
    let mut options = Options { place: None, choices: Vec::new() };
    let Some(node) = section.node(name) else { return options };
    let place = Located { value: (), key: node.key.clone(), line: node.line, column: node.column };
    let items = match &node.value.value {
        Value::Array(items) => items.as_slice(),
        Value::Null => return options,
        other => {
            let message = format!("a list is expected, this is {}", other.kind());
            cx.findings.wrong_at(&node, message);
            options.place = Some(place);
            return options;
        }
    };
    if items.len() > MOST_OPTIONS {
        let message = format!("there are {} options; at most {MOST_OPTIONS} fit", items.len());
        cx.findings.wrong_at(&node, message);
    }
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", node.key);
        let Some(choice) = choice(path, item, cx) else { continue };
        if options.choices.iter().any(|c| c.value == choice.value) {
            let message = format!("\"{}\" is listed twice", show(&choice.value));
            cx.findings.wrong(&node.key, (item.line, item.column), message);
        } else {
            options.choices.push(choice);
        }
    }
    options.place = Some(place);
    options
}

fn choice(path: String, item: &Node, cx: &Context<'_>) -> Option<Choice> {
    let scalar = |node: &Node| match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    let (value, label) = match &item.value {
        Value::Table(_) => {
            let table = Section::of(path.clone(), item, cx.findings)?;
            let value = table.node("value");
            let label = text::optional(&table, "label", 120, cx);
            if value.is_none() {
                table.missing("value", "what the script gets");
            }
            table.finish();
            (scalar(value?.value), label)
        }
        _ => (scalar(item), None),
    };
    let Some(value) = value else {
        let message = "a text, or a table with value and label, is expected";
        cx.findings.wrong(&path, (item.line, item.column), message);
        return None;
    };
    if value.is_empty() || value.chars().count() > 200 || value.chars().any(char::is_control) {
        let message = format!("\"{}\" is not a value of 1 to 200 characters", show(&value));
        cx.findings.wrong(&path, (item.line, item.column), message);
        return None;
    }
    Some(Choice { label: label.unwrap_or_else(|| value.clone()), value })
}

fn show_when(section: &Section<'_>, before: &[Input], cx: &Context<'_>) -> Option<ShowWhen> {
    let table = section.section("show_when")?;
    let key = table.filled("key");
    let values = table.node("values");
    if key.is_none() {
        table.missing("key", "the input that decides");
    }
    if values.is_none() {
        table.missing("values", "its values that show this one, as in [true]");
    }
    table.finish();
    let (key, values) = (key?, values?);
    let Some(other) = before.iter().find(|i| i.key == key.value) else {
        let message =
            format!("\"{}\" is not an input that stands before this one", show(&key.value));
        cx.findings.wrong_at(&key, message);
        return None;
    };
    if other.kind.is_secret() {
        let message = format!("\"{}\" is a secret: it cannot decide what is shown", key.value);
        cx.findings.wrong_at(&key, message);
        return None;
    }
    let items: Vec<&Node> = match &values.value.value {
        Value::Array(items) => items.iter().collect(),
        _ => vec![values.value],
    };
    if items.is_empty() {
        cx.findings.wrong_at(&values, "without a value it would never be shown");
    }
    let mut wanted = Vec::new();
    for item in items {
        let checked = match value_for(&other.kind, item) {
            None => Err("must have a value".to_owned()),
            Some(Err(rule)) => Err(rule),
            Some(Ok(value)) => other.kind.check(&value).map(|()| value),
        };
        match checked {
            Ok(value) => wanted.push(value),
            Err(rule) => {
                let message = format!("a value of \"{}\" {rule}", key.value);
                cx.findings.wrong(&values.key, (item.line, item.column), message);
            }
        }
    }
    Some(ShowWhen { key: key.value, values: wanted })
}
