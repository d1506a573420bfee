//! The OpenAPI document, made from the list of routes.

use axum::http::Method;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::route::{Described, Success};
use crate::domain::account::Scope;
use crate::web::auth::Operator;
use crate::web::auth::token::needed;
use crate::web::once;

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
    for route in super::all_routes() {
        let operation = operation(&route);
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
            "schemas": { "Problem": problem(), "Started": started() },
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

fn operation(route: &Described) -> Value {
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
        "parameters": parameters, "responses": responses(route),
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

fn responses(route: &Described) -> Value {
    let object = json!({ "application/json": { "schema": { "type": "object" } } });
    let (status, answer) = match route.success {
        Success::Object => ("200", json!({ "description": "Done", "content": object })),
        Success::Made => ("201", json!({ "description": "Made", "content": object })),
        Success::Nothing => ("204", json!({ "description": "Done" })),
        Success::Job => {
            let started = json!({ "$ref": "#/components/schemas/Started" });
            (
                "202",
                json!({ "description": "A job does it", "content": { "application/json": { "schema": started } } }),
            )
        }
        Success::Other(kind) => ("200", json!({ "description": "Done", "content": { kind: {} } })),
    };
    let refused = json!({ "$ref": "#/components/schemas/Problem" });
    json!({
        status: answer,
        "default": {
            "description": "Refused or failed",
            "content": { "application/problem+json": { "schema": refused } },
        },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["title", "status", "detail"],
        "properties": {
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "What happened" },
            "hint": { "type": "string", "description": "What to do" },
            "field": { "type": "string", "description": "The field that it is about" },
            "job": { "type": "string", "description": "The job that stands in the way" },
            "errors": { "type": "object", "additionalProperties": { "type": "string" }, "description": "Messages by field" },
        },
    })
}

fn started() -> Value {
    json!({
        "type": "object",
        "required": ["job"],
        "properties": {
            "job": { "type": "string", "description": "Its id: GET /api/jobs/{id}" },
            "operation_id": { "type": "string", "description": "The same id" },
        },
    })
}
