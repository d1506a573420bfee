//! Where the marks of a boot stand in its drawing. Pure.
//!
//! One lane per protocol, time from left to right. A boot has seconds with ten events and minutes with none, so pauses are
//! drawn shorter the longer they are (by their logarithm), and no two marks lie on one another.

use super::{duration, instant, stage_label};
use crate::domain::boot::BootStage;
use crate::domain::time::Timestamp;
use crate::plan::diagnosis::Mark;

/// Width of the lanes' names.
const GUTTER: u64 = 76;
/// Distance of two lanes.
const LANE: u64 = 34;
/// Least distance of two marks: their circles touch no other.
const STEP: u64 = 24;
/// Least distance of two times on the axis.
const LABEL: u64 = 58;
/// Least width of the drawing.
const WIDTH: u64 = 640;

const LANES: [BootStage; 5] =
    [BootStage::Dhcp, BootStage::Pxe, BootStage::Tftp, BootStage::Http, BootStage::Callback];

/// A lane's name and place.
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) y: u64,
}

/// A mark with its place.
pub(crate) struct Dot {
    pub(crate) number: usize,
    pub(crate) x: u64,
    pub(crate) y: u64,
    /// Length of its bar.
    pub(crate) length: u64,
    pub(crate) tone: &'static str,
    pub(crate) title: String,
}

/// A time on the axis.
pub(crate) struct Tick {
    pub(crate) x: u64,
    pub(crate) text: String,
}

/// The drawing.
pub(crate) struct Chart {
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) axis: u64,
    pub(crate) gutter: u64,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) dots: Vec<Dot>,
    pub(crate) ticks: Vec<Tick>,
    /// For those who do not see it.
    pub(crate) description: String,
}

/// Width of a pause: nothing for none, some 20 for a second, some 120 for an hour.
fn pause(from: Timestamp, to: Timestamp) -> u64 {
    let tenths = to.since(from).as_millis() / 100;
    // 8 units for each doubling, in steps that are fine enough: the position of the highest bit and its three followers.
    let Some(bits) = tenths.checked_ilog2() else { return 0 };
    let rest = (tenths << 3 >> bits) & 7;
    u64::from(bits) * 8 + u64::try_from(rest).unwrap_or(0)
}

impl Chart {
    /// `None` when there is nothing to draw.
    pub(crate) fn new(marks: &[Mark]) -> Option<Self> {
        let (first, last) = (marks.first()?, marks.last()?);
        let lanes: Vec<BootStage> =
            LANES.into_iter().filter(|lane| marks.iter().any(|m| m.stage == *lane)).collect();
        let y = |stage| {
            let n = lanes.iter().position(|lane| *lane == stage).unwrap_or(0);
            u64::try_from(n).unwrap_or(0) * LANE + LANE / 2 + 4
        };
        let mut places: Vec<(Timestamp, u64)> = Vec::new();
        for mark in marks {
            let x = match places.last() {
                None => GUTTER + STEP / 2,
                Some((before, x)) => x + STEP + pause(*before, mark.at),
            };
            places.push((mark.at, x));
        }
        let place = |at: Timestamp| {
            let next = places.partition_point(|(begun, _)| *begun <= at);
            let (begun, x) = next.checked_sub(1).and_then(|n| places.get(n)).copied()?;
            Some(match places.get(next) {
                // Between two marks by its share of the time between them.
                Some((later, end)) => {
                    let whole = later.since(begun).as_millis().max(1);
                    let part = u128::from(end - x) * at.since(begun).as_millis() / whole;
                    x + u64::try_from(part).unwrap_or(0)
                }
                None => x + pause(begun, at),
            })
        };
        let dots: Vec<Dot> = marks
            .iter()
            .zip(&places)
            .enumerate()
            .map(|(n, (mark, (_, x)))| Dot {
                number: n + 1,
                x: *x,
                y: y(mark.stage),
                length: place(mark.until).unwrap_or(*x).saturating_sub(*x),
                tone: mark.tone.as_str(),
                title: format!("{} {}: {}", instant(mark.at), stage_label(mark.stage), mark.text),
            })
            .collect();
        let end = dots.iter().map(|dot| dot.x + dot.length).max().unwrap_or(0) + STEP;
        let axis = u64::try_from(lanes.len()).unwrap_or(0) * LANE + 8;
        let description = format!(
            "{} events in {}, from {} to {}, in the lanes {}. The table below has each of them.",
            marks.len(),
            duration(last.until.since(first.at)),
            instant(first.at),
            instant(last.until),
            lanes.iter().map(|lane| stage_label(*lane)).collect::<Vec<_>>().join(", ")
        );
        Some(Self {
            width: end.max(WIDTH),
            height: axis + 24,
            axis,
            gutter: GUTTER,
            lanes: lanes.iter().map(|l| Lane { name: stage_label(*l), y: y(*l) }).collect(),
            ticks: ticks(first.at, &places),
            dots,
            description,
        })
    }
}

