//! What became of a machine's boots, read for pages and API.

use schemars::JsonSchema;
use serde::Serialize;

use super::api::{Moment, time};
use super::view::stage_label;
use crate::domain::boot::{BootFact, BootLesson, BootProfile};
use crate::domain::host::Host;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::plan::diagnosis::{self, Case, Diagnosis, Mark, Verdict, Who};
use crate::store::{BootLogReads as _, Snapshot, StoreError};

/// Entries of the boot log that are looked at: several boots.
const LOOKED_AT: usize = 160;

/// A machine's boots.
pub(super) struct Boots {
    pub(super) diagnosis: Diagnosis,
    /// What is done differently for it, one sentence each.
    pub(super) learned: Vec<String>,
    lesson: BootLesson,
    settings: BootProfile,
}

impl Boots {
    /// Those of a host.
    pub(super) fn of_host(
        read: &Snapshot,
        host: &Host,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let who = Who::Host { state: host.state, since: host.state_since };
        Self::read(read, &host.macs, who, host.boot, now)
    }

    /// Those of an unregistered machine.
    pub(super) fn of_sighting(
        read: &Snapshot,
        mac: Mac,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Self::read(read, &[mac], Who::Sighting, BootProfile::default(), now)
    }

    fn read(
        read: &Snapshot,
        macs: &[Mac],
        who: Who,
        settings: BootProfile,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let entries = read.boot_log_of(macs, LOOKED_AT)?;
        // The address that its firmware boots from; the others have nothing to learn.
        let firmware = entries.iter().rev().find_map(|entry| {
            let offered = matches!(entry.observation.fact, Some(BootFact::Offered { .. }));
            entry.observation.mac.filter(|_| offered)
        });
        let lesson = match firmware.or_else(|| macs.first().copied()) {
            Some(mac) => read.boot_lesson(mac)?.unwrap_or_default(),
            None => BootLesson::default(),
        };
        let case = Case { entries: &entries, who, settings, lesson: Some(&lesson) };
        let diagnosis = diagnosis::diagnose(&case, now);
        let learned = diagnosis::describe(&lesson, settings);
        Ok(Self { diagnosis, learned, lesson, settings })
    }
}

/// A machine's boots as the API shows them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Boots")]
pub(super) struct BootsBody<'a> {
    /// Of the newest boot, or of its absence.
    verdict: Option<VerdictBody<'a>>,
    /// The newest boot.
    timeline: Vec<MarkBody<'a>>,
    /// The boots before it, newest first.
    earlier: Vec<EarlierBody<'a>>,
    /// What is done differently for it, one sentence each.
    learned: &'a [String],
    /// How its firmware is spoken to.
    profile: BootProfile,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BootMark")]
struct MarkBody<'a> {
    at: Moment,
    at_ms: i64,
    /// When it ended, or was seen last.
    until_ms: i64,
    /// How often in a row.
    times: u64,
    protocol: &'static str,
    result: &'static str,
    message: &'a str,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EarlierBoot")]
struct EarlierBody<'a> {
    began: Moment,
    verdict: VerdictBody<'a>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BootVerdict")]
struct VerdictBody<'a> {
    name: &'static str,
    /// `good`, `busy`, `idle`, `bad`.
    tone: &'static str,
    what: &'a str,
    /// Why, probably.
    why: &'static str,
    /// What to do.
    fix: &'static str,
    /// What Ironhatch does by itself; empty when nothing.
    next: &'a str,
}

impl<'a> BootsBody<'a> {
    pub(super) fn new(boots: &'a Boots) -> Self {
        let Boots { diagnosis, learned, lesson, settings } = boots;
        let earlier = diagnosis.earlier.iter().map(|boot| EarlierBody {
            began: time(boot.began),
            verdict: VerdictBody::new(&boot.verdict),
        });
        Self {
            verdict: diagnosis.verdict.as_ref().map(VerdictBody::new),
            timeline: diagnosis.marks.iter().map(MarkBody::new).collect(),
            earlier: earlier.collect(),
            learned,
            profile: settings.or(lesson.profile()),
        }
    }
}

impl<'a> MarkBody<'a> {
    fn new(mark: &'a Mark) -> Self {
        Self {
            at: time(mark.at),
            at_ms: mark.at.0,
            until_ms: mark.until.0,
            times: mark.count,
            protocol: stage_label(mark.stage),
            result: mark.tone.in_words(),
            message: &mark.text,
        }
    }
}

impl<'a> VerdictBody<'a> {
    fn new(verdict: &'a Verdict) -> Self {
        Self {
            name: verdict.kind.slug(),
            tone: verdict.kind.tone().as_str(),
            what: &verdict.what,
            why: verdict.why(),
            fix: verdict.fix(),
            next: &verdict.next,
        }
    }
}
