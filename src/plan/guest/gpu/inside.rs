//! Whether a guest can really use the GPUs it was given: what is run inside it, and what the answers mean.
//!
//! A configuration line proves nothing: the node may lie in the guest with a group that the service is not in, and user
//! land of another version than the node's driver finds no GPU at all.

use crate::domain::app::GpuNeed;
use crate::domain::gpu::GpuProfile;
use crate::domain::guest::GpuAttachment;
use crate::plan::join::brief;
use crate::proto::verb::DeviceEntry;

/// Seconds that one look may take; a card that fell off the bus makes its tools hang.
pub const TIMEOUT_SEC: u32 = 60;

/// A program that is run in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// For the log and for the reason when it fails.
    pub what: String,
    /// `env` finds the program: distributions have them in different folders.
    pub argv: Vec<String>,
    /// Who runs it.
    pub user: String,
}

/// Reads kind, owner, group and mode of every device node.
#[must_use]
pub fn listing(entries: &[DeviceEntry]) -> Look {
    let fixed = ["/usr/bin/env", "stat", "-c", "%n|%F|%u|%g|%a", "--"];
    let paths = entries.iter().map(|e| e.path.clone());
    Look {
        what: "the device nodes".to_owned(),
        argv: fixed.map(str::to_owned).into_iter().chain(paths).collect(),
        user: "root".to_owned(),
    }
}

/// Compares what [`listing`] printed with the entries.
///
/// # Errors
/// The first node that is missing or not as it should be.
pub fn compare(entries: &[DeviceEntry], printed: &str) -> Result<(), String> {
    for entry in entries {
        let path = &entry.path;
        let line = printed.lines().find_map(|line| line.strip_prefix(path)?.strip_prefix('|'));
        let Some(line) = line else {
            return Err(format!("{path} does not exist in the container"));
        };
        let fields: Vec<&str> = line.trim().split('|').collect();
        let [kind, uid, gid, mode] = fields.as_slice() else {
            return Err(format!("{path} cannot be looked at: {}", brief(line)));
        };
        if *kind != "character special file" {
            return Err(format!("{path} is no device in the container but a {}", brief(kind)));
        }
        let wanted = (entry.uid.to_string(), entry.gid.to_string());
        if (*uid, *gid) != (wanted.0.as_str(), wanted.1.as_str()) {
            return Err(format!(
                "{path} belongs to {}:{} in the container instead of {}:{}",
                brief(uid),
                brief(gid),
                entry.uid,
                entry.gid
            ));
        }
        let wanted = format!("{:o}", entry.mode.bits());
        if *mode != wanted {
            return Err(format!("{path} has the mode {} instead of {wanted}", brief(mode)));
        }
    }
    Ok(())
}

/// What the service's user tries: to open every node for reading and writing, then the programs that the app names.
#[must_use]
pub fn trials(need: &GpuNeed, attachments: &[GpuAttachment], entries: &[DeviceEntry]) -> Vec<Look> {
    let user = &need.user;
    let look = |what: String, argv: Vec<String>| Look { what, argv, user: user.clone() };
    let open = |entry: &DeviceEntry| {
        let path = &entry.path;
        // Opens both ways and moves no byte. `test -w` would not see what the devices' cgroup denies.
        let argv = [
            "/usr/bin/env".to_owned(),
            "dd".to_owned(),
            format!("if={path}"),
            format!("of={path}"),
            "conv=notrunc".to_owned(),
            "count=0".to_owned(),
        ];
        look(format!("opening {path} as {user}"), argv.into())
    };
    let has = |profile| attachments.iter().any(|a: &GpuAttachment| a.profile == profile);
    let env = |program: &String, rest: &[&str]| {
        let all = ["/usr/bin/env", program].into_iter().chain(rest.iter().copied());
        look(format!("{program} as {user}"), all.map(str::to_owned).collect())
    };
    let mut looks: Vec<Look> = entries.iter().map(open).collect();
    for program in &need.check {
        match tool(program) {
            Some(GpuProfile::NvidiaBasic) if has(GpuProfile::NvidiaBasic) => {
                looks.push(env(program, &[]));
            }
            Some(GpuProfile::DriRender) if has(GpuProfile::DriRender) => {
                let nodes = entries.iter().filter(|e| e.path.starts_with("/dev/dri/renderD"));
                looks.extend(
                    nodes.map(|e| env(program, &["--display", "drm", "--device", &e.path])),
                );
            }
            _ => {}
        }
    }
    looks
}

/// The devices that a program of a manifest's `gpu.check` is for; `None`: it is none of those that are known.
#[must_use]
pub fn tool(program: &str) -> Option<GpuProfile> {
    match program.rsplit('/').next() {
        Some("vainfo") => Some(GpuProfile::DriRender),
        Some("nvidia-smi") => Some(GpuProfile::NvidiaBasic),
        _ => None,
    }
}

