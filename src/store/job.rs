//! Jobs, their index by host, the list of active ones and their logs.

use super::error::StoreError;
use super::event::NewEvent;
use super::read::{Order, Read, end_of, record};
use super::schema::{Table, host_key, job_key, numbered};
use super::tx::Tx;
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::id::{HostId, JobId, StepId};
use crate::domain::job::{Job, JobStatus, LogLine, StepStatus, Work};
use crate::domain::secret::TokenHash;

/// Typed reads of jobs.
pub trait JobReads: Read {
    /// One job.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        record(self, Table::Jobs, &job_key(id))
    }

    /// The newest `limit` jobs, newest first; `before` pages on.
    ///
    /// # Errors
    /// As above.
    fn jobs(&self, before: Option<JobId>, limit: usize) -> Result<Vec<Job>, StoreError> {
        let end = before.map_or_else(|| end_of(&[]), job_key);
        self.range(Table::Jobs, &[], &end, Order::Descending, limit)?
            .into_iter()
            .map(|(key, value)| super::read::parse(Table::Jobs, &key, &value))
            .collect()
    }

    /// Jobs that are not over, oldest first.
    ///
    /// # Errors
    /// As above.
    fn active_jobs(&self) -> Result<Vec<Job>, StoreError> {
        let keys =
            self.range(Table::ActiveJobs, &[], &end_of(&[]), Order::Ascending, usize::MAX)?;
        let mut jobs = Vec::with_capacity(keys.len());
        for (key, _) in keys {
            jobs.extend(record(self, Table::Jobs, &key)?);
        }
        Ok(jobs)
    }

    /// The newest `limit` jobs of a host, newest first.
    ///
    /// # Errors
    /// As above.
    fn jobs_of_host(&self, host: HostId, limit: usize) -> Result<Vec<Job>, StoreError> {
        let prefix = host_key(host);
        let keys =
            self.range(Table::JobsByHost, &prefix, &end_of(&prefix), Order::Descending, limit)?;
        let mut jobs = Vec::with_capacity(keys.len());
        for (key, _) in keys {
            if let Some(job) = key.get(prefix.len()..) {
                jobs.extend(record(self, Table::Jobs, job)?);
            }
        }
        Ok(jobs)
    }

    /// At most `limit` lines of a job's log with a number above `after`, oldest first.
    ///
    /// # Errors
    /// As above.
    fn job_log(&self, job: JobId, after: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        let prefix = job_key(job);
        let from = numbered(&prefix, after.saturating_add(1));
        self.range(Table::JobLog, &from, &end_of(&prefix), Order::Ascending, limit)?
            .into_iter()
            .map(|(key, value)| super::read::parse(Table::JobLog, &key, &value))
            .collect()
    }

    /// The job that an install token belongs to, while the token lives.
    ///
    /// # Errors
    /// As above.
    fn job_by_token(&self, token: TokenHash) -> Result<Option<Job>, StoreError> {
        match self.get(Table::Tokens, &token.0)? {
            Some(key) => record(self, Table::Jobs, &key),
            None => Ok(None),
        }
    }

    /// The newest finished job of a kind, other than `except`: what a running job's durations are compared with.
    ///
    /// # Errors
    /// As above.
    fn last_succeeded(&self, host: HostId, except: JobId) -> Result<Option<Job>, StoreError> {
        let jobs = self.jobs_of_host(host, 20)?;
        Ok(jobs.into_iter().find(|j| {
            j.id != except && j.status == JobStatus::Succeeded && matches!(j.work, Work::Rebuild(_))
        }))
    }
}

impl<T: Read + ?Sized> JobReads for T {}

impl Tx<'_, '_> {
    /// Writes a job and its indexes.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_job(&mut self, job: &Job) -> Result<(), StoreError> {
        let key = job_key(job.id);
        if let Some(host) = job.host() {
            let mut index = host_key(host);
            index.extend_from_slice(&key);
            self.put(Table::JobsByHost, index, Vec::new());
        }
        if let Some(guest) = job.guest() {
            self.index_job_of_guest(guest, job.id);
        }
        if job.status.is_terminal() {
            self.remove(Table::ActiveJobs, key.clone());
        } else {
            self.put(Table::ActiveJobs, key.clone(), Vec::new());
        }
        self.put_record(Table::Jobs, key, job)
    }

    /// Lets an install token find its job.
    pub fn save_token(&mut self, token: TokenHash, job: JobId) {
        self.put(Table::Tokens, token.0.to_vec(), job_key(job));
    }

    /// Ends an install token: from now on it opens nothing.
    pub fn delete_token(&mut self, token: TokenHash) {
        self.remove(Table::Tokens, token.0.to_vec());
    }

    /// Appends a line to a job's log, and the event that tells readers of it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn log(
        &mut self,
        job: &Job,
        step: Option<&StepId>,
        level: Level,
        message: &str,
    ) -> Result<(), StoreError> {
        let prefix = job_key(job.id);
        let seq = self.next_number(Table::JobLog, &prefix)?;
        let line = LogLine {
            seq,
            at: self.now(),
            level,
            step: step.cloned(),
            message: message.to_owned(),
        };
        self.put_record(Table::JobLog, numbered(&prefix, seq), &line)?;
        self.emit(NewEvent {
            level,
            subject: subject(job),
            kind: EventKind::JobLog,
            message: message.to_owned(),
        })?;
        Ok(())
    }

    /// Changes a step's status with its times, and writes job, log line and event.
    ///
    /// # Errors
    /// When the database fails.
    pub fn set_step(
        &mut self,
        job: &mut Job,
        id: &str,
        status: StepStatus,
        detail: &str,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let Some(step) = job.step_mut(id) else { return Ok(()) };
        if step.status == status && status != StepStatus::Running {
            return Ok(());
        }
        step.status = status;
        step.detail = detail.to_owned();
        match status {
            StepStatus::Running => {
                step.started.get_or_insert(now);
                step.finished = None;
                step.attempts = step.attempts.saturating_add(1);
            }
            StepStatus::Succeeded | StepStatus::Failed | StepStatus::Skipped => {
                step.started.get_or_insert(now);
                step.finished = Some(now);
            }
            StepStatus::Pending => {}
        }
        let (step_id, title) = (step.id.clone(), step.title.clone());
        if job.status == JobStatus::Pending {
            job.status = JobStatus::Running;
            job.started = Some(now);
        }
        self.save_job(job)?;
        let (level, verb) = match status {
            StepStatus::Running => (Level::Info, "started"),
            StepStatus::Succeeded => (Level::Info, "done"),
            StepStatus::Failed => (Level::Error, "failed"),
            StepStatus::Skipped => (Level::Info, "not needed"),
            StepStatus::Pending => (Level::Info, "waiting"),
        };
        let message = if detail.is_empty() {
            format!("{title}: {verb}")
        } else {
            format!("{title}: {verb}: {detail}")
        };
        self.log(job, Some(&step_id), level, &message)?;
        self.emit(NewEvent {
            level,
            subject: subject(job),
            kind: EventKind::StepChanged { step: step_id, status },
            message,
        })?;
        Ok(())
    }
}

/// Whom a job's events concern.
pub(super) fn subject(job: &Job) -> Subject {
    let image = match &job.work {
        Work::Rebuild(rebuild) => Some(rebuild.image.clone()),
        Work::ImportImage(import) => import.image.clone(),
        _ => None,
    };
    Subject { host: job.host(), job: Some(job.id), mac: None, image, guest: job.guest() }
}
