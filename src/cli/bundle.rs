//! `ironhatch debug-bundle`: asks the daemon for the bundle, or gathers what there is when none runs.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::client::{Client, ClientError};
use super::{Reach, exit, print};
use crate::app;
use crate::config::ProcessSecrets;

/// What `--help` teaches.
const HELP: &str = "\
Writes one archive for whoever helps you: version, configuration, findings of the doctor, hosts,
jobs with their logs, events, boot logs, metrics and the newest log lines. Passwords, keys, tokens
and hashes are taken out. Names, addresses, serial numbers and URLs stay: look through it first.

With a running daemon the daemon gathers it. Without one there are only configuration and
findings: run it as root then, and add `journalctl -u ironhatch`.

Examples:
  ironhatch debug-bundle
  ironhatch debug-bundle --hours 2 --output /tmp/bundle.tar.gz";

/// `ironhatch debug-bundle`
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct DebugBundle {
    /// How far back jobs, events and boot logs go
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub hours: u32,
    /// Where to; an existing file is not overwritten
    #[arg(long, value_name = "PATH", default_value = "ironhatch-debug.tar.gz")]
    pub output: PathBuf,
}

/// Carries the command out.
pub async fn run_bundle(reach: &Reach, config: &Path, command: &DebugBundle) -> ExitCode {
    let done = match bytes(reach, config, command.hours).await {
        Ok(bytes) => write(&command.output, &bytes).map(|()| bytes.len()),
        Err(error) => Err(error),
    };
    match done {
        Ok(size) => {
            if reach.json {
                print::line(&json!({ "path": command.output, "bytes": size }).to_string());
            } else {
                print::line(&format!("{} ({size} bytes)", command.output.display()));
                print::line("look through it before you pass it on: names and addresses are in it");
            }
            ExitCode::from(exit::OK)
        }
        Err(error) => {
            print::error(&error, reach.json);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn bytes(reach: &Reach, config: &Path, hours: u32) -> Result<Vec<u8>, ClientError> {
    let Ok(data_dir) = reach.data_dir(config) else {
        return alone(config, "the configuration is wrong").await;
    };
    let asked = match Client::connect(reach, &data_dir).await {
        Ok(client) => client.fetch(&format!("/api/debug-bundle?hours={hours}")).await,
        Err(error) => Err(error),
    };
    match asked {
        // A named appliance that cannot be reached is not this machine.
        Err(error @ ClientError::Unreachable { .. }) if reach.is_configured() => {
            alone(config, &error.to_string()).await
        }
        other => other,
    }
}

async fn alone(config: &Path, why: &str) -> Result<Vec<u8>, ClientError> {
    let made = app::bundle_alone(config, &ProcessSecrets, why).await;
    made.map_err(|e| ClientError::Broken(e.to_string()))
}

/// For its owner only: what is in it is nobody else's business.
fn write(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|e| ClientError::Usage(format!("cannot write {}: {e}", path.display())))
}
