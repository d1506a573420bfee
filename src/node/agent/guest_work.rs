//! Verbs that concern one guest. Each looks at the guest's configuration first, changes as little as possible, and is done
//! at once when there is nothing to change.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::conf::{device_value, read_device};
use super::input::Input;
use super::run::{Heard, Said, run, run_short};
use super::{Admitted, Agent, SHORT, Stop, failed, refused};
use crate::domain::app::Feature;
use crate::plan::join::brief;
use crate::proto::verb::{
    DeviceEntry, Frame, MOST_DATA, PATH as GUEST_PATH, Rule, STAGED, Stream, Verb, is_gpu_device,
};

/// Time for moving one file. 16 MiB take a second; a guest whose storage hangs must not hold us for ever.
const FILE_WORK: Duration = Duration::from_secs(120);

impl Agent<'_> {
    /// Carries out a verb on a guest that was admitted.
    pub(super) fn guest_verb(
        &mut self,
        verb: &Verb,
        guest: &Admitted,
        input: &mut Input,
    ) -> Result<i32, Stop> {
        match verb {
            Verb::Exec { .. } => return self.exec(verb, guest),
            Verb::Push { size, .. } => self.push(verb, guest, *size, input)?,
            Verb::Pull { path, most, .. } => self.pull(guest, path, *most)?,
            Verb::RemoveStaged { .. } => in_guest(guest, &["/bin/rm", "-rf", "--", STAGED])?,
            Verb::SetFeatures { features, .. } => set_features(guest, features)?,
            Verb::SetDevices { devices, .. } => set_devices(guest, devices)?,
            Verb::BindMount { slot, source, path, read_only, .. } => {
                let source = self.allowed_source(source)?;
                bind(guest, *slot, &source, path, *read_only)?;
            }
            Verb::Unbind { slot, .. } => unbind(guest, *slot)?,
            Verb::ReleaseVolume { slot, .. } => self.release_volume(guest, *slot)?,
            Verb::Template { .. } => template(guest)?,
            Verb::Unlock { .. } => {
                if guest.conf.get("lock").is_some() {
                    pct(&["unlock", &guest.vmid.to_string()])?;
                }
            }
            _ => return Err(refused(Rule::Verb, format!("{} concerns no guest", verb.name()))),
        }
        Ok(0)
    }

    fn exec(&mut self, verb: &Verb, guest: &Admitted) -> Result<i32, Stop> {
        let Verb::Exec { argv, env, user, timeout_sec, .. } = verb else {
            return Err(refused(Rule::Verb, "not an exec"));
        };
        let argv = exec_argv(guest, argv, env.iter(), user.as_deref());
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let mut printed = false;
        let mut complaint = Vec::new();
        let output = &mut *self.output;
        let limit = Duration::from_secs(u64::from(*timeout_sec));
        let ended = run(&argv, limit, &mut |heard| {
            let sent = match heard {
                Heard::Bytes(stream, bytes) => {
                    printed |= stream == Stream::Stdout;
                    if stream == Stream::Stderr && complaint.len() < 1024 {
                        complaint.extend_from_slice(bytes);
                    }
                    output.text(stream, bytes)
                }
                Heard::Pause => output.flush_all(),
            };
            if sent.is_err() || output.is_gone() { Err(Stop::Gone) } else { Ok(()) }
        });
        self.output.flush_all().map_err(|_| Stop::Gone)?;
        let status = ended?;
        // `pct`'s own exit status and words (pve-container 6.1): the program was not started.
        let not_running = format!("container '{}' not running!", guest.vmid);
        if status == 255 && !printed && String::from_utf8_lossy(&complaint).trim() == not_running {
            return Err(must_run(guest));
        }
        Ok(status)
    }

    fn push(
        &mut self,
        verb: &Verb,
        guest: &Admitted,
        size: u64,
        input: &mut Input,
    ) -> Result<(), Stop> {
        let Verb::Push { path, mode, uid, gid, .. } = verb else {
            return Err(refused(Rule::Verb, "not a push"));
        };
        let staged = Staged::new(&self.config.run_dir)?;
        input.payload(size, &mut staged.file()?)?;
        let vmid = guest.vmid.to_string();
        let file = staged.path();
        let file = file.to_string_lossy();
        let mode = format!("{:04o}", mode.bits());
        let (uid, gid) = (uid.to_string(), gid.to_string());
        let push = ["push", &vmid, &file, path, "--perms", &mode, "--user", &uid, "--group", &gid];
        let said = pct_says(&push, FILE_WORK)?;
        if said.status == 0 {
            return Ok(());
        }
        if !is_running(guest)? {
            return Err(must_run(guest));
        }
        // Most often the folder is missing. Each `pct` takes a second, so it is not made beforehand for every file.
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder.is_empty() {
            return Err(said.failure("pct push"));
        }
        in_guest(guest, &["/bin/mkdir", "-p", "--", folder])?;
        pct_says(&push, FILE_WORK)?.success("pct push").map(|_| ())
    }

    /// Reads a file by a program in the guest and not by `pct pull`: that would copy without a limit (`/dev/zero`), and
    /// leave a copy of what may be a secret on the node.
    fn pull(&mut self, guest: &Admitted, path: &str, most: u64) -> Result<(), Stop> {
        let one_more = (most + 1).to_string();
        let argv = ["/usr/bin/head", "-c", &one_more, "--", path].map(str::to_owned);
        let argv = exec_argv(guest, &argv, std::iter::empty(), None);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let (mut data, mut said) = (Vec::new(), Said::default());
        let output = &*self.output;
        said.status = run(&argv, FILE_WORK, &mut |heard| {
            match heard {
                Heard::Bytes(Stream::Stdout, bytes) => data.extend_from_slice(bytes),
                Heard::Bytes(Stream::Stderr, bytes) if said.stderr.len() < 4096 => {
                    said.stderr.push_str(&String::from_utf8_lossy(bytes));
                }
                Heard::Bytes(..) | Heard::Pause => {}
            }
            if output.is_gone() { Err(Stop::Gone) } else { Ok(()) }
        })?;
        if said.status != 0 {
            return Err(if is_running(guest)? { said.failure("head") } else { must_run(guest) });
        }
        if data.len() as u64 > most {
            return Err(refused(Rule::Limit, format!("{path} is larger than {most} bytes")));
        }
        for piece in data.chunks(MOST_DATA) {
            let frame = Frame::Data { base64: STANDARD.encode(piece) };
            self.output.frame(&frame).map_err(|_| Stop::Gone)?;
        }
        Ok(())
    }

    /// Takes a volume's line out of the configuration, as Proxmox VE writes it: a new file put in the old one's place.
    fn release_volume(&self, guest: &Admitted, slot: u8) -> Result<(), Stop> {
        match guest.conf.get(&format!("mp{slot}")) {
            None => return Ok(()),
            Some(value) if is_bind(value) => {
                return Err(refused(Rule::State, format!("mp{slot} is a bind mount")));
            }
            Some(_) => {}
        }
        must_be_stopped(guest)?;
        if let Some(lock) = guest.conf.get("lock") {
            return Err(refused(
                Rule::State,
                format!("container {} is locked ({lock})", guest.vmid),
            ));
        }
        let file = self.config.pve_dir.join(format!("local/lxc/{}.conf", guest.vmid));
        let fresh = file.with_extension(format!("conf.tmp.{}", std::process::id()));
        let written = super::conf::read(&file)
            .and_then(|text| std::fs::write(&fresh, super::conf::without(&text, slot)))
            .and_then(|()| std::fs::rename(&fresh, &file));
        written.map_err(|e| {
            let _ = std::fs::remove_file(&fresh);
            failed(format!("the configuration of container {} cannot be written: {e}", guest.vmid))
        })
    }

    /// The source of a bind mount, when it is really below an allowed folder: no link leads to it.
    pub(super) fn allowed_source(&self, source: &str) -> Result<PathBuf, Stop> {
        let path = Path::new(source);
        let real = std::fs::canonicalize(path).map_err(|e| {
            refused(Rule::Argument, format!("the folder {source} cannot be found: {e}"))
        })?;
        if real != path {
            return Err(refused(Rule::Argument, format!("a link is on the way to {source}")));
        }
        if !real.is_dir() {
            return Err(refused(Rule::Argument, format!("{source} is not a folder")));
        }
        if self.config.bind_source.iter().any(|allowed| real.starts_with(allowed)) {
            Ok(real)
        } else {
            Err(refused(Rule::Argument, format!("{source} is not below an allowed folder")))
        }
    }
}

