//! Everything that bounds what one client, or all of them, can cost: one number each, with its reason.
//!
//! The bottom of the crate: pure numbers that every other module may name. Numbers that a protocol fixes are not here, they
//! are no choice. `docs/limits.md` is generated from these tables, and the page "Limits" of the dashboard shows them.

use std::time::Duration;

pub mod channel;
pub mod dhcp;
pub mod http;
pub mod iso;
pub mod machine;
pub mod operator;
pub mod over;
pub mod power;
pub mod record;
pub mod tftp;
pub mod work;

#[cfg(test)]
mod test;

/// One limit as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name in the code, in small letters.
    pub name: String,
    /// The number with its unit.
    pub value: String,
    /// What is bounded, and why at this number.
    pub reason: String,
}

/// Limits that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The module's name.
    pub name: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Its limits.
    pub rows: Vec<Row>,
}

/// All limits, in the order in which a machine meets them.
#[must_use]
pub fn parts() -> Vec<Part> {
    let part = |name, title, rows| Part { name, title, rows };
    vec![
        part("dhcp", "DHCP", dhcp::rows()),
        part("tftp", "TFTP", tftp::rows()),
        part("http", "HTTP connections and boot files", http::rows()),
        part("machine", "What machines send and ask for", machine::rows()),
        part("iso", "Reading an image", iso::rows()),
        part("operator", "Operators and their browsers", operator::rows()),
        part("record", "What is written down", record::rows()),
        part("work", "Jobs, repositories and files", work::rows()),
        part("power", "Switching machines", power::rows()),
        part("channel", "The root channel to nodes", channel::rows()),
    ]
}

/// A number that can be a limit.
trait Amount: Copy {
    /// With this unit, as people write it.
    fn shown(self, unit: &str) -> String;
}

impl Amount for u64 {
    fn shown(self, unit: &str) -> String {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        match self {
            n if unit != "bytes" => format!("{n} {unit}"),
            n if n % MIB == 0 => format!("{} MiB", n / MIB),
            n if n % KIB == 0 => format!("{} KiB", n / KIB),
            n => format!("{n} bytes"),
        }
    }
}

impl Amount for usize {
    fn shown(self, unit: &str) -> String {
        u64::try_from(self).unwrap_or(u64::MAX).shown(unit)
    }
}

impl Amount for u32 {
    fn shown(self, unit: &str) -> String {
        u64::from(self).shown(unit)
    }
}

impl Amount for u16 {
    fn shown(self, unit: &str) -> String {
        u64::from(self).shown(unit)
    }
}

impl Amount for Duration {
    fn shown(self, _: &str) -> String {
        let (secs, millis) = (self.as_secs(), self.subsec_millis());
        match secs {
            _ if millis != 0 => format!("{} ms", self.as_millis()),
            s if s % 86_400 == 0 => format!("{} days", s / 86_400),
            s if s % 3_600 == 0 => format!("{} h", s / 3_600),
            s if s % 60 == 0 => format!("{} min", s / 60),
            s => format!("{s} s"),
        }
    }
}

fn row(name: &str, amount: impl Amount, unit: &str, reason: &[&str]) -> Row {
    let reason: Vec<&str> = reason.iter().map(|line| line.trim()).collect();
    Row { name: name.to_ascii_lowercase(), value: amount.shown(unit), reason: reason.join(" ") }
}

/// Constants with their reasons, and the same as the rows of a table.
macro_rules! limits {
    ($($(#[doc = $reason:literal])+ $name:ident: $kind:ty = $value:expr, $unit:literal;)+) => {
        $($(#[doc = $reason])+ pub const $name: $kind = $value;)+

        /// These limits as people read them.
        pub(super) fn rows() -> Vec<super::Row> {
            vec![$(super::row(stringify!($name), $name, $unit, &[$($reason),+])),+]
        }
    };
}
use limits;