/// Why a trial failed, in one sentence.
#[must_use]
pub fn failure(look: &Look, status: i32, printed: &str) -> String {
    let said = brief(printed);
    if said.is_empty() {
        format!("{} failed in the container with status {status}", look.what)
    } else {
        format!("{} failed in the container with status {status}: {said}", look.what)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::domain::gpu::GpuVendor;
    use crate::proto::verb::{FileMode, Verb, check};

    fn entry(path: &str, gid: u32, mode: FileMode) -> DeviceEntry {
        DeviceEntry { path: path.to_owned(), uid: 0, gid, mode }
    }

    fn entries() -> Vec<DeviceEntry> {
        vec![
            entry("/dev/dri/renderD128", 104, FileMode::GROUP),
            entry("/dev/nvidia0", 0, FileMode::EVERYBODY),
        ]
    }

    fn need() -> GpuNeed {
        GpuNeed {
            supported: vec![GpuVendor::Intel, GpuVendor::Nvidia],
            required: false,
            profiles: vec![GpuProfile::DriRender, GpuProfile::NvidiaBasic],
            notes: String::new(),
            libraries: vec![],
            user: "jellyfin".to_owned(),
            check: vec!["/usr/lib/jellyfin-ffmpeg/vainfo".to_owned(), "nvidia-smi".to_owned()],
        }
    }

    fn attached(profile: GpuProfile) -> GpuAttachment {
        let address = "0000:01:00.0".parse().unwrap();
        GpuAttachment { address, profile, driver_version: None }
    }

    const GOOD: &str = "/dev/dri/renderD128|character special file|0|104|660\n\
                        /dev/nvidia0|character special file|0|0|666\n";

    #[test]
    fn every_way_in_which_a_node_can_be_wrong_is_told() {
        assert_eq!(compare(&entries(), GOOD), Ok(()));
        for (from, to, told) in [
            ("/dev/nvidia0|", "/dev/nvidia9|", "/dev/nvidia0 does not exist in the container"),
            ("|0|104|", "|0|105|", "belongs to 0:105 in the container instead of 0:104"),
            ("|0|104|", "|65534|65534|", "belongs to 65534:65534"),
            ("|660", "|600", "/dev/dri/renderD128 has the mode 600 instead of 660"),
            ("character special", "regular", "is no device in the container but a regular file"),
            ("|0|104|660", "", "/dev/dri/renderD128 cannot be looked at"),
        ] {
            let wrong = compare(&entries(), &GOOD.replace(from, to)).unwrap_err();
            assert!(wrong.contains(told), "{wrong}");
        }
        assert!(compare(&entries(), "").is_err());
        assert_eq!(compare(&[], ""), Ok(()));
    }

    #[test]
    fn the_services_user_opens_every_node_and_runs_what_fits_its_devices() {
        let both = [attached(GpuProfile::DriRender), attached(GpuProfile::NvidiaBasic)];
        let told = |looks: &[Look]| {
            looks.iter().map(|l| format!("{}: {}", l.user, l.argv.join(" "))).collect::<Vec<_>>()
        };
        let looks = trials(&need(), &both, &entries());
        assert_eq!(
            told(&looks),
            [
                "jellyfin: /usr/bin/env dd if=/dev/dri/renderD128 of=/dev/dri/renderD128 conv=notrunc count=0",
                "jellyfin: /usr/bin/env dd if=/dev/nvidia0 of=/dev/nvidia0 conv=notrunc count=0",
                "jellyfin: /usr/bin/env /usr/lib/jellyfin-ffmpeg/vainfo --display drm --device /dev/dri/renderD128",
                "jellyfin: /usr/bin/env nvidia-smi",
            ]
        );
        for look in looks.into_iter().chain([listing(&entries())]) {
            let verb = Verb::Exec {
                vmid: "101".parse().unwrap(),
                argv: look.argv,
                env: Default::default(),
                user: Some(look.user),
                timeout_sec: TIMEOUT_SEC,
            };
            assert_eq!(check(&verb), Ok(()));
        }
        let render = [attached(GpuProfile::DriRender)];
        let looks = trials(&need(), &render, &entries()[..1]);
        assert_eq!(looks.len(), 2, "nvidia-smi is for other devices: {:?}", told(&looks));
    }

    #[test]
    fn a_failed_trial_tells_what_the_program_said() {
        let look = &trials(&need(), &[], &entries())[0];
        assert_eq!(
            failure(look, 1, "dd: failed to open '/dev/dri/renderD128': Permission denied\n"),
            "opening /dev/dri/renderD128 as jellyfin failed in the container with status 1: \
             dd: failed to open '/dev/dri/renderD128': Permission denied"
        );
        assert!(failure(look, 124, " ").ends_with("with status 124"));
    }
}