/// The whole command line of a program in a guest. `pct exec` would hand our environment on, so `env -i` begins a new one.
fn exec_argv<'a>(
    guest: &Admitted,
    argv: &[String],
    env: impl Iterator<Item = (&'a String, &'a String)>,
    user: Option<&str>,
) -> Vec<String> {
    let vmid = guest.vmid.to_string();
    let mut line: Vec<String> =
        ["pct", "exec", &vmid, "--", "/usr/bin/env", "-i"].map(str::to_owned).to_vec();
    line.push(format!("PATH={GUEST_PATH}"));
    line.extend(["LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"].map(str::to_owned));
    let user = user.filter(|user| *user != "root");
    if user.is_none() {
        line.push("HOME=/root".to_owned());
    }
    line.extend(env.map(|(name, value)| format!("{name}={value}")));
    if let Some(user) = user {
        // It sets HOME, USER and LOGNAME itself.
        line.extend(["/usr/sbin/runuser", "-u", user, "--"].map(str::to_owned));
    }
    line.extend_from_slice(argv);
    line
}

/// Runs a program of the guest that must succeed.
fn in_guest(guest: &Admitted, argv: &[&str]) -> Result<(), Stop> {
    let argv: Vec<String> = argv.iter().map(|a| (*a).to_owned()).collect();
    let line = exec_argv(guest, &argv, std::iter::empty(), None);
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let said = run_short(&line, FILE_WORK)?;
    if said.status == 0 {
        Ok(())
    } else if is_running(guest)? {
        Err(said.failure(argv.first().map_or("the program", String::as_str)))
    } else {
        Err(must_run(guest))
    }
}

