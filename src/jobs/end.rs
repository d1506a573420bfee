//! The end of a job, in one place: its lock is released and its secrets are gone in the same write.

use super::engine::Engine;
use super::{bulk, guest};
use crate::config::Config;
use crate::domain::account::Scope;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::{Failure, Host};
use crate::domain::id::JobId;
use crate::domain::job::{Job, JobStatus, StepStatus, Work};
use crate::domain::refusal::Refusal;
use crate::domain::secret::TokenHash;
use crate::report::queue;
use crate::store::{
    ApiTokenReads as _, HostReads as _, JobReads as _, LAST_RESTORE, LastRestore, NewEvent,
    RESTORED, Restored, SettingReads as _, Tx,
};

/// Ends a job. For a rebuild: the token opens nothing any more, the sealed key and token are destroyed, and the host's
/// lock is released.
///
/// # Errors
/// When the database fails.
pub(super) fn end_job(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    job: &mut Job,
    status: JobStatus,
    failure: Option<Failure>,
) -> Result<(), Refusal> {
    if matches!(job.work, Work::BulkRebuild(_)) {
        bulk::release(tx, job)?;
    }
    if let Some(open) =
        job.steps.iter().find(|s| s.status == StepStatus::Running).map(|s| s.id.clone())
    {
        let detail = failure.as_ref().map_or_else(String::new, |f| f.reason.clone());
        let ended =
            if status == JobStatus::Succeeded { StepStatus::Succeeded } else { StepStatus::Failed };
        tx.set_step(job, open.as_str(), ended, &detail)?;
    }
    job.status = status;
    job.finished = Some(tx.now());
    job.failure = failure;
    if let Work::Rebuild(rebuild) = &job.work {
        if let Some(hash) = rebuild.token_hash.as_deref().and_then(parse_hash) {
            tx.delete_token(hash);
        }
        if let Some(mut host) = tx.host(rebuild.host)? {
            release(tx, config, &mut host, job)?;
        }
        bulk::note_end(tx, rebuild, job)?;
    }
    if let Work::Guest(work) = &job.work {
        guest::release(tx, job, work)?;
        if status == JobStatus::Failed {
            queue::guest_failed(tx, config, job)?;
        }
    }
    tx.delete_job_secrets(job.id)?;
    tx.save_job(job)?;
    let (level, text) = match status {
        JobStatus::Succeeded => (Level::Info, "done".to_owned()),
        JobStatus::Cancelled => (Level::Warn, "cancelled".to_owned()),
        _ => {
            let reason = job.failure.as_ref().map_or("", |f| f.reason.as_str());
            (Level::Error, format!("failed: {reason}"))
        }
    };
    let message = format!("{}: {text}", job.title());
    tx.log(job, None, level, &message)?;
    tx.emit(NewEvent {
        level,
        subject: Subject {
            host: job.host(),
            guest: job.guest(),
            job: Some(job.id),
            ..Subject::default()
        },
        kind: EventKind::JobFinished { status },
        message,
    })?;
    Ok(())
}

/// Releases the host's lock; a host that is still on its way becomes `failed`, one that never left stays what it was.
/// That it failed is queued to be told in the same write.
fn release(
    tx: &mut Tx<'_, '_>,
    config: &Config,
    host: &mut Host,
    job: &Job,
) -> Result<(), Refusal> {
    if host.active_job != Some(job.id) {
        return Ok(());
    }
    if host.state.is_busy() {
        let (reason, hint) = match &job.failure {
            Some(f) => (f.reason.clone(), f.hint.clone()),
            None => ("the rebuild ended".to_owned(), String::new()),
        };
        // `is_busy` states are exactly those that the table lets stop.
        let _ = tx.fail_host(host, &reason, &hint)?;
        queue::host_failed(tx, config, host, job.id)?;
    }
    host.active_job = None;
    tx.save_host(host)?;
    Ok(())
}

impl Engine {
    /// After a restore: ends everything that was under way when the backup was made, so that nothing is armed and no step
    /// runs a second time. What was waiting then may be done by now: a machine that is wiped twice by one click, or a guest
    /// that returns to yesterday's restore point again, is worse than work that is asked for once more. Logins and API tokens
    /// end too, but for those that only read numbers: some may have been ended since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_after_restore(&self) -> Result<(), Refusal> {
        let config = self.context().config.clone();
        self.store()
            .write(move |tx| {
                // The value is told, not trusted: an older program wrote `true`.
                let Some(note) = tx.setting::<serde_json::Value>(RESTORED)? else { return Ok(()) };
                let what: Restored = serde_json::from_value(note).unwrap_or_default();
                let unfinished = tx.active_jobs()?;
                let ended = unfinished.len();
                for job in unfinished {
                    // The end of one job can change another one: a list, whose hosts are rebuilt.
                    let Some(mut job) = tx.job(job.id)?.filter(|job| !job.status.is_terminal())
                    else {
                        continue;
                    };
                    let failure = Failure {
                        from: None,
                        reason:
                            "the database was restored from a backup made while this was under way"
                                .to_owned(),
                        hint: after_restore(&job.work).to_owned(),
                    };
                    end_job(tx, &config, &mut job, JobStatus::Failed, Some(failure))?;
                }
                tx.delete_all_sessions()?;
                for token in tx.api_tokens()?.into_iter().filter(|t| t.scope > Scope::Metrics) {
                    tx.delete_api_token(&token.id);
                }
                tx.emit(NewEvent {
                    level: Level::Error,
                    subject: Subject::default(),
                    kind: EventKind::System,
                    message: told(&what, ended),
                })?;
                let last = LastRestore { at: tx.now(), ended, what };
                tx.save_setting(LAST_RESTORE, &last)?;
                tx.delete_setting(RESTORED);
                Ok(())
            })
            .await
    }
}

/// What an operator does about a job that a restore has ended.
fn after_restore(work: &Work) -> &'static str {
    match work {
        Work::Rebuild(rebuild) if rebuild.answer_served.is_none() => {
            "the machine may have been installed since; look at it, then rebuild it again"
        }
        Work::Rebuild(_) => {
            "the machine may have become a node since; look at it, then enrol it as a node or rebuild it again"
        }
        _ => "it may have been done since; look, and ask for it again",
    }
}

/// A restore in one sentence for the event log.
fn told(what: &Restored, ended: usize) -> String {
    let of = what.made.map_or_else(String::new, |made| format!(" of {made}"));
    let why = match &what.damage {
        Some(damage) => {
            format!("The database was damaged ({damage}): the backup{of} was put in its place.")
        }
        None => format!("The database was restored from the backup {}.", what.backup),
    };
    format!(
        "{why} What happened after that backup is not known here; nothing is armed, {ended} unfinished jobs were ended."
    )
}

/// Ends a job in a write of its own, unless it is over.
///
/// # Errors
/// When the database fails.
pub(super) async fn finish(
    engine: &Engine,
    id: JobId,
    status: JobStatus,
    failure: Option<Failure>,
) -> Result<(), Refusal> {
    let config = engine.context().config.clone();
    engine
        .store()
        .write(move |tx| match tx.job(id)? {
            Some(mut job) if !job.status.is_terminal() => {
                end_job(tx, &config, &mut job, status, failure)
            }
            _ => Ok(()),
        })
        .await
}

/// The stored hex form of a token hash.
pub(super) fn hash_text(hash: TokenHash) -> String {
    hash.0.iter().map(|b| format!("{b:02x}")).collect()
}

/// Reads [`hash_text`] back.
pub(super) fn parse_hash(text: &str) -> Option<TokenHash> {
    let mut hash = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(TokenHash(hash))
}
