//! The audit log, page by page.

use askama::Template;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::{Frame, Page, render};
use crate::domain::audit::{AuditEntry, Change};
use crate::limits::operator::AUDIT_ON_A_PAGE;
use crate::store::{AuditReads as _, StoreError};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::view::When;

struct Row {
    at: When,
    who: String,
    address: String,
    action: String,
    changes: Vec<Change>,
    more: usize,
}

impl Row {
    fn new(entry: AuditEntry, now: crate::domain::time::Timestamp) -> Self {
        Self {
            at: When::new(entry.at, now),
            who: entry.who.to_string(),
            address: entry.address.map(|a| a.to_string()).unwrap_or_default(),
            action: entry.action,
            changes: entry.changes,
            more: entry.more,
        }
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    rows: Vec<Row>,
    older: Option<u64>,
    is_first: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AuditQuery {
    before: Option<u64>,
}

pub(crate) async fn list(
    State(web): State<WebState>,
    Query(query): Query<AuditQuery>,
    operator: Operator,
) -> Page {
    let state = web.clone();
    let page = web.store().read(move |read| {
        let now = state.store().now();
        let mut found = read.audit(query.before, AUDIT_ON_A_PAGE + 1)?;
        let is_more = found.len() > AUDIT_ON_A_PAGE;
        found.truncate(AUDIT_ON_A_PAGE);
        Ok::<_, StoreError>(AuditPage {
            frame: Frame::new(&state, read, &operator, "access", "Audit log")?,
            older: found.last().filter(|_| is_more).map(|e| e.seq),
            rows: found.into_iter().map(|entry| Row::new(entry, now)).collect(),
            is_first: query.before.is_none(),
        })
    });
    render(&page.await?)
}
