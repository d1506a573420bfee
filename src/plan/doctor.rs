//! A lint of the LAN and of the installation: facts in, findings out.
//!
//! ```text
//!  doctor (shell) gathers Facts ──> examine ──> Report ──> page Health, API, `ironhatch doctor`
//! ```
//!
//! Facts are what was seen, without judgement. Each finding is one sentence about this installation, with the [`Problem`]
//! that it is an instance of: that gives severity, meaning and fix, and is written down in `docs/doctor.md`.

mod cluster;
pub mod facts;
mod installation;
mod lan;
mod problem;
pub mod rehearsal;
#[cfg(test)]
mod test;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

pub use facts::Facts;
pub use problem::Problem;

use crate::domain::time::Timestamp;

/// How bad a finding is. Ordered: the worst is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing fails because of it.
    Note,
    /// Something will fail sooner or later, or for some machines.
    Warning,
    /// Something fails now.
    Error,
}

impl Severity {
    /// Its name in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// The daemon itself.
    Daemon,
    /// Configuration, server types, templates.
    Configuration,
    /// Ports of this machine.
    Ports,
    /// Interfaces that machines boot from, and the address that they are told.
    Network,
    /// DHCP servers and boot servers on the segment.
    Dhcp,
    /// Whether packets reach the daemon.
    Firewall,
    /// Data directory and disk.
    Storage,
    /// Imported images.
    Images,
    /// This machine's clock.
    Clock,
    /// The certificate of the TLS listener.
    Certificate,
    /// The Proxmox VE cluster.
    Cluster,
}

impl Area {
    /// As a heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Daemon => "Daemon",
            Self::Configuration => "Configuration",
            Self::Ports => "Ports",
            Self::Network => "Network",
            Self::Dhcp => "DHCP",
            Self::Firewall => "Firewall",
            Self::Storage => "Storage",
            Self::Images => "Images",
            Self::Clock => "Clock",
            Self::Certificate => "Certificate",
            Self::Cluster => "Cluster",
        }
    }

    /// Something that is as it should be.
    pub(in crate::plan::doctor) fn fine(self, sentence: impl Into<String>) -> Finding {
        Finding { area: self, problem: None, sentence: sentence.into() }
    }

    /// Something that is not.
    pub(in crate::plan::doctor) fn finds(
        self,
        problem: Problem,
        sentence: impl Into<String>,
    ) -> Finding {
        Finding { area: self, problem: Some(problem), sentence: sentence.into() }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "Told<'static>", rename = "DoctorFinding")]
pub struct Finding {
    /// What it is about.
    pub area: Area,
    /// What is wrong; `None`: nothing.
    pub problem: Option<Problem>,
    /// What was seen, in plain words.
    pub sentence: String,
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.problem.map_or(Severity::Ok, Problem::severity)
    }

    /// The problem's name; `ok` without one.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problem.map_or("ok", Problem::code)
    }

    /// What to do; empty when nothing is to be done.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        self.problem.map_or("", Problem::fix)
    }
}

/// A finding as it is told.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Told<'a> {
    area: Area,
    severity: Severity,
    /// The problem's name; `ok`: there is none.
    code: &'a str,
    /// What was seen, in plain words.
    finding: &'a str,
    /// What to do; empty when nothing is to be done.
    fix: &'a str,
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = Told {
            area: self.area,
            severity: self.severity(),
            code: self.code(),
            finding: &self.sentence,
            fix: self.fix(),
        };
        told.serialize(serializer)
    }
}

/// All findings of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// When the look began.
    pub at: Timestamp,
    /// The worst first, then by area.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The worst severity.
    #[must_use]
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(Finding::severity).max().unwrap_or(Severity::Ok)
    }

    /// How many findings have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity() == severity).count()
    }
}

/// Judges what was seen.
#[must_use]
pub fn examine(facts: &Facts) -> Report {
    let mut findings = installation::findings(facts);
    findings.extend(lan::findings(facts));
    findings.extend(cluster::findings(facts));
    findings.sort_by_key(|f| (std::cmp::Reverse(f.severity()), f.area));
    Report { at: facts.now, findings }
}
