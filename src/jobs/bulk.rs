//! The rebuild of many hosts: its review, its confirmation, and the driver that begins one rebuild after the other.
//!
//! Nothing here erases anything. Each host's rebuild is asked for as an operator asks for one, when its turn has come, and
//! passes every check again; the same write that queues it notes it on the list. What is not on the list that was reviewed
//! has no way into it.

use tokio::sync::Notify;

use super::engine::Engine;
use super::request::{self, RebuildRequest};
use super::{check, end};
use crate::domain::audit::Author;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::Host;
use crate::domain::id::{HostId, ImageId, JobId};
use crate::domain::image::Image;
use crate::domain::job::{BulkRebuild, ConfirmedBy, Job, Rebuild, Reviewed, StepStatus, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::DiskSelection;
use crate::limits::operator::{BULK_AT_ONCE, BULK_HOSTS};
use crate::plan::bulk as plan;
use crate::plan::bulk::Next;
use crate::store::{HostReads as _, JobReads as _, NewEvent, Tx, as_author, present_author};

/// Hosts that are looked at before others get a turn on the thread.
const LOOKED_AT_ONCE: usize = 25;

/// Which hosts are to be rebuilt, with what.
#[derive(Debug, Clone, Default)]
pub struct BulkChoice {
    /// Which hosts.
    pub hosts: Vec<HostId>,
    /// Which image; `None`: the newest imported one.
    pub image: Option<ImageId>,
    /// Dead nodes of the same names may be removed from the cluster.
    pub replace_node: bool,
}

/// A host that is not rebuilt, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub host: HostId,
    /// Its name; empty when there is no such host.
    pub hostname: String,
    /// Why, and what to do.
    pub why: Refusal,
}

/// What a choice would do.
#[derive(Debug, Clone)]
pub struct BulkReview {
    /// The image that is installed.
    pub image: Image,
    /// As chosen.
    pub replace_node: bool,
    /// What is erased, in order.
    pub hosts: Vec<Reviewed>,
    /// What is not, in order.
    pub left_out: Vec<LeftOut>,
    /// What is typed to confirm.
    pub phrase: String,
    /// The name of exactly this review.
    pub seal: String,
}

/// A review that was confirmed.
#[derive(Debug, Clone)]
pub struct BulkRequest {
    /// As reviewed.
    pub choice: BulkChoice,
    /// The review's name.
    pub seal: String,
    /// What the operator typed.
    pub confirm: String,
    /// Most rebuilds at a time.
    pub at_once: u32,
    /// After so many failed ones no other is begun.
    pub stop_after: u32,
}

fn refuse(kind: RefusalKind, detail: impl Into<String>, hint: &str) -> Refusal {
    Refusal::new(kind, detail, hint)
}

