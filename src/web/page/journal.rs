//! A guest's own journal on its page, and as a file. It is read only when somebody asks: each reading is a login at a node.

use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse as _;
use serde::Deserialize;

use super::Page;
use crate::domain::guest::Guest;
use crate::domain::refusal::Refusal;
use crate::plan::guest::journal::{Journal, JournalAsk, USUAL_LINES};
use crate::web::auth::Operator;
use crate::web::{GuestOperations, WebState};

/// Numbers of lines that the page offers.
const CHOICES: [u32; 4] = [50, USUAL_LINES, 1000, 5000];

/// What is wanted, as it stands in the address.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct JournalQuery {
    lines: String,
    unit: String,
    /// Lines without these words are left out.
    find: String,
}

/// The section of a guest's page.
pub(super) struct JournalView {
    /// Lines that are wanted.
    pub(super) wanted: u32,
    /// Number of lines, and whether it is the chosen one.
    pub(super) choices: Vec<(u32, bool)>,
    pub(super) unit: String,
    pub(super) find: String,
    /// Why there are no lines.
    pub(super) refusal: Option<Refusal>,
    pub(super) lines: Vec<String>,
    /// Older lines were left out.
    pub(super) cut: bool,
    /// It was read.
    pub(super) read: bool,
}

async fn ask(
    guests: &dyn GuestOperations,
    guest: &Guest,
    query: &JournalQuery,
) -> Result<Journal, Refusal> {
    let ask = JournalAsk::parse(&query.lines, &query.unit)?;
    guests.journal(guest.id, ask).await
}

impl JournalView {
    /// The section before anybody asked.
    pub(super) fn unread() -> Self {
        Self::with(&JournalQuery::default())
    }

    fn with(query: &JournalQuery) -> Self {
        let chosen = query.lines.trim().parse().unwrap_or(USUAL_LINES);
        Self {
            wanted: chosen,
            choices: CHOICES.map(|n| (n, n == chosen)).into(),
            unit: query.unit.trim().to_owned(),
            find: query.find.clone(),
            refusal: None,
            lines: Vec::new(),
            cut: false,
            read: false,
        }
    }

    /// Reads the journal.
    pub(super) async fn read(
        guests: &dyn GuestOperations,
        guest: &Guest,
        query: &JournalQuery,
    ) -> Self {
        let view = Self { read: true, ..Self::with(query) };
        match ask(guests, guest, query).await {
            Ok(Journal { mut lines, cut, .. }) => {
                let words = query.find.trim().to_lowercase();
                lines.retain(|line| line.to_lowercase().contains(&words));
                Self { lines, cut, ..view }
            }
            Err(refusal) => Self { refusal: Some(refusal), ..view },
        }
    }
}

/// The journal as a file.
pub(crate) async fn file(
    State(web): State<WebState>,
    Path(id): Path<String>,
    Query(query): Query<JournalQuery>,
    _: Operator,
) -> Page {
    let guest = super::guest::load(&web, id).await?;
    let journal = ask(web.guests()?, &guest, &query).await?;
    let mut text = journal.lines.join("\n");
    text.push('\n');
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}-journal.txt\"", guest.name),
        ),
    ];
    Ok((headers, text).into_response())
}
