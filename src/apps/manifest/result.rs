//! `[[outputs]]`, `[expose]` and `[[metrics]]`: what an installed app offers.

use super::text::{self, Place};
use super::{Context, key, port, unique, url_path};
use crate::config::read::Section;
use crate::domain::app::{Expose, Input, MetricsPort, Output, OutputKind};

pub(super) fn outputs(root: &Section<'_>, inputs: &[Input], cx: &Context<'_>) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut seen = Vec::new();
    for section in root.tables("outputs") {
        let key = key(&section, cx);
        let label = text::optional(&section, "label", 80, cx);
        let value = section.filled("value");
        let words =
            [("url", OutputKind::Url), ("text", OutputKind::Text), ("secret", OutputKind::Secret)];
        let kind = section.one_of("type", &words);
        let secret = match &value {
            None => {
                section.missing("value", "what is shown, as in \"http://{{ guest.ip }}:3000/\"");
                false
            }
            Some(value) => match text::template(&value.value, Place::Output, inputs) {
                Ok(secret) => secret,
                Err(reasons) => {
                    for reason in reasons {
                        cx.findings.wrong_at(value, reason);
                    }
                    false
                }
            },
        };
        if let Some(node) = section.node("type")
            && secret
            && kind.is_some_and(|k| k != OutputKind::Secret)
        {
            let message = "the value names a secret: only type = \"secret\" keeps it sealed";
            cx.findings.wrong_at(&node, message);
        }
        section.finish();
        let (Some(key), Some(value)) = (key, value) else { continue };
        let usual = if secret { OutputKind::Secret } else { OutputKind::Text };
        let output = Output {
            label: label.unwrap_or_else(|| key.value.clone()),
            key: key.value.clone(),
            value: value.value,
            kind: kind.unwrap_or(usual),
        };
        outputs.extend(unique(&mut seen, &key, "outputs", output, cx));
    }
    outputs
}

pub(super) fn expose(root: &Section<'_>, cx: &Context<'_>) -> Option<Expose> {
    let section = root.section("expose")?;
    let port = port(&section, "port");
    let public = section.boolean("public").is_some_and(|p| p.value);
    let health_path = url_path(&section, "health_path", cx);
    section.finish();
    Some(Expose { port: port?, public, health_path })
}

pub(super) fn metrics(root: &Section<'_>, cx: &Context<'_>) -> Vec<MetricsPort> {
    let mut metrics: Vec<MetricsPort> = Vec::new();
    for section in root.tables("metrics") {
        let port = port(&section, "port");
        let path = url_path(&section, "path", cx).unwrap_or_else(|| "/metrics".to_owned());
        let place = section.place();
        let name = section.path("port");
        section.finish();
        let Some(port) = port else { continue };
        let target = MetricsPort { port, path };
        if metrics.contains(&target) {
            cx.findings.wrong(&name, place, "this target is listed twice");
        } else {
            metrics.push(target);
        }
    }
    metrics
}
