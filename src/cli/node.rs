//! `ironhatch node …`: nodes that guests are made on.

use clap::Subcommand;
use serde_json::{Value, json};

use super::call::{Call, segment};
use super::client::ClientError;
use super::print;
use crate::node::AgentConfig;

/// Where the password of a node's root user is looked for before it is asked for.
const PASSWORD_VARIABLE: &str = "IRONHATCH_NODE_PASSWORD";

/// `ironhatch node …`
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Answer one request of the appliance; a node's SSH server runs it as the forced command of the appliance's key
    #[command(
        after_help = "It reads one request from standard input and ignores everything else, SSH_ORIGINAL_COMMAND included."
    )]
    Serve(AgentConfig),
    /// List enrolled nodes
    List,
    /// Enrol a node with the password of its root user
    #[command(after_help = "\
Examples:
  ironhatch node enroll 192.0.2.21 --fingerprint SHA256:… --wait
  pass show pve/root | ironhatch node enroll 192.0.2.21 --fingerprint SHA256:… --password-stdin

The fingerprint is that of the node's host key; its console prints it with
ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub. Without it you are told what was seen, to compare.

The password is asked for, or read from IRONHATCH_NODE_PASSWORD. It is used once and kept nowhere.")]
    Enroll {
        /// Address of the node
        address: String,
        /// Read the password from standard input
        #[arg(long, conflicts_with = "own_key")]
        password_stdin: bool,
        /// Use no password: the appliance's own key (`ironhatch cluster key`) opens the node
        #[arg(long)]
        own_key: bool,
        /// The SSH host key that its console shows (SHA256:…); without it you are told what the node shows, to compare
        #[arg(long, value_name = "SHA256:…", default_value = "", hide_default_value = true)]
        fingerprint: String,
        /// Wait for the end and show the log
        #[arg(long)]
        wait: bool,
    },
    /// Print a command that enrols the node it is pasted on; valid once, for some minutes
    #[command(after_help = "Example:\n  ironhatch node enroll-command | ssh root@192.0.2.21 sh")]
    EnrollCommand,
    /// Take everything that enrolment made off a node
    Revoke {
        /// Its name
        node: String,
        /// Wait for the end and show the log
        #[arg(long)]
        wait: bool,
    },
    /// Make the token with which Prometheus reads the list of targets; the one before ends
    PrometheusToken,
}

/// The first line of standard input, without its end.
pub(super) fn typed_line() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The password of a node's root user: from standard input, from the environment, or asked for without echo.
fn password(from_stdin: bool) -> Result<String, ClientError> {
    let unread = |e: std::io::Error| ClientError::Usage(format!("no password could be read: {e}"));
    let password = if from_stdin {
        typed_line().map_err(unread)?
    } else if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        password
    } else {
        rpassword::prompt_password("Password of root on the node: ").map_err(unread)?
    };
    if password.is_empty() {
        return Err(ClientError::Usage("the password is empty".to_owned()));
    }
    Ok(password)
}

impl NodeCommand {
    /// The request; `None` for what needs no appliance. Asks for a password where one is needed.
    pub(super) fn call(&self) -> Result<Option<Call>, ClientError> {
        Ok(Some(match self {
            Self::Serve(_) => return Ok(None),
            Self::List => Call::get("/api/nodes"),
            Self::Enroll { address, password_stdin, own_key, fingerprint, wait: _ } => {
                let password = if *own_key { String::new() } else { password(*password_stdin)? };
                let body = json!({
                    "address": address, "password": password, "fingerprint": fingerprint,
                });
                Call::post("/api/nodes/enroll", body)
            }
            Self::EnrollCommand => Call::post("/api/nodes/enroll-command", json!({})),
            Self::Revoke { node, wait: _ } => {
                Call::post(format!("/api/nodes/{}/revoke", segment(node)), json!({}))
            }
            Self::PrometheusToken => Call::post("/api/prometheus/token", json!({})),
        }))
    }

    /// Whether the job's end is waited for.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Enroll { wait: true, .. } | Self::Revoke { wait: true, .. })
    }

    /// Prints the answer for people.
    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::Serve(_) => {}
            Self::List => {
                let columns = [
                    ("NODE", "name"),
                    ("ADDRESS", "address"),
                    ("RELEASE", "release"),
                    ("USABLE", "usable"),
                    ("ENROLLED", "enrolled"),
                    ("PROBLEM", "problem"),
                ];
                let nothing = "no node is enrolled; see `ironhatch node enroll --help`";
                print::list(value, "nodes", &columns, nothing);
            }
            Self::EnrollCommand => print::line(&print::text(value, "command")),
            Self::PrometheusToken => print::line(&print::text(value, "token")),
            Self::Enroll { .. } | Self::Revoke { .. } => print::started(value),
        }
    }
}
