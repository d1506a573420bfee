//! Decisions about power: who may be switched when, what a rebuild does, and what the operator is told to do by hand.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::domain::host::{Host, HostState};
use crate::domain::inventory::Firmware;
use crate::domain::job::{Job, JobStatus, StepStatus, Work};
use crate::domain::power::{Action, BootMode, Method, Power, PowerState};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::domain::server_type::ServerType;
use crate::plan::rebuild::step;
use crate::proto::wake::SecureOn;

/// Whether an operator may switch this host so. Whether it is the appliance is asked elsewhere.
///
/// # Errors
/// No method for it; or it runs as a node, or a rebuild writes its disk, and its name was not typed.
pub fn permit(host: &Host, action: Action, confirm: &str) -> Result<(), Refusal> {
    let refuse =
        |detail: String, hint: &str| Refusal::new(RefusalKind::Unprocessable, detail, hint);
    match (&host.power.method, action) {
        (Method::None, _) => {
            return Err(refuse(
                format!("{} has no power method", host.hostname),
                "press its button, or name Wake-on-LAN, Redfish or IPMI in its power settings",
            ));
        }
        (Method::WakeOnLan(_), Action::Shutdown | Action::Off | Action::Cycle) => {
            return Err(refuse(
                format!("Wake-on-LAN only switches on; it cannot do \"{}\"", action.as_str()),
                "press the machine's button",
            ));
        }
        _ => {}
    }
    if action == Action::On || confirm.trim() == host.hostname.as_str() {
        return Ok(());
    }
    let why = match host.state {
        HostState::Installing
        | HostState::Installed
        | HostState::FirstBoot
        | HostState::Joining => "a rebuild is writing its disk",
        _ if host.is_member || host.state == HostState::Ready => {
            "it is a node of the cluster, with what runs on it"
        }
        HostState::Failed if !failed_early(host) => {
            "its rebuild failed late, so that it may be a node of the cluster"
        }
        _ => return Ok(()),
    };
    let detail = format!("{} is not switched off just like that: {why}", host.hostname);
    let hint = format!("type {} to confirm", host.hostname);
    Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about("power_confirm"))
}

/// Whether a rebuild failed before it touched the machine's disk.
fn failed_early(host: &Host) -> bool {
    let from = host.failure.as_ref().and_then(|failure| failure.from);
    matches!(from, Some(HostState::Registered | HostState::PxeReady | HostState::PxeBooted))
}

/// Whether two methods switch the same machine: a host with another one's controller would cut the other's power.
#[must_use]
pub fn is_same_machine(a: &Method, b: &Method) -> bool {
    match (a, b) {
        (Method::Ipmi(a), Method::Ipmi(b)) => (a.address, a.port) == (b.address, b.port),
        // One controller may have several systems.
        (Method::Redfish(a), Method::Redfish(b)) => a.address == b.address && a.system == b.system,
        _ => false,
    }
}

/// Checks settings before they are stored.
///
/// # Errors
/// What cannot work, beside its field.
pub fn check(power: &Power) -> Result<(), Refusal> {
    let refuse = |field, detail: String, hint: &str| {
        Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about(field))
    };
    let user = match &power.method {
        Method::None => return Ok(()),
        Method::WakeOnLan(wake) => {
            return match wake.directed.and_then(|a| directed_problem(a).map(|rule| (a, rule))) {
                Some((address, rule)) => {
                    refuse("power_directed", format!("{address} is no such address"), rule)
                }
                None => Ok(()),
            };
        }
        Method::Redfish(redfish) => {
            if let Some(system) = &redfish.system
                && !(1..=80).contains(&system.len())
            {
                return refuse(
                    "power_system",
                    "a system's id has 1 to 80 characters".to_owned(),
                    "the test names those that there are",
                );
            }
            if redfish.address.ip().is_unspecified() || redfish.address.port() == 0 {
                return refuse(
                    "power_address",
                    format!("{} cannot be reached", redfish.address),
                    "address and port of the controller are expected",
                );
            }
            &redfish.user
        }
        Method::Ipmi(ipmi) => {
            if ipmi.address.is_unspecified() || ipmi.port == 0 {
                return refuse(
                    "power_address",
                    format!("{} cannot be reached", ipmi.address),
                    "address and port of the controller are expected",
                );
            }
            // IPMI 2.0 section 22.28: user names are 16 bytes.
            if ipmi.user.len() > 16 {
                return refuse(
                    "power_user",
                    "IPMI users have 16 characters at most".to_owned(),
                    "use another account of the controller",
                );
            }
            &ipmi.user
        }
    };
    let legal = (1..=64).contains(&user.len())
        && !user.contains(':')
        && user.bytes().all(|b| b.is_ascii_graphic());
    if !legal {
        return refuse(
            "power_user",
            "this is no user name".to_owned(),
            "1 to 64 letters, digits and signs, without spaces and colons",
        );
    }
    Ok(())
}

/// Whether a method does not work without a password.
#[must_use]
pub fn needs_password(method: &Method) -> bool {
    matches!(method, Method::Redfish(_) | Method::Ipmi(_))
}

