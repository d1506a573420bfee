//! One system container: an unprivileged Debian with systemd as its init and a network that ends at this machine.
//!
//! ```text
//! this process ── setpriv ── unshare (PID, mount, network) ── boot.sh ── systemd-nspawn ── systemd (user 100000)
//!                                       10.231.0.1 outside ══ veth ══ eth0 10.231.0.2
//! ```
//! No route leads out of the two network namespaces. What the container may have from outside is the package mirror
//! (mirror.rs), which listens on 10.231.0.1. Dropping the value kills everything and removes the control group.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Its end of the cable; each container has its own pair of namespaces, so they can all have the same.
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 2);
/// This machine's end, where the mirror listens.
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 1);
/// Port of the mirror.
pub(crate) const MIRROR_PORT: u16 = 3142;
/// From the start of systemd until it says that it is up. Seconds are normal; the machine may be busy.
const BOOT_LIMIT: Duration = Duration::from_secs(90);

/// A running container.
#[derive(Debug)]
pub(crate) struct Container {
    name: String,
    launcher: Child,
    leader: u32,
}

/// What a command in the container may see and take.
pub(crate) struct Run<'a> {
    pub(crate) argv: &'a [&'a str],
    pub(crate) env: &'a [(String, String)],
    pub(crate) input: &'a [u8],
    pub(crate) limit: Duration,
}

impl Container {
    /// Boots the tree at `root`. `keyring` allows the system calls that Proxmox VE's `keyctl` feature allows.
    pub(crate) fn boot(root: &Path, name: &str, keyring: bool, log: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provision/boot.sh");
        let console = std::fs::File::create(log).context("console log")?;
        let launcher = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"])
            .args(["--mount", "--mount-proc", "--net", "--propagation", "private", "sh"])
            .arg(script)
            .arg(root)
            .arg(name)
            .arg(format!("{OUTSIDE}/24"))
            .arg(if keyring { "@keyring bpf" } else { "" })
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()
            .context("setpriv, unshare")?;
        let mut container = Self { name: name.to_owned(), launcher, leader: 0 };
        let started = Instant::now();
        loop {
            if let Some(status) = container.launcher.try_wait()? {
                bail!(
                    "the container ended while starting ({status}); its console is in {}",
                    log.display()
                );
            }
            if started.elapsed() > BOOT_LIMIT {
                bail!(
                    "systemd was not up after {BOOT_LIMIT:?}; its console is in {}",
                    log.display()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
            if container.leader == 0 {
                let Some(leader) = leader_below(container.launcher.id()) else { continue };
                container.leader = leader;
            }
            // Says "running" when every unit is, "degraded" when one failed: what failed shows in the health check.
            let (_, text) = container.output(&["systemctl", "is-system-running"])?;
            if matches!(text.trim(), "running" | "degraded") {
                return Ok(container);
            }
        }
    }

    /// Runs a command as the container's root and hands over each line of its output as it comes. `None`: it took
    /// longer than allowed, and goes on until the container ends.
    pub(crate) fn run(&self, run: &Run<'_>, on_line: &mut dyn FnMut(&str)) -> Result<Option<i32>> {
        let mut child = Command::new("nsenter")
            .args(["--target", &self.leader.to_string(), "--all", "--"])
            .args([
                "/usr/bin/env",
                "-i",
                "--chdir=/",
                "HOME=/root",
                "LC_ALL=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive",
            ])
            .arg(format!("PATH={}", ironhatch::proto::verb::PATH))
            .args(run.env.iter().map(|(name, value)| format!("{name}={value}")))
            .args(run.argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("nsenter")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input may close it: nothing to complain about.
            let _ = stdin.write_all(run.input);
        }
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().map(|s| Box::new(s) as Box<dyn std::io::Read + Send>);
        let err = child.stderr.take().map(|s| Box::new(s) as Box<dyn std::io::Read + Send>);
        for stream in [out, err].into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    if sender.send(text).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let started = Instant::now();
        loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => on_line(&line),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // A daemon that the command left running holds the pipe: the command's own end decides.
                    if let Some(status) = child.try_wait()? {
                        return Ok(status.code());
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    if let Some(status) = child.try_wait()? {
                        return Ok(status.code());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            if started.elapsed() > run.limit {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
        }
    }

    /// Status and output of a short command.
    pub(crate) fn output(&self, argv: &[&str]) -> Result<(i32, String)> {
        let mut text = String::new();
        let run = Run { argv, env: &[], input: b"", limit: Duration::from_secs(30) };
        let status = self.run(&run, &mut |line| {
            text.push_str(line);
            text.push('\n');
        })?;
        Ok((status.unwrap_or(-1), text))
    }

    /// Writes a file, its directories included.
    pub(crate) fn push(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let script = "umask 077; mkdir -p -m 755 \"$(dirname \"$1\")\" && cat >\"$1\" && chmod \"$2\" \"$1\"";
        let mode = format!("{mode:o}");
        let run = Run {
            argv: &["sh", "-c", script, "sh", path, &mode],
            env: &[],
            input: bytes,
            limit: Duration::from_secs(60),
        };
        let mut said = String::new();
        match self.run(&run, &mut |line| said.push_str(line))? {
            Some(0) => Ok(()),
            other => bail!("{path} could not be written ({other:?}): {said}"),
        }
    }

    /// Does something on the other end of the container's cable: where a node's bridge would be.
    pub(crate) fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.launcher.id()));
        let namespace = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // The namespace of this thread only; what it opens stays there.
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            thread.join().map_err(|_| anyhow::anyhow!("the work outside panicked"))?
        })
    }

    /// Shuts the container down as `pct shutdown` does, so that it can be booted again.
    pub(crate) fn shut_down(mut self) -> Result<()> {
        self.output(&["systemctl", "--no-block", "poweroff"])?;
        let started = Instant::now();
        while self.launcher.try_wait()?.is_none() {
            if started.elapsed() > BOOT_LIMIT {
                bail!("the container did not shut down within {BOOT_LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The launcher's child is the init of a PID namespace and dies with it (--kill-child), and all in it.
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        forget(&self.name);
    }
}

/// The address of a port of the container.
pub(crate) fn guest(port: u16) -> SocketAddr {
    SocketAddr::from((GUEST, port))
}

/// Removes a dead container's control groups, and what systemd-nspawn keeps about it when it is killed. The machine's own
/// view of the groups may be another hierarchy.
pub(crate) fn forget(name: &str) {
    let _ = std::fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(name));
    let script =
        "umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 0
        for try in 1 2 3 4 5 6 7 8 9 10; do
            [ -d \"/sys/fs/cgroup/$1\" ] || exit 0
            find \"/sys/fs/cgroup/$1\" -depth -type d -exec rmdir {} + 2>/dev/null
            sleep 0.1
        done";
    let _ = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", name])
        .stdin(Stdio::null())
        .status();
}

/// The container's init below this process: the one process named `systemd`.
fn leader_below(process: u32) -> Option<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    for child in children.split_whitespace().filter_map(|text| text.parse().ok()) {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if name.trim() == "systemd" {
            return Some(child);
        }
        if let Some(found) = leader_below(child) {
            return Some(found);
        }
    }
    None
}
