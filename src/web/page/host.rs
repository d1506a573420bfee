//! One host: where it stands, what it is, what happened, and what can be done with it.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::host_view::HostView;
use super::power::{Asked, PowerView};
use super::{Frame, Page, missing, render_with};
use crate::domain::host::Host;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::jobs::RebuildRequest;
use crate::plan::power::{Prompt, prompt};
use crate::store::{HostReads as _, ImageReads as _, JobReads as _, Snapshot, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::boot::Boots;
use crate::web::form::HostForm;
use crate::web::problem::PageProblem;
use crate::web::view::boot::BootView;
use crate::web::view::{When, erased, state_label, state_meaning, state_tone};

/// A choice in a list.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) text: String,
    pub(super) selected: bool,
}

/// Which forms were refused and why.
#[derive(Default)]
pub(super) struct Refused {
    pub(super) power: Asked,
    pub(super) edit: Option<(HostForm, Vec<Refusal>)>,
    pub(super) rebuild: Option<Refusal>,
    pub(super) delete: Option<Refusal>,
}

#[derive(Template)]
#[template(path = "host.html")]
struct HostPage {
    frame: Frame,
    id: String,
    hostname: String,
    state: &'static str,
    label: &'static str,
    meaning: &'static str,
    tone: &'static str,
    since: When,
    server_type: String,
    address: String,
    macs: Vec<String>,
    active_job: Option<String>,
    failure: Option<crate::domain::host::Failure>,
    view: HostView,
    power: PowerView,
    prompt: Option<Prompt>,
    boot: BootView,
    form: HostForm,
    wrong: Vec<Refusal>,
    types: Vec<Choice>,
    images: Vec<Choice>,
    erased: Option<String>,
    busy: bool,
    rebuild_refused: Option<Refusal>,
    delete_refused: Option<Refusal>,
}

impl HostPage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.wrong.iter().find(|r| r.field == Some(field))
    }

    fn general_errors(&self) -> Vec<&Refusal> {
        self.wrong.iter().filter(|r| r.field.is_none()).collect()
    }
}

/// The host with this id or name.
pub(crate) fn find(read: &Snapshot, id: &str) -> Result<Option<Host>, StoreError> {
    if let Ok(id) = id.parse() {
        return read.host(id);
    }
    id.parse().map_or(Ok(None), |name| read.host_by_name(&name))
}

fn host_page(
    web: &WebState,
    read: &Snapshot,
    operator: &Operator,
    id: &str,
    refused: Refused,
) -> Result<Option<HostPage>, StoreError> {
    let Some(host) = find(read, id)? else { return Ok(None) };
    let now = web.store().now();
    let (form, wrong) = refused.edit.unwrap_or_else(|| (HostForm::of(&host), Vec::new()));
    let types = web.types();
    let selection = host
        .overrides
        .boot_disk
        .as_ref()
        .or_else(|| types.get(&host.server_type).map(|t| &t.boot_disk));
    let images = read.images()?;
    let boots = Boots::of_host(read, &host, now)?;
    Ok(Some(HostPage {
        frame: Frame::new(web, read, operator, "hosts", host.hostname.as_str())?,
        id: host.id.to_string(),
        hostname: host.hostname.to_string(),
        state: host.state.as_str(),
        label: state_label(host.state),
        meaning: state_meaning(host.state),
        tone: state_tone(host.state),
        since: When::new(host.state_since, now),
        server_type: host.server_type.to_string(),
        address: host.address.map(|a| a.to_string()).unwrap_or_default(),
        macs: host.macs.iter().map(ToString::to_string).collect(),
        active_job: host.active_job.map(|j| j.to_string()),
        failure: host.failure.clone(),
        view: HostView::read(read, &host, now)?,
        power: PowerView::read(read, &host, types.get(&host.server_type), refused.power)?,
        prompt: match host.active_job {
            Some(job) => read.job(job)?.and_then(|job| prompt(&host, &job)),
            None => None,
        },
        boot: BootView::new(&boots.diagnosis, boots.learned),
        types: type_choices(&types, &form.server_type),
        form,
        wrong,
        images: images
            .iter()
            .enumerate()
            .map(|(n, image)| Choice {
                value: image.id.to_string(),
                text: format!("{} {}", image.release.product_long, image.id),
                selected: n == 0,
            })
            .collect(),
        erased: erased(selection),
        busy: host.active_job.is_some() || host.state.is_busy(),
        rebuild_refused: refused.rebuild,
        delete_refused: refused.delete,
    }))
}

