//! `ironhatch doctor`: asks the daemon what is wrong, or looks alone when none runs.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::{Reach, exit, print};
use crate::config::ProcessSecrets;
use crate::plan::doctor::Report;
use crate::plan::doctor::rehearsal::Firmware;

/// What `--help` teaches.
const HELP: &str = "\
Looks for what keeps machines from booting, or rebuilds from ending well: ports and who holds
them, interfaces, MTU, the public URL, disk, images, server types, clock, certificate, firewall;
which DHCP servers answer on the segment, how fast, and whether one of them sends what firmware
stumbles over; the cluster with its quorum and release, and the rights of the token.
Each finding says what was seen and what to do; docs/doctor.md explains each of them.

Nothing is changed. On the LAN it asks as a machine would that boots from the network, with a
made-up hardware address; DHCP servers may set an address aside for a minute. It takes some
seconds, because some DHCP servers do.

With a running daemon the daemon looks. Without one the command looks alone, as far as it can:
run it as root then.

--simulate lets the running daemon play a machine with this firmware across its boot interface,
and shows the timeline: the DHCP question, the offers of every server and which one is followed,
the boot server on UDP 4011, the boot program over TFTP or HTTP (compared byte for byte), iPXE
and its scripts. It is a stranger to the daemon and ends where a stranger's boot ends: it cannot
be armed, takes no token and leaves no sighting.

Examples:
  ironhatch doctor
  ironhatch doctor --json | jq -r '.findings[] | select(.severity == \"error\") | .fix'
  sudo ironhatch doctor            when the daemon does not start
  ironhatch doctor --simulate uefi

Exit codes: 0 in order, or notes only; 8 warnings; 1 errors were found, or it could not look";

/// `ironhatch doctor`
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct Doctor {
    /// Show also what is in order
    #[arg(long)]
    pub all: bool,
    /// Play a machine that boots from the network and show its timeline: bios, uefi or http
    #[arg(long, value_name = "FIRMWARE", conflicts_with = "all")]
    pub simulate: Option<Firmware>,
}

/// Carries the command out.
pub async fn run_doctor(reach: &Reach, config: &Path, command: &Doctor) -> ExitCode {
    if let Some(firmware) = command.simulate {
        return simulate(reach, config, firmware).await;
    }
    let report = match ask(reach, config).await {
        Ok(value) => value,
        Err(error) => {
            print::error(&error, reach.json);
            return ExitCode::from(error.exit_code());
        }
    };
    if reach.json {
        print::line(&report.to_string());
    } else {
        show(&report, command.all);
    }
    ExitCode::from(exit_code(&report))
}

async fn ask(reach: &Reach, config: &Path) -> Result<Value, ClientError> {
    // A configuration that cannot be read is no reason not to look: it is what the look will say.
    let Ok(data_dir) = reach.data_dir(config) else {
        let why = "the configuration is wrong, so its control socket is not known";
        return Ok(alone(config, why).await);
    };
    let asked = match Client::connect(reach, &data_dir).await {
        Ok(client) => client.send(hyper::Method::POST, "/api/doctor", Some(&json!({}))).await,
        Err(error) => Err(error),
    };
    match asked {
        // A named appliance that cannot be reached is not this machine.
        Err(error @ ClientError::Unreachable { .. }) if reach.is_configured() => {
            Ok(alone(config, &error.to_string()).await)
        }
        other => other,
    }
}

/// Lets the daemon play a machine. There is nothing to play against without it.
async fn simulate(reach: &Reach, config: &Path, firmware: Firmware) -> ExitCode {
    let data_dir = match reach.data_dir(config) {
        Ok(data_dir) => data_dir,
        Err(errors) => {
            print::error(&ClientError::Usage(errors.to_string()), reach.json);
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    let body = json!({ "firmware": firmware.name() });
    let played = match Client::connect(reach, &data_dir).await {
        Ok(client) => client.send(hyper::Method::POST, "/api/doctor/simulate", Some(&body)).await,
        Err(error) => Err(error),
    };
    match played {
        Ok(played) => {
            if reach.json {
                print::line(&played.to_string());
            } else {
                show_timeline(&played);
            }
            ExitCode::from(exit_code(&played))
        }
        Err(error) => {
            print::error(&error, reach.json);
            ExitCode::from(error.exit_code())
        }
    }
}

fn show_timeline(played: &Value) {
    let (mac, interface) = (print::text(played, "mac"), print::text(played, "interface"));
    print::line(&format!("{mac} on {interface}, a made-up machine"));
    for line in played.get("lines").and_then(Value::as_array).into_iter().flatten() {
        let ms = line.get("at_ms").and_then(Value::as_u64).unwrap_or(0);
        let (who, text) = (print::text(line, "who"), print::text(line, "text"));
        print::line(&format!("{:>4}.{:03} s  {who:8} {text}", ms / 1000, ms % 1000));
    }
    print::line(&print::text(played, "verdict"));
    let fix = print::text(played, "fix");
    if fix != "-" {
        print::line(&format!("  {fix}"));
    }
}

async fn alone(config: &Path, why: &str) -> Value {
    let report: Report = crate::doctor::alone(config, &ProcessSecrets, why).await;
    json!({
        "at": report.at.to_string(), "worst": report.worst(), "findings": report.findings,
    })
}

fn exit_code(report: &Value) -> u8 {
    match report.get("worst").and_then(Value::as_str) {
        Some("ok" | "note") => exit::OK,
        Some("warning") => exit::WARNINGS,
        _ => exit::FAILED,
    }
}

fn show(report: &Value, all: bool) {
    let findings = report.get("findings").and_then(Value::as_array).cloned().unwrap_or_default();
    let (fine, wrong): (Vec<Value>, Vec<Value>) =
        findings.into_iter().partition(|f| print::text(f, "severity") == "ok");
    for finding in &wrong {
        let severity = print::text(finding, "severity").to_uppercase();
        let about = print::text(finding, "area");
        print::line(&format!("{severity:8} {about}: {}", print::text(finding, "finding")));
        print::line(&format!("         {}", print::text(finding, "fix")));
        print::line(&format!("         ({})", print::text(finding, "code")));
    }
    if all {
        for finding in &fine {
            let about = print::text(finding, "area");
            print::line(&format!("OK       {about}: {}", print::text(finding, "finding")));
        }
    }
    let hint = if all || fine.is_empty() { "" } else { "; --all shows them" };
    print::line(&format!("{} in order{hint}", fine.len()));
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_exit_code_follows_the_worst_finding() {
        let of = |worst: &str| exit_code(&json!({ "worst": worst }));
        assert_eq!([of("ok"), of("note"), of("warning"), of("error")], [0, 0, 8, 1]);
        assert_eq!(exit_code(&json!({})), 1, "no report is no good report");
    }
}
