//! What one host would be sent: every rule, the disks, each value with its layer, the whole text.

use askama::Template;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::Value;

use super::host::{Choice, load};
use super::{Frame, Page, render};
use crate::jobs::AnswerPreview;
use crate::plan::answer::preview::{Check, Named, Outcome};
use crate::plan::answer::{Layer, Layered};
use crate::store::{ImageReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;

/// A rule for people.
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) word: &'static str,
    pub(super) tone: &'static str,
    pub(super) said: Vec<String>,
    pub(super) hint: String,
}

impl Rule {
    pub(super) fn new(check: Check) -> Self {
        let (word, tone) = match check.outcome {
            Outcome::Passed => ("kept", "good"),
            Outcome::Failed => ("broken", "bad"),
            Outcome::Open => ("not looked at", "idle"),
        };
        let Check { rule, said, hint, .. } = check;
        Self { rule, word, tone, said, hint }
    }
}

/// A value with who set it.
struct Origin {
    value: String,
    layer: &'static str,
}

struct Row {
    key: String,
    origin: Origin,
    below: Vec<Origin>,
}

impl Row {
    fn new(layered: Layered) -> Self {
        let Layered { key, value, layer, overridden } = layered;
        let below = overridden.into_iter().map(|lower| origin(&lower.value, lower.layer)).collect();
        Self { key, origin: origin(&value, layer), below }
    }
}

/// Lists one below the other, text without its quotes.
fn origin(value: &Value, layer: Layer) -> Origin {
    let one = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let value = match value {
        Value::Array(all) => all.iter().map(one).collect::<Vec<_>>().join("\n"),
        other => one(other),
    };
    Origin { value, layer: layer_name(layer) }
}

pub(super) fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Template => "answer template",
        Layer::ServerType => "server type",
        Layer::Host => "host",
        Layer::Enforced => "Ironhatch",
        Layer::Rebuild => "each rebuild",
    }
}

#[derive(Template)]
#[template(path = "answer.html")]
struct AnswerPage {
    frame: Frame,
    id: String,
    hostname: String,
    images: Vec<Choice>,
    release: Option<String>,
    dialect: Option<String>,
    server_type: String,
    template: Option<String>,
    is_sendable: bool,
    busy: bool,
    /// Rules that stand in the way, and those that could not be looked at.
    broken: Vec<Rule>,
    kept: Vec<Rule>,
    disk: Option<Named>,
    rows: Vec<Row>,
    replaced: usize,
    notes: Vec<String>,
    text: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct AnswerQuery {
    image: String,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<AnswerQuery>,
    operator: Operator,
) -> Page {
    let host = load(&web, id).await?;
    // An image that is named in no possible way is no image: the newest is shown.
    let wanted = query.image.parse().ok();
    let shown = web.operations().types().preview_answer(host.id, wanted).await?;
    let state = web.clone();
    let page = web.store().read(move |read| {
        let AnswerPreview { hostname, image, release, dialect, server_type, template, .. } = shown;
        let images = read.images()?;
        let images = images.iter().map(|i| Choice {
            value: i.id.to_string(),
            text: format!("{} {}", i.release.product_long, i.id),
            selected: Some(&i.id) == image.as_ref(),
        });
        let (kept, broken): (Vec<_>, Vec<_>) =
            shown.checks.into_iter().partition(|check| check.outcome == Outcome::Passed);
        let rows: Vec<Row> = shown.values.into_iter().map(Row::new).collect();
        let title = format!("Answer for {hostname}");
        Ok::<_, StoreError>(AnswerPage {
            frame: Frame::new(&state, read, &operator, "hosts", title)?,
            id: host.id.to_string(),
            hostname,
            images: images.collect(),
            release,
            dialect,
            server_type,
            template,
            is_sendable: shown.is_sendable,
            busy: host.active_job.is_some(),
            broken: broken.into_iter().map(Rule::new).collect(),
            kept: kept.into_iter().map(Rule::new).collect(),
            disk: shown.disk,
            replaced: rows.iter().map(|row| row.below.len()).sum(),
            rows,
            notes: shown.notes,
            text: shown.text,
        })
    });
    render(&page.await?)
}