/// Checks a password before it is sealed. Nothing of it is repeated.
///
/// # Errors
/// Its length or its signs cannot be sent.
pub fn check_password(method: &Method, password: &Secret<String>) -> Result<(), Refusal> {
    let password = password.expose();
    let problem = match method {
        Method::WakeOnLan(_) => password.parse::<SecureOn>().err().map(|e| e.to_string()),
        // IPMI 2.0 section 22.30: 20 bytes, filled up with zeros.
        Method::Ipmi(_) if password.len() > 20 => {
            Some("IPMI passwords have 20 characters at most".to_owned())
        }
        _ if password.is_empty() || password.len() > 256 => {
            Some("a password has 1 to 256 characters".to_owned())
        }
        _ if password.chars().any(char::is_control) => {
            Some("a password has no control characters".to_owned())
        }
        _ => None,
    };
    match problem {
        Some(detail) => {
            let hint = "the stored password stays as it was";
            Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about("power_password"))
        }
        None => Ok(()),
    }
}

/// Settings in a few words, without anything secret.
#[must_use]
pub fn told(power: &Power) -> String {
    match &power.method {
        Method::None => "by hand".to_owned(),
        Method::WakeOnLan(wake) => {
            let mac = wake.mac.map_or_else(String::new, |mac| format!(" to {mac}"));
            format!("by Wake-on-LAN{mac}")
        }
        Method::Redfish(r) => format!("by Redfish at {} as {}", r.address, r.user),
        Method::Ipmi(i) => format!("by IPMI at {} as {}", i.address, i.user),
    }
}

/// Whether a rebuild boots this host by itself.
#[must_use]
pub fn boots_by_itself(host: &Host, server_type: Option<&ServerType>) -> bool {
    host.power.method != Method::None
        && host
            .power
            .boot_on_rebuild
            .unwrap_or_else(|| server_type.is_some_and(|t| t.boot_on_rebuild))
}

/// What the step of a rebuild does that boots the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// Nothing, and why.
    Leave(&'static str),
    /// Set the next boot to the network where that can be set, then this.
    Do(Action),
}

/// Decides it from where the host stands now. Asked again just before the machine is switched: one that has begun to
/// install must not lose its power.
#[must_use]
pub fn for_rebuild(host: &Host, state: PowerState) -> Boot {
    match host.state {
        HostState::PxeReady => {}
        HostState::PxeBooted => return Boot::Leave("the machine boots already"),
        _ => return Boot::Leave("the machine is past its network boot"),
    }
    match (&host.power.method, state) {
        (Method::None, _) => Boot::Leave("there is no power method"),
        (Method::WakeOnLan(_), _) | (_, PowerState::Off) => Boot::Do(Action::On),
        _ => Boot::Do(Action::Cycle),
    }
}

/// IPMI has to name a mode with each boot; UEFI unless the machine was seen to boot otherwise.
#[must_use]
pub fn ipmi_efi(mode: BootMode, firmware: Option<Firmware>) -> bool {
    match mode {
        BootMode::Uefi => true,
        BootMode::Legacy => false,
        BootMode::Keep => firmware != Some(Firmware::Bios),
    }
}

/// Where magic packets go: the whole of the appliance's own segment, the segment of the host's fixed address when that is
/// another one, and the broadcast address that the operator named.
#[must_use]
pub fn wake_targets(
    own: Option<Ipv4Net>,
    host: &Host,
    directed: Option<Ipv4Addr>,
) -> Vec<Ipv4Addr> {
    let mut targets = Vec::new();
    match own {
        // Directed at the segment, so that the kernel takes its interface and not the default route's.
        Some(own) => targets.push(own.broadcast()),
        None => targets.push(Ipv4Addr::BROADCAST),
    }
    let fixed = host.overrides.network.as_ref().and_then(|n| n.cidr.parse::<Ipv4Net>().ok());
    let fixed = fixed.filter(|net| net.prefix_len() < 31).map(|net| net.broadcast());
    for target in fixed.into_iter().chain(directed) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

/// Why text is no broadcast address that a packet may be sent to.
#[must_use]
pub fn directed_problem(address: Ipv4Addr) -> Option<&'static str> {
    (address.is_unspecified() || address.is_loopback() || address.is_multicast()).then_some(
        "the broadcast address of the machine's segment is expected, as in 198.51.100.255",
    )
}

/// What somebody has to do with their hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// In a few words.
    pub title: String,
    /// Why, and how.
    pub text: String,
}

/// The prompt beside a host that waits for its network boot; `None`: nothing is to be done now.
#[must_use]
pub fn prompt(host: &Host, job: &Job) -> Option<Prompt> {
    let waits = host.state == HostState::PxeReady
        && job.status == JobStatus::Running
        && matches!(&job.work, Work::Rebuild(work) if work.host == host.id);
    if !waits {
        return None;
    }
    let power = job.step(step::POWER);
    let by_network =
        "It has to boot from the network: choose that in its boot menu when it does not by itself.";
    let (title, why) = match power.map(|s| s.status) {
        Some(StepStatus::Pending | StepStatus::Running) => return None,
        Some(StepStatus::Succeeded) => {
            if !matches!(host.power.method, Method::WakeOnLan(_)) {
                return None;
            }
            let why = "A magic packet was sent. A machine that is on already does not hear it: restart that one.";
            ("Should wake up now", why.to_owned())
        }
        Some(_) => ("Turn it on now", power.map(|s| s.detail.clone()).unwrap_or_default()),
        None => match host.power.method {
            Method::None => ("Turn it on now", "It has no power method.".to_owned()),
            _ => ("Turn it on now", "It is not set to be booted by its rebuild.".to_owned()),
        },
    };
    Some(Prompt {
        title: format!("{}: {title}", host.hostname),
        text: format!("{why} {by_network}"),
    })
}

#[cfg(test)]
mod test;