fn pct_says(arguments: &[&str], limit: Duration) -> Result<Said, Stop> {
    let argv: Vec<&str> = std::iter::once("pct").chain(arguments.iter().copied()).collect();
    run_short(&argv, limit)
}

fn pct(arguments: &[&str]) -> Result<String, Stop> {
    let program = format!("pct {}", arguments.first().copied().unwrap_or_default());
    pct_says(arguments, SHORT)?.success(&program)
}

fn is_running(guest: &Admitted) -> Result<bool, Stop> {
    let said = pct(&["status", &guest.vmid.to_string()])?;
    match said.lines().find_map(|line| line.strip_prefix("status:")).map(str::trim) {
        Some("running") => Ok(true),
        Some("stopped") => Ok(false),
        _ => Err(failed(format!("pct status says '{}'", brief(&said)))),
    }
}

fn must_run(guest: &Admitted) -> Stop {
    refused(Rule::State, format!("container {} is not running", guest.vmid))
}

fn must_be_stopped(guest: &Admitted) -> Result<(), Stop> {
    if is_running(guest)? {
        return Err(refused(
            Rule::State,
            format!("container {} must be stopped first", guest.vmid),
        ));
    }
    Ok(())
}

fn set_features(guest: &Admitted, features: &[Feature]) -> Result<(), Stop> {
    let mut wanted: Vec<String> = features.iter().map(|f| format!("{}=1", f.as_str())).collect();
    wanted.sort();
    let mut present: Vec<&str> = guest
        .conf
        .get("features")
        .unwrap_or_default()
        .split(',')
        .filter(|f| !f.is_empty())
        .collect();
    present.sort_unstable();
    if wanted == present {
        return Ok(());
    }
    must_be_stopped(guest)?;
    let vmid = guest.vmid.to_string();
    if wanted.is_empty() {
        pct(&["set", &vmid, "--delete", "features"])?;
    } else {
        pct(&["set", &vmid, "--features", &wanted.join(",")])?;
    }
    Ok(())
}

