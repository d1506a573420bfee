//! The OpenAPI document, made from the list of routes.

use axum::http::Method;
use axum::response::Response;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::job::Started;
use super::route::{Described, Success};
use super::table::all_routes;
use crate::domain::account::Scope;
use crate::web::auth::Operator;
use crate::web::auth::token::needed;
use crate::web::once;
use crate::web::problem::Body;

/// What machines and guests call. Their routes are another router with another secret, the install token; none of them
/// is of use to an operator.
const OF_MACHINES: [(&str, &str, &str); 9] = [
    ("post", "/api/boot/answer", "The installer's request for its answer"),
    ("get", "/api/boot/answer", "Tells that the answer is asked for with POST"),
    ("post", "/api/boot/answer/{token}", "The same with the install token in the address"),
    ("get", "/api/boot/answer/{token}", "Tells that the answer is asked for with POST"),
    ("post", "/api/hosts/{id}/installed", "The installer's report of its end"),
    ("get", "/api/hosts/{id}/first-boot-script", "What an installed machine runs first"),
    ("post", "/api/hosts/{id}/phone-home", "An installed machine calls back"),
    ("get", "/api/nodes/enroll/{code}", "The script of a pasted enrolment command"),
    ("post", "/api/nodes/enroll/{code}", "What that script reports"),
];

pub(in crate::web) async fn show(_: Operator) -> Response {
    super::ok(&document())
}

/// The document.
pub(in crate::web) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut schemas = generator();
    for route in all_routes() {
        let operation = operation(&route, &mut schemas);
        add(&mut paths, route.path, &route.method.as_str().to_lowercase(), operation);
    }
    for (method, path, summary) in OF_MACHINES {
        let operation = json!({
            "operationId": id(method, path), "summary": summary, "tags": ["machines"],
            "parameters": path_parameters(path), "security": [{ "installToken": [] }],
            "responses": { "200": { "description": "As the caller's protocol wants it" } },
        });
        add(&mut paths, path, method, operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ironhatch", "version": env!("CARGO_PKG_VERSION"),
            "description": "Turns blank machines into Proxmox VE nodes and puts applications on them. Errors are application/problem+json.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [], "formToken": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "An API token; x-scope tells which one an operation needs at least" },
                "session": { "type": "apiKey", "in": "cookie", "name": "ironhatch_session" },
                "formToken": { "type": "apiKey", "in": "header", "name": "x-csrf-token", "description": "Of GET /api/session; for changes by a session" },
                "installToken": { "type": "http", "scheme": "bearer", "description": "The secret of one rebuild" },
            },
            "schemas": schemas.take_definitions(true),
        },
    })
}

fn add(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let entry = paths.entry(path).or_insert_with(|| json!({}));
    if let Some(entry) = entry.as_object_mut() {
        entry.insert(method.to_owned(), operation);
    }
}

/// `post_hosts_id_rebuild`: unique, since method and path are.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    let words = words.filter(|word| *word != "api");
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
}

fn operation(route: &Described, schemas: &mut SchemaGenerator) -> Value {
    let method = route.method.as_str().to_lowercase();
    let mut parameters = path_parameters(route.path);
    for (name, meaning) in &route.query {
        parameters.push(json!({
            "name": name, "in": "query", "description": meaning, "schema": { "type": "string" },
        }));
    }
    if route.success == Success::Job && route.method == Method::POST {
        parameters.push(json!({
            "name": once::HEADER, "in": "header", "schema": { "type": "string", "maxLength": 255 },
            "description": "The same key and body start the work once; the same key with another body is refused (422)",
        }));
    }
    let tag = route.path.trim_start_matches("/api/").split('/').next().unwrap_or_default();
    let mut told = json!({
        "operationId": id(&method, route.path), "summary": route.summary, "tags": [tag.trim_start_matches('/')],
        "parameters": parameters, "responses": responses(route, schemas),
    });
    if route.open {
        told["security"] = json!([]);
    } else {
        let scope = needed(&route.method, route.path).unwrap_or(Scope::Admin);
        told["x-scope"] = scope.as_str().into();
    }
    if let Some(body) = &route.body {
        told["requestBody"] = json!({ "content": { "application/json": { "schema": body } } });
    }
    told
}

/// Describes what is sent: whole types once, among the document's components.
fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.definitions_path = "/components/schemas".into();
        s.meta_schema = None;
    });
    settings.for_serialize().with_transform(RecursiveTransform(simplify)).into_generator()
}

/// Makes a schema what programs that generate clients can use: one list of words, whose meanings move into the
/// description; nothing about values that are left out when one *sends* such an object; room for properties to come.
fn simplify(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("default");
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.remove("additionalProperties");
    }
    let Some(Value::Array(variants)) = object.get("oneOf") else { return };
    let mut words = Vec::new();
    let mut description =
        object.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for variant in variants {
        match (variant.get("const"), variant.get("enum")) {
            (Some(Value::String(word)), None) => {
                let meaning =
                    variant.get("description").and_then(Value::as_str).unwrap_or_default();
                description.push_str(&format!("\n\n* `{word}`: {meaning}"));
                words.push(Value::from(word.as_str()));
            }
            (None, Some(Value::Array(some))) => words.extend(some.iter().cloned()),
            _ => return,
        }
    }
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), Value::Array(words));
    object.insert("description".to_owned(), description.into());
}

fn responses(route: &Described, schemas: &mut SchemaGenerator) -> Value {
    let mut answer = |fallback: fn(&mut SchemaGenerator) -> Schema| {
        let schema = route.answer.unwrap_or(fallback)(schemas);
        json!({ "application/json": { "schema": schema } })
    };
    let object = |_: &mut SchemaGenerator| json_schema!({ "type": "object" });
    let (status, answer) = match route.success {
        Success::Object => ("200", json!({ "description": "Done", "content": answer(object) })),
        Success::Made => ("201", json!({ "description": "Made", "content": answer(object) })),
        Success::Nothing => ("204", json!({ "description": "Done" })),
        Success::Job => {
            let content = answer(|schemas| schemas.subschema_for::<Started>());
            ("202", json!({ "description": "A job does it", "content": content }))
        }
        Success::Other(kind) => ("200", json!({ "description": "Done", "content": { kind: {} } })),
    };
    let refused = schemas.subschema_for::<Body<'_>>();
    json!({
        status: answer,
        "default": {
            "description": "Refused or failed",
            "content": { "application/problem+json": { "schema": refused } },
        },
    })
}
