//! How a task stands and how it ended.

use serde_json::Value;

use super::value;

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// It runs.
    Running,
    /// It is over.
    Ended(TaskEnd),
}

/// How a task ended. A call that answered 200 with a task says nothing about this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEnd {
    /// It did what it was for, perhaps with warnings.
    pub ok: bool,
    /// Number of warnings in its log.
    pub warnings: u32,
    /// What the cluster says: `OK`, `WARNINGS: 2`, or the error.
    pub text: String,
}

/// The exit status of a task whose log ends without a result: its worker was killed, or the node went down.
pub const UNEXPECTED: &str = "unexpected status";

impl TaskEnd {
    /// Reads an exit status: `OK` and `WARNINGS: n` are success, everything else is the error's text (PVE 8.2 to 9.2).
    #[must_use]
    pub fn read(exit_status: &str) -> Self {
        let warnings = exit_status
            .strip_prefix("WARNINGS: ")
            .filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            .map(|n| n.parse().unwrap_or(u32::MAX));
        Self {
            ok: exit_status == "OK" || warnings.is_some(),
            warnings: warnings.unwrap_or(0),
            text: exit_status.to_owned(),
        }
    }

    /// Nobody knows what it did: the worker was killed, or its log could not be read. What it works on must be looked at.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.text == UNEXPECTED || self.text.starts_with("unable to get last line from task log")
    }
}

impl TaskState {
    /// Reads the answer of `GET /nodes/{node}/tasks/{upid}/status`. `None`: it is no such answer.
    #[must_use]
    pub fn read(answer: &Value) -> Option<Self> {
        match value::text(answer.get("status")?)?.as_str() {
            "running" => Some(Self::Running),
            // A status without an exit status was not seen; it is what a killed worker would leave behind.
            "stopped" => {
                let exit = answer.get("exitstatus").and_then(value::text);
                Some(Self::Ended(TaskEnd::read(exit.as_deref().unwrap_or(UNEXPECTED))))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod test {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_ok_and_counted_warnings_are_success() {
        for (text, ok, warnings) in [
            ("OK", true, 0),
            ("WARNINGS: 2", true, 2),
            ("WARNINGS: 99999999999", true, u32::MAX),
            ("WARNINGS: ", false, 0),
            ("WARNINGS: 1 and more", false, 0),
            ("ok", false, 0),
            ("", false, 0),
            ("unexpected status", false, 0),
            ("CT is locked (backup)", false, 0),
        ] {
            let end = TaskEnd::read(text);
            assert_eq!((end.ok, end.warnings), (ok, warnings), "{text}");
        }
    }

    #[test]
    fn a_killed_worker_is_no_answer_about_what_it_did() {
        assert!(TaskEnd::read("unexpected status").is_unknown());
        assert!(TaskEnd::read("unable to get last line from task log '/x'").is_unknown());
        assert!(!TaskEnd::read("command failed").is_unknown());
    }

    #[test]
    fn a_status_answer_is_read() {
        assert_eq!(TaskState::read(&json!({"status": "running"})), Some(TaskState::Running));
        let ended = json!({"status": "stopped", "exitstatus": "OK"});
        assert_eq!(TaskState::read(&ended), Some(TaskState::Ended(TaskEnd::read("OK"))));
        assert_eq!(TaskState::read(&json!({"status": "x"})), None);
        assert_eq!(TaskState::read(&json!([])), None);
    }
}
