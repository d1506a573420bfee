//! Starts `ipmitool`. The only place that does.
//!
//! The password is in its environment, where only this user and root can read it, and never among its arguments, which
//! everybody can.

use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Order, Outcome, PowerError, Target};
use crate::domain::power::{Ipmi, PowerState};
use crate::limits::power::{IPMITOOL_OUTPUT, IPMITOOL_TIME};
use crate::proto::ipmi::{Ask, SUITES, Trouble, complaint, is_unknown_suite, state, trouble};

/// Found by its name only; nothing of the process's own environment decides what is run.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn order(at: &Ipmi, target: &Target, order: Order) -> Result<Outcome, PowerError> {
    let ask = match order {
        Order::Look => Ask::State,
        Order::BootOnce => Ask::BootOnce { efi: target.efi },
        Order::Switch(action) => Ask::Switch(action),
    };
    let printed = run(at, target, ask).await?;
    Ok(match order {
        Order::Look => {
            let state = state(&printed);
            Outcome { state, said: format!("the power is {}", state.as_str()) }
        }
        Order::BootOnce => Outcome {
            state: PowerState::Unknown,
            said: "the next boot is a network boot".to_owned(),
        },
        Order::Switch(action) => Outcome {
            state: PowerState::Unknown,
            said: format!("the controller took \"{}\"", action.as_str()),
        },
    })
}

/// Runs it with the newest cipher suite that the controller has.
async fn run(at: &Ipmi, target: &Target, ask: Ask) -> Result<String, PowerError> {
    let [newest, older] = SUITES;
    match run_with(newest, at, target, ask).await? {
        Ok(printed) => return Ok(printed),
        Err(said) if !is_unknown_suite(&said) => return Err(failure(at, &said)),
        Err(_) => {}
    }
    run_with(older, at, target, ask).await?.map_err(|said| failure(at, &said))
}

/// What a failed run's words mean.
fn failure(at: &Ipmi, said: &str) -> PowerError {
    let at = name(at);
    let reason = match complaint(said) {
        empty if empty.is_empty() => "ipmitool gave no reason".to_owned(),
        said => said,
    };
    match trouble(said) {
        Trouble::NoSession => PowerError::Unreachable {
            at,
            reason: format!("{reason} (a wrong password looks the same)"),
        },
        Trouble::Credentials | Trouble::Privilege => PowerError::Login { at, reason },
        Trouble::Refused => PowerError::Refused { at, reason },
    }
}

fn name(at: &Ipmi) -> String {
    format!("the controller {}", at.address)
}

/// One run: what it printed, or what it said when it failed.
async fn run_with(
    suite: &str,
    at: &Ipmi,
    target: &Target,
    ask: Ask,
) -> Result<Result<String, String>, PowerError> {
    let unreachable = |reason: String| PowerError::Unreachable { at: name(at), reason };
    let mut command = Command::new("ipmitool");
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        // `-E` reads it from here.
        .env("IPMI_PASSWORD", target.password.as_ref().map_or("", |p| p.expose().as_str()))
        .args(["-I", "lanplus", "-E", "-N", "3", "-R", "3", "-C", suite])
        // Enough to switch and to choose the boot device (IPMI 2.0 appendix G), and all that some accounts have.
        .args(["-L", "OPERATOR"])
        .args(["-H", &at.address.to_string(), "-p", &at.port.to_string(), "-U", &at.user])
        .args(ask.words())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(PowerError::Program)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let talk = async {
        let (output, errors) = tokio::try_join!(drain(stdout), drain(stderr))?;
        // What it could not print for lack of room keeps it from ending: it is not waited for then.
        if output.len() + errors.len() >= IPMITOOL_OUTPUT {
            child.start_kill()?;
        }
        let ended = child.wait().await?;
        Ok::<_, std::io::Error>((ended.success(), output, errors))
    };
    let (success, output, errors) = timeout(IPMITOOL_TIME, talk)
        .await
        .map_err(|_| {
            unreachable(format!("ipmitool did not end within {} s", IPMITOOL_TIME.as_secs()))
        })?
        .map_err(|e| unreachable(e.to_string()))?;
    let output = String::from_utf8_lossy(&output).into_owned();
    if success {
        return Ok(Ok(output));
    }
    Ok(Err(format!("{output}\n{}", String::from_utf8_lossy(&errors))))
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let most = u64::try_from(IPMITOOL_OUTPUT).unwrap_or(u64::MAX);
        pipe.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
