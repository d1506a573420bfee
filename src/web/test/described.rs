//! Answers against the API's document: nothing is missing, of another kind, or sent without being described. The tests of
//! the router and those of the whole program look at each answer with it.

use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// An operation of the document.
pub(crate) struct Operation {
    /// In small letters.
    method: String,
    path: String,
    operation: Value,
    /// Of the success that carries JSON, when one does.
    success: Option<(u16, Check)>,
    is_of_machines: bool,
}

struct Check {
    schema: Value,
    validator: OnceLock<Validator>,
}

/// What the document says of all answers.
pub(crate) struct Described {
    operations: Vec<Operation>,
    problem: Check,
}

/// What HTTP told of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a str,
}

impl Described {
    pub(crate) fn new(document: &Value) -> Self {
        let mut components = document["components"]["schemas"].clone();
        components.as_object_mut().unwrap().values_mut().for_each(close);
        let check = |schema: &Value| {
            let mut schema = schema.clone();
            close(&mut schema);
            let mut used = Map::new();
            gather(&schema, &components, &mut used);
            let schema = json!({ "allOf": [schema], "components": { "schemas": used } });
            Check { schema, validator: OnceLock::new() }
        };
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                let mut success = responses.iter().filter_map(|(status, response)| {
                    let schema = &response["content"]["application/json"]["schema"];
                    Some((status.parse().ok()?, check(schema))).filter(|_| !schema.is_null())
                });
                operations.push(Operation {
                    method: method.clone(),
                    path: path.clone(),
                    operation: operation.clone(),
                    success: success.next(),
                    is_of_machines: operation["tags"][0] == "machines",
                });
            }
        }
        let problem = check(&json!({ "$ref": "#/components/schemas/Problem" }));
        Self { operations, problem }
    }

    /// The operation that a request means.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Option<&Operation> {
        let method = method.to_lowercase();
        let fits = |operation: &&Operation| {
            operation.method == method && is_of(&operation.path, path.trim_end_matches('/'))
        };
        // `/api/guests/observe` is no guest.
        self.operations.iter().filter(fits).min_by_key(|o| o.path.matches('{').count())
    }

    /// Operations that answer with JSON of their own, that is not with a job alone.
    pub(crate) fn with_json(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(|o| o.success.as_ref().is_some_and(|(s, _)| *s != 202))
    }

    /// Fails when an answer is not as the document says.
    pub(crate) fn check(&self, seen: &Seen<'_>) {
        let Seen { method, path, status, content_type, body } = *seen;
        let kind = content_type.split(';').next().unwrap_or_default();
        if kind == "application/problem+json" {
            return self.problem.look(body, seen);
        }
        if kind != "application/json" || !path.starts_with("/api/") {
            return;
        }
        let operation = self.operation(method, path);
        let operation = operation.unwrap_or_else(|| panic!("not in the document: {seen:?}"));
        if operation.is_of_machines {
            return;
        }
        match &operation.success {
            Some((described, check)) if *described == status => check.look(body, seen),
            _ => panic!("the document has no such answer: {seen:?}"),
        }
    }
}

impl Operation {
    /// `GET /api/hosts/{id}`
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    pub(crate) fn schema(&self) -> &Value {
        let (status, _) = self.success.as_ref().unwrap();
        &self.operation["responses"][status.to_string()]["content"]["application/json"]["schema"]
    }
}

impl Check {
    fn look(&self, body: &str, seen: &Seen<'_>) {
        let validator =
            self.validator.get_or_init(|| jsonschema::validator_for(&self.schema).unwrap());
        let body: Value = serde_json::from_str(body).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&body)
            .map(|error| format!("{} at {}", error, error.instance_path))
            .collect();
        let Seen { method, path, .. } = seen;
        assert!(wrong.is_empty(), "{method} {path}: {}\n{body:#}", wrong.join("\n"));
    }
}

fn is_of(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(wanted, is)| wanted.starts_with('{') || wanted == is)
}

/// Takes the components that a schema refers to.
fn gather(schema: &Value, components: &Value, used: &mut Map<String, Value>) {
    match schema {
        Value::Object(object) => {
            let name = object.get("$ref").and_then(Value::as_str);
            let name = name.and_then(|path| path.strip_prefix("#/components/schemas/"));
            if let Some(name) = name.filter(|name| !used.contains_key(*name)) {
                let component = &components[name];
                assert!(component.is_object(), "{name} is not in the document");
                used.insert(name.to_owned(), component.clone());
                gather(component, components, used);
            }
            object.values().for_each(|value| gather(value, components, used));
        }
        Value::Array(list) => list.iter().for_each(|value| gather(value, components, used)),
        _ => {}
    }
}

/// Clients have to bear properties that are not described; these tests do not.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.contains_key("properties") {
        for beside in ["$ref", "oneOf", "anyOf", "allOf"] {
            assert!(!object.contains_key(beside), "{object:?} cannot be closed");
        }
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    for (key, value) in object.iter_mut() {
        match key.as_str() {
            "properties" => value.as_object_mut().unwrap().values_mut().for_each(close),
            "oneOf" | "anyOf" | "allOf" | "prefixItems" => {
                value.as_array_mut().unwrap().iter_mut().for_each(close);
            }
            "items" | "additionalProperties" => close(value),
            _ => {}
        }
    }
}
