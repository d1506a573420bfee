//! Installing an app: one form, a review of everything that will happen, and the order itself.
//!
//! ```text
//!  GET install ──> form ── POST review ──> review page ── POST install ──> job
//!                   ^  errors beside fields    │  "Change" leads back with what was typed
//!                   └──────────────────────────┘
//! ```
//!
//! The review names a draft in memory instead of repeating the fields, so no secret is written into a page.

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::app::find;
use super::field::{Group, Look};
use super::{Frame, Page, render_with, switched_off, wizard};
use crate::domain::app::CatalogApp;
use crate::domain::discovery::Review;
use crate::domain::form::{FieldError, Submitted};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::DRAFT_TIME;
use crate::store::StoreError;
use crate::web::auth::Operator;
use crate::web::entry;
use crate::web::problem::fields_to_correct;
use crate::web::view::app::{GpuBanner, Mark, gpu_banner};
use crate::web::{GuestOperations, WebState};

#[derive(Template)]
#[template(path = "install.html")]
struct InstallPage {
    frame: Frame,
    id: String,
    name: String,
    version: String,
    mark: Mark,
    exercised: bool,
    banner: Option<GpuBanner>,
    draft: String,
    groups: Vec<Group>,
    /// Errors about fields that this form does not have.
    stray: Vec<FieldError>,
    refused: Option<Refusal>,
    /// Why the cluster could not be looked at.
    blind: Option<Refusal>,
    problems: Vec<String>,
}

/// What a form was refused for.
#[derive(Default)]
struct Wrong {
    errors: Vec<FieldError>,
    refusal: Option<Refusal>,
}

impl Wrong {
    fn status(&self) -> StatusCode {
        match (&self.refusal, self.errors.is_empty()) {
            (Some(refusal), _) => crate::web::problem::status(refusal.kind),
            (None, false) => StatusCode::UNPROCESSABLE_ENTITY,
            (None, true) => StatusCode::OK,
        }
    }
}

/// The form with what was typed so far. `typed` says that this session typed it: it is kept, so that secrets need not be
/// typed again.
async fn form_page(
    web: WebState,
    operator: Operator,
    guests: &dyn GuestOperations,
    app: CatalogApp,
    form: Submitted,
    typed: bool,
    wrong: Wrong,
) -> Page {
    let found = guests.discovery().await;
    let (found, blind) = match found {
        Ok(found) => (Some(found), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let site = guests.site();
    let status = wrong.status();
    let before = if typed { form.clone() } else { Submitted::default() };
    let groups = wizard::groups(&app, &site, found.as_deref(), &before);
    let (groups, stray) = Group::filled(groups, &form, &wrong.errors);
    let draft = if typed {
        let now = web.store().now();
        web.drafts.keep(&operator.csrf, app.manifest.id.as_str(), form, now.after(DRAFT_TIME), now)
    } else {
        String::new()
    };
    let refused = wrong
        .refusal
        .or_else(|| (!wrong.errors.is_empty()).then(|| fields_to_correct(wrong.errors.len())));
    let state = web.clone();
    let page = web.store().read(move |read| {
        use crate::store::NodeReads as _;
        let manifest = &app.manifest;
        let title = format!("Install {}", manifest.name);
        Ok::<_, StoreError>(InstallPage {
            frame: Frame::new(&state, read, &operator, "apps", title)?,
            id: manifest.id.to_string(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            mark: Mark::new(&app),
            exercised: app.provenance.exercised,
            banner: gpu_banner(manifest, &read.enrolled_nodes()?),
            draft,
            groups,
            stray,
            refused,
            blind,
            problems: found.map(|f| f.problems.clone()).unwrap_or_default(),
        })
    });
    Ok(render_with(status, &page.await?))
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ShowQuery {
    draft: String,
}

pub(crate) async fn show(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
    operator: Operator,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "apps").await };
    let app = find(&guests.catalog(), &id)?.clone();
    let now = web.store().now();
    if let Some(form) = web.drafts.get(&query.draft, &operator.csrf, app.manifest.id.as_str(), now)
    {
        return form_page(web, operator, guests, app, form, true, Wrong::default()).await;
    }
    let (form, refusal) = match guests.defaults(app.manifest.id.clone()).await {
        Ok(form) => (form, None),
        Err(refusal) => (Submitted::default(), Some(refusal)),
    };
    let wrong = Wrong { refusal, ..Wrong::default() };
    form_page(web, operator, guests, app, form, false, wrong).await
}

#[derive(Template)]
#[template(path = "review.html")]
struct ReviewPage {
    frame: Frame,
    id: String,
    name: String,
    version: String,
    draft: String,
    review: Review,
}

/// The form of a request, with the secrets that were typed earlier.
fn read_form(
    web: &WebState,
    operator: &Operator,
    app: &CatalogApp,
    pairs: Vec<(String, String)>,
) -> Submitted {
    let now = web.store().now();
    let draft = entry::field(&pairs, "draft");
    let before = web.drafts.get(draft, &operator.csrf, app.manifest.id.as_str(), now);
    let mut form = entry::from_form(pairs);
    if let Some(before) = before {
        entry::keep_secrets(&mut form, &before, &app.manifest);
    }
    form
}

pub(crate) async fn review(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "apps").await };
    let app = find(&guests.catalog(), &id)?.clone();
    let form = read_form(&web, &operator, &app, pairs);
    match guests.review(app.manifest.id.clone(), form.clone()).await {
        Ok(review) => {
            let now = web.store().now();
            let draft = web.drafts.keep(
                &operator.csrf,
                app.manifest.id.as_str(),
                form,
                now.after(DRAFT_TIME),
                now,
            );
            let state = web.clone();
            let page = web.store().read(move |read| {
                let manifest = &app.manifest;
                let title = format!("Review: {}", manifest.name);
                Ok::<_, StoreError>(ReviewPage {
                    frame: Frame::new(&state, read, &operator, "apps", title)?,
                    id: manifest.id.to_string(),
                    name: manifest.name.clone(),
                    version: manifest.version.clone(),
                    draft,
                    review,
                })
            });
            Ok(render_with(StatusCode::OK, &page.await?))
        }
        Err(declined) => {
            let (errors, refusal) = entry::errors(declined);
            form_page(web, operator, guests, app, form, true, Wrong { errors, refusal }).await
        }
    }
}

fn too_old() -> Refusal {
    Refusal::new(
        RefusalKind::Conflict,
        "This review was carried out already, or is older than half an hour.",
        "Look at the jobs, or fill the form in again.",
    )
}

pub(crate) async fn install(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Page {
    let state = web.clone();
    let Ok(guests) = state.guests() else { return switched_off(web, operator, "apps").await };
    let app = find(&guests.catalog(), &id)?.clone();
    let now = web.store().now();
    let draft = entry::field(&pairs, "draft");
    // Taken, not read: a button that is pressed twice installs once.
    let Some(form) = web.drafts.take(draft, &operator.csrf, app.manifest.id.as_str(), now) else {
        let form = guests.defaults(app.manifest.id.clone()).await.unwrap_or_default();
        let wrong = Wrong { refusal: Some(too_old()), ..Wrong::default() };
        return form_page(web, operator, guests, app, form, false, wrong).await;
    };
    match guests.install(app.manifest.id.clone(), form.clone()).await {
        Ok(job) => Ok(Redirect::to(&format!("/jobs/{job}")).into_response()),
        Err(declined) => {
            let (errors, refusal) = entry::errors(declined);
            form_page(web, operator, guests, app, form, true, Wrong { errors, refusal }).await
        }
    }
}