impl Engine {
    /// Looks at each chosen host as a rebuild of it alone would, and changes nothing.
    ///
    /// # Errors
    /// No host chosen, too many, no image.
    pub async fn review_rebuilds(&self, choice: BulkChoice) -> Result<BulkReview, Refusal> {
        let mut wanted = choice.hosts;
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            let hint = "choose hosts, or take all that match the filter";
            return Err(
                refuse(RefusalKind::Unprocessable, "no host was chosen", hint).about("hosts")
            );
        }
        if wanted.len() > BULK_HOSTS {
            let detail =
                format!("{} hosts are more than the {BULK_HOSTS} of one list", wanted.len());
            let hint = "choose fewer; the others can follow when these are done";
            return Err(refuse(RefusalKind::Unprocessable, detail, hint).about("hosts"));
        }
        let image = choice.image;
        let (found, image) = self
            .store()
            .read::<_, Refusal, _>(move |r| {
                let image = request::image_of(r, image.as_ref())?;
                let mut found = Vec::with_capacity(wanted.len());
                for id in wanted {
                    found.push((id, r.host(id)?));
                }
                Ok((found, image))
            })
            .await?;
        let (mut hosts, mut left_out) = (Vec::new(), Vec::new());
        for (n, (id, host)) in found.into_iter().enumerate() {
            if n % LOOKED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            let Some(host) = host else {
                let why = request::no_such_host();
                left_out.push(LeftOut { host: id, hostname: String::new(), why });
                continue;
            };
            match self.look_at(&host, &image) {
                Ok(disk) => hosts.push(plan::reviewed(&host, disk)),
                Err(why) => {
                    let hostname = host.hostname.to_string();
                    left_out.push(LeftOut { host: id, hostname, why });
                }
            }
        }
        hosts.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        left_out.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        let replace_node = choice.replace_node;
        Ok(BulkReview {
            phrase: plan::phrase(&hosts),
            seal: plan::seal(&hosts, &image, replace_node),
            image,
            replace_node,
            hosts,
            left_out,
        })
    }

    /// What can be told of one host now; returns the disk that would be erased.
    fn look_at(&self, host: &Host, image: &Image) -> Result<DiskSelection, Refusal> {
        request::refuse_busy(host, "rebuild")?;
        check::before_arming(self, host, image)
    }

    /// Queues the rebuild of all hosts of a review: their disks will be wiped, some at a time.
    ///
    /// # Errors
    /// The phrase was not typed right, what was reviewed is not what is there now, another such job runs, a limit that
    /// cannot be.
    pub async fn rebuild_many(&self, request: BulkRequest) -> Result<JobId, Refusal> {
        let range = 1..=BULK_AT_ONCE;
        if !range.contains(&request.at_once) {
            let detail =
                format!("{} at a time is not between 1 and {BULK_AT_ONCE}", request.at_once);
            let hint = "each machine loads the whole image: a few at a time fill the network";
            return Err(refuse(RefusalKind::Unprocessable, detail, hint).about("at_once"));
        }
        if request.stop_after == 0 {
            let detail = "after 0 failures nothing would begin";
            let hint = "1 stops at the first rebuild that fails";
            return Err(refuse(RefusalKind::Unprocessable, detail, hint).about("stop_after"));
        }
        let review = self.review_rebuilds(request.choice).await?;
        if review.seal != request.seal.trim() {
            return Err(refuse(
                RefusalKind::Conflict,
                "what was reviewed is not what is there now",
                "look at the new list, and confirm that one",
            )
            .about("reviewed"));
        }
        if review.hosts.is_empty() {
            let hint = "the list tells why of each host";
            let detail = "none of these hosts can be rebuilt";
            return Err(refuse(RefusalKind::Unprocessable, detail, hint).about("hosts"));
        }
        if !plan::is_confirmed(&review.hosts, &request.confirm) {
            return Err(refuse(
                RefusalKind::Unprocessable,
                format!("what was typed is not '{}'", review.phrase),
                "their disks are erased: type it exactly to confirm",
            )
            .about("confirm"));
        }
        let confirmed_by =
            present_author().map(|author| ConfirmedBy { who: author.who, address: author.address });
        let bulk = BulkRebuild {
            image: review.image.id,
            image_sha256: review.image.sha256,
            replace_node: review.replace_node,
            at_once: request.at_once,
            stop_after: request.stop_after,
            confirmed_by,
            hosts: review.hosts,
        };
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                // One list at a time: two would not know of each other's hosts, nor keep to one limit.
                let other = tx.active_jobs()?.into_iter().find(|job| is_bulk(&job.work));
                if let Some(other) = other {
                    return Err(refuse(
                        RefusalKind::Conflict,
                        "many hosts are being rebuilt already",
                        "wait for the end of that job, or stop it",
                    )
                    .because_of(Some(other.id)));
                }
                let steps = plan::steps(&bulk);
                Ok(request::queue(tx, Work::BulkRebuild(bulk), steps)?.id)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }

    /// Begins the rebuild of the host whose turn it is; leaves it out when a check says no.
    async fn take_turn(&self, id: JobId, bulk: &BulkRebuild, host: HostId) -> Result<(), Refusal> {
        let Some(reviewed) = bulk.reviewed(host) else { return Ok(()) };
        let request = RebuildRequest {
            image: Some(bulk.image.clone()),
            confirm: reviewed.hostname.to_string(),
            replace_node: bulk.replace_node,
        };
        let begun = self.begin_rebuild(host, request, Some(id));
        let begun = match &bulk.confirmed_by {
            Some(by) => {
                let action = format!("job {id}: its turn");
                let author = Author { who: by.who.clone(), address: by.address, action };
                as_author(author, begun).await
            }
            None => begun.await,
        };
        match begun {
            Ok(_) => Ok(()),
            // Not the host's fault: the database waits for better times, and so does its turn.
            Err(failed)
                if matches!(failed.kind, RefusalKind::Internal | RefusalKind::Unavailable) =>
            {
                Err(failed)
            }
            Err(refusal) => self.leave_out(id, Some(host), &refusal.to_string()).await,
        }
    }

    /// Leaves one host out, or all that wait.
    async fn leave_out(&self, id: JobId, host: Option<HostId>, why: &str) -> Result<(), Refusal> {
        let why = why.to_owned();
        self.store()
            .write(move |tx| {
                let Some(mut job) = tx.job(id)?.filter(|job| !job.status.is_terminal()) else {
                    return Ok(());
                };
                close(tx, &mut job, host, &why)?;
                tell_progress(tx, &job)
            })
            .await
    }
}

