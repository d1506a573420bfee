//! What the running appliance is configured to do, from which file, and who is told what happened. Read-only but for the
//! test of a notification target: the file is the place where settings are changed.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::{Frame, Page, render};
use crate::store::{Outcome, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::notify::{TargetView, targets};
use crate::web::settings::{Group, Shown, groups};
use crate::web::view::When;

/// A target in the list.
struct TargetRow {
    view: TargetView,
    events: String,
    last: Option<LastRow>,
}

/// Its last delivery.
struct LastRow {
    at: When,
    event: String,
    label: &'static str,
    tone: &'static str,
    reason: String,
}

/// What a reload changed last.
struct ReloadRow {
    at: When,
    keys: String,
}

/// A group of values under its heading.
struct GroupRow {
    title: &'static str,
    /// As it is written in the file; empty: above all sections.
    section: String,
    group: Group,
    waits: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    path: String,
    since: When,
    errors: Vec<String>,
    last: Option<ReloadRow>,
    waiting: Vec<String>,
    targets: Vec<TargetRow>,
    /// A target that was just tried out.
    tested: Option<(String, Option<String>)>,
    groups: Vec<GroupRow>,
    types_path: String,
    types: usize,
    type_errors: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SettingsQuery {
    tested: String,
}

pub(super) async fn show(
    State(web): State<WebState>,
    Query(query): Query<SettingsQuery>,
    operator: Operator,
) -> Page {
    let config = web.config();
    let now = web.store().now();
    let (state, view) = (web.clone(), config.clone());
    let (frame, views) = web
        .store()
        .read(move |read| {
            let frame = Frame::new(&state, read, &operator, "settings", "Settings")?;
            Ok::<_, StoreError>((frame, targets(read, &view)?))
        })
        .await?;
    let row = |view: TargetView| {
        let last = view.last.as_ref().map(|last| {
            let (label, tone) = match last.outcome {
                Outcome::Delivered => ("delivered", "good"),
                Outcome::Retried { .. } => ("tried again", "busy"),
                Outcome::GivenUp { .. } => ("not delivered", "bad"),
            };
            LastRow {
                at: When::new(last.at, now),
                event: last.event.clone(),
                label,
                tone,
                reason: view.failure().unwrap_or_default().to_owned(),
            }
        });
        TargetRow { events: view.events.join(", "), last, view }
    };
    let tested = views.iter().find(|view| view.can_test && view.name == query.tested);
    let tested = tested.map(|view| (view.name.clone(), view.failure().map(str::to_owned)));
    let types = web.types();
    render(&SettingsPage {
        frame,
        path: config.running.path.display().to_string(),
        since: When::new(config.since, now),
        errors: config.errors.iter().map(ToString::to_string).collect(),
        last: config
            .last
            .as_ref()
            .map(|last| ReloadRow { at: When::new(last.at, now), keys: last.keys.join(", ") }),
        waiting: config.waiting(),
        targets: views.into_iter().map(row).collect(),
        tested,
        groups: groups(&config).into_iter().map(titled).collect(),
        types_path: config.running.server_types.path().display().to_string(),
        types: types.types.len(),
        type_errors: types.errors.clone(),
    })
}

fn titled(group: Group) -> GroupRow {
    let title = match group.name.as_str() {
        "" => "Places on the disk",
        "server" => "Dashboard and API",
        "pxe" => "Network boot",
        "proxmox" => "Cluster",
        "credentials" => "Access to fresh nodes",
        "infrastructure" => "Registry of hosts",
        "apps" => "Applications",
        _ => "More",
    };
    let section = if group.name.is_empty() { String::new() } else { format!("[{}]", group.name) };
    let waits = group.settings.iter().any(|setting| setting.waits);
    GroupRow { title, section, group, waits }
}

/// Tries a target out, then shows how that went.
pub(super) async fn test(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Page {
    let tested = web.parts.notifier.test(name).await?;
    // Names of targets are plain; anything else is not found above.
    Ok(Redirect::to(&format!("/settings?tested={}", tested.name)).into_response())
}
