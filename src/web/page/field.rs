//! Fields of forms as data: what is asked, what stands in it, what is wrong with it. The same for the installation of an
//! app and for its reconfiguration.

use std::collections::BTreeMap;

use crate::domain::app::{Input, InputKind, InputValue, ShowWhen};
use crate::domain::form::{FieldError, Submitted};

/// What a field looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Text,
    Number,
    Secret,
    Box,
    Select,
    /// Several boxes with one name.
    Boxes,
}

/// One thing to choose.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) selected: bool,
    /// Why it cannot be chosen; empty: it can.
    pub(super) refused: String,
}

/// When a field counts.
#[derive(Debug, Clone)]
pub(super) struct When {
    /// The other field.
    pub(super) field: String,
    /// Its values that show this one, as a JSON list for the script.
    pub(super) values: String,
    /// The same for people.
    pub(super) words: String,
}

/// One field.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    /// For `id` and `for`.
    pub(super) id: String,
    pub(super) label: String,
    pub(super) look: Look,
    pub(super) value: String,
    pub(super) options: Vec<Choice>,
    pub(super) required: bool,
    pub(super) min: String,
    pub(super) max: String,
    pub(super) step: &'static str,
    pub(super) max_length: u32,
    pub(super) placeholder: String,
    pub(super) help: String,
    pub(super) mono: bool,
    pub(super) when: Option<When>,
    pub(super) error: String,
}

impl Field {
    fn new(look: Look, name: &str, label: &str) -> Self {
        Self {
            name: name.to_owned(),
            id: format!("f-{}", name.replace('.', "-")),
            label: label.to_owned(),
            look,
            value: String::new(),
            options: Vec::new(),
            required: false,
            min: String::new(),
            max: String::new(),
            step: "1",
            max_length: 4096,
            placeholder: String::new(),
            help: String::new(),
            mono: false,
            when: None,
            error: String::new(),
        }
    }

