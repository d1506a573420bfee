//! What the arguments of a verb may be. Both ends ask here: the controller before it sends, the node before it acts.
//!
//! Only the form is judged. Whether the guest is ours, and whether its state fits, the node looks up.

use super::codec::{Malformed, Rule, printable};
use super::{DeviceEntry, MOST_PAYLOAD, MOST_TIMEOUT_SEC, Verb};

use crate::limits::channel::{MOST_ARGUMENTS, MOST_DEVICES, MOST_NAME, MOST_PATH, MOST_VARIABLES};

/// `PATH` of every program that runs in a guest.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Largest id in an unprivileged guest's map.
const MOST_ID: u32 = 65_535;
/// Variables that the agent sets itself, or that make a dynamic linker or shell load code.
const FIXED_VARIABLES: [&str; 8] =
    ["PATH", "HOME", "LANG", "DEBIAN_FRONTEND", "IFS", "ENV", "BASH_ENV", "SHELLOPTS"];

type Checked = Result<(), Malformed>;

/// Checks the arguments of a verb.
///
/// # Errors
/// [`Malformed`] with the rule `argument` or `limit`.
pub fn check(verb: &Verb) -> Checked {
    match verb {
        Verb::Exec { argv, env, user, timeout_sec, .. } => {
            program(argv)?;
            limit("variables", env.len(), MOST_VARIABLES)?;
            for (name, value) in env {
                variable(name, value)?;
            }
            if let Some(user) = user {
                user_name(user)?;
            }
            if !(1..=MOST_TIMEOUT_SEC).contains(timeout_sec) {
                return Err(argument(format!(
                    "a timeout of {timeout_sec} s is not between 1 and {MOST_TIMEOUT_SEC}"
                )));
            }
            Ok(())
        }
        Verb::Push { path, uid, gid, size, .. } => {
            absolute("path", path)?;
            id(*uid)?;
            id(*gid)?;
            bytes(*size)
        }
        Verb::Pull { path, most, .. } => {
            absolute("path", path)?;
            bytes(*most)
        }
        Verb::SetFeatures { features, .. } => {
            let mut seen = features.clone();
            seen.sort_unstable();
            seen.dedup();
            if seen.len() == features.len() {
                Ok(())
            } else {
                Err(argument("a feature is named twice"))
            }
        }
        Verb::SetDevices { devices, .. } => {
            limit("device entries", devices.len(), MOST_DEVICES)?;
            for (n, entry) in devices.iter().enumerate() {
                device(entry)?;
                if devices.iter().take(n).any(|other| other.path == entry.path) {
                    return Err(argument(format!("the device {} is named twice", entry.path)));
                }
            }
            Ok(())
        }
        Verb::BindMount { source, path, .. } => {
            absolute("source", source)?;
            absolute("path", path)?;
            property(source)?;
            property(path)
        }
        Verb::ImportPool { name, .. } => zpool_name(name),
        Verb::Hello
        | Verb::RemoveStaged { .. }
        // Every `u8` is a mount point: mp0 to mp255, as in the API's schema of 9.2.
        | Verb::Unbind { .. }
        | Verb::ReleaseVolume { .. }
        | Verb::Template { .. }
        | Verb::Unlock { .. }
        | Verb::Gpus
        | Verb::DriverCheck
        | Verb::ImportablePools
        | Verb::Revoke => Ok(()),
    }
}

fn argument(detail: impl Into<String>) -> Malformed {
    Malformed::new(Rule::Argument, detail)
}

fn limit(what: &str, count: usize, most: usize) -> Checked {
    if count <= most {
        Ok(())
    } else {
        Err(Malformed::new(Rule::Limit, format!("{count} {what} are more than {most}")))
    }
}

fn program(argv: &[String]) -> Checked {
    limit("arguments", argv.len(), MOST_ARGUMENTS)?;
    let Some(program) = argv.first() else {
        return Err(argument("there is no program to run"));
    };
    absolute("program", program)?;
    // `env` takes what holds a '=' for a variable.
    if program.contains('=') {
        return Err(argument("the program's path contains '='"));
    }
    if argv.iter().any(|a| a.contains('\0')) {
        return Err(argument("an argument contains a NUL byte"));
    }
    Ok(())
}

