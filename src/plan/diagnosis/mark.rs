//! What is shown of a boot: one mark for each thing that mattered, transfers with their length in time.

use crate::domain::boot::{BootFact, BootLogEntry, BootStage, InstallerFile};
use crate::domain::time::Timestamp;

/// Marks that are shown; the newest of more.
const MOST: usize = 40;

/// How a mark is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkTone {
    /// We gave what was asked for.
    Good,
    /// Still going on.
    Open,
    /// Refused, broken off.
    Bad,
    /// Met with silence, as it should be.
    Quiet,
}

impl MarkTone {
    /// Name in the API and in pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Open => "busy",
            Self::Bad => "bad",
            Self::Quiet => "idle",
        }
    }

    /// The same for somebody who does not see colours.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Good => "answered",
            Self::Open => "going on",
            Self::Bad => "failed",
            Self::Quiet => "seen",
        }
    }
}

/// One thing on the time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When it began.
    pub at: Timestamp,
    /// When it ended, or was seen last.
    pub until: Timestamp,
    /// How often in a row.
    pub count: u64,
    /// Which protocol.
    pub stage: BootStage,
    /// How it is to be taken.
    pub tone: MarkTone,
    /// What happened, in plain words.
    pub text: String,
    /// What a transfer moves, until its end is known.
    moves: Option<Moved>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Moved {
    File(String),
    Part(InstallerFile),
}

/// Whether an entry begins or ends a transfer, and of what.
fn transfer(fact: Option<&BootFact>) -> (Option<Moved>, Option<Moved>) {
    match fact {
        Some(BootFact::Sending { file }) => (Some(Moved::File(file.clone())), None),
        Some(
            BootFact::Sent { file } | BootFact::Aborted { file } | BootFact::Stalled { file, .. },
        ) => (None, Some(Moved::File(file.clone()))),
        Some(BootFact::Loading { file }) => (Some(Moved::Part(*file)), None),
        Some(BootFact::Loaded { file, .. }) => (None, Some(Moved::Part(*file))),
        _ => (None, None),
    }
}

fn tone(entry: &BootLogEntry) -> MarkTone {
    let seen = &entry.observation;
    match &seen.fact {
        _ if seen.answered => MarkTone::Good,
        Some(
            BootFact::Aborted { .. }
            | BootFact::Stalled { .. }
            | BootFact::NoSuchFile { .. }
            | BootFact::Limited
            | BootFact::Script { .. }
            | BootFact::Loaded { .. }
            | BootFact::Refused { .. },
        ) => MarkTone::Bad,
        _ => MarkTone::Quiet,
    }
}

/// The marks of one boot, in order of time.
pub(super) fn marks(entries: &[&BootLogEntry]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for entry in entries {
        let seen = &entry.observation;
        let (begins, ends) = transfer(seen.fact.as_ref());
        let open = ends.and_then(|moved| {
            marks.iter_mut().rev().find(|mark| mark.moves.as_ref() == Some(&moved))
        });
        if let Some(open) = open {
            open.moves = None;
            open.until = seen.at;
            open.tone = tone(entry);
            open.text.clone_from(&seen.message);
            continue;
        }
        marks.push(Mark {
            at: seen.at,
            until: entry.last,
            count: entry.count,
            stage: seen.stage,
            tone: if begins.is_some() { MarkTone::Open } else { tone(entry) },
            text: seen.message.clone(),
            moves: begins,
        });
    }
    let surplus = marks.len().saturating_sub(MOST);
    marks.split_off(surplus)
}
