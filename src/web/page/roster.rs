//! Hosts as a file: taken out, and put in after a look at what would change.

use askama::Template;
use axum::extract::{Form, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect};
use serde::Deserialize;

use super::{Frame, Page, missing, render_with};
use crate::domain::form::{Declined, FieldError};
use crate::jobs::ImportMode;
use crate::plan::roster::{Becomes, Change, Format};
use crate::store::StoreError;
use crate::web::WebState;
use crate::web::auth::Operator;

/// What would become of one host.
struct Row {
    row: usize,
    hostname: String,
    word: &'static str,
    tone: &'static str,
    values: String,
}

impl Row {
    fn new(change: &Change) -> Self {
        let (word, tone) = match change.becomes {
            Becomes::New => ("new", "good"),
            Becomes::Changed => ("changed", "busy"),
            Becomes::Same => ("the same", "idle"),
        };
        let (row, hostname) = (change.row, change.hostname.to_string());
        Self { row, hostname, word, tone, values: change.values.join(", ") }
    }
}

#[derive(Template)]
#[template(path = "host_file.html")]
struct HostFilePage {
    frame: Frame,
    text: String,
    format: &'static str,
    wrong: Vec<FieldError>,
    rows: Option<Vec<Row>>,
    /// Hosts that importing it would register or change.
    differ: usize,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct HostFileForm {
    text: String,
    /// `csv` or `toml`.
    format: String,
    /// `import`; everything else only looks.
    action: String,
}

/// The format by its name; CSV unless told otherwise.
fn format_of(name: &str) -> Format {
    if name == "toml" { Format::Toml } else { Format::Csv }
}

async fn answer(
    web: WebState,
    operator: Operator,
    form: HostFileForm,
    outcome: Option<Result<Vec<Change>, Vec<FieldError>>>,
) -> Page {
    let (rows, wrong, status) = match outcome {
        None => (None, Vec::new(), StatusCode::OK),
        Some(Ok(changes)) => {
            (Some(changes.iter().map(Row::new).collect()), Vec::new(), StatusCode::OK)
        }
        Some(Err(wrong)) => (None, wrong, StatusCode::UNPROCESSABLE_ENTITY),
    };
    let differ = rows.iter().flatten().filter(|row: &&Row| row.word != "the same").count();
    let state = web.clone();
    let page = web.store().read(move |read| {
        let frame = Frame::new(&state, read, &operator, "hosts", "Hosts as a file")?;
        let format = if form.format == "toml" { "toml" } else { "csv" };
        Ok::<_, StoreError>(HostFilePage { frame, text: form.text, format, wrong, rows, differ })
    });
    Ok(render_with(status, &page.await?))
}

pub(crate) async fn show(State(web): State<WebState>, operator: Operator) -> Page {
    answer(web, operator, HostFileForm::default(), None).await
}

pub(crate) async fn import(
    State(web): State<WebState>,
    operator: Operator,
    Form(form): Form<HostFileForm>,
) -> Page {
    let mode = if form.action == "import" { ImportMode::Apply } else { ImportMode::DryRun };
    let format = format_of(&form.format);
    match web.operations().import_hosts(form.text.clone(), format, mode).await {
        Ok(_) if mode == ImportMode::Apply => Ok(Redirect::to("/").into_response()),
        Ok(changes) => answer(web, operator, form, Some(Ok(changes))).await,
        Err(Declined::Fields(wrong)) => answer(web, operator, form, Some(Err(wrong))).await,
        Err(Declined::Refused(refusal)) => Err(refusal.into()),
    }
}

/// The file itself.
pub(crate) async fn export(
    State(web): State<WebState>,
    Path(name): Path<String>,
    _: Operator,
) -> Page {
    let (format, kind) = match name.as_str() {
        "hosts.csv" => (Format::Csv, "text/csv; charset=utf-8; header=present"),
        "hosts.toml" => (Format::Toml, "application/toml"),
        _ => return Err(missing("file").into()),
    };
    let text = web.operations().export_hosts(format).await?;
    let as_file = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, as_file)];
    Ok((headers, text).into_response())
}