/// Times since the beginning, as many as have room.
fn ticks(began: Timestamp, places: &[(Timestamp, u64)]) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    for (at, x) in places {
        if ticks.last().is_none_or(|tick| x - tick.x >= LABEL) {
            ticks.push(Tick { x: *x, text: duration(at.since(began)) });
        }
    }
    ticks
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::boot::{
        BootFact, BootLogEntry, BootObservation, BootProfile, InstallerFile,
    };
    use crate::plan::diagnosis::{Case, Who, diagnose};

    fn chart(entries: &[(i64, BootStage, Option<BootFact>)]) -> Option<Chart> {
        let entry = |(ms, stage, fact): &(i64, BootStage, Option<BootFact>)| BootLogEntry {
            observation: BootObservation {
                at: Timestamp(*ms),
                mac: None,
                address: None,
                stage: *stage,
                answered: true,
                message: "seen".into(),
                fact: fact.clone(),
                client: None,
            },
            count: 1,
            last: Timestamp(*ms),
        };
        let entries: Vec<_> = entries.iter().map(entry).collect();
        let settings = BootProfile::default();
        let case = Case { entries: &entries, who: Who::Sighting, settings, lesson: None };
        Chart::new(&diagnose(&case, Timestamp(i64::MAX / 2)).marks)
    }

    #[test]
    fn marks_keep_their_order_and_distance_and_bars_end_where_their_time_does() {
        let iso = InstallerFile::Iso;
        let drawn = chart(&[
            (0, BootStage::Dhcp, None),
            (0, BootStage::Dhcp, None),
            (4_000, BootStage::Http, Some(BootFact::Loading { file: iso })),
            (64_000, BootStage::Callback, None),
            (124_000, BootStage::Http, Some(BootFact::Loaded { file: iso, whole: true })),
            (3_600_000, BootStage::Callback, None),
        ])
        .unwrap();
        assert!(drawn.dots.windows(2).all(|two| two[1].x >= two[0].x + STEP));
        let (load, between, after) = (&drawn.dots[2], &drawn.dots[3], &drawn.dots[4]);
        assert!(load.x + load.length > between.x && load.x + load.length < after.x);
        let lanes: Vec<_> = drawn.lanes.iter().map(|lane| lane.name).collect();
        assert_eq!(lanes, ["DHCP", "HTTP", "Callback"]);
        assert!(drawn.ticks.windows(2).all(|two| two[1].x >= two[0].x + LABEL));
        assert_eq!(drawn.ticks[0].text, "0 s");
        assert!(drawn.description.starts_with("5 events in 1 h 00 min"), "{}", drawn.description);
        assert!(drawn.dots.iter().all(|dot| dot.x + dot.length < drawn.width));
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_a_clock_that_jumps_breaks_nothing() {
        assert!(chart(&[]).is_none());
        let far = i64::MAX / 4;
        let drawn = chart(&[(far, BootStage::Dhcp, None), (0, BootStage::Tftp, None)]).unwrap();
        assert_eq!(drawn.dots.len(), 2);
        let drawn = chart(&[(0, BootStage::Dhcp, None), (far, BootStage::Tftp, None)]).unwrap();
        assert!(drawn.width < 2_000, "{}", drawn.width);
    }

    #[test]
    fn longer_pauses_are_wider_and_never_much() {
        let mut before = 0;
        for tenths in 0..40_000 {
            let wide = pause(Timestamp(0), Timestamp(tenths * 100));
            assert!(wide >= before && wide <= 128, "{tenths}: {wide}");
            before = wide;
        }
    }
}
