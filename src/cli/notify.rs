//! `ironhatch notify …`: who is told what happened, and whether it arrives.

use clap::Subcommand;
use serde_json::{Value, json};

use super::call::{Call, segment};
use super::exit;

/// `ironhatch notify …`
#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// List notification targets with how the last delivery to each went
    List,
    /// Send a test to a target and tell whether it arrived; exit code 1 when it did not
    #[command(after_help = "Example:\n  ironhatch notify test phone")]
    Test {
        /// The target's name in the configuration
        name: String,
    },
}

impl NotifyCommand {
    pub(super) fn call(&self) -> Call {
        match self {
            Self::List => Call::get("/api/notifications"),
            Self::Test { name } => {
                Call::post(format!("/api/notifications/{}/test", segment(name)), json!({}))
            }
        }
    }

    /// A test that did not arrive is a failure.
    pub(super) fn exit_code(&self, value: &Value) -> u8 {
        let arrived = value.get("delivered").and_then(Value::as_bool);
        match self {
            Self::Test { .. } if arrived != Some(true) => exit::FAILED,
            _ => exit::OK,
        }
    }
}

/// How a test went, in one line.
pub(super) fn told(value: &Value) -> String {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match value.get("delivered").and_then(Value::as_bool) {
        Some(true) => format!("{} took the test", text("target")),
        _ => format!("{} did not take the test: {}", text("target"), text("reason")),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_test_that_did_not_arrive_fails_the_command() {
        let test = NotifyCommand::Test { name: "phone".to_owned() };
        let lost = json!({ "target": "phone", "delivered": false, "reason": "status 404" });
        assert_eq!(test.exit_code(&lost), exit::FAILED);
        assert_eq!(told(&lost), "phone did not take the test: status 404");
        let there = json!({ "target": "phone", "delivered": true, "reason": null });
        assert_eq!(
            (test.exit_code(&there), told(&there)),
            (exit::OK, "phone took the test".into())
        );
        assert_eq!(test.exit_code(&json!({})), exit::FAILED, "no answer is no delivery");
        assert_eq!(test.call().path, "/api/notifications/phone/test");
    }
}
