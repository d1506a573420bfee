//! Notices: what operators are told elsewhere when something happened, in plain words: what, where, what to do, and where
//! to look. One document for all receivers; `preset` makes of it what each kind of receiver takes.

pub mod preset;
#[cfg(test)]
mod test;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::diagnosis::{Tone, Verdict};
use super::doctor::Finding;
use super::power::Prompt;
use crate::domain::event::Level;
use crate::domain::host::Host;
use crate::domain::id::JobId;
use crate::domain::job::{Job, Work};
use crate::domain::notice::NoticeKind;
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;

/// Longest title, and longest text and action, in characters: the smallest receiver takes 2000 in all, with those that
/// escape others.
const LONGEST_TITLE: usize = 100;
const LONGEST: usize = 420;
/// Findings that one notice names.
const MOST_FINDINGS: usize = 5;

/// One notice. It is what a generic webhook gets, and what waits in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Name of its kind.
    pub event: String,
    /// When it happened.
    pub at: String,
    /// How much attention it wants.
    pub level: Level,
    /// What happened to what, in a few words.
    pub title: String,
    /// What happened, in one or two sentences; may be empty.
    pub text: String,
    /// What to do; empty: nothing.
    pub action: String,
    /// The page of the dashboard about it.
    pub link: String,
    /// The job that it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The host, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Value>,
    /// The guest, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Value>,
    /// The machine that nobody registered, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Value>,
    /// What the doctor found, for programs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Value>,
}

/// Where notices are made: when, and where the dashboard is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Now.
    pub at: Timestamp,
    /// Base address of the dashboard, without a slash at its end.
    pub public_url: &'a str,
}

impl Place<'_> {
    fn notice(&self, kind: NoticeKind, title: String, path: &str) -> Notice {
        Notice {
            event: kind.as_str().to_owned(),
            at: self.at.to_string(),
            level: kind.level(),
            title: within(LONGEST_TITLE, &title),
            text: String::new(),
            action: String::new(),
            link: format!("{}{path}", self.public_url),
            job: None,
            host: None,
            guest: None,
            machine: None,
            findings: Vec::new(),
        }
    }

    fn of_host(&self, kind: NoticeKind, title: String, host: &Host, job: JobId) -> Notice {
        let mut notice = self.notice(kind, title, &format!("/hosts/{}", host.id));
        notice.job = Some(job);
        notice.host = Some(json!({
            "id": host.id,
            "hostname": host.hostname,
            "macs": host.macs,
            "address": host.address,
            "server_type": host.server_type,
            "state": host.state,
            "failure": host.failure,
        }));
        notice
    }

    /// A host became ready.
    #[must_use]
    pub fn host_ready(&self, host: &Host, job: JobId) -> Notice {
        let kind = NoticeKind::HostReady;
        let mut notice = self.of_host(kind, format!("{} is ready", host.hostname), host, job);
        let at = host.address.map_or_else(String::new, |address| format!(" at {address}"));
        notice.text = format!("It is installed and a node of the cluster{at}.");
        notice
    }

    /// A host failed. `verdict` is what its boots tell of it, if anything.
    #[must_use]
    pub fn host_failed(&self, host: &Host, job: JobId, verdict: Option<&Verdict>) -> Notice {
        let kind = NoticeKind::HostFailed;
        let mut notice = self.of_host(kind, format!("{} failed", host.hostname), host, job);
        if let Some(failure) = &host.failure {
            notice.text = sentence(&failure.reason);
            notice.action = sentence(&failure.hint);
        }
        if let Some(verdict) = verdict.filter(|verdict| verdict.kind.tone() == Tone::Bad) {
            notice.text = short(&format!("{} {}", notice.text, sentence(&verdict.what)));
            notice.action = short(&format!("{} {}", notice.action, sentence(verdict.fix())));
        }
        notice
    }

    /// A rebuild waits for somebody's hands.
    #[must_use]
    pub fn host_waiting(&self, host: &Host, job: JobId, prompt: &Prompt) -> Notice {
        let kind = NoticeKind::HostWaiting;
        let mut notice = self.of_host(kind, prompt.title.clone(), host, job);
        notice.text = "Its rebuild waits for it.".to_owned();
        notice.action = sentence(&prompt.text);
        notice
    }

    /// Work on a guest failed.
    #[must_use]
    pub fn guest_failed(&self, job: &Job) -> Notice {
        let kind = NoticeKind::GuestFailed;
        let title = format!("{} failed", job.title());
        let mut notice = self.notice(kind, title, &format!("/jobs/{}", job.id));
        notice.job = Some(job.id);
        if let Work::Guest(work) = &job.work {
            notice.guest = Some(json!({ "id": work.guest, "name": work.name }));
        }
        if let Some(failure) = &job.failure {
            notice.text = sentence(&failure.reason);
            notice.action = sentence(&failure.hint);
        }
        notice
    }

    /// The doctor found these for the first time.
    #[must_use]
    pub fn health_error(&self, found: &[&Finding]) -> Notice {
        let title = match found {
            [one] => format!("Health: a problem of {}", one.area.title().to_lowercase()),
            many => format!("Health: {} problems", many.len()),
        };
        let mut notice = self.notice(NoticeKind::HealthError, title, "/health");
        let told = |of: fn(&Finding) -> &str| {
            let all: Vec<String> =
                found.iter().take(MOST_FINDINGS).map(|finding| sentence(of(finding))).collect();
            short(&all.join(" "))
        };
        notice.text = told(|finding| &finding.sentence);
        notice.action = told(|finding| finding.fix());
        notice.findings = found.iter().take(MOST_FINDINGS).map(|finding| json!(finding)).collect();
        notice
    }

    /// A machine was heard that nobody registered; `waiting` such machines are there with it.
    #[must_use]
    pub fn sighting(&self, sighting: &Sighting, waiting: usize) -> Notice {
        let kind = NoticeKind::SightingNew;
        let title = format!("New machine {}", sighting.mac);
        let mut notice = self.notice(kind, title, &format!("/sightings/{}", sighting.mac));
        let waiting = match waiting {
            0 | 1 => "It is the only one".to_owned(),
            many => format!("{many} machines are there"),
        };
        notice.text =
            format!("It asked to boot from the network. {waiting} that nobody registered.");
        notice.action = "Register it, or dismiss it.".to_owned();
        notice.machine = Some(json!({ "mac": sighting.mac, "address": sighting.address }));
        notice
    }

    /// The operator tries a target.
    #[must_use]
    pub fn test(&self) -> Notice {
        let title = "Test of a notification".to_owned();
        let mut notice = self.notice(NoticeKind::Test, title, "/settings");
        notice.text = format!("What Ironhatch at {} has to tell arrives here.", self.public_url);
        notice
    }
}

/// With a capital letter at its beginning and a full stop at its end, on one line.
fn sentence(text: &str) -> String {
    let text = short(text);
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let end = if text.ends_with(['.', '!', '?', '…']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), letters.as_str())
}

fn short(text: &str) -> String {
    within(LONGEST, text)
}

/// On one line and of bounded length: what machines and programs say about themselves can be anything.
fn within(most: usize, text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = plain.trim();
    let mut cut: String = plain.chars().take(most).collect();
    if cut.len() < plain.len() {
        cut.push('…');
    }
    cut
}
