//! The answer: what the installer is told to do with one host.
//!
//! ```text
//! template < server type < host ── layer ──> keys with their origin ── placeholder ──> typed Answer ── render ──> TOML/JSON
//!                                                  enforced ──────────────┘  (all rules checked)          │ vendor: checked
//!                                                                                                         v again as text
//! ```
//!
//! Pure. What Ironhatch must decide itself (name, keys, password, disks, callbacks, network) is *enforced*: a template that
//! sets such a key is refused, so that what is written is what happens. Rule 2 of the design lives in [`disk`].

pub mod access;
mod compose;
pub mod dialect;
pub mod disk;
mod keys;
pub mod layer;
mod model;
pub mod negotiate;
mod placeholder;
pub mod preview;
mod render;
mod rules;
#[cfg(test)]
mod test;
pub mod vendor;

use std::fmt;

use negotiate::AnswerFormat;

pub use compose::{AnswerInputs, Callback, Composed, Enforced, Omission, check_nic, compose};
pub use dialect::{Dialect, Feature};
pub use disk::DiskChoice;
pub use layer::{Layer, Layered, Lower, Template};
pub use model::{
    Answer, Btrfs, DiskSetup, FileSystem, FirstBoot, Global, Lvm, Network, Ordering, Password,
    Source, Zfs,
};
pub use render::{render_json, render_toml};
pub use vendor::validate_answer_text;

/// Why an answer cannot be made: which key, from which layer, which rule, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct AnswerProblem {
    /// Dotted path of the key in the newest spelling (`disk-setup.zfs.raid`).
    pub key: String,
    /// The layer that the value came from; `None` when it is missing everywhere.
    pub layer: Option<Layer>,
    /// The rule, and what would be allowed.
    pub rule: String,
    /// Set when only the ISO's release stands in the way: the first release that can do it.
    pub since: Option<Dialect>,
}

impl fmt::Display for AnswerProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(layer) = self.layer {
            write!(f, " (from the {layer})")?;
        }
        write!(f, ": {}", self.rule)
    }
}

/// An answer that is ready to leave the building.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The body. Contains secrets.
    pub text: String,
    /// Its format; gives the content type.
    pub format: AnswerFormat,
    /// What it was made of.
    pub composed: Composed,
}

/// Composes, renders and cross-checks an answer: the same call before a host is armed and again before serving.
///
/// `accept` is the request's `Accept` header; `None` gives TOML.
///
/// # Errors
/// Everything that is wrong with the inputs, or what the independent reader found in the rendered text.
pub fn prepare(
    inputs: &AnswerInputs<'_>,
    accept: Option<&str>,
) -> Result<Prepared, Vec<AnswerProblem>> {
    let composed = compose(inputs)?;
    let toml = checked_text(&composed.answer, inputs.dialect)?;
    let format = negotiate::choose_format(accept, inputs.dialect);
    let text = match format {
        AnswerFormat::Toml => toml,
        AnswerFormat::Json => render_json(&composed.answer, inputs.dialect),
    };
    Ok(Prepared { text, format, composed })
}

/// The answer as TOML, when the independent reader accepts it.
fn checked_text(answer: &Answer, dialect: Dialect) -> Result<String, Vec<AnswerProblem>> {
    let toml = render_toml(answer, dialect);
    match validate_answer_text(&toml, dialect) {
        Ok(()) => Ok(toml),
        Err(findings) => {
            let problem = |finding: String| {
                let (key, rule) = finding.split_once(": ").unwrap_or(("", &finding));
                AnswerProblem::new(key, None, format!("{rule} {IN_THE_TEXT}"))
            };
            Err(findings.into_iter().map(problem).collect())
        }
    }
}

/// Ends the rule of a problem that only the finished text showed.
const IN_THE_TEXT: &str = "(found in the rendered answer)";

impl AnswerProblem {
    fn new(key: impl Into<String>, layer: Option<Layer>, rule: impl Into<String>) -> Self {
        Self { key: key.into(), layer, rule: rule.into(), since: None }
    }

    fn gate(
        key: impl Into<String>,
        layer: Option<Layer>,
        since: Dialect,
        dialect: Dialect,
    ) -> Self {
        let rule = format!("needs an ISO of release {since} or newer; this one is {dialect}");
        Self { key: key.into(), layer, rule, since: Some(since) }
    }
}
