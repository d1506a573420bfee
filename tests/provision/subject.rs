//! TEMPORARY reading of manifests.
use anyhow::{Context, Result};
use ironhatch::domain::app::{HealthCheck, HealthKind};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) struct Subject {
    pub(crate) dir: std::path::PathBuf,
    pub(crate) raw: toml::Value,
    pub(crate) inputs: BTreeMap<String, serde_json::Value>,
    pub(crate) secrets: Vec<String>,
    pub(crate) health: Option<HealthCheck>,
}

pub(crate) fn read(
    app: &str,
    given: &BTreeMap<String, toml::Value>,
    planted: &str,
) -> Result<Subject> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(app);
    let raw: toml::Value = toml::from_str(&std::fs::read_to_string(dir.join("app.toml"))?)?;
    let mut inputs = BTreeMap::new();
    let mut secrets = Vec::new();
    for input in raw.get("inputs").and_then(|i| i.as_array()).into_iter().flatten() {
        let key = input["key"].as_str().context("key")?.to_owned();
        let kind = input["type"].as_str().context("type")?;
        let value = if kind == "secret" {
            secrets.push(key.clone());
            serde_json::Value::from(planted)
        } else {
            let v = given
                .get(&key)
                .or_else(|| input.get("default"))
                .cloned()
                .unwrap_or(toml::Value::String(String::new()));
            serde_json::to_value(v)?
        };
        inputs.insert(key, value);
    }
    let h = &raw["healthcheck"];
    let num = |k: &str, d: u32| {
        h.get(k).and_then(|v| v.as_integer()).map_or(d, |v| u32::try_from(v).unwrap())
    };
    let port = || u16::try_from(h["port"].as_integer().unwrap()).unwrap();
    let kind = match h["kind"].as_str().unwrap() {
        "http" => HealthKind::Http {
            port: port(),
            path: h["path"].as_str().unwrap().to_owned(),
            status: vec![],
        },
        "tcp" => HealthKind::Tcp { port: port() },
        _ => HealthKind::Command { script: h["script"].as_str().unwrap().to_owned() },
    };
    let health = Some(HealthCheck {
        kind,
        timeout_sec: num("timeout_sec", 120),
        interval_sec: num("interval_sec", 3),
    });
    Ok(Subject { dir, raw, inputs, secrets, health })
}
