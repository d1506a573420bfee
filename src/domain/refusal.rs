//! A request that is not carried out, explained once for page, API, command line and log.

use std::fmt;

use super::id::JobId;

/// Why a request was refused, in the words that every reader sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which class; decides the HTTP status and the exit code.
    pub kind: RefusalKind,
    /// What happened: the rule and the value.
    pub detail: String,
    /// What to do.
    pub hint: String,
    /// The form field it is about, by its name.
    pub field: Option<&'static str>,
    /// The job that stands in the way.
    pub job: Option<JobId>,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Cannot be understood (400).
    Malformed,
    /// Nobody is logged in, or the token is unknown (401).
    Unauthenticated,
    /// Known, but not allowed (403).
    Forbidden,
    /// There is no such thing (404).
    NotFound,
    /// The current state does not allow it (409).
    Conflict,
    /// Bigger than allowed (413).
    TooLarge,
    /// Understood, but a rule forbids it (422).
    Unprocessable,
    /// Too often (429).
    TooMany,
    /// Our fault (500).
    Internal,
    /// Not now: a resource is missing (503).
    Unavailable,
}

impl Refusal {
    /// A refusal without field or job.
    #[must_use]
    pub fn new(kind: RefusalKind, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), hint: hint.into(), field: None, job: None }
    }

    /// The same, about one form field.
    #[must_use]
    pub fn about(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// The same, because of a running job.
    #[must_use]
    pub fn because_of(mut self, job: Option<JobId>) -> Self {
        self.job = job;
        self
    }
}

impl RefusalKind {
    /// A short title, as in `application/problem+json`.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be understood",
            Self::Unauthenticated => "Log in first",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::Conflict => "Not possible in the current state",
            Self::TooLarge => "Too large",
            Self::Unprocessable => "Refused by a rule",
            Self::TooMany => "Too many requests",
            Self::Internal => "Something failed on our side",
            Self::Unavailable => "Not available right now",
        }
    }
}

/// An error with all its causes, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.detail)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
