//! The OpenAPI document against the routers.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::Value;

use super::scene::{Scene, json};
use crate::web::ControlSocket;
use crate::web::api::document::document;

/// Methods by path, those of machines apart.
fn operations() -> (BTreeMap<String, BTreeSet<String>>, BTreeSet<String>) {
    let (mut operators, mut machines) = (BTreeMap::new(), BTreeSet::new());
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"][0] == "machines" {
                machines.insert(path.clone());
            } else {
                let methods: &mut BTreeSet<String> = operators.entry(path.clone()).or_default();
                methods.insert(method.to_uppercase());
            }
        }
    }
    (operators, machines)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_router_have_the_same_routes() {
    let scene = Scene::empty();
    let (operators, machines) = operations();
    assert!(operators.len() > 60, "{operators:?}");
    for (path, methods) in &operators {
        // The router tells which methods a path has when it is asked with another one.
        let path = path.replace(['{', '}'], "");
        let request = Request::builder().method("TRACE").uri(&path).extension(ControlSocket);
        let answer = scene.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed: BTreeSet<String> =
            answer.header("allow").split(',').map(|m| m.trim().to_owned()).collect();
        let told: BTreeSet<String> = methods
            .iter()
            .flat_map(|m| if m == "GET" { vec!["GET", "HEAD"] } else { vec![m.as_str()] })
            .map(str::to_owned)
            .collect();
        assert_eq!(allowed, told, "{path}");
    }
    // No route of the API is made anywhere else than in the list that the document is made of, but those of machines.
    let others = [
        include_str!("../../web.rs"),
        include_str!("../auth.rs"),
        include_str!("../asset.rs"),
        include_str!("../page.rs"),
        include_str!("../api.rs"),
        include_str!("../api/table.rs"),
        include_str!("../api/table/guest.rs"),
    ];
    for text in others {
        let text = text.split("#[cfg(test)]\nmod test {").next().unwrap();
        for (_, rest) in
            text.match_indices(".route(").map(|(at, found)| text.split_at(at + found.len()))
        {
            let path = rest.trim_start().trim_start_matches('"').split('"').next().unwrap();
            let is_api = path.starts_with("/api") || path == "/events" || path == "/metrics";
            assert!(!is_api, "{path} is not in the document");
        }
    }
    let machine = include_str!("../machine.rs");
    let made: BTreeSet<String> = machine
        .split(".route(")
        .skip(1)
        .map(|rest| rest.trim_start().trim_start_matches('"').split('"').next().unwrap().to_owned())
        .filter(|path| path.starts_with("/api"))
        .collect();
    assert_eq!(made, machines);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_and_whole() {
    let scene = Scene::empty();
    let answer = scene.get("/api/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(told, document());
    assert_eq!(told["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in told["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(operation["summary"].as_str().unwrap().len() > 5, "{method} {path}");
            let names: Vec<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|p| p["in"] == "path")
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            let wanted: Vec<&str> =
                path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
            assert_eq!(names, wanted, "{path}");
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            if !body.is_null() {
                jsonschema::validator_for(body).unwrap_or_else(|e| panic!("{path}: {e}"));
            }
        }
    }
    let rebuild = &told["paths"]["/api/hosts/{id}/rebuild"]["post"];
    assert_eq!(rebuild["x-scope"], "operate");
    let body = &rebuild["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], serde_json::json!(["confirm"]));
    // What the schema refuses, the appliance refuses.
    let schema = jsonschema::validator_for(body).unwrap();
    let scene = Scene::fleet();
    for (text, is_good) in [(r#"{"confirm":"x","typo":1}"#, false), (r#"{"image":null}"#, false)] {
        let sent: Value = serde_json::from_str(text).unwrap();
        assert_eq!(schema.is_valid(&sent), is_good, "{text}");
        let answer = scene.send(json("POST", "/api/hosts/pve4/rebuild", text)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
    }
    assert!(schema.is_valid(&serde_json::json!({ "confirm": "pve4" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages() {
    let scene = Scene::fleet();
    let read =
        async |path: &str| -> Value { serde_json::from_str(&scene.get(path).await.body).unwrap() };
    let all = read("/api/hosts").await;
    assert_eq!(all["next"], Value::Null);
    let all: Vec<Value> = all["hosts"].as_array().unwrap().clone();
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = read(&format!("/api/hosts?limit=2&after={after}")).await;
        let hosts = page["hosts"].as_array().unwrap();
        assert!((1..=2).contains(&hosts.len()));
        paged.extend(hosts.clone());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    assert!(all.len() > 2);
    assert_eq!(paged, all);
    assert_eq!(scene.get("/api/hosts?after=gone").await.status, StatusCode::CONFLICT);
    assert_eq!(scene.get("/api/hosts?limit=many").await.status, StatusCode::BAD_REQUEST);
}
