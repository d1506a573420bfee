//! Images: what there is, what is being imported, and the import form.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::job::{Progress, progress};
use super::{Frame, Page, missing, render_with};
use crate::domain::id::ImageId;
use crate::domain::image::Image;
use crate::domain::inventory::Firmware;
use crate::domain::job::{JobStatus, Work};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::jobs::ImportRequest;
use crate::plan::answer::Dialect;
use crate::plan::rebuild::memory_needed_mib;
use crate::store::{ImageReads as _, JobReads as _, Snapshot, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::view::{When, job_label, job_tone, size};

/// Jobs looked through for imports that did not succeed.
const RECENT_JOBS: usize = 60;

struct ImageRow {
    id: String,
    product: String,
    release: String,
    size: String,
    sha256: String,
    source: String,
    imported: When,
    /// Of its answers; `None` when it cannot be installed without a hand.
    dialect: Option<String>,
    /// What a machine needs to load it: with legacy BIOS, and with UEFI.
    memory: (String, String),
}

impl ImageRow {
    fn new(image: &Image, now: Timestamp) -> Self {
        let release = &image.release;
        let needed = |firmware| {
            let mib = memory_needed_mib(image.size, image.initrd_size, firmware);
            size(mib.saturating_mul(1 << 20))
        };
        Self {
            dialect: Dialect::for_release(&release.release).ok().map(|d| d.to_string()),
            memory: (needed(Firmware::Bios), needed(Firmware::Uefi)),
            id: image.id.to_string(),
            product: release.product_long.clone(),
            release: format!("{}-{}", release.release, release.iso_release),
            size: size(image.size),
            sha256: image.sha256.clone(),
            source: image.source.clone(),
            imported: When::new(image.imported_at, now),
        }
    }
}

struct ImportRow {
    job: String,
    source: String,
    label: &'static str,
    tone: &'static str,
    note: String,
    hint: String,
    progress: Option<Progress>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ImportForm {
    source: String,
    sha256: String,
}

#[derive(Template)]
#[template(path = "images.html")]
struct ImagesPage {
    frame: Frame,
    images: Vec<ImageRow>,
    imports: Vec<ImportRow>,
    form: ImportForm,
    refused: Option<Refusal>,
    delete_refused: Option<Refusal>,
}

impl ImagesPage {
    fn error(&self, field: &str) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| r.field == Some(field))
    }

    fn general_error(&self) -> Option<&Refusal> {
        self.refused.as_ref().filter(|r| !matches!(r.field, Some("source" | "sha256")))
    }
}

/// Imports that run, and those that failed after the newest image came in.
fn imports(read: &Snapshot, newest: Option<Timestamp>) -> Result<Vec<ImportRow>, StoreError> {
    let mut rows = Vec::new();
    for job in read.jobs(None, RECENT_JOBS)? {
        let Work::ImportImage(import) = &job.work else { continue };
        let recent = newest.is_none_or(|at| job.created > at);
        let failed = job.status == JobStatus::Failed && recent && rows.len() < 3;
        if job.status.is_terminal() && !failed {
            continue;
        }
        let (note, hint) = match &job.failure {
            Some(failure) => (failure.reason.clone(), failure.hint.clone()),
            None => (String::new(), String::new()),
        };
        rows.push(ImportRow {
            job: job.id.to_string(),
            source: import.source.clone(),
            label: job_label(job.status),
            tone: job_tone(job.status),
            note,
            hint,
            progress: if failed { None } else { progress(read, job.id)? },
        });
    }
    Ok(rows)
}

async fn answer(
    web: WebState,
    operator: Operator,
    form: ImportForm,
    refused: Option<Refusal>,
    delete_refused: Option<Refusal>,
) -> Page {
    let shown = refused.as_ref().or(delete_refused.as_ref());
    let status = shown.map_or(StatusCode::OK, |r| crate::web::problem::status(r.kind));
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let images = read.images()?;
        Ok::<_, StoreError>(ImagesPage {
            frame: Frame::new(&state, read, &operator, "images", "Images")?,
            imports: imports(read, images.first().map(|i| i.imported_at))?,
            images: images.iter().map(|i| ImageRow::new(i, now)).collect(),
            form,
            refused,
            delete_refused,
        })
    });
    Ok(render_with(status, &page.await?))
}

pub(crate) async fn list(State(web): State<WebState>, operator: Operator) -> Page {
    answer(web, operator, ImportForm::default(), None, None).await
}

pub(crate) async fn import(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<ImportForm>,
) -> Page {
    let sha256 = Some(form.sha256.trim().to_ascii_lowercase()).filter(|s| !s.is_empty());
    let request = ImportRequest { source: form.source.trim().to_owned(), sha256 };
    match web.operations().import_image(request).await {
        Ok(_) => Ok(Redirect::to("/images").into_response()),
        Err(refusal) => answer(web, operator, form, Some(refusal), None).await,
    }
}

pub(crate) async fn delete(
    State(web): State<WebState>,
    Path(id): Path<String>,
    operator: Operator,
) -> Page {
    let id: ImageId = id.parse().map_err(|_| missing("image"))?;
    match web.operations().delete_image(id).await {
        Ok(()) => Ok(Redirect::to("/images").into_response()),
        Err(refusal) => answer(web, operator, ImportForm::default(), None, Some(refusal)).await,
    }
}
