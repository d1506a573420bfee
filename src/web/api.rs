//! The JSON API for operators: the same operations as the pages, for scripts and the command line.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::time::Timestamp;

mod access;
mod app;
mod bulk;
mod doctor;
pub(super) mod document;
mod guest;
mod host;
mod job;
mod node;
mod notify;
mod power;
mod roster;
mod route;
mod server_type;
mod system;
mod table;

pub(super) use job::accepted;
pub(super) use table::{open_router, router};

type Answer = Result<Response, Problem>;

/// An instant in RFC 3339 with milliseconds, UTC.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "date-time"))]
pub(super) struct Moment(String);

impl From<Moment> for serde_json::Value {
    fn from(moment: Moment) -> Self {
        Self::String(moment.0)
    }
}

pub(super) fn time(at: Timestamp) -> Moment {
    Moment(match jiff::Timestamp::from_millisecond(at.0) {
        Ok(t) => format!("{t:.3}"),
        Err(_) => at.to_string(),
    })
}

fn ok(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

fn created(status: StatusCode, value: &impl Serialize) -> Response {
    (status, axum::Json(value)).into_response()
}

fn missing(what: &str, id: &str) -> Problem {
    let id: String = id.chars().take(80).collect();
    let detail = format!("There is no {what} '{id}'.");
    Refusal::new(RefusalKind::NotFound, detail, "List them to see what there is.").into()
}

/// Parses a body: unknown fields and wrong types are refused by name.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(text).map_err(|e| {
        let hint = "A JSON object with the fields of this request is expected.";
        Refusal::new(RefusalKind::Malformed, format!("The body is not valid: {e}."), hint).into()
    })
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    limit: Option<usize>,
    before: Option<String>,
    after: Option<u64>,
}

impl PageQuery {
    /// Entries of this page: 100 unless told, 1000 at most.
    fn limit(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 1000)
    }
}

/// A page of a list that is put in order first: entries behind the one that is named.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListQuery {
    limit: Option<usize>,
    after: String,
}

impl ListQuery {
    /// The entries of this page, and where the next one begins when there is one. A list that nobody asks in pages is
    /// cut after 1000 entries.
    ///
    /// # Errors
    /// When the entry behind which the page begins is gone.
    fn cut<T>(
        &self,
        all: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        self.cut_wanted(all, key, |_| true)
    }

    /// The same of those that are wanted. A page may begin behind an entry that is not wanted any more.
    ///
    /// # Errors
    /// As above.
    fn cut_wanted<T>(
        &self,
        mut all: Vec<T>,
        key: impl Fn(&T) -> String,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, Option<String>), Refusal> {
        if !self.after.is_empty() {
            let found = all.iter().position(|entry| key(entry) == self.after);
            let Some(at) = found else {
                let detail = "The entry behind which the page begins is gone.";
                let hint = "Read the list from its beginning.";
                return Err(Refusal::new(RefusalKind::Conflict, detail, hint).about("after"));
            };
            all.drain(..=at);
        }
        all.retain(wanted);
        let limit = self.limit.unwrap_or(1000).clamp(1, 1000);
        let is_more = all.len() > limit;
        all.truncate(limit);
        let next = all.last().filter(|_| is_more).map(key);
        Ok((all, next))
    }
}
