//! Drives one image import through the steps of `image`, each recorded, so that a restart goes on where it stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::end;
use super::engine::Engine;
use super::record::{load, log, progress, set_step};
use super::request::ImportRequest;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::Failure;
use crate::domain::id::JobId;
use crate::domain::image::Image;
use crate::domain::job::{JobStatus, Step, StepClass, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::image::{Committed, ExpectedSha256, Fetched, ImportError, Source};
use crate::limits::work::IMPORT_TRIES;
use crate::store::{JobReads as _, NewEvent};

mod step {
    pub(super) const CHECK: &str = "check-source";
    pub(super) const FETCH: &str = "fetch";
    pub(super) const VERIFY: &str = "verify";
    pub(super) const COMMIT: &str = "commit";
}

/// Between two progress events: often enough to look alive, rare enough for the log.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Looks at a request before a job is made of it: the source in its canonical text, the digest in lower case.
pub(super) fn accept(request: &ImportRequest) -> Result<(String, Option<String>), Refusal> {
    let bad = |detail: String, hint: &str, field| {
        Refusal::new(RefusalKind::Unprocessable, detail, hint).about(field)
    };
    let source: Source = request.source.trim().parse().map_err(|e: crate::image::BadSource| {
        bad(e.to_string(), "give an absolute path on the appliance, or an http(s) URL", "source")
    })?;
    let given = request.sha256.as_deref().map(str::trim).filter(|s| !s.is_empty());
    let expected = given.map(str::parse::<ExpectedSha256>).transpose().map_err(|e| {
        let hint = "copy the SHA-256 from the vendor's download page";
        bad(e.to_string(), hint, "sha256")
    })?;
    Ok((source.to_string(), expected.map(String::from)))
}

/// The steps of an import.
pub(super) fn steps() -> Vec<Step> {
    [
        (step::CHECK, "Look at the source and at the free space", StepClass::Pure),
        (step::FETCH, "Fetch the file", StepClass::Inspect),
        (step::VERIFY, "Verify digest and content", StepClass::Pure),
        (step::COMMIT, "Take it into the list of images", StepClass::SafeToRepeat),
    ]
    .into_iter()
    .map(|(id, title, class)| {
        let id = id.parse().expect("the ids above are slugs");
        Step::pending(id, title.to_owned(), class)
    })
    .collect()
}

/// Runs until the job is over or the daemon stops.
///
/// # Errors
/// When the database fails.
pub(super) async fn drive(engine: &Engine, id: JobId, waker: &Notify) -> Result<(), Refusal> {
    let Some(job) = load(engine, id).await?.filter(|j| !j.status.is_terminal()) else {
        return Ok(());
    };
    let Work::ImportImage(work) = &job.work else { return Ok(()) };
    let expected = work.expected_sha256.as_deref().and_then(|text| text.parse().ok());
    let source: Source = match work.source.parse() {
        Ok(source) => source,
        Err(error) => return fail(engine, id, &error.to_string(), "").await,
    };
    let permit = loop {
        tokio::select! {
            permit = engine.inner.imports.acquire() => break permit,
            () = waker.notified() => {
                if load(engine, id).await?.is_some_and(|j| j.cancel_requested) {
                    return cancelled(engine, id, &source).await;
                }
            }
            () = engine.inner.stop.cancelled() => return Ok(()),
        }
    };
    let Ok(_permit) = permit else { return Ok(()) };
    let cancel = engine.inner.stop.child_token();
    let work = import(engine, id, &source, expected.as_ref(), &cancel);
    tokio::pin!(work);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            () = waker.notified() => {
                if load(engine, id).await?.is_some_and(|j| j.cancel_requested) {
                    cancel.cancel();
                }
            }
        }
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::Database(refusal)) => Err(refusal),
        Err(Stop::Import(ImportError::Cancelled)) => {
            if engine.inner.stop.is_cancelled() {
                return Ok(());
            }
            cancelled(engine, id, &source).await
        }
        Err(Stop::Import(error)) => {
            let hint = if error.is_transient() {
                "the part that arrived is kept: retry goes on from there"
            } else {
                "correct the source, then import again"
            };
            fail(engine, id, &with_causes(&error), hint).await
        }
    }
}

async fn cancelled(engine: &Engine, id: JobId, source: &Source) -> Result<(), Refusal> {
    engine.context().images.discard(source).await.map_err(|e| storage(&e))?;
    let failure = Failure {
        from: None,
        reason: "cancelled by the operator".to_owned(),
        hint: "what had arrived was removed".to_owned(),
    };
    end::finish(engine, id, JobStatus::Cancelled, Some(failure)).await
}

enum Stop {
    Import(ImportError),
    Database(Refusal),
}

impl From<ImportError> for Stop {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}
impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Database(refusal)
    }
}

