//! How the appliance itself stands: what the doctor found, its database, limits that were met, what is in use, and all
//! limits with their reasons.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect};

use super::{Frame, Page, render};
use crate::domain::time::Timestamp;
use crate::limits::http::CONNECTIONS;
use crate::limits::operator::MOST_STREAMS;
use crate::limits::over::Over;
use crate::limits::record::SIGHTINGS;
use crate::limits::{self, Part};
use crate::plan::doctor::{Finding, Report, Severity};
use crate::store::{
    BackupState, LAST_RESTORE, LastRestore, SettingReads as _, SightingReads as _, StoreError,
};
use crate::web::WebState;
use crate::web::auth::Operator;
use crate::web::view::{When, size};

/// How long the page tells of a restore.
const RESTORE_SHOWN: Duration = Duration::from_secs(30 * 86_400);

/// A limit that was met.
struct MetRow {
    limit: &'static str,
    what: &'static str,
    advice: &'static str,
    times: u64,
    last: When,
}

/// How much of a limit is taken.
struct UseRow {
    name: &'static str,
    used: usize,
    of: usize,
}

/// The last restore of the database.
struct RestoreRow {
    at: When,
    /// When the backup was made, if the program made it.
    made: Option<When>,
    backup: String,
    damage: Option<String>,
    aside: Option<String>,
    ended: usize,
}

/// The backups that the appliance makes by itself.
struct BackupRow {
    newest: Option<When>,
    kept: usize,
    size: String,
    failure: Option<String>,
}

impl BackupRow {
    fn new(state: &BackupState, now: Timestamp) -> Self {
        Self {
            newest: state.kept.first().map(|newest| When::new(newest.made, now)),
            kept: state.kept.len(),
            size: size(state.kept.iter().map(|b| b.bytes).sum()),
            failure: state.failure.clone(),
        }
    }
}

/// What the doctor found.
struct Checkup {
    when: When,
    headline: String,
    /// The worst first.
    wrong: Vec<FindingRow>,
    fine: Vec<FindingRow>,
}

struct FindingRow {
    severity: &'static str,
    /// Colour of its badge.
    tone: &'static str,
    area: &'static str,
    code: &'static str,
    sentence: String,
    fix: &'static str,
}

/// The colour of a severity's badge.
pub(super) fn tone(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "good",
        Severity::Note => "",
        Severity::Warning => "busy",
        Severity::Error => "bad",
    }
}

impl Checkup {
    fn new(report: &Report, now: Timestamp) -> Self {
        let row = |finding: &Finding| FindingRow {
            severity: finding.severity().name(),
            tone: tone(finding.severity()),
            area: finding.area.title(),
            code: finding.code(),
            sentence: finding.sentence.clone(),
            fix: finding.fix(),
        };
        let rows = report.findings.iter().map(row);
        let (fine, wrong) = rows.partition(|row: &FindingRow| row.severity == "ok");
        let counted = |severity: Severity, one: &str| match report.count(severity) {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {one}s")),
        };
        let counts: Vec<String> =
            [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
                .into_iter()
                .filter_map(|(severity, one)| counted(severity, one))
                .collect();
        let headline = match counts.as_slice() {
            [] => "Everything that was looked at is in order".to_owned(),
            counts => counts.join(", "),
        };
        Self { when: When::new(report.at, now), headline, wrong, fine }
    }
}

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    checkup: Option<Checkup>,
    restored: Option<RestoreRow>,
    backups: BackupRow,
    met: Vec<MetRow>,
    uses: Vec<UseRow>,
    version: &'static str,
    parts: Vec<Part>,
}

pub(super) async fn show(State(web): State<WebState>, operator: Operator) -> Page {
    let state = web.clone();
    let now = web.store().now();
    let (frame, sightings, last, backups) = web
        .store()
        .read(move |read| {
            let frame = Frame::new(&state, read, &operator, "health", "Health")?;
            let last: Option<LastRestore> = read.setting(LAST_RESTORE)?;
            let backups = state.store().backup_state()?;
            Ok::<_, StoreError>((frame, read.sightings()?.len(), last, backups))
        })
        .await?;
    let traffic = &web.parts.traffic;
    let restored = last.filter(|last| now.since(last.at) < RESTORE_SHOWN).map(|last| RestoreRow {
        at: When::new(last.at, now),
        made: last.what.made.map(|made| When::new(made, now)),
        backup: last.what.backup,
        damage: last.what.damage,
        aside: last.what.aside,
        ended: last.ended,
    });
    let met = Over::ALL.iter().filter_map(|over| {
        let met = traffic.over().of(*over);
        Some(MetRow {
            limit: over.limit(),
            what: over.what(),
            advice: over.advice(),
            times: met.times,
            last: When::new(Timestamp(met.last?), now),
        })
    });
    let streams = MOST_STREAMS.saturating_sub(web.streams.available_permits());
    let uses = vec![
        UseRow { name: "HTTP connections", used: traffic.connections(), of: CONNECTIONS },
        UseRow { name: "Event streams", used: streams, of: MOST_STREAMS },
        UseRow { name: "Sightings", used: sightings, of: SIGHTINGS },
    ];
    render(&HealthPage {
        frame,
        checkup: web.parts.doctor.last().map(|report| Checkup::new(&report, now)),
        restored,
        backups: BackupRow::new(&backups, now),
        met: met.collect(),
        uses,
        version: web.parts.version,
        parts: limits::parts(),
    })
}

/// Looks now, then shows what was found.
pub(super) async fn check(State(web): State<WebState>, _: Operator) -> Page {
    web.parts.doctor.check().await;
    Ok(Redirect::to("/health").into_response())
}
