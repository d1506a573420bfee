//! Refusals on HTTP: one place that knows which status they get, as `application/problem+json` or as a page.

use std::collections::BTreeMap;

use askama::Template as _;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::page::ErrorPage;
use crate::domain::form::{Declined, FieldError};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::store::StoreError;

/// What clients wait before they come again after 429 or 503.
const RETRY_AFTER_SECS: &str = "30";

/// A refusal for a program: RFC 9457 problem details, with what is wrong with each field of a form.
#[derive(Debug)]
pub(super) struct Problem(pub(super) Refusal, Vec<FieldError>);

/// A refusal for a person: a page in the usual look.
#[derive(Debug)]
pub(super) struct PageProblem(pub(super) Refusal);

/// The body of a problem.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Body<'a> {
    title: &'a str,
    status: u16,
    /// What happened.
    detail: &'a str,
    /// What to do.
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
    /// The field that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
    /// The job that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    /// Messages by field.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    errors: BTreeMap<&'a str, &'a str>,
}

/// The status of a class of refusals.
pub(super) fn status(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Malformed => StatusCode::BAD_REQUEST,
        RefusalKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        RefusalKind::Forbidden => StatusCode::FORBIDDEN,
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Conflict => StatusCode::CONFLICT,
        RefusalKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        RefusalKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        RefusalKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A database failure in the words of a refusal.
pub(super) fn from_store(error: &StoreError) -> Refusal {
    if let StoreError::Begun = error {
        let hint = "Ask again: the answer will be that of the first request.";
        return Refusal::new(RefusalKind::Conflict, error.to_string(), hint);
    }
    tracing::error!(%error, "a request failed at the database");
    let hint = match error {
        StoreError::Closed => "The appliance is shutting down; try again when it is back.",
        _ => "See the appliance's log; a full disk is the usual cause.",
    };
    let kind = match error {
        StoreError::Closed => RefusalKind::Unavailable,
        _ => RefusalKind::Internal,
    };
    Refusal::new(kind, error.to_string(), hint)
}

fn with_waiting(kind: RefusalKind, mut response: Response) -> Response {
    if matches!(kind, RefusalKind::TooMany | RefusalKind::Unavailable) {
        let wait = HeaderValue::from_static(RETRY_AFTER_SECS);
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(refusal, errors) = self;
        let status = status(refusal.kind);
        let body = Body {
            title: refusal.kind.title(),
            status: status.as_u16(),
            detail: &refusal.detail,
            hint: &refusal.hint,
            field: refusal.field,
            job: refusal.job.map(|j| j.to_string()),
            errors: errors.iter().map(|e| (e.field.as_str(), e.message.as_str())).collect(),
        };
        let json = serde_json::to_string(&body).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        with_waiting(refusal.kind, (status, kind, json).into_response())
    }
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        let Self(refusal) = self;
        let page = ErrorPage::new(&refusal);
        let status = status(refusal.kind);
        let response = match page.render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(_) => (status, refusal.to_string()).into_response(),
        };
        with_waiting(refusal.kind, response)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal, Vec::new())
    }
}

impl From<Refusal> for PageProblem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        from_store(&error).into()
    }
}

impl From<StoreError> for PageProblem {
    fn from(error: StoreError) -> Self {
        from_store(&error).into()
    }
}

impl From<Declined> for Problem {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Refused(refusal) => refusal.into(),
            Declined::Fields(errors) => Self(fields_to_correct(errors.len()), errors),
        }
    }
}

/// The words above a form, and of a problem, when fields are to be corrected.
pub(super) fn fields_to_correct(count: usize) -> Refusal {
    let detail = match count {
        1 => "One field is to be corrected.".to_owned(),
        n => format!("{n} fields are to be corrected."),
    };
    Refusal::new(RefusalKind::Unprocessable, detail, "Nothing was done yet.")
}

/// Answers a path that nobody serves: a page for browsers, a problem for programs. For the composed router's fallback.
pub async fn not_found(request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    let refusal = Refusal::new(
        RefusalKind::NotFound,
        format!("There is nothing at {path}."),
        "Check the address, or begin at the host list.",
    );
    let mut response = refuse(request.uri().path(), refusal);
    super::header::add(response.headers_mut());
    response
}

/// A refusal in the form that the readers of `path` expect.
pub(super) fn refuse(path: &str, refusal: Refusal) -> Response {
    if path.starts_with("/api/") || path == "/events" {
        Problem::from(refusal).into_response()
    } else {
        PageProblem(refusal).into_response()
    }
}