fn set_devices(guest: &Admitted, devices: &[DeviceEntry]) -> Result<(), Stop> {
    let change = device_change(&guest.conf.devices(), devices);
    if change.is_empty() {
        return Ok(());
    }
    let vmid = guest.vmid.to_string();
    let mut arguments = vec!["set", &vmid];
    arguments.extend(change.iter().map(String::as_str));
    pct(&arguments).map(|_| ())
}

/// Options of `pct set` that leave exactly the wanted GPU entries; empty when they are there already. Entries of other
/// devices (a serial port, a tuner) are somebody else's and keep their places.
fn device_change(present: &[(u16, &str)], wanted: &[DeviceEntry]) -> Vec<String> {
    let is_gpu = |value: &str| read_device(value).is_some_and(|entry| is_gpu_device(&entry.path));
    let foreign: BTreeSet<u16> =
        present.iter().filter(|(_, value)| !is_gpu(value)).map(|(slot, _)| *slot).collect();
    let mut options = Vec::new();
    let mut used = BTreeSet::new();
    for (entry, n) in wanted.iter().zip((0..).filter(|n| !foreign.contains(n))) {
        used.insert(n);
        let same = present
            .iter()
            .any(|(slot, value)| *slot == n && read_device(value).as_ref() == Some(entry));
        if !same {
            options.extend([format!("--dev{n}"), device_value(entry)]);
        }
    }
    let surplus: Vec<String> = present
        .iter()
        .filter(|(slot, _)| !foreign.contains(slot) && !used.contains(slot))
        .map(|(slot, _)| format!("dev{slot}"))
        .collect();
    if !surplus.is_empty() {
        options.extend(["--delete".to_owned(), surplus.join(",")]);
    }
    options
}

/// Whether a mount point is a bind mount: its source is a path. A volume is `STORAGE:NAME`, and taking one away would leave
/// the guest's data unused.
fn is_bind(value: &str) -> bool {
    value.starts_with('/')
}

fn bind(
    guest: &Admitted,
    slot: u8,
    source: &Path,
    path: &str,
    read_only: bool,
) -> Result<(), Stop> {
    let key = format!("mp{slot}");
    let mut wanted = vec![source.to_string_lossy().into_owned(), format!("mp={path}")];
    if read_only {
        wanted.push("ro=1".to_owned());
    }
    if let Some(present) = guest.conf.get(&key) {
        if !is_bind(present) {
            return Err(refused(Rule::State, format!("{key} holds a volume of the guest")));
        }
        let mut parts: Vec<&str> = present.split(',').collect();
        parts.sort_unstable();
        let mut same = wanted.clone();
        same.sort();
        if parts == same {
            return Ok(());
        }
    }
    pct(&["set", &guest.vmid.to_string(), &format!("--{key}"), &wanted.join(",")]).map(|_| ())
}

fn unbind(guest: &Admitted, slot: u8) -> Result<(), Stop> {
    let key = format!("mp{slot}");
    match guest.conf.get(&key) {
        None => Ok(()),
        Some(present) if is_bind(present) => {
            pct(&["set", &guest.vmid.to_string(), "--delete", &key]).map(|_| ())
        }
        Some(_) => Err(refused(Rule::State, format!("{key} holds a volume of the guest"))),
    }
}

fn template(guest: &Admitted) -> Result<(), Stop> {
    if guest.conf.is_template() {
        return Ok(());
    }
    must_be_stopped(guest)?;
    pct(&["template", &guest.vmid.to_string()]).map(|_| ())
}

/// A folder in memory that only root can look into, with one file; removed when dropped.
struct Staged {
    folder: PathBuf,
}

