//! Reads a catalog source again, as a job: a repository may take its time, and its failure should be seen.

use super::end;
use super::engine::Engine;
use super::record::{load, set_step};
use super::request::queue;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::Failure;
use crate::domain::id::JobId;
use crate::domain::job::{CatalogWork, JobStatus, Step, StepClass, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::store::{JobReads as _, NewEvent};

const READ: &str = "read-source";

fn steps() -> Vec<Step> {
    let id = READ.parse().expect("the id above is a slug");
    vec![Step::pending(
        id,
        "Read the source and check its apps".to_owned(),
        StepClass::SafeToRepeat,
    )]
}

impl Engine {
    /// Reads catalog sources again; `None`: all of them. A source that is being read already is not read twice.
    ///
    /// # Errors
    /// Apps are switched off, no such source.
    pub async fn refresh_catalog(&self, source: Option<String>) -> Result<Vec<JobId>, Refusal> {
        let catalog = self.layer()?.library.catalog();
        let mut names: Vec<String> = catalog.sources.iter().map(|s| s.name.clone()).collect();
        if let Some(wanted) = source {
            if !names.contains(&wanted) {
                return Err(Refusal::new(
                    RefusalKind::NotFound,
                    format!("there is no catalog source '{wanted}'"),
                    format!("known sources: {}", names.join(", ")),
                )
                .about("source"));
            }
            names = vec![wanted];
        }
        let jobs = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                let active = tx.active_jobs()?;
                let mut jobs = Vec::new();
                for source in names {
                    let running = active.iter().find(
                        |job| matches!(&job.work, Work::Catalog(work) if work.source == source),
                    );
                    jobs.push(match running {
                        Some(job) => job.id,
                        None => queue(tx, Work::Catalog(CatalogWork { source }), steps())?.id,
                    });
                }
                Ok(jobs)
            })
            .await?;
        for job in &jobs {
            self.drive(*job);
        }
        Ok(jobs)
    }
}

/// Runs until the job is over. A restart in between reads the source once more.
///
/// # Errors
/// When the database fails.
pub(super) async fn drive(engine: &Engine, id: JobId) -> Result<(), Refusal> {
    let Some(job) = load(engine, id).await?.filter(|j| !j.status.is_terminal()) else {
        return Ok(());
    };
    let Work::Catalog(work) = job.work else { return Ok(()) };
    set_step(engine, id, READ, StepStatus::Running, "").await?;
    let read = match engine.layer() {
        Ok(layer) => tokio::select! {
            read = layer.library.refresh(&work.source) => read.map_err(|e| with_causes(&e)),
            () = engine.inner.stop.cancelled() => return Ok(()),
        },
        Err(off) => Err(off.detail),
    };
    if let Err(reason) = read {
        set_step(engine, id, READ, StepStatus::Failed, &reason).await?;
        let hint =
            "the apps that it had stay; correct the source or its credentials, then refresh again";
        let failure = Failure { from: None, reason, hint: hint.to_owned() };
        return end::finish(engine, id, JobStatus::Failed, Some(failure)).await;
    }
    let catalog = engine.layer()?.library.catalog();
    let good = catalog.apps.iter().filter(|a| a.provenance.source == work.source).count();
    let broken = catalog.broken.iter().filter(|b| b.source == work.source).count();
    let told = format!("{good} apps can be installed, {broken} are broken");
    let source = work.source;
    engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            tx.emit(NewEvent {
                level: if broken == 0 { Level::Info } else { Level::Warn },
                subject: Subject { job: Some(id), ..Subject::default() },
                kind: EventKind::CatalogChanged,
                message: format!("catalog source {source}: {told}"),
            })?;
            let Some(mut job) = tx.job(id)? else { return Ok(()) };
            Ok(tx.set_step(&mut job, READ, StepStatus::Succeeded, &told)?)
        })
        .await?;
    end::finish(engine, id, JobStatus::Succeeded, None).await
}
