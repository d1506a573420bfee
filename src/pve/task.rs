//! Tasks of the cluster: how they stand, what they print, how to find one whose name was lost.

use std::time::Duration;

use tokio::time::Instant;

use super::call::Ask;
use super::{Cluster, PveError, TaskEnd, TaskState, Upid};
use crate::domain::fault::ErrorClass;
use crate::domain::id::NodeName;
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;
use crate::proto::pve::value::{number_of, text_of};

/// Lines that are asked for at once; the server's default is 50.
const LOG_PAGE: u64 = 500;

impl Cluster {
    /// How a task stands. A node that was restarted still answers for its old tasks.
    ///
    /// # Errors
    /// [`PveError`]; [`PveError::NotFound`]: the node does not know the task.
    pub async fn task(&self, upid: &Upid) -> Result<TaskState, PveError> {
        self.ask_one(Ask::get(&path(upid, &["status"])), TaskState::read).await
    }

    /// Lines of a task's log from `start` on, and where the next read begins.
    ///
    /// # Errors
    /// As for [`Self::task`].
    pub async fn task_log(&self, upid: &Upid, start: u64) -> Result<(Vec<String>, u64), PveError> {
        let ask = Ask::get(&path(upid, &["log"])).with("start", start).with("limit", LOG_PAGE);
        let rows = self.ask_rows(ask, |row| Some((number_of(row, "n"), text_of(row, "t")))).await?;
        // How an empty log is shown; the first real line has the same number.
        if rows.len() == 1 && rows.iter().all(|(_, text)| text == "no content") {
            return Ok((Vec::new(), start));
        }
        let next = rows.iter().map(|(n, _)| *n).max().unwrap_or(0).max(start);
        Ok((rows.into_iter().map(|(_, text)| text).collect(), next))
    }

    /// Asks a task to end: the cluster terminates its processes and kills them after 5 s. A task that is over stays as it is.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn abort(&self, upid: &Upid) -> Result<(), PveError> {
        self.ask(Ask::delete(&path(upid, &[]))).await.map(|_| ())
    }

    /// The latest task of a kind (`vzcreate`, …) on a guest that started at or after `since`, by the node's clock. This is how
    /// a task is found whose name was lost with its answer. Tasks of others are left out: with the right to look at the
    /// node (`Sys.Audit`) a token sees those too.
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn find_task(
        &self,
        node: &NodeName,
        vmid: Vmid,
        kind: &str,
        since: Timestamp,
    ) -> Result<Option<Upid>, PveError> {
        let ask = Ask::get(&["nodes", node.as_str(), "tasks"])
            .with("vmid", vmid)
            .with("source", "all")
            .with("typefilter", kind)
            .with("since", since.0.div_euclid(1000).max(0));
        let rows = self.ask_rows(ask, |row| text_of(row, "upid").parse::<Upid>().ok()).await?;
        let user = &self.inner.token.id;
        let ours = rows.into_iter().filter(|upid| upid.kind() == kind && upid.user() == user);
        Ok(ours.max_by_key(|upid| (upid.started(), upid.pid())))
    }

    /// Waits for the end of a task and gives each line of its log as it appears. A node that cannot be reached meanwhile is
    /// waited for.
    ///
    /// # Errors
    /// [`PveError::StillRunning`] after `limit`, or what the last look at it came to when that failed; any other error that
    /// waiting would not change.
    pub async fn wait(
        &self,
        upid: &Upid,
        limit: Duration,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> Result<TaskEnd, PveError> {
        let deadline = Instant::now() + limit;
        let mut next = 0;
        loop {
            let failed = match self.task(upid).await {
                Ok(TaskState::Running) => {
                    next = self.follow(upid, next, on_line).await;
                    None
                }
                Ok(TaskState::Ended(end)) => {
                    self.follow(upid, next, on_line).await;
                    return Ok(end);
                }
                Err(error) if error.class() == ErrorClass::Transient => Some(error),
                Err(error) => return Err(error),
            };
            if Instant::now() + self.inner.limits.poll >= deadline {
                return Err(failed.unwrap_or_else(|| PveError::StillRunning {
                    upid: Box::new(upid.clone()),
                    seconds: limit.as_secs(),
                }));
            }
            tokio::time::sleep(self.inner.limits.poll).await;
        }
    }

    /// Reads the log to its present end. That a log cannot be read does not change how the task ends.
    async fn follow(
        &self,
        upid: &Upid,
        mut start: u64,
        on_line: &mut (dyn FnMut(&str) + Send),
    ) -> u64 {
        while let Ok((lines, next)) = self.task_log(upid, start).await {
            lines.iter().for_each(|line| on_line(line));
            start = next;
            if u64::try_from(lines.len()).unwrap_or(0) < LOG_PAGE {
                break;
            }
        }
        start
    }
}

fn path<'a>(upid: &'a Upid, more: &[&'a str]) -> Vec<&'a str> {
    let mut path = vec!["nodes", upid.node(), "tasks", upid.as_str()];
    path.extend_from_slice(more);
    path
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_task_is_asked_for_at_the_node_of_its_name() {
        let upid: Upid =
            "UPID:pve2:00000669:0004999E:6B00784F:vzcreate:101:a@pve!b:".parse().unwrap();
        assert_eq!(path(&upid, &["log"]), ["nodes", "pve2", "tasks", upid.as_str(), "log"]);
    }
}