fn is_bulk(work: &Work) -> bool {
    matches!(work, Work::BulkRebuild(_))
}

/// Runs until all hosts are over or the daemon stops.
///
/// # Errors
/// When the database fails; the records are as the last write left them.
pub(super) async fn drive(engine: &Engine, id: JobId, waker: &Notify) -> Result<(), Refusal> {
    settle(engine, id).await?;
    loop {
        if engine.inner.stop.is_cancelled() {
            return Ok(());
        }
        let job = engine.store().read::<_, Refusal, _>(move |r| Ok(r.job(id)?)).await?;
        let Some(job) = job.filter(|job| !job.status.is_terminal()) else { return Ok(()) };
        let Work::BulkRebuild(bulk) = &job.work else { return Ok(()) };
        match plan::next(&job, bulk) {
            Next::Begin(host) => engine.take_turn(id, bulk, host).await?,
            Next::LeaveOut(why) => engine.leave_out(id, None, &why).await?,
            Next::Wait => tokio::select! {
                () = waker.notified() => {}
                () = engine.inner.stop.cancelled() => {}
            },
            Next::Over(status, failure) => return end::finish(engine, id, status, failure).await,
        }
    }
}

/// At the start of a driver: rebuilds that are over and not noted as such are noted, those that run get their driver. Ends
/// note themselves and rebuilds get theirs when they are asked for; but a commit that was reported as failed and is there
/// all the same has left neither, and a host that waits for nobody must not hold up the others for ever.
async fn settle(engine: &Engine, id: JobId) -> Result<(), Refusal> {
    let running = engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            let mut running = Vec::new();
            let Some(mut job) = tx.job(id)?.filter(|job| !job.status.is_terminal()) else {
                return Ok(running);
            };
            let Work::BulkRebuild(bulk) = job.work.clone() else { return Ok(running) };
            for reviewed in &bulk.hosts {
                let step = plan::step_of(reviewed.host);
                let is_running =
                    job.step(step.as_str()).is_some_and(|s| s.status == StepStatus::Running);
                if !is_running {
                    continue;
                }
                let rebuild = reviewed.job.map(|id| tx.job(id)).transpose()?.flatten();
                let (status, detail) = match &rebuild {
                    Some(job) if !job.status.is_terminal() => {
                        running.push(job.id);
                        continue;
                    }
                    Some(job) => plan::ended(job),
                    None => (StepStatus::Failed, "its rebuild is not recorded any more".to_owned()),
                };
                tx.set_step(&mut job, step.as_str(), status, &detail)?;
            }
            Ok(running)
        })
        .await?;
    for rebuild in running {
        engine.drive(rebuild);
    }
    Ok(())
}