    /// One line of text.
    pub(super) fn text(name: &str, label: &str, max_length: u32) -> Self {
        Self { max_length, ..Self::new(Look::Text, name, label) }
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number(name: &str, label: &str, min: u32, max: u32) -> Self {
        Self { min: min.to_string(), max: max.to_string(), ..Self::new(Look::Number, name, label) }
    }

    /// Yes or no.
    pub(super) fn tick(name: &str, label: &str) -> Self {
        Self::new(Look::Box, name, label)
    }

    /// One of several: value and text.
    pub(super) fn select(name: &str, label: &str, options: Vec<(String, String)>) -> Self {
        let option =
            |(value, text)| Choice { value, text, selected: false, refused: String::new() };
        Self {
            options: options.into_iter().map(option).collect(),
            ..Self::new(Look::Select, name, label)
        }
    }

    /// Several of several; the last part says why one cannot be chosen.
    pub(super) fn boxes(name: &str, label: &str, options: Vec<(String, String, String)>) -> Self {
        let option = |(value, text, refused)| Choice { value, text, selected: false, refused };
        Self {
            options: options.into_iter().map(option).collect(),
            ..Self::new(Look::Boxes, name, label)
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub(super) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(super) fn mono(mut self, placeholder: &str) -> Self {
        self.mono = true;
        placeholder.clone_into(&mut self.placeholder);
        self
    }

    /// Counts only when another field has one of these values.
    pub(super) fn when(mut self, field: &str, values: &[&str], words: &str) -> Self {
        let values = serde_json::Value::from(values.to_vec()).to_string();
        self.when = Some(When { field: field.to_owned(), values, words: words.to_owned() });
        // The browser would insist on a field that is not shown.
        self.required = false;
        self
    }

    /// The field with what was entered in it and what is wrong with that. A secret never comes back.
    pub(super) fn filled(mut self, form: &Submitted, errors: &[FieldError]) -> Self {
        if self.look != Look::Secret {
            form.raw(&self.name).unwrap_or_default().clone_into(&mut self.value);
        }
        let chosen: Vec<&str> = match self.look {
            Look::Boxes => self.value.split(',').map(str::trim).collect(),
            _ => vec![self.value.as_str()],
        };
        for option in &mut self.options {
            option.selected = chosen.contains(&option.value.as_str());
        }
        let known = self.value.is_empty() || self.options.iter().any(|o| o.selected);
        if self.look == Look::Select && !known {
            // What is not offered any more is shown, so that nothing is changed behind the operator's back.
            let (value, text) = (self.value.clone(), format!("{} (not available)", self.value));
            self.options.push(Choice { value, text, selected: true, refused: String::new() });
        }
        let wrong = errors.iter().filter(|e| e.field == self.name);
        self.error = wrong.map(|e| e.message.as_str()).collect::<Vec<_>>().join(" ");
        self
    }

    /// Whether a box is ticked.
    pub(super) fn ticked(&self) -> bool {
        self.value == "true"
    }

    /// Ids that describe the field to a screen reader.
    pub(super) fn described_by(&self) -> String {
        let parts = [
            (!self.error.is_empty(), "error"),
            (!self.help.is_empty(), "help"),
            (self.when.is_some(), "when"),
        ];
        let ids = parts.iter().filter(|(there, _)| *there);
        ids.map(|(_, what)| format!("{}-{what}", self.id)).collect::<Vec<_>>().join(" ")
    }
}

/// Fields under one heading.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) legend: String,
    pub(super) note: String,
    pub(super) fields: Vec<Field>,
}

impl Group {
    pub(super) fn new(legend: &str, note: impl Into<String>, fields: Vec<Field>) -> Self {
        Self { legend: legend.to_owned(), note: note.into(), fields }
    }

    /// All groups with what was entered; fields that an error names and that no group has are returned as well.
    pub(super) fn filled(
        groups: Vec<Self>,
        form: &Submitted,
        errors: &[FieldError],
    ) -> (Vec<Self>, Vec<FieldError>) {
        let mut stray = errors.to_vec();
        let fill = |field: Field| field.filled(form, errors);
        let groups: Vec<Self> = groups
            .into_iter()
            .map(|g| Self { fields: g.fields.into_iter().map(fill).collect(), ..g })
            .collect();
        for field in groups.iter().flat_map(|g| &g.fields) {
            stray.retain(|e| e.field != field.name);
        }
        (groups, stray)
    }
}

fn value_text(value: &InputValue) -> String {
    value.to_string()
}

/// The condition of an input, over the other input's field.
fn condition(field: Field, when: &ShowWhen, inputs: &[Input]) -> Field {
    let other = inputs.iter().find(|i| i.key == when.key);
    let label = other.map_or(when.key.as_str(), |i| i.label.as_str());
    let values: Vec<String> = when.values.iter().map(value_text).collect();
    let shown = values.iter().map(|value| match other.map(|i| &i.kind) {
        Some(InputKind::Select { options }) => options
            .iter()
            .find(|o| o.value == *value)
            .map_or_else(|| value.clone(), |o| o.label.clone()),
        Some(InputKind::Boolean) if value == "true" => "yes".to_owned(),
        Some(InputKind::Boolean) => "no".to_owned(),
        _ => value.clone(),
    });
    let words = format!("Counts when “{label}” is {}", shown.collect::<Vec<_>>().join(" or "));
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    field.when(&format!("input.{}", when.key), &values, &words)
}

/// The field of an app's input. `typed` says that a secret was typed before and is kept.
fn input_field(input: &Input, inputs: &[Input], typed: bool) -> Field {
    let typed = typed && matches!(input.kind, InputKind::Secret { .. });
    let name = format!("input.{}", input.key);
    let mut field = match &input.kind {
        InputKind::String { min_length: _, max_length, .. } => {
            Field::text(&name, &input.label, *max_length)
        }
        InputKind::Number { min, max, integer } => {
            let bound = |bound: &Option<f64>| bound.map(|b| b.to_string()).unwrap_or_default();
            Field {
                min: bound(min),
                max: bound(max),
                step: if *integer { "1" } else { "any" },
                ..Field::new(Look::Number, &name, &input.label)
            }
        }
        InputKind::Boolean => Field::tick(&name, &input.label),
        InputKind::Select { options } => {
            let none = (!input.required).then(|| (String::new(), "–".to_owned()));
            let options = options.iter().map(|o| (o.value.clone(), o.label.clone()));
            Field::select(&name, &input.label, none.into_iter().chain(options).collect())
        }
        InputKind::Secret { max_length, generate, .. } => Field {
            max_length: *max_length,
            placeholder: match (typed, *generate) {
                (true, _) => "kept as it was typed".to_owned(),
                (false, true) => "generated".to_owned(),
                (false, false) => String::new(),
            },
            ..Field::new(Look::Secret, &name, &input.label)
        },
    };
    let more = match &input.kind {
        InputKind::Secret { .. } if typed => "Leave it empty to keep what was typed.",
        InputKind::Secret { generate: true, .. } => "Leave it empty: one is generated.",
        _ => "",
    };
    field.help = format!("{} {more}", input.help).trim().to_owned();
    let generated = matches!(input.kind, InputKind::Secret { generate: true, .. });
    field.required = input.required && field.look != Look::Box && !generated && !typed;
    match &input.show_when {
        Some(when) => condition(field, when, inputs),
        None => field,
    }
}

/// An app's inputs by their headings, in the manifest's order.
pub(super) fn input_groups(
    inputs: &[Input],
    wanted: impl Fn(&Input) -> bool,
    typed: impl Fn(&str) -> bool,
) -> Vec<Group> {
    let mut order: Vec<&str> = Vec::new();
    let mut fields: BTreeMap<&str, Vec<Field>> = BTreeMap::new();
    for input in inputs.iter().filter(|i| wanted(i)) {
        if !order.contains(&input.group.as_str()) {
            order.push(&input.group);
        }
        let field = input_field(input, inputs, typed(&format!("input.{}", input.key)));
        fields.entry(&input.group).or_default().push(field);
    }
    // What has no heading stands first.
    order.sort_by_key(|group| !group.is_empty());
    order
        .into_iter()
        .map(|group| {
            let legend = if group.is_empty() { "Settings" } else { group };
            Group::new(legend, "", fields.remove(group).unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::web::test::catalog::catalog;

    fn inputs() -> Vec<Input> {
        catalog().get(&"static-website".parse().unwrap()).unwrap().manifest.inputs.clone()
    }

    fn find<'a>(groups: &'a [Group], name: &str) -> &'a Field {
        groups.iter().flat_map(|g| &g.fields).find(|f| f.name == name).unwrap()
    }

    #[test]
    fn inputs_stand_under_their_headings_and_secrets_never_come_back() {
        let mut form = Submitted::default();
        form.set("input.title", "My site");
        form.set("input.admin_password", "hunter2");
        let groups = input_groups(&inputs(), |_| true, |_| true);
        assert_eq!(
            groups.iter().map(|g| g.legend.as_str()).collect::<Vec<_>>(),
            ["Settings", "Access"]
        );
        let wrong = [FieldError::new("input.title", "Too long."), FieldError::new("other", "x")];
        let (groups, stray) = Group::filled(groups, &form, &wrong);
        let title = find(&groups, "input.title");
        assert_eq!((title.value.as_str(), title.error.as_str()), ("My site", "Too long."));
        assert_eq!(stray, [FieldError::new("other", "x")]);
        assert!(title.required, "only a secret need not be typed again");
        let secret = find(&groups, "input.admin_password");
        assert_eq!((secret.value.as_str(), secret.required), ("", false));
        assert!(!format!("{groups:?}").contains("hunter2"));
    }

    #[test]
    fn a_condition_is_told_in_words_and_lifts_the_requirement() {
        let groups = input_groups(&inputs(), |_| true, |_| false);
        let field = find(&groups, "input.admin_password");
        let when = field.when.as_ref().unwrap();
        assert_eq!((when.field.as_str(), when.values.as_str()), ("input.protect", r#"["true"]"#));
        assert!(when.words.contains("is yes"), "{}", when.words);
        assert!(!field.required);
    }

    #[test]
    fn a_choice_that_is_gone_stays_visible() {
        let mut form = Submitted::default();
        form.set("node", "pve9");
        let field = Field::select("node", "Node", vec![("pve1".into(), "pve1".into())]);
        let filled = field.filled(&form, &[]);
        assert_eq!(filled.options[1].text, "pve9 (not available)");
        assert!(filled.options[1].selected);
    }
}
