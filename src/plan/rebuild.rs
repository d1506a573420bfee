//! The rebuild of a host as data: its steps, what may run next, and how long each state may last.
//!
//! Called by the job engine, which carries the decision out and records it. A rebuild is driven by two sides: the
//! machine moves the host through `pxe_ready` … `first_boot` by its requests, and the engine runs the steps before and
//! after. [`next`] looks only at what is stored, so a restarted daemon decides the same as one that never stopped.

use std::time::Duration;

use crate::domain::host::{Host, HostEvent, HostState};
use crate::domain::id::StepId;
use crate::domain::inventory::Firmware;
use crate::domain::job::{Job, Step, StepClass, StepStatus};
use crate::domain::time::Timestamp;

/// Ids of the steps around the join; those of the join are in `plan::join`.
pub mod step {
    /// Everything is checked before anything is touched.
    pub const PREFLIGHT: &str = "preflight";
    /// Token and ephemeral key are made, the host is armed.
    pub const ARM: &str = "arm";
    /// The machine is switched on by its power method.
    pub const POWER: &str = "power";
    /// The machine boots from the network.
    pub const BOOT: &str = "boot";
    /// The installer fetches its answer.
    pub const ANSWER: &str = "answer";
    /// The installer writes the disk.
    pub const INSTALL: &str = "install";
    /// The installed system calls back.
    pub const FIRST_BOOT: &str = "first-boot";
    /// The ephemeral private key is destroyed.
    pub const KEYS: &str = "keys";
    /// The node may be worked on: least rights and the root channel.
    pub const ENROLL: &str = "enroll";
    /// The host is ready and reporters are told.
    pub const REPORT: &str = "report";
    /// The apps that come with its server type run on it.
    pub const STACK: &str = "stack";
}

/// What the engine does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run this step.
    Run(StepId),
    /// Wait for the machine, at most until then.
    Wait {
        /// The step that waits.
        step: &'static str,
        /// When the state has lasted too long.
        until: Timestamp,
    },
    /// The machine took too long.
    TimedOut {
        /// The step that waited.
        step: &'static str,
        /// What happened, in plain words.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// All steps are done.
    Finished,
    /// The host is not in a state that this job could have brought it to.
    Lost(String),
}

/// What a rebuild does beyond making a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extras {
    /// The machine is booted by its power method.
    pub power: bool,
    /// The app layer is on: the node is enrolled.
    pub enroll: bool,
    /// Apps come with the server type.
    pub stack: bool,
}

/// The steps of a rebuild, with the join's steps in their place.
#[must_use]
pub fn steps(join: Vec<(StepId, String, StepClass)>, extras: Extras) -> Vec<Step> {
    let own = |id: &str, title: &str, class| {
        let id = id.parse().expect("step ids above are slugs");
        (id, title.to_owned(), class)
    };
    let mut all = vec![
        own(step::PREFLIGHT, "Check everything before anything is touched", StepClass::Pure),
        own(
            step::ARM,
            "Make the install token and the ephemeral key, arm the host",
            StepClass::SafeToRepeat,
        ),
    ];
    if extras.power {
        // Looks first: a machine that boots already is left alone.
        all.push(own(step::POWER, "Boot the machine by its power method", StepClass::Inspect));
    }
    all.extend([
        own(step::BOOT, "Machine boots from the network", StepClass::Wait),
        own(step::ANSWER, "Installer starts and fetches its answer", StepClass::Wait),
        own(step::INSTALL, "Installer writes the disk", StepClass::Wait),
        own(step::FIRST_BOOT, "Installed system starts and calls back", StepClass::Wait),
    ]);
    all.extend(join);
    if extras.enroll {
        all.push(own(
            step::ENROLL,
            "Enrol the node for apps: least rights, root channel",
            StepClass::SafeToRepeat,
        ));
    }
    all.push(own(step::KEYS, "Destroy the ephemeral key", StepClass::SafeToRepeat));
    all.push(own(
        step::REPORT,
        "Mark the host ready and tell the reporters",
        StepClass::SafeToRepeat,
    ));
    if extras.stack {
        all.push(own(
            step::STACK,
            "Install the apps that come with its server type",
            StepClass::SafeToRepeat,
        ));
    }
    all.into_iter().map(|(id, title, class)| Step::pending(id, title, class)).collect()
}