/// The server types to choose from.
pub(super) fn type_choices(types: &crate::web::ServerTypeList, chosen: &str) -> Vec<Choice> {
    let choice = |t: &crate::domain::server_type::ServerType| Choice {
        value: t.name.to_string(),
        text: format!("{} ({})", t.display_name, t.name),
        selected: t.name.as_str() == chosen,
    };
    let mut choices: Vec<Choice> = types.types.iter().map(choice).collect();
    // A type whose file went away stays visible, and is not changed behind the operator's back.
    if !chosen.is_empty() && !choices.iter().any(|c| c.selected) {
        let text = format!("{chosen} (not available)");
        choices.push(Choice { value: chosen.to_owned(), text, selected: true });
    }
    choices
}

pub(super) async fn answer(
    web: WebState,
    operator: Operator,
    id: String,
    status: StatusCode,
    refused: Refused,
) -> Page {
    let state = web.clone();
    let page = web
        .store()
        .read(move |read| host_page(&state, read, &operator, &id, refused))
        .await?
        .ok_or_else(|| missing("host"))?;
    Ok(render_with(status, &page))
}

pub(super) async fn load(web: &WebState, id: String) -> Result<Host, PageProblem> {
    let found = web.store().read(move |read| find(read, &id)).await?;
    Ok(found.ok_or_else(|| missing("host"))?)
}

pub(super) fn back_to(host: &Host) -> Response {
    Redirect::to(&format!("/hosts/{}", host.id)).into_response()
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    answer(web, operator, id, StatusCode::OK, Refused::default()).await
}

pub(crate) async fn edit(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<HostForm>,
) -> Page {
    let host = load(&web, id.clone()).await?;
    let wrong = match form.parse_change(&host) {
        Ok(change) => match web.operations().change_host(host.id, change).await {
            Ok(_) => return Ok(back_to(&host)),
            Err(refusal) => vec![refusal],
        },
        Err(wrong) => wrong,
    };
    let status = wrong.first().map_or(RefusalKind::Unprocessable, |r| r.kind);
    let refused = Refused { edit: Some((form, wrong)), ..Refused::default() };
    answer(web, operator, id, crate::web::problem::status(status), refused).await
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct RebuildForm {
    image: String,
    confirm: String,
    replace_node: Option<String>,
}

pub(crate) async fn rebuild(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<RebuildForm>,
) -> Page {
    let host = load(&web, id.clone()).await?;
    let image = match form.image.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some),
    };
    let asked = match image {
        Ok(image) => {
            let confirm = form.confirm.trim().to_owned();
            let replace_node = form.replace_node.is_some();
            let request = RebuildRequest { image, confirm, replace_node };
            web.operations().rebuild(host.id, request).await
        }
        Err(invalid) => {
            let hint = "Choose an image from the list.";
            Err(Refusal::new(RefusalKind::Malformed, invalid.to_string(), hint).about("image"))
        }
    };
    match asked {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(refusal) => {
            let status = crate::web::problem::status(refusal.kind);
            let refused = Refused { rebuild: Some(refusal), ..Refused::default() };
            answer(web, operator, id, status, refused).await
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct DeleteForm {
    confirm: String,
}

/// The same words for page and API when a deletion was not confirmed.
pub(crate) fn check_confirmed(host: &Host, confirm: &str) -> Result<(), Refusal> {
    if confirm.trim() == host.hostname.as_str() {
        return Ok(());
    }
    let detail = "The host's name was not typed as it is.";
    let hint = format!("Type {} to confirm.", host.hostname);
    Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about("confirm"))
}

pub(crate) async fn delete(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(form): Form<DeleteForm>,
) -> Page {
    let host = load(&web, id.clone()).await?;
    let deleted = match check_confirmed(&host, &form.confirm) {
        Ok(()) => web.operations().delete_host(host.id).await,
        Err(refusal) => Err(refusal),
    };
    match deleted {
        Ok(()) => Ok(Redirect::to("/").into_response()),
        Err(refusal) => {
            let status = crate::web::problem::status(refusal.kind);
            let refused = Refused { delete: Some(refusal), ..Refused::default() };
            answer(web, operator, id, status, refused).await
        }
    }
}
