//! A server as a child process: started in a namespace, measured through `/proc`, ended with us.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::place::Namespace;
use super::work::built;

/// A running server.
pub struct Program {
    child: Child,
    log: PathBuf,
}

/// The packages that `.ci/packages bench` unpacks, and the program of each.
const UNPACKED: [(&str, &str); 4] = [
    ("nginx", "nginx"),
    ("kea-dhcp4", "kea-dhcp4-server"),
    ("in.tftpd", "tftpd-hpa"),
    ("atftpd", "atftpd"),
];

/// A command for a peer's program: from its unpacked package, with the libraries that were unpacked with it, or built by us
/// (profile `peer`), else from the system.
pub fn peer_command(name: &str) -> anyhow::Result<Command> {
    let package =
        UNPACKED.iter().find(|(program, _)| *program == name).map(|(_, package)| *package);
    let programs = built()?.parent().context("the build directory")?.to_owned();
    let target = programs.parent().context("the target directory")?;
    let root = target.join("bench-peers").join(package.unwrap_or("none"));
    let places =
        [root.join("usr/sbin"), programs.join("peer"), "/usr/sbin".into(), "/usr/bin".into()];
    let found = places.iter().map(|p| p.join(name)).find(|p| p.is_file());
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command.arg(found.with_context(|| format!("{name} is not installed"))?);
    command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    Ok(command)
}

impl Program {
    /// Starts it in the namespace with its output in `log`.
    pub fn start(namespace: &Namespace, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = fs::OpenOptions::new().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // By the namespace's own thread: the program ends when that thread does (PR_SET_PDEATHSIG).
        let child = namespace.run(move || command.spawn())?.context("setpriv (util-linux)")?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready`; an end before that is an error with the last words.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("it ended with {status}: {}", self.last_words());
            }
            if ready() {
                return Ok(());
            }
            let patience = Duration::from_secs(20);
            anyhow::ensure!(begun.elapsed() < patience, "it is not ready: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The end of its output.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(1).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Processor seconds of it and all its processes so far (proc_pid_stat(5), fields 14 to 17, in 1/100 s).
    pub fn cpu_seconds(&self) -> f64 {
        family(self.pid()).into_iter().map(ticks).sum::<u64>() as f64 / 100.0
    }

    /// A line of `/proc/PID/status` in MiB.
    pub fn memory_mib(&self, line: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        let kib: f64 = found.context("no such line")?.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The whole family: some servers have workers of their own.
        for pid in family(self.pid()) {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A process with its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
        }
    }
    all
}

fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return 0 };
    rest.split(' ').skip(11).take(4).filter_map(|n| n.parse::<u64>().ok()).sum()
}
