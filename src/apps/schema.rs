//! The manifest's JSON Schema (draft 2020-12): for editors, and for everybody who writes manifests by program.

/// The schema as it is published.
pub const TEXT: &str = include_str!("schema.json");

#[cfg(test)]
mod test {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::apps::{built_in, manifest};
    use crate::config::read::{Findings, parse};

    fn schema() -> Value {
        serde_json::from_str(TEXT).unwrap()
    }

    fn errors(schema: &Value, file: &str, text: &str) -> Vec<String> {
        let findings = Findings::of(Path::new(file));
        let node = parse(Path::new(file), text, &findings).unwrap();
        let instance = node.value.to_json().unwrap();
        let validator = jsonschema::validator_for(schema).unwrap();
        validator.iter_errors(&instance).map(|e| format!("{}: {e}", e.instance_path)).collect()
    }

    #[test]
    fn good_manifests_fit_the_schema() {
        let schema = schema();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app/ok");
        for (app, file) in [("whole", "app.toml"), ("obsidian-livesync", "app.yml")] {
            let text = std::fs::read_to_string(fixtures.join(app).join(file)).unwrap();
            assert_eq!(errors(&schema, file, &text), Vec::<String>::new(), "{app}");
        }
        for (name, files) in built_in::folders() {
            let file = manifest::FILE_NAMES.into_iter().find(|f| files.contains_key(*f)).unwrap();
            let text = std::str::from_utf8(&files[file].bytes).unwrap();
            assert_eq!(errors(&schema, file, text), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn bad_manifests_do_not_fit() {
        let schema = schema();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/app/fail");
        for app in ["unknown-keys", "wrong-types", "packages", "kinds", "paths", "hardware"] {
            let text = std::fs::read_to_string(fixtures.join(app).join("app.toml")).unwrap();
            assert_ne!(errors(&schema, "app.toml", &text), Vec::<String>::new(), "{app}");
        }
    }

    /// Every object of the schema by its dotted path, with its keys.
    fn objects(at: &str, schema: &Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{at} is open");
            found.insert(at.to_owned(), properties.keys().cloned().collect());
            for (key, below) in properties {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                objects(&path, below, found);
            }
        }
        if let Some(items) = schema.get("items") {
            objects(&format!("{at}[0]"), items, found);
        }
        for way in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            objects(at, way, found);
        }
    }

    /// What the reader itself says is known at a place: it lists the keys when a key resembles none of them.
    fn reader_keys() -> BTreeMap<String, BTreeSet<String>> {
        const ODD: &str = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
        let text = format!(
            r#"{ODD} = 1
            lxc = {{ {ODD} = 1, defaults = {{ {ODD} = 1 }} }}
            provision = {{ {ODD} = 1 }}
            healthcheck = {{ {ODD} = 1, kind = "http" }}
            gpu = {{ {ODD} = 1 }}
            expose = {{ {ODD} = 1 }}
            inputs = [{{ {ODD} = 1, type = "select", options = [{{ {ODD} = 1 }}],
                validation = {{ {ODD} = 1, enum = [{{ {ODD} = 1 }}] }}, show_when = {{ {ODD} = 1 }} }}]
            outputs = [{{ {ODD} = 1 }}]
            mounts = [{{ {ODD} = 1 }}]
            metrics = [{{ {ODD} = 1 }}]
            "#
        );
        let (_, problems, _) = manifest::read(Path::new("app.toml"), &text);
        problems
            .iter()
            .filter_map(|problem| {
                let place = problem.key.strip_suffix(ODD)?.trim_end_matches('.').to_owned();
                let words = problem.message.strip_prefix("unknown key; known here: ")?;
                Some((place, words.split(", ").map(str::to_owned).collect()))
            })
            .collect()
    }

    #[test]
    fn schema_and_reader_know_the_same_keys() {
        let mut published = BTreeMap::new();
        objects("", &schema(), &mut published);
        assert_eq!(published.len(), 15, "{:?}", published.keys());
        assert_eq!(published, reader_keys());
    }
}
