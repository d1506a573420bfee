//! What was entered in a form, and what is wrong with it: the same for page, API and command line.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use zeroize::Zeroize as _;

use super::refusal::Refusal;

/// Fields as they were entered, by name. May hold secrets: it prints only names, and is wiped when dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Submitted(BTreeMap<String, String>);

impl Submitted {
    /// A form with these fields.
    #[must_use]
    pub fn new(fields: BTreeMap<String, String>) -> Self {
        Self(fields)
    }

    /// What was entered, without blanks around it; `None` when nothing was.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// What was entered exactly as it was.
    #[must_use]
    pub fn raw(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    /// Sets a field.
    pub fn set(&mut self, field: &str, value: &str) {
        if let Some(mut old) = self.0.insert(field.to_owned(), value.to_owned()) {
            old.zeroize();
        }
    }

    /// The names of all fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        for value in self.0.values_mut() {
            value.zeroize();
        }
    }
}

impl fmt::Debug for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is wrong with one field. The message never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The field's name.
    pub field: String,
    /// What is wrong and what would be allowed, in one sentence.
    pub message: String,
}

impl FieldError {
    /// An error about a field.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A request that is not carried out: fields to correct, or another reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Declined {
    /// Fields to correct; never empty.
    Fields(Vec<FieldError>),
    /// Another reason.
    Refused(Refusal),
}

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Fields(errors) => {
                for (n, error) in errors.iter().enumerate() {
                    let between = if n == 0 { "" } else { "; " };
                    write!(f, "{between}{}: {}", error.field, error.message)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Declined {}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_form_prints_names_only() {
        let mut form = Submitted::default();
        form.set("input.password", "hunter2");
        assert_eq!(format!("{form:?}"), r#"{"input.password"}"#);
        assert_eq!(form.get("input.password"), Some("hunter2"));
        form.set("name", "  ");
        assert_eq!(form.get("name"), None);
    }
}