/// Decides what the engine does now with a rebuild that is neither over nor cancelled.
#[must_use]
pub fn next(job: &Job, host: &Host, now: Timestamp) -> Next {
    let Some(open) =
        job.steps.iter().find(|s| !matches!(s.status, StepStatus::Succeeded | StepStatus::Skipped))
    else {
        return Next::Finished;
    };
    let waits = match open.id.as_str() {
        step::BOOT => step::BOOT,
        step::ANSWER => step::ANSWER,
        step::INSTALL => step::INSTALL,
        step::FIRST_BOOT => step::FIRST_BOOT,
        _ => return Next::Run(open.id.clone()),
    };
    let Some(timeout) = timeout(host.state) else {
        return Next::Lost(format!("the host is {} while this job waits for it", host.state));
    };
    let until = host.state_since.after(timeout.limit);
    if now < until {
        return Next::Wait { step: waits, until };
    }
    let minutes = timeout.limit.as_secs() / 60;
    let reason = format!("{} within {minutes} minutes", timeout.missing);
    Next::TimedOut { step: waits, reason, hint: timeout.hint }
}

/// How long a state may last, and what it means when it lasts longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// The longest time.
    pub limit: Duration,
    /// What did not happen.
    pub missing: &'static str,
    /// What to do.
    pub hint: &'static str,
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// The time limit of a state in which a rebuild waits for the machine; `None` for states without a wait.
#[must_use]
pub fn timeout(state: HostState) -> Option<Timeout> {
    Some(match state {
        // Somebody has to walk to the machine and press its button.
        HostState::PxeReady => Timeout {
            limit: minutes(12 * 60),
            missing: "the machine did not boot from the network",
            hint: "switch it on with network boot (PXE) first in its boot order, on the segment Ironhatch listens on; \
                   the host's boot log shows whether it was heard at all",
        },
        // 1.6 GB at 100 Mbit/s take three minutes, unpacking and the live system's start a few more.
        HostState::PxeBooted => Timeout {
            limit: minutes(30),
            missing: "the installer started loading but did not ask for its answer",
            hint: "look at the machine's console: too little memory, or no network in the installer (a switch port \
                   without portfast loses its single DHCP attempt); then retry",
        },
        // Hardware takes 5 to 15 minutes (installer 8.2 to 9.2); slow disks and package mirrors more.
        HostState::Installing => Timeout {
            limit: minutes(60),
            missing: "the installer took its answer but did not report",
            hint: "look at the machine's console: an error stays on the screen; then retry",
        },
        // Servers with much memory need minutes for their self-test.
        HostState::Installed => Timeout {
            limit: minutes(30),
            missing: "the installed system did not call back",
            hint: "check that the machine boots from the installed disk and reaches Ironhatch over the network; then retry",
        },
        _ => return None,
    })
}

/// What an event of the machine does to the waiting steps.
#[must_use]
pub fn steps_after(event: HostEvent) -> &'static [(&'static str, StepStatus)] {
    use StepStatus::{Running, Skipped, Succeeded};
    match event {
        HostEvent::Armed => &[(step::BOOT, Running)],
        HostEvent::ScriptFetched => &[(step::BOOT, Succeeded), (step::ANSWER, Running)],
        HostEvent::AnswerServed => &[(step::ANSWER, Succeeded), (step::INSTALL, Running)],
        HostEvent::InstalledReported => &[(step::INSTALL, Succeeded), (step::FIRST_BOOT, Running)],
        // Skips the installation's step only when the webhook never came.
        HostEvent::PhonedHome => &[(step::INSTALL, Skipped), (step::FIRST_BOOT, Succeeded)],
        HostEvent::JoinStarted | HostEvent::JoinVerified | HostEvent::Stopped => &[],
    }
}

/// Memory in MiB that a network installation needs, by the model of the installer's RAM use: the root file system may
/// take half of what is free while the initrd blob (initrd and ISO) is still reserved, and UEFI iPXE holds a copy of
/// its own. Fits the reports for ISO 8.4 and 9.2 (5.8 GiB BIOS, 7.5 GiB UEFI for 9.2).
#[must_use]
pub fn memory_needed_mib(iso_bytes: u64, initrd_bytes: u64, firmware: Firmware) -> u64 {
    // zstd's ratio on the vendor's initrd: 56 MiB unpack to 344 MiB in 9.2.
    const UNPACKED_PER_PACKED: u64 = 6;
    const SPARE: u64 = 300 << 20;
    let blob = iso_bytes + initrd_bytes;
    let copies = match firmware {
        Firmware::Bios => 1,
        Firmware::Uefi => 2,
    };
    let bytes = 2 * (initrd_bytes * UNPACKED_PER_PACKED + iso_bytes) + copies * blob + SPARE;
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod test;