async fn import(
    engine: &Engine,
    id: JobId,
    source: &Source,
    expected: Option<&ExpectedSha256>,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let images = &engine.context().images;
    set_step(engine, id, step::CHECK, StepStatus::Running, "").await?;
    let size = images.check_source(source).await?;
    let told =
        size.map_or("the source does not tell its size".to_owned(), |n| format!("{} MiB", n >> 20));
    set_step(engine, id, step::CHECK, StepStatus::Succeeded, &told).await?;

    set_step(engine, id, step::FETCH, StepStatus::Running, "").await?;
    let fetched = fetch(engine, id, source, cancel).await?;
    let told = format!("{} MiB, SHA-256 {}", fetched.size >> 20, fetched.sha256);
    set_step(engine, id, step::FETCH, StepStatus::Succeeded, &told).await?;

    set_step(engine, id, step::VERIFY, StepStatus::Running, "").await?;
    let inspected = images.verify(&fetched, expected).await?;
    let release = &inspected.release;
    let told = format!("{} {}-{}", release.product_long, release.release, release.iso_release);
    set_step(engine, id, step::VERIFY, StepStatus::Succeeded, &told).await?;

    set_step(engine, id, step::COMMIT, StepStatus::Running, "").await?;
    let now = engine.store().now();
    let (image, told) = match images.commit(&fetched, &inspected, now, Some(id)).await? {
        Committed::New(image) => (image, "imported"),
        Committed::AlreadyThere(image) => (image, "the same file was imported before"),
    };
    record_image(engine, id, image, told).await?;
    Ok(())
}

/// Fetches with progress, and again after interruptions.
async fn fetch(
    engine: &Engine,
    id: JobId,
    source: &Source,
    cancel: &CancellationToken,
) -> Result<Fetched, Stop> {
    let mut tries = 0;
    loop {
        let done = AtomicU64::new(0);
        let total = AtomicU64::new(0);
        let outcome = {
            let count = |now: u64, all: Option<u64>| {
                done.store(now, Ordering::Relaxed);
                total.store(all.unwrap_or(0), Ordering::Relaxed);
            };
            let fetching = engine.context().images.fetch(source, cancel, count);
            tokio::pin!(fetching);
            let mut told = u64::MAX;
            loop {
                tokio::select! {
                    outcome = &mut fetching => break outcome,
                    () = tokio::time::sleep(PROGRESS_EVERY) => {
                        let now = done.load(Ordering::Relaxed);
                        if now != told {
                            told = now;
                            let all = Some(total.load(Ordering::Relaxed)).filter(|n| *n > 0);
                            progress(engine, id, now, all).await?;
                        }
                    }
                }
            }
        };
        match outcome {
            Ok(fetched) => {
                progress(engine, id, fetched.size, Some(fetched.size)).await?;
                return Ok(fetched);
            }
            Err(error) if error.is_transient() && tries < IMPORT_TRIES => {
                tries += 1;
                let pause = Duration::from_secs(1 << tries.min(5));
                let text = format!(
                    "{}; going on from there in {} s",
                    with_causes(&error),
                    pause.as_secs()
                );
                let step = step::FETCH.parse().ok();
                log(engine, id, step, Level::Warn, text).await?;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = cancel.cancelled() => return Err(ImportError::Cancelled.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Jobs looked back at for imports that can be tried again.
const LOOK_BACK: usize = 500;

/// Removes parts that no import will go on with: neither a running one nor one that can be tried again. At the start only.
///
/// # Errors
/// When the jobs cannot be read. A part that cannot be removed is told in the log.
pub(super) async fn tidy(engine: &Engine) -> Result<(), Refusal> {
    let jobs = engine.store().read::<_, Refusal, _>(|r| Ok(r.jobs(None, LOOK_BACK)?)).await?;
    let over = |status| matches!(status, JobStatus::Succeeded | JobStatus::Cancelled);
    let wanted: Vec<Source> = jobs
        .into_iter()
        .filter(|job| !over(job.status))
        .filter_map(|job| match job.work {
            Work::ImportImage(work) => work.source.parse().ok(),
            _ => None,
        })
        .collect();
    if let Err(error) = engine.context().images.discard_all_but(&wanted).await {
        tracing::warn!(
            error = with_causes(&error),
            "left-over parts of imports could not be removed"
        );
    }
    Ok(())
}

/// Removes an image's file after its record is gone.
///
/// # Errors
/// When the file cannot be removed.
pub(super) async fn remove_file(engine: &Engine, image: Image) -> Result<(), Refusal> {
    engine.close_image(&image.id);
    engine.context().images.delete(&image).await.map_err(|e| storage(&e))
}

fn storage(error: &ImportError) -> Refusal {
    Refusal::new(RefusalKind::Internal, with_causes(error), "look at the data directory")
}

async fn record_image(engine: &Engine, id: JobId, image: Image, told: &str) -> Result<(), Refusal> {
    let told = format!("{told}: {}", image.id);
    let config = engine.context().config.clone();
    engine
        .store()
        .write(move |tx| {
            let Some(mut job) = tx.job(id)? else { return Ok(()) };
            tx.save_image(&image)?;
            if let Work::ImportImage(work) = &mut job.work {
                work.image = Some(image.id.clone());
            }
            tx.emit(NewEvent {
                level: Level::Info,
                subject: Subject {
                    job: Some(id),
                    image: Some(image.id.clone()),
                    ..Subject::default()
                },
                kind: EventKind::ImageChanged,
                message: format!("image {} is ready", image.id),
            })?;
            tx.set_step(&mut job, step::COMMIT, StepStatus::Succeeded, &told)?;
            end::end_job(tx, &config, &mut job, JobStatus::Succeeded, None)
        })
        .await
}

async fn fail(engine: &Engine, id: JobId, reason: &str, hint: &str) -> Result<(), Refusal> {
    let failure = Failure { from: None, reason: reason.to_owned(), hint: hint.to_owned() };
    end::finish(engine, id, JobStatus::Failed, Some(failure)).await
}
