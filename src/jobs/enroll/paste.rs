//! Enrolment by a pasted command: a code and a key that live for some minutes, in memory. A restart ends them; then the
//! operator asks for another command.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use sha2::{Digest as _, Sha256};

use super::{enroll_steps, refuse_running};
use crate::domain::id::JobId;
use crate::domain::job::{NodeTask, NodeWork, Work};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::jobs::Engine;
use crate::jobs::request::queue;
use crate::limits::machine::ENROLMENTS_WAITING;
use crate::node::EphemeralKey;
use crate::plan::enroll::paste::{self, EnrollScript, MINUTES};
use crate::plan::script::ScriptUrl;
use crate::store::{JobReads as _, of_job};

/// Sealed secret of a job: the key that the pasted command let in.
pub(super) const LOGIN_KEY_SECRET: &str = "login-key";

/// Commands that were handed out and not used yet.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Waiting(Mutex<Vec<Pasted>>);

#[derive(Debug)]
struct Pasted {
    /// SHA-256 of the code: what is compared is no secret.
    code: [u8; 32],
    key: Secret<String>,
    script: String,
    until: Timestamp,
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

fn unknown() -> Refusal {
    Refusal::new(
        RefusalKind::NotFound,
        "this enrolment command is not known, was used, or is too old",
        "make another one on the page Nodes, or with: ironhatch node enroll-command",
    )
}

impl Waiting {
    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Pasted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, pasted: Pasted, now: Timestamp) {
        let mut waiting = self.locked();
        waiting.retain(|p| p.until > now);
        if waiting.len() >= ENROLMENTS_WAITING {
            waiting.remove(0);
        }
        waiting.push(pasted);
    }

    fn script(&self, code: &str, now: Timestamp) -> Option<String> {
        let wanted = hash(code);
        let waiting = self.locked();
        waiting.iter().find(|p| p.code == wanted && p.until > now).map(|p| p.script.clone())
    }

    /// Takes a command out: it works once.
    fn take(&self, code: &str, now: Timestamp) -> Option<Secret<String>> {
        let wanted = hash(code);
        let mut waiting = self.locked();
        let at = waiting.iter().position(|p| p.code == wanted && p.until > now)?;
        Some(waiting.remove(at).key)
    }
}

impl Engine {
    /// A one-line command that enrols the node it is pasted on; valid once, for some minutes.
    ///
    /// # Errors
    /// Apps are switched off.
    pub async fn enroll_command(&self) -> Result<Secret<String>, Refusal> {
        let broken =
            |reason: String| Refusal::new(RefusalKind::Internal, reason, "report this bug");
        let waiting = &self.layer()?.pasted;
        let mut bytes = [0u8; 16];
        rand::rng().fill_bytes(&mut bytes);
        let code: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let key = EphemeralKey::generate(&mut rand::rng(), paste::COMMENT)
            .map_err(|e| broken(e.to_string()))?;
        let base = &self.context().callbacks;
        let url = format!("{}{}", base.url, paste::path(&code));
        let url = ScriptUrl::parse(&url).map_err(|e| broken(e.to_string()))?;
        let certificate = base.certificate.as_ref().map(|c| c.base64.as_str());
        let script = EnrollScript::new(url, key.public_line(), certificate);
        let now = self.store().now();
        let command = script.command();
        waiting.put(
            Pasted {
                code: hash(&code),
                key: key.private_pem().map_err(|e| broken(e.to_string()))?,
                script: script.text(),
                until: now.after(Duration::from_secs(u64::from(MINUTES) * 60)),
            },
            now,
        );
        Ok(Secret::new(command))
    }

    /// The script of a command that was handed out.
    ///
    /// # Errors
    /// Not known, used, or too old.
    pub fn enroll_script(&self, code: &str) -> Result<String, Refusal> {
        self.layer()?.pasted.script(code, self.store().now()).ok_or_else(unknown)
    }

    /// A node reports its host keys: its enrolment is queued. The report's sender is the node.
    ///
    /// # Errors
    /// Not known, used, too old; a report that cannot be read.
    pub async fn enroll_report(
        &self,
        code: &str,
        sender: IpAddr,
        body: &[u8],
    ) -> Result<JobId, Refusal> {
        let report = paste::read_report(body).ok_or_else(|| {
            Refusal::new(
                RefusalKind::Malformed,
                "the report cannot be read",
                "run the command again",
            )
        })?;
        let key = self.layer()?.pasted.take(code, self.store().now()).ok_or_else(unknown)?;
        let job = self
            .store()
            .write::<_, Refusal, _>(move |tx| {
                refuse_running(&tx.active_jobs()?, sender)?;
                let work = NodeWork {
                    address: sender,
                    name: Some(report.name),
                    task: NodeTask::Enroll,
                    host_keys: report.host_keys,
                    host: None,
                };
                let job = queue(tx, Work::Node(work), enroll_steps())?;
                tx.put_secret(&of_job(job.id, LOGIN_KEY_SECRET), key.expose());
                Ok(job.id)
            })
            .await?;
        self.drive(job);
        Ok(job)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn pasted(code: &str, until: i64) -> Pasted {
        Pasted {
            code: hash(code),
            key: Secret::new("key".to_owned()),
            script: format!("script of {code}"),
            until: Timestamp(until),
        }
    }

    #[test]
    fn a_command_works_once_and_not_too_late() {
        let waiting = Waiting::default();
        waiting.put(pasted("a", 100), Timestamp(0));
        waiting.put(pasted("b", 50), Timestamp(0));
        assert_eq!(waiting.script("a", Timestamp(10)).as_deref(), Some("script of a"));
        assert!(waiting.script("c", Timestamp(10)).is_none());
        assert!(waiting.take("b", Timestamp(50)).is_none(), "too late");
        assert!(waiting.take("a", Timestamp(10)).is_some());
        assert!(waiting.take("a", Timestamp(10)).is_none(), "used");
    }

    #[test]
    fn commands_that_nobody_uses_do_not_pile_up() {
        let waiting = Waiting::default();
        for n in 0..100 {
            waiting.put(pasted(&n.to_string(), 1000), Timestamp(0));
        }
        assert_eq!(waiting.locked().len(), ENROLMENTS_WAITING);
        assert!(waiting.script("99", Timestamp(0)).is_some());
    }
}