impl Staged {
    fn new(below: &Path) -> Result<Self, Stop> {
        // The process number makes it our own; what a killed agent of the same number left is removed first.
        let folder = below.join(format!("ironhatch-node-{}", std::process::id()));
        let staged = Self { folder };
        let _ = std::fs::remove_dir_all(&staged.folder);
        DirBuilder::new()
            .mode(0o700)
            .create(&staged.folder)
            .map_err(|e| failed(format!("{} cannot be made: {e}", staged.folder.display())))?;
        Ok(staged)
    }

    fn path(&self) -> PathBuf {
        self.folder.join("payload")
    }

    fn file(&self) -> Result<File, Stop> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path())
            .map_err(|e| failed(format!("{} cannot be made: {e}", self.path().display())))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod test {
    use super::super::conf::GuestConf;
    use super::*;
    use crate::proto::verb::FileMode;

    fn entry(path: &str) -> DeviceEntry {
        DeviceEntry { path: path.to_owned(), uid: 0, gid: 104, mode: FileMode::PRIVATE }
    }

    #[test]
    fn exactly_the_wanted_gpu_devices_remain() {
        let render = entry("/dev/dri/renderD128");
        let value = device_value(&render);
        assert!(device_change(&[(0, &value)], std::slice::from_ref(&render)).is_empty());
        assert!(device_change(&[], &[]).is_empty());
        assert_eq!(device_change(&[], std::slice::from_ref(&render)), ["--dev0", value.as_str()]);
        assert_eq!(
            device_change(
                &[(0, "/dev/net/tun"), (2, "/dev/kfd"), (7, &value)],
                std::slice::from_ref(&render)
            ),
            ["--dev1", value.as_str(), "--delete", "dev2,dev7"],
            "a device that is no GPU is not ours to take away"
        );
        assert!(device_change(&[(0, "/dev/ttyUSB0"), (1, "path=/dev/net/tun")], &[]).is_empty());
        assert_eq!(device_change(&[(0, &value)], &[]), ["--delete", "dev0"]);
        assert_eq!(
            device_change(&[(1, &value)], &[entry("/dev/kfd"), render]),
            ["--dev0", "/dev/kfd,gid=104,mode=0600,uid=0"]
        );
    }

    #[test]
    fn a_program_begins_with_an_environment_of_its_own() {
        let guest = Admitted { vmid: "101".parse().unwrap(), conf: GuestConf::parse("") };
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), "echo $A; id".to_owned()];
        let env = std::collections::BTreeMap::from([("A".to_owned(), "b c".to_owned())]);
        let as_root = exec_argv(&guest, &argv, env.iter(), None);
        assert_eq!(
            as_root.join("|"),
            format!(
                "pct|exec|101|--|/usr/bin/env|-i|PATH={GUEST_PATH}|LANG=C.UTF-8|DEBIAN_FRONTEND=noninteractive|\
                 HOME=/root|A=b c|/bin/sh|-c|echo $A; id"
            )
        );
        let as_user = exec_argv(&guest, &argv, env.iter(), Some("n8n"));
        assert!(as_user.join("|").contains("|A=b c|/usr/sbin/runuser|-u|n8n|--|/bin/sh|"));
        assert!(!as_user.join("|").contains("HOME="));
        assert_eq!(as_root, exec_argv(&guest, &argv, env.iter(), Some("root")));
    }

    #[test]
    fn a_volume_is_never_taken_for_a_bind_mount() {
        let guest = Admitted {
            vmid: "101".parse().unwrap(),
            conf: GuestConf::parse(
                "mp0: local-zfs:subvol-101-disk-1,mp=/srv,size=8G\nmp1: /tank/x,mp=/x\n",
            ),
        };
        assert!(matches!(unbind(&guest, 0), Err(Stop::Refused(Rule::State, _))));
        let bound = bind(&guest, 0, Path::new("/tank/x"), "/x", false);
        assert!(matches!(bound, Err(Stop::Refused(Rule::State, _))));
        assert_eq!(unbind(&guest, 9), Ok(()));
        assert_eq!(bind(&guest, 1, Path::new("/tank/x"), "/x", false), Ok(()));
    }
}
