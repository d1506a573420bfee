//! What became of a machine's boots, read for pages and API.

use serde_json::{Value, json};

use super::api::time;
use super::view::stage_label;
use crate::domain::boot::{BootFact, BootLesson, BootProfile};
use crate::domain::host::Host;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::plan::diagnosis::{self, Case, Diagnosis, Verdict, Who};
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

    /// As the API shows it.
    pub(super) fn body(&self) -> Value {
        let Self { diagnosis, lesson, settings, .. } = self;
        let marks = diagnosis.marks.iter().map(|mark| {
            json!({
                "at": time(mark.at),
                "at_ms": mark.at.0,
                "until_ms": mark.until.0,
                "times": mark.count,
                "protocol": stage_label(mark.stage),
                "result": mark.tone.in_words(),
                "message": mark.text,
            })
        });
        let earlier = diagnosis.earlier.iter().map(
            |boot| json!({ "began": time(boot.began), "verdict": verdict_body(&boot.verdict) }),
        );
        let used = settings.or(lesson.profile());
        json!({
            "verdict": diagnosis.verdict.as_ref().map(verdict_body),
            "timeline": marks.collect::<Vec<_>>(),
            "earlier": earlier.collect::<Vec<_>>(),
            "learned": self.learned,
            "profile": { "form": used.form, "program": used.program },
        })
    }
}

fn verdict_body(verdict: &Verdict) -> Value {
    json!({
        "name": verdict.kind.slug(),
        "tone": verdict.kind.tone().as_str(),
        "what": verdict.what,
        "why": verdict.why(),
        "fix": verdict.fix(),
        "next": verdict.next,
    })
}
