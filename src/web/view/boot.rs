//! A machine's boots in the words and shapes that pages show.

use super::chart::Chart;
use super::{duration, instant, stage_label, time_of_day};
use crate::plan::diagnosis::{Diagnosis, Mark, Tone, Verdict};

/// A verdict as it is shown.
pub(crate) struct VerdictView {
    pub(crate) name: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) word: &'static str,
    pub(crate) what: String,
    pub(crate) why: &'static str,
    pub(crate) fix: &'static str,
    pub(crate) next: String,
    /// Whether cause and remedy are worth their place.
    pub(crate) explains: bool,
}

impl VerdictView {
    pub(crate) fn new(verdict: &Verdict) -> Self {
        let tone = verdict.kind.tone();
        Self {
            name: verdict.kind.slug(),
            tone: tone.as_str(),
            word: match tone {
                Tone::Good => "Works",
                Tone::Busy => "Under way",
                Tone::Quiet => "Quiet",
                Tone::Bad => "Trouble",
            },
            what: verdict.what.clone(),
            why: verdict.why(),
            fix: verdict.fix(),
            next: verdict.next.clone(),
            explains: matches!(tone, Tone::Bad | Tone::Quiet),
        }
    }
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) number: usize,
    pub(crate) time: String,
    pub(crate) after: String,
    pub(crate) protocol: &'static str,
    pub(crate) tone: &'static str,
    pub(crate) result: &'static str,
    pub(crate) text: String,
}

/// An earlier boot in one line.
pub(crate) struct EarlierView {
    pub(crate) time: String,
    pub(crate) verdict: VerdictView,
}

/// Everything about a machine's boots.
pub(crate) struct BootView {
    pub(crate) verdict: Option<VerdictView>,
    pub(crate) chart: Option<Chart>,
    pub(crate) rows: Vec<Row>,
    pub(crate) earlier: Vec<EarlierView>,
    pub(crate) learned: Vec<String>,
    /// Seconds after which it is read again: verdicts change with time, without an event.
    pub(crate) every: u32,
}

impl BootView {
    pub(crate) fn new(diagnosis: &Diagnosis, learned: Vec<String>) -> Self {
        let began = diagnosis.marks.first().map(|mark| mark.at);
        let row = |(n, mark): (usize, &Mark)| {
            let times = if mark.count > 1 { format!(" (×{})", mark.count) } else { String::new() };
            Row {
                number: n + 1,
                time: time_of_day(mark.at),
                after: began.map(|began| duration(mark.at.since(began))).unwrap_or_default(),
                protocol: stage_label(mark.stage),
                tone: mark.tone.as_str(),
                result: mark.tone.in_words(),
                text: format!("{}{times}", mark.text),
            }
        };
        Self {
            verdict: diagnosis.verdict.as_ref().map(VerdictView::new),
            chart: Chart::new(&diagnosis.marks),
            rows: diagnosis.marks.iter().enumerate().map(row).collect(),
            earlier: diagnosis
                .earlier
                .iter()
                .map(|boot| EarlierView {
                    time: instant(boot.began),
                    verdict: VerdictView::new(&boot.verdict),
                })
                .collect(),
            learned,
            every: if diagnosis.is_moving() { 5 } else { 20 },
        }
    }
}
