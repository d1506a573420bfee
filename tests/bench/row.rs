//! A row of the report, and how several runs become one figure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One figure of ours beside the best peer's. The names of the fields are those of `docs/benchmarks.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `part: what was measured`.
    pub name: String,
    /// Our median; absent when our side failed.
    pub ours: Option<f64>,
    /// The best peer's median; absent when there is no peer or none could be measured.
    pub peer: Option<f64>,
    /// Who that is, or what failed.
    pub peer_name: String,
    pub unit: String,
    /// Ours divided by the peer's.
    pub ratio: Option<f64>,
    /// In words; empty when nothing is asked of this figure.
    pub target: String,
    /// Absent when there is no target.
    pub met: Option<bool>,
}

impl Row {
    /// Whether more is better: it counts something per second.
    pub fn is_rate(&self) -> bool {
        self.unit.ends_with("/s")
    }
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    High,
    Low,
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    None,
    /// Ours divided by the peer's is at least this.
    RatioAtLeast(f64),
    /// Ours divided by the peer's is at most this.
    RatioAtMost(f64),
    /// Our figure is below this.
    Below(f64),
}

impl Target {
    fn words(self, unit: &str) -> String {
        match self {
            Self::None => String::new(),
            Self::RatioAtLeast(r) => format!("at least {r} × the peer"),
            Self::RatioAtMost(r) => format!("at most {r} × the peer"),
            Self::Below(limit) => format!("below {} {unit}", figure(limit)),
        }
    }

    fn met(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::None => None,
            Self::RatioAtLeast(r) => Some(ratio.is_some_and(|ratio| ratio >= r)),
            Self::RatioAtMost(r) => Some(ratio.is_some_and(|ratio| ratio <= r)),
            Self::Below(limit) => Some(ours.is_some_and(|ours| ours < limit)),
        }
    }
}

/// What one side measured, run by run; a failed run tells why.
#[derive(Debug, Clone, Default)]
pub struct Side {
    pub name: String,
    runs: Vec<f64>,
    failure: Option<String>,
}

impl Side {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub fn add(&mut self, run: anyhow::Result<f64>) {
        match run {
            Ok(value) => self.runs.push(value),
            Err(error) => {
                let text = format!("{error:#}").replace('\n', " ");
                let end = text.char_indices().nth(160).map_or(text.len(), |(at, _)| at);
                self.failure = Some(text[..end].to_owned());
            }
        }
    }

    pub fn median(&self) -> Option<f64> {
        median(&self.runs)
    }
}

/// Makes the row: ours against the best of the peers. A peer that failed in every run is named in the row.
pub fn row(
    name: &str,
    unit: &str,
    better: Better,
    target: Target,
    ours: &Side,
    peers: &[Side],
) -> Row {
    let best = peers
        .iter()
        .filter_map(|p| Some((p.median()?, p)))
        .reduce(|a, b| if (better == Better::High) == (b.0 > a.0) { b } else { a });
    let mut peer_name = best.map_or_else(String::new, |(_, p)| p.name.clone());
    for failed in peers.iter().filter(|p| p.runs.is_empty()) {
        let reason = failed.failure.as_deref().unwrap_or("did not run");
        peer_name += &format!(" ({} failed: {reason})", failed.name);
    }
    let ours_median = ours.median();
    if ours_median.is_none() {
        let reason = ours.failure.as_deref().unwrap_or("did not run");
        peer_name += &format!(" (ours failed: {reason})");
    }
    let peer = best.map(|(value, _)| value);
    let ratio = ours_median.zip(peer).filter(|(_, p)| *p > 0.0).map(|(o, p)| o / p);
    Row {
        name: name.to_owned(),
        ours: ours_median.map(rounded),
        peer: peer.map(rounded),
        peer_name: peer_name.trim().to_owned(),
        unit: unit.to_owned(),
        ratio: ratio.map(rounded),
        target: target.words(unit),
        met: target.met(ours_median, ratio),
    }
}

/// A row without a peer.
pub fn alone(name: &str, unit: &str, target: Target, ours: f64) -> Row {
    let mut side = Side::new("ours");
    side.add(Ok(ours));
    row(name, unit, Better::Low, target, &side, &[])
}

pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The value below which this part (0 to 1) of the values lie.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// Four significant digits: more are noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// A number as people read it.
pub fn figure(value: f64) -> String {
    let value = rounded(value);
    if value.abs() >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut out = String::new();
        for (n, digit) in digits.chars().enumerate() {
            if n > 0 && (digits.len() - n).is_multiple_of(3) && digit != '-' {
                out.push(',');
            }
            out.push(digit);
        }
        out
    } else {
        value.to_string()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
        write!(
            f,
            "{}: {} {} (peer {} {}; ratio {}; target {}; met {})",
            self.name,
            number(self.ours),
            self.unit,
            number(self.peer),
            self.peer_name,
            number(self.ratio),
            self.target,
            self.met.map_or_else(|| "-".to_owned(), |m| m.to_string())
        )
    }
}
