//! What a machine's failed boots taught about its firmware.

use serde::{Deserialize, Serialize};

use super::{BootProfile, BootProgram, OfferForm};
use crate::domain::time::Timestamp;

/// What was learned of one machine, by its MAC.
///
/// It changes only the shape of an offer that the machine gets anyway; whether it gets one is none of its business.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BootLesson {
    /// The form that is offered now, when another one failed.
    pub form: Option<Finding<OfferForm>>,
    /// The program that is handed out now, when another one failed.
    pub program: Option<Finding<BootProgram>>,
}

/// One thing that is done differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding<T> {
    /// What is used now.
    pub used: T,
    /// Changes since it last worked.
    pub changes: u32,
    /// Whether it has worked.
    pub proven: bool,
    /// When it was changed.
    pub since: Timestamp,
    /// What made us change it, in plain words.
    pub because: String,
}

impl BootLesson {
    /// What it means for an offer.
    #[must_use]
    pub fn profile(&self) -> BootProfile {
        BootProfile {
            form: self.form.as_ref().map(|finding| finding.used),
            program: self.program.as_ref().map(|finding| finding.used),
        }
    }
}