/// Notes on the list that a host's rebuild begins, in the write that queues it. Asked a last time whether it may.
///
/// # Errors
/// It is not on the list, is different from what was reviewed, had its turn, or nothing more may begin.
pub(super) fn claim(
    tx: &mut Tx<'_, '_>,
    list: JobId,
    host: &Host,
    image: &Image,
    disk: &DiskSelection,
    rebuild: JobId,
) -> Result<(), Refusal> {
    let denied = |why: String| refuse(RefusalKind::Conflict, why, "");
    let mut job = tx.job(list)?.ok_or_else(|| denied("there is no such list".to_owned()))?;
    let reviewed = plan::may_begin(&job, host.id).map_err(denied)?;
    if let Some(why) = plan::changed(reviewed, host, disk) {
        return Err(denied(why));
    }
    let Work::BulkRebuild(bulk) = &mut job.work else {
        return Err(denied("the job rebuilds no list of hosts".to_owned()));
    };
    if (&bulk.image, &bulk.image_sha256) != (&image.id, &image.sha256) {
        let why = "the image is not the one that was reviewed: it was not touched";
        return Err(denied(why.to_owned()));
    }
    if let Some(reviewed) = bulk.hosts.iter_mut().find(|r| r.host == host.id) {
        reviewed.job = Some(rebuild);
    }
    let step = plan::step_of(host.id);
    tx.set_step(&mut job, step.as_str(), StepStatus::Running, "its rebuild runs")?;
    Ok(())
}

/// Notes on the list how a host's rebuild ended, in the write that ends it.
///
/// # Errors
/// When the database fails.
pub(super) fn note_end(tx: &mut Tx<'_, '_>, rebuild: &Rebuild, ended: &Job) -> Result<(), Refusal> {
    let Some(list) = rebuild.part_of else { return Ok(()) };
    let Some(mut job) = tx.job(list)?.filter(|job| !job.status.is_terminal()) else {
        return Ok(());
    };
    let (status, detail) = plan::ended(ended);
    let step = plan::step_of(rebuild.host);
    // A host can be rebuilt alone later on; that is no concern of the list.
    if job.step(step.as_str()).is_some_and(|s| s.status == StepStatus::Running) {
        tx.set_step(&mut job, step.as_str(), status, &detail)?;
        tell_progress(tx, &job)?;
    }
    Ok(())
}

/// When the list itself ends, nothing of it goes on: what waits was never touched, what runs is not watched any more.
///
/// # Errors
/// When the database fails.
pub(super) fn release(tx: &mut Tx<'_, '_>, job: &mut Job) -> Result<(), Refusal> {
    let now = tx.now();
    for step in job.steps.iter_mut().filter(|step| step.status == StepStatus::Running) {
        (step.status, step.finished) = (StepStatus::Failed, Some(now));
        "the list has ended: see its own job".clone_into(&mut step.detail);
    }
    close(tx, job, None, "the list ended before its turn: it was not touched")
}

/// Leaves out this host, or all that wait, in one record and one line: there can be a thousand of them.
fn close(
    tx: &mut Tx<'_, '_>,
    job: &mut Job,
    only: Option<HostId>,
    why: &str,
) -> Result<(), Refusal> {
    let (now, only) = (tx.now(), only.map(plan::step_of));
    let mut left_out = Vec::new();
    for step in job.steps.iter_mut().filter(|step| {
        step.status == StepStatus::Pending && only.as_ref().is_none_or(|id| *id == step.id)
    }) {
        (step.status, step.finished) = (StepStatus::Skipped, Some(now));
        why.clone_into(&mut step.detail);
        left_out.push(step.title.clone());
    }
    tx.save_job(job)?;
    match left_out.as_slice() {
        [] => {}
        [one] => tx.log(job, None, Level::Warn, &format!("{one} was left out: {why}"))?,
        all => {
            let message = format!("{} hosts were left out: {why}", all.len());
            tx.log(job, None, Level::Warn, &message)?;
        }
    }
    Ok(())
}

fn tell_progress(tx: &mut Tx<'_, '_>, job: &Job) -> Result<(), Refusal> {
    let tally = plan::Tally::of(job);
    let (done, total) = (tally.over(), job.steps.len());
    tx.emit(NewEvent {
        level: Level::Info,
        subject: Subject { job: Some(job.id), ..Subject::default() },
        kind: EventKind::Progress {
            done: u64::try_from(done).unwrap_or(u64::MAX),
            total: u64::try_from(total).ok(),
        },
        message: format!("{done} of {total} hosts are over, {} are ready", tally.ready),
    })?;
    Ok(())
}
