//! What became of a machine's boots, and why: a time line and a verdict from its boot log. Pure.
//!
//! ```text
//!   boot log -> course::courses -> judge -> Diagnosis { verdict, marks, earlier }
//!                              \-> lesson::learn -> BootLesson -> plan::offer (by way of the store's directory)
//! ```
//!
//! Called by pages and API to show it, and by the recorder to learn from it. The log may have gaps (a queue that was
//! full, a daemon that did not run): a verdict says what was seen, and the host's own record outranks what was not.

mod course;
mod judge;
mod kind;
mod lesson;
mod mark;
#[cfg(test)]
mod test;

use crate::domain::boot::{BootLesson, BootLogEntry, BootProfile};
use crate::domain::host::HostState;
use crate::domain::time::Timestamp;
pub use kind::{Kind, Tone};
pub use lesson::{describe, learn, told};
pub use mark::{Mark, MarkTone};

/// Boots before the newest one that are told.
const EARLIER: usize = 5;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A machine that nobody registered.
    Sighting,
    /// A host.
    Host {
        /// Where it stands.
        state: HostState,
        /// Since when.
        since: Timestamp,
    },
}

/// Everything that is known of a machine's boots.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// Its boot log in order of time, oldest first.
    pub entries: &'a [BootLogEntry],
    /// Whose it is.
    pub who: Who,
    /// What the operator set for it.
    pub settings: BootProfile,
    /// What was learned.
    pub lesson: Option<&'a BootLesson>,
}

/// What happened, why probably, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub kind: Kind,
    /// What happened, in plain words, with the names and numbers of this boot.
    pub what: String,
    /// What Ironhatch does by itself; empty when nothing.
    pub next: String,
}

impl Verdict {
    /// Why, probably.
    #[must_use]
    pub fn why(&self) -> &'static str {
        self.kind.cause()
    }

    /// What to do.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        self.kind.fix()
    }
}

/// How an earlier boot went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// When it began.
    pub began: Timestamp,
    /// How it ended.
    pub verdict: Verdict,
}

/// What became of a machine's boots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnosis {
    /// Of the newest boot, or of its absence; `None` when nothing can be said.
    pub verdict: Option<Verdict>,
    /// The newest boot.
    pub marks: Vec<Mark>,
    /// The boots before it, newest first.
    pub earlier: Vec<Earlier>,
}

impl Diagnosis {
    /// Whether it changes soon without anybody's doing.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| verdict.kind.tone() == Tone::Busy)
    }
}

/// Works out what became of a machine's boots.
#[must_use]
pub fn diagnose(case: &Case<'_>, now: Timestamp) -> Diagnosis {
    let mut courses = course::courses(case.entries);
    if let (Who::Host { state, since }, Some(newest)) = (case.who, courses.last_mut()) {
        newest.learn_from(state, since);
    }
    let marks = courses.last().map(|newest| mark::marks(&newest.entries)).unwrap_or_default();
    let waits = judge::waiting(case.who, courses.last(), now);
    let is_waiting = waits.is_some();
    // A host that waits anew has no boot under way.
    let over = if is_waiting { courses.len() } else { courses.len().saturating_sub(1) };
    let mut told = (0..courses.len()).rev().filter_map(|n| {
        Some((courses.get(n)?.began, judge::verdict(case, &courses, n, over, now)?))
    });
    let verdict = waits.or_else(|| told.next().map(|(_, verdict)| verdict));
    // What is waited for has no time line yet.
    let marks = if is_waiting { Vec::new() } else { marks };
    let earlier = told.take(EARLIER).map(|(began, verdict)| Earlier { began, verdict }).collect();
    Diagnosis { verdict, marks, earlier }
}