fn variable(name: &str, value: &str) -> Checked {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    let rest = letters.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !first || !rest || name.len() > MOST_NAME {
        return Err(argument(format!(
            "'{}' is not a variable's name: A-Z, 0-9 and '_', not beginning with a digit",
            printable(name)
        )));
    }
    if FIXED_VARIABLES.contains(&name) || name.starts_with("LD_") {
        return Err(argument(format!("the variable {name} cannot be set over this channel")));
    }
    if value.contains('\0') {
        return Err(argument(format!("the value of {name} contains a NUL byte")));
    }
    Ok(())
}

fn user_name(user: &str) -> Checked {
    // As Debian's useradd accepts them by default.
    let mut letters = user.bytes();
    let first = letters.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest =
        letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    if first && rest && user.len() <= 32 {
        Ok(())
    } else {
        Err(argument(format!("'{}' is not a user's name", printable(user))))
    }
}

/// An absolute path that says itself where it leads: no `.`, no `..`, no empty name, no control character.
fn absolute(what: &str, path: &str) -> Checked {
    let wrong = |rule: &str| {
        Err(argument(format!("the {what} '{}' is not allowed: {rule}", printable(path))))
    };
    if path.len() > MOST_PATH {
        return wrong("it is too long");
    }
    if path.chars().any(char::is_control) {
        return wrong("it contains a control character");
    }
    let Some(names) = path.strip_prefix('/') else {
        return wrong("it is not absolute");
    };
    for name in names.split('/') {
        match name {
            "" => return wrong("it has an empty name, or is '/' itself"),
            "." | ".." => return wrong("'.' and '..' are not followed"),
            name if name.len() > MOST_NAME => return wrong("a name in it is too long"),
            _ => {}
        }
    }
    Ok(())
}

/// A value inside a property string (`key=value,key=value`), where a comma would begin the next property.
fn property(path: &str) -> Checked {
    if path.contains([',', '=', '"', '\\']) || path.trim() != path {
        return Err(argument(format!(
            "the path '{}' contains a character that a mount point's definition cannot hold",
            printable(path)
        )));
    }
    Ok(())
}

fn id(number: u32) -> Checked {
    if number <= MOST_ID {
        Ok(())
    } else {
        Err(argument(format!("{number} is no user or group of a guest (0 to {MOST_ID})")))
    }
}

fn bytes(count: u64) -> Checked {
    if count <= MOST_PAYLOAD {
        Ok(())
    } else {
        Err(Malformed::new(Rule::Limit, format!("{count} bytes are more than {MOST_PAYLOAD}")))
    }
}

fn device(entry: &DeviceEntry) -> Checked {
    id(entry.uid)?;
    id(entry.gid)?;
    if is_gpu_device(&entry.path) {
        Ok(())
    } else {
        Err(argument(format!(
            "the device '{}' is not one of a GPU (/dev/dri/…, /dev/nvidia…, /dev/kfd)",
            printable(&entry.path)
        )))
    }
}

/// Device nodes that a guest may get. Each form is spelled out: a path is never looked up to find out what it is.
#[must_use]
pub fn is_gpu_device(path: &str) -> bool {
    let numbered = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|n| (1..=4).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
    };
    matches!(
        path,
        "/dev/kfd"
            | "/dev/nvidiactl"
            | "/dev/nvidia-modeset"
            | "/dev/nvidia-uvm"
            | "/dev/nvidia-uvm-tools"
    ) || numbered("/dev/dri/renderD")
        || numbered("/dev/dri/card")
        || numbered("/dev/nvidia")
        || numbered("/dev/nvidia-caps/nvidia-cap")
}

/// What `zpool create` accepts as a name, without its reserved beginnings.
fn zpool_name(name: &str) -> Checked {
    let mut letters = name.bytes();
    let first = letters.next().is_some_and(|b| b.is_ascii_alphabetic());
    let rest = letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
    if first && rest && name.len() <= MOST_NAME {
        Ok(())
    } else {
        Err(argument(format!("'{}' is not a pool's name", printable(name))))
    }
}
